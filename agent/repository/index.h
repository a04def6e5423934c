// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * Where a chunk lies: in which pack, at which offset, which one of its group. New names are held in a table in memory
 * until they are flushed as a segment (segment.h); segments of a size are merged into a larger one. Ten TiB of chunks
 * are 168 million names and take 256 MiB; most of what is not there is known without a read, what is there takes the
 * read of one page, seldom two.
 *
 * The index is made of the packs and never of anything else. So it is never waited for:
 *   - a pack is told with index_add() as soon as it is durable itself. What was not flushed when the process ended is
 *     forgotten, whole packs at a time: when the owner starts, it adds each pack that index_has_pack() does not know,
 *     and removes those that index_each_pack() gives and that are gone.
 *   - ERROR_CORRUPT, from any function: free it, index_clear(), open it again, and add every pack. ERROR_STALE: free
 *     it, open it again, and add what it does not know. Any other error of index_find() says nothing about the index,
 *     and nothing about the chunk.
 *   - ERROR_IO that is still there after it was freed and opened again is treated as ERROR_CORRUPT is: what cannot be
 *     read is not waited for either.
 *   - a pack is removed from the index and flushed before its file is unlinked.
 *
 * What callers must verify. Check sums find accidents and not a stranger who can write the directory. Before content
 * is handed out, or a chunk that was found is taken as stored for good, the reader of the pack compares the name in
 * the group's table at `place`, and the content with it. A wrong index may then cost a store or an error, never a wrong
 * content.
 *
 * Threads: index_find(), index_has_pack() and index_count() at any time on any; all others on one at a time (the
 * writer's), also with those. They are held up while memory changes, at most as long as a filter takes to be loaded.
 */
#include "agent/repository/chunk.h"

#define INDEX_PACK_ID      16
#define INDEX_PACK_ENTRIES (1u << 21) // of one pack: more do not fit in the longest
#define INDEX_TABLE        (1u << 17) // names in memory before they are flushed

struct index_entry {
        struct chunk_name name;
        uint32_t offset; // of the group in the pack
        uint8_t place;   // in the group
};
struct index_place {
        uint8_t pack[INDEX_PACK_ID];
        uint32_t offset;
        uint8_t place;
};
struct index_counts {
        uint64_t records, gone;     // in segments, and how many of these at most belong to packs that were removed
        uint32_t packs, segments;   //
        uint32_t table;             // names that are not flushed
        uint64_t bytes;             // in memory
        uint64_t lookups, pages;    // since it was opened: how often it was asked, and read a page to answer
        uint64_t pages_for_nothing; // without a record that counts
};

struct index;
// directory_fd: of index/, used until the index is freed. An empty directory, or one without a manifest, is an index
// that knows nothing. table: names in memory before they are flushed, 0 for INDEX_TABLE.
int index_open(int directory_fd, const uint8_t repository[16], uint32_t table, struct index **ret, struct error *err);
void index_free(struct index *index); // what was not flushed is forgotten; NULL is fine
// Whatever has the name of a file of the index goes, a directory with all that is in it.
int index_clear(int directory_fd, struct error *err);

// All that is in a pack, once; of a pack that it has, nothing happens. Flushes before when the table is full, and on
// that failing adds nothing.
int index_add(struct index *index, const uint8_t pack[INDEX_PACK_ID], const struct index_entry *entries, uint32_t n,
              struct error *err);
// None of its entries is given any more. false: it has no such pack.
bool index_remove_pack(struct index *index, const uint8_t pack[INDEX_PACK_ID]);
// What was added and removed is on disk. After a failure it may be called again, unless that gave ERROR_STALE: open
// anew.
int index_flush(struct index *index, struct error *err);
// Merge by about so many records. *ret_more: there is more to do.
int index_merge_step(struct index *index, uint64_t records, bool *ret_more, struct error *err);

int index_find(struct index *index, const struct chunk_name *name, bool *ret_found, struct index_place *ret,
               struct error *err);
bool index_has_pack(struct index *index, const uint8_t pack[INDEX_PACK_ID]);
struct index_counts index_count(struct index *index);
// Every pack that it has. The callback must not change the index.
void index_each_pack(struct index *index,
                     void (*on_pack)(void *context, const uint8_t pack[INDEX_PACK_ID], uint32_t entries),
                     void *context);
