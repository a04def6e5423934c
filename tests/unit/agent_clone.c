// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Clones on their hosts, against libvirt's test driver: the source held, read under a lock and confirmed; images laid
 * over it; and the clone defined with numbers of its own, broken off and asked again.
 */
#include "agent_custody_scene.h"
#include "agent/blocks/image_tool.h"
#include "agent/host/clone.h"
#include "agent/host/collect.h"
#include "agent/host/image_lock.h"
#include <dlfcn.h>
#include <errno.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/xattr.h>
#include "scratch.h"

#define SOURCE "11111111-2222-4333-8444-555555555555"
#define MAC    "52:54:00:12:34:56"
#define NEW    "02:00:00:12:34:56"

// As in agent_placement.c: a "qemu" domain is one of the driver's.
char *virConnectGetCapabilities(virConnectPtr conn) {
        (void) conn;
        return memory_string("<capabilities><host><secmodel><model>dac</model><doi>0</doi>"
                             "<baselabel type='kvm'>+64055:+109</baselabel></secmodel></host>"
                             "<guest><os_type>hvm</os_type><arch name='x86_64'><machine>pc</machine>"
                             "<domain type='qemu'/></arch></guest></capabilities>");
}

virDomainPtr virDomainDefineXMLFlags(virConnectPtr conn, const char *xml, unsigned flags) {
        assert_int_equal(flags, VIR_DOMAIN_DEFINE_VALIDATE);
        _cleanup_(free_p) char *copy = memory_string(xml);
        char *type = strstr(copy, "type=\"qemu\"");
        assert_non_null(type);
        memcpy(type, "type=\"test\"", strlen("type=\"test\""));
        return virDomainDefineXML(conn, copy);
}

// ---- the source ----

static void define_template(struct scene *scene) {
        _cleanup_(free_p) char *vda = scene_disk(scene, "vda", "erp.raw", "");
        _cleanup_(free_p) char *vdb = scene_disk(scene, "vdb", "erp-data.raw", "");
        _cleanup_(free_p) char *disks = memory_format("%s%s", vda, vdb);
        scene_write(scene, "erp.raw", "system");
        scene_write(scene, "erp-data.raw", "data");
        scene_define(scene, "template", SOURCE, MAC, disks);
}

static char *both[] = {"vda", "vdb"};

static int hold_as(struct scene *scene, const char *sha256, char **targets, size_t n, bool local) {
        Drover__CloneHold request = DROVER__CLONE_HOLD__INIT;
        Drover__MoveFenceResult *result = NULL;
        request.source_uuid = SOURCE;
        request.definition_sha256 = (char *) sha256;
        request.targets = targets;
        request.n_targets = n;
        request.local = local;
        error_clear(&scene->err);
        int status = clone_hold(&scene->custody, &request, &result, &scene->err);
        if (status == 0) {
                assert_int_equal(result->n_disks, n);
                for (size_t i = 0; i < n; i++)
                        assert_string_equal(result->disks[i]->target, targets[i]);
                proto_free(&result->base);
        }
        return status;
}

static int hold(struct scene *scene) {
        return hold_as(scene, "", both, 2, false);
}

static int confirm(struct scene *scene) {
        Drover__CloneConfirm request = DROVER__CLONE_CONFIRM__INIT;
        request.source_uuid = SOURCE;
        request.targets = both;
        request.n_targets = 2;
        error_clear(&scene->err);
        return clone_confirm(&scene->custody, &request, &scene->err);
}

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
        scene_define(scene, "template", SOURCE, MAC, "");
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
        scene_define(scene, "template", SOURCE, MAC, disk);
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

// ---- laid over ----

static bool is_immutable(const struct scene *scene, const char *name) {
        _cleanup_(free_p) char *path = scene_path(scene, name);
        _cleanup_(close_p) int fd = open(path, O_RDONLY);
        int flags = 0;
        assert_int_equal(ioctl(fd, FS_IOC_GETFLAGS, &flags), 0);
        return flags & FS_IMMUTABLE_FL;
}

