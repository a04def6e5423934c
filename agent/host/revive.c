// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Retired VMs brought back, and put away again. The facts that the definition is made from are those that the first
 * job's fence kept; they live for as long as its holds. Workers only.
 */
#include "agent/host/revive.h"
#include "agent/host/custody_device.h"
#include "agent/host/custody_domain.h"
#include "agent/host/definition.h"
#include "agent/host/hold_file.h"
#include "agent/host/placement_parts.h"
#include "agent/host/retired_lock.h"
#include "common/cleanup.h"
#include "common/fault.h"
#include "common/memory.h"
#include <string.h>

// Facts of the job that undoes.
#define FACT_REVIVES        JOURNAL_FACT_REVIVES
#define FACT_REVIVE_DEFINED "revives.defined" // UUID; set before the domain is defined here

// The custody of the job that retired the VM, for reading what it noted.
static struct custody retired_custody(const struct custody *custody, const char *job) {
        struct custody retired = *custody;
        retired.job = job;
        return retired;
}

// What the VM was when it was fenced.
struct kept {
        char *xml;
        Drover__Domain *described;
};

static void kept_fini(struct kept *kept) {
        free(kept->xml);
        proto_free((ProtobufCMessage *) kept->described);
}

// What a failure leaves is kept_fini()'s.
static int kept_read(const struct custody *custody, const char *job, struct kept *kept, struct error *err) {
        struct definition *definition = NULL;
        struct custody retired = retired_custody(custody, job);
        int found = custody_fact(&retired, FACT_DEFINITION, &kept->xml, err);
        if (found < 0)
                return -1;
        if (!found)
                return error_set(err, ERROR_NOT_FOUND, "the definition that job %s kept is gone", job);
        if (definition_parse(kept->xml, strlen(kept->xml), &definition, err) < 0)
                return -1;
        kept->described = new (Drover__Domain);
        drover__domain__init(kept->described);
        int status = definition_describe(definition, kept->described, err);
        definition_free(definition);
        return status;
}

static int read_holds(const struct custody *custody, const char *job, struct hold **ret, unsigned *ret_n,
                      struct error *err) {
        if (journal_holds(custody->journal, job, 0, ret, ret_n, err) < 0)
                return -1;
        for (unsigned i = 0; i < *ret_n; i++) {
                const struct hold *hold = &(*ret)[i];
                if (strcmp(hold->vm_uuid, custody->vm_uuid) != 0)
                        return error_set(err, ERROR_CONFLICT, "job %s retired VM %s, not %s", job, hold->vm_uuid,
                                         custody->vm_uuid);
                if (hold->kind != HOLD_RETIRED && hold->kind != HOLD_REVIVED)
                        return error_set(err, ERROR_CONFLICT, "job %s has not retired VM %s here", job,
                                         custody->vm_uuid);
        }
        return 0;
}

// Another undo may not be at work on the same holds.
static int note_begun(const struct custody *custody, const char *job, const struct hold *holds, unsigned n,
                      struct error *err) {
        int ours = custody_fact_is(custody, FACT_REVIVES, job, err);
        if (ours)
                return ours < 0 ? -1 : 0;
        for (unsigned i = 0; i < n; i++)
                if (holds[i].kind == HOLD_REVIVED)
                        return error_set(err, ERROR_CONFLICT, "another job is bringing back what job %s retired", job);
        return custody_set_fact(custody, FACT_REVIVES, job, err);
}

// ---- checks ----

static bool is_held(const struct hold *holds, unsigned n, const char *item) {
        for (unsigned i = 0; i < n; i++)
                if (strcmp(holds[i].item, item) == 0)
                        return true;
        return false;
}

// Of those that a fence takes. What a volume's name led to then does not matter here.
static bool was_held(const Drover__Disk *disk) {
        if (strcmp(disk->device, "disk") != 0 && strcmp(disk->device, "lun") != 0)
                return false;
        bool local = strcmp(disk->type, "file") == 0 || strcmp(disk->type, "block") == 0;
        return local ? disk->path[0] : strcmp(disk->type, "volume") == 0;
}

// 1: some of it is gone, 0: not, -1. That a purge began, a version before this one did not note.
static int is_partial(const struct custody *retired, const struct kept *kept, const struct hold *holds, unsigned n,
                      struct error *err) {
        for (size_t i = 0; i < kept->described->n_disks; i++)
                if (was_held(kept->described->disks[i]) && !is_held(holds, n, kept->described->disks[i]->target))
                        return 1;
        int partial = custody_fact_is(retired, FACT_PURGING, "yes", err);
        // A VM that never ran had none.
        if (partial == 0 && !is_held(holds, n, NVRAM_ITEM))
                partial = custody_fact_is(retired, FACT_PURGED NVRAM_ITEM, "yes", err);
        return partial;
}

