// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What is read from the packs of a repository (faults 55 and 58): whatever a group or a whole pack holds, everything is
 * within its bounds, and what is given as right is what its name says.
 *
 * First byte: a pack or a group, and whether its checks and hashes are made to fit first, so that what lies behind them
 * is reached. The rest is the file.
 */
#include "agent/repository/bytes.h"
#include "agent/repository/pack.h"
#include <openssl/sha.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PACK = 1, FITTING = 2 };

static struct group_coder *coder;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void need(bool holds) {
        if (!holds)
                abort();
}

// ---- groups
static void look_at(const struct group *group) {
        size_t sum = 0;
        need(group->header.chunks >= 1 && group->header.chunks <= GROUP_CHUNKS_MAX);
        for (unsigned i = 0; i < group->header.chunks; i++) {
                uint32_t length;
                const uint8_t *content = group_chunk_at(group, i, &length);
                sum += group->header.entries[i].length;
                if (!content)
                        continue;
                struct chunk_name name = chunk_name_of(content, length, NULL);
                need(length >= 1 && length <= CHUNK_BYTES && chunk_name_equal(&name, &group->header.entries[i].name));
        }
        need(sum == group->header.content && sum <= GROUP_CONTENT_MAX);
}

// A header is the same when it is written again.
static void check_header(const uint8_t *bytes, const struct group_header *header) {
        uint8_t again[GROUP_HEADER_MAX];
        need(group_header_write(header, again) == group_header_bytes(header));
        need(memcmp(again, bytes, group_header_bytes(header)) == 0 && group_bytes(header) <= GROUP_BYTES_MAX);
}

// How long the group is that begins here, if it is whole; its check fits then.
static size_t fit(uint8_t *bytes, size_t n) {
        struct group_header header;
        if (group_read_header(bytes, n, &header, NULL) < 0 || group_bytes(&header) > n)
                return 0;
        bytes_put32(bytes + 12, group_check(coder, &header, bytes + group_header_bytes(&header)));
        return group_bytes(&header);
}

static void fuzz_group(uint8_t *bytes, size_t n, bool fitting) {
        struct group_header header;
        struct group group;
        if (fitting)
                fit(bytes, n);
        if (group_decode(coder, bytes, n, NULL, &group, NULL) == 0) {
                check_header(bytes, &group.header);
                group_verify(&group, NULL);
                look_at(&group);
        }
        if (group_read_header(bytes, n, &header, NULL) < 0)
                return;
        check_header(bytes, &header);
        if (group_bytes(&header) <= n &&
            group_salvage(coder, &header, bytes + group_header_bytes(&header), NULL, NULL, &group, NULL) == 0)
                look_at(&group);
}

// ---- packs
static void fit_pack(uint8_t *bytes, size_t n) {
        size_t at = PACK_HEAD, is;
        while (at < n && (is = fit(bytes + at, n - at)) > 0)
                at += is;
        if (n < 64)
                return;
        uint32_t length = bytes_get32(bytes + n - 12);
        if (length >= 44 && length <= n)
                SHA256(bytes + n - length, length - 44, bytes + n - 44);
}

static void walk(const struct pack *pack) {
        struct pack_entry entry;
        uint32_t last = 0;
        unsigned groups = 0;
        for (struct pack_walk at = {0}; pack_next(pack, &at, &entry);) {
                struct group group;
                need(entry.offset >= last && entry.offset < pack_bytes(pack) && entry.place < GROUP_CHUNKS_MAX);
                groups += entry.place == 0;
                last = entry.offset;
                if (entry.place > 0)
                        continue;
                if (pack_read_group(pack, coder, entry.offset, NULL, &group, NULL) == 0) {
                        group_verify(&group, NULL);
                        look_at(&group);
                } else if (pack_salvage_group(pack, coder, entry.offset, NULL, false, NULL, &group, NULL) == 0) {
                        look_at(&group);
                }
        }
        need(groups == pack_groups(pack));
}

static void on_found(void *context, const struct pack_finding *finding) {
        unsigned *lost = context;
        need(finding->why->code == ERROR_CORRUPT || finding->why->code == ERROR_DENIED);
        *lost += finding->part == PACK_PART_CHUNK;
}

static void fuzz_pack(uint8_t *bytes, size_t n, bool fitting) {
        struct pack_id id = {{0}};
        struct pack *pack = NULL;
        struct pack_checked done;
        if (fitting)
                fit_pack(bytes, n);
        if (n >= PACK_HEAD && bytes[8] & 1) // else it is another pack than the file's name says
                memcpy(id.bytes, bytes + 8, sizeof id.bytes);
        int fd = memfd_create("pack", MFD_CLOEXEC);
        need(fd >= 0 && pwrite(fd, bytes, n, 0) == (ssize_t) n);
        need(pack_open_fd(fd, &id, &pack, NULL) == 0 && pack_load(pack, coder, NULL) == 0);
        need((pack_has_trailer(pack) || pack_damage(pack)) && !pack_unread(pack));
        walk(pack);
        for (unsigned unverified = 0; unverified < 2; unverified++) {
                unsigned lost = 0;
                const struct pack_check check = {.unverified = unverified, .context = &lost, .found = on_found};
                need(pack_check(pack, coder, &check, &done, NULL) == 0);
                need(done.damaged == lost && done.unread == 0 && done.damaged + done.unopened <= done.chunks);
                need(!unverified || done.damaged + done.unopened == done.chunks);
                need(done.bytes <= n && done.findings >= lost);
        }
        pack_close(pack);
}

static void end(void) {
        group_coder_free(coder);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        if (!coder) {
                coder = group_coder_new();
                need(atexit(end) == 0);
        }
        if (size < 1)
                return 0;
        uint8_t *bytes = malloc(size > 1 ? size - 1 : 1); // of exactly this length, so that a byte beyond is seen
        need(bytes);
        memcpy(bytes, data + 1, size - 1);
        if (data[0] & PACK)
                fuzz_pack(bytes, size - 1, data[0] & FITTING);
        else
                fuzz_group(bytes, size - 1, data[0] & FITTING);
        free(bytes);
        return 0;
}
