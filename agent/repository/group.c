// SPDX-License-Identifier: LGPL-2.1-or-later
/* Groups as bytes (see group.h). */
#include "agent/repository/group.h"
#include "agent/repository/bytes.h"
#include "common/memory.h"
#include <assert.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <xxhash.h>
#include <zstd.h>
#include <zstd_errors.h>

#define CHECK    12 // where the check stands in the header
#define MORE     4  // where the additional data of a seal begins
#define MORE_MAX (GROUP_HEADER_MAX - MORE - sizeof(uint32_t))
#define LEAST    64 // what compressing has to save, in bytes: else the content stays as it is

static const uint8_t magic[] = {'G', 'R', 'P', '1'};
// How a frame of RFC 8878 begins. Some builds of zstd decode the formats that came before it as well, in which a frame
// says itself how much memory it takes.
static const uint8_t zstd_magic[] = {0x28, 0xb5, 0x2f, 0xfd};

struct group_coder {
        ZSTD_CCtx *compress;
        ZSTD_DCtx *decompress;
        XXH3_state_t *check;
        uint8_t *bytes;   // GROUP_BYTES_MAX: a group as it is stored
        uint8_t *content; // GROUP_CONTENT_MAX
        uint8_t *open;    // GROUP_STORED_MAX: between compressing and sealing
};

struct group_coder *group_coder_new(void) {
        struct group_coder *coder = new (struct group_coder);
        coder->bytes = memory_new(GROUP_BYTES_MAX);
        coder->content = memory_new(GROUP_CONTENT_MAX);
        coder->check = XXH3_createState();
        if (!coder->check)
                abort(); // some hundred bytes, which end the process as those of memory_new() do
        return coder;
}

void group_coder_free(struct group_coder *coder) {
        if (!coder)
                return;
        if (coder->open) {
                OPENSSL_cleanse(coder->open, GROUP_STORED_MAX);
                OPENSSL_cleanse(coder->content, GROUP_CONTENT_MAX);
        }
        ZSTD_freeCCtx(coder->compress);
        ZSTD_freeDCtx(coder->decompress);
        XXH3_freeState(coder->check);
        free(coder->bytes);
        free(coder->content);
        free(coder->open);
        free(coder);
}

uint8_t *group_coder_bytes(struct group_coder *coder) {
        return coder->bytes;
}

static uint8_t *need_open(struct group_coder *coder) {
        if (!coder->open)
                coder->open = memory_new(GROUP_STORED_MAX);
        return coder->open;
}

// ---- headers
size_t group_header_write(const struct group_header *header, uint8_t ret[GROUP_HEADER_MAX]) {
        memcpy(ret, magic, sizeof magic);
        ret[4] = header->coding;
        ret[5] = header->flags;
        bytes_put16(ret + 6, header->chunks);
        bytes_put32(ret + 8, header->stored);
        bytes_put32(ret + CHECK, header->check);
        for (unsigned i = 0; i < header->chunks; i++) {
                uint8_t *entry = ret + GROUP_HEAD + (size_t) i * GROUP_ENTRY;
                memcpy(entry, header->entries[i].name.bytes, CHUNK_NAME);
                bytes_put32(entry + CHUNK_NAME, header->entries[i].length);
        }
        return group_header_bytes(header);
}

// What every header keeps to, wherever it was read. So it bounds what is read and decoded by it.
static int check_header(const struct group_header *header, struct error *err) {
        uint32_t more = header->flags & GROUP_SEALED ? GROUP_SEAL_MORE : 0;
        if (header->coding > GROUP_ZSTD)
                return error_set(err, ERROR_CORRUPT, "coding is %u, expected 0 or 1", header->coding);
        if (header->flags & ~GROUP_SEALED)
                return error_set(err, ERROR_CORRUPT, "flags are %u, expected 0 or 1", header->flags);
        if (header->stored <= more || header->stored > GROUP_STORED_MAX)
                return error_set(err, ERROR_CORRUPT, "the body has %u bytes, expected %u to %u", header->stored,
                                 more + 1, GROUP_STORED_MAX);
        for (unsigned i = 0; i < header->chunks; i++) {
                uint32_t length = header->entries[i].length;
                if (length < 1 || length > CHUNK_BYTES)
                        return error_set(err, ERROR_CORRUPT, "chunk %u has %u bytes, expected 1 to %u", i, length,
                                         CHUNK_BYTES);
                if (chunk_name_is_zero(&header->entries[i].name))
                        return error_set(err, ERROR_CORRUPT, "chunk %u has the name of zeros, which are never stored",
                                         i);
        }
        if (header->coding == GROUP_PLAIN && header->stored != header->content + more)
                return error_set(err, ERROR_CORRUPT, "the body has %u bytes, expected %u", header->stored,
                                 header->content + more);
        return 0;
}

