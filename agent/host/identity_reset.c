// SPDX-License-Identifier: LGPL-2.1-or-later
/* virt-sysprep on the disks of a clone, confined. Workers only. */
#include "agent/host/identity_reset.h"
#include "agent/host/custody_domain.h"
#include "agent/host/neighbour.h"
#include "agent/host/placement_parts.h"
#include "agent/host/small_machine.h"
#include "common/cleanup.h"
#include "common/file.h"
#include "common/memory.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

// Where the small machine's files are: hundreds of MiB, so an agent that dies must find them again.
#define FACT_DIRECTORY "reset-directory"

// What makes a guest recognised elsewhere, and nothing of what its users made.
static const char *const program[] = {
        SMALL_MACHINE_PROGRAM, "--quiet", "--no-network", "--operations",
        "ssh-hostkeys,net-hostname,net-hwaddr,udev-persistent-net,dhcp-client-state,customize",
        // Empty, and there: systemd makes a new one at the first boot, which it cannot do for a file that is missing
        // while the file system is read-only. The operation machine-id would have "customize" fill in another one.
        "--touch", "/etc/machine-id", "--truncate", "/etc/machine-id",
        // A copy of it, or a link that comes back at boot.
        "--delete", "/var/lib/dbus/machine-id",
        // Names that installers and cloud-init have bound to the old addresses.
        "--delete", "/etc/systemd/network/*-persistent-net*.link", "--delete",
        "/etc/systemd/network/10-anaconda-ifname-*.link", "--delete", "/etc/systemd/network/10-cloud-init-*.link"};

struct reset {
        const struct custody *custody;
        Drover__Domain *described;
        struct pool_table *pools;
        char **disks; // paths
        unsigned n_disks;
        const char **argv;
        unsigned n;
        char directory[64];
};

static void reset_fini(struct reset *reset) {
        proto_free((ProtobufCMessage *) reset->described);
        pool_table_free(reset->pools);
        for (unsigned i = 0; i < reset->n_disks; i++)
                free(reset->disks[i]);
        free(reset->disks);
        free(reset->argv);
}

int identity_reset_tidy(const struct custody *custody, struct error *err) {
        _cleanup_(free_p) char *directory = NULL;
        int noted = custody_fact(custody, FACT_DIRECTORY, &directory, err);
        if (noted <= 0)
                return noted;
        if (file_remove_tree(directory, err) < 0)
                return -1;
        return journal_fact_remove(custody->journal, custody->job, FACT_DIRECTORY, err);
}

static int make_directory(struct reset *reset, struct error *err) {
        char directory[] = "/var/tmp/drover-reset-XXXXXX"; // mkdtemp: 0700, and new
        if (identity_reset_tidy(reset->custody, err) < 0)
                return -1;
        if (!mkdtemp(directory))
                return error_errno(err, errno, "/var/tmp");
        memcpy(reset->directory, directory, sizeof(directory));
        if (custody_set_fact(reset->custody, FACT_DIRECTORY, directory, err) == 0)
                return 0;
        rmdir(directory);
        return -1;
}

static void add(struct reset *reset, const char *word) {
        reset->argv = memory_grow(reset->argv, reset->n + 2, sizeof(*reset->argv));
        reset->argv[reset->n++] = word;
        reset->argv[reset->n] = NULL;
}

// ---- the guest ----

static int read_domain(struct reset *reset, struct error *err) {
        const struct custody *custody = reset->custody;
        _cleanup_(domain_free_p) virDomainPtr domain = NULL;
        _cleanup_(free_p) char *xml = NULL;
        struct definition *definition = NULL;
        if (custody_require(custody, &domain, err) < 0)
                return -1;
        int ours = placement_made(custody, domain, err);
        int active = ours > 0 ? custody_active(domain, err) : ours;
        if (active < 0)
                return -1;
        if (!ours)
                return error_set(err, ERROR_CONFLICT, "VM %s on this host is not the one that job %s made",
                                 virDomainGetName(domain), custody->job);
        if (active)
                return error_set(err, ERROR_CONFLICT, "%s runs already", virDomainGetName(domain));
        reset->described = new (Drover__Domain);
        drover__domain__init(reset->described);
        if (custody_definition(domain, &xml, err) < 0 || definition_parse(xml, strlen(xml), &definition, err) < 0)
                return -1;
        int status = definition_describe(definition, reset->described, err);
        definition_free(definition);
        return status < 0 ? -1 : pool_table_read(custody->conn, &reset->pools, err);
}

// Formats as the definition states them; none is guessed (fault 34).
static int add_disks(struct reset *reset, struct error *err) {
        reset->disks = new_array(char *, reset->described->n_disks);
        for (size_t i = 0; i < reset->described->n_disks; i++) {
                const Drover__Disk *disk = reset->described->disks[i];
                char *path;
                if (strcmp(disk->device, "disk") != 0)
                        continue;
                int found = neighbour_disk_path(reset->pools, disk, &path, err);
                if (found < 0)
                        return -1;
                if (!found)
                        continue;
                add(reset, "--format");
                add(reset, strcmp(disk->format, "qcow2") == 0 ? "qcow2" : "raw");
                add(reset, "-a");
                add(reset, path);
                reset->disks[reset->n_disks++] = path;
        }
        return reset->n_disks ? 0 : error_set(err, ERROR_REFUSED, "it has no disk that could be looked into");
}

int identity_reset(const struct custody *custody, const Drover__IdentityReset *request, struct error *err) {
        _cleanup_(reset_fini) struct reset reset = {.custody = custody};
        if (placement_check_open(custody, err) < 0 || read_domain(&reset, err) < 0)
                return -1;
        for (unsigned i = 0; i < ARRAY_SIZE(program); i++)
                add(&reset, program[i]);
        add(&reset, "--hostname");
        add(&reset, request->host_name);
        if (add_disks(&reset, err) < 0)
                return error_prefix(err, "%s", reset.described->name);
        if (make_directory(&reset, err) < 0)
                return -1;
        const struct small_machine_order order = {.argv = reset.argv,
                                                  .disks = (const char *const *) reset.disks,
                                                  .n_disks = reset.n_disks,
                                                  .directory = reset.directory,
                                                  .cancelled = custody->cancelled,
                                                  .data = custody->cancelled_data};
        int result = small_machine_run(&order, err) < 0 ? error_prefix(err, "%s", reset.described->name) : 0;
        if (identity_reset_tidy(custody, result < 0 ? NULL : err) < 0)
                result = -1;
        return result;
}
