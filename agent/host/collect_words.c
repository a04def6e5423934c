// SPDX-License-Identifier: LGPL-2.1-or-later
/* libvirt's numbers for states and their reasons, in the words that virsh prints. Pure. */
#include "agent/host/collect.h"
#include "agent/host/collect_words.h"
#include "common/cleanup.h"

struct words {
        unsigned n;
        const char *const *texts;
};
#define WORDS(...)                                                                                                     \
        {                                                                                                              \
                .n = ARRAY_SIZE(((const char *const[]){__VA_ARGS__})), .texts = (const char *const[]) {                \
                        __VA_ARGS__                                                                                    \
                }                                                                                                      \
        }

static const struct words states =
        WORDS("no state", "running", "idle", "paused", "in shutdown", "shut off", "crashed", "pmsuspended");

// In the order of virDomainRunningReason and its like.
static const struct words reasons[] = {
        [VIR_DOMAIN_RUNNING] =
                WORDS("unknown", "booted", "migrated", "restored", "from snapshot", "unpaused", "migration canceled",
                      "save canceled", "event wakeup", "crashed", "post-copy", "post-copy failed"),
        [VIR_DOMAIN_PAUSED] =
                WORDS("unknown", "user", "migrating", "saving", "dumping", "I/O error", "watchdog", "from snapshot",
                      "shutting down", "creating snapshot", "crashed", "starting up", "post-copy", "post-copy failed"),
        [VIR_DOMAIN_SHUTDOWN] = WORDS("unknown", "user"),
        [VIR_DOMAIN_SHUTOFF] = WORDS("unknown", "shutdown", "destroyed", "crashed", "migrated", "saved", "failed",
                                     "from snapshot", "daemon"),
        [VIR_DOMAIN_CRASHED] = WORDS("unknown", "panicked"),
        [VIR_DOMAIN_PMSUSPENDED] = WORDS("unknown"),
};

static const char *word(const struct words *words, int index) {
        return index >= 0 && (unsigned) index < words->n ? words->texts[index] : "unknown";
}

const char *collect_state_word(int state) {
        return word(&states, state);
}

const char *collect_reason_word(int state, int reason) {
        if (state < 0 || (size_t) state >= ARRAY_SIZE(reasons))
                return "unknown";
        return word(&reasons[state], reason);
}