static int check_whole(const struct custody *custody, const char *job, const struct kept *kept,
                       const struct hold *holds, unsigned n, struct error *err) {
        struct custody retired = retired_custody(custody, job);
        int partial = is_partial(&retired, kept, holds, n, err);
        if (partial <= 0)
                return partial;
        error_set(err, ERROR_NOT_FOUND, "what job %s retired was purged in part", job);
        error_hint(err, "move the VM back instead: drover vm move %s HOST", holds[0].vm_name);
        return -1;
}

static const char *format_of(const struct kept *kept, const char *item) {
        for (size_t i = 0; i < kept->described->n_disks; i++)
                if (strcmp(kept->described->disks[i]->target, item) == 0)
                        return kept->described->disks[i]->format;
        return "raw";
}

// What it was laid over was read when it was moved, and not kept: another content below it is another disk.
static int check_own(const struct hold *hold, const struct kept *kept, struct error *err) {
        struct image image;
        if (hold_file_inspect(hold, HOLD_ASIDE, format_of(kept, hold->item), &image, err) < 0)
                return error_prefix(err, "%s", hold->item);
        if (!image.has_backing && !image.has_data_file)
                return 0;
        error_set(err, ERROR_CONFLICT, "%s: %s/%s is not whole without %s, which may have changed", hold->item,
                  hold->directory, hold->name, image.has_backing ? image.backing : "an external data file");
        error_hint(err, "move the VM back instead: drover vm move %s HOST", hold->vm_name);
        return -1;
}

// Still what it was, and nobody else's. Once the VM is brought back it may have run, which a retry must let pass.
static int check_device(const struct custody *custody, const struct hold *hold, const struct kept *kept,
                        struct error *err) {
        if (hold->kind == HOLD_REVIVED)
                return 0;
        if (custody_check_unused(custody, custody->vm_uuid, hold, 1, err) == 0 &&
            custody_device_check(custody, hold, true, err) == 0)
                return check_own(hold, kept, err);
        error_hint(err, "move the VM back instead: drover vm move %s HOST", hold->vm_name);
        return -1;
}

// What was made to lie over its name meanwhile, or could not be seen when it was fenced, wants it as it is.
static int check_aside(const struct custody *custody, const struct hold *hold, const struct kept *kept,
                       struct error *err) {
        if (hold->kind == HOLD_REVIVED || custody_check_unused(custody, custody->vm_uuid, hold, 1, err) == 0)
                return check_own(hold, kept, err);
        error_hint(err, "move the VM back instead: drover vm move %s HOST", hold->vm_name);
        return -1;
}

static int check_file(const struct custody *custody, const struct hold *hold, const struct kept *kept,
                      struct error *err) {
        enum hold_place place;
        if (!hold->directory[0])
                return 0;
        if (hold->device)
                return check_device(custody, hold, kept, err);
        if (hold_file_find(hold, &place, err) < 0)
                return -1;
        if (place == HOLD_ASIDE || place == HOLD_TWINS)
                return check_aside(custody, hold, kept, err);
        if (place == HOLD_IN_PLACE && hold->kind == HOLD_REVIVED)
                return 0;
        if (place == HOLD_BOTH) {
                error_set(err, ERROR_CONFLICT, "%s: %s/%s exists: the retired one is not put in its place", hold->item,
                          hold->directory, hold->name);
                error_hint(err, "move the other file out of the way, then: drover job retry %s", custody->job);
                return -1;
        }
        error_set(err, ERROR_NOT_FOUND, "%s: %s/" POOL_SIDECAR "/%s.%s.held does not exist", hold->item,
                  hold->directory, hold->job, hold->item);
        error_hint(err, "see whether its file system is mounted: findmnt -T %s", hold->directory);
        return -1;
}

// 1: this job defined it, 0: it is not there, -1.
static int check_domain(const struct custody *custody, struct error *err) {
        _cleanup_(domain_free_p) virDomainPtr domain = NULL;
        int found = custody_lookup(custody, &domain, err);
        if (found <= 0)
                return found;
        int ours = custody_fact_is(custody, FACT_REVIVE_DEFINED, custody->vm_uuid, err);
        if (ours)
                return ours;
        error_set(err, ERROR_CONFLICT, "its UUID is in use here by the VM %s", virDomainGetName(domain));
        error_hint(err, "see whether that one is still needed: virsh dominfo %s", custody->vm_uuid);
        return -1;
}