int group_read_header(const uint8_t *bytes, size_t length, struct group_header *ret, struct error *err) {
        struct group_header header = {0};
        if (length < GROUP_HEAD)
                return error_set(err, ERROR_CORRUPT, "%zu bytes are left, expected a header of %u", length, GROUP_HEAD);
        if (memcmp(bytes, magic, sizeof magic) != 0)
                return error_set(err, ERROR_CORRUPT, "begins with %02x%02x%02x%02x, expected GRP1", bytes[0], bytes[1],
                                 bytes[2], bytes[3]);
        header.coding = bytes[4];
        header.flags = bytes[5];
        header.chunks = bytes_get16(bytes + 6);
        header.stored = bytes_get32(bytes + 8);
        header.check = bytes_get32(bytes + CHECK);
        if (header.chunks < 1 || header.chunks > GROUP_CHUNKS_MAX)
                return error_set(err, ERROR_CORRUPT, "has %u chunks, expected 1 to %u", header.chunks,
                                 GROUP_CHUNKS_MAX);
        if (length < group_header_bytes(&header))
                return error_set(err, ERROR_CORRUPT, "%zu bytes are left, expected a header of %zu", length,
                                 group_header_bytes(&header));
        for (unsigned i = 0; i < header.chunks; i++) {
                const uint8_t *entry = bytes + GROUP_HEAD + (size_t) i * GROUP_ENTRY;
                memcpy(header.entries[i].name.bytes, entry, CHUNK_NAME);
                header.entries[i].length = bytes_get32(entry + CHUNK_NAME);
                if (header.entries[i].length <= CHUNK_BYTES) // else it is refused below
                        header.content += header.entries[i].length;
        }
        if (check_header(&header, err) < 0)
                return -1;
        *ret = header;
        return 0;
}

bool group_header_equal(const struct group_header *a, const struct group_header *b) {
        if (a->coding != b->coding || a->flags != b->flags || a->chunks != b->chunks || a->stored != b->stored)
                return false;
        for (unsigned i = 0; i < a->chunks; i++)
                if (!chunk_name_equal(&a->entries[i].name, &b->entries[i].name) ||
                    a->entries[i].length != b->entries[i].length)
                        return false;
        return true;
}

uint32_t group_check(struct group_coder *coder, const struct group_header *header, const uint8_t *body) {
        uint8_t bytes[GROUP_HEADER_MAX];
        size_t length = group_header_write(header, bytes);
        XXH3_64bits_reset(coder->check);
        XXH3_64bits_update(coder->check, bytes, CHECK);
        XXH3_64bits_update(coder->check, bytes + GROUP_HEAD, length - GROUP_HEAD);
        XXH3_64bits_update(coder->check, body, header->stored);
        return (uint32_t) XXH3_64bits_digest(coder->check);
}

// The additional data: the header from its coding to the end of its table, without the check.
static size_t more_of(const struct group_header *header, uint8_t ret[MORE_MAX]) {
        uint8_t bytes[GROUP_HEADER_MAX];
        size_t length = group_header_write(header, bytes), table = length - GROUP_HEAD;
        memcpy(ret, bytes + MORE, CHECK - MORE);
        memcpy(ret + CHECK - MORE, bytes + GROUP_HEAD, table);
        return CHECK - MORE + table;
}