static void make_mutable(const struct scene *scene, const char *name) {
        _cleanup_(free_p) char *path = scene_path(scene, name);
        _cleanup_(close_p) int fd = open(path, O_RDONLY);
        int flags = 0;
        assert_int_equal(ioctl(fd, FS_IOC_SETFLAGS, &flags), 0);
}

// Where nothing can be made immutable there is nothing to test.
static void need_immutable(struct scene *scene) {
        scene_write(scene, "probe", "");
        _cleanup_(free_p) char *path = scene_path(scene, "probe");
        _cleanup_(close_p) int fd = open(path, O_RDONLY);
        int flags = FS_IMMUTABLE_FL;
        if (ioctl(fd, FS_IOC_SETFLAGS, &flags) < 0)
                skip();
        make_mutable(scene, "probe");
        unlink(path);
}

// What the controller would ask for a clone of the template, laid over it.
struct ask {
        Drover__MoveDisk disks[2];
        Drover__MoveDisk *list[2];
        Drover__MoveReserve reserve;
        Drover__CloneIdentity identity;
        Drover__NameMap mac;
        Drover__NameMap *macs[1];
        Drover__MoveDefine define;
        char *xml;
};

static void ask_init(struct scene *scene, struct ask *ask, const char *format, const char *more) {
        static char *volumes[] = {"web", "web-data"};
        for (unsigned i = 0; i < 2; i++) {
                drover__move_disk__init(&ask->disks[i]);
                ask->disks[i].target = both[i];
                ask->disks[i].format = (char *) format;
                ask->disks[i].source_format = "raw";
                ask->disks[i].pool = "images";
                ask->disks[i].volume = volumes[i];
                ask->disks[i].file_bytes = ask->disks[i].allocation_bytes = 4096;
                ask->list[i] = &ask->disks[i];
        }
        drover__move_reserve__init(&ask->reserve);
        ask->reserve.vm_name = "web";
        ask->reserve.disks = ask->list;
        ask->reserve.n_disks = 2;
        drover__name_map__init(&ask->mac);
        ask->mac.from = MAC;
        ask->mac.to = NEW;
        ask->macs[0] = &ask->mac;
        drover__clone_identity__init(&ask->identity);
        ask->identity.uuid = SCENE_UUID;
        ask->identity.macs = ask->macs;
        ask->identity.n_macs = 1;
        drover__move_define__init(&ask->define);
        ask->define.vm_name = "web";
        ask->define.disks = ask->list;
        ask->define.n_disks = 2;
        ask->define.identity = &ask->identity;
        _cleanup_(free_p) char *vda = scene_disk(scene, "vda", "erp.raw", "");
        _cleanup_(free_p) char *vdb = scene_disk(scene, "vdb", "erp-data.raw", "");
        _cleanup_(free_p) char *disks = memory_format("%s%s%s", vda, vdb, more);
        ask->xml = scene_xml(scene, "template", SOURCE, MAC, disks);
        memcpy(strstr(ask->xml, "'test'"), "'qemu'", 6);
        ask->define.definition_xml.data = (uint8_t *) ask->xml;
        ask->define.definition_xml.len = strlen(ask->xml);
}

static int define(struct scene *scene, const struct ask *ask, size_t n_warnings) {
        Drover__MoveDefineResult *result = NULL;
        error_clear(&scene->err);
        int status = placement_define(&scene->custody, &ask->define, &result, &scene->err);
        if (status == 0) {
                assert_int_equal(result->n_warnings, n_warnings);
                proto_free(&result->base);
        }
        return status;
}

static int lay_over(struct scene *scene, const struct ask *ask, unsigned disk) {
        Drover__CloneLocal request = DROVER__CLONE_LOCAL__INIT;
        _cleanup_(clone_base_fini) struct clone_base base = {.fd = -1};
        _cleanup_(close_p) int sink = -1;
        request.source_uuid = SOURCE;
        request.disk = ask->list[disk];
        request.mode = DROVER__CLONE_MODE__CLONE_LINKED;
        error_clear(&scene->err);
        if (clone_base_prepare(&scene->custody, &request, &base, &scene->err) < 0)
                return -1;
        assert_int_equal(base.bytes, 512);
        assert_string_equal(base.format, "raw");
        scene_must(scene, placement_open(&scene->custody, request.disk->target, &sink, &scene->err));
        return image_tool_create_over(sink, base.bytes, base.path, base.format, &scene->err);
}

