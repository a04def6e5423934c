// SPDX-License-Identifier: LGPL-2.1-or-later
/* agent/host/neighbour: whether an image that is about to go is what another VM's is laid over. */
#include "agent_custody_scene.h"
#include "agent/host/collect.h"
#include "agent/host/neighbour.h"
#include "agent/host/revive.h"
#include <dlfcn.h>
#include <endian.h>

#define OVER_UUID "11111111-2222-4333-8444-555555555555"

// The driver knows no type of domain but its own, and of that none is carried. Stands before libvirt's own.
static bool tell_as_qemu;

char *virDomainGetXMLDesc(virDomainPtr domain, unsigned flags) {
        char *(*get)(virDomainPtr, unsigned);
        *(void **) &get = dlsym(RTLD_NEXT, "virDomainGetXMLDesc");
        char *xml = get(domain, flags), *type = xml && tell_as_qemu ? strstr(xml, "<domain type='test'") : NULL;
        if (type)
                memcpy(type, "<domain type='qemu'", strlen("<domain type='qemu'"));
        return xml;
}

// What a pool holds is not told. Stands before libvirt's own.
static bool pools_are_silent;

char *virStoragePoolGetXMLDesc(virStoragePoolPtr pool, unsigned flags) {
        char *(*get)(virStoragePoolPtr, unsigned);
        virResetLastError();
        *(void **) &get = dlsym(RTLD_NEXT, "virStoragePoolGetXMLDesc");
        return pools_are_silent ? NULL : get(pool, flags);
}

static void put(uint8_t *header, size_t offset, uint32_t value) {
        value = htobe32(value);
        memcpy(header + offset, &value, sizeof(value));
}

// The header of a qcow2 of 1 MiB over `backing`. format "": it does not say.
static void write_over(const struct scene *scene, const char *name, const char *backing, const char *format) {
        uint8_t header[1024] = {0};
        put(header, 0, 0x514649fb);
        put(header, 4, 3);
        put(header, 12, 512);
        put(header, 16, (uint32_t) strlen(backing));
        put(header, 20, 16);
        put(header, 28, 1 << 20);
        put(header, 96, 4);
        put(header, 100, 104);
        put(header, 104, 0xe2792aca);
        put(header, 108, (uint32_t) strlen(format));
        memcpy(header + 112, format, strlen(format));
        memcpy(header + 512, backing, strlen(backing));
        _cleanup_(free_p) char *path = scene_path(scene, name);
        assert_int_equal(file_write(path, header, sizeof(header), 0600, NULL), 0);
}

// A VM "over" with one qcow2.
static void define_over_named(struct scene *scene, const char *file, const char *backing) {
        _cleanup_(free_p) char *disk =
                memory_format("<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>"
                              "<source file='%s/%s'/>%s<target dev='vda' bus='virtio'/></disk>",
                              scene->images, file, backing);
        scene_define(scene, "over", OVER_UUID, "52:54:00:00:00:02", disk);
}

static void define_over(struct scene *scene, const char *file) {
        define_over_named(scene, file, "");
}

// The same, whose definition says itself what the image is laid over.
static void define_over_base(struct scene *scene, const char *base, const char *format) {
        _cleanup_(free_p) char *backing = memory_format(
                "<backingStore type='file'><format type='%s'/><source file='%s/%s'/><backingStore/></backingStore>",
                format, scene->images, base);
        define_over_named(scene, "over.qcow2", backing);
}

// A VM "over" whose disk is a volume.
static void define_over_volume(struct scene *scene, const char *pool, const char *volume) {
        _cleanup_(free_p) char *disk =
                memory_format("<disk type='volume' device='disk'><driver name='qemu' type='qcow2'/>"
                              "<source pool='%s' volume='%s'/><target dev='vda' bus='virtio'/></disk>",
                              pool, volume);
        scene_define(scene, "over", OVER_UUID, "52:54:00:00:00:02", disk);
}

static struct scene *with_erp(void **state) {
        pools_are_silent = false; // should a test before this one have failed
        scene_define_vm(*state, "erp", SCENE_UUID, "");
        return *state;
}

