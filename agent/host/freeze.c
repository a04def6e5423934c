// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Freezing guests (see freeze.h). All thawing is done by the watchdog's thread: when it is told to, or when the limit
 * is over. It shares the struct with the caller, and whoever is last frees it. Those that are not thawed are in a list:
 * one of a VM at a time, or the thawing of the first would end the second.
 */
#include "agent/host/freeze.h"
#include "agent/host/tree.h"
#include "common/clock.h"
#include "common/memory.h"
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#define TRY_AGAIN_MS 1000

static atomic_uint pending; // threads

static struct {
        pthread_mutex_t mutex; // of what follows, and of `next` in each
        struct freeze *first;
        unsigned counter;
} standing = {.mutex = PTHREAD_MUTEX_INITIALIZER};

struct freeze {
        struct freeze *next; // standing
        char uuid[VIR_UUID_STRING_BUFLEN];
        char key[JOURNAL_KEY_MAX]; // of the fact
        pthread_mutex_t mutex;     // of what follows
        pthread_cond_t changed;
        unsigned references;
        bool over;    // the caller wants it thawed
        bool expired; // the limit came first
        bool refused; // the agent would not freeze
        bool tried;   // what follows is known
        int thawed;   // how many file systems, or -1
        struct error error;
        uint64_t begun, ended, deadline;
        virDomainPtr domain;
        struct journal *journal;
        char job[33];
};

unsigned freeze_pending(void) {
        return atomic_load(&pending);
}

// False: an earlier one of this VM is.
static bool stand(struct freeze *freeze) {
        pthread_mutex_lock(&standing.mutex);
        const struct freeze *other = standing.first;
        while (other && strcmp(other->uuid, freeze->uuid) != 0)
                other = other->next;
        if (!other) {
                snprintf(freeze->key, sizeof freeze->key, FREEZE_FACT "%s-%u", freeze->uuid, ++standing.counter);
                freeze->next = standing.first;
                standing.first = freeze;
        }
        pthread_mutex_unlock(&standing.mutex);
        return !other;
}

static void stand_no_more(struct freeze *freeze) {
        pthread_mutex_lock(&standing.mutex);
        for (struct freeze **at = &standing.first; *at; at = &(*at)->next)
                if (*at == freeze) {
                        *at = freeze->next;
                        break;
                }
        pthread_mutex_unlock(&standing.mutex);
}

static void unref(struct freeze *freeze) { // with the mutex held, which is let go
        bool last = --freeze->references == 0;
        pthread_mutex_unlock(&freeze->mutex);
        if (!last)
                return;
        virDomainFree(freeze->domain);
        pthread_cond_destroy(&freeze->changed);
        pthread_mutex_destroy(&freeze->mutex);
        free(freeze);
}

static bool connected(virDomainPtr domain) {
        _cleanup_(free_p) char *xml = virDomainGetXMLDesc(domain, 0);
        _cleanup_(tree_free_p) xmlDoc *doc = NULL;
        if (!xml || tree_parse("the definition", xml, strlen(xml), &doc, NULL) < 0)
                return false;
        const xmlNode *devices = tree_child(xmlDocGetRootElement(doc), "devices");
        for (const xmlNode *at = tree_child(devices, "channel"); at; at = tree_next(at, "channel")) {
                const xmlNode *target = tree_child(at, "target");
                if (target && tree_attribute_is(target, "name", "org.qemu.guest_agent.0"))
                        return tree_attribute_is(target, "state", "connected");
        }
        return false;
}

// With the mutex held. False when the time is over. The deadline's clock goes on while the machine sleeps, and is ahead
// of the condition's by so much.
static bool wait_until(struct freeze *freeze, uint64_t deadline) {
        struct timespec at;
        uint64_t now = clock_ms(&system_clock), ms = deadline > now ? deadline - now : 0;
        clock_gettime(CLOCK_MONOTONIC, &at);
        ms += (uint64_t) at.tv_nsec / 1000000;
        at.tv_sec += (time_t) (ms / 1000);
        at.tv_nsec = (long) (ms % 1000) * 1000000;
        return pthread_cond_timedwait(&freeze->changed, &freeze->mutex, &at) == 0;
}

// An answer, which the same question would get again: nothing timed out, and libvirt was there.
static bool is_refusal(const struct error *error) {
        return error->code != ERROR_TIMEOUT && error->code != ERROR_UNREACHABLE && error->code != ERROR_NO_MEMORY;
}

static int request_thaw(virDomainPtr domain, struct error *err) {
        int thawed = virDomainFSThaw(domain, NULL, 0, 0);
        if (thawed < 0)
                connection_error(err, "thaw the guest");
        return thawed;
}

static void wait_as_before(virDomainPtr domain) {
        virDomainAgentSetResponseTimeout(domain, VIR_DOMAIN_AGENT_RESPONSE_TIMEOUT_BLOCK, 0);
}

