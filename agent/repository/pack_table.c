// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What is in a pack (see pack.h): by its trailer, which is believed when its hash holds and its groups follow one
 * another from the head to where it begins; or by the groups themselves, as far as they go (faults 22 and 58).
 */
#include "agent/repository/bytes.h"
#include "agent/repository/pack_parts.h"
#include "common/cleanup.h"
#include "common/memory.h"
#include <inttypes.h>
#include <openssl/evp.h>

// Room that was asked for by what a file says; never more than a small multiple of its length.
struct table {
        struct pack_group *groups;
        struct group_entry *entries;
        uint32_t n_groups, n_entries, room_groups, room_entries;
};

static void table_fini(struct table *table) {
        free(table->groups);
        free(table->entries);
}

static void note(struct table *table, uint64_t offset, const struct group_header *header) {
        if (table->n_groups == table->room_groups) {
                table->room_groups = table->room_groups ? 2 * table->room_groups : 64;
                table->groups = memory_grow(table->groups, table->room_groups, sizeof *table->groups);
        }
        if (table->n_entries + header->chunks > table->room_entries) {
                table->room_entries = table->room_entries ? 2 * table->room_entries : 16 * GROUP_CHUNKS_MAX;
                table->entries = memory_grow(table->entries, table->room_entries, sizeof *table->entries);
        }
        table->groups[table->n_groups++] = (struct pack_group){.offset = (uint32_t) offset,
                                                               .stored = header->stored,
                                                               .first = table->n_entries,
                                                               .coding = header->coding,
                                                               .flags = header->flags,
                                                               .chunks = header->chunks};
        memcpy(table->entries + table->n_entries, header->entries, header->chunks * sizeof *header->entries);
        table->n_entries += header->chunks;
}

static void take(struct pack *pack, struct table *table, uint64_t groups_end) {
        pack->groups = steal(&table->groups);
        pack->entries = steal(&table->entries);
        pack->n_groups = table->n_groups;
        pack->n_entries = table->n_entries;
        pack->groups_end = groups_end;
}

// ---- by the trailer
// One group of a trailer in the form of a group's header, so that the same bounds hold for it.
static int parse_group(const uint8_t *bytes, size_t left, struct group_header *ret, uint64_t *ret_offset, size_t *ret_n,
                       struct error *err) {
        uint8_t header[GROUP_HEADER_MAX] = {'G', 'R', 'P', '1'};
        if (left < PACK_TRAILER_GROUP)
                return error_set(err, ERROR_CORRUPT, "%zu bytes are left, expected %u", left, PACK_TRAILER_GROUP);
        size_t table = left - PACK_TRAILER_GROUP;
        if (table > GROUP_HEADER_MAX - GROUP_HEAD)
                table = GROUP_HEADER_MAX - GROUP_HEAD;
        memcpy(header + 4, bytes + 12, 4);
        memcpy(header + 8, bytes + 8, 4);
        memcpy(header + GROUP_HEAD, bytes + PACK_TRAILER_GROUP, table);
        if (group_read_header(header, GROUP_HEAD + table, ret, err) < 0)
                return -1;
        *ret_offset = bytes_get64(bytes);
        *ret_n = PACK_TRAILER_GROUP + (size_t) ret->chunks * GROUP_ENTRY;
        return 0;
}

static int parse_trailer(const uint8_t *bytes, size_t length, uint64_t begin, struct table *table, struct error *err) {
        uint32_t groups = bytes_get32(bytes + 4);
        uint64_t next = PACK_HEAD;
        size_t at = PACK_TRAILER_HEAD, end = length - PACK_TRAILER_TAIL, n = 0;
        for (uint32_t i = 0; i < groups; i++, at += n) {
                struct group_header header;
                uint64_t offset = 0;
                if (parse_group(bytes + at, end - at, &header, &offset, &n, err) < 0)
                        return error_prefix(err, "group %u", i);
                if (offset != next)
                        return error_set(err, ERROR_CORRUPT, "group %u: begins at %" PRIu64 ", expected %" PRIu64, i,
                                         offset, next);
                next += group_bytes(&header);
                if (next > begin)
                        return error_set(err, ERROR_CORRUPT, "group %u: ends at %" PRIu64 ", behind the last, %" PRIu64,
                                         i, next, begin);
                note(table, offset, &header);
        }
        if (at != end)
                return error_set(err, ERROR_CORRUPT, "%zu bytes are left behind the last group", end - at);
        if (next != begin)
                return error_set(err, ERROR_CORRUPT, "begins at %" PRIu64 ", expected %" PRIu64, begin, next);
        return 0;
}

