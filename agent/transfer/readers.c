// SPDX-License-Identifier: LGPL-2.1-or-later
/* Reading what is to be sent (see readers.h). */
#include "agent/transfer/readers.h"
#include <string.h>

int readers_init(struct readers *readers, struct flow *flow, struct source *source, struct error *err) {
        memset(readers, 0, sizeof *readers);
        readers->flow = flow;
        readers->source = source;
        pthread_mutex_init(&readers->mutex, NULL);
        atomic_init(&readers->running, READERS_THREADS);
        int known = source_version(source, readers->version, err);
        readers->versioned = known > 0;
        return known < 0 ? -1 : 0;
}

void readers_fini(struct readers *readers) {
        pthread_mutex_destroy(&readers->mutex);
}

// ---- dealing out, under the mutex
static bool is_same(const uint8_t *one, const uint8_t *other) {
        return memcmp(one, other, DIGEST_HASH) == 0;
}

static int look_ahead(struct readers *readers, struct readers_next *next, struct error *err) {
        memset(next, 0, sizeof *next);
        next->more = source_next(readers->source, &next->range, err);
        if (next->more <= 0) {
                have_pass(readers->have, UINT64_MAX);
                return next->more;
        }
        uint64_t n = next->range.offset / BLOCKS_BLOCK;
        if (next->range.kind == SOURCE_ZERO) {
                have_pass(readers->have, n);
                return 1;
        }
        int has = have_ask(readers->have, n, next->theirs, err);
        if (has < 0)
                return -1;
        next->has = has;
        next->kept = has && readers->recalled && recalled_get(readers->recalled, n, next->ours) &&
                     is_same(next->ours, next->theirs);
        return 1;
}

// A run of blocks that the sink has and that need not be read, because this agent has hashed them before.
static int deal_kept(struct readers *readers, struct parcel *parcel, struct error *err) {
        size_t n = 0;
        parcel->kind = PARCEL_KEEP;
        while (readers->held.more > 0 && readers->held.kept && n < READERS_KEEP_MAX) {
                memcpy(readers->run[n++], readers->held.ours, DIGEST_HASH);
                parcel->length += readers->held.range.length;
                if (look_ahead(readers, &readers->held, err) < 0)
                        return -1;
        }
        readers->holds = true;
        if (digest_add_run(readers->flow->digest, parcel->offset, parcel->length,
                           (const uint8_t(*)[DIGEST_HASH]) readers->run, err) < 0)
                return -1;
        return 1;
}

static int deal_locked(struct readers *readers, struct parcel *parcel, struct readers_next *ret, struct error *err) {
        if (!readers->holds && look_ahead(readers, &readers->held, err) < 0)
                return -1;
        readers->holds = false;
        *ret = readers->held;
        if (ret->more == 0) {
                readers->holds = true; // the other readers come to the end as well
                return 0;
        }
        parcel->offset = ret->range.offset;
        if (ret->kept)
                return deal_kept(readers, parcel, err);
        parcel->kind = ret->range.kind == SOURCE_ZERO ? PARCEL_ZERO : PARCEL_BLOCK;
        parcel->length = ret->range.length;
        return 1;
}

// ---- a parcel
static int read_block(struct readers *readers, struct parcel *parcel, const struct readers_next *next,
                      struct error *err) {
        size_t length = (size_t) parcel->length;
        if (source_read(readers->source, parcel->offset, parcel->buffer, length, err) < 0)
                return -1;
        grains_find(parcel->buffer, length, &parcel->grains);
        if (grains_empty(&parcel->grains)) {
                parcel->kind = PARCEL_ZERO;
                return digest_add(readers->flow->digest, parcel->offset, length, NULL, err);
        }
        digest_block(parcel->buffer, length, &parcel->grains, parcel->hash);
        if (readers->recalled)
                recalled_put(readers->recalled, parcel->offset / BLOCKS_BLOCK, parcel->hash);
        if (next->has && is_same(parcel->hash, next->theirs))
                parcel->kind = PARCEL_KEEP;
        return digest_add(readers->flow->digest, parcel->offset, length, parcel->hash, err);
}

static int fill(struct readers *readers, struct parcel *parcel, struct error *err) {
        struct readers_next next;
        pthread_mutex_lock(&readers->mutex);
        int more = deal_locked(readers, parcel, &next, err);
        pthread_mutex_unlock(&readers->mutex);
        if (more <= 0 || parcel->kind == PARCEL_KEEP)
                return more;
        if (parcel->kind == PARCEL_ZERO)
                more = digest_add(readers->flow->digest, parcel->offset, parcel->length, NULL, err);
        else
                more = read_block(readers, parcel, &next, err);
        return more < 0 ? -1 : 1;
}

static int read_all(struct readers *readers, struct error *err) {
        struct flow *flow = readers->flow;
        struct parcel *parcel;
        int more = 1;
        while (more > 0 && (parcel = pipeline_take(flow->pipeline))) {
                more = fill(readers, parcel, err);
                struct asker *asker = readers->asker;
                if (more <= 0)
                        pipeline_give_back(flow->pipeline, parcel);
                else if (!asker || !asker->ops->offer(asker, parcel))
                        pipeline_put(flow->pipeline, parcel);
        }
        return more;
}

// ---- the end
int readers_check_version(struct readers *readers, struct error *err) {
        uint8_t version[SOURCE_VERSION_BYTES];
        if (!readers->versioned)
                return 0;
        int known = source_version(readers->source, version, err);
        if (known < 0)
                return -1;
        if (known && memcmp(version, readers->version, sizeof version) == 0)
                return 0;
        return error_set(err, ERROR_STALE, "the image was changed while it was copied");
}

static int finish(struct readers *readers, struct error *err) {
        struct asker *asker = readers->asker;
        if (asker && asker->ops->settle(asker, err) < 0)
                return -1;
        return readers_check_version(readers, err);
}

void readers_work(struct readers *readers) {
        struct error why = ERROR_INIT;
        struct flow *flow = readers->flow;
        int result = read_all(readers, &why);
        bool last = atomic_fetch_sub(&readers->running, 1) == 1;
        if (result == 0 && last && !flow_stopping(flow))
                result = finish(readers, &why);
        if (result < 0)
                flow_fail(flow, &why);
        if (last && result == 0 && !flow_stopping(flow))
                atomic_store(&readers->finished, true);
        if (last)
                pipeline_close(flow->pipeline);
        flow_wake(flow);
}
