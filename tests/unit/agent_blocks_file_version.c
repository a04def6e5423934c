// SPDX-License-Identifier: LGPL-2.1-or-later
/* agent/blocks/file_version: no change goes unseen. The kernel's coarse clock is this program's own. */
#include "agent/blocks/file_version.h"
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>

static struct timespec tick; // of the coarse clock
static unsigned lasts;       // so many looks at it

int clock_gettime(clockid_t clock, struct timespec *ret) {
        if (clock != CLOCK_REALTIME_COARSE || lasts == 0)
                return (int) syscall(SYS_clock_gettime, clock, ret);
        lasts--;
        *ret = tick;
        return 0;
}

static int file(void) {
        char path[] = "/var/tmp/drover-version-XXXXXX";
        int fd = mkstemp(path);
        assert_true(fd >= 0);
        unlink(path);
        assert_int_equal(pwrite(fd, "one", 3, 0), 3);
        return fd;
}

static void what_stays_has_one_version_and_what_changes_another(void **state) {
        (void) state;
        uint64_t one[FILE_VERSION_FACTS], other[FILE_VERSION_FACTS];
        int fd = file();
        struct stat status;
        assert_int_equal(file_version(fd, one, NULL), 1);
        assert_int_equal(file_version(fd, other, NULL), 1);
        assert_memory_equal(one, other, sizeof one);
        assert_int_equal(fstat(fd, &status), 0);
        assert_int_equal(pwrite(fd, "two", 3, 0), 3);
        const struct timespec times[2] = {status.st_atim, status.st_mtim}; // as if nothing had been
        assert_int_equal(futimens(fd, times), 0);
        assert_int_equal(file_version(fd, other, NULL), 1);
        assert_memory_not_equal(one, other, sizeof one);
        close(fd);
}

static void what_was_changed_in_this_tick_is_looked_at_in_the_next(void **state) {
        (void) state;
        uint64_t facts[FILE_VERSION_FACTS];
        struct stat status;
        int fd = file();
        assert_int_equal(fstat(fd, &status), 0);
        tick = status.st_ctim;
        lasts = 3;
        assert_int_equal(file_version(fd, facts, NULL), 1);
        assert_int_equal(lasts, 0);
        lasts = 1000; // a clock that stands still holds nobody
        assert_int_equal(file_version(fd, facts, NULL), 1);
        assert_in_range(lasts, 900, 990);
        tick.tv_sec -= 86400; // set back by a day
        lasts = 3;
        assert_int_equal(file_version(fd, facts, NULL), 1);
        assert_int_equal(lasts, 2);
        lasts = 0;
        close(fd);
}

static void a_device_keeps_no_time_of_its_changes(void **state) {
        (void) state;
        uint64_t facts[FILE_VERSION_FACTS];
        int fd = open("/dev/null", O_RDONLY);
        assert_int_equal(file_version(fd, facts, NULL), 0);
        close(fd);
        struct error err = ERROR_INIT;
        assert_int_equal(file_version(-1, facts, &err), -1);
        assert_string_equal(err.message, "look at the image: Bad file descriptor");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(what_stays_has_one_version_and_what_changes_another),
                cmocka_unit_test(what_was_changed_in_this_tick_is_looked_at_in_the_next),
                cmocka_unit_test(a_device_keeps_no_time_of_its_changes),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
