// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * SHA-256 (FIPS 180-4) over sixteen messages side by side: lane i of every vector belongs to message i. Written with
 * the compiler's vectors and compiled for the widths that pay; chosen at run time. Elsewhere, and for what does not
 * fill the lanes, OpenSSL does it. The compiler must optimise this file in every build, or the tests would wait for it.
 */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("O3")
#endif
#include "agent/blocks/lanes.h"
#include <openssl/sha.h>
#include <stdbool.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>

typedef uint32_t vector __attribute__((vector_size(4 * LANES)));

static const uint32_t initial[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                    0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
static const uint32_t constants[64] = {
        0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
        0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
        0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
        0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
        0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
        0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
        0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
        0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

#define ALWAYS       static inline __attribute__((always_inline))
#define ROTATE(x, n) (((x) >> (n)) | ((x) << (32 - (n))))
// One step of turning sixteen rows of sixteen words by the diagonal: swap between rows i and k what m1 and m2 say.
#define SWAP(i, k, m1, m2)                                                                                             \
        do {                                                                                                           \
                vector one = w[i], other = w[k];                                                                       \
                w[i] = __builtin_shufflevector(one, other, m1);                                                        \
                w[k] = __builtin_shufflevector(one, other, m2);                                                        \
        } while (0)
#define EVENS_1 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30
#define ODDS_1  1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31
#define EVENS_2 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29
#define ODDS_2  2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31
#define EVENS_4 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27
#define ODDS_4  4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31
#define EVENS_8 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23
#define ODDS_8  8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31

// w[i] becomes word i of all lanes, in the machine's byte order.
ALWAYS void load(vector w[16], const uint8_t *const lanes[LANES], size_t offset) {
#pragma GCC unroll 16
        for (unsigned i = 0; i < LANES; i++)
                memcpy(&w[i], lanes[i] + offset, 64);
#pragma GCC unroll 16
        for (unsigned i = 0; i < 16; i += 2)
                SWAP(i, i + 1, EVENS_1, ODDS_1);
#pragma GCC unroll 16
        for (unsigned i = 0; i < 16; i += i & 1 ? 3 : 1)
                SWAP(i, i + 2, EVENS_2, ODDS_2);
#pragma GCC unroll 16
        for (unsigned i = 0; i < 16; i += (i & 3) == 3 ? 5 : 1)
                SWAP(i, i + 4, EVENS_4, ODDS_4);
#pragma GCC unroll 16
        for (unsigned i = 0; i < 8; i++)
                SWAP(i, i + 8, EVENS_8, ODDS_8);
#pragma GCC unroll 16
        for (unsigned i = 0; i < 16; i++)
                w[i] = (ROTATE(w[i], 8) & 0xff00ff00u) | (ROTATE(w[i], 24) & 0x00ff00ffu);
}

ALWAYS void rounds(vector state[8], vector w[16]) {
        vector a = state[0], b = state[1], c = state[2], d = state[3];
        vector e = state[4], f = state[5], g = state[6], h = state[7];
#pragma GCC unroll 64
        for (unsigned t = 0; t < 64; t++) {
                if (t >= 16) {
                        vector early = w[(t + 1) & 15], late = w[(t + 14) & 15];
                        w[t & 15] += (ROTATE(early, 7) ^ ROTATE(early, 18) ^ (early >> 3)) + w[(t + 9) & 15] +
                                     (ROTATE(late, 17) ^ ROTATE(late, 19) ^ (late >> 10));
                }
                vector one = h + (ROTATE(e, 6) ^ ROTATE(e, 11) ^ ROTATE(e, 25)) + ((e & f) ^ (~e & g)) +
                             (w[t & 15] + constants[t]);
                vector two = (ROTATE(a, 2) ^ ROTATE(a, 13) ^ ROTATE(a, 22)) + ((a & b) | (c & (a | b)));
                h = g, g = f, f = e, e = d + one, d = c, c = b, b = a, a = one + two;
        }
        state[0] += a, state[1] += b, state[2] += c, state[3] += d;
        state[4] += e, state[5] += f, state[6] += g, state[7] += h;
}

// FIPS 180-4, 5.1.1, for a length that is a multiple of 64: one block, the same for every message.
ALWAYS void padding(uint8_t block[64], size_t length) {
        uint64_t bits = __builtin_bswap64((uint64_t) length * 8);
        memset(block, 0, 64);
        block[0] = 0x80;
        memcpy(block + 56, &bits, 8);
}

ALWAYS void hash_lanes(const uint8_t *const messages[LANES], size_t length, uint8_t (*ret_digests)[32]) {
        vector state[8], w[16];
        uint8_t last[64];
        const uint8_t *lasts[LANES];
        for (unsigned i = 0; i < 8; i++)
                state[i] = (vector){0} + initial[i];
        for (size_t offset = 0; offset < length; offset += 64) {
                load(w, messages, offset);
                rounds(state, w);
        }
        padding(last, length);
        for (unsigned i = 0; i < LANES; i++)
                lasts[i] = last;
        load(w, lasts, 0);
        rounds(state, w);
        for (unsigned lane = 0; lane < LANES; lane++)
                for (unsigned i = 0; i < 8; i++) {
                        uint32_t word = __builtin_bswap32(state[i][lane]);
                        memcpy(ret_digests[lane] + 4 * i, &word, 4);
                }
}

__attribute__((target("avx512f,avx512bw"))) static void hash_avx512(const uint8_t *const messages[LANES], size_t length,
                                                                    uint8_t (*ret_digests)[32]) {
        hash_lanes(messages, length, ret_digests);
}

__attribute__((target("avx2"))) static void hash_avx2(const uint8_t *const messages[LANES], size_t length,
                                                      uint8_t (*ret_digests)[32]) {
        hash_lanes(messages, length, ret_digests);
}

typedef void (*hash_fn)(const uint8_t *const messages[LANES], size_t length, uint8_t (*ret_digests)[32]);

static bool has_sha_instructions(void) {
        unsigned a, b, c, d;
        return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & 1u << 29);
}

// NULL: OpenSSL does it as well or better.
static hash_fn choose(void) {
        if (__builtin_cpu_supports("avx512bw"))
                return hash_avx512;
        if (!has_sha_instructions() && __builtin_cpu_supports("avx2"))
                return hash_avx2;
        return NULL;
}
#else
typedef void (*hash_fn)(const uint8_t *const *messages, size_t length, uint8_t (*ret_digests)[32]);
static hash_fn choose(void) {
        return NULL;
}
#endif

// Fewer messages than this are as fast one by one.
#define WORTHWHILE 5

void lanes_sha256(const uint8_t *const *messages, size_t n, size_t length, uint8_t (*ret_digests)[32]) {
        hash_fn hash = length > 0 && length % 64 == 0 ? choose() : NULL;
        size_t done = 0;
        while (hash && n - done >= WORTHWHILE) {
                const uint8_t *full[LANES];
                uint8_t digests[LANES][32];
                size_t have = n - done < LANES ? n - done : LANES;
                for (size_t i = 0; i < LANES; i++)
                        full[i] = messages[done + (i < have ? i : have - 1)];
                hash(full, length, digests);
                memcpy(ret_digests + done, digests, have * 32);
                done += have;
        }
        for (; done < n; done++)
                SHA256(messages[done], length, ret_digests[done]);
}
