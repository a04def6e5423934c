// SPDX-License-Identifier: LGPL-2.1-or-later
/* Small files: bounded reads, writes that are whole or not there, and links that are not followed. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "common/file.h"
#include "common/memory.h"
#include "scratch.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

// In the place of the C library's: the call that counts down to 0 fails.
static int fsync_countdown = -1;
static unsigned fsyncs;

int fsync(int fd) {
        fsyncs++;
        if (fsync_countdown >= 0 && fsync_countdown-- == 0) {
                errno = EIO;
                return -1;
        }
        return (int) syscall(SYS_fsync, fd);
}

static void holds(const char *name, const char *expected) {
        struct error err = ERROR_INIT;
        struct buffer content;
        buffer_init(&content, 0);
        if (file_read(scratch_path(name), 1 << 20, &content, &err) < 0)
                fail_msg("%s", err.message);
        assert_string_equal((const char *) content.data, expected);
        buffer_fini(&content);
}

// "action FILE: why", with the path of this run.
static const char *about(const char *action, const char *name, const char *why) {
        static char text[700];
        snprintf(text, sizeof(text), "%s %s%s", action, scratch_path(name), why);
        return text;
}

static unsigned entries(void) {
        unsigned n = 0;
        DIR *dir = opendir(scratch);
        while (readdir(dir))
                n++;
        closedir(dir);
        return n - 2;
}

static unsigned descriptors(void) {
        unsigned n = 0;
        DIR *dir = opendir("/proc/self/fd");
        while (readdir(dir))
                n++;
        closedir(dir);
        return n;
}

static void what_is_written_is_read_and_ends_with_nul(void **state) {
        (void) state;
        struct buffer content;
        assert_int_equal(file_write(scratch_path("f"), "a\0b", 3, 0600, NULL), 0);
        buffer_init(&content, 0);
        buffer_append_text(&content, "of before", NULL);
        assert_int_equal(file_read(scratch_path("f"), 3, &content, NULL), 0);
        assert_int_equal(content.length, 3);
        assert_memory_equal(content.data, "a\0b", 4);
        buffer_fini(&content);
        assert_int_equal(entries(), 1);
}

static void an_empty_file_is_read_as_an_empty_text(void **state) {
        (void) state;
        scratch_write("f", "");
        holds("f", "");
}

static void one_byte_over_the_limit_is_refused_and_the_output_stays(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        struct buffer content;
        scratch_write("f", "12345");
        buffer_init(&content, 0);
        buffer_append_text(&content, "before", NULL);
        assert_int_equal(file_read(scratch_path("f"), 4, &content, &err), -1);
        assert_error(err, ERROR_TOO_LARGE, about("read", "f", ": longer than 4 bytes"));
        assert_int_equal(content.length, 6);
        assert_memory_equal(content.data, "before", 6);
        buffer_fini(&content);
}

static void cannot_read(const char *name, enum error_code code, const char *why) {
        struct error err = ERROR_INIT;
        struct buffer content;
        buffer_init(&content, 0);
        assert_int_equal(file_read(scratch_path(name), 100, &content, &err), -1);
        assert_error(err, code, about("read", name, why));
        assert_null(content.data);
}

static void what_is_not_a_regular_file_is_refused_without_waiting(void **state) {
        (void) state;
        assert_int_equal(mkdir(scratch_path("dir"), 0700), 0);
        assert_int_equal(mkfifo(scratch_path("fifo"), 0600), 0);
        scratch_write("f", "x");
        assert_int_equal(symlink("f", scratch_path("link")), 0);
        cannot_read("dir", ERROR_INVALID, ": not a regular file");
        cannot_read("fifo", ERROR_INVALID, ": not a regular file");
        cannot_read("link", ERROR_INVALID, ": is a symbolic link");
        cannot_read("none", ERROR_NOT_FOUND, ": No such file or directory");
}

static void the_mode_is_exact_whatever_the_umask(void **state) {
        (void) state;
        struct stat status;
        mode_t old = umask(0077);
        assert_int_equal(file_write(scratch_path("public"), "x", 1, 0644, NULL), 0);
        umask(0);
        assert_int_equal(file_write(scratch_path("private"), "x", 1, 0600, NULL), 0);
        umask(old);
        assert_int_equal(stat(scratch_path("public"), &status), 0);
        assert_int_equal(status.st_mode & 07777, 0644);
        assert_int_equal(stat(scratch_path("private"), &status), 0);
        assert_int_equal(status.st_mode & 07777, 0600);
}

static void a_write_replaces_a_link_and_not_what_it_names(void **state) {
        (void) state;
        scratch_write("target", "old");
        assert_int_equal(symlink("target", scratch_path("link")), 0);
        assert_int_equal(file_write(scratch_path("link"), "new", 3, 0600, NULL), 0);
        holds("target", "old");
        holds("link", "new");
}

static void write_more_than_fits(void) {
        static char large[100000];
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &(struct rlimit){4096, 4096});
        struct error err = ERROR_INIT;
        int result = file_write(scratch_path("f"), large, sizeof(large), 0600, &err);
        _exit(result == -1 && strcmp(err.message, about("write", "f", ": File too large")) == 0 ? 0 : 1);
}

static void a_write_that_fails_leaves_the_old_file_and_nothing_else(void **state) {
        (void) state;
        scratch_write("f", "old");
        assert_int_equal(status_of_child(write_more_than_fits), 0);
        holds("f", "old");
        assert_int_equal(entries(), 1);
}

static void fault_15_a_write_syncs_the_file_and_its_directory(void **state) {
        (void) state;
        fsyncs = 0;
        scratch_write("f", "x");
        assert_int_equal(fsyncs, 2);
}

static void fault_23_a_sync_that_fails_once_leaves_the_old_file(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        scratch_write("f", "old");
        fsync_countdown = 0;
        assert_int_equal(file_write(scratch_path("f"), "new", 3, 0600, &err), -1);
        assert_error(err, ERROR_IO, about("write", "f", ": Input/output error"));
        holds("f", "old");
        assert_int_equal(entries(), 1);
}

static void fault_23_a_directory_sync_that_fails_is_an_error(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        fsync_countdown = 1;
        assert_int_equal(file_write(scratch_path("f"), "new", 3, 0600, &err), -1);
        assert_error(err, ERROR_IO, about("write", "f", ": fsync of a directory: Input/output error"));
}

static void a_rename_that_fails_leaves_nothing_behind(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        assert_int_equal(mkdir(scratch_path("dir"), 0700), 0);
        assert_int_equal(file_write(scratch_path("dir"), "x", 1, 0600, &err), -1);
        assert_error(err, ERROR_IO, about("write", "dir", ": Is a directory"));
        assert_int_equal(entries(), 1);
}

static void what_a_dead_writer_left_is_removed_by_the_next(void **state) {
        (void) state;
        scratch_write("victim", "untouched");
        assert_int_equal(link(scratch_path("victim"), scratch_path(".f.tmp")), 0);
        scratch_write("f", "one");
        assert_int_equal(symlink("victim", scratch_path(".f.tmp")), 0);
        scratch_write("f", "two");
        holds("f", "two");
        holds("victim", "untouched");
        assert_int_equal(entries(), 2);
}

static void write_again_and_again(void) {
        static char text[50001];
        for (int i = 0; i < 40; i++) {
                memset(text, 'a' + i % 26, sizeof(text) - 1);
                if (file_write(scratch_path("f"), text, sizeof(text) - 1, 0600, NULL) < 0)
                        _exit(1);
        }
        _exit(0);
}

static void a_reader_beside_two_writers_sees_whole_files_only(void **state) {
        (void) state;
        pid_t children[2];
        scratch_write("f", "first");
        for (int i = 0; i < 2; i++)
                if ((children[i] = fork()) == 0)
                        write_again_and_again();
        for (int running = 2; running > 0;) {
                int status;
                struct buffer content;
                buffer_init(&content, 0);
                assert_int_equal(file_read(scratch_path("f"), 1 << 20, &content, NULL), 0);
                if (strcmp((const char *) content.data, "first") != 0) {
                        assert_int_equal(content.length, 50000);
                        for (size_t i = 1; i < content.length; i++)
                                if (content.data[i] != content.data[0])
                                        fail_msg("half a file was seen");
                }
                buffer_fini(&content);
                pid_t ended = waitpid(-1, &status, WNOHANG);
                if (ended > 0) {
                        assert_int_equal(status, 0);
                        running--;
                }
        }
        assert_int_equal(entries(), 1);
}

static void a_path_that_names_no_file_is_refused(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        assert_int_equal(file_write("", "x", 1, 0600, &err), -1);
        assert_error(err, ERROR_INVALID, "write : : not the name of a file");
        assert_int_equal(file_write("/tmp/..", "x", 1, 0600, &err), -1);
        assert_error(err, ERROR_INVALID, "write /tmp/..: /tmp/..: not the name of a file");
        assert_int_equal(file_write("/nonexistent/f", "x", 1, 0600, &err), -1);
        assert_error(err, ERROR_NOT_FOUND, "write /nonexistent/f: open /nonexistent: No such file or directory");
}

static void directories_are_made_with_their_parents_and_may_be_there(void **state) {
        (void) state;
        struct stat status;
        for (int turn = 0; turn < 2; turn++)
                assert_int_equal(file_make_directories(scratch_path("a/b//c/"), 0700, NULL), 0);
        assert_int_equal(stat(scratch_path("a/b/c"), &status), 0);
        assert_true(S_ISDIR(status.st_mode));
        assert_int_equal(status.st_mode & 07777, 0700);
        assert_int_equal(file_make_directories("/", 0700, NULL), 0);
}

static void a_file_in_the_way_of_a_directory_is_an_error(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        scratch_write("f", "x");
        assert_int_equal(file_make_directories(scratch_path("f"), 0700, &err), -1);
        assert_error(err, ERROR_IO, about("make directory", "f", ": Not a directory"));
        assert_int_equal(file_make_directories(scratch_path("f/g"), 0700, &err), -1);
        assert_error(err, ERROR_IO, about("make directory", "f/g", ": Not a directory"));
        assert_int_equal(file_make_directories("", 0700, &err), -1);
        assert_error(err, ERROR_INVALID, "make a directory: the path is empty");
}

static void a_tree_is_removed_and_links_in_it_are_not_followed(void **state) {
        (void) state;
        assert_int_equal(file_make_directories(scratch_path("keep"), 0700, NULL), 0);
        scratch_write("keep/f", "x");
        assert_int_equal(file_make_directories(scratch_path("tree/a/b"), 0700, NULL), 0);
        scratch_write("tree/a/f", "x");
        assert_int_equal(symlink("../keep", scratch_path("tree/link")), 0);
        assert_int_equal(symlink("nowhere", scratch_path("tree/dangling")), 0);
        assert_int_equal(file_remove_tree(scratch_path("tree"), NULL), 0);
        assert_false(scratch_has("tree"));
        holds("keep/f", "x");
        assert_int_equal(symlink("keep", scratch_path("link")), 0);
        assert_int_equal(file_remove_tree(scratch_path("link"), NULL), 0);
        holds("keep/f", "x");
}

static void what_is_not_there_counts_as_removed(void **state) {
        (void) state;
        assert_int_equal(file_remove_tree(scratch_path("none"), NULL), 0);
        assert_int_equal(file_remove_tree(scratch_path("none/deeper"), NULL), 0);
}

static void a_tree_deeper_than_the_bound_is_refused(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        char *path = memory_format("%s/deep", scratch);
        for (int i = 0; i < 65; i++) {
                char *deeper = memory_format("%s/d", path);
                free(path);
                path = deeper;
        }
        assert_int_equal(file_make_directories(path, 0700, NULL), 0);
        assert_int_equal(file_remove_tree(scratch_path("deep"), &err), -1);
        assert_int_equal(err.code, ERROR_TOO_LARGE);
        assert_non_null(strstr(err.message, "remove deep: remove d: "));
        assert_non_null(strstr(err.message, "more than 64 levels deep"));
        free(path);
        assert_int_equal(file_remove_tree(scratch_path("deep/d/d"), NULL), 0);
}

static void no_descriptor_stays_open(void **state) {
        (void) state;
        struct buffer content;
        unsigned before = descriptors();
        buffer_init(&content, 0);
        scratch_write("f", "x");
        assert_int_equal(mkdir(scratch_path("dir"), 0700), 0);
        file_read(scratch_path("f"), 10, &content, NULL);
        file_read(scratch_path("f"), 0, &content, NULL);
        file_read(scratch_path("dir"), 10, &content, NULL);
        file_write(scratch_path("dir"), "x", 1, 0600, NULL);
        file_remove_tree(scratch_path("dir"), NULL);
        assert_int_equal(descriptors(), before);
        buffer_fini(&content);
}

static void a_sync_of_what_is_no_descriptor_fails(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        assert_int_equal(file_sync_directory(-1, &err), -1);
        assert_error(err, ERROR_IO, "fsync of a directory: Bad file descriptor");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                SCRATCH_TEST(what_is_written_is_read_and_ends_with_nul),
                SCRATCH_TEST(an_empty_file_is_read_as_an_empty_text),
                SCRATCH_TEST(one_byte_over_the_limit_is_refused_and_the_output_stays),
                SCRATCH_TEST(what_is_not_a_regular_file_is_refused_without_waiting),
                SCRATCH_TEST(the_mode_is_exact_whatever_the_umask),
                SCRATCH_TEST(a_write_replaces_a_link_and_not_what_it_names),
                SCRATCH_TEST(a_write_that_fails_leaves_the_old_file_and_nothing_else),
                SCRATCH_TEST(fault_15_a_write_syncs_the_file_and_its_directory),
                SCRATCH_TEST(fault_23_a_sync_that_fails_once_leaves_the_old_file),
                SCRATCH_TEST(fault_23_a_directory_sync_that_fails_is_an_error),
                SCRATCH_TEST(a_rename_that_fails_leaves_nothing_behind),
                SCRATCH_TEST(what_a_dead_writer_left_is_removed_by_the_next),
                SCRATCH_TEST(a_reader_beside_two_writers_sees_whole_files_only),
                SCRATCH_TEST(a_path_that_names_no_file_is_refused),
                SCRATCH_TEST(directories_are_made_with_their_parents_and_may_be_there),
                SCRATCH_TEST(a_file_in_the_way_of_a_directory_is_an_error),
                SCRATCH_TEST(a_tree_is_removed_and_links_in_it_are_not_followed),
                SCRATCH_TEST(what_is_not_there_counts_as_removed),
                SCRATCH_TEST(a_tree_deeper_than_the_bound_is_refused),
                SCRATCH_TEST(no_descriptor_stays_open),
                SCRATCH_TEST(a_sync_of_what_is_no_descriptor_fails),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