// The first n disks; converted: those of "over", which are no whole images.
static int fence_vm(struct scene *scene, const struct custody *custody, size_t n, bool converted) {
        Drover__MoveFence request = DROVER__MOVE_FENCE__INIT;
        Drover__MoveFenceResult *result = NULL;
        request.targets = request.converted = both;
        request.n_targets = n;
        request.n_converted = converted ? n : 0;
        error_clear(&scene->err);
        int status = custody_fence(custody, &request, &result, &scene->err);
        if (status == 0)
                proto_free(&result->base);
        return status;
}

static int fence(struct scene *scene) {
        return fence_vm(scene, &scene->custody, 2, false);
}

static void assert_refused(struct scene *scene, const char *start, const char *end) {
        _cleanup_(free_p) char *message = memory_format("vda: %s%s/erp.raw%s", start, scene->images, end);
        assert_int_equal(fence(scene), -1);
        assert_int_equal(scene->err.code, ERROR_CONFLICT);
        assert_string_equal(scene->err.message, message);
        assert_true(scene->err.n_hints > 0);
        assert_int_equal(scene_holds(scene, SCENE_JOB, 0), 0);
        assert_true(scene_has(scene, "erp.raw", "system"));
}

static bool is_base(struct scene *scene, const char *name) {
        struct neighbours neighbours = {0};
        _cleanup_(free_p) char *path = scene_path(scene, name);
        scene_must(scene, neighbours_read(scene->conn, "", &neighbours, &scene->err));
        int base = neighbours_based_on(&neighbours, scene->journal, path, &scene->err);
        neighbours_fini(&neighbours);
        assert_true(base >= 0);
        return base;
}

// ---- images in their places

static void what_lies_below_an_image_of_no_stated_format_is_in_use(void **state) {
        struct scene *scene = with_erp(state);
        write_over(scene, "middle", "erp.raw", "raw");
        write_over(scene, "over.qcow2", "middle", "");
        define_over(scene, "over.qcow2");
        assert_refused(scene, "", " is used by over as well");
}

static void an_image_that_cannot_be_followed_may_be_laid_over_anything(void **state) {
        struct scene *scene = with_erp(state);
        write_over(scene, "over.qcow2", "json:{}", "raw");
        define_over(scene, "over.qcow2");
        assert_refused(scene, "nobody can tell whether over uses ", " as well: json:{} is no plain name of a file");
}

static int inspect(struct scene *scene, bool for_clone) {
        Drover__MoveInspect request = DROVER__MOVE_INSPECT__INIT;
        Drover__MoveInspectResult *result = NULL;
        request.for_clone = for_clone;
        error_clear(&scene->err);
        int status = custody_inspect(&scene->custody, &request, &result, &scene->err);
        if (status == 0)
                proto_free(&result->base);
        return status;
}

static void what_a_fence_would_refuse_is_told_before_anything_is_stopped_for_it(void **state) {
        struct scene *scene = with_erp(state);
        _cleanup_(domain_free_p) virDomainPtr erp = scene_domain(scene, SCENE_UUID);
        _cleanup_(free_p) char *message = memory_format(
                "vda: nobody can tell whether over uses %s/erp.raw as well: json:{} is no plain name of a file",
                scene->images);
        assert_int_equal(virDomainCreate(erp), 0);
        tell_as_qemu = true;
        scene_must(scene, inspect(scene, false));
        write_over(scene, "over.qcow2", "json:{}", "raw");
        define_over(scene, "over.qcow2");
        assert_int_equal(inspect(scene, false), -1);
        assert_int_equal(scene->err.code, ERROR_CONFLICT);
        assert_string_equal(scene->err.message, message);
        assert_true(scene_active(scene, SCENE_UUID));
        scene_must(scene, inspect(scene, true)); // a clone leaves its original where it is
        tell_as_qemu = false;
}

static void a_disk_that_is_not_mounted_may_hold_what_is_laid_over_anything(void **state) {
        struct scene *scene = with_erp(state);
        _cleanup_(free_p) char *mount_point = scene_path(scene, "far");
        _cleanup_(free_p) char *end = memory_format(" as well: %s/over.qcow2: No such file or directory", mount_point);
        assert_int_equal(mkdir(mount_point, 0755), 0);
        define_over(scene, "far/over.qcow2");
        assert_refused(scene, "nobody can tell whether over uses ", end);
}