static int check_trailer(const uint8_t *bytes, size_t length, struct error *err) {
        uint8_t hash[32];
        const uint8_t *tail = bytes + length - PACK_TRAILER_TAIL;
        if (memcmp(bytes, (const uint8_t[]) PACK_TRAILER_MAGIC, 4) != 0)
                return error_set(err, ERROR_CORRUPT, "begins with %02x%02x%02x%02x, expected TRL1", bytes[0], bytes[1],
                                 bytes[2], bytes[3]);
        if (EVP_Digest(bytes, length - PACK_TRAILER_TAIL, hash, NULL, EVP_sha256(), NULL) != 1)
                return error_set(err, ERROR_NO_MEMORY, "no memory to hash with");
        if (memcmp(hash, tail, sizeof hash) == 0)
                return 0;
        return error_set(err, ERROR_CORRUPT, "its SHA-256 is %02x%02x..., expected %02x%02x...", hash[0], hash[1],
                         tail[0], tail[1]);
}

static int read_trailer(struct pack *pack, uint64_t *ret_at, struct error *err) {
        uint8_t end[12];
        _cleanup_(table_fini) struct table table = {0};
        if (pack->bytes < PACK_HEAD + PACK_TRAILER_MIN)
                return error_set(err, ERROR_CORRUPT, "has %" PRIu64 " bytes, expected %u or more", pack->bytes,
                                 PACK_HEAD + PACK_TRAILER_MIN);
        if (pack_read_at(pack, end, sizeof end, pack->bytes - sizeof end, err) < 0)
                return -1;
        *ret_at = pack->bytes - 8;
        if (memcmp(end + 4, (const uint8_t[]) PACK_END, 8) != 0)
                return error_set(err, ERROR_CORRUPT, "ends with %02x%02x%02x%02x..., expected DROVREND", end[4], end[5],
                                 end[6], end[7]);
        uint32_t length = bytes_get32(end);
        *ret_at = pack->bytes - sizeof end;
        if (length < PACK_TRAILER_MIN || length > pack->bytes - PACK_HEAD)
                return error_set(err, ERROR_CORRUPT, "has %u bytes, expected %u to %" PRIu64, length, PACK_TRAILER_MIN,
                                 pack->bytes - PACK_HEAD);
        *ret_at = pack->bytes - length;
        _cleanup_(free_p) void *bytes = NULL;
        if (memory_try(length, &bytes, err) < 0 || pack_read_at(pack, bytes, length, *ret_at, err) < 0 ||
            check_trailer(bytes, length, err) < 0 || parse_trailer(bytes, length, *ret_at, &table, err) < 0)
                return -1;
        take(pack, &table, *ret_at);
        pack->has_trailer = true;
        return 0;
}

// ---- by the groups
static struct error *copy_of(const struct error *why) {
        struct error *copy = new (struct error);
        *copy = *why;
        return copy;
}

// Where the next one may begin. A group whose check does not hold, or whose body cannot be read, is passed over. Fails
// where none begins, or none that can be read.
static int scan_group(struct pack *pack, struct group_coder *coder, uint64_t at, struct table *table,
                      uint64_t *ret_next, struct error *err) {
        struct group_header header;
        struct error why = ERROR_INIT;
        uint8_t *bytes = group_coder_bytes(coder);
        if (pack_read_header(pack, bytes, at, &header, err) < 0)
                return -1;
        uint8_t *body = bytes + group_header_bytes(&header);
        if (pack_read_at(pack, body, header.stored, at + group_header_bytes(&header), &why) < 0)
                pack->unread |= why.code == ERROR_IO;
        else if (group_check(coder, &header, body) == header.check)
                note(table, at, &header);
        *ret_next = at + group_bytes(&header);
        return 0;
}

