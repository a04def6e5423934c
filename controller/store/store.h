// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * All the controller's SQL, behind narrow functions; one SQLite file through common/db. Belongs to the loop thread.
 * What is acknowledged to anyone (jobs, steps, epochs, certificates, tokens, audit) is committed, with FULL
 * synchronisation, before the call returns. What the fleet merely reports about itself (inventory) is written in
 * batches by store_inventory_*, within a transaction of the caller's.
 * Lists: the caller frees *ret with free(); structs hold fixed-size text, or pointers that the matching *_fini frees.
 */
#include "common/error.h"
#include "common/identity.h"
#include "common/name.h"
#include <stdint.h>

struct store;
int store_open(const char *path, struct store **ret, struct error *err);
void store_close(struct store *store);
// One transaction around several calls; calls outside one are transactions of their own.
int store_begin(struct store *store, struct error *err);
int store_commit(struct store *store, struct error *err);
void store_rollback(struct store *store);

// meta: small settings of the installation ("controller_uuid", "name", "addresses")
int store_meta_set(struct store *store, const char *key, const char *value, struct error *err);
int store_meta_get(struct store *store, const char *key, char **ret_value, struct error *err); // 1 found, 0 not, -1

struct store_site {
        char name[NAME_SITE_MAX + 1];
        char timezone[64];
        char rates[1024]; /* one a line */
};
int store_site_put(struct store *store, const struct store_site *site, struct error *err); // insert or replace
int store_site_remove(struct store *store, const char *name,
                      struct error *err); // ERROR_CONFLICT while it has hosts; takes back its open invitations
int store_sites(struct store *store, struct store_site **ret, unsigned *ret_n, struct error *err);

struct store_host {
        char uuid[NAME_UUID_LENGTH + 1]; // drover's own id for the host; new at each join
        char site[NAME_SITE_MAX + 1], name[NAME_HOST_MAX + 1];
        int64_t joined_at, last_seen_at, removed_at; // removed_at 0: a member
};
int store_host_add(struct store *store, const struct store_host *host,
                   struct error *err); // ERROR_CONFLICT: site/name taken by a member
int store_host_seen(struct store *store, const char *uuid, int64_t at, struct error *err);
int store_host_remove(struct store *store, const char *uuid, int64_t at, struct error *err); // also drops its inventory
int store_host_get(struct store *store, const char *uuid, struct store_host *ret,
                   struct error *err); // 1/0/-1; members only
int store_host_named(struct store *store, const char *site, const char *name, struct store_host *ret,
                     struct error *err);                                                           // likewise
int store_hosts(struct store *store, struct store_host **ret, unsigned *ret_n, struct error *err); // members only

struct store_certificate {
        uint8_t sha256[32];
        char serial[48];
        enum identity_kind kind;
        char subject[NAME_USER_MAX + 1]; // UUID or user name
        int64_t not_before, not_after, revoked_at;
};
int store_certificate_add(struct store *store, const struct store_certificate *certificate, struct error *err);
int store_certificates_revoke(struct store *store, enum identity_kind kind, const char *subject, int64_t at,
                              struct error *err);
// 1: known and not revoked; 0: unknown or revoked.
int store_certificate_valid(struct store *store, const uint8_t sha256[32], struct error *err);
int store_certificate_get(struct store *store, const uint8_t sha256[32], struct store_certificate *ret,
                          struct error *err); // 1/0/-1; revoked ones too
// The newest that is not revoked.
int store_certificate_newest(struct store *store, enum identity_kind kind, const char *subject,
                             struct store_certificate *ret, struct error *err); // 1/0/-1

// Forget all but the newest `keep` of a subject, and the one that is in use: a host that renews for ever fills nothing.
int store_certificates_trim(struct store *store, enum identity_kind kind, const char *subject,
                            const uint8_t keep_sha256[32], unsigned keep, struct error *err);

struct store_token {
        char id[33];
        uint8_t secret_sha256[32];
        bool operator;
        char site[NAME_SITE_MAX + 1], name[NAME_USER_MAX + 1]; // host's site and name, or user's name
        char role[16];
        char sites[1024]; // user: space-separated, empty: all
        int64_t created_at, expires_at, used_at;
};
int store_token_add(struct store *store, const struct store_token *token,
                    struct error *err); // replaces an unused one for the same name
int store_token_get(struct store *store, const char *id, struct store_token *ret, struct error *err); // 1/0/-1
int store_token_use(struct store *store, const char *id, int64_t at,
                    struct error *err); // ERROR_DENIED when used already
int store_tokens_open(struct store *store, int64_t now, struct store_token **ret, unsigned *ret_n,
                      struct error *err); // unused, unexpired
// Takes an open invitation back: 1, or 0 when there is none. `site` is empty for a user's.
int store_token_withdraw(struct store *store, bool is_operator, const char *site, const char *name, struct error *err);
int store_tokens_prune(struct store *store, int64_t before, struct error *err);

