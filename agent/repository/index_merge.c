// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Merging segments, some records at a time: four or more of about a size become one, so that a record is written again
 * once for every fourfold of the index; and all of them once a quarter of the records belongs to packs that are gone.
 * Until the manifest names the new segment its files are nobody's. The writer's thread.
 */
#include "agent/repository/index_parts.h"
#include "agent/repository/filter.h"
#include "common/cleanup.h"
#include "common/fault.h"
#include "common/memory.h"

#define FANOUT     4u
#define TIER_MIN   6u // up to 4^7 records
#define GONE_SHARE 4u

struct index_merge {
        struct segment *inputs[INDEX_SEGMENTS_MAX];
        struct segment_cursor cursors[INDEX_SEGMENTS_MAX];
        uint32_t n;
        bool all; // of the segments that there were
        uint32_t number;
        struct segment_writer *writer;
        struct segment_record last;
        uint64_t records; // written
};

void index_merge_free(struct index_merge *merge) {
        if (!merge)
                return;
        for (uint32_t i = 0; i < merge->n; i++)
                segment_cursor_fini(&merge->cursors[i]);
        segment_writer_free(merge->writer);
        free(merge);
}
DEFINE_CLEANUP(index_merge_free, struct index_merge *)

// ---- which
static unsigned tier_of(const struct segment *segment) {
        unsigned tier = (63 - (unsigned) __builtin_clzll(segment_head(segment)->records)) / 2;
        return tier < TIER_MIN ? TIER_MIN : tier;
}

static uint64_t choose_tier(const struct index *index, unsigned tier, struct index_merge *merge) {
        uint64_t records = 0;
        merge->n = 0;
        for (uint32_t i = 0; i < index->n_segments; i++)
                if (tier_of(index->segments[i]) == tier) {
                        merge->inputs[merge->n++] = index->segments[i];
                        records += segment_head(index->segments[i])->records;
                }
        return merge->n >= FANOUT ? records : 0;
}

// 0: there is nothing to merge.
static uint64_t choose(const struct index *index, struct index_merge *merge) {
        uint64_t records = 0;
        for (uint32_t i = 0; i < index->n_segments; i++)
                records += segment_head(index->segments[i])->records;
        if (index->packs.gone * GONE_SHARE > records && records <= FILTER_NAMES_MAX) {
                memcpy(merge->inputs, index->segments, sizeof merge->inputs);
                merge->n = index->n_segments;
                merge->all = true;
                return records;
        }
        for (unsigned tier = TIER_MIN; tier < 32; tier++) {
                uint64_t some = choose_tier(index, tier, merge);
                if (some == 0 || some > FILTER_NAMES_MAX)
                        continue;
                merge->all = merge->n == index->n_segments;
                return some;
        }
        merge->n = 0;
        return 0;
}

static int begin(struct index *index, bool *ret_begun, struct error *err) {
        _cleanup_(index_merge_free_p) struct index_merge *merge = new (struct index_merge);
        uint64_t records = choose(index, merge);
        *ret_begun = records > 0;
        if (records == 0)
                return 0;
        merge->number = index->next_number++;
        for (uint32_t i = 0; i < merge->n; i++)
                if (segment_cursor_init(&merge->cursors[i], merge->inputs[i], err) < 0)
                        return -1;
        if (segment_writer_new(index->directory_fd, index->repository, merge->number, records, &merge->writer, err) < 0)
                return -1;
        if (merge->all)
                index_packs_mark(&index->packs);
        index->merge = steal(&merge);
        return 0;
}

// ---- one after another
static struct segment_cursor *least(struct index_merge *merge) {
        struct segment_cursor *found = NULL;
        for (uint32_t i = 0; i < merge->n; i++) {
                struct segment_cursor *cursor = &merge->cursors[i];
                if (!cursor->at_end && (!found || chunk_name_compare(&cursor->record.name, &found->record.name) < 0))
                        found = cursor;
        }
        return found;
}

// Of a pack that is gone as the log does not say yet, records stay: after a crash it is there again, and nobody tells
// the index what is in it. Where all segments are merged, the log is written anew with them.
static bool dropped(const struct index *index, const struct index_merge *merge, uint32_t number) {
        return !index_packs_counts(&index->packs, number) &&
               (merge->all || !index_packs_unlogged(&index->packs, number));
}

// A name in two packs stays in both: either may be removed first.
static int take(struct index *index, struct index_merge *merge, const struct segment_record *record,
                struct error *err) {
        bool again = merge->records > 0 && merge->last.pack == record->pack &&
                     chunk_name_equal(&merge->last.name, &record->name);
        if (again || dropped(index, merge, record->pack))
                return 0;
        merge->last = *record;
        merge->records++;
        return segment_writer_add(merge->writer, record, err);
}

