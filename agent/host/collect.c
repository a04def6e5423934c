// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Domains read from libvirt: what the definition tells, what the host adds to it, and all that would stand in the way
 * of a move. No guest agent is asked and no program is run, so that it may be done for every event. Definitions are
 * not kept: they are the largest thing that an agent at rest could hold. Blocking, for workers.
 */
#include "agent/host/collect.h"
#include "agent/host/collect_disks.h"
#include "agent/host/collect_words.h"
#include "agent/host/pool.h"
#include "agent/host/definition.h"
#include "agent/host/definition_snapshot.h"
#include "agent/host/obstacle.h"
#include "agent/host/sharing.h"
#include "agent/host/version.h"
#include "common/cleanup.h"
#include "common/memory.h"
#include <string.h>
#include <sys/stat.h>

#define SNAPSHOTS_MAX 256

struct reading {
        virDomainPtr handle;
        struct journal *journal;
        const struct pool_table *pools;
        Drover__Domain *domain;
        char *nvram;
        struct definition_bases bases;
        struct error *err;
};

static void free_domain(Drover__Domain **domain) {
        if (*domain)
                proto_free(&(*domain)->base);
}

static Drover__Domain *new_domain(void) {
        Drover__Domain *domain = new (Drover__Domain);
        drover__domain__init(domain);
        return domain;
}

// ---- parts ----

static int read_definition(struct reading *reading) {
        _cleanup_(free_p) char *xml =
                virDomainGetXMLDesc(reading->handle, VIR_DOMAIN_XML_INACTIVE | VIR_DOMAIN_XML_SECURE);
        if (!xml)
                return connection_error(reading->err, "read the definition");
        size_t length = strlen(xml);
        char digest[65] = "";
        struct definition *definition = NULL;
        if (definition_parse(xml, length, &definition, reading->err) < 0)
                return -1;
        int r = definition_describe(definition, reading->domain, reading->err);
        definition_sha256(xml, length, digest);
        reading->domain->definition_sha256 = memory_string(digest);
        struct stat st;
        reading->nvram = definition_nvram_file(definition);
        if (reading->nvram && stat(reading->nvram, &st) == 0)
                reading->domain->nvram_bytes = (uint64_t) st.st_size;
        definition_bases_read(definition, &reading->bases);
        definition_bases_resolve(&reading->bases, reading->pools);
        definition_free(definition);
        return r;
}

static int read_state(struct reading *reading, int *ret_state) {
        int state, reason, autostart = 0;
        if (virDomainGetState(reading->handle, &state, &reason, 0) < 0)
                return connection_error(reading->err, "read the state");
        int persistent = virDomainIsPersistent(reading->handle);
        if (persistent < 0 || (persistent && virDomainGetAutostart(reading->handle, &autostart) < 0))
                return connection_error(reading->err, "read the state");
        Drover__Domain *domain = reading->domain;
        domain->state = memory_string(collect_state_word(state));
        domain->reason = memory_string(collect_reason_word(state, reason));
        domain->autostart = autostart;
        domain->persistent = persistent;
        if (!persistent)
                obstacle_add(domain, "transient", "make it persistent: virsh dumpxml and virsh define",
                             "it is transient: it is gone once it is stopped");
        *ret_state = state;
        return 0;
}

static int read_journal(struct reading *reading) {
        if (!reading->journal)
                return 0;
        char job[33] = "";
        Drover__Domain *domain = reading->domain;
        if (journal_epoch(reading->journal, domain->uuid, &domain->epoch, reading->err) < 0 ||
            journal_fenced_by(reading->journal, domain->uuid, job, reading->err) < 0)
                return -1;
        domain->held_by_job = memory_string(job);
        return 0;
}

static int read_managed_save(struct reading *reading) {
        int saved = virDomainHasManagedSaveImage(reading->handle, 0);
        if (saved < 0)
                return connection_error(reading->err, "ask for a saved state");
        if (!saved)
                return 0;
        _cleanup_(free_p) char *hint = memory_format("virsh start %s, or virsh managedsave-remove %s",
                                                     reading->domain->name, reading->domain->name);
        obstacle_add(reading->domain, "managed-save", hint, "its memory was saved on this host (managed save)");
        return 0;
}