static void link_clone(struct scene *scene, const struct ask *ask) {
        scene_must(scene, hold_as(scene, "", both, 2, true));
        scene_must(scene, placement_reserve(&scene->custody, &ask->reserve, &scene->err));
        scene_must(scene, lay_over(scene, ask, 0));
        scene_must(scene, lay_over(scene, ask, 1));
}

static void a_base_is_immutable_while_a_clone_is_laid_over_it(void **state) {
        struct scene *scene = *state;
        struct ask ask;
        need_immutable(scene);
        define_template(scene);
        ask_init(scene, &ask, "qcow2", "");
        link_clone(scene, &ask);
        assert_true(is_immutable(scene, "erp.raw") && is_immutable(scene, "erp-data.raw"));
        _cleanup_(free_p) char *path = scene_path(scene, "erp.raw");
        assert_int_equal(open(path, O_RDWR), -1);
        struct stat status;
        assert_int_equal(stat(path, &status), 0);
        assert_int_equal(status.st_uid, 64055); // QEMU may read it: libvirt could not let it any more
        // Another owner and a flag are no other content.
        scene_must(scene, confirm(scene));
        scene_must(scene, define(scene, &ask, 0));
        scene_must(scene, placement_discard(&scene->custody, &scene->err));
        assert_false(is_immutable(scene, "erp.raw") || is_immutable(scene, "erp-data.raw"));
        assert_true(scene_has(scene, "erp.raw", "system"));
        assert_false(scene_exists(scene, "web"));
        free(ask.xml);
}

static void a_base_stays_immutable_for_the_clones_that_stay(void **state) {
        struct scene *scene = *state;
        struct ask ask, other;
        need_immutable(scene);
        define_template(scene);
        ask_init(scene, &ask, "qcow2", "");
        link_clone(scene, &ask);
        scene_must(scene, define(scene, &ask, 0));
        // Another clone, by another job, goes as far and is given up.
        ask_init(scene, &other, "qcow2", "");
        other.reserve.vm_name = "web2";
        other.disks[0].volume = "web2";
        other.disks[1].volume = "web2-data";
        scene->custody.job = "job2";
        scene->custody.vm_uuid = "22222222-2222-4333-8444-555555555555";
        link_clone(scene, &other);
        scene_must(scene, placement_discard(&scene->custody, &scene->err));
        assert_true(is_immutable(scene, "erp.raw"));
        scene->custody.job = SCENE_JOB;
        scene->custody.vm_uuid = SCENE_UUID;
        scene_must(scene, placement_discard(&scene->custody, &scene->err));
        assert_false(is_immutable(scene, "erp.raw") || is_immutable(scene, "erp-data.raw"));
        free(ask.xml);
        free(other.xml);
}

static void what_somebody_else_made_immutable_stays_so(void **state) {
        struct scene *scene = *state;
        struct ask ask;
        need_immutable(scene);
        define_template(scene);
        _cleanup_(free_p) char *path = scene_path(scene, "erp.raw");
        _cleanup_(close_p) int fd = open(path, O_RDONLY);
        int flags = FS_IMMUTABLE_FL;
        assert_int_equal(ioctl(fd, FS_IOC_SETFLAGS, &flags), 0);
        ask_init(scene, &ask, "qcow2", "");
        link_clone(scene, &ask);
        scene_must(scene, placement_discard(&scene->custody, &scene->err));
        assert_true(is_immutable(scene, "erp.raw"));
        make_mutable(scene, "erp.raw");
        free(ask.xml);
}

