// SPDX-License-Identifier: LGPL-2.1-or-later
/* Where we meet a qemu-nbd, and what of it is left when an agent is killed. */
#include "agent/blocks/nbd_meeting.h"
#include "common/cleanup.h"
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <cmocka.h>
#include "scratch.h"

static bool exists(const char *path) {
        struct stat status;
        return lstat(path, &status) == 0;
}

static void open_meeting(struct nbd_meeting *meeting) {
        struct error err = ERROR_INIT;
        if (nbd_meeting_init(meeting, 1, &err) < 0)
                fail_msg("%s", err.message);
}

static void it_has_a_name_for_as_long_as_it_lasts(void **state) {
        (void) state;
        _cleanup_(close_p) int fd = -1;
        struct nbd_meeting meeting;
        struct error err = ERROR_INIT;
        open_meeting(&meeting);
        assert_int_equal(nbd_meeting_connect(&meeting, &fd, &err), 0);
        nbd_meeting_fini(&meeting);
        assert_false(exists(meeting.directory));
}

static void one_that_is_in_use_is_not_collected(void **state) {
        (void) state;
        _cleanup_(close_p) int fd = -1;
        struct nbd_meeting meeting;
        struct error err = ERROR_INIT;
        open_meeting(&meeting);
        nbd_meeting_collect();
        assert_int_equal(nbd_meeting_connect(&meeting, &fd, &err), 0);
        nbd_meeting_fini(&meeting);
}

static void what_a_killed_agent_has_left_is_collected(void **state) {
        (void) state;
        int pipe_fds[2];
        struct nbd_meeting meeting;
        assert_int_equal(pipe(pipe_fds), 0);
        pid_t child = fork();
        if (child == 0) {
                if (nbd_meeting_init(&meeting, 1, NULL) < 0 || write(pipe_fds[1], &meeting, sizeof(meeting)) < 0)
                        _exit(1);
                raise(SIGKILL);
        }
        assert_int_equal(waitpid(child, NULL, 0), child);
        assert_int_equal(read(pipe_fds[0], &meeting, sizeof(meeting)), sizeof(meeting));
        close(pipe_fds[0]);
        close(pipe_fds[1]);
        assert_true(exists(meeting.address.sun_path));
        nbd_meeting_collect();
        assert_false(exists(meeting.directory));
}

static void what_is_not_quite_ours_is_left_alone(void **state) {
        (void) state;
        char open_to_all[] = "/tmp/drover-nbd-XXXXXX", full[] = "/tmp/drover-nbd-XXXXXX",
             others[] = "/tmp/drover-nbd-XXXXXX", linked[] = "/tmp/drover-nbd-XXXXXX", kept[96];
        char *const made[] = {open_to_all, full, others, linked};
        for (unsigned i = 0; i < ARRAY_SIZE(made); i++)
                assert_non_null(mkdtemp(made[i]));
        assert_int_equal(chmod(open_to_all, 0755), 0);
        snprintf(kept, sizeof(kept), "%s/nbd", full); // a file, and no socket
        _cleanup_(close_p) int fd = open(kept, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        bool root = chown(others, 1, 1) == 0;
        assert_int_equal(rmdir(linked), 0);
        assert_int_equal(symlink(scratch, linked), 0);
        nbd_meeting_collect();
        assert_true(exists(open_to_all));
        assert_true(exists(kept));
        assert_true(exists(others) || !root);
        assert_true(exists(linked) && exists(scratch));
        unlink(kept);
        unlink(linked);
        rmdir(full);
        rmdir(open_to_all);
        rmdir(others);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                SCRATCH_TEST(it_has_a_name_for_as_long_as_it_lasts),
                SCRATCH_TEST(one_that_is_in_use_is_not_collected),
                SCRATCH_TEST(what_a_killed_agent_has_left_is_collected),
                SCRATCH_TEST(what_is_not_quite_ours_is_left_alone),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