static void a_vm_whose_image_was_removed_holds_up_nobody(void **state) {
        struct scene *scene = with_erp(state);
        define_over(scene, "over.qcow2");
        scene_must(scene, fence(scene));
        assert_true(scene_has(scene, ".drover/job1.vda.held", "system"));
}

// ---- what the definition says itself

static void both_what_the_image_and_what_the_definition_name_is_in_use(void **state) {
        struct scene *scene = with_erp(state);
        scene_write(scene, "base.raw", "base");
        write_over(scene, "over.qcow2", "base.raw", "raw");
        define_over_base(scene, "erp.raw", "raw");
        assert_refused(scene, "", " is used by over as well");
        assert_true(is_base(scene, "erp.raw") && is_base(scene, "base.raw"));
        assert_false(is_base(scene, "erp-data.raw"));
}

static void what_lies_below_what_the_definition_names_is_in_use(void **state) {
        struct scene *scene = with_erp(state);
        write_over(scene, "over.qcow2", "", "");
        write_over(scene, "middle", "erp.raw", "raw");
        define_over_base(scene, "middle", "qcow2");
        assert_refused(scene, "", " is used by over as well");
}

static void fault_34_what_a_guest_wrote_into_a_raw_base_is_no_header(void **state) {
        struct scene *scene = with_erp(state);
        write_over(scene, "over.qcow2", "middle", "raw");
        write_over(scene, "middle", "erp.raw", "raw");
        define_over_base(scene, "middle", "raw");
        assert_false(is_base(scene, "erp.raw"));
        scene_must(scene, fence(scene));
}

// What lies below over.qcow2, "base.raw" by its own words, stands in the definition otherwise.
static void define_over_other(struct scene *scene, const char *type, const char *format, const char *source) {
        _cleanup_(free_p) char *backing = memory_format(
                "<backingStore type='%s'><format type='%s'/>%s<backingStore/></backingStore>", type, format, source);
        define_over_named(scene, "over.qcow2", backing);
}

static void a_volume_that_the_definition_names_is_the_file_that_it_is(void **state) {
        struct scene *scene = with_erp(state);
        scene_write(scene, "base.raw", "base");
        write_over(scene, "over.qcow2", "base.raw", "raw");
        define_over_other(scene, "volume", "raw", "<source pool='images' volume='erp.raw'/>");
        assert_refused(scene, "", " is used by over as well");
        define_over_other(scene, "volume", "raw", "<source pool='images' volume='base.raw'/>");
        assert_false(is_base(scene, "erp.raw"));
        scene_must(scene, fence(scene));
}

static void a_definition_that_names_no_file_of_this_host_holds_up_nobody(void **state) {
        struct scene *scene = with_erp(state);
        scene_write(scene, "base.raw", "base");
        write_over(scene, "over.qcow2", "base.raw", "raw");
        define_over_other(scene, "nvme", "raw",
                          "<source type='pci' managed='yes' namespace='1'>"
                          "<address domain='0x0000' bus='0x01' slot='0x00' function='0x0'/></source>");
        assert_false(is_base(scene, "erp.raw"));
        define_over_other(scene, "volume", "raw", "<source pool='stopped' volume='erp.raw'/>");
        scene_must(scene, fence(scene));
}

// ---- volumes whose pool is not to be had

static void a_volume_of_a_pool_that_cannot_be_read_may_be_anything(void **state) {
        struct scene *scene = with_erp(state);
        write_over(scene, "over.qcow2", "base.raw", "raw");
        define_over_volume(scene, "images", "over.qcow2");
        assert_false(is_base(scene, "erp.raw"));
        pools_are_silent = true;
        assert_true(is_base(scene, "erp.raw"));
        assert_refused(scene, "nobody can tell whether over uses ",
                       " as well: disk vda: pool images cannot be read: read the pool: libvirt gave no reason");
        define_over(scene, "over.qcow2");
        assert_false(is_base(scene, "erp.raw"));
        define_over_other(scene, "volume", "raw", "<source pool='images' volume='base.raw'/>");
        assert_true(is_base(scene, "erp.raw"));
        pools_are_silent = false;
        assert_false(is_base(scene, "erp.raw"));
}