// Not forgotten: it may be frozen for all that is known.
static int give_up(struct journal *journal, const char *job, const char *key, const char *uuid, struct error *err) {
        char other[JOURNAL_KEY_MAX + sizeof FREEZE_GIVEN_UP];
        snprintf(other, sizeof other, FREEZE_GIVEN_UP "%s", key + strlen(FREEZE_FACT));
        if (journal_fact_set(journal, job, other, uuid, strlen(uuid), err) < 0)
                return -1;
        return journal_fact_remove(journal, job, key, err);
}

// With the mutex held, which is let go meanwhile. True when nothing is left to be tried.
static bool thaw_once(struct freeze *freeze) {
        struct error error = ERROR_INIT;
        bool refused = freeze->refused;
        pthread_mutex_unlock(&freeze->mutex);
        int thawed = request_thaw(freeze->domain, &error);
        bool done = thawed >= 0 || virDomainIsActive(freeze->domain) == 0 || error.code == ERROR_NOT_FOUND ||
                    (refused && is_refusal(&error));
        if (done) { // one that is not forgotten is thawed once more at the next start, which does no harm
                journal_fact_remove(freeze->journal, freeze->job, freeze->key, NULL);
                wait_as_before(freeze->domain);
                stand_no_more(freeze);
        }
        pthread_mutex_lock(&freeze->mutex);
        if (!freeze->tried) {
                freeze->thawed = thawed;
                freeze->error = error;
                freeze->ended = clock_ms(&system_clock);
                freeze->tried = true;
                pthread_cond_broadcast(&freeze->changed);
        }
        return done;
}

static void *watchdog(void *data) {
        struct freeze *freeze = data;
        pthread_mutex_lock(&freeze->mutex);
        while (!freeze->over && clock_ms(&system_clock) < freeze->deadline)
                wait_until(freeze, freeze->deadline);
        freeze->expired = !freeze->over;
        uint64_t last = clock_ms(&system_clock) + FREEZE_TRY_SECONDS * 1000ull;
        bool done;
        while (!(done = thaw_once(freeze)) && clock_ms(&system_clock) < last) {
                uint64_t again = clock_ms(&system_clock) + TRY_AGAIN_MS;
                while (wait_until(freeze, again))
                        ;
        }
        if (!done) {
                give_up(freeze->journal, freeze->job, freeze->key, freeze->uuid, NULL);
                wait_as_before(freeze->domain);
                stand_no_more(freeze);
        }
        unref(freeze);
        atomic_fetch_sub(&pending, 1);
        return NULL;
}

static struct freeze *freeze_new(virDomainPtr domain, const char *uuid, struct journal *journal, const char *job,
                                 unsigned limit_ms) {
        struct freeze *freeze = new (struct freeze);
        pthread_condattr_t monotonic;
        pthread_condattr_init(&monotonic);
        pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
        pthread_cond_init(&freeze->changed, &monotonic);
        pthread_condattr_destroy(&monotonic);
        pthread_mutex_init(&freeze->mutex, NULL);
        freeze->references = 1;
        virDomainRef(domain);
        freeze->domain = domain;
        freeze->journal = journal;
        snprintf(freeze->job, sizeof freeze->job, "%s", job);
        memcpy(freeze->uuid, uuid, sizeof freeze->uuid);
        freeze->begun = clock_ms(&system_clock);
        freeze->deadline = freeze->begun + limit_ms;
        return freeze;
}

static int start_watchdog(struct freeze *freeze, struct error *err) {
        pthread_t thread;
        freeze->references++;
        atomic_fetch_add(&pending, 1);
        int r = pthread_create(&thread, NULL, watchdog, freeze);
        if (r != 0) {
                atomic_fetch_sub(&pending, 1);
                freeze->references--;
                return error_errno(err, r, "start a thread that thaws the guest");
        }
        pthread_detach(thread);
        return 0;
}

static void drop(struct freeze *freeze) { // which no thread has
        stand_no_more(freeze);
        pthread_mutex_lock(&freeze->mutex);
        unref(freeze);
}

static void let_go(struct freeze *freeze, bool refused) {
        pthread_mutex_lock(&freeze->mutex);
        freeze->over = true;
        freeze->refused = refused;
        pthread_cond_broadcast(&freeze->changed);
        unref(freeze);
}

