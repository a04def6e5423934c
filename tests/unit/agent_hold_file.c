// SPDX-License-Identifier: LGPL-2.1-or-later
/* Moving held files between their place and the sidecar, on a real file system. */
#include "agent/host/hold_file.h"
#include "common/cleanup.h"
#include "common/file.h"
#include "common/memory.h"
#include "gone.h"
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <cmocka.h>
#include "scratch.h"

struct scene {
        char root[64];
        struct journal *journal;
        struct hold hold;
        struct error err;
};

static int set_up(void **state) {
        struct scene *scene = new (struct scene);
        assert_int_equal(scratch_new(scene->root, sizeof(scene->root)), 0);
        _cleanup_(free_p) char *path = memory_format("%s/agent.db", scene->root);
        _cleanup_(free_p) char *images = memory_format("%s/images", scene->root);
        assert_int_equal(mkdir(images, 0755), 0);
        assert_int_equal(journal_open(path, &scene->journal, &scene->err), 0);
        scene->hold = (struct hold){.job = "job1", .vm_name = "erp", .item = "vda", .kind = HOLD_FENCED};
        snprintf(scene->hold.directory, sizeof(scene->hold.directory), "%s", images);
        snprintf(scene->hold.name, sizeof(scene->hold.name), "erp.raw");
        *state = scene;
        return 0;
}

static int tear_down(void **state) {
        struct scene *scene = *state;
        journal_close(scene->journal);
        file_remove_tree(scene->root, NULL);
        free(scene);
        return 0;
}

static char *path_of(const struct scene *scene, const char *name) {
        return memory_format("%s/%s", scene->hold.directory, name);
}

static void make(const struct scene *scene, const char *name, const char *text) {
        _cleanup_(free_p) char *path = path_of(scene, name);
        assert_int_equal(file_write(path, text, strlen(text), 0600, NULL), 0);
}

static bool has(const struct scene *scene, const char *name, const char *text) {
        _cleanup_(free_p) char *path = path_of(scene, name);
        _cleanup_(buffer_fini) struct buffer content;
        buffer_init(&content, 0);
        return file_read(path, 4096, &content, NULL) == 0 && content.length == strlen(text) &&
               memcmp(content.data, text, content.length) == 0;
}

static enum hold_place place_of(struct scene *scene) {
        enum hold_place place = HOLD_NOWHERE;
        assert_int_equal(hold_file_find(&scene->hold, &place, &scene->err), 0);
        return place;
}

static void a_path_is_split_into_directory_and_name(void **state) {
        struct scene *scene = *state;
        struct hold hold = {0};
        assert_int_equal(hold_file_split(&hold, "/srv/images/a b.qcow2", &scene->err), 0);
        assert_string_equal(hold.directory, "/srv/images");
        assert_string_equal(hold.name, "a b.qcow2");
        assert_int_equal(hold_file_split(&hold, "/disk", &scene->err), 0);
        assert_string_equal(hold.directory, "/");
        assert_int_equal(hold_file_split(&hold, "images/a", &scene->err), -1);
        assert_string_equal(scene->err.message, "images/a is not the absolute path of a file");
        assert_int_equal(hold_file_split(&hold, "/images/", &scene->err), -1);
}

static void a_file_goes_aside_and_back(void **state) {
        struct scene *scene = *state;
        struct stat status;
        _cleanup_(free_p) char *sidecar = path_of(scene, ".drover");
        assert_int_equal(place_of(scene), HOLD_NOWHERE);
        make(scene, "erp.raw", "data");
        assert_int_equal(place_of(scene), HOLD_IN_PLACE);
        assert_int_equal(hold_file_put_aside(&scene->hold, &scene->err), 0);
        assert_int_equal(place_of(scene), HOLD_ASIDE);
        assert_true(has(scene, ".drover/job1.vda.held", "data"));
        assert_int_equal(stat(sidecar, &status), 0);
        assert_int_equal(status.st_mode & 0777, 0700);
        assert_int_equal(hold_file_put_in_place(&scene->hold, false, &scene->err), 0);
        assert_true(has(scene, "erp.raw", "data"));
        assert_int_equal(place_of(scene), HOLD_IN_PLACE);
}