static void a_base_cannot_be_moved_away(void **state) {
        struct scene *scene = *state;
        struct ask ask;
        need_immutable(scene);
        define_template(scene);
        ask_init(scene, &ask, "qcow2", "");
        link_clone(scene, &ask);
        scene_must(scene, define(scene, &ask, 0));
        struct custody other = scene->custody;
        other.job = "job9";
        other.vm_uuid = SOURCE;
        Drover__Domain **domains = NULL;
        size_t n = 0;
        bool said = false;
        scene_must(scene, collect_domains(scene->conn, scene->journal, &domains, &n, &scene->err));
        for (size_t i = 0; i < n; i++) {
                bool base = strcmp(domains[i]->uuid, SOURCE) == 0;
                assert_true(domains[i]->disks[0]->is_backing == base);
                assert_false(domains[i]->disks[0]->in_use_elsewhere);
                for (size_t k = 0; base && k < domains[i]->n_obstacles; k++)
                        said = said || (strcmp(domains[i]->obstacles[k]->code, "is-backing") == 0 &&
                                        strcmp(domains[i]->obstacles[k]->message,
                                               "disk vda: an image of web is laid over it") == 0);
                proto_free(&domains[i]->base);
        }
        free(domains);
        assert_true(said);
        Drover__MoveFence fence = DROVER__MOVE_FENCE__INIT;
        Drover__MoveFenceResult *fenced = NULL;
        fence.targets = both;
        fence.n_targets = 2;
        assert_int_equal(custody_fence(&other, &fence, &fenced, &scene->err), -1);
        assert_non_null(strstr(scene->err.message, "is used by web as well"));
        scene_must(scene, placement_discard(&scene->custody, &scene->err));
        free(ask.xml);
}

static void what_is_immutable_is_not_fenced(void **state) {
        struct scene *scene = *state;
        need_immutable(scene);
        define_template(scene);
        _cleanup_(free_p) char *path = scene_path(scene, "erp.raw");
        _cleanup_(free_p) char *message = memory_format("vda: %s is immutable", path);
        _cleanup_(close_p) int fd = open(path, O_RDONLY);
        int flags = FS_IMMUTABLE_FL;
        assert_int_equal(ioctl(fd, FS_IOC_SETFLAGS, &flags), 0);
        Drover__MoveFence fence = DROVER__MOVE_FENCE__INIT;
        Drover__MoveFenceResult *fenced = NULL;
        fence.targets = both;
        fence.n_targets = 2;
        scene->custody.vm_uuid = SOURCE;
        assert_int_equal(custody_fence(&scene->custody, &fence, &fenced, &scene->err), -1);
        assert_error(scene->err, ERROR_REFUSED, message);
        make_mutable(scene, "erp.raw");
}

static void fault_53_an_image_laid_over_anything_else_is_refused(void **state) {
        struct scene *scene = *state;
        struct ask ask;
        need_immutable(scene);
        define_template(scene);
        ask_init(scene, &ask, "qcow2", "");
        link_clone(scene, &ask);
        _cleanup_(close_p) int sink = -1;
        scene_must(scene, placement_open(&scene->custody, "vda", &sink, &scene->err));
        scene_must(scene, image_tool_create_over(sink, 512, "/etc/shadow", "raw", &scene->err));
        assert_int_equal(define(scene, &ask, 0), -1);
        assert_error(scene->err, ERROR_REFUSED,
                     "vda: the image refers to /etc/shadow, which no image that moves may do");
        scene_must(scene, placement_discard(&scene->custody, &scene->err));
        free(ask.xml);
}

// ---- defined ----

static int copy(struct scene *scene, const char *item, const char *text) {
        int fd = -1;
        if (placement_open(&scene->custody, item, &fd, &scene->err) < 0)
                return -1;
        assert_int_equal(write(fd, text, strlen(text)), (ssize_t) strlen(text));
        close(fd);
        return 0;
}