static void a_volume_of_a_pool_that_was_stopped_under_a_running_vm_may_be_anything(void **state) {
        struct scene *scene = with_erp(state);
        define_over_volume(scene, "stopped", "over.qcow2");
        _cleanup_(domain_free_p) virDomainPtr over = scene_domain(scene, OVER_UUID);
        assert_int_equal(virDomainCreate(over), 0);
        assert_refused(scene, "nobody can tell whether over uses ",
                       " as well: disk vda is a volume of pool stopped, which is not active");
        assert_int_equal(virDomainDestroy(over), 0);
        scene_must(scene, fence(scene));
}

// ---- whether both say the same

// Whether a move of "over" is told that the definition and the image say otherwise, and what the image depends on then.
static void assert_told(struct scene *scene, bool otherwise, size_t n_bases) {
        Drover__Domain *domain = NULL;
        bool said = false;
        scene_must(scene, collect_domain_by_uuid(scene->conn, OVER_UUID, scene->journal, &domain, &scene->err));
        for (size_t i = 0; i < domain->n_obstacles; i++)
                said = said ||
                       (strcmp(domain->obstacles[i]->code, "backing-named") == 0 &&
                        strcmp(domain->obstacles[i]->message,
                               "disk vda: the definition and the image do not agree on what it is laid over") == 0);
        assert_int_equal(said, otherwise);
        assert_int_equal(domain->disks[0]->n_backing_chain, n_bases);
        proto_free(&domain->base);
}

static void a_definition_that_says_otherwise_than_the_image_is_an_obstacle(void **state) {
        struct scene *scene = with_erp(state);
        scene_write(scene, "base.raw", "base");
        write_over(scene, "over.qcow2", "base.raw", "raw");
        define_over(scene, "over.qcow2");
        assert_told(scene, false, 1);
        define_over_base(scene, "base.raw", "raw");
        assert_told(scene, false, 1);
        define_over_base(scene, "erp.raw", "raw");
        assert_told(scene, true, 2);
        define_over_named(scene, "over.qcow2", "<backingStore/>");
        assert_told(scene, true, 1);
        write_over(scene, "over.qcow2", "", "");
        assert_told(scene, false, 0);
        define_over_base(scene, "erp.raw", "raw");
        assert_told(scene, true, 1);
}

static void an_image_and_a_definition_are_compared_with_their_formats(void **state) {
        struct scene *scene = with_erp(state);
        write_over(scene, "middle", "", "");
        write_over(scene, "over.qcow2", "middle", "qcow2");
        define_over_base(scene, "middle", "qcow2");
        assert_told(scene, false, 1);
        define_over_base(scene, "middle", "raw");
        assert_told(scene, true, 1);
        write_over(scene, "over.qcow2", "middle", "");
        assert_told(scene, false, 1);
        define_over_other(scene, "volume", "raw", "<source pool='images' volume='middle'/>");
        assert_told(scene, false, 1);
        define_over_other(scene, "volume", "raw", "<source pool='images' volume='erp.raw'/>");
        assert_told(scene, true, 2);
}

static void what_cannot_be_read_or_followed_is_not_said_to_differ(void **state) {
        struct scene *scene = with_erp(state);
        write_over(scene, "over.qcow2", "missing", "qcow2");
        define_over_base(scene, "erp.raw", "raw");
        assert_told(scene, false, 2);
        write_over(scene, "over.qcow2", "json:{}", "raw");
        assert_told(scene, false, 2);
        write_over(scene, "over.qcow2", "nbd:localhost:10809", "raw");
        define_over_other(scene, "network", "raw",
                          "<source protocol='nbd' name='erp'><host name='localhost' port='10809'/></source>");
        assert_told(scene, false, 1);
}

// ---- images that a job has put out of reach

