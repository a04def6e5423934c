// SPDX-License-Identifier: LGPL-2.1-or-later
/* Opening a pack and reading its groups (see pack.h). */
#include "agent/repository/bytes.h"
#include "agent/repository/pack_parts.h"
#include "common/cleanup.h"
#include "common/memory.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>

// ---- ids
void pack_id_to_hex(const struct pack_id *id, char ret_hex[PACK_ID_HEX]) {
        for (size_t i = 0; i < PACK_ID; i++)
                snprintf(ret_hex + 2 * i, 3, "%02x", id->bytes[i]);
}

static bool id_from(const char *text, size_t length, struct pack_id *ret) {
        static const char digits[] = "0123456789abcdef";
        struct pack_id id = {0};
        if (length != PACK_ID_HEX - 1 || strspn(text, digits) < length)
                return false;
        for (size_t i = 0; i < length; i++)
                id.bytes[i / 2] = (uint8_t) (id.bytes[i / 2] << 4 | (strchr(digits, text[i]) - digits));
        *ret = id;
        return true;
}

bool pack_id_from_hex(const char *text, struct pack_id *ret) {
        return id_from(text, strlen(text), ret);
}

bool pack_id_from_file(const char *name, struct pack_id *ret) {
        size_t length = strlen(name), end = strlen(".pack");
        return length > end && strcmp(name + length - end, ".pack") == 0 && id_from(name, length - end, ret);
}

// ---- opening
static int look_at_file(struct pack *pack, struct error *err) {
        struct stat status;
        if (fstat(pack->fd, &status) < 0)
                return error_errno(err, errno, "look at it");
        if (!S_ISREG(status.st_mode))
                return error_set(err, ERROR_CORRUPT, "not a regular file");
        if (status.st_size > (off_t) PACK_MAX)
                return error_set(err, ERROR_CORRUPT, "has %" PRIu64 " bytes, expected at most %llu",
                                 (uint64_t) status.st_size, PACK_MAX);
        pack->bytes = (uint64_t) status.st_size;
        return 0;
}

int pack_open_fd(int fd, const struct pack_id *id, struct pack **ret, struct error *err) {
        struct pack *pack = new (struct pack);
        *pack = (struct pack){.fd = fd, .id = *id};
        pack_id_to_hex(id, pack->hex);
        if (look_at_file(pack, err) < 0) {
                error_prefix(err, "pack %s", pack->hex);
                pack_close(pack);
                return -1;
        }
        *ret = pack;
        return 0;
}

