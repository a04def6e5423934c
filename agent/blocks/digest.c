// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The image's digest (see digest.h). A piece that is known to hold nothing costs nothing: its hash is made once.
 * Guarded by the digest's own mutex.
 */
#include "agent/blocks/digest.h"
#include "common/memory.h"
#include "common/units.h"
#include <openssl/evp.h>
#include <pthread.h>
#include <string.h>
#include <xxhash.h>

// Hashes of zero blocks handed to the hash function at a time.
#define RUN            256
#define GRAINS_A_PIECE (BLOCKS_PIECE / BLOCKS_GRAIN)

struct range {
        uint64_t offset, length;
        bool zero;
        uint8_t hash[DIGEST_HASH];
        const uint8_t (*run)[DIGEST_HASH]; // of several blocks; NULL: one. Of an early one it is the digest's own
};

struct digest {
        pthread_mutex_t mutex;
        pthread_cond_t changed;
        EVP_MD_CTX *context;
        uint64_t bytes;
        uint64_t next; // everything before it has been hashed
        struct range early[DIGEST_EARLY_MAX];
        unsigned n_early;
        bool stopped, finished;
        uint8_t result[DIGEST_BYTES];
};

// ---- one block
static const uint8_t zeros[BLOCKS_PIECE];
static uint8_t zero_piece[DIGEST_HASH], zero_block[DIGEST_HASH];

static void hash_bytes(const uint8_t *bytes, size_t length, uint8_t ret_hash[DIGEST_HASH]) {
        XXH128_canonical_t canonical;
        XXH128_canonicalFromHash(&canonical, XXH3_128bits(bytes, length));
        _Static_assert(sizeof canonical.digest == DIGEST_HASH, "XXH3-128 has 16 bytes");
        memcpy(ret_hash, canonical.digest, DIGEST_HASH);
}

static void make_zero_hashes(void) {
        uint8_t pieces[BLOCKS_PIECES][DIGEST_HASH];
        hash_bytes(zeros, sizeof zeros, zero_piece);
        for (unsigned i = 0; i < BLOCKS_PIECES; i++)
                memcpy(pieces[i], zero_piece, DIGEST_HASH);
        hash_bytes(pieces[0], sizeof pieces, zero_block);
}

static void need_zero_hashes(void) {
        static pthread_once_t once = PTHREAD_ONCE_INIT;
        pthread_once(&once, make_zero_hashes);
}

static bool piece_is_empty(const struct grains *grains, size_t piece) {
        size_t first = piece * GRAINS_A_PIECE;
        _Static_assert(64 % GRAINS_A_PIECE == 0, "a piece's grains lie in one word");
        return !(grains->words[first / 64] >> first % 64 & ((1ull << GRAINS_A_PIECE) - 1));
}

void digest_pieces(const uint8_t *block, size_t length, const struct grains *grains, uint16_t which,
                   uint8_t (*ret_hashes)[DIGEST_HASH]) {
        size_t count = (length + BLOCKS_PIECE - 1) / BLOCKS_PIECE;
        need_zero_hashes();
        for (size_t i = 0; i < count; i++) {
                size_t at = i * BLOCKS_PIECE, n = length - at < BLOCKS_PIECE ? length - at : BLOCKS_PIECE;
                bool empty = piece_is_empty(grains, i);
                if (!(which >> i & 1))
                        continue;
                if (empty && n == BLOCKS_PIECE)
                        memcpy(ret_hashes[i], zero_piece, DIGEST_HASH);
                else
                        hash_bytes(empty ? zeros : block + at, n, ret_hashes[i]);
        }
}

void digest_of_pieces(const uint8_t (*hashes)[DIGEST_HASH], size_t length, uint8_t ret_hash[DIGEST_HASH]) {
        hash_bytes(hashes[0], (length + BLOCKS_PIECE - 1) / BLOCKS_PIECE * DIGEST_HASH, ret_hash);
}

void digest_block_known(const uint8_t *block, size_t length, const struct grains *grains,
                        const struct digest_known *known, uint8_t ret_hash[DIGEST_HASH]) {
        struct digest_known all = *known;
        digest_pieces(block, length, grains, (uint16_t) ~known->pieces, all.hashes);
        digest_of_pieces((const uint8_t(*)[DIGEST_HASH]) all.hashes, length, ret_hash);
}

