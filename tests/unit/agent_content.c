// SPDX-License-Identifier: LGPL-2.1-or-later
/* agent/host/content: what this host has is listed likeliest first, and never through a link. */
#include "agent/host/content.h"
#include "common/cleanup.h"
#include "common/memory.h"
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>
#include "scratch.h"

#define ERP  "11111111-1111-1111-1111-111111111111"
#define MAIL "22222222-2222-2222-2222-222222222222"
#define MANY 100u

static struct journal *journal;

static int set_up(void **state) {
        struct error err = ERROR_INIT;
        if (scratch_make(state) < 0 || journal_open(scratch_path("agent.db"), &journal, &err) < 0)
                return -1;
        return mkdir(scratch_path("images"), 0755) < 0 || mkdir(scratch_path("images/.drover"), 0700) < 0 ? -1 : 0;
}

static int tear_down(void **state) {
        journal_close(journal);
        return scratch_remove(state);
}

// A file whose first byte says which it is.
static void make(const char *name, char mark, off_t bytes, time_t modified) {
        _cleanup_(free_p) char *path = memory_format("images/%s", name);
        char text[2] = {mark, 0};
        scratch_write(path, text);
        assert_int_equal(truncate(scratch_path(path), bytes), 0);
        const struct timespec times[] = {{.tv_sec = modified}, {.tv_sec = modified}};
        assert_int_equal(utimensat(AT_FDCWD, scratch_path(path), times, 0), 0);
}

static void hold(const char *job, const char *uuid, const char *item, enum hold_kind kind, int64_t at) {
        struct hold it = {.kind = kind, .at = at};
        snprintf(it.job, sizeof it.job, "%s", job);
        snprintf(it.vm_uuid, sizeof it.vm_uuid, "%s", uuid);
        snprintf(it.vm_name, sizeof it.vm_name, "%s", uuid[0] == '1' ? "erp" : "mail");
        snprintf(it.item, sizeof it.item, "%s", item);
        snprintf(it.directory, sizeof it.directory, "%s", scratch_path("images"));
        snprintf(it.name, sizeof it.name, "%s.qcow2", it.vm_name);
        assert_int_equal(journal_hold_put(journal, &it, NULL), 0);
}

// The marks of what was found, in order.
static const char *found(uint64_t bytes) {
        static char marks[CONTENT_MAX + 1];
        int fds[CONTENT_MAX];
        unsigned n = 0;
        struct error err = ERROR_INIT;
        if (content_find(NULL, journal, "now", "vda", bytes, fds, &n, &err) < 0)
                fail_msg("%s", err.message);
        assert_true(n <= CONTENT_MAX);
        for (unsigned i = 0; i < n; i++) {
                assert_int_equal(pread(fds[i], &marks[i], 1, 0), 1);
                assert_int_equal(fcntl(fds[i], F_GETFL) & O_ACCMODE, O_RDONLY);
                close(fds[i]);
        }
        marks[n] = 0;
        return marks;
}

static void what_the_vm_left_comes_first(void **state) {
        (void) state;
        hold("now", ERP, "vda", HOLD_INCOMING, 100);
        make(".drover/now.vda.part", 'X', 1 << 20, 9000);
        hold("old", ERP, "vda", HOLD_RETIRED, 10);
        make(".drover/old.vda.held", '2', 1 << 20, 9000);
        hold("newer", ERP, "vda", HOLD_RETIRED, 20);
        make(".drover/newer.vda.held", '1', 1 << 20, 10);
        hold("newest", ERP, "vdb", HOLD_RETIRED, 30);
        make(".drover/newest.vdb.held", '3', 1 << 20, 9000);
        hold("partial", ERP, "vda", HOLD_INCOMING, 40);
        make(".drover/partial.vda.part", '4', 1 << 20, 9000);
        hold("other", MAIL, "vda", HOLD_FENCED, 50);
        make(".drover/other.vda.held", '6', 1 << 20, 9000);
        make("erp.qcow2", '5', 1 << 20, 10);
        make("iso", '7', 1 << 20, 9000);
        assert_string_equal(found(0), "1234576");
}

