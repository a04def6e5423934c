// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * How a backup job is begun when something is in its way. The functions of libvirt's here stand before its own when the
 * program is linked; the VM itself, its checkpoints and snapshots are its test driver's.
 */
#include "agent/host/live_backup.h"
#include "common/clock.h"
#include "common/memory.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include "scratch.h"

#define JOB "11111111111111111111111111111111"

// What the next beginnings of a job give: a code of libvirt's and its text, or 0.
struct answer {
        int code;
        const char *text;
        unsigned busy; // how often it is said afterwards that somebody else's job has the VM
        bool moved;    // its disk is another one afterwards
};
static struct {
        const struct answer *answers;
        unsigned n, begun, busy;
        virError error;
        const char *image;
        char names[8][CHECKPOINT_NAME_MAX]; // of the checkpoints that were asked for
        char events[16][256];
        unsigned n_events;
} libvirt;

virErrorPtr virGetLastError(void) {
        return &libvirt.error;
}

char *virDomainGetXMLDesc(virDomainPtr domain, unsigned flags) {
        (void) domain;
        (void) flags;
        return memory_format("<domain type='test'><name>test</name><devices><disk type='file' device='disk'><driver "
                             "type='qcow2'/><source file='%s'/><target dev='vda'/></disk></devices></domain>",
                             libvirt.image);
}

int virDomainGetJobInfo(virDomainPtr domain, virDomainJobInfoPtr info) {
        (void) domain;
        info->type = libvirt.busy > 0 ? VIR_DOMAIN_JOB_UNBOUNDED : VIR_DOMAIN_JOB_NONE;
        libvirt.busy -= libvirt.busy > 0;
        return 0;
}

int virDomainGetBlockInfo(virDomainPtr domain, const char *disk, virDomainBlockInfoPtr info, unsigned flags) {
        (void) domain;
        (void) disk;
        (void) flags;
        info->capacity = 1 << 20;
        return 0;
}

char *virDomainBackupGetXMLDesc(virDomainPtr domain, unsigned flags) {
        (void) domain;
        (void) flags;
        return NULL;
}

int virDomainBackupBegin(virDomainPtr domain, const char *job, const char *checkpoint, unsigned flags) {
        (void) domain;
        (void) job;
        (void) flags;
        unsigned turn = libvirt.begun++;
        const char *name = strstr(checkpoint, "<name>") + strlen("<name>");
        if (turn < ARRAY_SIZE(libvirt.names))
                snprintf(libvirt.names[turn], CHECKPOINT_NAME_MAX, "%.*s", (int) strcspn(name, "<"), name);
        if (turn >= libvirt.n)
                return 0;
        const struct answer *answer = &libvirt.answers[turn];
        static char text[256];
        snprintf(text, sizeof text, "%s%.*s", answer->text, (int) strcspn(name, "<"), name);
        libvirt.error = (virError){.code = answer->code, .domain = VIR_FROM_QEMU, .message = text};
        libvirt.busy = answer->busy;
        if (answer->moved)
                libvirt.image = "/i/other";
        return -1;
}

// A bitmap that stays whatever is done: there is a record of it, without which it is no more removed than with it.
int virDomainCheckpointDelete(virDomainCheckpointPtr checkpoint, unsigned flags) {
        (void) checkpoint;
        return flags & VIR_DOMAIN_CHECKPOINT_DELETE_METADATA_ONLY ? 0 : -1;
}
virDomainCheckpointPtr virDomainCheckpointCreateXML(virDomainPtr domain, const char *xml, unsigned flags) {
        (void) domain;
        (void) xml;
        (void) flags;
        return (virDomainCheckpointPtr) &libvirt;
}
int virDomainCheckpointFree(virDomainCheckpointPtr checkpoint) {
        (void) checkpoint;
        return 0;
}

struct scene {
        struct connection *connection;
        virConnectPtr conn;
        virDomainPtr domain;
        struct journal *journal;
        struct live_backup *backup;
        struct error err;
};

static int set_up(void **state) {
        struct scene *scene = new (struct scene);
        assert_int_equal(scratch_make(state), 0);
        assert_int_equal(journal_open(scratch_path("journal"), &scene->journal, &scene->err), 0);
        assert_int_equal(connection_new("test:///default", &scene->connection, &scene->err), 0);
        assert_int_equal(connection_get(scene->connection, &scene->conn, &scene->err), 0);
        scene->domain = virDomainLookupByName(scene->conn, "test");
        assert_non_null(scene->domain);
        memset(&libvirt, 0, sizeof libvirt);
        libvirt.image = "/i/a";
        *state = scene;
        return 0;
}

