// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/* What the files of the module pack share: the parts of a pack's file, and what is known of one that was opened. */
#include "agent/repository/pack.h"

#define PACK_MAGIC                                                                                                     \
        { 'D', 'R', 'O', 'V', 'R', 'P', 'K', '1' }
#define PACK_END                                                                                                       \
        { 'D', 'R', 'O', 'V', 'R', 'E', 'N', 'D' }
#define PACK_TRAILER_MAGIC                                                                                             \
        { 'T', 'R', 'L', '1' }
#define PACK_FILE          (PACK_ID_HEX + 5)
#define PACK_TRAILER_HEAD  8u  // magic, groups
#define PACK_TRAILER_GROUP 16u // of a group, before its table
#define PACK_TRAILER_TAIL  44u // SHA-256, length, the end
#define PACK_TRAILER_MIN   (PACK_TRAILER_HEAD + PACK_TRAILER_GROUP + GROUP_ENTRY + PACK_TRAILER_TAIL)

struct pack_group {
        uint32_t offset;
        uint32_t stored;
        uint32_t first; // of its entries
        uint8_t coding, flags;
        uint16_t chunks;
};
struct pack {
        int fd;
        struct pack_id id;
        char hex[PACK_ID_HEX];
        uint64_t bytes;
        // Since it was loaded:
        struct pack_group *groups; // by offset
        struct group_entry *entries;
        uint32_t n_groups, n_entries;
        bool loaded, has_trailer, unread;
        struct error *head, *trailer; // what is wrong with them; NULL: nothing
        struct error *rest;           // why groups could not be looked for behind groups_end; NULL: they could
        uint64_t groups_end;          // where the trailer begins, or where the groups that could be found end
};

// Exactly so many bytes. ERROR_IO: they cannot be read. ERROR_CORRUPT: the file ends before.
int pack_read_at(const struct pack *pack, uint8_t *bytes, size_t length, uint64_t offset, struct error *err);
// Of the group that begins there, by its own bytes; those of the header stand in `bytes` then, GROUP_BYTES_MAX.
int pack_read_header(const struct pack *pack, uint8_t *bytes, uint64_t offset, struct group_header *ret,
                     struct error *err);
// From the table; its check is 0. What it says is within bounds.
void pack_header_of(const struct pack *pack, const struct pack_group *group, struct group_header *ret);
// The group that begins there; NULL: none that is known.
const struct pack_group *pack_group_at(const struct pack *pack, uint64_t offset);