static void what_took_the_name_meanwhile_is_not_replaced(void **state) {
        struct scene *scene = *state;
        make(scene, "erp.raw", "ours");
        assert_int_equal(hold_file_put_aside(&scene->hold, &scene->err), 0);
        make(scene, "erp.raw", "theirs");
        assert_int_equal(place_of(scene), HOLD_BOTH);
        assert_int_equal(hold_file_put_in_place(&scene->hold, false, &scene->err), -1);
        assert_int_equal(scene->err.code, ERROR_CONFLICT);
        _cleanup_(free_p) char *expected = memory_format("%s/erp.raw exists: ours stays at %s/.drover/job1.vda.held",
                                                         scene->hold.directory, scene->hold.directory);
        assert_string_equal(scene->err.message, expected);
        assert_string_equal(scene->err.hints[0], "move the other file out of the way, then: drover job retry job1");
        assert_true(has(scene, "erp.raw", "theirs"));
        assert_int_equal(hold_file_put_in_place(&scene->hold, true, &scene->err), 0);
        assert_true(has(scene, "erp.raw", "ours"));
}

static void a_move_by_links_that_was_cut_short_is_finished(void **state) {
        struct scene *scene = *state;
        _cleanup_(free_p) char *from = path_of(scene, "erp.raw"), *to = path_of(scene, ".drover/job1.vda.held");
        for (unsigned back = 0; back < 2; back++) {
                make(scene, "erp.raw", "data");
                assert_int_equal(hold_file_put_aside(&scene->hold, &scene->err), 0);
                assert_int_equal(link(to, from), 0);
                assert_int_equal(place_of(scene), HOLD_TWINS);
                assert_int_equal(back ? hold_file_put_in_place(&scene->hold, false, &scene->err)
                                      : hold_file_put_aside(&scene->hold, &scene->err),
                                 0);
                assert_int_equal(place_of(scene), back ? HOLD_IN_PLACE : HOLD_ASIDE);
                assert_true(has(scene, back ? "erp.raw" : ".drover/job1.vda.held", "data"));
                unlink(to);
        }
}

static void fault_49_a_symbolic_link_in_place_of_an_image_is_refused(void **state) {
        struct scene *scene = *state;
        _cleanup_(free_p) char *link_path = path_of(scene, "erp.raw");
        make(scene, "elsewhere.raw", "data");
        assert_int_equal(symlink("elsewhere.raw", link_path), 0);
        assert_int_equal(hold_file_check(&scene->hold, &scene->err), -1);
        assert_int_equal(scene->err.code, ERROR_REFUSED);
        _cleanup_(free_p) char *expected = memory_format("%s is a symbolic link", link_path);
        assert_string_equal(scene->err.message, expected);
        assert_string_equal(scene->err.hints[0],
                            "write the path of the image itself into the definition: virsh edit erp");
        int fd;
        uint64_t bytes;
        assert_int_equal(hold_file_open(&scene->hold, HOLD_IN_PLACE, &fd, &bytes, &scene->err), -1);
}

static void fault_49_a_sidecar_that_is_a_link_is_refused(void **state) {
        struct scene *scene = *state;
        _cleanup_(free_p) char *sidecar = path_of(scene, ".drover");
        make(scene, "erp.raw", "data");
        assert_int_equal(symlink("/tmp", sidecar), 0);
        assert_int_equal(hold_file_put_aside(&scene->hold, &scene->err), -1);
        assert_int_equal(scene->err.code, ERROR_REFUSED);
        assert_true(has(scene, "erp.raw", "data"));
}