static void a_clone_is_defined_beside_its_source_with_numbers_of_its_own(void **state) {
        struct scene *scene = *state;
        struct ask ask;
        define_template(scene);
        ask_init(scene, &ask, "raw", "<graphics type='vnc' port='5901' autoport='no'/>");
        scene_must(scene, placement_reserve(&scene->custody, &ask.reserve, &scene->err));
        scene_must(scene, copy(scene, "vda", "system"));
        scene_must(scene, copy(scene, "vdb", "data"));
        static const char *const points[] = {"agent.define.all-published", "agent.define.before-define",
                                             "agent.define.defined", "agent.define.done"};
        for (unsigned i = 0; i < ARRAY_SIZE(points); i++) {
                scene_fail_at(scene, points[i]);
                assert_int_equal(define(scene, &ask, 0), -1);
        }
        scene_must(scene, define(scene, &ask, 0));
        assert_true(scene_defined(scene, SOURCE) && scene_defined(scene, SCENE_UUID));
        _cleanup_(domain_free_p) virDomainPtr clone = scene_domain(scene, SCENE_UUID);
        _cleanup_(free_p) char *xml = virDomainGetXMLDesc(clone, VIR_DOMAIN_XML_INACTIVE);
        assert_string_equal(virDomainGetName(clone), "web");
        assert_non_null(strstr(xml, NEW));
        assert_null(strstr(xml, MAC));
        assert_null(strstr(xml, "5901"));
        assert_null(strstr(xml, SOURCE));
        assert_null(strstr(xml, "erp.raw"));
        free(ask.xml);
}

static void a_clone_that_is_not_quite_another_vm_is_refused(void **state) {
        struct scene *scene = *state;
        struct ask ask;
        define_template(scene);
        ask_init(scene, &ask, "raw", "");
        scene_must(scene, placement_reserve(&scene->custody, &ask.reserve, &scene->err));
        scene_must(scene, copy(scene, "vda", "system"));
        scene_must(scene, copy(scene, "vdb", "data"));
        ask.identity.n_macs = 0;
        assert_int_equal(define(scene, &ask, 0), -1);
        assert_error(scene->err, ERROR_REFUSED, "the interface " MAC " has no address of its own in the clone");
        ask.identity.uuid = SOURCE;
        assert_int_equal(define(scene, &ask, 0), -1);
        assert_error(scene->err, ERROR_REFUSED, "the clone's identity is that of VM " SOURCE ", not of " SCENE_UUID);
        free(ask.xml);
}

// ---- snapshots ----

static ProtobufCBinaryData snapshot(const struct ask *ask, const char *name, const char *parent, const char *state) {
        _cleanup_(free_p) char *after =
                *parent ? memory_format("<parent><name>%s</name></parent>", parent) : memory_string("");
        bool running = strcmp(state, "running") == 0;
        char *xml = memory_format("<domainsnapshot><name>%s</name><state>%s</state>%s<creationTime>1795292606"
                                  "</creationTime><memory snapshot='%s'/><disks><disk name='vda' snapshot='internal'/>"
                                  "<disk name='vdb' snapshot='internal'/></disks>%s</domainsnapshot>",
                                  name, state, after, running ? "internal" : "no", ask->xml);
        return (ProtobufCBinaryData){.data = (uint8_t *) xml, .len = strlen(xml)};
}

// An image that says it holds a snapshot.
static void copy_with_snapshot(struct scene *scene, const char *item) {
        static const uint8_t one[4] = {0, 0, 0, 1};
        _cleanup_(close_p) int fd = -1;
        scene_must(scene, placement_open(&scene->custody, item, &fd, &scene->err));
        scene_must(scene, image_tool_create(fd, 1 << 20, &scene->err));
        assert_int_equal(pwrite(fd, one, sizeof(one), 60), sizeof(one));
}

// Stands before libvirt's own when the program is linked: the test driver would not take another domain type.
static char *snapshots_defined[4];
static unsigned n_snapshots_defined;
virDomainSnapshotPtr virDomainSnapshotCreateXML(virDomainPtr domain, const char *xml, unsigned flags) {
        assert_true(flags & VIR_DOMAIN_SNAPSHOT_CREATE_REDEFINE);
        assert_true(n_snapshots_defined < ARRAY_SIZE(snapshots_defined));
        snapshots_defined[n_snapshots_defined++] = memory_string(xml);
        _cleanup_(free_p) char *made =
                memory_format("<domainsnapshot><name>s%u</name></domainsnapshot>", n_snapshots_defined);
        virDomainSnapshotPtr (*make)(virDomainPtr, const char *, unsigned) =
                (virDomainSnapshotPtr(*)(virDomainPtr, const char *, unsigned)) dlsym(RTLD_NEXT, __func__);
        return make(domain, made, 0);
}