static int check_name(const struct custody *custody, const char *name, struct error *err) {
        _cleanup_(domain_free_p) virDomainPtr other = virDomainLookupByName(custody->conn, name);
        if (!other)
                return virGetLastErrorCode() == VIR_ERR_NO_DOMAIN ? 0 : connection_error(err, "look up the VM");
        error_set(err, ERROR_CONFLICT, "another VM named %s exists here", name);
        error_hint(err, "give that one another name: virsh domrename %s NEW", name);
        return -1;
}

static int check(const struct custody *custody, const char *job, const struct hold *holds, unsigned n,
                 struct kept *kept, struct error *err) {
        if (n == 0) {
                error_set(err, ERROR_NOT_FOUND, "nothing that job %s retired is left on this host", job);
                error_hint(err, "it was purged; move the VM back instead: drover vm move VM HOST");
                return -1;
        }
        if (kept_read(custody, job, kept, err) < 0 || check_whole(custody, job, kept, holds, n, err) < 0)
                return -1;
        int defined = check_domain(custody, err);
        if (defined < 0 || (!defined && check_name(custody, holds[0].vm_name, err) < 0))
                return -1;
        for (unsigned i = 0; i < n; i++)
                if (check_file(custody, &holds[i], kept, err) < 0)
                        return -1;
        return 0;
}

// ---- acting ----

static int put_back(const struct custody *custody, struct hold *hold, struct error *err) {
        enum hold_place place;
        hold->kind = HOLD_REVIVED;
        if (journal_hold_put(custody->journal, hold, err) < 0 || fault_point("agent.revive.before-rename", err) < 0)
                return -1;
        if (!hold->directory[0] || hold->device)
                return 0;
        if (hold_file_find(hold, &place, err) < 0 ||
            (place != HOLD_IN_PLACE && hold_file_put_in_place(hold, false, err) < 0))
                return error_prefix(err, "%s", hold->item);
        return fault_point("agent.revive.after-rename", err);
}

static int define(const struct custody *custody, const char *job, const char *xml, struct error *err) {
        _cleanup_(domain_free_p) virDomainPtr domain = NULL;
        if (custody_set_fact(custody, FACT_REVIVE_DEFINED, custody->vm_uuid, err) < 0 ||
            fault_point("agent.revive.before-define", err) < 0)
                return -1;
        domain = virDomainDefineXML(custody->conn, xml);
        if (!domain)
                return connection_error(err, "define the VM again");
        if (fault_point("agent.revive.defined", err) < 0)
                return -1;
        return custody_snapshots_restore(custody, job, domain, err);
}

int revive_run(const struct custody *custody, const Drover__MoveRevive *request, struct error *err) {
        _cleanup_(free_p) struct hold *holds = NULL;
        _cleanup_(kept_fini) struct kept kept = {0};
        _cleanup_(retired_lock_release) struct retired_lock lock = {0};
        unsigned n = 0;
        const char *job = request->retired_job;
        if (placement_check_open(custody, err) < 0)
                return -1;
        retired_lock_take(&lock, job);
        if (read_holds(custody, job, &holds, &n, err) < 0 || check(custody, job, holds, n, &kept, err) < 0 ||
            note_begun(custody, job, holds, n, err) < 0 || fault_point("agent.revive.begun", err) < 0)
                return -1;
        for (unsigned i = 0; i < n; i++)
                if (put_back(custody, &holds[i], err) < 0)
                        return -1;
        custody_tidy(custody, holds, n);
        if (define(custody, job, kept.xml, err) < 0)
                return -1;
        return fault_point("agent.revive.done", err);
}

// ---- back again ----

static int require_inactive(const struct custody *custody, virDomainPtr domain, struct error *err) {
        int active = domain ? custody_active(domain, err) : 0;
        if (active <= 0)
                return active;
        error_set(err, ERROR_CONFLICT, "%s runs where it was brought back", virDomainGetName(domain));
        error_hint(err, "stop it, then: drover job retry %s", custody->job);
        return -1;
}

static int put_away(const struct hold *hold, struct error *err) {
        enum hold_place place;
        if (hold->kind != HOLD_REVIVED || !hold->directory[0] || hold->device)
                return 0;
        if (hold_file_find(hold, &place, err) < 0)
                return -1;
        // Not put back at all: another file stood there, which is not ours.
        if (place == HOLD_ASIDE || place == HOLD_BOTH)
                return 0;
        if (place == HOLD_NOWHERE)
                return error_set(err, ERROR_NOT_FOUND, "%s: %s/%s does not exist", hold->item, hold->directory,
                                 hold->name);
        if (hold_file_put_aside(hold, err) < 0)
                return error_prefix(err, "%s", hold->item);
        return fault_point("agent.unrevive.renamed", err);
}

