// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The image's digest (see digest.h). The hash of a block is that of the hashes of its leaves, so that the leaves can be
 * hashed side by side and those known to be zeros need not be looked at. Guarded by the digest's own mutex.
 */
#include "agent/transfer/digest.h"
#include "agent/transfer/lanes.h"
#include "common/memory.h"
#include "common/units.h"
#include <openssl/evp.h>
#include <pthread.h>
#include <string.h>

#define LEAVES (TRANSFER_BLOCK / DIGEST_LEAF)
// Hashes of zero blocks handed to the hash function at a time.
#define RUN 256

struct range {
        uint64_t offset, length;
        bool zero;
        uint8_t hash[DIGEST_BYTES];
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
static const uint8_t zeros[DIGEST_LEAF];
static uint8_t zero_leaf[DIGEST_BYTES], zero_block[DIGEST_BYTES];

static void make_zero_hashes(void) {
        const uint8_t *leaf = zeros;
        lanes_sha256(&leaf, 1, DIGEST_LEAF, &zero_leaf);
        uint8_t leaves[LEAVES][DIGEST_BYTES];
        for (unsigned i = 0; i < LEAVES; i++)
                memcpy(leaves[i], zero_leaf, DIGEST_BYTES);
        const uint8_t *all = leaves[0];
        lanes_sha256(&all, 1, sizeof leaves, &zero_block);
}

static void need_zero_hashes(void) {
        static pthread_once_t once = PTHREAD_ONCE_INIT;
        pthread_once(&once, make_zero_hashes);
}

size_t digest_leaves(size_t length) {
        return (length + DIGEST_LEAF - 1) / DIGEST_LEAF;
}

static bool all_zeros(const uint8_t *bytes, size_t length) {
        // Equal to itself moved by one byte, and that byte is zero.
        return bytes[0] == 0 && memcmp(bytes, bytes + 1, length - 1) == 0;
}

uint64_t digest_pieces(const uint8_t *block, size_t length) {
        uint64_t pieces = 0;
        for (size_t i = 0; i < digest_leaves(length); i++) {
                size_t at = i * DIGEST_LEAF, n = length - at < DIGEST_LEAF ? length - at : DIGEST_LEAF;
                if (!all_zeros(block + at, n))
                        pieces |= 1ull << i;
        }
        return pieces;
}

void digest_block(const uint8_t *block, size_t length, uint64_t pieces, uint8_t ret_hash[DIGEST_BYTES]) {
        uint8_t hashes[LEAVES][DIGEST_BYTES], leaves[LEAVES][DIGEST_BYTES];
        const uint8_t *full[LEAVES];
        size_t whole = length / DIGEST_LEAF, n = 0, taken = 0;
        need_zero_hashes();
        for (size_t i = 0; i < whole; i++)
                if (pieces >> i & 1)
                        full[n++] = block + i * DIGEST_LEAF;
        lanes_sha256(full, n, DIGEST_LEAF, hashes);
        for (size_t i = 0; i < whole; i++)
                memcpy(leaves[i], pieces >> i & 1 ? hashes[taken++] : zero_leaf, DIGEST_BYTES);
        if (length % DIGEST_LEAF) {
                const uint8_t *last = pieces >> whole & 1 ? block + whole * DIGEST_LEAF : zeros;
                lanes_sha256(&last, 1, length % DIGEST_LEAF, &leaves[whole]);
        }
        const uint8_t *all = leaves[0];
        lanes_sha256(&all, 1, digest_leaves(length) * DIGEST_BYTES, (uint8_t(*)[DIGEST_BYTES]) ret_hash);
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
        EVP_MD_CTX_free(digest->context);
        pthread_cond_destroy(&digest->changed);
        pthread_mutex_destroy(&digest->mutex);
        free(digest);
}

static void fold_zeros(struct digest *digest, uint64_t length) {
        uint8_t run[RUN][DIGEST_BYTES];
        for (unsigned i = 0; i < RUN; i++)
                memcpy(run[i], zero_block, DIGEST_BYTES);
        for (uint64_t blocks = length / TRANSFER_BLOCK; blocks > 0;) {
                size_t n = blocks < RUN ? (size_t) blocks : RUN;
                EVP_DigestUpdate(digest->context, run, n * DIGEST_BYTES);
                blocks -= n;
        }
        if (length % TRANSFER_BLOCK) {
                uint8_t last[DIGEST_BYTES];
                digest_block(NULL, (size_t) (length % TRANSFER_BLOCK), 0, last);
                EVP_DigestUpdate(digest->context, last, DIGEST_BYTES);
        }
}

static void fold(struct digest *digest, const struct range *range) {
        if (range->zero)
                fold_zeros(digest, range->length);
        else
                EVP_DigestUpdate(digest->context, range->hash, DIGEST_BYTES);
        digest->next += range->length;
}

static bool fold_early(struct digest *digest) {
        for (unsigned i = 0; i < digest->n_early; i++) {
                if (digest->early[i].offset != digest->next)
                        continue;
                fold(digest, &digest->early[i]);
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

static int add_locked(struct digest *digest, const struct range *range, struct error *err) {
        while (!digest->stopped && range->offset > digest->next && digest->n_early == DIGEST_EARLY_MAX)
                pthread_cond_wait(&digest->changed, &digest->mutex);
        if (digest->stopped)
                return stopped(err);
        if (overlaps(digest, range, err) < 0)
                return -1;
        if (range->offset > digest->next) {
                digest->early[digest->n_early++] = *range;
                return 0;
        }
        fold(digest, range);
        while (fold_early(digest))
                ;
        pthread_cond_broadcast(&digest->changed);
        return 0;
}

int digest_add(struct digest *digest, uint64_t offset, uint64_t length, const uint8_t *hash, struct error *err) {
        struct range range = {.offset = offset, .length = length, .zero = !hash};
        bool at_end = offset <= digest->bytes && length == digest->bytes - offset;
        if (offset % TRANSFER_BLOCK || length == 0 || offset > digest->bytes || length > digest->bytes - offset ||
            (length % TRANSFER_BLOCK && !at_end) || (hash && length > TRANSFER_BLOCK))
                return error_set(err, ERROR_PROTOCOL, "a range of %llu bytes at %llu is none of this image",
                                 (unsigned long long) length, (unsigned long long) offset);
        if (hash)
                memcpy(range.hash, hash, DIGEST_BYTES);
        pthread_mutex_lock(&digest->mutex);
        int result = add_locked(digest, &range, err);
        pthread_mutex_unlock(&digest->mutex);
        return result;
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
        at += sprintf(at, "d1:");
        for (unsigned i = 0; i < DIGEST_BYTES; i++) {
                *at++ = hex[hash[i] >> 4];
                *at++ = hex[hash[i] & 15];
        }
        *at = 0;
        return text;
}