void digest_block(const uint8_t *block, size_t length, const struct grains *grains, uint8_t ret_hash[DIGEST_HASH]) {
        static const struct digest_known none;
        digest_block_known(block, length, grains, &none, ret_hash);
}

void digest_zeros(size_t length, uint8_t ret_hash[DIGEST_HASH]) {
        static const struct grains none;
        need_zero_hashes();
        if (length == BLOCKS_BLOCK)
                memcpy(ret_hash, zero_block, DIGEST_HASH);
        else
                digest_block(NULL, length, &none, ret_hash);
}

// ---- the whole image
struct digest *digest_new(uint64_t bytes) {
        struct digest *digest = new (struct digest);
        uint8_t length[8];
        for (unsigned i = 0; i < 8; i++)
                length[i] = (uint8_t) (bytes >> (8 * i));
        need_zero_hashes();
        pthread_mutex_init(&digest->mutex, NULL);
        pthread_cond_init(&digest->changed, NULL);
        digest->bytes = bytes;
        digest->context = EVP_MD_CTX_new();
        if (!digest->context || EVP_DigestInit_ex(digest->context, EVP_sha256(), NULL) != 1 ||
            EVP_DigestUpdate(digest->context, length, sizeof length) != 1)
                abort(); // only without memory, which ends the program (common/memory.h)
        return digest;
}

void digest_free(struct digest *digest) {
        if (!digest)
                return;
        while (digest->n_early > 0)
                free((void *) digest->early[--digest->n_early].run);
        EVP_MD_CTX_free(digest->context);
        pthread_cond_destroy(&digest->changed);
        pthread_mutex_destroy(&digest->mutex);
        free(digest);
}

static void fold_zeros(struct digest *digest, uint64_t length) {
        uint8_t run[RUN][DIGEST_HASH];
        for (unsigned i = 0; i < RUN; i++)
                memcpy(run[i], zero_block, DIGEST_HASH);
        for (uint64_t blocks = length / BLOCKS_BLOCK; blocks > 0;) {
                size_t n = blocks < RUN ? (size_t) blocks : RUN;
                EVP_DigestUpdate(digest->context, run, n * DIGEST_HASH);
                blocks -= n;
        }
        if (length % BLOCKS_BLOCK) {
                uint8_t last[DIGEST_HASH];
                digest_zeros((size_t) (length % BLOCKS_BLOCK), last);
                EVP_DigestUpdate(digest->context, last, DIGEST_HASH);
        }
}

static size_t blocks_of(uint64_t length) {
        return (size_t) ((length + BLOCKS_BLOCK - 1) / BLOCKS_BLOCK);
}

static void fold(struct digest *digest, const struct range *range) {
        if (range->zero)
                fold_zeros(digest, range->length);
        else if (range->run)
                EVP_DigestUpdate(digest->context, range->run, blocks_of(range->length) * DIGEST_HASH);
        else
                EVP_DigestUpdate(digest->context, range->hash, DIGEST_HASH);
        digest->next += range->length;
}

static bool fold_early(struct digest *digest) {
        for (unsigned i = 0; i < digest->n_early; i++) {
                if (digest->early[i].offset != digest->next)
                        continue;
                fold(digest, &digest->early[i]);
                free((void *) digest->early[i].run);
                digest->early[i] = digest->early[--digest->n_early];
                return true;
        }
        return false;
}

static int overlaps(const struct digest *digest, const struct range *range, struct error *err) {
        char text[UNITS_TEXT_MAX];
        bool twice = range->offset < digest->next;
        for (unsigned i = 0; i < digest->n_early; i++) {
                const struct range *other = &digest->early[i];
                twice |= range->offset < other->offset + other->length && other->offset < range->offset + range->length;
        }
        if (!twice)
                return 0;
        return error_set(err, ERROR_PROTOCOL, "the range at %s came twice", units_format_size(range->offset, text));
}

static int stopped(struct error *err) {
        return error_set(err, ERROR_CANCELLED, "stopped");
}

static const uint8_t (*copy_of(const struct range *range))[DIGEST_HASH] {
        size_t n = blocks_of(range->length);
        uint8_t(*copy)[DIGEST_HASH] = memory_new_array(n, DIGEST_HASH);
        memcpy(copy, range->run, n * DIGEST_HASH);
        return (const uint8_t(*)[DIGEST_HASH]) copy;
}

