// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Makes the seeds of the fuzzers `decoder`, `sink` and `source`: conversations that go well, and the first turn of
 * those that do not; and of `pack`, a group and packs that are whole. Run it as: make_seeds tests/fuzz/seeds
 */
#include "../line.h"
#include "agent/blocks/digest.h"
#include "agent/repository/bytes.h"
#include "agent/repository/group.h"
#include "agent/transfer/coder.h"
#include "common/buffer.h"
#include "common/memory.h"
#include <stdio.h>
#include <sys/stat.h>

#define BYTES  (BLOCKS_BLOCK + 5000u)
#define HONEST 0xff

static const char *root;
static struct buffer seed;

static void put(const void *bytes, size_t length) {
        buffer_append(&seed, bytes, length, NULL);
}

static void put_bytes(const uint8_t *bytes, size_t n) {
        put(bytes, n);
}
#define PUT(...) put_bytes((const uint8_t[]){__VA_ARGS__}, sizeof(const uint8_t[]){__VA_ARGS__})

static void begin(uint8_t first) {
        buffer_clear(&seed);
        PUT(first);
}

static void end(const char *fuzzer, const char *name) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s", root, fuzzer);
        mkdir(path, 0777);
        snprintf(path, sizeof path, "%s/%s/%s", root, fuzzer, name);
        FILE *file = fopen(path, "we");
        need(file && fwrite(seed.data, 1, seed.length, file) == seed.length && fclose(file) == 0);
}

// ---- messages
static void say(uint8_t where, const Drover__DataEnvelope *envelope) {
        struct buffer bytes;
        buffer_init(&bytes, 0);
        need(PROTO_PACK(envelope, &bytes, NULL) == 0);
        PUT(where, (uint8_t) bytes.length, (uint8_t) (bytes.length >> 8));
        put(bytes.data, bytes.length);
        buffer_fini(&bytes);
}

#define SAY(where, member, MEMBER, message)                                                                            \
        do {                                                                                                           \
                Drover__DataEnvelope _envelope = DROVER__DATA_ENVELOPE__INIT;                                          \
                _envelope.body_case = DROVER__DATA_ENVELOPE__BODY_##MEMBER;                                            \
                _envelope.member = (message);                                                                          \
                say(where, &_envelope);                                                                                \
        } while (0)

static const uint8_t honest[DIGEST_BYTES] = {HONEST};

static void say_begin(uint64_t bytes) {
        Drover__DataBegin message = DROVER__DATA_BEGIN__INIT;
        message.bytes = bytes;
        SAY(0, begin, BEGIN, &message);
}

static void say_names(uint64_t offset, const uint8_t *block, size_t length, uint16_t pieces) {
        Drover__DataNames message = DROVER__DATA_NAMES__INIT;
        Drover__DataNamed named = DROVER__DATA_NAMED__INIT, *list[] = {&named};
        uint8_t names[BLOCKS_PIECES][NAMES_BYTES], packed[BLOCKS_PIECES][NAMES_BYTES];
        size_t n = 0;
        names_of_pieces(block, length, pieces, names);
        for (unsigned i = 0; i < BLOCKS_PIECES; i++)
                if (pieces >> i & 1)
                        memcpy(packed[n++], names[i], NAMES_BYTES);
        named.offset = offset;
        named.pieces = pieces;
        named.names = (ProtobufCBinaryData){n * NAMES_BYTES, packed[0]};
        message.blocks = list;
        message.n_blocks = 1;
        SAY(0, names, NAMES, &message);
}

static Drover__DataBlock a_block(uint64_t offset, size_t length, const struct grains *grains,
                                 uint8_t packed[GRAINS_BYTES]) {
        Drover__DataBlock block = DROVER__DATA_BLOCK__INIT;
        grains_pack(grains, packed);
        block.offset = offset;
        block.length = (uint32_t) length;
        block.hash = (ProtobufCBinaryData){DIGEST_HASH, (uint8_t *) honest};
        block.grains = (ProtobufCBinaryData){GRAINS_BYTES, packed};
        block.coded_bytes = (uint32_t) grains_bytes(grains, length);
        return block;
}

// `value` for each run of grains.
static void say_plain(uint64_t offset, size_t length, const struct grains *grains, bool answered, uint8_t value) {
        struct grains_run run;
        uint8_t packed[GRAINS_BYTES];
        Drover__DataBlock block = a_block(offset, length, grains, packed);
        block.answered = answered;
        SAY(1, block, BLOCK, &block);
        for (size_t at = 0; grains_next(grains, length, true, &at, &run);)
                PUT(value);
}