// Another job moves "over" away; its image is laid over that of erp.
static struct custody fence_over(struct scene *scene) {
        struct custody other = scene->custody;
        other.job = "job2";
        other.vm_uuid = OVER_UUID;
        write_over(scene, "over.qcow2", "erp.raw", "raw");
        define_over(scene, "over.qcow2");
        scene_must(scene, fence_vm(scene, &other, 1, true));
        assert_false(scene_exists(scene, "over.qcow2"));
        return other;
}

static void retire(struct scene *scene, const struct custody *custody, bool purge) {
        Drover__MoveRetire request = DROVER__MOVE_RETIRE__INIT;
        request.purge = purge;
        scene_must(scene, custody_retire(custody, &request, &scene->err));
}

static void release(struct scene *scene, const struct custody *custody) {
        Drover__MoveRelease request = DROVER__MOVE_RELEASE__INIT;
        scene_must(scene, custody_release(custody, &request, &scene->err));
}

static void a_base_is_one_while_what_is_over_it_is_fenced_and_when_that_is_back(void **state) {
        struct scene *scene = with_erp(state);
        struct custody other = fence_over(scene);
        assert_true(is_base(scene, "erp.raw"));
        assert_false(is_base(scene, "erp-data.raw"));
        release(scene, &other);
        assert_true(is_base(scene, "erp.raw"));
        assert_false(is_base(scene, "erp-data.raw"));
}

static void a_base_is_one_until_what_is_over_it_is_purged(void **state) {
        struct scene *scene = with_erp(state);
        struct custody other = fence_over(scene);
        retire(scene, &other, false);
        assert_false(scene_defined(scene, OVER_UUID));
        assert_true(is_base(scene, "erp.raw"));
        assert_false(is_base(scene, "erp-data.raw"));
        retire(scene, &other, true);
        assert_false(is_base(scene, "erp.raw"));
}

static void what_is_held_and_cannot_be_found_may_be_laid_over_anything(void **state) {
        struct scene *scene = with_erp(state);
        struct custody other = fence_over(scene);
        _cleanup_(free_p) char *path = scene_path(scene, ".drover/job2.vda.held");
        retire(scene, &other, false);
        assert_int_equal(unlink(path), 0);
        assert_true(is_base(scene, "erp-data.raw"));
}

static void what_cannot_be_read_may_be_laid_over_anything(void **state) {
        struct scene *scene = with_erp(state);
        assert_false(is_base(scene, "erp.raw"));
        define_over(scene, "over.qcow2"); // not there
        assert_true(is_base(scene, "erp.raw"));
        write_over(scene, "over.qcow2", "json:{}", "raw");
        assert_true(is_base(scene, "erp.raw"));
        write_over(scene, "over.qcow2", "over.qcow2", "qcow2"); // without an end
        assert_true(is_base(scene, "erp.raw"));
        write_over(scene, "over.qcow2", "erp-data.raw", "raw");
        assert_false(is_base(scene, "erp.raw"));
}

static void what_an_image_that_another_job_holds_is_laid_over_is_not_fenced(void **state) {
        struct scene *scene = with_erp(state);
        struct custody other = fence_over(scene);
        assert_refused(scene, "", " is used by over as well");
        assert_string_equal(scene->err.hints[0], "wait until the other job is done: drover job show job2");
        retire(scene, &other, false);
        assert_refused(scene, "", " is used by over as well");
        assert_string_equal(scene->err.hints[0],
                            "if what over left behind here is not needed any more: drover vm purge over");
        retire(scene, &other, true);
        scene_must(scene, fence(scene));
}

static void an_image_that_is_held_and_cannot_be_found_may_be_laid_over_what_is_fenced(void **state) {
        struct scene *scene = with_erp(state);
        struct custody other = fence_over(scene);
        _cleanup_(free_p) char *path = scene_path(scene, ".drover/job2.vda.held");
        retire(scene, &other, false);
        assert_int_equal(unlink(path), 0);
        assert_int_equal(fence(scene), -1);
        assert_int_equal(scene->err.code, ERROR_CONFLICT);
        assert_non_null(strstr(scene->err.message, "vda: nobody can tell whether over uses "));
        assert_non_null(strstr(scene->err.hints[0], "see whether its file system is mounted: findmnt -T "));
        assert_true(scene_has(scene, "erp.raw", "system"));
}

