// SPDX-License-Identifier: LGPL-2.1-or-later
/* The index as others see it (see index.h): its table, its segments, and who waits for whom. */
#include "agent/repository/index_parts.h"
#include "common/cleanup.h"
#include "common/fault.h"
#include "common/memory.h"
#include <errno.h>
#include <fcntl.h>

// ---- open and free
static struct index *make(int directory_fd, const uint8_t repository[16], uint32_t table) {
        pthread_rwlockattr_t attributes;
        struct index *index = new (struct index);
        index->directory_fd = directory_fd;
        memcpy(index->repository, repository, sizeof index->repository);
        index->table_max = table ? table : INDEX_TABLE;
        index->next_number = 1;
        index_packs_init(&index->packs);
        // Else readers who come one after another would keep the writer out.
        pthread_rwlockattr_init(&attributes);
        pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
        pthread_rwlock_init(&index->lock, &attributes);
        pthread_rwlockattr_destroy(&attributes);
        return index;
}

void index_free(struct index *index) {
        if (!index)
                return;
        index_merge_free(index->merge);
        for (uint32_t i = 0; i < index->n_segments; i++)
                segment_free(index->segments[i]);
        index_table_fini(&index->table);
        index_packs_fini(&index->packs);
        close_p(&index->directory_fd);
        pthread_rwlock_destroy(&index->lock);
        free(index);
}
DEFINE_CLEANUP(index_free, struct index *)

static int load(struct index *index, struct error *err) {
        struct index_manifest manifest = {0};
        bool there = false;
        if (index_manifest_read(index, &manifest, &there, err) < 0)
                return -1;
        if (!there)
                return index_manifest_sweep(index->directory_fd, NULL, err);
        index->next_number = manifest.next_number;
        if (index_packs_load(&index->packs, index->directory_fd, manifest.generation, manifest.logged, err) < 0)
                return -1;
        for (uint32_t i = 0; i < manifest.n_segments; i++) {
                if (segment_open(index->directory_fd, index->repository, &manifest.segments[i], &index->segments[i],
                                 err) < 0)
                        return -1;
                index->n_segments++;
        }
        return index_manifest_sweep(index->directory_fd, &manifest, err);
}