static void names_and_lengths_speak_for_an_image(void **state) {
        (void) state;
        hold("now", ERP, "vda", HOLD_INCOMING, 100);
        make("b", 'e', 1 << 20, 10);
        make("a", 'd', 1 << 20, 20);
        make("erp-clone.qcow2", 'c', 1 << 20, 12);
        make("windows", 'b', 3 << 20, 5);
        make("erp-old.qcow2", 'a', 3 << 20, 10);
        assert_string_equal(found(3 << 20), "abcde");
        assert_string_equal(found(0), "cadeb");
}

static void what_is_small_or_hidden_or_no_file_is_left_out(void **state) {
        (void) state;
        hold("now", ERP, "vda", HOLD_INCOMING, 100);
        make("small", 's', CONTENT_SMALLEST - 1, 10);
        make(".hidden", 'h', 1 << 20, 10);
        make(".drover/nobody.vda.held", 'n', 1 << 20, 10);
        assert_int_equal(mkfifo(scratch_path("images/pipe"), 0600), 0);
        assert_int_equal(mkdir(scratch_path("images/directory"), 0700), 0);
        assert_string_equal(found(0), "");
}

static void fault_49_links_are_not_followed(void **state) {
        (void) state;
        hold("now", ERP, "vda", HOLD_INCOMING, 100);
        scratch_write("secret", "S");
        assert_int_equal(truncate(scratch_path("secret"), 1 << 20), 0);
        assert_int_equal(symlink(scratch_path("secret"), scratch_path("images/erp.qcow2")), 0);
        hold("old", ERP, "vda", HOLD_RETIRED, 10);
        assert_int_equal(symlink(scratch_path("secret"), scratch_path("images/.drover/old.vda.held")), 0);
        assert_string_equal(found(0), "");
}

static void one_file_is_listed_once(void **state) {
        (void) state;
        hold("now", ERP, "vda", HOLD_INCOMING, 100);
        make("one", '1', 1 << 20, 10);
        assert_int_equal(link(scratch_path("images/one"), scratch_path("images/two")), 0);
        assert_string_equal(found(0), "1");
}

static void of_many_the_likeliest_are_taken(void **state) {
        (void) state;
        hold("now", ERP, "vda", HOLD_INCOMING, 100);
        for (unsigned i = 0; i < MANY; i++) {
                _cleanup_(free_p) char *name = memory_format("%u", i);
                make(name, i % 10 ? 'o' : '1', i % 10 ? 1 << 20 : 3 << 20, 10 + i);
        }
        const char *marks = found(3 << 20);
        assert_int_equal(strlen(marks), CONTENT_MAX);
        assert_int_equal(strspn(marks, "1"), MANY / 10);
}

static void without_a_hold_there_is_nothing_to_look_for(void **state) {
        (void) state;
        int fds[CONTENT_MAX];
        unsigned n;
        struct error err = ERROR_INIT;
        assert_int_equal(content_find(NULL, journal, "now", "vda", 0, fds, &n, &err), -1);
        assert_error(err, ERROR_NOT_FOUND, "nothing is held for vda");
}

#define CONTENT_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void) {
        const struct CMUnitTest tests[] = {
                CONTENT_TEST(what_the_vm_left_comes_first),
                CONTENT_TEST(names_and_lengths_speak_for_an_image),
                CONTENT_TEST(what_is_small_or_hidden_or_no_file_is_left_out),
                CONTENT_TEST(fault_49_links_are_not_followed),
                CONTENT_TEST(one_file_is_listed_once),
                CONTENT_TEST(of_many_the_likeliest_are_taken),
                CONTENT_TEST(without_a_hold_there_is_nothing_to_look_for),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
