// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Giving a VM back: every held file to its place, the definition if it is gone, and a start if the VM ran before. It
 * takes whatever a fence left at whatever moment, also nothing at all, and goes on where an earlier release stopped.
 * Workers only.
 */
#include "agent/host/custody.h"
#include "agent/host/custody_domain.h"
#include "agent/host/hold_file.h"
#include "common/cleanup.h"
#include "common/fault.h"
#include "common/memory.h"
#include <string.h>

static void kept_free_p(Drover__MoveInspectResult **kept) {
        proto_free((ProtobufCMessage *) *kept);
}

// ---- what a release will need ----

static int keep_snapshots(const struct custody *custody, virDomainPtr domain, struct error *err) {
        _cleanup_(kept_free_p) Drover__MoveInspectResult *kept = new (Drover__MoveInspectResult);
        drover__move_inspect_result__init(kept);
        _cleanup_(buffer_fini) struct buffer bytes;
        buffer_init(&bytes, 0);
        if (custody_snapshots_read(domain, kept, err) < 0 || PROTO_PACK(kept, &bytes, err) < 0)
                return -1;
        return journal_fact_set(custody->journal, custody->job, FACT_SNAPSHOTS, bytes.data, bytes.length, err);
}

int custody_keep(const struct custody *custody, virDomainPtr domain, const char *xml, struct error *err) {
        int autostart = 0;
        if (virDomainGetAutostart(domain, &autostart) < 0)
                return connection_error(err, "read the autostart flag");
        if (custody_set_fact(custody, FACT_AUTOSTART, autostart ? "yes" : "no", err) < 0 ||
            keep_snapshots(custody, domain, err) < 0)
                return -1;
        return custody_set_fact(custody, FACT_DEFINITION, xml, err);
}

// ---- files ----

static int put_back_file(const struct hold *hold, struct error *err) {
        enum hold_place place;
        if (!hold->directory[0] || hold->device)
                return 0;
        if (hold_file_find(hold, &place, err) < 0)
                return -1;
        if (place == HOLD_IN_PLACE)
                return 0;
        if (place == HOLD_NOWHERE) {
                error_set(err, ERROR_NOT_FOUND, "%s/%s is not there, nor is what was put aside", hold->directory,
                          hold->name);
                error_hint(err, "see whether its file system is mounted: findmnt -T %s", hold->directory);
                return -1;
        }
        // A start that failed for want of the disks may have made the NVRAM anew from its template: ours is the real
        // one.
        bool remade = place == HOLD_BOTH && strcmp(hold->item, NVRAM_ITEM) == 0;
        if (fault_point("agent.release.before-rename", err) < 0 || hold_file_put_in_place(hold, remade, err) < 0)
                return -1;
        return fault_point("agent.release.after-rename", err);
}

// All that can go back goes back, even when one cannot.
static int put_back_files(const struct hold *holds, unsigned n, struct error *err) {
        int status = 0;
        for (unsigned i = 0; i < n; i++) {
                struct error why = ERROR_INIT;
                if (put_back_file(&holds[i], &why) == 0 || status < 0)
                        continue;
                if (err)
                        *err = why;
                status = error_prefix(err, "%s", holds[i].item);
        }
        return status;
}

// ---- definition ----

static int define(const struct custody *custody, const char *xml, virDomainPtr *ret, struct error *err) {
        _cleanup_(domain_free_p) virDomainPtr domain = virDomainDefineXML(custody->conn, xml);
        if (!domain)
                return connection_error(err, "define the VM again");
        if (fault_point("agent.release.defined", err) < 0)
                return -1;
        *ret = steal(&domain);
        return 0;
}

static int define_again(const struct custody *custody, const char *xml, virDomainPtr *domain, struct error *err) {
        virDomainPtr defined = NULL;
        if (define(custody, xml, &defined, err) < 0)
                return -1;
        if (*domain)
                virDomainFree(*domain);
        *domain = defined;
        return 0;
}