static int read_checkpoints(struct reading *reading) {
        int n = virDomainListAllCheckpoints(reading->handle, NULL, 0);
        if (n < 0 && virGetLastErrorCode() == VIR_ERR_NO_SUPPORT)
                return 0;
        if (n < 0)
                return connection_error(reading->err, "list the checkpoints");
        if (n == 0)
                return 0;
        _cleanup_(free_p) char *hint =
                memory_format("virsh checkpoint-list %s, and virsh checkpoint-delete each", reading->domain->name);
        obstacle_add(reading->domain, "checkpoint", hint, "it has checkpoints for backups");
        return 0;
}

static int read_snapshot(struct reading *reading, virDomainSnapshotPtr handle) {
        _cleanup_(free_p) char *xml = virDomainSnapshotGetXMLDesc(handle, 0);
        if (!xml)
                return connection_error(reading->err, "read a snapshot");
        Drover__Domain *domain = reading->domain;
        Drover__Snapshot *snapshot = NULL;
        if (definition_describe_snapshot(xml, strlen(xml), domain, &snapshot, reading->err) < 0)
                return -1;
        snapshot->current = virDomainSnapshotIsCurrent(handle, 0) == 1;
        domain->snapshots = memory_grow(domain->snapshots, domain->n_snapshots + 1, sizeof(*domain->snapshots));
        domain->snapshots[domain->n_snapshots++] = snapshot;
        return 0;
}

static int read_snapshots(struct reading *reading) {
        virDomainSnapshotPtr *handles = NULL;
        int n = virDomainListAllSnapshots(reading->handle, &handles, VIR_DOMAIN_SNAPSHOT_LIST_TOPOLOGICAL), r = 0;
        if (n < 0)
                return connection_error(reading->err, "list the snapshots");
        if (n > SNAPSHOTS_MAX)
                obstacle_add(reading->domain, "snapshot", "remove some: virsh snapshot-delete",
                             "it has more than %d snapshots", SNAPSHOTS_MAX);
        for (int i = 0; i < n; i++) {
                if (r == 0 && i < SNAPSHOTS_MAX)
                        r = read_snapshot(reading, handles[i]);
                virDomainSnapshotFree(handles[i]);
        }
        free(handles);
        return r;
}

// ---- one domain ----

// Everything but who shares its images.
static int read_parts(struct reading *reading) {
        int state = VIR_DOMAIN_NOSTATE;
        if (read_definition(reading) < 0 || read_state(reading, &state) < 0 || read_journal(reading) < 0)
                return -1;
        bool active = state != VIR_DOMAIN_SHUTOFF && state != VIR_DOMAIN_CRASHED;
        collect_disks(reading->handle, reading->pools, &reading->bases, active, *reading->domain->held_by_job,
                      reading->domain);
        version_of_domain(reading->domain, reading->nvram);
        if (read_managed_save(reading) < 0 || read_snapshots(reading) < 0 || read_checkpoints(reading) < 0)
                return -1;
        return 0;
}

static int read_domain(virDomainPtr handle, struct journal *journal, const struct pool_table *pools,
                       Drover__Domain **ret, struct error *err) {
        _cleanup_(free_domain) Drover__Domain *domain = new_domain();
        struct reading reading = {.handle = handle, .journal = journal, .pools = pools, .domain = domain, .err = err};
        int r = read_parts(&reading);
        definition_bases_fini(&reading.bases);
        free(reading.nvram);
        if (r < 0)
                return error_prefix(err, "%s", virDomainGetName(handle));
        *ret = steal(&domain);
        return 0;
}

int collect_domain(virConnectPtr conn, virDomainPtr handle, struct journal *journal, Drover__Domain **ret,
                   struct error *err) {
        _cleanup_(pool_table_free_p) struct pool_table *pools = NULL;
        _cleanup_(held_images_fini) struct held_images held = {0};
        if (pool_table_read(conn, &pools, err) < 0 || (journal && held_images_read(journal, &held, err) < 0) ||
            read_domain(handle, journal, pools, ret, err) < 0)
                return -1;
        collect_sharing(conn, &held, *ret);
        return 0;
}

int collect_domain_by_uuid(virConnectPtr conn, const char *uuid, struct journal *journal, Drover__Domain **ret,
                           struct error *err) {
        _cleanup_(domain_free_p) virDomainPtr handle = virDomainLookupByUUIDString(conn, uuid);
        if (!handle) {
                if (virGetLastErrorCode() == VIR_ERR_NO_DOMAIN)
                        sharing_set(uuid, NULL, 0);
                return connection_error(err, "look up the VM");
        }
        return collect_domain(conn, handle, journal, ret, err);
}

// ---- all domains ----