static int add_locked(struct digest *digest, const struct range *range, struct error *err) {
        while (!digest->stopped && range->offset > digest->next && digest->n_early == DIGEST_EARLY_MAX)
                pthread_cond_wait(&digest->changed, &digest->mutex);
        if (digest->stopped)
                return stopped(err);
        if (overlaps(digest, range, err) < 0)
                return -1;
        if (range->offset > digest->next) {
                struct range *early = &digest->early[digest->n_early++];
                *early = *range;
                if (range->run)
                        early->run = copy_of(range);
                return 0;
        }
        fold(digest, range);
        while (fold_early(digest))
                ;
        pthread_cond_broadcast(&digest->changed);
        return 0;
}

static int add(struct digest *digest, const struct range *range, struct error *err) {
        uint64_t offset = range->offset, length = range->length;
        bool at_end = offset <= digest->bytes && length == digest->bytes - offset;
        uint64_t most = range->zero ? UINT64_MAX : (uint64_t) BLOCKS_BLOCK * (range->run ? DIGEST_RUN_MAX : 1);
        if (offset % BLOCKS_BLOCK || length == 0 || offset > digest->bytes || length > digest->bytes - offset ||
            (length % BLOCKS_BLOCK && !at_end) || length > most)
                return error_set(err, ERROR_PROTOCOL, "a range of %llu bytes at %llu is none of this image",
                                 (unsigned long long) length, (unsigned long long) offset);
        pthread_mutex_lock(&digest->mutex);
        int result = add_locked(digest, range, err);
        pthread_mutex_unlock(&digest->mutex);
        return result;
}

int digest_add(struct digest *digest, uint64_t offset, uint64_t length, const uint8_t *hash, struct error *err) {
        struct range range = {.offset = offset, .length = length, .zero = !hash};
        if (hash)
                memcpy(range.hash, hash, DIGEST_HASH);
        return add(digest, &range, err);
}

int digest_add_run(struct digest *digest, uint64_t offset, uint64_t length, const uint8_t (*hashes)[DIGEST_HASH],
                   struct error *err) {
        return add(digest, &(struct range){.offset = offset, .length = length, .run = hashes}, err);
}

bool digest_has(struct digest *digest, uint64_t offset) {
        pthread_mutex_lock(&digest->mutex);
        bool has = offset < digest->next;
        for (unsigned i = 0; i < digest->n_early && !has; i++)
                has = offset >= digest->early[i].offset && offset - digest->early[i].offset < digest->early[i].length;
        pthread_mutex_unlock(&digest->mutex);
        return has;
}

static void finish_locked(struct digest *digest) {
        if (!digest->finished)
                EVP_DigestFinal_ex(digest->context, digest->result, NULL);
        digest->finished = true;
}

int digest_finish(struct digest *digest, uint8_t ret_hash[DIGEST_BYTES], struct error *err) {
        char text[UNITS_TEXT_MAX];
        int result = 0;
        pthread_mutex_lock(&digest->mutex);
        if (digest->next < digest->bytes) {
                result = error_set(err, ERROR_PROTOCOL, "the image is not complete: nothing came for the range at %s",
                                   units_format_size(digest->next, text));
        } else {
                finish_locked(digest);
                memcpy(ret_hash, digest->result, DIGEST_BYTES);
        }
        pthread_mutex_unlock(&digest->mutex);
        return result;
}

int digest_wait(struct digest *digest, uint8_t ret_hash[DIGEST_BYTES], struct error *err) {
        pthread_mutex_lock(&digest->mutex);
        while (!digest->stopped && digest->next < digest->bytes)
                pthread_cond_wait(&digest->changed, &digest->mutex);
        bool stop = digest->stopped && digest->next < digest->bytes;
        pthread_mutex_unlock(&digest->mutex);
        return stop ? stopped(err) : digest_finish(digest, ret_hash, err);
}

void digest_stop(struct digest *digest) {
        pthread_mutex_lock(&digest->mutex);
        digest->stopped = true;
        pthread_cond_broadcast(&digest->changed);
        pthread_mutex_unlock(&digest->mutex);
}

char *digest_text(const uint8_t hash[DIGEST_BYTES], char text[DIGEST_TEXT]) {
        static const char hex[] = "0123456789abcdef";
        char *at = text;
        at += sprintf(at, "d2:");
        for (unsigned i = 0; i < DIGEST_BYTES; i++) {
                *at++ = hex[hash[i] >> 4];
                *at++ = hex[hash[i] & 15];
        }
        *at = 0;
        return text;
}
