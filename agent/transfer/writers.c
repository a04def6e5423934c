// SPDX-License-Identifier: LGPL-2.1-or-later
/* Writing what has come (see writers.h). */
#include "agent/transfer/writers.h"
#include "common/fault.h"
#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

// Zeros between two runs of grains are written along when they are fewer: a hole is not worth another request.
#define GAP (16u << 10)

void writers_init(struct writers *writers, struct flow *flow, struct sink *sink) {
        memset(writers, 0, sizeof *writers);
        writers->flow = flow;
        writers->sink = sink;
        writers->running = WRITERS_COUNT;
        pthread_mutex_init(&writers->mutex, NULL);
        flow_condition(&writers->changed);
}

void writers_fini(struct writers *writers) {
        verified_free(writers->verified);
        pthread_cond_destroy(&writers->changed);
        pthread_mutex_destroy(&writers->mutex);
}

int writers_begin(struct writers *writers, uint64_t bytes, int verified_fd, const char *image, struct error *err) {
        writers->fresh = true;
        // What is remembered of an image that was cut since is true no more.
        if (verified_fd >= 0 && !sink_keeps(writers->sink, bytes) && ftruncate(verified_fd, 0) < 0)
                return error_errno(err, errno, "empty the record of verified blocks");
        // The record is emptied before the image is: it never speaks of what is not there.
        if (verified_fd >= 0 && verified_open(verified_fd, image, bytes, &writers->verified, &writers->fresh, err) < 0)
                return -1;
        if (sink_begin(writers->sink, bytes, writers->fresh, err) < 0)
                return -1;
        atomic_store(&writers->begun, true);
        return 0;
}

void writers_want(struct writers *writers, uint64_t bytes, int verified_fd, const char *image) {
        pthread_mutex_lock(&writers->mutex);
        writers->bytes = bytes;
        writers->verified_fd = verified_fd;
        writers->image = image;
        writers->wanted = true;
        pthread_cond_broadcast(&writers->changed);
        pthread_mutex_unlock(&writers->mutex);
}

// ---- a parcel
static int forget(struct writers *writers, uint64_t offset, uint64_t length, struct error *err) {
        uint64_t first = offset / BLOCKS_BLOCK, end = (offset + length + BLOCKS_BLOCK - 1) / BLOCKS_BLOCK;
        if (!writers->verified || writers->fresh)
                return 0;
        while (verified_next(writers->verified, &first) && first < end)
                if (verified_forget(writers->verified, first, err) < 0)
                        return -1;
        return 0;
}

// Writes from `begin` to `end`; what lies between is zeros in the buffer.
static int write_runs(struct writers *writers, const struct parcel *parcel, size_t begin, size_t end,
                      struct error *err) {
        return sink_write(writers->sink, parcel->offset + begin, parcel->buffer + begin, end - begin, err);
}

static int zero_gap(struct writers *writers, const struct parcel *parcel, size_t begin, size_t end, struct error *err) {
        if (writers->sink->starts_zero || end == begin)
                return 0;
        return sink_zero(writers->sink, parcel->offset + begin, end - begin, err);
}

// Of the block, what lies from `first` to `last`: its grains, and zeros where it has none.
static int write_range(struct writers *writers, const struct parcel *parcel, size_t first, size_t last,
                       struct error *err) {
        struct grains_run run;
        size_t at = first, begin = first, end = first;
        while (grains_next(&parcel->grains, last, true, &at, &run)) {
                if (end > first && run.begin - end < GAP) {
                        end = run.end;
                        continue;
                }
                if ((end > begin && write_runs(writers, parcel, begin, end, err) < 0) ||
                    zero_gap(writers, parcel, end, run.begin, err) < 0)
                        return -1;
                begin = run.begin;
                end = run.end;
        }
        if (end > begin && write_runs(writers, parcel, begin, end, err) < 0)
                return -1;
        return zero_gap(writers, parcel, end, last, err);
}

static int write_pieces(struct writers *writers, const struct parcel *parcel, uint16_t pieces, struct error *err) {
        size_t length = (size_t) parcel->length;
        for (size_t i = 0, end; i < BLOCKS_PIECES && i * BLOCKS_PIECE < length; i = end + 1) {
                for (end = i; end < BLOCKS_PIECES && pieces >> end & 1;)
                        end++;
                size_t last = end * BLOCKS_PIECE < length ? end * BLOCKS_PIECE : length;
                if (end > i && write_range(writers, parcel, i * BLOCKS_PIECE, last, err) < 0)
                        return -1;
        }
        return 0;
}

static int write_block(struct writers *writers, const struct parcel *parcel, struct error *err) {
        if (write_pieces(writers, parcel, (uint16_t) ~parcel->written, err) < 0)
                return -1;
        if (writers->verified)
                verified_note(writers->verified, parcel->offset / BLOCKS_BLOCK, parcel->hash);
        return 0;
}

