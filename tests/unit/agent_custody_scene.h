// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * A host in miniature for the tests of custody and placement: libvirt's own test driver, a directory of images that is
 * a pool, a journal, and fault points that fail once. A step that fails at a fault point has made durable exactly what
 * a process that dies there would have.
 */
#include "agent/host/custody.h"
#include "agent/host/placement.h"
#include "common/cleanup.h"
#include "common/fault.h"
#include "common/file.h"
#include "common/memory.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <cmocka.h>
#include "scratch.h"

#define SCENE_UUID "6c1f8a8e-0f4e-4b3c-9d5e-0a1b2c3d4e5f"
#define SCENE_JOB  "job1"
#define SCENE_MAC  "52:54:00:12:34:56"

struct scene {
        char root[64], images[96], faults[96];
        virConnectPtr conn;
        struct journal *journal;
        struct custody custody;
        struct error err;
};

static inline char *scene_path(const struct scene *scene, const char *name) {
        return memory_format("%s/%s", scene->images, name);
}

static inline void scene_write(const struct scene *scene, const char *name, const char *text) {
        _cleanup_(free_p) char *path = scene_path(scene, name);
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, text, strlen(text)), (ssize_t) strlen(text));
        close(fd);
}

// Whether the file in the images' directory (a name with ".drover/" is in the sidecar) exists with this text.
static inline bool scene_has(const struct scene *scene, const char *name, const char *text) {
        _cleanup_(free_p) char *path = scene_path(scene, name);
        _cleanup_(buffer_fini) struct buffer content;
        buffer_init(&content, 0);
        if (file_read(path, 4096, &content, NULL) < 0)
                return false;
        return content.length == strlen(text) && memcmp(content.data, text, content.length) == 0;
}

static inline bool scene_exists(const struct scene *scene, const char *name) {
        _cleanup_(free_p) char *path = scene_path(scene, name);
        struct stat status;
        return lstat(path, &status) == 0;
}

static inline void scene_fail_at(const struct scene *scene, const char *point) {
        _cleanup_(free_p) char *path = memory_format("%s/%s", scene->faults, point);
        assert_int_equal(file_write(path, "fail", 4, 0600, NULL), 0);
}

// Takes an instruction back that was not met; true if it was met.
static inline bool scene_failed_at(const struct scene *scene, const char *point) {
        _cleanup_(free_p) char *path = memory_format("%s/%s", scene->faults, point);
        return unlink(path) < 0;
}

static inline void scene_must(struct scene *scene, int status) {
        if (status < 0)
                print_error("%s\n", scene->err.message);
        assert_int_equal(status, 0);
}

static inline unsigned scene_holds(struct scene *scene, const char *job, enum hold_kind kind) {
        _cleanup_(free_p) struct hold *holds = NULL;
        unsigned n = 0;
        scene_must(scene, journal_holds(scene->journal, job, kind, &holds, &n, &scene->err));
        return n;
}

static inline virDomainPtr scene_domain(const struct scene *scene, const char *uuid) {
        return virDomainLookupByUUIDString(scene->conn, uuid);
}

static inline bool scene_defined(const struct scene *scene, const char *uuid) {
        _cleanup_(domain_free_p) virDomainPtr domain = scene_domain(scene, uuid);
        return domain;
}

static inline bool scene_active(const struct scene *scene, const char *uuid) {
        _cleanup_(domain_free_p) virDomainPtr domain = scene_domain(scene, uuid);
        return domain && virDomainIsActive(domain) == 1;
}

static inline char *scene_xml(const struct scene *scene, const char *name, const char *uuid, const char *mac,
                              const char *disks) {
        (void) scene;
        return memory_format("<domain type='test'><name>%s</name><uuid>%s</uuid><memory unit='KiB'>8192</memory>"
                             "<vcpu>1</vcpu><os><type>hvm</type></os><devices>%s"
                             "<interface type='bridge'><mac address='%s'/><source bridge='br0'/></interface>"
                             "</devices></domain>",
                             name, uuid, disks, mac);
}

