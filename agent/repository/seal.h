// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * What a sealed repository's secret is for (docs/repository.md, "Sealing"): the keys that are made of it by
 * HKDF-SHA-256 (RFC 5869), the bodies of groups under AES-256-GCM (NIST SP 800-38D), and the proofs of restore points.
 * All of it by OpenSSL. Whoever holds a secret or a key wipes it with its _fini. Pure functions, any thread.
 */
#include "agent/repository/group.h"
#include "agent/repository/label.h"
#include "agent/repository/point.h"

#define SEAL_SECRET  32
#define SEAL_PACK_ID 16

struct seal_secret {
        uint8_t bytes[SEAL_SECRET];
};
void seal_secret_new(struct seal_secret *ret_secret);
void seal_secret_fini(struct seal_secret *secret);

void seal_key_of_names(const struct seal_secret *secret, struct chunk_key *ret_key); // wipe it: OPENSSL_cleanse()
void seal_key_check(const struct seal_secret *secret, const char *repository_id, uint8_t ret_check[LABEL_KEY_CHECK]);
// The secret is this repository's. secret NULL: there is none. Both ways of being without the right one are said (fault
// 76): ERROR_NOT_FOUND when it is not there, ERROR_INVALID when it is another one, or the repository is not sealed.
int seal_check_secret(const struct seal_secret *secret, const struct label *label, struct error *err);

// The bodies of one pack: &seal.hook is what group_encode() and group_decode() take, from any thread. The key is wiped
// by seal_pack_fini().
struct seal_pack {
        struct group_seal hook;
        uint8_t key[32];
};
void seal_pack_init(struct seal_pack *seal, const struct seal_secret *secret, const uint8_t pack_id[SEAL_PACK_ID]);
void seal_pack_fini(struct seal_pack *seal);

// Of the text that point_print() has made, for point_close_text().
void seal_point_proof(const struct seal_secret *secret, const void *text, size_t length,
                      uint8_t ret_proof[POINT_PROOF]);
// `text` is what `point` was parsed from. ERROR_CORRUPT: nobody who has the key has made it.
int seal_check_point(const struct seal_secret *secret, const struct point *point, const void *text, struct error *err);