// ---- coding
static void gather(struct group_coder *coder, const struct group_chunk *chunks, unsigned n,
                   struct group_header *header) {
        assert(n >= 1 && n <= GROUP_CHUNKS_MAX);
        for (unsigned i = 0; i < n; i++) {
                assert(chunks[i].length >= 1 && chunks[i].length <= CHUNK_BYTES);
                assert(!chunk_name_is_zero(&chunks[i].name));
                memcpy(coder->content + header->content, chunks[i].content, chunks[i].length);
                header->entries[i] = (struct group_entry){.name = chunks[i].name, .length = chunks[i].length};
                header->content += chunks[i].length;
        }
        header->chunks = (uint16_t) n;
}

// Into `room`, or 0 when that does not pay.
static int compress(struct group_coder *coder, size_t length, unsigned level, uint8_t *room, size_t *ret_n,
                    struct error *err) {
        assert(level >= 1 && level <= GROUP_LEVEL_MAX);
        if (!coder->compress && !(coder->compress = ZSTD_createCCtx()))
                return error_set(err, ERROR_NO_MEMORY, "no memory to compress with");
        *ret_n = 0;
        if (length <= LEAST)
                return 0;
        size_t n = ZSTD_compressCCtx(coder->compress, room, length - LEAST, coder->content, length, (int) level);
        if (!ZSTD_isError(n))
                *ret_n = n;
        else if (ZSTD_getErrorCode(n) != ZSTD_error_dstSize_tooSmall)
                return error_set(err, ERROR_FAILED, "zstd: %s", ZSTD_getErrorName(n));
        return 0;
}

static int seal_body(const struct group_seal *seal, const struct group_header *header, const uint8_t *open,
                     uint8_t *room, struct error *err) {
        uint8_t more[MORE_MAX];
        size_t n_more = more_of(header, more);
        return seal->encrypt(seal, more, n_more, open, header->stored - GROUP_SEAL_MORE, room, err);
}

int group_encode(struct group_coder *coder, const struct group_chunk *chunks, unsigned n, unsigned level,
                 const struct group_seal *seal, const uint8_t **ret_bytes, size_t *ret_n, struct error *err) {
        struct group_header header = {.flags = seal ? GROUP_SEALED : 0};
        size_t coded = 0;
        gather(coder, chunks, n, &header);
        uint8_t *body = coder->bytes + group_header_bytes(&header);
        uint8_t *room = seal ? need_open(coder) : body;
        if (level > 0 && compress(coder, header.content, level, room, &coded, err) < 0)
                return -1;
        header.coding = coded ? GROUP_ZSTD : GROUP_PLAIN;
        header.stored = coded ? (uint32_t) coded : header.content;
        if (seal) {
                header.stored += GROUP_SEAL_MORE;
                if (seal_body(seal, &header, coded ? room : coder->content, body, err) < 0)
                        return -1;
        } else if (!coded) {
                memcpy(body, coder->content, header.content);
        }
        header.check = group_check(coder, &header, body);
        group_header_write(&header, coder->bytes);
        *ret_bytes = coder->bytes;
        *ret_n = group_bytes(&header);
        return 0;
}

// ---- decoding
static int open_body(struct group_coder *coder, const struct group_header *header, const uint8_t *body,
                     const struct group_seal *seal, uint8_t *room, struct error *err) {
        uint8_t more[MORE_MAX];
        if (!seal)
                return error_set(err, ERROR_DENIED, "the group is sealed, and there is no key to open it with");
        need_open(coder); // so that the content is wiped at the end
        size_t n_more = more_of(header, more);
        return seal->decrypt(seal, more, n_more, body, header->stored, room, err);
}

