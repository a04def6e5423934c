// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * A group: up to sixteen chunks that are compressed together, as bytes (docs/repository.md, "Packs"). What is decoded
 * comes from a stranger: lengths are within bounds before anything is read by them, one frame of zstd gives what the
 * table says and not a byte more (fault 55), and only a chunk's name says that its content is right. Pure; a coder
 * belongs to one thread at a time.
 */
#include "agent/repository/chunk.h"

#define GROUP_CHUNKS_MAX  16u
#define GROUP_CONTENT_MAX (GROUP_CHUNKS_MAX * CHUNK_BYTES)
#define GROUP_STORED_MAX  (GROUP_CONTENT_MAX + (64u << 10))
#define GROUP_HEAD        16u // before the table
#define GROUP_ENTRY       36u // of the table
#define GROUP_HEADER_MAX  (GROUP_HEAD + GROUP_CHUNKS_MAX * GROUP_ENTRY)
#define GROUP_BYTES_MAX   (GROUP_HEADER_MAX + GROUP_STORED_MAX)
#define GROUP_LEVEL_MAX   15u
#define GROUP_SEAL_MORE   28u // by how much sealing makes a body longer

enum group_coding { GROUP_PLAIN, GROUP_ZSTD };
#define GROUP_SEALED 1u // a flag

struct group_entry {
        struct chunk_name name;
        uint32_t length;
};
struct group_header {
        uint8_t coding, flags;
        uint16_t chunks;  // 1 to GROUP_CHUNKS_MAX
        uint32_t stored;  // bytes of the body
        uint32_t check;   // as it was read; not looked at where a header is made
        uint32_t content; // sum of the lengths
        struct group_entry entries[GROUP_CHUNKS_MAX];
};

// How the bodies of a pack are sealed, by whoever has its key. `more` is the additional data. Both give exactly
// GROUP_SEAL_MORE bytes more, or less, than they take; decrypt fails with ERROR_CORRUPT when the key or the bytes are
// not the right ones.
struct group_seal {
        int (*encrypt)(const struct group_seal *seal, const uint8_t *more, size_t n_more, const uint8_t *content,
                       size_t length, uint8_t *ret_sealed, struct error *err);
        int (*decrypt)(const struct group_seal *seal, const uint8_t *more, size_t n_more, const uint8_t *sealed,
                       size_t length, uint8_t *ret_content, struct error *err);
};

// What a thread codes and decodes with: up to 4 MiB, and zstd's own.
struct group_coder;
struct group_coder *group_coder_new(void);
void group_coder_free(struct group_coder *coder); // NULL is fine; what was decoded is wiped when it had been sealed
uint8_t *group_coder_bytes(struct group_coder *coder); // GROUP_BYTES_MAX, to read a group into before it is decoded

struct group_chunk {
        struct chunk_name name;
        const void *content;
        uint32_t length; // 1 to CHUNK_BYTES
};
// level 0: as they are. The result is the coder's until its next call. Chunks of zeros are our own bug, as is a number
// or length that is out of bounds.
int group_encode(struct group_coder *coder, const struct group_chunk *chunks, unsigned n, unsigned level,
                 const struct group_seal *seal, const uint8_t **ret_bytes, size_t *ret_n, struct error *err);

// The header that these bytes begin with, of which there are `length`; all of GROUP_HEADER_MAX may be given.
// ERROR_CORRUPT says what is wrong with it. Its check is not looked at.
int group_read_header(const uint8_t *bytes, size_t length, struct group_header *ret, struct error *err);
size_t group_header_write(const struct group_header *header, uint8_t ret[GROUP_HEADER_MAX]); // how long it is
static inline size_t group_header_bytes(const struct group_header *header) {
        return GROUP_HEAD + (size_t) header->chunks * GROUP_ENTRY;
}
static inline size_t group_bytes(const struct group_header *header) { // with its body
        return group_header_bytes(header) + header->stored;
}
// The same group, whatever their checks.
bool group_header_equal(const struct group_header *a, const struct group_header *b);
// What the check of this header and body is to be.
uint32_t group_check(struct group_coder *coder, const struct group_header *header, const uint8_t *body);

struct group {
        struct group_header header;
        const uint8_t *content; // the coder's until its next call
        uint16_t bad;           // bit i: chunk i was not decoded, or is not what its name says
};
// A whole group of exactly `length` bytes. ERROR_CORRUPT: its check, its seal or its coding does not hold.
// ERROR_DENIED: it is sealed and there is no seal to open it with. Names are not looked at.
int group_decode(struct group_coder *coder, const uint8_t *bytes, size_t length, const struct group_seal *seal,
                 struct group *ret, struct error *err);
// What can be had of a body that does not fit its check, by a header that is known from elsewhere or believed: chunks
// whose content is not what their name says are bad, whatever came of the others. Fails as group_decode does when none
// is good.
int group_salvage(struct group_coder *coder, const struct group_header *header, const uint8_t *body,
                  const struct chunk_key *key, const struct group_seal *seal, struct group *ret, struct error *err);
// Looks at each name, and sets `bad`. 0: each is right.
uint16_t group_verify(struct group *group, const struct chunk_key *key);
// Content of chunk i; NULL: it is bad.
const uint8_t *group_chunk_at(const struct group *group, unsigned i, uint32_t *ret_length);