static void a_clone_knows_the_snapshots_that_it_can_go_back_to(void **state) {
        struct scene *scene = *state;
        struct ask ask;
        Drover__MoveDefineResult *result = NULL;
        define_template(scene);
        ask_init(scene, &ask, "qcow2", "");
        ProtobufCBinaryData came[] = {snapshot(&ask, "clean", "", "shutoff"),
                                      snapshot(&ask, "live", "clean", "running"),
                                      snapshot(&ask, "later", "live", "shutoff")};
        ask.define.snapshot_xml = came;
        ask.define.n_snapshot_xml = 3;
        scene_must(scene, placement_reserve(&scene->custody, &ask.reserve, &scene->err));
        copy_with_snapshot(scene, "vda");
        copy_with_snapshot(scene, "vdb");
        scene_must(scene, placement_define(&scene->custody, &ask.define, &result, &scene->err));
        assert_int_equal(result->n_warnings, 1);
        assert_string_equal(
                result->warnings[0],
                "the clone does not know the snapshot live: it holds memory of the VM that was cloned, with "
                "that one's addresses");
        proto_free(&result->base);
        assert_int_equal(n_snapshots_defined, 2);
        assert_non_null(strstr(snapshots_defined[0], "<name>clean</name>"));
        assert_null(strstr(snapshots_defined[0], "<parent>"));
        assert_non_null(strstr(snapshots_defined[0], "<uuid>" SCENE_UUID "</uuid>"));
        assert_null(strstr(snapshots_defined[0], MAC));
        assert_non_null(strstr(snapshots_defined[1], "<name>later</name>"));
        assert_non_null(strstr(snapshots_defined[1], "<name>clean</name>")); // joined up over the gap
        assert_null(strstr(snapshots_defined[1], "<name>live</name>"));
        for (unsigned i = 0; i < 3; i++)
                free(came[i].data);
        while (n_snapshots_defined > 0)
                free(snapshots_defined[--n_snapshots_defined]);
        free(ask.xml);
}

static void a_clone_laid_over_its_source_has_no_snapshots(void **state) {
        struct scene *scene = *state;
        struct ask ask;
        need_immutable(scene);
        define_template(scene);
        ask_init(scene, &ask, "qcow2", "");
        ProtobufCBinaryData came[] = {snapshot(&ask, "clean", "", "shutoff")};
        ask.define.snapshot_xml = came;
        ask.define.n_snapshot_xml = 1;
        link_clone(scene, &ask);
        scene_must(scene, define(scene, &ask, 1));
        assert_int_equal(n_snapshots_defined, 0);
        scene_must(scene, placement_discard(&scene->custody, &scene->err));
        free(came[0].data);
        free(ask.xml);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, scene_set_up, scene_tear_down)

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(a_source_is_held_where_it_is_and_read_by_many),
                TEST(what_was_not_held_is_not_read),
                TEST(a_source_that_runs_is_not_held),
                TEST(a_source_that_is_not_as_planned_is_stale),
                TEST(a_source_that_was_written_is_stale),
                TEST(a_source_that_was_started_or_redefined_is_stale),
                TEST(an_image_that_refers_to_others_is_cloned_on_its_own_host_only),
                TEST(while_it_is_read_qemu_cannot_write_to_it),
                TEST(fault_31_an_image_that_qemu_writes_is_not_held),
                TEST(a_base_is_immutable_while_a_clone_is_laid_over_it),
                TEST(a_base_stays_immutable_for_the_clones_that_stay),
                TEST(what_somebody_else_made_immutable_stays_so),
                TEST(a_base_cannot_be_moved_away),
                TEST(what_is_immutable_is_not_fenced),
                TEST(fault_53_an_image_laid_over_anything_else_is_refused),
                TEST(a_clone_is_defined_beside_its_source_with_numbers_of_its_own),
                TEST(a_clone_knows_the_snapshots_that_it_can_go_back_to),
                TEST(a_clone_laid_over_its_source_has_no_snapshots),
                TEST(a_clone_that_is_not_quite_another_vm_is_refused),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