// Decoded as a whole and straight into its place, so that the frame's window takes no memory, whatever it says. What
// came before an error stands there, and nothing of another group.
static int decompress(struct group_coder *coder, const uint8_t *frame, size_t n, size_t length, struct error *err) {
        memset(coder->content, 0, length);
        if (!coder->decompress && !(coder->decompress = ZSTD_createDCtx()))
                return error_set(err, ERROR_NO_MEMORY, "no memory to decompress with");
        if (n < sizeof zstd_magic || memcmp(frame, zstd_magic, sizeof zstd_magic) != 0)
                return error_set(err, ERROR_CORRUPT, "the body begins no frame of zstd");
        size_t frame_bytes = ZSTD_findFrameCompressedSize(frame, n);
        size_t done = ZSTD_decompressDCtx(coder->decompress, coder->content, length, frame,
                                          ZSTD_isError(frame_bytes) ? n : frame_bytes);
        if (ZSTD_isError(done))
                return error_set(err, ERROR_CORRUPT, "zstd: %s", ZSTD_getErrorName(done));
        if (done != length)
                return error_set(err, ERROR_CORRUPT, "the body holds %zu bytes, expected %zu", done, length);
        if (frame_bytes != n)
                return error_set(err, ERROR_CORRUPT, "the frame of zstd has %zu bytes, expected %zu", frame_bytes, n);
        return 0;
}

static int decode(struct group_coder *coder, const struct group_header *header, const uint8_t *body,
                  const struct group_seal *seal, struct error *err) {
        size_t n = header->stored;
        if (header->flags & GROUP_SEALED) {
                n -= GROUP_SEAL_MORE;
                uint8_t *room = header->coding == GROUP_PLAIN ? coder->content : need_open(coder);
                if (open_body(coder, header, body, seal, room, err) < 0)
                        return -1;
                body = room;
        }
        if (header->coding == GROUP_ZSTD)
                return decompress(coder, body, n, header->content, err);
        if (body != coder->content)
                memcpy(coder->content, body, n);
        return 0;
}

int group_decode(struct group_coder *coder, const uint8_t *bytes, size_t length, const struct group_seal *seal,
                 struct group *ret, struct error *err) {
        struct group_header header;
        if (group_read_header(bytes, length, &header, err) < 0)
                return -1;
        if (length != group_bytes(&header))
                return error_set(err, ERROR_CORRUPT, "%zu bytes are there, expected %zu", length, group_bytes(&header));
        const uint8_t *body = bytes + group_header_bytes(&header);
        uint32_t check = group_check(coder, &header, body);
        if (check != header.check)
                return error_set(err, ERROR_CORRUPT, "the check is %08x, expected %08x", check, header.check);
        if (decode(coder, &header, body, seal, err) < 0)
                return -1;
        *ret = (struct group){.header = header, .content = coder->content};
        return 0;
}

uint16_t group_verify(struct group *group, const struct chunk_key *key) {
        const uint8_t *content = group->content;
        for (unsigned i = 0; i < group->header.chunks; i++) {
                const struct group_entry *entry = &group->header.entries[i];
                struct chunk_name name = chunk_name_of(content, entry->length, key);
                if (!chunk_name_equal(&name, &entry->name))
                        group->bad |= (uint16_t) (1u << i);
                content += entry->length;
        }
        return group->bad;
}

int group_salvage(struct group_coder *coder, const struct group_header *header, const uint8_t *body,
                  const struct chunk_key *key, const struct group_seal *seal, struct group *ret, struct error *err) {
        struct error why = ERROR_INIT;
        struct group group = {.header = *header, .content = coder->content};
        uint16_t all = (uint16_t) ((1u << header->chunks) - 1);
        bool whole = decode(coder, header, body, seal, &why) == 0;
        // Nothing was decoded of what cannot be opened; of a frame that breaks off, the beginning was.
        if (!whole && (why.code != ERROR_CORRUPT || header->flags & GROUP_SEALED)) {
                if (err)
                        *err = why;
                return -1;
        }
        if (group_verify(&group, key) == all) {
                if (whole)
                        return error_set(err, ERROR_CORRUPT, "no chunk is what its name says");
                if (err)
                        *err = why;
                return -1;
        }
        *ret = group;
        return 0;
}

const uint8_t *group_chunk_at(const struct group *group, unsigned i, uint32_t *ret_length) {
        const uint8_t *content = group->content;
        assert(i < group->header.chunks);
        if (group->bad >> i & 1)
                return NULL;
        for (unsigned k = 0; k < i; k++)
                content += group->header.entries[k].length;
        *ret_length = group->header.entries[i].length;
        return content;
}
