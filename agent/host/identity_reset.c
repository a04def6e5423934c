// SPDX-License-Identifier: LGPL-2.1-or-later
/* virt-sysprep on the disks of a clone, confined. Workers only. */
#include "agent/host/identity_reset.h"
#include "agent/host/custody_domain.h"
#include "agent/host/neighbour.h"
#include "agent/host/placement_parts.h"
#include "agent/host/program.h"
#include "common/cleanup.h"
#include "common/file.h"
#include "common/memory.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PROGRAM "/usr/bin/virt-sysprep"
// What makes a guest recognised elsewhere, and nothing of what its users made.
#define OPERATIONS "machine-id,ssh-hostkeys,net-hostname,net-hwaddr,udev-persistent-net,dhcp-client-state,customize"
// Where the small machine's files are: hundreds of MiB, so an agent that dies must find them again.
#define FACT_DIRECTORY "reset-directory"
// Without hardware virtualisation the small machine takes minutes to start.
#define SECONDS      900u
#define MEMORY_BYTES (UINT64_C(8) << 30) // of address space; QEMU claims far more than it uses

struct reset {
        const struct custody *custody;
        Drover__Domain *described;
        struct pool_table *pools;
        char **owned; // texts of argv
        unsigned n_owned;
        const char **argv;
        unsigned n;
        char directory[64];
};

static void reset_fini(struct reset *reset) {
        proto_free((ProtobufCMessage *) reset->described);
        pool_table_free(reset->pools);
        for (unsigned i = 0; i < reset->n_owned; i++)
                free(reset->owned[i]);
        free(reset->owned);
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

// Takes `word`.
static void add_owned(struct reset *reset, char *word) {
        reset->owned = memory_grow(reset->owned, reset->n_owned + 1, sizeof(*reset->owned));
        reset->owned[reset->n_owned++] = word;
        add(reset, word);
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
        unsigned n = 0;
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
                add_owned(reset, path);
                n++;
        }
        return n ? 0 : error_set(err, ERROR_REFUSED, "it has no disk that could be looked into");
}

// ---- the program ----

// Only these of our own environment are of use to it: where the small machine's kernel is, and whether it may use KVM.
static unsigned add_environment(const char **environment, char **owned) {
        static const char *const passed[] = {"SUPERMIN_KERNEL", "SUPERMIN_MODULES", "LIBGUESTFS_BACKEND_SETTINGS"};
        unsigned n = 0;
        for (unsigned i = 0; i < ARRAY_SIZE(passed); i++) {
                const char *value = getenv(passed[i]);
                if (value)
                        environment[n] = owned[n] = memory_format("%s=%s", passed[i], value), n++;
        }
        return n;
}

// "virt-sysprep: error: no operating systems were found in the guest image" and more lines of advice after it.
static void first_error(const char *words, char *ret, size_t size) {
        const char *at = strstr(words, "error: ");
        at = at ? at + strlen("error: ") : words;
        size_t length = strcspn(at, "\n");
        snprintf(ret, size, "%.*s", (int) length, at);
}

static int refuse(const char *words, struct error *err) {
        static const struct {
                const char *sign, *hint;
        } known[] = {
                {"no operating systems", "clone it without --reset-identity, and change what must differ in the guest"},
                {"supermin", "the small machine needs a kernel on this host: apt install linux-image-amd64"},
                {"encrypt", "clone it without --reset-identity: an encrypted guest cannot be opened from outside"},
                {"LUKS", "clone it without --reset-identity: an encrypted guest cannot be opened from outside"},
        };
        char reason[512];
        first_error(words, reason, sizeof(reason));
        error_set(err, ERROR_REFUSED, "the guest cannot be opened: %s", reason[0] ? reason : "virt-sysprep failed");
        for (unsigned i = 0; i < ARRAY_SIZE(known); i++)
                if (strstr(words, known[i].sign)) {
                        error_hint(err, "%s", known[i].hint);
                        return -1;
                }
        error_hint(err, "clone it without --reset-identity");
        return -1;
}

static int run(struct reset *reset, struct error *err) {
        static const char *const fixed[] = {
                "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "HOME=/", "LIBGUESTFS_BACKEND=direct",
                // The small machine's files are unpacked without the power to give them away.
                "TAR_OPTIONS=--no-same-owner"};
        const char *environment[ARRAY_SIZE(fixed) + 4] = {0};
        char *owned[3] = {NULL, NULL, NULL};
        unsigned n = add_environment(environment, owned);
        for (unsigned i = 0; i < ARRAY_SIZE(fixed); i++)
                environment[n++] = fixed[i];
        _cleanup_(free_p) char *directory = memory_format("TMPDIR=%s", reset->directory);
        environment[n] = directory;
        char words[PROGRAM_WORDS_MAX];
        int code = 0;
        struct program_order order = {.argv = reset->argv,
                                      .environment = environment,
                                      .directory = reset->directory,
                                      .seconds = SECONDS,
                                      .memory_bytes = MEMORY_BYTES,
                                      .cancelled = reset->custody->cancelled,
                                      .data = reset->custody->cancelled_data};
        struct error why = ERROR_INIT;
        int status = program_run(&order, &code, words, &why);
        for (unsigned i = 0; i < ARRAY_SIZE(owned); i++)
                free(owned[i]);
        if (status == 0)
                return code == 0 ? 0 : refuse(words, err);
        if (why.code == ERROR_NOT_FOUND) {
                error_set(err, ERROR_REFUSED, PROGRAM " is not installed on this host");
                error_hint(err, "on the host: apt install libguestfs-tools");
        } else if (err) {
                *err = why;
        }
        return -1;
}

int identity_reset(const struct custody *custody, const Drover__IdentityReset *request, struct error *err) {
        _cleanup_(reset_fini) struct reset reset = {.custody = custody};
        if (placement_check_open(custody, err) < 0 || read_domain(&reset, err) < 0)
                return -1;
        static const char *const fixed[] = {PROGRAM, "--quiet", "--no-network", "--operations", OPERATIONS};
        for (unsigned i = 0; i < ARRAY_SIZE(fixed); i++)
                add(&reset, fixed[i]);
        add(&reset, "--hostname");
        add(&reset, request->host_name);
        if (add_disks(&reset, err) < 0)
                return error_prefix(err, "%s", reset.described->name);
        if (make_directory(&reset, err) < 0)
                return -1;
        int result = run(&reset, err) < 0 ? error_prefix(err, "%s", reset.described->name) : 0;
        if (identity_reset_tidy(custody, result < 0 ? NULL : err) < 0)
                result = -1;
        return result;
}