struct store_user {
        char name[NAME_USER_MAX + 1], role[16], sites[1024];
        int64_t created_at, last_seen_at, removed_at;
};
int store_user_put(struct store *store, const struct store_user *user, struct error *err);
int store_user_get(struct store *store, const char *name, struct store_user *ret,
                   struct error *err); // 1/0/-1; members only
int store_user_seen(struct store *store, const char *name, int64_t at, struct error *err);
int store_user_remove(struct store *store, const char *name, int64_t at, struct error *err);
int store_users(struct store *store, struct store_user **ret, unsigned *ret_n, struct error *err);

// Ownership: which host may run a VM, and the epoch of its newest grant. Epochs only grow.
struct store_owner {
        char vm_uuid[NAME_UUID_LENGTH + 1], host_uuid[NAME_UUID_LENGTH + 1];
        uint64_t epoch;
};
int store_owner_set(struct store *store, const struct store_owner *owner,
                    struct error *err); // ERROR_STALE when the epoch would fall
int store_owners(struct store *store, struct store_owner **ret, unsigned *ret_n, struct error *err);

// Last known inventory: packed messages by host, kind and key.
enum store_item { STORE_FACTS = 1, STORE_DOMAIN, STORE_POOL, STORE_NETWORK, STORE_RETIRED };
int store_inventory_put(struct store *store, const char *host_uuid, enum store_item item, const char *key,
                        const void *bytes, size_t length, struct error *err);
int store_inventory_remove(struct store *store, const char *host_uuid, enum store_item item, const char *key,
                           struct error *err);
// By host, then item. A callback that returns -1 ends it.
typedef int (*store_inventory_fn)(const char *host_uuid, enum store_item item, const char *key, const uint8_t *bytes,
                                  size_t length, void *data, struct error *err);
int store_inventory_each(struct store *store, store_inventory_fn fn, void *data, struct error *err);

// Jobs. `spec` is the packed plan that the runner executes.
struct store_job {
        char id[33], kind[32], state[16];
        char vm[320]; // as shown
        char vm_uuid[NAME_UUID_LENGTH + 1];
        char user[NAME_USER_MAX + 1];
        char source[130], target[130]; // SITE/HOST as shown
        int64_t created_ms, started_ms, finished_ms;
        unsigned error_code;
        char *error_message;
        char *error_hints; // hints one a line; NULL: none
        uint8_t *spec;
        size_t spec_length;
        char batch[33]; // the batch that it is a part of, or "". The batch itself: its own id
        uint64_t epoch; // granted to it
        bool committed, undoing, cancel_requested;
};
void store_job_fini(struct store_job *job);
int store_job_put(struct store *store, const struct store_job *job, struct error *err);           // insert or update
int store_job_get(struct store *store, const char *id, struct store_job *ret, struct error *err); // 1/0/-1
// Newest first; state NULL: any; unfinished_only: queued, running, waiting; limit 0: all. Caller: store_job_fini each,
// free(*ret).
int store_jobs(struct store *store, const char *state, bool unfinished_only, unsigned limit, struct store_job **ret,
               unsigned *ret_n, struct error *err);
// The parts of a batch, without the batch itself; as store_jobs().
int store_jobs_of(struct store *store, const char *batch, struct store_job **ret, unsigned *ret_n, struct error *err);
// The one job whose id begins so: 1, 0 none, -1; ERROR_CONFLICT when there are more.
int store_job_find(struct store *store, const char *beginning, char ret_id[33], struct error *err);
int store_jobs_failed_since(struct store *store, int64_t since_ms, unsigned *ret_n, struct error *err);

struct store_step {
        char job[33];
        unsigned number; // order within the job
        char name[32], host[130], state[16];
        uint32_t attempt;
        int64_t started_ms, finished_ms;
        unsigned error_code;
        char *error_message;
        uint8_t *result;
        size_t result_length; // packed AgentResult
};
void store_step_fini(struct store_step *step);
int store_step_put(struct store *store, const struct store_step *step, struct error *err);
int store_steps(struct store *store, const char *job, struct store_step **ret, unsigned *ret_n,
                struct error *err); // by number

struct store_transfer {
        char job[33], disk[16];
        char *digest;
        uint8_t *state;
        size_t state_length;
        uint32_t attempt, resumed;
};
void store_transfer_fini(struct store_transfer *transfer);
int store_transfer_put(struct store *store, const struct store_transfer *transfer, struct error *err); // by (job, disk)
int store_transfers(struct store *store, const char *job, struct store_transfer **ret, unsigned *ret_n,
                    struct error *err);

struct store_audit {
        int64_t id, at;
        char user[NAME_USER_MAX + 1], role[16], address[64], verb[48], object[400], outcome[24], job[33];
        char *message;
};
void store_audit_fini(struct store_audit *audit);
int store_audit_add(struct store *store, const struct store_audit *audit, int64_t *ret_id, struct error *err);
int store_audit_outcome(struct store *store, const char *job, const char *outcome, const char *message,
                        struct error *err); // when a job ends
int store_audits(struct store *store, unsigned limit, struct store_audit **ret, unsigned *ret_n,
                 struct error *err); // newest first; limit 0: all