static Drover__Domain *unreadable(virDomainPtr handle, const struct error *error) {
        Drover__Domain *domain = new_domain();
        char uuid[VIR_UUID_STRING_BUFLEN] = "";
        virDomainGetUUIDString(handle, uuid);
        domain->uuid = memory_string(uuid);
        domain->name = memory_string(virDomainGetName(handle));
        domain->state = memory_string("unknown");
        obstacle_add(domain, "unreadable", "look at it on the host: virsh dumpxml", "it cannot be read: %s",
                     error->message);
        return domain;
}

static int read_all(virDomainPtr *handles, int n, struct journal *journal, const struct pool_table *pools,
                    Drover__Domain **domains, size_t *ret_n, struct error *err) {
        size_t count = 0;
        for (int i = 0; i < n; i++) {
                struct error error = ERROR_INIT;
                if (read_domain(handles[i], journal, pools, &domains[count], &error) == 0) {
                        count++;
                } else if (error.code == ERROR_UNREACHABLE) { // libvirt itself is gone
                        *ret_n = count;
                        if (err)
                                *err = error;
                        return -1;
                } else if (error.code != ERROR_NOT_FOUND) { // not gone meanwhile
                        domains[count++] = unreadable(handles[i], &error);
                }
        }
        *ret_n = count;
        return 0;
}

static void share_all(virConnectPtr conn, const struct held_images *held, Drover__Domain **domains, size_t n) {
        const char **uuids = new_array(const char *, n + 1);
        for (size_t i = 0; i < n; i++)
                uuids[i] = domains[i]->uuid;
        sharing_keep(uuids, (unsigned) n);
        free(uuids);
        // Twice: the second time every domain's images are known.
        for (size_t i = 0; i < n; i++)
                collect_images(domains[i]);
        for (size_t i = 0; i < n; i++)
                collect_sharing(conn, held, domains[i]);
}

int collect_domains(virConnectPtr conn, struct journal *journal, Drover__Domain ***ret, size_t *ret_n,
                    struct error *err) {
        _cleanup_(pool_table_free_p) struct pool_table *pools = NULL;
        _cleanup_(held_images_fini) struct held_images held = {0};
        if (pool_table_read(conn, &pools, err) < 0 || (journal && held_images_read(journal, &held, err) < 0))
                return -1;
        virDomainPtr *handles = NULL;
        int n = virConnectListAllDomains(conn, &handles, 0);
        if (n < 0)
                return connection_error(err, "list the VMs");
        Drover__Domain **domains = new_array(Drover__Domain *, (size_t) n + 1);
        size_t count = 0;
        int r = read_all(handles, n, journal, pools, domains, &count, err);
        for (int i = 0; i < n; i++)
                virDomainFree(handles[i]);
        free(handles);
        if (r == 0)
                share_all(conn, &held, domains, count);
        if (r < 0) {
                for (size_t i = 0; i < count; i++)
                        free_domain(&domains[i]);
                free(domains);
                return -1;
        }
        *ret = domains;
        *ret_n = count;
        return 0;
}

// ---- what moves left behind ----

static Drover__Retired *retired_of(const struct hold *hold) {
        Drover__Retired *retired = new (Drover__Retired);
        drover__retired__init(retired);
        retired->job = memory_string(hold->job);
        retired->vm_uuid = memory_string(hold->vm_uuid);
        retired->vm_name = memory_string(hold->vm_name);
        retired->retired_at = hold->at;
        return retired;
}

int collect_retired(struct journal *journal, Drover__Retired ***ret, size_t *ret_n, struct error *err) {
        struct hold *holds = NULL;
        unsigned n_holds = 0;
        if (journal_holds(journal, NULL, HOLD_RETIRED, &holds, &n_holds, err) < 0)
                return -1;
        Drover__Retired **all = new_array(Drover__Retired *, (size_t) n_holds + 1);
        size_t n = 0;
        for (unsigned i = 0; i < n_holds; i++) { // ordered by job
                if (n == 0 || strcmp(all[n - 1]->job, holds[i].job) != 0)
                        all[n++] = retired_of(&holds[i]);
                Drover__Retired *retired = all[n - 1];
                retired->bytes += holds[i].bytes;
                retired->disks = memory_grow(retired->disks, retired->n_disks + 1, sizeof(*retired->disks));
                retired->disks[retired->n_disks++] = memory_string(holds[i].item);
        }
        free(holds);
        *ret = all;
        *ret_n = n;
        return 0;
}