static void say_zero(uint64_t offset, uint64_t length) {
        Drover__DataZero message = DROVER__DATA_ZERO__INIT;
        message.offset = offset;
        message.length = length;
        SAY(1, zero, ZERO, &message);
}

static void say_end_with(uint64_t bytes, const uint8_t digest[DIGEST_BYTES]) {
        Drover__DataEnd message = DROVER__DATA_END__INIT;
        SAY(1, end, END, &message);
        message.bytes = bytes;
        message.digest = (ProtobufCBinaryData){DIGEST_BYTES, (uint8_t *) digest};
        SAY(0, end, END, &message);
}

static void say_end(uint64_t bytes) {
        say_end_with(bytes, honest);
}

// ---- a source
static uint8_t block[BLOCKS_BLOCK];

static uint16_t pieces_of(size_t length) {
        uint16_t pieces = 0;
        for (size_t i = 0; i < length; i++)
                if (block[i])
                        pieces |= (uint16_t) (1u << i / BLOCKS_PIECE);
        return pieces;
}

// The image that is there, but for one grain. lies: first that nothing of it is another.
static void sink_asked(const char *name, bool lies) {
        struct grains grains = {0}, none = {0};
        size_t last = BYTES - BLOCKS_BLOCK;
        begin(4);
        say_begin(BYTES);
        line_content(0, block, BLOCKS_BLOCK);
        memset(block + 37 * BLOCKS_GRAIN, 'x', BLOCKS_GRAIN);
        say_names(0, block, BLOCKS_BLOCK, pieces_of(BLOCKS_BLOCK));
        grains_set(&grains, 37, true);
        if (lies) {
                say_plain(0, BLOCKS_BLOCK, &none, true, 0);
                for (size_t i = 0; i < BLOCKS_GRAINS; i++)
                        grains_set(&grains, i, pieces_of(BLOCKS_BLOCK) >> i / NAMES_GRAINS & 1);
        }
        say_plain(0, BLOCKS_BLOCK, &grains, true, 'x');
        line_content(1, block, last);
        say_names(BLOCKS_BLOCK, block, last, pieces_of(last));
        say_end(BYTES);
        end("sink", name);
}

static void sink_sent(void) {
        struct grains grains;
        begin(0);
        say_begin(BYTES);
        grains_fill(&grains, BLOCKS_BLOCK);
        grains_set(&grains, 9, false);
        say_plain(0, BLOCKS_BLOCK, &grains, false, 'y');
        say_zero(BLOCKS_BLOCK, BYTES - BLOCKS_BLOCK);
        say_end(BYTES);
        end("sink", "sent");
}

static void digest_image_of_one(uint64_t bytes, const uint8_t hash[DIGEST_HASH], uint8_t ret[DIGEST_BYTES]) {
        struct digest *digest = digest_new(bytes);
        need(digest_add(digest, 0, bytes, hash, NULL) == 0 && digest_finish(digest, ret, NULL) == 0);
        digest_free(digest);
}

static void sink_coded(void) {
        struct coder *coder = coder_new();
        struct grains grains;
        const uint8_t *bytes;
        uint8_t packed[GRAINS_BYTES], hash[DIGEST_HASH], digest[DIGEST_BYTES];
        size_t n;
        bool begins;
        begin(1);
        say_begin(100);
        line_content(0, block, 100);
        grains_find(block, 100, &grains);
        grains_fill(&grains, 100);
        digest_block(block, 100, &grains, hash);
        need(coder_code(coder, 3, CODER_NEAR, block, 100, &grains, &bytes, &n, &begins, NULL) == 0);
        Drover__DataBlock message = a_block(0, 100, &grains, packed);
        message.hash.data = hash;
        message.coding = DROVER__DATA_CODING__DATA_CODING_ZSTD_NEW;
        message.coded_bytes = (uint32_t) n;
        SAY(1, block, BLOCK, &message);
        put(bytes, n);
        digest_image_of_one(100, hash, digest);
        say_end_with(100, digest);
        coder_free(coder);
        end("sink", "coded");
}

static void sink_kept(void) {
        Drover__DataKeep keep = DROVER__DATA_KEEP__INIT;
        begin(2);
        say_begin(2 * BLOCKS_BLOCK + BLOCKS_PIECE);
        keep.count = 2;
        SAY(1, keep, KEEP, &keep);
        end("sink", "kept");
}

