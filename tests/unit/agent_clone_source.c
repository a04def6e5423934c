// SPDX-License-Identifier: LGPL-2.1-or-later
/* The source of a clone, against libvirt's test driver: held where it is, read under a lock by many, and confirmed. */
#include "agent_clone_scene.h"
#include <errno.h>
#include "scratch.h"

static int open_held(struct scene *scene, const char *item, int *ret_fd) {
        uint64_t bytes;
        error_clear(&scene->err);
        return clone_open(&scene->custody, SOURCE, item, ret_fd, &bytes, NULL, &scene->err);
}

static void start_template(struct scene *scene) {
        _cleanup_(domain_free_p) virDomainPtr domain = scene_domain(scene, SOURCE);
        assert_int_equal(virDomainCreate(domain), 0);
}

static void stop_template(struct scene *scene) {
        _cleanup_(domain_free_p) virDomainPtr domain = scene_domain(scene, SOURCE);
        assert_int_equal(virDomainDestroy(domain), 0);
}

static void a_source_is_held_where_it_is_and_read_by_many(void **state) {
        struct scene *scene = *state;
        define_template(scene);
        char text[8] = "";
        int fds[3] = {-1, -1, -1};
        for (unsigned i = 0; i < 3; i++) {
                char job[8];
                snprintf(job, sizeof(job), "job%u", i + 1);
                scene->custody.job = job;
                scene_must(scene, hold(scene));
                scene_must(scene, open_held(scene, "vda", &fds[i]));
        }
        assert_int_equal(read(fds[2], text, sizeof(text)), 6);
        assert_string_equal(text, "system");
        assert_true(scene_has(scene, "erp.raw", "system"));
        assert_int_equal(scene_holds(scene, NULL, 0), 0);
        for (unsigned i = 0; i < 3; i++)
                close(fds[i]);
        scene->custody.job = "job1";
        scene_must(scene, confirm(scene));
}

static void what_was_not_held_is_not_read(void **state) {
        struct scene *scene = *state;
        int fd = -1;
        define_template(scene);
        assert_int_equal(open_held(scene, "vda", &fd), -1);
        assert_error(scene->err, ERROR_CONFLICT, "VM " SOURCE " is not held by job job1");
        scene_must(scene, hold(scene));
        assert_int_equal(open_held(scene, "vdc", &fd), -1);
        assert_error(scene->err, ERROR_CONFLICT, "vdc of VM " SOURCE " is not held by job job1");
}

static void a_source_that_runs_is_not_held(void **state) {
        struct scene *scene = *state;
        define_template(scene);
        start_template(scene);
        assert_int_equal(hold(scene), -1);
        assert_error(scene->err, ERROR_CONFLICT, "template runs: what is copied would be changing");
        stop_template(scene);
}

static void a_source_that_is_not_as_planned_is_stale(void **state) {
        struct scene *scene = *state;
        static char *one[] = {"vda"};
        define_template(scene);
        assert_int_equal(hold_as(scene, "00", both, 2, false), -1);
        assert_error(scene->err, ERROR_STALE, "the definition of template changed since the plan");
        assert_int_equal(hold_as(scene, "", one, 1, false), -1);
        assert_error(scene->err, ERROR_STALE, "the list of disks of template changed since the plan");
}

static void a_source_that_was_written_is_stale(void **state) {
        struct scene *scene = *state;
        int fd = -1;
        define_template(scene);
        scene_must(scene, hold(scene));
        scene_write(scene, "erp-data.raw", "DATA");
        assert_int_equal(open_held(scene, "vdb", &fd), -1);
        assert_int_equal(scene->err.code, ERROR_STALE);
        assert_int_equal(confirm(scene), -1);
        assert_error(scene->err, ERROR_STALE, "template was started or changed while it was copied");
        assert_string_equal(scene->err.hints[0], "leave it off, and clone it again");
        scene_must(scene, hold(scene));
        scene_must(scene, confirm(scene));
}