static int undefine(const struct custody *custody, const struct hold *holds, unsigned n, struct error *err) {
        _cleanup_(domain_free_p) virDomainPtr domain = NULL;
        int ours = custody_fact_is(custody, FACT_REVIVE_DEFINED, custody->vm_uuid, err);
        int found = ours > 0 ? custody_lookup(custody, &domain, err) : ours;
        if (found < 0 || require_inactive(custody, domain, err) < 0)
                return -1;
        for (unsigned i = 0; i < n; i++)
                if (put_away(&holds[i], err) < 0)
                        return -1;
        // Started while the files were renamed: QEMU has them open, whatever they are called now. Asked again after it
        // has been stopped, this goes on.
        if (require_inactive(custody, domain, err) < 0)
                return -1;
        return domain ? custody_undefine(domain, err) : 0;
}

static int retire_again(const struct custody *custody, struct hold *holds, unsigned n, struct error *err) {
        for (unsigned i = 0; i < n; i++) {
                if (holds[i].kind != HOLD_REVIVED)
                        continue;
                holds[i].kind = HOLD_RETIRED;
                if (journal_hold_put(custody->journal, &holds[i], err) < 0 ||
                    fault_point("agent.unrevive.noted", err) < 0)
                        return -1;
        }
        return 0;
}

// What is on its way back, while nobody knows whose work that is, may be defined here: that is not "never began".
static int check_never_begun(const struct custody *custody, const char *job, struct error *err) {
        _cleanup_(free_p) struct hold *holds = NULL;
        unsigned n = 0;
        char other[33];
        if (journal_holds(custody->journal, job, HOLD_REVIVED, &holds, &n, err) < 0)
                return -1;
        int found = n ? journal_fact_find(custody->journal, FACT_REVIVES, job, other, err) : 1;
        if (found)
                return found < 0 ? -1 : 0;
        error_set(err, ERROR_CONFLICT, "%s was brought back here, and it is not known any more by which job",
                  holds[0].vm_name);
        error_hint(err, "see whether it is defined here as well: virsh dominfo %s", custody->vm_uuid);
        return -1;
}

int revive_undo(const struct custody *custody, const Drover__MoveUnrevive *request, struct error *err) {
        _cleanup_(free_p) struct hold *holds = NULL;
        _cleanup_(retired_lock_release) struct retired_lock lock = {0};
        unsigned n = 0;
        const char *job = request->retired_job;
        if (placement_check_open(custody, err) < 0)
                return -1;
        retired_lock_take(&lock, job);
        int ours = custody_fact_is(custody, FACT_REVIVES, job, err);
        if (ours <= 0)
                return ours < 0 ? -1 : check_never_begun(custody, job, err);
        if (read_holds(custody, job, &holds, &n, err) < 0 || undefine(custody, holds, n, err) < 0 ||
            fault_point("agent.unrevive.undefined", err) < 0 || retire_again(custody, holds, n, err) < 0)
                return -1;
        custody_tidy(custody, holds, n);
        if (journal_fact_remove(custody->journal, custody->job, FACT_REVIVE_DEFINED, err) < 0 ||
            journal_fact_remove(custody->journal, custody->job, FACT_REVIVES, err) < 0)
                return -1;
        return fault_point("agent.unrevive.done", err);
}

// ---- settling ----

static int restore_autostart(const struct custody *custody, const char *job, const Drover__MoveSettle *request,
                             struct error *err) {
        _cleanup_(free_p) char *noted = NULL;
        struct custody retired = retired_custody(custody, job);
        int found = custody_fact(&retired, FACT_AUTOSTART, &noted, err);
        if (found < 0)
                return -1;
        return placement_restore_autostart(custody, found ? strcmp(noted, "yes") == 0 : request->autostart, err);
}

int revive_settle(const struct custody *custody, const Drover__MoveSettle *request, struct error *err) {
        _cleanup_(free_p) char *job = NULL;
        _cleanup_(free_p) struct hold *holds = NULL;
        unsigned n = 0;
        int found = custody_fact(custody, FACT_REVIVES, &job, err);
        int settled = found > 0 ? custody_fact_is(custody, FACT_SETTLED, "yes", err) : 0;
        if (found <= 0 || settled < 0)
                return found <= 0 ? found : -1;
        if (!settled && (restore_autostart(custody, job, request, err) < 0 ||
                         custody_set_fact(custody, FACT_SETTLED, "yes", err) < 0))
                return -1;
        if (fault_point("agent.revive.settled", err) < 0 || read_holds(custody, job, &holds, &n, err) < 0)
                return -1;
        custody_tidy(custody, holds, n);
        for (unsigned i = 0; i < n; i++)
                if (journal_hold_remove(custody->journal, job, holds[i].item, err) < 0)
                        return -1;
        return 1;
}
