// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Taking away again what a job brought to this host, from any stage before the commit: the VM if this job defined it,
 * and the files that this job made. Everything else is left as it is. Workers only.
 */
#include "agent/host/clone.h"
#include "agent/host/hold_file.h"
#include "agent/host/identity_reset.h"
#include "agent/host/placement.h"
#include "agent/host/placement_parts.h"
#include "agent/host/placement_volume.h"
#include "common/cleanup.h"
#include "common/fault.h"
#include "common/memory.h"
#include <string.h>

static int remove_domain(const struct custody *custody, struct error *err) {
        _cleanup_(domain_free_p) virDomainPtr domain = NULL;
        int found = custody_lookup(custody, &domain, err);
        if (found <= 0)
                return found;
        int ours = placement_made(custody, domain, err);
        if (ours <= 0)
                return ours; // somebody else's: not ours to touch
        int active = custody_active(domain, err);
        if (active < 0 || fault_point("agent.discard.before-destroy", err) < 0 ||
            (active && power_stop(domain, err) < 0) || fault_point("agent.discard.destroyed", err) < 0)
                return -1;
        return custody_undefine(domain, err);
}

// Once the file is removed, what was noted of it could fit somebody's new one: it goes first, and the file loses its
// name before, so that it is found all the same.
static int take_back(const struct custody *custody, const struct hold *hold, const char *key, const char *identity,
                     struct error *err) {
        if (hold_file_take_back(hold, identity, err) < 0 || fault_point("agent.discard.taken-back", err) < 0)
                return -1;
        return journal_fact_remove(custody->journal, custody->job, key, err);
}

static int remove_files(const struct custody *custody, const struct hold *hold, struct error *err) {
        _cleanup_(free_p) char *key = memory_format(FACT_IDENTITY "%s", hold->item);
        _cleanup_(free_p) char *identity = NULL;
        int noted = custody_fact(custody, key, &identity, err); // 0: it was never published
        bool lasts = noted > 0 && hold_file_identity_lasts(identity);
        if (noted < 0 || (noted > 0 && !lasts && take_back(custody, hold, key, identity, err) < 0) ||
            hold_file_remove_aside(hold, NULL, err) < 0 || fault_point("agent.discard.partial-removed", err) < 0)
                return -1;
        if (!lasts)
                return 0;
        struct error why = ERROR_INIT;
        if (hold_file_remove_in_place(hold, identity, &why) == 0 || why.code == ERROR_CONFLICT)
                return 0;
        if (err)
                *err = why;
        return -1;
}

// What tells this job's file or volume from another of its name goes last, where it still does once that is gone:
// without it, a discard that is repeated could take another one for it.
static int remove_hold(const struct custody *custody, const struct hold *hold, struct error *err) {
        _cleanup_(free_p) char *key = memory_format(FACT_IDENTITY "%s", hold->item);
        if ((hold->device ? placement_volume_discard(custody, hold, err) : remove_files(custody, hold, err)) < 0)
                return error_prefix(err, "discard %s", hold->item);
        if (fault_point("agent.discard.removed", err) < 0 || clone_base_release(custody, hold->item, err) < 0)
                return -1;
        custody_tidy(custody, hold, 1);
        if (journal_hold_remove(custody->journal, custody->job, hold->item, err) < 0)
                return -1;
        return journal_fact_remove(custody->journal, custody->job, key, err);
}

int placement_discard(const struct custody *custody, struct error *err) {
        _cleanup_(free_p) struct hold *holds = NULL;
        unsigned n = 0;
        if (placement_check_open(custody, err) < 0 || remove_domain(custody, err) < 0 ||
            fault_point("agent.discard.undefined", err) < 0 || identity_reset_tidy(custody, err) < 0 ||
            custody_holds(custody, 0, &holds, &n, err) < 0)
                return -1;
        for (unsigned i = 0; i < n; i++)
                if ((holds[i].kind == HOLD_INCOMING || holds[i].kind == HOLD_PUBLISHED) &&
                    remove_hold(custody, &holds[i], err) < 0)
                        return -1;
        if (journal_fact_remove(custody->journal, custody->job, FACT_DEFINED, err) < 0)
                return -1;
        return fault_point("agent.discard.done", err);
}