static void a_source_that_was_started_or_redefined_is_stale(void **state) {
        struct scene *scene = *state;
        define_template(scene);
        scene_must(scene, hold(scene));
        start_template(scene);
        assert_int_equal(confirm(scene), -1);
        assert_error(scene->err, ERROR_STALE, "template was started or changed while it was copied");
        stop_template(scene);
        scene_must(scene, confirm(scene));
        scene_define(scene, "template", SOURCE, SCENE_MAC, "");
        assert_int_equal(confirm(scene), -1);
        assert_int_equal(scene->err.code, ERROR_STALE);
}

static void an_image_that_refers_to_others_is_cloned_on_its_own_host_only(void **state) {
        struct scene *scene = *state;
        static char *one[] = {"vda"};
        _cleanup_(free_p) char *base = scene_path(scene, "base.raw"), *top = scene_path(scene, "erp.qcow2");
        _cleanup_(free_p) char *disk =
                memory_format("<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='%s'/>"
                              "<target dev='vda'/></disk>",
                              top);
        scene_write(scene, "base.raw", "base");
        _cleanup_(close_p) int fd = open(top, O_RDWR | O_CREAT, 0600);
        scene_must(scene, image_tool_create_over(fd, 1 << 20, base, "raw", &scene->err));
        scene_define(scene, "template", SOURCE, SCENE_MAC, disk);
        assert_int_equal(hold_as(scene, "", one, 1, false), -1);
        assert_int_equal(scene->err.code, ERROR_REFUSED);
        assert_non_null(strstr(scene->err.message, "is not whole without"));
        scene_must(scene, hold_as(scene, "", one, 1, true));
}

// ---- the lock ----

// What QEMU asks before it opens an image to write: does anybody not share that?
static bool may_be_written(const struct scene *scene, const char *name) {
        _cleanup_(free_p) char *path = scene_path(scene, name);
        _cleanup_(close_p) int fd = open(path, O_RDWR);
        struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 201, .l_len = 1};
        assert_int_equal(fcntl(fd, F_OFD_GETLK, &lock), 0);
        return lock.l_type == F_UNLCK;
}

static void while_it_is_read_qemu_cannot_write_to_it(void **state) {
        struct scene *scene = *state;
        int one = -1, other = -1;
        define_template(scene);
        scene_must(scene, hold(scene));
        assert_true(may_be_written(scene, "erp.raw"));
        scene_must(scene, open_held(scene, "vda", &one));
        scene_must(scene, open_held(scene, "vda", &other));
        assert_false(may_be_written(scene, "erp.raw"));
        close(one);
        assert_false(may_be_written(scene, "erp.raw"));
        close(other);
        assert_true(may_be_written(scene, "erp.raw"));
}

static void fault_31_an_image_that_qemu_writes_is_not_held(void **state) {
        struct scene *scene = *state;
        define_template(scene);
        _cleanup_(free_p) char *path = scene_path(scene, "erp.raw");
        _cleanup_(free_p) char *message = memory_format("vda: %s is being written by another program", path);
        _cleanup_(close_p) int fd = open(path, O_RDWR);
        struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 101, .l_len = 1};
        assert_int_equal(fcntl(fd, F_OFD_SETLK, &lock), 0);
        assert_int_equal(hold(scene), -1);
        assert_error(scene->err, ERROR_CONFLICT, message);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CLONE_TEST(a_source_is_held_where_it_is_and_read_by_many),
                CLONE_TEST(what_was_not_held_is_not_read),
                CLONE_TEST(a_source_that_runs_is_not_held),
                CLONE_TEST(a_source_that_is_not_as_planned_is_stale),
                CLONE_TEST(a_source_that_was_written_is_stale),
                CLONE_TEST(a_source_that_was_started_or_redefined_is_stale),
                CLONE_TEST(an_image_that_refers_to_others_is_cloned_on_its_own_host_only),
                CLONE_TEST(while_it_is_read_qemu_cannot_write_to_it),
                CLONE_TEST(fault_31_an_image_that_qemu_writes_is_not_held),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
