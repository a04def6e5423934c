// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * A template with two disks on the host of agent_custody_scene.h, and what a controller asks to have it cloned there.
 * Include in one file of a program.
 */
#include "agent_custody_scene.h"
#include "agent/blocks/image_tool.h"
#include "agent/host/clone.h"
#include "agent_driver.h"
#include <linux/fs.h>
#include <sys/ioctl.h>

#define SOURCE "11111111-2222-4333-8444-555555555555"
#define NEW    "02:00:00:12:34:56"

// ---- the source ----

static inline void define_template(struct scene *scene) {
        scene_define_vm(scene, "template", SOURCE, "");
}

static inline int hold_as(struct scene *scene, const char *sha256, char **targets, size_t n, bool local) {
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

static inline int hold(struct scene *scene) {
        return hold_as(scene, "", both, 2, false);
}

static inline int confirm(struct scene *scene) {
        Drover__CloneConfirm request = DROVER__CLONE_CONFIRM__INIT;
        request.source_uuid = SOURCE;
        request.targets = both;
        request.n_targets = 2;
        error_clear(&scene->err);
        return clone_confirm(&scene->custody, &request, &scene->err);
}

// ---- immutable files ----

static inline bool is_immutable(const struct scene *scene, const char *name) {
        _cleanup_(free_p) char *path = scene_path(scene, name);
        _cleanup_(close_p) int fd = open(path, O_RDONLY);
        int flags = 0;
        assert_int_equal(ioctl(fd, FS_IOC_GETFLAGS, &flags), 0);
        return flags & FS_IMMUTABLE_FL;
}

static inline int set_flags(const struct scene *scene, const char *name, int flags) {
        _cleanup_(free_p) char *path = scene_path(scene, name);
        _cleanup_(close_p) int fd = open(path, O_RDONLY);
        return ioctl(fd, FS_IOC_SETFLAGS, &flags);
}

static inline void make_immutable(const struct scene *scene, const char *name) {
        assert_int_equal(set_flags(scene, name, FS_IMMUTABLE_FL), 0);
}

static inline void make_mutable(const struct scene *scene, const char *name) {
        assert_int_equal(set_flags(scene, name, 0), 0);
}

// Where nothing can be made immutable there is nothing to test.
static inline void need_immutable(struct scene *scene) {
        scene_write(scene, "probe", "");
        if (set_flags(scene, "probe", FS_IMMUTABLE_FL) < 0)
                skip();
        make_mutable(scene, "probe");
        _cleanup_(free_p) char *path = scene_path(scene, "probe");
        unlink(path);
}

// ---- the clone ----

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

static inline void ask_init(struct scene *scene, struct ask *ask, const char *format, const char *more) {
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
        ask->mac.from = SCENE_MAC;
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
        ask->xml = scene_xml(scene, "template", SOURCE, SCENE_MAC, disks);
        memcpy(strstr(ask->xml, "'test'"), "'qemu'", 6);
        ask->define.definition_xml.data = (uint8_t *) ask->xml;
        ask->define.definition_xml.len = strlen(ask->xml);
}

static inline int define(struct scene *scene, const struct ask *ask, size_t n_warnings) {
        Drover__MoveDefineResult *result = NULL;
        error_clear(&scene->err);
        int status = placement_define(&scene->custody, &ask->define, &result, &scene->err);
        if (status == 0) {
                assert_int_equal(result->n_warnings, n_warnings);
                proto_free(&result->base);
        }
        return status;
}

static inline int copy(struct scene *scene, const char *item, const char *text) {
        int fd = -1;
        if (placement_open(&scene->custody, item, &fd, &scene->err) < 0)
                return -1;
        assert_int_equal(write(fd, text, strlen(text)), (ssize_t) strlen(text));
        close(fd);
        return 0;
}

static inline int lay_over(struct scene *scene, const struct ask *ask, unsigned disk) {
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

static inline void link_clone(struct scene *scene, const struct ask *ask) {
        scene_must(scene, hold_as(scene, "", both, 2, true));
        scene_must(scene, placement_reserve(&scene->custody, &ask->reserve, &scene->err));
        scene_must(scene, lay_over(scene, ask, 0));
        scene_must(scene, lay_over(scene, ask, 1));
}

#define CLONE_TEST(name) cmocka_unit_test_setup_teardown(name, scene_set_up, scene_tear_down)
