// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Letting a VM go for good, after its move was committed: undefined here, its disks kept aside until they are purged.
 * Nothing in this file goes back: a repetition goes on where the last one stopped. Workers only.
 */
#include "agent/host/custody.h"
#include "agent/host/custody_device.h"
#include "agent/host/custody_domain.h"
#include "agent/host/hold_file.h"
#include "agent/host/retired_lock.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/fault.h"
#include "common/memory.h"
#include <string.h>

#define LEFT_MAX 64u // devices that are named in an answer

// Only what is wholly out of reach may lose its definition: libvirt would remove an NVRAM that is still in its place.
static int check_fenced(const struct custody *custody, const struct hold *holds, unsigned n, struct error *err) {
        if (n == 0)
                return error_set(err, ERROR_CONFLICT, "VM %s is not fenced by job %s", custody->vm_uuid, custody->job);
        for (unsigned i = 0; i < n; i++) {
                enum hold_place place;
                if (!holds[i].directory[0])
                        continue;
                if (hold_file_find(&holds[i], &place, err) < 0)
                        return -1;
                if (place != HOLD_ASIDE && place != HOLD_BOTH)
                        return error_set(err, ERROR_CONFLICT, "%s of %s is not out of reach in %s", holds[i].item,
                                         holds[i].vm_name, holds[i].directory);
        }
        return 0;
}

static int begin(const struct custody *custody, struct error *err) {
        _cleanup_(free_p) struct hold *holds = NULL;
        unsigned n = 0;
        if (custody_holds(custody, HOLD_FENCED, &holds, &n, err) < 0 || check_fenced(custody, holds, n, err) < 0)
                return -1;
        return custody_set_fact(custody, FACT_RETIRED, "begun", err);
}

static int undefine(const struct custody *custody, struct error *err) {
        _cleanup_(domain_free_p) virDomainPtr domain = NULL;
        int found = custody_lookup(custody, &domain, err);
        if (found <= 0)
                return found;
        int active = custody_active(domain, err);
        if (active)
                return active < 0 ? -1
                                  : error_set(err, ERROR_CONFLICT, "%s runs at the source: it cannot be retired",
                                              virDomainGetName(domain));
        return custody_undefine(domain, err);
}

static int hand_over(const struct custody *custody, struct error *err) {
        _cleanup_(free_p) struct hold *holds = NULL;
        unsigned n = 0;
        if (custody_holds(custody, HOLD_FENCED, &holds, &n, err) < 0)
                return -1;
        for (unsigned i = 0; i < n; i++) {
                holds[i].kind = HOLD_RETIRED;
                holds[i].at = clock_wall(&system_clock);
                if (journal_hold_put(custody->journal, &holds[i], err) < 0 ||
                    fault_point("agent.retire.noted", err) < 0)
                        return -1;
        }
        custody_tidy(custody, holds, n);
        return 0;
}

static int purge_job(const struct custody *custody, struct error *err) {
        Drover__RetiredPurge request = DROVER__RETIRED_PURGE__INIT;
        Drover__RetiredPurgeResult *result = NULL;
        request.retired_job = (char *) custody->job;
        if (custody_purge(custody, &request, &result, err) < 0)
                return -1;
        proto_free(&result->base);
        return 0;
}

int custody_retire(const struct custody *custody, const Drover__MoveRetire *request, struct error *err) {
        _cleanup_(free_p) char *retired = NULL;
        int found = custody_fact(custody, FACT_RETIRED, &retired, err);
        if (found < 0 || (!found && begin(custody, err) < 0) || fault_point("agent.retire.begun", err) < 0)
                return -1;
        // Once it is noted as undefined, a VM of that UUID here is one that came back by a later job.
        if (!found || strcmp(retired, "undefined") != 0) {
                if (undefine(custody, err) < 0 || fault_point("agent.retire.undefined", err) < 0 ||
                    custody_set_fact(custody, FACT_RETIRED, "undefined", err) < 0)
                        return -1;
        }
        if (hand_over(custody, err) < 0 || (request->purge && purge_job(custody, err) < 0))
                return -1;
        return fault_point("agent.retire.done", err);
}

// ---- purge ----

// A file that is not there was removed by an earlier run, if that noted so; else its file system may not be mounted.
static int check_there(const struct custody *custody, const struct hold *hold, const char *fact, struct error *err) {
        _cleanup_(free_p) uint8_t *noted = NULL;
        size_t length = 0;
        enum hold_place place;
        int found = journal_fact_get(custody->journal, hold->job, fact, &noted, &length, err);
        if (found)
                return found < 0 ? -1 : 0;
        if (hold_file_find(hold, &place, err) < 0)
                return -1;
        if (place == HOLD_ASIDE || place == HOLD_BOTH)
                return 0;
        error_set(err, ERROR_NOT_FOUND, "%s/" POOL_SIDECAR "/%s.%s.held does not exist", hold->directory, hold->job,
                  hold->item);
        error_hint(err, "see whether its file system is mounted: findmnt -T %s", hold->directory);
        error_hint(err, "if it was removed by hand: install -D -m 600 /dev/null %s/" POOL_SIDECAR "/%s.%s.held",
                   hold->directory, hold->job, hold->item);
        return -1;
}

