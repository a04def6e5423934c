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

static int remove_files(const struct custody *custody, const struct hold *hold, struct error *err) {
        _cleanup_(free_p) char *key = memory_format(FACT_IDENTITY "%s", hold->item);
        _cleanup_(free_p) char *identity = NULL;
        if (hold_file_remove_aside(hold, NULL, err) < 0 || fault_point("agent.discard.partial-removed", err) < 0)
                return -1;
        int noted = custody_fact(custody, key, &identity, err);
        if (noted <= 0)
                return noted; // it was never published
        struct error why = ERROR_INIT;
        if (hold_file_remove_in_place(hold, identity, &why) == 0 || why.code == ERROR_CONFLICT)
                return 0;
        if (err)
                *err = why;
        return -1;
}

// What tells this job's file or volume from another of its name goes last: without it, a discard that is repeated could
// take another one for it.
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