// Two pieces that are nowhere here.
static void sink_new(void) {
        struct grains grains = {0};
        begin(4 | 3);
        say_begin(3 * BLOCKS_BLOCK);
        memset(block, 'z', sizeof block);
        say_names(0, block, BLOCKS_BLOCK, 0x11);
        for (size_t i = 0; i < 80; i++)
                grains_set(&grains, i, i < 16 || i >= 64);
        say_plain(0, BLOCKS_BLOCK, &grains, true, 'z');
        say_zero(BLOCKS_BLOCK, 2 * BLOCKS_BLOCK);
        say_end(3 * BLOCKS_BLOCK);
        end("sink", "new");
}

// ---- a sink (source.c says what its bytes are)
static void say_have(uint64_t first, unsigned count, bool last, bool other) {
        Drover__DataHave message = DROVER__DATA_HAVE__INIT;
        uint8_t hashes[64 * DIGEST_HASH];
        for (size_t i = 0; i < sizeof hashes; i++)
                hashes[i] = (uint8_t) (i / DIGEST_HASH + first);
        message.first = first;
        message.hashes = (ProtobufCBinaryData){count * DIGEST_HASH, hashes};
        message.last = last;
        message.has_other = other;
        SAY(0, have, HAVE, &message);
}

static void source_has(void) {
        begin(0);
        say_have(0, 8, false, false);
        PUT(1, 3, 0, 2, 9, 0);
        say_have(20, 60, false, false);
        say_have(300, 1, true, true);
        PUT(1, 2, 0, 1, 15, 0, 1, 200, 0);
        end("source", "has");
}

static void source_full(void) {
        begin(0);
        for (unsigned i = 0; i < 70; i++)
                say_have(2 * i, 1, i == 69, false);
        PUT(1, 40, 0, 2, 90, 0);
        end("source", "full");
}

static void say_wants(uint64_t offset, uint32_t missing, uint32_t alike) {
        Drover__DataWants message = DROVER__DATA_WANTS__INIT;
        Drover__DataWanted wanted = DROVER__DATA_WANTED__INIT, *list[] = {&wanted};
        uint8_t content[BLOCKS_BLOCK], prints[BLOCKS_PIECES][NAMES_GRAINS][NAMES_PRINT];
        unsigned n = 0;
        line_content((size_t) (offset / BLOCKS_BLOCK), content, sizeof content);
        content[2 * BLOCKS_PIECE + 9 * BLOCKS_GRAIN] ^= 1;
        for (unsigned i = 0; i < BLOCKS_PIECES; i++)
                if (alike >> i & 1)
                        names_of_grains(content + (size_t) i * BLOCKS_PIECE, BLOCKS_PIECE, prints[n++]);
        wanted.offset = offset;
        wanted.missing = missing;
        wanted.alike = alike;
        wanted.prints = (ProtobufCBinaryData){n * sizeof prints[0], prints[0][0]};
        message.blocks = list;
        message.n_blocks = 1;
        SAY(0, wants, WANTS, &message);
}

static void source_asks(void) {
        begin(1);
        PUT(1, 0, 0, 1, 0, 0, 1, 0, 0); // three blocks
        say_wants(0, 0, 0);
        say_wants(BLOCKS_BLOCK, 6, 4);
        say_wants(2 * BLOCKS_BLOCK, 0xf7f7 & 0x0f, 0);
        PUT(2, 0, 0);
        say_wants(BLOCKS_BLOCK, 4, 0); // once more
        PUT(2, 0, 0);
        say_wants(BLOCKS_BLOCK, 0, 0);
        say_wants(2 * BLOCKS_BLOCK, 0, 0);
        end("source", "asks");
}

static void source_asked_for_ever(void) {
        begin(1);
        PUT(1, 0, 0);
        for (unsigned i = 0; i < 6; i++) {
                say_wants(0, 1, i % 2);
                PUT(2, 0, 0);
        }
        end("source", "for-ever");
}

// ---- zstd (decoder.c says what its bytes are)
static void step(uint8_t kind, unsigned length3, uint8_t portion, const void *bytes, size_t n) {
        PUT(kind, (uint8_t) length3, (uint8_t) (length3 >> 8), portion, (uint8_t) n, (uint8_t) (n >> 8), 0, 0);
        put(bytes, n);
}

