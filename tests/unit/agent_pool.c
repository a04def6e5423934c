// SPDX-License-Identifier: LGPL-2.1-or-later
/* Directories of images and the sidecar beside them. */
#include "agent/host/pool.h"
#include "common/cleanup.h"
#include "common/file.h"
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include "scratch.h"

struct scene {
        char path[64];
        char message[256];
        struct pool_directory directory;
        struct error err;
};

static int set_up(void **state) {
        struct scene *scene = calloc(1, sizeof(*scene));
        assert_int_equal(scratch_new(scene->path, sizeof(scene->path)), 0);
        assert_int_equal(pool_open_path(scene->path, &scene->directory, &scene->err), 0);
        *state = scene;
        return 0;
}

static int tear_down(void **state) {
        struct scene *scene = *state;
        pool_directory_fini(&scene->directory);
        file_remove_tree(scene->path, NULL);
        free(scene);
        return 0;
}

static void assert_sidecar_fails(struct scene *scene, bool make, enum error_code code, const char *rest) {
        assert_int_equal(pool_sidecar(&scene->directory, make, &scene->err), -1);
        assert_int_equal(scene->err.code, code);
        snprintf(scene->message, sizeof(scene->message), "%s/.drover %s", scene->path, rest);
        assert_string_equal(scene->err.message, scene->message);
}

static void a_directory_tells_its_space(void **state) {
        struct scene *scene = *state;
        assert_string_equal(scene->directory.path, scene->path);
        assert_true(scene->directory.capacity_bytes > 0);
        assert_true(scene->directory.available_bytes <= scene->directory.capacity_bytes);
}

static void a_trailing_slash_does_not_matter(void **state) {
        struct scene *scene = *state;
        char path[80];
        struct pool_directory directory;
        snprintf(path, sizeof(path), "%s//", scene->path);
        assert_int_equal(pool_open_path(path, &directory, &scene->err), 0);
        assert_string_equal(directory.path, scene->path);
        pool_directory_fini(&directory);
}

static void a_relative_path_is_refused(void **state) {
        struct scene *scene = *state;
        assert_int_equal(pool_open_path("images", &scene->directory, &scene->err), -1);
        assert_string_equal(scene->err.message, "images is not an absolute path");
}

static void a_file_is_no_directory(void **state) {
        struct scene *scene = *state;
        struct pool_directory directory = {.fd = -1};
        assert_int_equal(pool_open_path("/dev/null", &directory, &scene->err), -1);
        assert_string_equal(scene->err.message, "open the directory /dev/null: Not a directory");
        assert_int_equal(directory.fd, -1);
}

static void a_sidecar_is_made_for_us_alone(void **state) {
        struct scene *scene = *state;
        struct stat st;
        _cleanup_(close_p) int fd = pool_sidecar(&scene->directory, true, &scene->err);
        assert_true(fd >= 0);
        assert_int_equal(fstatat(scene->directory.fd, ".drover", &st, AT_SYMLINK_NOFOLLOW), 0);
        assert_true(S_ISDIR(st.st_mode));
        assert_int_equal(st.st_mode & 07777, 0700);
}

static void a_sidecar_is_found_again(void **state) {
        struct scene *scene = *state;
        _cleanup_(close_p) int made = pool_sidecar(&scene->directory, true, &scene->err);
        _cleanup_(close_p) int file = openat(made, "x", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
        _cleanup_(close_p) int found = pool_sidecar(&scene->directory, false, &scene->err);
        _cleanup_(close_p) int made_again = pool_sidecar(&scene->directory, true, &scene->err);
        assert_int_equal(faccessat(found, "x", F_OK, 0), 0);
        assert_int_equal(faccessat(made_again, "x", F_OK, 0), 0);
        assert_true(file >= 0);
}

static void a_sidecar_that_is_not_there_is_not_found(void **state) {
        assert_sidecar_fails(*state, false, ERROR_NOT_FOUND, "does not exist");
}

static void fault_49_a_link_in_the_place_of_the_sidecar_is_refused(void **state) {
        struct scene *scene = *state;
        assert_int_equal(symlinkat("/tmp", scene->directory.fd, ".drover"), 0);
        assert_sidecar_fails(scene, false, ERROR_REFUSED, "is not a directory");
        assert_sidecar_fails(scene, true, ERROR_REFUSED, "is not a directory");
}

static void a_file_in_the_place_of_the_sidecar_is_refused(void **state) {
        struct scene *scene = *state;
        _cleanup_(close_p) int fd = openat(scene->directory.fd, ".drover", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        assert_sidecar_fails(scene, true, ERROR_REFUSED, "is not a directory");
}

static void a_sidecar_that_others_may_read_is_refused(void **state) {
        struct scene *scene = *state;
        assert_int_equal(mkdirat(scene->directory.fd, ".drover", 0700), 0);
        assert_int_equal(fchmodat(scene->directory.fd, ".drover", 0755, 0), 0);
        assert_sidecar_fails(scene, true, ERROR_REFUSED, "is open to others (mode 0755)");
        assert_int_equal(scene->err.n_hints, 1);
}

static void a_sidecar_of_somebody_else_is_refused(void **state) {
        struct scene *scene = *state;
        if (geteuid() != 0)
                skip();
        assert_int_equal(mkdirat(scene->directory.fd, ".drover", 0700), 0);
        assert_int_equal(fchownat(scene->directory.fd, ".drover", 12345, 12345, 0), 0);
        assert_sidecar_fails(scene, true, ERROR_REFUSED, "belongs to user 12345, not to drover");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(a_directory_tells_its_space),
                TEST(a_trailing_slash_does_not_matter),
                TEST(a_relative_path_is_refused),
                TEST(a_file_is_no_directory),
                TEST(a_sidecar_is_made_for_us_alone),
                TEST(a_sidecar_is_found_again),
                TEST(a_sidecar_that_is_not_there_is_not_found),
                TEST(fault_49_a_link_in_the_place_of_the_sidecar_is_refused),
                TEST(a_file_in_the_place_of_the_sidecar_is_refused),
                TEST(a_sidecar_that_others_may_read_is_refused),
                TEST(a_sidecar_of_somebody_else_is_refused),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