int freeze_begin(virDomainPtr domain, struct journal *journal, const char *job, unsigned limit_ms, struct freeze **ret,
                 struct error *why) {
        char uuid[VIR_UUID_STRING_BUFLEN];
        unsigned limit = limit_ms ? limit_ms : FREEZE_LIMIT_MS;
        if (virDomainGetUUIDString(domain, uuid) < 0) {
                connection_error(why, "ask for the VM's UUID");
                return 1;
        }
        int state, reason;
        if (virDomainGetState(domain, &state, &reason, 0) < 0 || state != VIR_DOMAIN_RUNNING) {
                error_set(why, ERROR_CONFLICT, "the VM does not run");
                return 1;
        }
        if (!connected(domain)) {
                error_set(why, ERROR_CONFLICT, "no guest agent is connected");
                return 1;
        }
        struct freeze *freeze = freeze_new(domain, uuid, journal, job, limit);
        if (!stand(freeze)) {
                drop(freeze);
                error_set(why, ERROR_BUSY, "the guest is still being thawed after an earlier freeze");
                return 1;
        }
        if (journal_fact_set(journal, job, freeze->key, uuid, strlen(uuid), why) < 0) {
                drop(freeze);
                return -1;
        }
        if (start_watchdog(freeze, why) < 0) {
                journal_fact_remove(journal, job, freeze->key, NULL);
                drop(freeze);
                return 1;
        }
        // Without it libvirt waits for ever for an agent that has taken the request and says nothing.
        virDomainAgentSetResponseTimeout(domain, (int) ((limit + 999) / 1000), 0);
        int frozen = virDomainFSFreeze(domain, NULL, 0, 0);
        if (frozen > 0) {
                *ret = freeze;
                return 0;
        }
        struct error error = ERROR_INIT;
        if (frozen == 0)
                error_set(&error, ERROR_CONFLICT, "the guest has no file system that can be frozen");
        else
                connection_error(&error, "freeze the guest");
        let_go(freeze, is_refusal(&error)); // else it may have been frozen all the same, or be so in a moment
        if (why)
                *why = error;
        return 1;
}

int freeze_end(struct freeze *freeze, unsigned *ret_ms, struct error *why) {
        pthread_mutex_lock(&freeze->mutex);
        freeze->over = true;
        pthread_cond_broadcast(&freeze->changed);
        while (!freeze->tried)
                pthread_cond_wait(&freeze->changed, &freeze->mutex);
        int r = 1;
        *ret_ms = (unsigned) (freeze->ended - freeze->begun);
        if (freeze->expired)
                error_set(why, ERROR_TIMEOUT, "the guest was thawed after %llu ms, before the checkpoint was made",
                          (unsigned long long) (freeze->deadline - freeze->begun));
        else if (freeze->thawed < 0 && why)
                *why = freeze->error;
        else if (freeze->thawed == 0)
                error_set(why, ERROR_CONFLICT, "the guest thawed itself before the checkpoint was made");
        else if (freeze->thawed > 0)
                r = 0;
        unref(freeze);
        return r;
}

// Of one VM: all facts of the kind are forgotten, or given up. How many, or -1.
static int settle(struct journal *journal, const char *prefix, const char *uuid, bool forget, struct error *err) {
        char job[33], key[JOURNAL_KEY_MAX];
        int found = 0, n = 0;
        for (; (found = journal_fact_find_prefix(journal, prefix, uuid, job, key, err)) > 0; n++)
                if ((forget ? journal_fact_remove(journal, job, key, err) : give_up(journal, job, key, uuid, err)) < 0)
                        return -1;
        return found < 0 ? -1 : n;
}

static int thaw_now(virDomainPtr domain, struct error *err) {
        if (virDomainIsActive(domain) != 1)
                return 0;
        virDomainAgentSetResponseTimeout(domain, (int) FREEZE_LIMIT_MS / 1000, 0);
        int thawed = request_thaw(domain, err);
        wait_as_before(domain);
        return thawed >= 0 ? 1 : virDomainIsActive(domain) == 0 ? 0 : -1;
}

static int recover_one(virDomainPtr domain, struct journal *journal, struct error *err) {
        char uuid[VIR_UUID_STRING_BUFLEN], job[33], key[JOURNAL_KEY_MAX];
        struct error why = ERROR_INIT;
        if (virDomainGetUUIDString(domain, uuid) < 0)
                return connection_error(err, "ask for a VM's UUID");
        int found = journal_fact_find_prefix(journal, FREEZE_FACT, uuid, job, key, err);
        if (found == 0)
                found = journal_fact_find_prefix(journal, FREEZE_GIVEN_UP, uuid, job, key, err);
        if (found <= 0)
                return found;
        int thawed = thaw_now(domain, &why);
        bool answered = thawed >= 0 || is_refusal(&why);
        if (answered && (settle(journal, FREEZE_GIVEN_UP, uuid, true, err) < 0 ||
                         settle(journal, FREEZE_FACT, uuid, thawed >= 0, err) < 0))
                return -1;
        if (thawed < 0 && err)
                *err = why;
        return thawed;
}

int freeze_recover(virConnectPtr conn, struct journal *journal, struct error *err) {
        virDomainPtr *domains = NULL;
        int n = virConnectListAllDomains(conn, &domains, 0), thawed = 0, status = 0;
        if (n < 0)
                return connection_error(err, "list the VMs");
        for (int i = 0; i < n; i++) { // one that cannot be thawed keeps no other one frozen
                int r = recover_one(domains[i], journal, status < 0 ? NULL : err);
                if (r < 0)
                        status = -1;
                else
                        thawed += r;
                virDomainFree(domains[i]);
        }
        free(domains);
        return status < 0 ? -1 : thawed;
}