static int purge(struct scene *scene) {
        Drover__RetiredPurge request = DROVER__RETIRED_PURGE__INIT;
        Drover__RetiredPurgeResult *result = NULL;
        request.all = true;
        error_clear(&scene->err);
        int status = custody_purge(&scene->custody, &request, &result, &scene->err);
        if (status == 0)
                proto_free(&result->base);
        return status;
}

static void assert_not_purged(struct scene *scene) {
        _cleanup_(free_p) char *message =
                memory_format("purge vda of erp: vda: %s/erp.raw is used by over as well", scene->images);
        assert_int_equal(purge(scene), -1);
        assert_int_equal(scene->err.code, ERROR_CONFLICT);
        assert_string_equal(scene->err.message, message);
        assert_true(scene->err.n_hints > 1);
        assert_string_equal(scene->err.hints[scene->err.n_hints - 1],
                            "or bring back what is needed: drover job undo job1");
        assert_true(scene_has(scene, ".drover/job1.vda.held", "system"));
        assert_int_equal(scene_holds(scene, SCENE_JOB, HOLD_RETIRED), 2);
}

static int revive(struct scene *scene) {
        Drover__MoveRevive request = DROVER__MOVE_REVIVE__INIT;
        struct custody undo = scene->custody;
        request.retired_job = (char *) SCENE_JOB;
        undo.job = "job9";
        error_clear(&scene->err);
        return revive_run(&undo, &request, &scene->err);
}

static void assert_not_revived(struct scene *scene) {
        _cleanup_(free_p) char *message = memory_format("vda: %s/erp.raw is used by over as well", scene->images);
        assert_int_equal(revive(scene), -1);
        assert_int_equal(scene->err.code, ERROR_CONFLICT);
        assert_string_equal(scene->err.message, message);
        assert_string_equal(scene->err.hints[scene->err.n_hints - 1],
                            "move the VM back instead: drover vm move erp HOST");
        assert_true(scene_has(scene, ".drover/job1.vda.held", "system"));
        assert_false(scene_defined(scene, SCENE_UUID));
}

// While the image over it could not be seen, erp was moved away.
static struct scene *retire_below(void **state) {
        struct scene *scene = with_erp(state);
        define_over(scene, "over.qcow2");
        scene_must(scene, fence(scene));
        retire(scene, &scene->custody, false);
        return scene;
}

static void what_was_retired_below_an_image_is_neither_purged_nor_taken(void **state) {
        struct scene *scene = retire_below(state);
        write_over(scene, "over.qcow2", "erp.raw", "raw");
        assert_not_purged(scene);
        assert_not_revived(scene);
        write_over(scene, "over.qcow2", "erp-other.raw", "raw");
        scene_write(scene, "erp-other.raw", "other");
        scene_must(scene, purge(scene));
        assert_int_equal(scene_holds(scene, NULL, 0), 0);
}

static void what_was_retired_below_an_image_that_a_job_holds_is_neither_purged_nor_taken(void **state) {
        struct scene *scene = retire_below(state);
        _cleanup_(domain_free_p) virDomainPtr over = scene_domain(scene, OVER_UUID);
        struct hold hold = {.job = "job2",
                            .vm_uuid = OVER_UUID,
                            .vm_name = "over",
                            .item = "vda",
                            .kind = HOLD_FENCED,
                            .name = "over.qcow2"};
        snprintf(hold.directory, sizeof(hold.directory), "%s", scene->images);
        write_over(scene, ".drover/job2.vda.held", "erp.raw", "raw");
        assert_int_equal(virDomainUndefine(over), 0);
        scene_must(scene, journal_hold_put(scene->journal, &hold, &scene->err));
        assert_not_purged(scene);
        assert_not_revived(scene);
        scene_must(scene, journal_hold_remove(scene->journal, "job2", "vda", &scene->err));
        scene_must(scene, revive(scene));
        assert_true(scene_has(scene, "erp.raw", "system"));
}

