// SPDX-License-Identifier: LGPL-2.1-or-later
/* What a job keeps of what the two ends of a copy tell. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "controller/job/job.h"

static Drover__TransferState said(uint64_t done, uint64_t wire, uint64_t resent, const char *choice) {
        Drover__TransferState state = DROVER__TRANSFER_STATE__INIT;
        state.bytes_done = done;
        state.bytes_wire = wire;
        state.bytes_resent = resent;
        state.choice = (char *) choice;
        return state;
}

static void the_source_says_what_was_sent_and_the_sink_what_arrived(void **unused) {
        (void) unused;
        struct job_transfer transfer = {.disk = "vda"};
        Drover__TransferState source = said(90, 50, 5, "zstd 3"), sink = said(80, 70, 0, "");
        sink.bytes_reused = 7;
        job_transfer_heard(&transfer, &source, 0, false);
        job_transfer_heard(&transfer, &sink, 0, true);
        for (unsigned i = 0; i < 2; i++) { // whoever speaks last
                assert_int_equal(transfer.state.bytes_done, 80);
                assert_int_equal(transfer.state.bytes_wire, 50);
                assert_int_equal(transfer.state.bytes_resent, 5);
                assert_int_equal(transfer.state.bytes_reused, 7);
                assert_string_equal(transfer.choice, "zstd 3");
                assert_null(transfer.state.choice);
                job_transfer_heard(&transfer, &source, 0, false);
        }
}

static void what_earlier_attempts_sent_stays_counted(void **unused) {
        (void) unused;
        struct job_transfer transfer = {.disk = "vda"};
        Drover__TransferState first = said(0, 50, 0, ""), half = said(0, 10, 2, ""), whole = said(0, 40, 3, "");
        job_transfer_heard(&transfer, &first, 0, false);
        job_transfer_heard(&transfer, &half, 1, false);
        job_transfer_heard(&transfer, &whole, 1, false);
        assert_int_equal(transfer.state.bytes_wire, 90);
        assert_int_equal(transfer.state.bytes_resent, 3);
        job_transfer_heard(&transfer, &half, 2, false);
        assert_int_equal(transfer.state.bytes_wire, 100);
        assert_int_equal(transfer.state.bytes_resent, 5);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_source_says_what_was_sent_and_the_sink_what_arrived),
                cmocka_unit_test(what_earlier_attempts_sent_stays_counted),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