// O_NONBLOCK: a FIFO in the place of a pack is refused, not waited for.
static int open_file(int packs, const char *hex, struct error *err) {
        char directory[3] = {hex[0], hex[1]}, name[PACK_FILE];
        snprintf(name, sizeof name, "%s.pack", hex);
        _cleanup_(close_p) int fd = openat(packs, directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        int file = fd < 0 ? -1 : openat(fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (file >= 0)
                return file;
        if (errno == ELOOP || (fd < 0 && errno == ENOTDIR))
                return error_set(err, ERROR_CORRUPT, "packs/%s/%s: has a link or a file in its way", directory, name);
        return error_errno(err, errno, "open packs/%s/%s", directory, name);
}

int pack_open(int packs, const struct pack_id *id, struct pack **ret, struct error *err) {
        char hex[PACK_ID_HEX];
        pack_id_to_hex(id, hex);
        int fd = open_file(packs, hex, err);
        if (fd < 0)
                return error_prefix(err, "pack %s", hex);
        return pack_open_fd(fd, id, ret, err);
}

void pack_close(struct pack *pack) {
        if (!pack)
                return;
        close_p(&pack->fd);
        free(pack->groups);
        free(pack->entries);
        free(pack->head);
        free(pack->trailer);
        free(pack->rest);
        free(pack);
}

const struct pack_id *pack_id_of(const struct pack *pack) {
        return &pack->id;
}

uint64_t pack_bytes(const struct pack *pack) {
        return pack->bytes;
}

// ---- groups
// Always ERROR_IO: that the file may not be read is no word about its content, and ERROR_DENIED is one about a key.
static int unread(const struct pack *pack, uint64_t at, int why, struct error *err) {
        error_errno(err, why, "pack %s: read at %" PRIu64, pack->hex, at);
        if (err)
                err->code = ERROR_IO;
        return -1;
}

int pack_read_at(const struct pack *pack, uint8_t *bytes, size_t length, uint64_t offset, struct error *err) {
        uint64_t at = offset, end = offset + length;
        while (at < end) {
                ssize_t n = pread(pack->fd, bytes + (at - offset), end - at, (off_t) at);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return unread(pack, at, errno, err);
                if (n == 0)
                        return error_set(err, ERROR_CORRUPT,
                                         "pack %s: ends at %" PRIu64 ", expected %" PRIu64 " or more", pack->hex, at,
                                         end);
                at += (uint64_t) n;
        }
        return 0;
}

void pack_header_of(const struct pack *pack, const struct pack_group *known, struct group_header *ret) {
        *ret = (struct group_header){
                .coding = known->coding, .flags = known->flags, .chunks = known->chunks, .stored = known->stored};
        memcpy(ret->entries, pack->entries + known->first, known->chunks * sizeof *pack->entries);
        for (unsigned i = 0; i < known->chunks; i++)
                ret->content += ret->entries[i].length;
}

const struct pack_group *pack_group_at(const struct pack *pack, uint64_t offset) {
        uint32_t low = 0, high = pack->n_groups;
        while (low < high) {
                uint32_t middle = low + (high - low) / 2;
                if (pack->groups[middle].offset < offset)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low < pack->n_groups && pack->groups[low].offset == offset ? &pack->groups[low] : NULL;
}

static int damaged(const struct pack *pack, uint64_t offset, struct error *err) {
        return error_prefix(err, "pack %s: group at %" PRIu64, pack->hex, offset);
}

// Whether a group can begin here at all.
static int check_place(const struct pack *pack, uint64_t offset, struct error *err) {
        if (pack->has_trailer && !pack_group_at(pack, offset))
                return error_set(err, ERROR_NOT_FOUND, "pack %s: no group begins at %" PRIu64, pack->hex, offset);
        if (offset < PACK_HEAD || offset >= pack->bytes)
                return error_set(err, ERROR_NOT_FOUND,
                                 "pack %s: no group begins at %" PRIu64 ", it has %" PRIu64 " bytes", pack->hex, offset,
                                 pack->bytes);
        return 0;
}

// No byte of a neighbour, which may be the one that cannot be read.
int pack_read_header(const struct pack *pack, uint8_t *bytes, uint64_t offset, struct group_header *ret,
                     struct error *err) {
        uint64_t left = pack->bytes - offset;
        size_t n = left < GROUP_HEAD ? (size_t) left : GROUP_HEAD;
        if (pack_read_at(pack, bytes, n, offset, err) < 0)
                return -1;
        if (n == GROUP_HEAD) {
                unsigned chunks = bytes_get16(bytes + 6);
                n += (chunks < GROUP_CHUNKS_MAX ? chunks : GROUP_CHUNKS_MAX) * GROUP_ENTRY;
                n = left < n ? (size_t) left : n;
                if (pack_read_at(pack, bytes + GROUP_HEAD, n - GROUP_HEAD, offset + GROUP_HEAD, err) < 0)
                        return -1;
        }
        if (group_read_header(bytes, n, ret, err) < 0)
                return damaged(pack, offset, err);
        if (group_bytes(ret) > left) {
                error_set(err, ERROR_CORRUPT, "has %zu bytes, and %" PRIu64 " are left", group_bytes(ret), left);
                return damaged(pack, offset, err);
        }
        return 0;
}

int pack_read_bytes(const struct pack *pack, struct group_coder *coder, uint32_t offset, size_t *ret_length,
                    struct error *err) {
        struct group_header header;
        uint8_t *bytes = group_coder_bytes(coder);
        if (check_place(pack, offset, err) < 0)
                return -1;
        if (pack->has_trailer)
                pack_header_of(pack, pack_group_at(pack, offset), &header);
        else if (pack_read_header(pack, bytes, offset, &header, err) < 0)
                return -1;
        if (pack_read_at(pack, bytes, group_bytes(&header), offset, err) < 0)
                return -1;
        *ret_length = group_bytes(&header);
        return 0;
}

// What a trailer that holds says of a group, and what it says itself, are the same.
static int compare(const struct pack *pack, uint64_t offset, const uint8_t *bytes, size_t length, struct error *err) {
        struct group_header known, is;
        if (!pack->has_trailer)
                return 0;
        if (group_read_header(bytes, length, &is, err) < 0)
                return -1;
        pack_header_of(pack, pack_group_at(pack, offset), &known);
        if (group_header_equal(&known, &is))
                return 0;
        return error_set(err, ERROR_CORRUPT, "its header differs from what the trailer says of it");
}

int pack_read_group(const struct pack *pack, struct group_coder *coder, uint32_t offset, const struct group_seal *seal,
                    struct group *ret, struct error *err) {
        size_t length;
        const uint8_t *bytes = group_coder_bytes(coder);
        if (pack_read_bytes(pack, coder, offset, &length, err) < 0)
                return -1;
        if (compare(pack, offset, bytes, length, err) < 0 || group_decode(coder, bytes, length, seal, ret, err) < 0)
                return damaged(pack, offset, err);
        return 0;
}

// Nobody here can tell by a name. A check does, when what is damaged is the rest of the header, which the trailer says.
static int salvage_by_check(const struct pack *pack, struct group_coder *coder, uint32_t offset,
                            struct group_header *header, const struct group_seal *seal, struct group *ret,
                            struct error *err) {
        uint8_t *bytes = group_coder_bytes(coder), head[GROUP_HEAD];
        size_t table = group_header_bytes(header);
        if (pack_read_at(pack, head, sizeof head, offset, err) < 0 ||
            pack_read_at(pack, bytes + table, header->stored, offset + table, err) < 0)
                return -1;
        header->check = bytes_get32(head + 12);
        if (group_check(coder, header, bytes + table) != header->check) {
                error_set(err, ERROR_DENIED,
                          "its names are under a key, and without it nobody can say which are right");
                return damaged(pack, offset, err);
        }
        group_header_write(header, bytes);
        if (group_decode(coder, bytes, group_bytes(header), seal, ret, err) < 0)
                return damaged(pack, offset, err);
        return 0;
}

int pack_salvage_group(const struct pack *pack, struct group_coder *coder, uint32_t offset, const struct chunk_key *key,
                       bool unverified, const struct group_seal *seal, struct group *ret, struct error *err) {
        struct group_header header;
        uint8_t *bytes = group_coder_bytes(coder);
        if (check_place(pack, offset, err) < 0)
                return -1;
        if (pack->has_trailer)
                pack_header_of(pack, pack_group_at(pack, offset), &header);
        else if (pack_read_header(pack, bytes, offset, &header, err) < 0)
                return -1;
        if (unverified)
                return salvage_by_check(pack, coder, offset, &header, seal, ret, err);
        if (pack_read_at(pack, bytes, header.stored, offset + group_header_bytes(&header), err) < 0)
                return -1;
        if (group_salvage(coder, &header, bytes, key, seal, ret, err) < 0)
                return damaged(pack, offset, err);
        return 0;
}

int pack_mend_bytes(const struct pack *pack, struct group_coder *coder, uint32_t offset, size_t *ret_length,
                    struct error *err) {
        struct group_header header;
        uint8_t *bytes = group_coder_bytes(coder);
        if (!pack->has_trailer)
                return error_set(err, ERROR_CORRUPT, "pack %s: there is no trailer to mend a group by", pack->hex);
        if (pack_read_bytes(pack, coder, offset, ret_length, err) < 0)
                return -1;
        pack_header_of(pack, pack_group_at(pack, offset), &header);
        header.check = group_check(coder, &header, bytes + group_header_bytes(&header));
        group_header_write(&header, bytes);
        return 0;
}