static void fault_49_a_partial_file_that_is_a_link_is_not_written_through(void **state) {
        struct scene *scene = *state;
        int fd = -1;
        scene->hold.kind = HOLD_INCOMING;
        assert_int_equal(hold_file_create(&scene->hold, &fd, &scene->err), 0);
        close(fd);
        make(scene, "victim", "precious");
        _cleanup_(free_p) char *part = path_of(scene, ".drover/job1.vda.part");
        assert_int_equal(unlink(part), 0);
        assert_int_equal(symlink("../victim", part), 0);
        assert_int_equal(hold_file_create(&scene->hold, &fd, &scene->err), -1);
        assert_true(has(scene, "victim", "precious"));
        assert_int_equal(unlink(part), 0);
        _cleanup_(free_p) char *victim = path_of(scene, "victim");
        assert_int_equal(link(victim, part), 0);
        assert_int_equal(hold_file_create(&scene->hold, &fd, &scene->err), -1);
        assert_int_equal(scene->err.code, ERROR_REFUSED);
        assert_true(has(scene, "victim", "precious"));
}

static void an_image_with_two_names_is_refused(void **state) {
        struct scene *scene = *state;
        _cleanup_(free_p) char *path = path_of(scene, "erp.raw"), *other = path_of(scene, "copy.raw");
        make(scene, "erp.raw", "data");
        assert_int_equal(hold_file_check(&scene->hold, &scene->err), 0);
        assert_int_equal(link(path, other), 0);
        assert_int_equal(hold_file_check(&scene->hold, &scene->err), -1);
        assert_int_equal(scene->err.code, ERROR_REFUSED);
        _cleanup_(free_p) char *expected = memory_format("%s has 2 names (hard links)", path);
        assert_string_equal(scene->err.message, expected);
}

static void an_image_that_another_program_has_locked_is_refused(void **state) {
        struct scene *scene = *state;
        _cleanup_(free_p) char *path = path_of(scene, "erp.raw");
        make(scene, "erp.raw", "data");
        _cleanup_(close_p) int fd = open(path, O_RDWR | O_CLOEXEC);
        struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 100, .l_len = 1};
        assert_int_equal(fcntl(fd, F_OFD_SETLK, &lock), 0);
        assert_int_equal(hold_file_check(&scene->hold, &scene->err), -1);
        assert_int_equal(scene->err.code, ERROR_CONFLICT);
        _cleanup_(free_p) char *expected = memory_format("%s is in use by another program", path);
        assert_string_equal(scene->err.message, expected);
}

static void a_directory_or_a_fifo_is_no_image(void **state) {
        struct scene *scene = *state;
        _cleanup_(free_p) char *path = path_of(scene, "erp.raw");
        assert_int_equal(mkfifo(path, 0600), 0);
        assert_int_equal(hold_file_check(&scene->hold, &scene->err), -1);
        _cleanup_(free_p) char *expected = memory_format("%s is not a regular file", path);
        assert_string_equal(scene->err.message, expected);
}

static void a_partial_file_begins_empty_each_time(void **state) {
        struct scene *scene = *state;
        scene->hold.kind = HOLD_INCOMING;
        for (unsigned i = 0; i < 2; i++) {
                int fd = -1;
                struct stat status;
                assert_int_equal(hold_file_create(&scene->hold, &fd, &scene->err), 0);
                assert_int_equal(fstat(fd, &status), 0);
                assert_int_equal(status.st_size, 0);
                assert_int_equal(status.st_mode & 0777, 0600);
                assert_int_equal(write(fd, "half", 4), 4);
                close(fd);
        }
        assert_true(has(scene, ".drover/job1.vda.part", "half"));
}