// Undefined by the fence, or by somebody in the meantime: a VM that was here before is here afterwards. With
// `unfinished` an earlier release may have defined it and died before the rest.
static int restore_definition(const struct custody *custody, bool unfinished, struct error *err) {
        _cleanup_(domain_free_p) virDomainPtr domain = NULL;
        _cleanup_(free_p) char *xml = NULL;
        int kept = custody_fact(custody, FACT_DEFINITION, &xml, err);
        if (kept <= 0)
                return kept;
        int found = custody_lookup(custody, &domain, err);
        if (found < 0 || (found && !unfinished))
                return found < 0 ? -1 : 0;
        // Started while it was being undefined, it is there, but would be gone once it stops.
        int persistent = found ? virDomainIsPersistent(domain) : 0;
        if (persistent < 0)
                return connection_error(err, "ask whether the VM is persistent");
        if (!persistent && define_again(custody, xml, &domain, err) < 0)
                return -1;
        if (custody_snapshots_restore(custody, custody->job, domain, err) < 0)
                return -1;
        int autostart = custody_fact_is(custody, FACT_AUTOSTART, "yes", err);
        if (autostart < 0)
                return -1;
        return virDomainSetAutostart(domain, autostart) == 0 ? 0 : connection_error(err, "set autostart");
}

static bool has_domain_hold(const struct hold *holds, unsigned n) {
        for (unsigned i = 0; i < n; i++)
                if (strcmp(holds[i].item, HOLD_DOMAIN) == 0)
                        return true;
        return false;
}

int custody_put_back(const struct custody *custody, struct error *err) {
        _cleanup_(free_p) struct hold *holds = NULL;
        unsigned n = 0;
        if (custody_holds(custody, HOLD_FENCED, &holds, &n, err) < 0 || put_back_files(holds, n, err) < 0 ||
            restore_definition(custody, has_domain_hold(holds, n), err) < 0 ||
            fault_point("agent.release.restored", err) < 0)
                return -1;
        custody_tidy(custody, holds, n);
        for (unsigned i = 0; i < n; i++)
                if (journal_hold_remove(custody->journal, custody->job, holds[i].item, err) < 0)
                        return -1;
        return 0;
}

// ---- release ----

static int check_not_retired(const struct custody *custody, struct error *err) {
        _cleanup_(free_p) char *retired = NULL;
        int found = custody_fact(custody, FACT_RETIRED, &retired, err);
        if (found > 0)
                return error_set(err, ERROR_CONFLICT, "job %s is committed: VM %s cannot be given back here",
                                 custody->job, custody->vm_uuid);
        return found;
}

static int start_again(const struct custody *custody, struct error *err) {
        _cleanup_(domain_free_p) virDomainPtr domain = NULL;
        int was_running = custody_fact_is(custody, FACT_WAS_RUNNING, "yes", err);
        if (was_running <= 0)
                return was_running;
        if (custody_require(custody, &domain, err) < 0)
                return -1;
        int active = custody_active(domain, err);
        if (active)
                return active < 0 ? -1 : 0;
        return power_start(domain, err) < 0 ? error_prefix(err, "%s", virDomainGetName(domain)) : 0;
}

// What the job noted is over: another attempt of it begins afresh.
static int forget(const struct custody *custody, struct error *err) {
        static const char *const keys[] = {FACT_WAS_RUNNING, FACT_DEFINITION, FACT_SNAPSHOTS, FACT_AUTOSTART};
        for (unsigned i = 0; i < ARRAY_SIZE(keys); i++)
                if (journal_fact_remove(custody->journal, custody->job, keys[i], err) < 0)
                        return -1;
        return 0;
}

int custody_release(const struct custody *custody, const Drover__MoveRelease *request, struct error *err) {
        if (check_not_retired(custody, err) < 0 || custody_put_back(custody, err) < 0)
                return -1;
        if (fault_point("agent.release.before-start", err) < 0 || (request->start && start_again(custody, err) < 0) ||
            fault_point("agent.release.started", err) < 0)
                return -1;
        return forget(custody, err);
}