// Once another file has its name, that is the one which others name.
static int check_unused(const struct custody *custody, const struct hold *hold, struct error *err) {
        enum hold_place place;
        if (hold_file_find(hold, &place, err) < 0)
                return -1;
        if (place != HOLD_ASIDE || custody_check_unused(custody, hold->vm_uuid, hold, 1, err) == 0)
                return 0;
        error_hint(err, "or bring back what is needed: drover job undo %s", hold->job);
        return -1;
}

static int purge_file(const struct custody *custody, const struct hold *hold, uint64_t *freed, struct error *err) {
        _cleanup_(free_p) char *fact = memory_format(FACT_PURGED "%s", hold->item);
        if (check_there(custody, hold, fact, err) < 0 || check_unused(custody, hold, err) < 0 ||
            custody_note_purging(custody, hold, err) < 0 ||
            journal_fact_set(custody->journal, hold->job, fact, "yes", 3, err) < 0 ||
            fault_point("agent.purge.before-remove", err) < 0 || hold_file_remove_aside(hold, freed, err) < 0 ||
            fault_point("agent.purge.removed", err) < 0)
                return error_prefix(err, "purge %s of %s", hold->item, hold->vm_name);
        custody_tidy(custody, hold, 1);
        return 0;
}

static int purge_device(const struct custody *custody, const struct hold *hold, uint64_t *freed,
                        Drover__RetiredPurgeResult *result, struct error *err) {
        int left = custody_device_purge(custody, hold, freed, err);
        if (left < 0)
                return error_prefix(err, "purge %s of %s", hold->item, hold->vm_name);
        if (left && result->n_left < LEFT_MAX) {
                result->left = memory_grow(result->left, result->n_left + 1, sizeof(*result->left));
                result->left[result->n_left++] = memory_format("%s/%s", hold->directory, hold->name);
        }
        return 0;
}

static int purge_hold(const struct custody *custody, const struct hold *hold, Drover__RetiredPurgeResult *result,
                      struct error *err) {
        uint64_t freed = 0;
        if (hold->device && purge_device(custody, hold, &freed, result, err) < 0)
                return -1;
        if (!hold->device && hold->directory[0] && purge_file(custody, hold, &freed, err) < 0)
                return -1;
        result->bytes += freed;
        return journal_hold_remove(custody->journal, hold->job, hold->item, err);
}

// 1: it is retired, and nobody is bringing its VM back, 0: no longer, -1.
static int still_retired(const struct custody *custody, const struct hold *hold, struct error *err) {
        _cleanup_(free_p) struct hold *now = NULL;
        unsigned n = 0;
        int found = 0;
        if (journal_holds(custody->journal, hold->job, 0, &now, &n, err) < 0)
                return -1;
        for (unsigned i = 0; i < n; i++) {
                if (now[i].kind == HOLD_REVIVED)
                        return 0;
                found |= now[i].kind == HOLD_RETIRED && strcmp(now[i].item, hold->item) == 0;
        }
        return found;
}

// The list of holds is as old as what was purged before this one.
static int purge_listed(const struct custody *custody, const struct hold *hold, Drover__RetiredPurgeResult *result,
                        struct error *err) {
        _cleanup_(retired_lock_release) struct retired_lock lock = {0};
        retired_lock_take(&lock, hold->job);
        int still = still_retired(custody, hold, err);
        if (still <= 0)
                return still;
        return purge_hold(custody, hold, result, err) < 0 ? -1 : 1;
}

static void result_free_p(Drover__RetiredPurgeResult **result) {
        proto_free((ProtobufCMessage *) *result);
}

int custody_purge(const struct custody *custody, const Drover__RetiredPurge *request, Drover__RetiredPurgeResult **ret,
                  struct error *err) {
        _cleanup_(free_p) struct hold *holds = NULL;
        unsigned n = 0;
        if (!request->all && !request->retired_job[0])
                return error_set(err, ERROR_INVALID, "purge: neither a job nor all of them were named");
        if (journal_holds(custody->journal, request->all ? NULL : request->retired_job, HOLD_RETIRED, &holds, &n, err) <
            0)
                return -1;
        _cleanup_(result_free_p) Drover__RetiredPurgeResult *result = new (Drover__RetiredPurgeResult);
        drover__retired_purge_result__init(result);
        // What stands in the way of one VM, perhaps for ever, does not keep the others'.
        struct error first = ERROR_INIT;
        const char *failed = "", *counted = "";
        for (unsigned i = 0; i < n; i++) {
                struct error why = ERROR_INIT;
                if (strcmp(holds[i].job, failed) == 0)
                        continue;
                int purged = purge_listed(custody, &holds[i], result, &why);
                if (purged < 0) {
                        failed = holds[i].job;
                        if (first.code == ERROR_NONE)
                                first = why;
                } else if (purged && strcmp(counted, holds[i].job) != 0) {
                        counted = holds[i].job;
                        result->count++;
                }
        }
        if (*failed) {
                if (err)
                        *err = first;
                return -1;
        }
        *ret = steal(&result);
        return 0;
}
