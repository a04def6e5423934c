// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * The certificate authority and who may do what: makes the CA at `init`, issues certificates against tokens and for
 * renewal, signs transfer tickets, and answers whether a certificate that has been shown is still good. Loop thread.
 *
 * Fault point: controller.join.before-commit, in the transaction of a join.
 *
 * Files in the state directory: ca.key ca.crt (the authority), server.key server.crt (the controller's own), all 0600.
 */
#include "common/clock.h"
#include "common/tls.h"
#include "controller/store/store.h"
#include "proto/codec.h"

enum role { ROLE_NONE = 0, ROLE_VIEWER, ROLE_OPERATOR, ROLE_ADMIN }; // each may what those before it may
enum role role_parse(const char *word);                              // ROLE_NONE for anything unknown
const char *role_word(enum role role);

struct authority;
struct authority_config {
        const char *directory;
        uint32_t host_days, user_days, server_days; // validity of certificates; 0: defaults 90, 365, 90
        uint32_t certificate_seconds;               // tests: overrides all three when not 0
        const struct clock *clock;                  // NULL: the system's
};
// `drover-controller init`: CA, controller certificate, database settings. Refuses when there is one already
// (ERROR_CONFLICT).
int authority_create(const struct authority_config *config, struct store *store, const char *name,
                     const char *const *addresses, unsigned n, struct error *err);
int authority_open(const struct authority_config *config, struct store *store, struct authority **ret,
                   struct error *err);
void authority_free(struct authority *authority);
const char *authority_name(const struct authority *authority);
void authority_fingerprint(const struct authority *authority, char ret_hex[65]);
struct tls_credentials *authority_credentials(struct authority *authority); // the controller's own, newest; borrowed
int authority_renew_own(struct authority *authority, bool *ret_renewed,
                        struct error *err); // when 2/3 of its life is over
const char *const *authority_addresses(const struct authority *authority, unsigned *ret_n);

// Tokens. ttl 0: one hour; at most 7 days. The text is given once and only its hash is kept.
int authority_invite_host(struct authority *authority, const char *site, const char *host, uint32_t ttl_seconds,
                          char **ret_token, int64_t *ret_expires_at, struct error *err);
int authority_invite_user(struct authority *authority, const char *user, enum role role, const char *sites,
                          uint32_t ttl_seconds, char **ret_token, int64_t *ret_expires_at, struct error *err);
// drover-join/1: one use, in time, right secret (compared in constant time), CSR good; in one transaction marks the
// token used, adds the host (new UUID) or user, records the certificate. ERROR_DENIED with one text for unknown and
// wrong. A host name that a member already bears: ERROR_CONFLICT, hint to remove it first.
int authority_join(struct authority *authority, const Drover__JoinRequest *request, Drover__JoinReply **ret,
                   struct error *err);
// The first operator's (admin) key, certificate, CA and config written into `directory` for the command line.
int authority_first_operator(struct authority *authority, const char *user, const char *directory, struct error *err);
int authority_renew(struct authority *authority, const struct identity *peer, const uint8_t *csr_der, size_t length,
                    struct buffer *certificate_pem, struct buffer *authority_pem, struct error *err);
// Is the certificate of an open or new connection known, unrevoked and its subject a member? ERROR_DENIED says which.
int authority_check_peer(struct authority *authority, const struct identity *peer, struct error *err);
int authority_role_of(struct authority *authority, const char *user, enum role *ret_role, char ret_sites[1024],
                      struct error *err);
int authority_remove_host(struct authority *authority, const char *uuid,
                          struct error *err); // revokes; the caller cuts connections
int authority_remove_user(struct authority *authority, const char *user, struct error *err); // refuses the last admin
// A ticket for one attempt at one transfer: fills certificates (newest of each host), nonce, expiry (now + 10 min),
// signs.
int authority_ticket(struct authority *authority, Drover__Ticket *ticket, struct buffer *signed_ticket,
                     struct error *err);
EVP_PKEY *authority_ticket_key(struct authority *authority); // public part is the server certificate's; borrowed