static inline char *scene_disk(const struct scene *scene, const char *target, const char *file, const char *more) {
        return memory_format("<disk type='file' device='disk'><driver name='qemu' type='raw'/>"
                             "<source file='%s/%s' %s/><target dev='%s' bus='virtio'/></disk>",
                             scene->images, file, more, target);
}

static inline void scene_define(struct scene *scene, const char *name, const char *uuid, const char *mac,
                                const char *disks) {
        _cleanup_(free_p) char *xml = scene_xml(scene, name, uuid, mac, disks);
        _cleanup_(domain_free_p) virDomainPtr domain = virDomainDefineXML(scene->conn, xml);
        assert_non_null(domain);
}

static char *both[] = {"vda", "vdb"};

// A VM with the disks `both`, whose contents are "system" and "data"; `more` stands in their sources.
static inline void scene_define_vm(struct scene *scene, const char *name, const char *uuid, const char *more) {
        _cleanup_(free_p) char *vda = scene_disk(scene, both[0], "erp.raw", more);
        _cleanup_(free_p) char *vdb = scene_disk(scene, both[1], "erp-data.raw", more);
        _cleanup_(free_p) char *disks = memory_format("%s%s", vda, vdb);
        scene_write(scene, "erp.raw", "system");
        scene_write(scene, "erp-data.raw", "data");
        scene_define(scene, name, uuid, SCENE_MAC, disks);
}

static inline char *scene_definition(const struct scene *scene) {
        _cleanup_(domain_free_p) virDomainPtr domain = scene_domain(scene, SCENE_UUID);
        assert_non_null(domain);
        char *xml = virDomainGetXMLDesc(domain, VIR_DOMAIN_XML_INACTIVE | VIR_DOMAIN_XML_SECURE);
        assert_non_null(xml);
        return xml;
}

static inline void scene_pool(struct scene *scene) {
        _cleanup_(free_p) char *xml = memory_format(
                "<pool type='dir'><name>images</name><target><path>%s</path></target></pool>", scene->images);
        _cleanup_(pool_free_p) virStoragePoolPtr pool = virStoragePoolCreateXML(scene->conn, xml, 0);
        assert_non_null(pool);
}

static inline int scene_set_up(void **state) {
        struct scene *scene = new (struct scene);
        connection_quiet();
        assert_int_equal(scratch_new(scene->root, sizeof(scene->root)), 0);
        snprintf(scene->images, sizeof(scene->images), "%s/images", scene->root);
        snprintf(scene->faults, sizeof(scene->faults), "%s/faults", scene->root);
        assert_int_equal(mkdir(scene->images, 0755), 0);
        assert_int_equal(mkdir(scene->faults, 0700), 0);
        setenv("DROVER_FAULT_DIR", scene->faults, 1);
        fault_init();
        _cleanup_(free_p) char *path = memory_format("%s/agent.db", scene->root);
        scene_must(scene, journal_open(path, &scene->journal, &scene->err));
        // A host of its own for each test: the driver's default one is shared within the process.
        _cleanup_(free_p) char *node = memory_format("%s/node.xml", scene->root);
        assert_int_equal(file_write(node, "<node/>", 7, 0600, NULL), 0);
        _cleanup_(free_p) char *uri = memory_format("test://%s", node);
        scene->conn = virConnectOpen(uri);
        assert_non_null(scene->conn);
        scene_pool(scene);
        scene->custody = (struct custody){
                .conn = scene->conn, .journal = scene->journal, .job = SCENE_JOB, .vm_uuid = SCENE_UUID};
        *state = scene;
        return 0;
}

static inline int scene_tear_down(void **state) {
        struct scene *scene = *state;
        virConnectClose(scene->conn);
        journal_close(scene->journal);
        unsetenv("DROVER_FAULT_DIR");
        fault_init();
        file_remove_tree(scene->root, NULL);
        free(scene);
        return 0;
}
