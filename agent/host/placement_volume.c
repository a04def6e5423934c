// SPDX-License-Identifier: LGPL-2.1-or-later
/* Volumes at the target of a move (see placement_volume.h). Workers only. */
#include "agent/host/placement_volume.h"
#include "agent/host/device.h"
#include "common/cleanup.h"
#include "common/fault.h"
#include "common/memory.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

// LVM rounds up to its extents, of which this is larger than any in use.
#define ROUNDING_MAX (UINT64_C(256) << 20)
// With the item, from when none of that name was there until it is known what came of making one.
#define FACT_MAKING "making."

static char *fact_of(const struct hold *hold) {
        return memory_format(FACT_IDENTITY "%s", hold->item);
}

static int not_ours(const struct hold *hold, struct error *err) {
        return error_set(err, ERROR_CONFLICT, "%s/%s is not the volume that job %s made", hold->directory, hold->name,
                         hold->job);
}

// What was noted: 1 with its key, 0, -1.
static int recall(const struct custody *custody, const struct hold *hold, char **ret_key, struct error *err) {
        _cleanup_(free_p) char *fact = fact_of(hold);
        return custody_fact(custody, fact, ret_key, err);
}

// Only one that was about to be made when the agent died, or libvirt went away, can be ours without a key.
static int may_be_ours(const struct custody *custody, const struct hold *hold, const struct volume *volume,
                       struct error *err) {
        _cleanup_(free_p) char *making = memory_format(FACT_MAKING "%s", hold->item);
        if (volume->bytes < hold->bytes || volume->bytes - hold->bytes >= ROUNDING_MAX)
                return 0;
        return custody_fact_is(custody, making, "yes", err);
}

static int look(const struct custody *custody, const struct hold *hold, bool known, struct volume *ret,
                struct error *err) {
        _cleanup_(free_p) char *key = NULL;
        int found = volume_find(custody->conn, hold->directory, hold->name, ret, err);
        int noted = found > 0 ? recall(custody, hold, &key, err) : found;
        if (found <= 0 || noted < 0)
                return found <= 0 ? found : -1;
        int ours = noted ? strcmp(key, ret->key) == 0 : known ? may_be_ours(custody, hold, ret, err) : 0;
        return ours ? ours : not_ours(hold, err);
}

int placement_volume_look(const struct custody *custody, const struct hold *hold, bool known, struct error *err) {
        struct volume volume;
        return look(custody, hold, known, &volume, err);
}

static int making_over(const struct custody *custody, const struct hold *hold, struct error *err) {
        _cleanup_(free_p) char *making = memory_format(FACT_MAKING "%s", hold->item);
        return journal_fact_remove(custody->journal, custody->job, making, err);
}

static int note(const struct custody *custody, const struct hold *hold, const struct volume *volume,
                struct error *err) {
        _cleanup_(free_p) char *fact = fact_of(hold);
        return custody_set_fact(custody, fact, volume->key, err) < 0 ? -1 : making_over(custody, hold, err);
}

// What stands at that name now, if anything does, is not ours, and nothing may say so. `why` it could not be made.
static int give_up(const struct custody *custody, const struct hold *hold, const struct error *why, struct error *err) {
        if (making_over(custody, hold, err) < 0 || fault_point("agent.reserve.given-up", err) < 0 ||
            journal_hold_remove(custody->journal, hold->job, hold->item, err) < 0)
                return error_prefix(err, "%s: %s; its reservation stays", hold->item, why->message);
        if (err)
                *err = *why;
        return error_prefix(err, "%s", hold->item);
}

// Without an answer nobody knows whether it was made: the hold stays, so that it is found later, or taken away.
static int make(const struct custody *custody, const struct hold *hold, struct volume *ret, struct error *err) {
        _cleanup_(free_p) char *making = memory_format(FACT_MAKING "%s", hold->item);
        struct error why = ERROR_INIT;
        if (custody_set_fact(custody, making, "yes", err) < 0 || fault_point("agent.reserve.making", err) < 0)
                return -1;
        if (volume_make(custody->conn, hold->directory, hold->name, hold->bytes, ret, &why) == 0)
                return 0;
        if (why.code != ERROR_UNREACHABLE && why.code != ERROR_TIMEOUT)
                return give_up(custody, hold, &why, err);
        if (err)
                *err = why;
        return error_prefix(err, "%s", hold->item);
}

int placement_volume_make(const struct custody *custody, const struct hold *hold, bool known, struct error *err) {
        struct volume volume;
        struct error why = ERROR_INIT;
        if (fault_point("agent.reserve.before-volume", err) < 0)
                return -1;
        int found = look(custody, hold, known, &volume, &why);
        if (found < 0 && why.code == ERROR_CONFLICT)
                return give_up(custody, hold, &why, err);
        if (found < 0 && err)
                *err = why;
        if (found < 0)
                return -1;
        if (!found && make(custody, hold, &volume, err) < 0)
                return -1;
        if (fault_point("agent.reserve.volume", err) < 0)
                return -1;
        return note(custody, hold, &volume, err);
}

// The volume that was noted, and no other that has taken its name.
static int require(const struct custody *custody, const struct hold *hold, struct volume *ret, struct error *err) {
        int found = look(custody, hold, false, ret, err);
        if (found == 0)
                return error_set(err, ERROR_NOT_FOUND, "the volume %s/%s is gone", hold->directory, hold->name);
        return found < 0 ? -1 : 0;
}

int placement_volume_resume(const struct custody *custody, const struct hold *hold, struct hold_partial *ret,
                            struct error *err) {
        _cleanup_(free_p) char *path = memory_format("%s/%s", hold->directory, hold->name);
        struct hold_partial partial = {.fd = -1, .ranges_fd = -1};
        struct volume volume;
        uint64_t bytes;
        if (require(custody, hold, &volume, err) < 0 ||
            device_open(path, O_RDWR | O_EXCL, &partial.fd, &bytes, err) < 0)
                return -1;
        if (journal_record_open(custody->journal, hold->job, hold->item, &partial.ranges_fd, err) < 0) {
                hold_partial_fini(&partial);
                return -1;
        }
        snprintf(partial.identity, sizeof(partial.identity), "%s", volume.key);
        *ret = partial;
        return 0;
}

int placement_volume_publish(const struct custody *custody, const struct hold *hold, struct error *err) {
        struct volume volume;
        if (require(custody, hold, &volume, err) < 0 || fault_point("agent.define.before-publish", err) < 0 ||
            journal_record_remove(custody->journal, hold->job, hold->item, err) < 0)
                return -1;
        return fault_point("agent.define.published", err);
}

int placement_volume_discard(const struct custody *custody, const struct hold *hold, struct error *err) {
        struct volume volume;
        struct error why = ERROR_INIT;
        int found = look(custody, hold, true, &volume, &why);
        if (found < 0 && why.code != ERROR_CONFLICT) { // another one: it stays
                if (err)
                        *err = why;
                return -1;
        }
        if (found == 0 && volume_check_pool(custody->conn, hold->directory, hold->name, err) < 0)
                return -1;
        if ((found > 0 ? note(custody, hold, &volume, err) : making_over(custody, hold, err)) < 0 ||
            journal_record_remove(custody->journal, hold->job, hold->item, err) < 0 ||
            fault_point("agent.discard.partial-removed", err) < 0 ||
            (found > 0 && volume_remove(custody->conn, hold->directory, hold->name, volume.key, err) < 0))
                return -1;
        return 0;
}
