// SPDX-License-Identifier: LGPL-2.1-or-later
/* What came of a job: its own error, and the exit code of a job that was begun. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "cli/outcome.h"
#include "scratch.h"

static struct invocation call;
static struct error err;

static int outcome(const char *state, enum error_code code, const char *message) {
        Drover__Failure why = DROVER__FAILURE__INIT;
        Drover__JobRecord job = DROVER__JOB_RECORD__INIT;
        job.id = (char *) "abc";
        job.kind = (char *) "vm.clone";
        job.vm = (char *) "lyon/kvm1/erp";
        job.state = (char *) state;
        job.note = (char *) "drover job retry abc";
        why.code = code;
        why.message = (char *) message;
        job.error = code == ERROR_NONE ? NULL : &why;
        call = (struct invocation){0};
        err = ERROR_INIT;
        return outcome_of(&job, &call, &err);
}

static void a_job_that_is_done_is_a_success(void **state) {
        (void) state;
        assert_int_equal(outcome("done", ERROR_NONE, ""), 0);
        assert_int_equal(call.exit_code, 0);
}

static void a_job_that_failed_keeps_its_reason_and_exits_with_1(void **state) {
        (void) state;
        static const enum error_code codes[] = {ERROR_REFUSED,     ERROR_CONFLICT, ERROR_NOT_FOUND, ERROR_DENIED,
                                                ERROR_UNREACHABLE, ERROR_INVALID,  ERROR_TIMEOUT,   ERROR_IO};
        for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
                assert_int_equal(outcome("failed", codes[i], "no guest was found"), -1);
                assert_error(err, codes[i], "vm.clone lyon/kvm1/erp: job abc failed: no guest was found");
                assert_int_equal(call.exit_code, 1);
        }
        assert_int_equal(outcome("failed", ERROR_NONE, ""), -1);
        assert_error(err, ERROR_FAILED, "vm.clone lyon/kvm1/erp: job abc failed");
        assert_int_equal(call.exit_code, 1);
}

static void one_of_which_a_part_succeeded_exits_with_3(void **state) {
        (void) state;
        assert_int_equal(outcome("failed", ERROR_PARTLY, "2 of 3 VMs were moved"), -1);
        assert_int_equal(call.exit_code, 3);
}

static void cancelled_is_said_once(void **state) {
        (void) state;
        assert_int_equal(outcome("cancelled", ERROR_CANCELLED, "cancelled"), -1);
        assert_error(err, ERROR_CANCELLED, "vm.clone lyon/kvm1/erp: job abc was cancelled");
        assert_int_equal(call.exit_code, 1);
}

static void one_that_needs_an_operator_says_what_to_type(void **state) {
        (void) state;
        assert_int_equal(outcome("needs-operator", ERROR_LIBVIRT, "it does not answer"), -1);
        assert_int_equal(err.n_hints, 1);
        assert_string_equal(err.hints[0], "drover job retry abc");
        assert_int_equal(call.exit_code, 1);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_job_that_is_done_is_a_success),
                cmocka_unit_test(a_job_that_failed_keeps_its_reason_and_exits_with_1),
                cmocka_unit_test(one_of_which_a_part_succeeded_exits_with_3),
                cmocka_unit_test(cancelled_is_said_once),
                cmocka_unit_test(one_that_needs_an_operator_says_what_to_type),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