static void scan(struct pack *pack, struct group_coder *coder) {
        _cleanup_(table_fini) struct table table = {0};
        struct error why = ERROR_INIT;
        uint64_t at = PACK_HEAD;
        while (at < pack->bytes && scan_group(pack, coder, at, &table, &at, &why) == 0)
                ;
        if (why.code == ERROR_IO) {
                pack->unread = true;
                pack->rest = copy_of(&why);
        }
        take(pack, &table, at);
}

// ---- both
static int check_head(struct pack *pack, struct error *err) {
        uint8_t head[PACK_HEAD];
        if (pack->bytes < sizeof head)
                return error_set(err, ERROR_CORRUPT, "has %" PRIu64 " bytes, expected %u or more", pack->bytes,
                                 PACK_HEAD + PACK_TRAILER_MIN);
        if (pack_read_at(pack, head, sizeof head, 0, err) < 0)
                return -1;
        if (memcmp(head, (const uint8_t[]) PACK_MAGIC, 8) != 0)
                return error_set(err, ERROR_CORRUPT, "begins with %02x%02x%02x%02x..., expected DROVRPK1", head[0],
                                 head[1], head[2], head[3]);
        if (memcmp(head + 8, pack->id.bytes, PACK_ID) == 0)
                return 0;
        char hex[PACK_ID_HEX];
        struct pack_id other;
        memcpy(other.bytes, head + 8, PACK_ID);
        pack_id_to_hex(&other, hex);
        return error_set(err, ERROR_CORRUPT, "says that it is pack %s", hex);
}

// Damage is kept, and what could not be read, which pack_read_at() has said where; any other failure is one.
static int keep(struct pack *pack, const struct error *why, struct error **where, const char *part, uint64_t at,
                struct error *err) {
        if (why->code != ERROR_CORRUPT && why->code != ERROR_IO) {
                if (err)
                        *err = *why;
                return -1;
        }
        *where = copy_of(why);
        if (why->code == ERROR_IO)
                pack->unread = true;
        else
                error_prefix(*where, "pack %s: %s at %" PRIu64, pack->hex, part, at);
        return 0;
}

int pack_load(struct pack *pack, struct group_coder *coder, struct error *err) {
        struct error why = ERROR_INIT;
        uint64_t at = 0;
        if (pack->loaded)
                return 0;
        if (!pack->head && check_head(pack, &why) < 0 && keep(pack, &why, &pack->head, "head", 0, err) < 0)
                return -1;
        error_clear(&why);
        if (!pack->trailer && read_trailer(pack, &at, &why) < 0 &&
            keep(pack, &why, &pack->trailer, "trailer", at, err) < 0)
                return -1;
        if (!pack->has_trailer)
                scan(pack, coder);
        pack->loaded = true;
        return 0;
}

const struct error *pack_damage(const struct pack *pack) {
        return pack->head ? pack->head : pack->trailer;
}

bool pack_unread(const struct pack *pack) {
        return pack->unread;
}

bool pack_has_trailer(const struct pack *pack) {
        return pack->has_trailer;
}

unsigned pack_groups(const struct pack *pack) {
        return pack->n_groups;
}

bool pack_next(const struct pack *pack, struct pack_walk *walk, struct pack_entry *ret) {
        if (walk->group >= pack->n_groups)
                return false;
        const struct pack_group *group = &pack->groups[walk->group];
        const struct group_entry *entry = &pack->entries[group->first + walk->place];
        *ret = (struct pack_entry){
                .name = entry->name, .length = entry->length, .offset = group->offset, .place = walk->place};
        if (++walk->place == group->chunks)
                *walk = (struct pack_walk){.group = walk->group + 1};
        return true;
}