static void decoder_seeds(void) {
        static const uint8_t old[] = {0x27, 0xb5, 0x2f, 0xfd, 0, (27 - 10) << 3, 0, 0, 0, 0, 0, 0};
        static const uint8_t wide[] = {0x28, 0xb5, 0x2f, 0xfd, 0, (26 - 10) << 3, 0, 0, 0, 0, 0, 0};
        static const uint8_t skipped[] = {0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4};
        struct coder *coder = coder_new();
        struct grains grains;
        const uint8_t *bytes;
        size_t n;
        bool begins;
        begin(0);
        step(1, 100, 2, old, sizeof old);
        end("decoder", "old");
        begin(1);
        step(1, 100, 2, wide, sizeof wide);
        end("decoder", "wide");
        begin(0);
        step(1, 100, 2, skipped, sizeof skipped);
        end("decoder", "skipped");
        begin(0);
        for (unsigned i = 0; i < 3; i++) {
                line_content(i, block, 6001);
                grains_fill(&grains, 6001);
                need(coder_code(coder, 3, CODER_NEAR, block, 6001, &grains, &bytes, &n, &begins, NULL) == 0);
                step(begins, 2000, (uint8_t) (i * 5), bytes, n);
        }
        end("decoder", "three");
        coder_free(coder);
        begin(2);
        step(0, 2000, 3, "drover", 6);
        step(32, 12000, 200, "a fleet of hosts", 16);
        step(32, 3000, 0, "x", 1);
        end("decoder", "ours");
        begin(2);
        step(0, 2000, 3, "drover", 6);
        step(4, 2000, 7, "drover", 6);
        end("decoder", "spoilt");
        begin(2);
        step(16, 2000, 3, "drover", 6);
        end("decoder", "shorter");
}

// ---- a repository's packs
static void put_group(unsigned first, unsigned n, unsigned level, struct buffer *trailer) {
        struct group_coder *coder = group_coder_new();
        uint8_t content[4][300], entry[16];
        struct group_chunk chunks[4];
        struct group_header header;
        const uint8_t *bytes;
        size_t length;
        for (unsigned i = 0; i < n; i++) {
                memset(content[i], (int) (first + i), sizeof content[i]);
                chunks[i] = (struct group_chunk){chunk_name_of(content[i], sizeof content[i], NULL), content[i],
                                                 sizeof content[i]};
        }
        need(group_encode(coder, chunks, n, level, NULL, &bytes, &length, NULL) == 0);
        need(group_read_header(bytes, length, &header, NULL) == 0);
        bytes_put64(entry, seed.length - 1); // behind the first byte, which is no part of the file
        bytes_put32(entry + 8, header.stored);
        memcpy(entry + 12, bytes + 4, 4);
        buffer_append(trailer, entry, sizeof entry, NULL);
        buffer_append(trailer, bytes + GROUP_HEAD, n * GROUP_ENTRY, NULL);
        put(bytes, length);
        group_coder_free(coder);
}

static void pack_seed(const char *name, uint8_t first, unsigned level) {
        static const uint8_t hash[32]; // the fuzzer makes it fit
        uint8_t length[4];
        struct buffer trailer;
        buffer_init(&trailer, 0);
        buffer_append(&trailer, "TRL1\2\0\0\0", 8, NULL);
        begin(first);
        put("DROVRPK1", 8);
        PUT(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16);
        put_group(1, 2, level, &trailer);
        put_group(3, 4, 0, &trailer);
        put(trailer.data, trailer.length);
        put(hash, sizeof hash);
        bytes_put32(length, (uint32_t) trailer.length + 44);
        put(length, sizeof length);
        put("DROVREND", 8);
        end("pack", name);
        buffer_fini(&trailer);
}

static void group_seed(void) {
        struct buffer trailer;
        buffer_init(&trailer, 0);
        begin(2);
        put_group(1, 3, 1, &trailer);
        end("pack", "group");
        buffer_fini(&trailer);
}

int main(int argc, char **argv) {
        need(argc == 2);
        root = argv[1];
        buffer_init(&seed, 0);
        decoder_seeds();
        sink_asked("asked", false);
        sink_asked("lies", true);
        sink_sent();
        sink_coded();
        sink_kept();
        sink_new();
        source_has();
        source_full();
        source_asks();
        source_asked_for_ever();
        group_seed();
        pack_seed("pack", 3, 1);
        pack_seed("pack-without-trailer", 1, 0);
        buffer_fini(&seed);
        return 0;
}