static int advance(struct index *index, uint64_t records, bool *ret_done, struct error *err) {
        struct index_merge *merge = index->merge;
        for (uint64_t i = 0; i < records; i++) {
                struct segment_cursor *cursor = least(merge);
                *ret_done = !cursor;
                if (!cursor)
                        return 0;
                if (take(index, merge, &cursor->record, err) < 0 || segment_cursor_step(cursor, err) < 0)
                        return -1;
        }
        *ret_done = false;
        return 0;
}

// ---- the end
static bool is_input(const struct index_merge *merge, const struct segment *segment) {
        for (uint32_t i = 0; i < merge->n; i++)
                if (merge->inputs[i] == segment)
                        return true;
        return false;
}

static void describe(const struct index *index, const struct index_merge *merge, const struct segment_head *made,
                     struct index_manifest *ret) {
        *ret = (struct index_manifest){.generation = index->packs.generation,
                                       .logged = index->packs.logged,
                                       .next_number = index->next_number};
        if (made)
                ret->segments[ret->n_segments++] = *made;
        for (uint32_t i = 0; i < index->n_segments; i++)
                if (!is_input(merge, index->segments[i]))
                        ret->segments[ret->n_segments++] = *segment_head(index->segments[i]);
}

// The filters of the inputs go before that of the new segment comes, so that both are never in memory at once.
static int exchange(struct index *index, const struct index_merge *merge, const struct segment_head *made,
                    struct error *err) {
        struct segment *kept[INDEX_SEGMENTS_MAX] = {0};
        uint32_t n = made ? 1 : 0;
        int result = 0;
        pthread_rwlock_wrlock(&index->lock);
        for (uint32_t i = 0; i < index->n_segments; i++)
                if (is_input(merge, index->segments[i]))
                        segment_free(index->segments[i]);
                else
                        kept[n++] = index->segments[i];
        memcpy(index->segments, kept, sizeof kept);
        index->n_segments = n;
        if (made)
                result = segment_open(index->directory_fd, index->repository, made, &index->segments[0], err);
        if (result < 0) {
                index->failed = index->stale = true;
                index->n_segments--;
                memmove(index->segments, index->segments + 1, index->n_segments * sizeof *index->segments);
        }
        if (merge->all)
                index_packs_bury(&index->packs);
        pthread_rwlock_unlock(&index->lock);
        return result;
}

static int finish(struct index *index, struct index_merge *merge, struct error *err) {
        struct segment_head made;
        struct index_manifest manifest;
        bool any = merge->records > 0;
        uint32_t old = index->packs.generation, old_numbers[INDEX_SEGMENTS_MAX];
        if (fault_point("repository.index.merge-end", err) < 0)
                return -1;
        if (any && segment_writer_close(merge->writer, &made, err) < 0)
                return -1;
        if (!any) { // and its files go
                segment_writer_free(merge->writer);
                merge->writer = NULL;
        }
        describe(index, merge, any ? &made : NULL, &manifest);
        if (merge->all) {
                manifest.generation = old + 1;
                if (index_packs_log_anew(&index->packs, index->directory_fd, old + 1, &manifest.logged, err) < 0)
                        goto out;
        }
        if (index_manifest_write(index, &manifest, err) < 0)
                goto out;
        for (uint32_t i = 0; i < merge->n; i++)
                old_numbers[i] = segment_head(merge->inputs[i])->number;
        index->packs.generation = manifest.generation;
        index->packs.logged = manifest.logged;
        int result = exchange(index, merge, any ? &made : NULL, err);
        if (fault_point("repository.index.before-unlink", result < 0 ? NULL : err) < 0)
                result = -1;
        for (uint32_t i = 0; result == 0 && i < merge->n; i++)
                segment_remove(index->directory_fd, old_numbers[i]);
        if (result == 0 && merge->all)
                index_packs_unlink(index->directory_fd, old);
        return result;
out:
        if (any && !index->stale)
                segment_remove(index->directory_fd, made.number);
        return -1;
}

int index_merge_step(struct index *index, uint64_t records, bool *ret_more, struct error *err) {
        bool done = false, begun = true;
        if (index_check_stale(index, err) < 0)
                return -1;
        if (!index->merge && (begin(index, &begun, err) < 0 || fault_point("repository.index.merge-begun", err) < 0))
                return -1;
        if (!begun) {
                *ret_more = false;
                return 0;
        }
        int result = advance(index, records, &done, err);
        if (result == 0 && done)
                result = finish(index, index->merge, err);
        if (result < 0 || done) {
                index_merge_free(index->merge);
                index->merge = NULL;
        }
        *ret_more = true;
        return result;
}
