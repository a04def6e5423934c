// SPDX-License-Identifier: LGPL-2.1-or-later
/* What the sink has already (see have.h). */
#include "agent/transfer/have.h"
#include "common/memory.h"
#include <stdlib.h>
#include <string.h>

struct run {
        struct run *next;
        uint64_t first, count;
        uint8_t hashes[][VERIFIED_HASH];
};

struct have {
        struct verified *verified; // on this host; nothing below is used then
        struct flow *flow;
        uint64_t blocks;
        pthread_mutex_t mutex; // of what follows
        pthread_cond_t changed;
        struct run *first, **last;
        unsigned n;
        uint64_t frontier; // all before it is known
        uint64_t passed;   // nothing before it will be asked for
        bool complete, has_other;
};

static struct have *make(void) {
        struct have *have = new (struct have);
        pthread_mutex_init(&have->mutex, NULL);
        flow_condition(&have->changed);
        have->last = &have->first;
        return have;
}

struct have *have_new(struct flow *flow, uint64_t bytes) {
        struct have *have = make();
        have->flow = flow;
        have->blocks = (bytes + BLOCKS_BLOCK - 1) / BLOCKS_BLOCK;
        return have;
}

struct have *have_of(struct verified *verified) {
        struct have *have = make();
        have->verified = verified;
        return have;
}

struct have *have_none(void) {
        struct have *have = make();
        have->complete = true;
        return have;
}

static void drop_first(struct have *have) {
        struct run *run = have->first;
        have->first = run->next;
        if (!have->first)
                have->last = &have->first;
        have->n--;
        free(run);
}

void have_free(struct have *have) {
        if (!have)
                return;
        while (have->first)
                drop_first(have);
        pthread_cond_destroy(&have->changed);
        pthread_mutex_destroy(&have->mutex);
        free(have);
}

static int check(const struct have *have, const Drover__DataHave *message, struct error *err) {
        uint64_t count = message->hashes.len / VERIFIED_HASH;
        if (have->complete)
                return error_set(err, ERROR_PROTOCOL, "the sink went on to say what it has");
        if (message->hashes.len % VERIFIED_HASH || message->first < have->frontier || message->first > have->blocks ||
            count > have->blocks - message->first)
                return error_set(err, ERROR_PROTOCOL, "the sink has %llu blocks from %llu on, of an image of %llu",
                                 (unsigned long long) count, (unsigned long long) message->first,
                                 (unsigned long long) have->blocks);
        return 0;
}

static void add_locked(struct have *have, const Drover__DataHave *message) {
        uint64_t count = message->hashes.len / VERIFIED_HASH;
        if (count > 0 && message->first + count > have->passed) {
                struct run *run = memory_new(sizeof *run + message->hashes.len);
                run->first = message->first;
                run->count = count;
                memcpy(run->hashes, message->hashes.data, message->hashes.len);
                *have->last = run;
                have->last = &run->next;
                have->n++;
        }
        have->frontier = message->first + count;
        have->complete = message->last;
        have->has_other |= message->has_other;
        pthread_cond_broadcast(&have->changed);
}

int have_add(struct have *have, const Drover__DataHave *message, struct error *err) {
        pthread_mutex_lock(&have->mutex);
        int result = check(have, message, err);
        if (result == 0)
                add_locked(have, message);
        pthread_mutex_unlock(&have->mutex);
        return result;
}

bool have_full(struct have *have) {
        pthread_mutex_lock(&have->mutex);
        bool full = have->n >= HAVE_QUEUE_MAX;
        pthread_mutex_unlock(&have->mutex);
        return full;
}

bool have_has_other(struct have *have) {
        pthread_mutex_lock(&have->mutex);
        bool has = have->has_other;
        pthread_mutex_unlock(&have->mutex);
        return has;
}

static void pass_locked(struct have *have, uint64_t n) {
        bool was_full = have->n >= HAVE_QUEUE_MAX;
        if (n > have->passed)
                have->passed = n;
        while (have->first && have->first->first + have->first->count <= have->passed)
                drop_first(have);
        if (was_full && have->n < HAVE_QUEUE_MAX)
                flow_wake(have->flow);
}

void have_pass(struct have *have, uint64_t n) {
        if (have->verified)
                return;
        pthread_mutex_lock(&have->mutex);
        pass_locked(have, n);
        pthread_mutex_unlock(&have->mutex);
}

// What lies before n is let go first: the sink may have more to say of that than may wait.
static int ask_locked(struct have *have, uint64_t n, uint8_t ret[VERIFIED_HASH], struct error *err) {
        pass_locked(have, n);
        while (!have->complete && have->frontier <= n) {
                if (flow_stopping(have->flow))
                        return error_set(err, ERROR_CANCELLED, "stopped");
                flow_tick(&have->changed, &have->mutex);
        }
        if (!have->first || have->first->first > n)
                return 0;
        memcpy(ret, have->first->hashes[n - have->first->first], VERIFIED_HASH);
        return 1;
}

int have_ask(struct have *have, uint64_t n, uint8_t ret[VERIFIED_HASH], struct error *err) {
        if (have->verified)
                return verified_get(have->verified, n, ret);
        pthread_mutex_lock(&have->mutex);
        int result = ask_locked(have, n, ret, err);
        pthread_mutex_unlock(&have->mutex);
        return result;
}