int index_open(int directory_fd, const uint8_t repository[16], uint32_t table, struct index **ret, struct error *err) {
        int fd = openat(directory_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return error_errno(err, errno, "index: open its directory");
        _cleanup_(index_free_p) struct index *index = make(fd, repository, table);
        if (load(index, err) < 0)
                return -1;
        *ret = steal(&index);
        return 0;
}

int index_check_stale(const struct index *index, struct error *err) {
        return index->stale ? error_set(err, ERROR_STALE, "index: a step before this one failed: open it anew") : 0;
}

// ---- flushing
bool index_wanted(void *index, const struct segment_record *record) {
        return index_packs_counts(&((struct index *) index)->packs, record->pack);
}

// *ret_any false: nothing in the table counts any more.
static int write_table(struct index *index, struct segment_head *ret, bool *ret_any, struct error *err) {
        struct segment_writer *writer = NULL;
        *ret_any = false;
        if (index->table.n == 0)
                return 0;
        _cleanup_(free_p) uint32_t *order = index_table_sort(&index->table);
        if (segment_writer_new(index->directory_fd, index->repository, index->next_number++, index->table.n, &writer,
                               err) < 0)
                return -1;
        int result = 0;
        for (uint32_t i = 0; result == 0 && i < index->table.n; i++) {
                const struct segment_record *record = &index->table.records[order[i]];
                if (!index_wanted(index, record))
                        continue;
                *ret_any = true;
                result = segment_writer_add(writer, record, err);
        }
        if (result == 0 && *ret_any)
                result = segment_writer_close(writer, ret, err);
        segment_writer_free(writer);
        return result;
}

static int commit_table(struct index *index, const struct segment_head *made, struct segment **ret_opened,
                        uint32_t *ret_logged, struct error *err) {
        struct index_manifest manifest = {.generation = index->packs.generation, .next_number = index->next_number};
        if (made && segment_open(index->directory_fd, index->repository, made, ret_opened, err) < 0)
                return -1;
        if (fault_point("repository.index.before-log", err) < 0 ||
            index_packs_log(&index->packs, index->directory_fd, &manifest.logged, err) < 0)
                return -1;
        for (uint32_t i = 0; i < index->n_segments; i++)
                manifest.segments[manifest.n_segments++] = *segment_head(index->segments[i]);
        if (made)
                manifest.segments[manifest.n_segments++] = *made;
        *ret_logged = manifest.logged;
        return index_manifest_write(index, &manifest, err);
}

static int make_room(struct index *index, struct error *err) {
        for (bool more = true; more && index->n_segments == INDEX_SEGMENTS_MAX;)
                if (index_merge_step(index, UINT64_MAX, &more, err) < 0)
                        return -1;
        if (index->n_segments == INDEX_SEGMENTS_MAX)
                return error_set(err, ERROR_TOO_LARGE, "index: %u segments that cannot be merged", index->n_segments);
        return 0;
}

int index_flush(struct index *index, struct error *err) {
        struct segment_head made;
        struct segment *opened = NULL;
        uint32_t logged = 0;
        bool any = false;
        if (index_check_stale(index, err) < 0 || make_room(index, err) < 0 || write_table(index, &made, &any, err) < 0)
                return -1;
        if (commit_table(index, any ? &made : NULL, &opened, &logged, err) < 0) {
                segment_free(opened);
                if (any && !index->stale)
                        segment_remove(index->directory_fd, made.number);
                return -1;
        }
        pthread_rwlock_wrlock(&index->lock);
        if (opened)
                index->segments[index->n_segments++] = opened;
        index_table_clear(&index->table);
        index_packs_flushed(&index->packs, logged);
        pthread_rwlock_unlock(&index->lock);
        return 0;
}

// ---- packs
int index_add(struct index *index, const uint8_t pack[INDEX_PACK_ID], const struct index_entry *entries, uint32_t n,
              struct error *err) {
        struct segment_record record;
        if (n > INDEX_PACK_ENTRIES)
                return error_set(err, ERROR_TOO_LARGE, "index: a pack of %u chunks: expected at most %u", n,
                                 INDEX_PACK_ENTRIES);
        if (index_check_stale(index, err) < 0)
                return -1;
        if (index_packs_find(&index->packs, pack, &record.pack)) // only the writer changes them
                return 0;
        if (index->table.n >= index->table_max && index_flush(index, err) < 0)
                return -1;
        pthread_rwlock_wrlock(&index->lock);
        int result = index_packs_add(&index->packs, pack, n, &record.pack, err);
        if (result == 0)
                index_table_reserve(&index->table, n);
        for (uint32_t i = 0; result == 0 && i < n; i++) {
                record.name = entries[i].name;
                record.offset = entries[i].offset;
                record.place = entries[i].place;
                index_table_add(&index->table, &record);
        }
        pthread_rwlock_unlock(&index->lock);
        return result;
}

bool index_remove_pack(struct index *index, const uint8_t pack[INDEX_PACK_ID]) {
        uint32_t number;
        pthread_rwlock_wrlock(&index->lock);
        bool there = index_packs_find(&index->packs, pack, &number);
        if (there)
                index_packs_remove(&index->packs, number);
        pthread_rwlock_unlock(&index->lock);
        return there;
}

bool index_has_pack(struct index *index, const uint8_t pack[INDEX_PACK_ID]) {
        uint32_t number;
        pthread_rwlock_rdlock(&index->lock);
        bool there = index_packs_find(&index->packs, pack, &number);
        pthread_rwlock_unlock(&index->lock);
        return there;
}

void index_each_pack(struct index *index,
                     void (*on_pack)(void *context, const uint8_t pack[INDEX_PACK_ID], uint32_t entries),
                     void *context) {
        for (uint32_t i = 0; i < index->packs.n; i++)
                if (index_packs_counts(&index->packs, i))
                        on_pack(context, index->packs.packs[i].id, index->packs.packs[i].entries);
}

// ---- looking
static int find(struct index *index, const struct chunk_name *name, bool *ret_found, struct segment_record *ret,
                unsigned *pages, struct error *err) {
        const struct segment_record *held = index_table_find(&index->table, name, index_wanted, index);
        *ret_found = held != NULL;
        if (held)
                *ret = *held;
        if (index->failed)
                return error_set(err, ERROR_STALE, "index: a segment could not be opened: open it anew");
        for (uint32_t i = index->n_segments; !*ret_found && i > 0; i--)
                if (segment_find(index->segments[i - 1], name, index_wanted, index, ret, ret_found, pages, err) < 0)
                        return -1;
        return 0;
}

int index_find(struct index *index, const struct chunk_name *name, bool *ret_found, struct index_place *ret,
               struct error *err) {
        struct segment_record record;
        unsigned pages = 0;
        bool found = false;
        pthread_rwlock_rdlock(&index->lock);
        int result = find(index, name, &found, &record, &pages, err);
        if (result == 0 && found) {
                *ret = (struct index_place){.offset = record.offset, .place = record.place};
                memcpy(ret->pack, index->packs.packs[record.pack].id, sizeof ret->pack);
        }
        pthread_rwlock_unlock(&index->lock);
        atomic_fetch_add(&index->lookups, 1);
        atomic_fetch_add(&index->pages, pages);
        atomic_fetch_add(&index->pages_for_nothing, found && pages > 0 ? pages - 1 : pages);
        if (result == 0)
                *ret_found = found;
        return result;
}

struct index_counts index_count(struct index *index) {
        struct index_counts counts = {
                .lookups = index->lookups, .pages = index->pages, .pages_for_nothing = index->pages_for_nothing};
        pthread_rwlock_rdlock(&index->lock);
        for (uint32_t i = 0; i < index->n_segments; i++) {
                counts.records += segment_head(index->segments[i])->records;
                counts.bytes += segment_bytes(index->segments[i]);
        }
        counts.gone = index->packs.gone;
        counts.packs = index->packs.live;
        counts.segments = index->n_segments;
        counts.table = index->table.n;
        counts.bytes += index_table_bytes(&index->table) + index->packs.capacity * sizeof *index->packs.packs +
                        index->packs.n_slots * sizeof *index->packs.slots;
        pthread_rwlock_unlock(&index->lock);
        return counts;
}
