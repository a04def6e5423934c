// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Definitions and snapshots as a stranger may send them: parsed, described, rewritten, and what comes out of the
 * rewriting must pass the whitelist as it is.
 */
#include "agent/host/definition.h"
#include "agent/host/definition_snapshot.h"
#include "common/cleanup.h"
#include "proto/codec.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct definition_disk disks[] = {
        {.target = "vda", .format = "qcow2", .path = "/var/lib/libvirt/images/new-vda"},
        {.target = "vdb", .format = "raw", .path = "/var/lib/libvirt/images/new-vdb"},
        {.target = "sda", .format = "raw", .path = "/var/lib/libvirt/images/new-sda"},
        {.target = "sdb", .format = "qcow2", .path = "/var/lib/libvirt/images/new-sdb"},
};
static const Drover__NameMap bridge = {
        .base = PROTOBUF_C_MESSAGE_INIT(&drover__name_map__descriptor), .from = "br0", .to = "br1"};
static const Drover__NameMap *const bridges[] = {&bridge};
static const struct definition_changes changes = {
        .name = "renamed",
        .disks = disks,
        .n_disks = ARRAY_SIZE(disks),
        .bridges = bridges,
        .n_bridges = 1,
        .nvram_path = "/var/lib/libvirt/qemu/nvram/renamed_VARS.fd",
        .emulator = "/usr/bin/qemu-system-x86_64",
        .keep_only_whitelisted = true,
};

static void describe(const char *xml, size_t length) {
        struct definition *definition = NULL;
        if (definition_parse(xml, length, &definition, NULL) < 0)
                return;
        Drover__Domain *domain = calloc(1, sizeof(*domain));
        drover__domain__init(domain);
        definition_describe(definition, domain, NULL);
        char **files = NULL;
        unsigned n = 0;
        definition_host_files(definition, &files, &n, NULL);
        for (unsigned i = 0; i < n; i++)
                free(files[i]);
        free(files);
        proto_free(&domain->base);
        definition_free(definition);
}

static void describe_snapshot(const char *xml, size_t length) {
        Drover__Domain *domain = calloc(1, sizeof(*domain));
        drover__domain__init(domain);
        Drover__Snapshot *snapshot = NULL;
        if (definition_describe_snapshot(xml, length, domain, &snapshot, NULL) == 0)
                proto_free(&snapshot->base);
        proto_free(&domain->base);
}

static void rewrite(const char *xml, size_t length) {
        _cleanup_(free_p) char *once = NULL, *twice = NULL;
        if (definition_rewrite(xml, length, &changes, &once, NULL) < 0)
                return;
        if (definition_rewrite(once, strlen(once), &changes, &twice, NULL) < 0 || strcmp(once, twice) != 0)
                abort(); // what was let through must be let through again, unchanged
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        const char *xml = (const char *) data;
        describe(xml, size);
        describe_snapshot(xml, size);
        rewrite(xml, size);
        _cleanup_(free_p) char *snapshot = NULL;
        definition_rewrite_snapshot(xml, size, &changes, NULL, &snapshot, NULL);
        return 0;
}