static void only_the_very_file_is_removed_from_its_place(void **state) {
        struct scene *scene = *state;
        char identity[HOLD_IDENTITY_MAX], moved[HOLD_IDENTITY_MAX];
        int fd = -1;
        scene->hold.kind = HOLD_INCOMING;
        assert_int_equal(hold_file_create(&scene->hold, &fd, &scene->err), 0);
        close(fd);
        assert_int_equal(hold_file_identity(&scene->hold, HOLD_ASIDE, identity, &scene->err), 0);
        assert_int_equal(hold_file_put_in_place(&scene->hold, false, &scene->err), 0);
        assert_int_equal(hold_file_identity(&scene->hold, HOLD_IN_PLACE, moved, &scene->err), 0);
        assert_string_equal(identity, moved);
        // The name now stands for another file, perhaps even with the same inode number.
        _cleanup_(free_p) char *path = path_of(scene, "erp.raw");
        assert_int_equal(unlink(path), 0);
        make(scene, "erp.raw", "theirs");
        assert_int_equal(hold_file_remove_in_place(&scene->hold, identity, &scene->err), -1);
        assert_int_equal(scene->err.code, ERROR_CONFLICT);
        assert_true(has(scene, "erp.raw", "theirs"));
        assert_int_equal(hold_file_identity(&scene->hold, HOLD_IN_PLACE, moved, &scene->err), 0);
        assert_int_equal(hold_file_remove_in_place(&scene->hold, moved, &scene->err), 0);
        assert_int_equal(place_of(scene), HOLD_NOWHERE);
        assert_int_equal(hold_file_remove_in_place(&scene->hold, moved, &scene->err), 0);
}

static void removing_aside_tells_what_was_freed_and_may_be_repeated(void **state) {
        struct scene *scene = *state;
        uint64_t bytes = 0;
        make(scene, "erp.raw", "data");
        assert_int_equal(hold_file_put_aside(&scene->hold, &scene->err), 0);
        assert_int_equal(hold_file_remove_aside(&scene->hold, &bytes, &scene->err), 0);
        assert_true(bytes > 0);
        assert_int_equal(hold_file_remove_aside(&scene->hold, &bytes, &scene->err), 0);
        assert_int_equal(bytes, 0);
}

static void an_empty_sidecar_goes_when_no_other_job_needs_it(void **state) {
        struct scene *scene = *state;
        _cleanup_(free_p) char *sidecar = path_of(scene, ".drover");
        make(scene, "erp.raw", "data");
        struct hold other = scene->hold;
        snprintf(other.job, sizeof(other.job), "job2");
        assert_int_equal(journal_hold_put(scene->journal, &scene->hold, &scene->err), 0);
        assert_int_equal(journal_hold_put(scene->journal, &other, &scene->err), 0);
        assert_int_equal(hold_file_put_aside(&scene->hold, &scene->err), 0);
        assert_int_equal(hold_file_put_in_place(&scene->hold, false, &scene->err), 0);
        assert_int_equal(hold_file_tidy(&scene->hold, scene->journal, &scene->err), 0);
        assert_int_equal(access(sidecar, F_OK), 0);
        assert_int_equal(journal_hold_remove(scene->journal, "job2", "vda", &scene->err), 0);
        assert_int_equal(hold_file_tidy(&scene->hold, scene->journal, &scene->err), 0);
        assert_int_equal(access(sidecar, F_OK), -1);
        assert_int_equal(hold_file_tidy(&scene->hold, scene->journal, &scene->err), 0);
}

static void a_sidecar_that_holds_something_stays(void **state) {
        struct scene *scene = *state;
        make(scene, "erp.raw", "data");
        assert_int_equal(hold_file_put_aside(&scene->hold, &scene->err), 0);
        assert_int_equal(hold_file_tidy(&scene->hold, scene->journal, &scene->err), 0);
        assert_true(has(scene, ".drover/job1.vda.held", "data"));
}

// ---- several directories, several threads

struct asked {
        struct hold hold;
        int result;
        struct error err;
};

static void *create(void *data) {
        struct asked *asked = data;
        _cleanup_(close_p) int fd = -1;
        asked->result = hold_file_create(&asked->hold, &fd, &asked->err);
        return NULL;
}