static int tear_down(void **state) {
        struct scene *scene = *state;
        live_backup_end(scene->backup);
        journal_close(scene->journal);
        virDomainFree(scene->domain);
        connection_put(scene->conn);
        connection_free(scene->connection);
        free(scene);
        return scratch_remove(state);
}

static void on_event(void *data, const char *text) {
        (void) data;
        if (libvirt.n_events < ARRAY_SIZE(libvirt.events))
                snprintf(libvirt.events[libvirt.n_events], sizeof libvirt.events[0], "%s", text);
        libvirt.n_events++;
}

static int begin(struct scene *scene, const struct answer *answers, unsigned n) {
        static char directory[512];
        snprintf(directory, sizeof directory, "%s", scratch_path("b"));
        struct live_backup_request request = {.domain = scene->domain,
                                              .journal = scene->journal,
                                              .job = JOB,
                                              .directory = directory,
                                              .wait_seconds = 20,
                                              .event = on_event};
        libvirt.answers = answers;
        libvirt.n = n;
        return live_backup_begin(&request, &scene->backup, &scene->err);
}

static void qemus_user_may_enter_whatever_the_umask_is(void **state) {
        struct scene *scene = *state;
        struct stat status;
        mode_t before = umask(0077);
        int result = begin(scene, NULL, 0);
        umask(before);
        assert_int_equal(result, 0);
        assert_int_equal(stat(scratch_path("b"), &status), 0);
        assert_int_equal(status.st_mode & 07777, 0711);
}

static void a_name_is_of_its_moment(void **state) {
        struct scene *scene = *state;
        static const struct answer answers[] = {{VIR_ERR_OPERATION_UNSUPPORTED, "no: ", 0, false}};
        uint64_t before = (uint64_t) clock_wall_ms(), number;
        assert_int_equal(begin(scene, answers, 1), -1);
        assert_true(checkpoint_name_parse(libvirt.names[0], &number));
        assert_in_range(number, before, (uint64_t) clock_wall_ms());
}

static void fault_32_a_job_that_begins_in_between_is_waited_for(void **state) {
        struct scene *scene = *state;
        static const struct answer answers[] = {
                {VIR_ERR_OPERATION_TIMEOUT, "cannot acquire state change lock for ", 3, false},
                {VIR_ERR_OPERATION_INVALID, "there is a job beside ", 2, true},
        };
        if (begin(scene, answers, 2) < 0)
                fail_msg("%s", scene->err.message);
        assert_int_equal(libvirt.begun, 3);
        assert_int_equal(libvirt.busy, 0);
        assert_non_null(strstr(scene->backup->sources, "/i/other")); // what there is when it begins
}

static void fault_32_without_another_job_it_fails_at_once(void **state) {
        struct scene *scene = *state;
        static const struct answer answers[] = {{VIR_ERR_OPERATION_INVALID, "no backup of ", 0, false}};
        assert_int_equal(begin(scene, answers, 1), -1);
        assert_int_equal(libvirt.begun, 1);
        assert_int_equal(scene->err.code, ERROR_CONFLICT);
}

static void fault_29_a_bitmap_that_stays_is_gone_around(void **state) {
        struct scene *scene = *state;
        static const struct answer answers[] = {
                {VIR_ERR_INTERNAL_ERROR, "Bitmap already exists: ", 0, false},
                {VIR_ERR_INTERNAL_ERROR, "Bitmap already exists: ", 0, false},
        };
        uint64_t first, last;
        if (begin(scene, answers, 2) < 0)
                fail_msg("%s", scene->err.message);
        assert_int_equal(libvirt.begun, 3);
        assert_string_equal(libvirt.names[0], libvirt.names[1]);
        assert_true(checkpoint_name_parse(libvirt.names[1], &first));
        assert_true(checkpoint_name_parse(libvirt.names[2], &last));
        assert_int_equal(last, first + 1);
        assert_string_equal(scene->backup->checkpoint, libvirt.names[2]);
        assert_int_equal(libvirt.n_events, 2);
        assert_non_null(strstr(libvirt.events[1], "without a checkpoint is still there"));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(qemus_user_may_enter_whatever_the_umask_is, set_up, tear_down),
                cmocka_unit_test_setup_teardown(a_name_is_of_its_moment, set_up, tear_down),
                cmocka_unit_test_setup_teardown(fault_32_a_job_that_begins_in_between_is_waited_for, set_up, tear_down),
                cmocka_unit_test_setup_teardown(fault_32_without_another_job_it_fails_at_once, set_up, tear_down),
                cmocka_unit_test_setup_teardown(fault_29_a_bitmap_that_stays_is_gone_around, set_up, tear_down),
        };
        connection_quiet();
        return cmocka_run_group_tests(tests, NULL, NULL);
}