static void what_lies_over_another_file_of_its_name_does_not_keep_what_was_retired(void **state) {
        struct scene *scene = retire_below(state);
        scene_write(scene, "erp.raw", "another");
        write_over(scene, "over.qcow2", "erp.raw", "raw");
        scene_must(scene, purge(scene));
        assert_true(scene_has(scene, "erp.raw", "another"));
}

// Whether the disks of erp are told to be the bases of others.
static void assert_backing(struct scene *scene, bool first) {
        Drover__Domain *domain = NULL;
        bool said = false;
        scene_must(scene, collect_domain_by_uuid(scene->conn, SCENE_UUID, scene->journal, &domain, &scene->err));
        assert_int_equal(domain->n_disks, 2);
        assert_int_equal(domain->disks[0]->is_backing, first);
        assert_false(domain->disks[1]->is_backing);
        for (size_t i = 0; i < domain->n_obstacles; i++)
                said = said ||
                       (strcmp(domain->obstacles[i]->code, "is-backing") == 0 &&
                        strcmp(domain->obstacles[i]->message, "disk vda: an image of over is laid over it") == 0);
        assert_int_equal(said, first);
        proto_free(&domain->base);
}

static void a_base_is_told_to_be_one_until_what_is_over_it_is_purged(void **state) {
        struct scene *scene = with_erp(state);
        assert_backing(scene, false);
        struct custody other = fence_over(scene);
        assert_backing(scene, true);
        retire(scene, &other, false);
        assert_backing(scene, true);
        retire(scene, &other, true);
        assert_backing(scene, false);
}

static void fault_34_what_a_guest_wrote_into_a_raw_disk_that_is_held_is_no_header(void **state) {
        struct scene *scene = with_erp(state);
        write_over(scene, "erp.raw", "base.raw", "raw");
        scene_write(scene, "base.raw", "base");
        scene_must(scene, fence(scene));
        assert_false(is_base(scene, "base.raw"));
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, scene_set_up, scene_tear_down)
        const struct CMUnitTest tests[] = {
                TEST(what_lies_below_an_image_of_no_stated_format_is_in_use),
                TEST(an_image_that_cannot_be_followed_may_be_laid_over_anything),
                TEST(what_a_fence_would_refuse_is_told_before_anything_is_stopped_for_it),
                TEST(a_disk_that_is_not_mounted_may_hold_what_is_laid_over_anything),
                TEST(a_vm_whose_image_was_removed_holds_up_nobody),
                TEST(both_what_the_image_and_what_the_definition_name_is_in_use),
                TEST(what_lies_below_what_the_definition_names_is_in_use),
                TEST(fault_34_what_a_guest_wrote_into_a_raw_base_is_no_header),
                TEST(a_definition_that_says_otherwise_than_the_image_is_an_obstacle),
                TEST(an_image_and_a_definition_are_compared_with_their_formats),
                TEST(what_cannot_be_read_or_followed_is_not_said_to_differ),
                TEST(a_volume_that_the_definition_names_is_the_file_that_it_is),
                TEST(a_definition_that_names_no_file_of_this_host_holds_up_nobody),
                TEST(a_volume_of_a_pool_that_cannot_be_read_may_be_anything),
                TEST(a_volume_of_a_pool_that_was_stopped_under_a_running_vm_may_be_anything),
                TEST(a_base_is_one_while_what_is_over_it_is_fenced_and_when_that_is_back),
                TEST(a_base_is_one_until_what_is_over_it_is_purged),
                TEST(what_is_held_and_cannot_be_found_may_be_laid_over_anything),
                TEST(what_cannot_be_read_may_be_laid_over_anything),
                TEST(what_an_image_that_another_job_holds_is_laid_over_is_not_fenced),
                TEST(an_image_that_is_held_and_cannot_be_found_may_be_laid_over_what_is_fenced),
                TEST(what_was_retired_below_an_image_is_neither_purged_nor_taken),
                TEST(what_was_retired_below_an_image_that_a_job_holds_is_neither_purged_nor_taken),
                TEST(what_lies_over_another_file_of_its_name_does_not_keep_what_was_retired),
                TEST(a_base_is_told_to_be_one_until_what_is_over_it_is_purged),
                TEST(fault_34_what_a_guest_wrote_into_a_raw_disk_that_is_held_is_no_header),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