static void a_directory_whose_server_is_gone_holds_up_no_other(void **state) {
        struct scene *scene = *state;
        struct gone gone;
        struct asked asked = {.hold = scene->hold};
        pthread_t thread;
        gone_begin(&gone, scene->root, true);
        snprintf(asked.hold.directory, sizeof(asked.hold.directory), "%s", gone.path);
        assert_int_equal(pthread_create(&thread, NULL, create, &asked), 0);
        gone_wait(&gone); // it has the lock of that directory, and hangs
        make(scene, "erp.raw", "data");
        assert_int_equal(hold_file_put_aside(&scene->hold, &scene->err), 0);
        assert_int_equal(hold_file_put_in_place(&scene->hold, false, &scene->err), 0);
        assert_int_equal(hold_file_tidy(&scene->hold, scene->journal, &scene->err), 0);
        gone_end(&gone);
        pthread_join(thread, NULL);
        assert_int_equal(asked.result, -1);
}

struct busy {
        struct scene *scene;
        struct hold hold;
        char failure[ERROR_MESSAGE_MAX];
};

// Each round makes the sidecar, leaves it empty and takes it away.
static void *come_and_go(void *data) {
        struct busy *busy = data;
        struct error err = ERROR_INIT;
        char identity[HOLD_IDENTITY_MAX];
        for (unsigned i = 0; i < 25; i++) {
                int fd = -1;
                int r = hold_file_create(&busy->hold, &fd, &err);
                close_p(&fd);
                if (r < 0 || hold_file_put_in_place(&busy->hold, false, &err) < 0 ||
                    hold_file_identity(&busy->hold, HOLD_IN_PLACE, identity, &err) < 0 ||
                    hold_file_remove_in_place(&busy->hold, identity, &err) < 0 ||
                    hold_file_tidy(&busy->hold, busy->scene->journal, &err) < 0) {
                        snprintf(busy->failure, sizeof(busy->failure), "%s", err.message);
                        return NULL;
                }
        }
        return NULL;
}

static void jobs_in_one_directory_by_two_names_do_not_take_its_sidecar_from_each_other(void **state) {
        struct scene *scene = *state;
        struct busy busy[3];
        pthread_t threads[3];
        _cleanup_(free_p) char *other = memory_format("%s/other", scene->root);
        assert_int_equal(symlink(scene->hold.directory, other), 0);
        for (unsigned i = 0; i < 3; i++) {
                busy[i] = (struct busy){.scene = scene, .hold = scene->hold};
                busy[i].hold.kind = HOLD_INCOMING;
                snprintf(busy[i].hold.job, sizeof(busy[i].hold.job), "job%u", i);
                snprintf(busy[i].hold.name, sizeof(busy[i].hold.name), "vm%u.raw", i);
                if (i == 1)
                        snprintf(busy[i].hold.directory, sizeof(busy[i].hold.directory), "%s", other);
        }
        for (unsigned i = 0; i < 3; i++)
                assert_int_equal(pthread_create(&threads[i], NULL, come_and_go, &busy[i]), 0);
        for (unsigned i = 0; i < 3; i++)
                pthread_join(threads[i], NULL);
        for (unsigned i = 0; i < 3; i++)
                assert_string_equal(busy[i].failure, "");
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                TEST(a_path_is_split_into_directory_and_name),
                TEST(a_file_goes_aside_and_back),
                TEST(what_took_the_name_meanwhile_is_not_replaced),
                TEST(a_move_by_links_that_was_cut_short_is_finished),
                TEST(fault_49_a_symbolic_link_in_place_of_an_image_is_refused),
                TEST(fault_49_a_sidecar_that_is_a_link_is_refused),
                TEST(fault_49_a_partial_file_that_is_a_link_is_not_written_through),
                TEST(an_image_with_two_names_is_refused),
                TEST(an_image_that_another_program_has_locked_is_refused),
                TEST(a_directory_or_a_fifo_is_no_image),
                TEST(a_partial_file_begins_empty_each_time),
                TEST(only_the_very_file_is_removed_from_its_place),
                TEST(removing_aside_tells_what_was_freed_and_may_be_repeated),
                TEST(an_empty_sidecar_goes_when_no_other_job_needs_it),
                TEST(a_sidecar_that_holds_something_stays),
                TEST(a_directory_whose_server_is_gone_holds_up_no_other),
                TEST(jobs_in_one_directory_by_two_names_do_not_take_its_sidecar_from_each_other),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