int writers_part(struct writers *writers, const struct parcel *parcel, uint16_t pieces, struct error *err) {
        if (forget(writers, parcel->offset, parcel->length, err) < 0)
                return -1;
        return write_pieces(writers, parcel, pieces, err);
}

static int write_parcel(struct writers *writers, const struct parcel *parcel, struct error *err) {
        struct flow *flow = writers->flow;
        if (parcel->kind == PARCEL_KEEP) {
                atomic_fetch_add(&flow->bytes_kept, parcel->length);
        } else {
                if (forget(writers, parcel->offset, parcel->length, err) < 0)
                        return -1;
                if (parcel->kind == PARCEL_BLOCK && write_block(writers, parcel, err) < 0)
                        return -1;
                if (parcel->kind == PARCEL_ZERO && !writers->sink->starts_zero &&
                    sink_zero(writers->sink, parcel->offset, parcel->length, err) < 0)
                        return -1;
        }
        if (parcel->kind == PARCEL_ZERO)
                atomic_fetch_add(&flow->bytes_zero, parcel->length);
        atomic_fetch_add(&flow->bytes_done, parcel->length);
        return 0;
}

static void write_all(struct writers *writers) {
        struct flow *flow = writers->flow;
        struct parcel *parcel;
        struct error why = ERROR_INIT;
        while ((parcel = pipeline_get(flow->pipeline))) {
                if (!atomic_load(&writers->sink->failed) && write_parcel(writers, parcel, &why) < 0)
                        flow_fail(flow, &why);
                pipeline_give_back(flow->pipeline, parcel);
        }
        pthread_mutex_lock(&writers->mutex);
        writers->running--;
        pthread_cond_broadcast(&writers->changed);
        pthread_mutex_unlock(&writers->mutex);
}

// ---- making sure
// What failed to be flushed is not in the record, and never will be: the next attempt sends it again (fault 23).
static int commit(struct writers *writers, struct error *err) {
        uint64_t mark = writers->verified ? verified_mark(writers->verified) : 0;
        if (sink_flush(writers->sink, err) < 0)
                return -1;
        return writers->verified ? verified_commit(writers->verified, mark, err) : 0;
}

// Until the writers have ended, or it is time. true: they have.
static bool await_writers(struct writers *writers) {
        uint64_t until = clock_ms(writers->flow->clock) + WRITERS_SYNC_MS;
        pthread_mutex_lock(&writers->mutex);
        while (writers->running > 0 && clock_ms(writers->flow->clock) < until)
                flow_tick(&writers->changed, &writers->mutex);
        bool ended = writers->running == 0;
        pthread_mutex_unlock(&writers->mutex);
        return ended;
}

static bool something_to_sync(const struct writers *writers, uint64_t *mark) {
        uint64_t now = writers->verified ? verified_mark(writers->verified) : 0;
        bool something = now != *mark;
        *mark = now;
        return something;
}

static bool await_want(struct writers *writers) {
        pthread_mutex_lock(&writers->mutex);
        while (!writers->wanted && !flow_stopping(writers->flow))
                flow_tick(&writers->changed, &writers->mutex);
        bool wanted = writers->wanted;
        pthread_mutex_unlock(&writers->mutex);
        return wanted;
}

static bool begin_as_wanted(struct writers *writers) {
        struct error why = ERROR_INIT;
        if (atomic_load(&writers->begun)) // on one host, beforehand
                return true;
        if (!await_want(writers))
                return false;
        if (writers_begin(writers, writers->bytes, writers->verified_fd, writers->image, &why) < 0)
                flow_fail(writers->flow, &why);
        flow_wake(writers->flow);
        return atomic_load(&writers->begun);
}

static void sync_all(struct writers *writers) {
        struct flow *flow = writers->flow;
        struct error why = ERROR_INIT;
        uint64_t mark = 0;
        if (!begin_as_wanted(writers))
                return;
        while (!await_writers(writers))
                if (!atomic_load(&writers->sink->failed) && something_to_sync(writers, &mark) &&
                    commit(writers, &why) < 0)
                        flow_fail(flow, &why);
        if (atomic_load(&writers->sink->failed))
                return;
        bool whole = !flow_stopping(flow);
        if ((whole && fault_point("agent.receive.before-sync", &why) < 0) || commit(writers, &why) < 0 ||
            (whole && fault_point("agent.receive.after-sync", &why) < 0))
                flow_fail(flow, &why);
        else if (whole)
                atomic_store(&writers->settled, true);
        flow_wake(flow);
}

void writers_work(struct writers *writers, unsigned n) {
        if (n < WRITERS_COUNT)
                write_all(writers);
        else
                sync_all(writers);
}
