// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * A pack: groups in one file, packs/3f/3f6a...e1.pack (docs/repository.md, "Packs"). Written once, from its beginning
 * to its end, and counted only when it was synced and renamed; read as what a stranger gives. Damage is ERROR_CORRUPT
 * and says which pack, where, and what was expected; a read that fails is ERROR_IO and says nothing about the pack
 * (fault 67). A writer belongs to one thread. A pack that was loaded is not changed by reading, which several threads
 * may do, each with a coder of its own.
 */
#include "agent/repository/group.h"

#define PACK_ID          16
#define PACK_ID_HEX      33            // with its NUL
#define PACK_HEAD        24u           // where the first group begins
#define PACK_FULL        (32ull << 20) // a writer has enough
#define PACK_FULL_CHUNKS (1u << 16)    // so has one of so many chunks, which an index has to know at once
#define PACK_MAX         (64ull << 20) // no pack is longer

struct pack_id {
        uint8_t bytes[PACK_ID];
};
void pack_id_to_hex(const struct pack_id *id, char ret_hex[PACK_ID_HEX]);
bool pack_id_from_hex(const char *text, struct pack_id *ret); // 32 lower-case hex digits and nothing behind them
// The id in the name of a file, "<id>.pack". false: it is another file.
bool pack_id_from_file(const char *name, struct pack_id *ret);

// ---- writing
struct pack_writer;
// Both directories stay open as long as the writer is there; they lie in one file system.
int pack_writer_new(int incoming, int packs, struct pack_writer **ret, struct error *err);
// What was not closed is removed. NULL is fine. What a crash leaves in incoming/ its owner removes when it starts.
void pack_writer_free(struct pack_writer *writer);
const struct pack_id *pack_writer_id(const struct pack_writer *writer); // random
// One group as group_encode() gives it, for this pack's id if it is sealed. *ret_offset: where it begins. After a
// failure nothing can be added any more (fault 19).
int pack_writer_add(struct pack_writer *writer, const uint8_t *bytes, size_t length, uint32_t *ret_offset,
                    struct error *err);
uint64_t pack_writer_size(const struct pack_writer *writer); // of the file, if it were closed now
bool pack_writer_full(const struct pack_writer *writer);     // PACK_FULL or PACK_FULL_CHUNKS is reached: close it
// Writes the trailer, syncs, renames and syncs the directories. 0: it counts, and will be there after a crash. Failure:
// nothing of it counts, even if the same could be tried again (fault 23). A pack without a group is refused.
int pack_writer_close(struct pack_writer *writer, struct error *err);

// ---- reading
struct pack;
// ERROR_NOT_FOUND: there is none. The file's head is not looked at yet.
int pack_open(int packs, const struct pack_id *id, struct pack **ret, struct error *err);
// The same of a file that is open, and is the pack's from now on, whatever comes of it.
int pack_open_fd(int fd, const struct pack_id *id, struct pack **ret, struct error *err);
void pack_close(struct pack *pack); // NULL is fine
const struct pack_id *pack_id_of(const struct pack *pack);
uint64_t pack_bytes(const struct pack *pack); // when it was opened

// Reads what is in it: from the trailer or, when that does not hold, from the groups as far as they go, of which only
// those count whose check holds. Damage is no failure, nor is what cannot be read: pack_damage() and pack_unread() tell
// of it, and the rest is there.
int pack_load(struct pack *pack, struct group_coder *coder, struct error *err);
// What is wrong with the head or the trailer of a pack that was loaded; NULL: nothing. ERROR_IO: it could not be read,
// which is not called damage.
const struct error *pack_damage(const struct pack *pack);
// Something could not be read where it was looked for what is in the pack, which may pass: nothing follows from a group
// that is not known, and whoever remembers what is in it opens it again later (fault 67).
bool pack_unread(const struct pack *pack);
bool pack_has_trailer(const struct pack *pack); // it holds, so that every group is known

struct pack_entry {
        struct chunk_name name;
        uint32_t length;
        uint32_t offset; // of its group
        uint8_t place;   // in the group
};
unsigned pack_groups(const struct pack *pack);
// Which chunks are in it, in the order they came: for (struct pack_walk walk = {0}; pack_next(pack, &walk, &entry);)
struct pack_walk {
        uint32_t group;
        uint8_t place;
};
bool pack_next(const struct pack *pack, struct pack_walk *walk, struct pack_entry *ret);

// The bytes of the group that begins here, as they are stored; into the coder's, good until its next call. Its length
// is what the trailer or its own header says; nothing else was looked at.
int pack_read_bytes(const struct pack *pack, struct group_coder *coder, uint32_t offset, size_t *ret_length,
                    struct error *err);
// The same, decoded (group_decode). Names are not looked at.
int pack_read_group(const struct pack *pack, struct group_coder *coder, uint32_t offset, const struct group_seal *seal,
                    struct group *ret, struct error *err);
// What can be had of a group that pack_read_group() found corrupt, by what the trailer says of it if the pack was
// loaded and has one, and by the group's own header otherwise. Every chunk that is not bad is what its name says.
// unverified: names are under a key that is not here. All of it is given if its check holds for what the trailer says,
// and ERROR_DENIED if not: then nobody without the key can say more.
int pack_salvage_group(const struct pack *pack, struct group_coder *coder, uint32_t offset, const struct chunk_key *key,
                       bool unverified, const struct group_seal *seal, struct group *ret, struct error *err);
// The bytes of a group that was found corrupt, for somebody who has its key and looks at the seal and the names: with
// the header that the trailer says and a check that fits. ERROR_CORRUPT: there is no trailer that was loaded and holds.
int pack_mend_bytes(const struct pack *pack, struct group_coder *coder, uint32_t offset, size_t *ret_length,
                    struct error *err);

// ---- checking
enum pack_part {
        PACK_PART_HEAD,    // magic or id; nothing is lost
        PACK_PART_TRAILER, // nothing is lost that pack_next() gives
        PACK_PART_GROUP,   // the header, the table or the check of a group; what is lost follows as chunks
        PACK_PART_CHUNK,   // this chunk cannot be had from here
};
struct pack_finding {
        enum pack_part part;
        uint64_t offset;         // of the part, of the group for a chunk
        struct pack_entry entry; // of a chunk
        // ERROR_CORRUPT: it is damaged. ERROR_DENIED: so is the group that it is in, which is sealed or has its names
        // under a key, so that nobody without that can say more. ERROR_IO: it could not be read, which may pass.
        const struct error *why;
};
struct pack_check {
        const struct chunk_key *key;   // of names; NULL: the repository is not sealed, or there is no key
        bool unverified;               // there is none of a sealed repository: by check sums only
        const struct group_seal *seal; // NULL: of a sealed group only its check is looked at
        void *context;
        // Before `bytes` are read: waits, to keep a rate, or fails to end the check. NULL: go on.
        int (*before)(void *context, uint64_t bytes, struct error *err);
        // NULL: nobody wants to know.
        void (*found)(void *context, const struct pack_finding *finding);
};
struct pack_checked {
        uint64_t bytes;
        uint64_t chunks;   // that were looked at, of which
        uint64_t damaged;  // cannot be had
        uint64_t unread;   // could not be read
        uint64_t unopened; // are sealed, or named under a key that is not here: their names were not looked at
        uint64_t findings; // of all parts
};
// Reads all of a pack that was loaded, and goes on behind whatever is damaged. Fails when `before` does.
int pack_check(const struct pack *pack, struct group_coder *coder, const struct pack_check *check,
               struct pack_checked *ret, struct error *err);
