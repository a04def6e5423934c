// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * The agent's memory across crashes: one SQLite file (common/db: WAL, FULL). It holds, for each VM, the highest epoch
 * granted here; for each step asked of this host, the intent and then the result; for each file that a job holds out
 * of libvirt's reach or is building, where it is and what it was called. Thread-safe (one lock around one db).
 *
 * Order that everything relies on: intent committed -> act -> result committed -> answer sent.
 */
#include "common/error.h"
#include "common/name.h"
#include <stdbool.h>
#include <stdint.h>

struct journal;
int journal_open(const char *path, struct journal **ret, struct error *err);
void journal_close(struct journal *journal);

// Epochs: at most INT64_MAX. grant: ERROR_STALE when `epoch` is lower than what is recorded for the VM; records it when
// higher.
int journal_grant(struct journal *journal, const char *vm_uuid, uint64_t epoch, struct error *err);
int journal_epoch(struct journal *journal, const char *vm_uuid, uint64_t *ret_epoch,
                  struct error *err); // 0: never told

// Steps, keyed (job, step, attempt). `request` and `result` are packed messages.
enum journal_step { JOURNAL_STEP_NEW, JOURNAL_STEP_INTENT, JOURNAL_STEP_DONE };
// Records the intent if there is none. DONE gives the recorded result (caller free()s *ret_result).
int journal_step_begin(struct journal *journal, const char *job, const char *step, uint32_t attempt,
                       const uint8_t *request, size_t length, enum journal_step *ret_state, uint8_t **ret_result,
                       size_t *ret_length, struct error *err);
int journal_step_end(struct journal *journal, const char *job, const char *step, uint32_t attempt,
                     const uint8_t *result, size_t length, struct error *err);
// Small facts of a job that a later or repeated step needs (was_running, definition, ...). set replaces. get: 1 found,
// 0 not, -1.
int journal_fact_set(struct journal *journal, const char *job, const char *key, const void *bytes, size_t length,
                     struct error *err);
int journal_fact_get(struct journal *journal, const char *job, const char *key, uint8_t **ret_bytes, size_t *ret_length,
                     struct error *err);
int journal_fact_remove(struct journal *journal, const char *job, const char *key, struct error *err); // absent is fine
#define JOURNAL_FACT_REVIVES "revives" // the job whose retired VM this one brings back
// A job with this fact: 1, 0 none, -1.
int journal_fact_find(struct journal *journal, const char *key, const char *text, char ret_job[33], struct error *err);
#define JOURNAL_KEY_MAX 64
// The same of facts whose keys begin so: a job and the key.
int journal_fact_find_prefix(struct journal *journal, const char *prefix, const char *text, char ret_job[33],
                             char ret_key[JOURNAL_KEY_MAX], struct error *err);
int journal_job_forget(struct journal *journal, const char *job, struct error *err); // steps, facts and holds of a job
// Of jobs without holds: finished steps older than `before`, then the facts that no step is left for. A job that
// brings back what another one retired is kept for as long as that one has holds: those are what it is at work on.
int journal_prune(struct journal *journal, int64_t before, struct error *err);

// Holds: the files of a VM that a job has in its hands on this host.
enum hold_kind {
        HOLD_INCOMING = 1,  // being written here: <directory>/.drover/<job>.<item>.part, to become <directory>/<name>
        HOLD_PUBLISHED = 2, // was incoming, now <directory>/<name>; undo removes it
        HOLD_FENCED = 3,    // source: renamed from <directory>/<name> to <directory>/.drover/<job>.<item>.held
        HOLD_RETIRED = 4,   // source after commit: stays there until purged
        HOLD_REVIVED = 5, // was retired, on its way back to <directory>/<name> by another job, until that is committed
};
// HOLD_FENCED or HOLD_RETIRED with the item HOLD_DOMAIN stands for a VM whose files alone cannot keep it from starting
// (it has none that libvirt insists on): its definition is kept as a fact, undefined meanwhile. directory and name are
// "".
#define HOLD_DOMAIN "domain"
struct hold {
        char job[33];
        char vm_uuid[NAME_UUID_LENGTH + 1];
        char vm_name[NAME_VM_MAX + 1];
        char item[16]; // disk target, "nvram", or "domain" (below)
        enum hold_kind kind;
        char directory[4096]; // absolute, found through libvirt on this host, never from a message
        char name[256];
        uint64_t bytes; // allocation when it was held, or reserved size
        int64_t at;     // wall seconds
        // A block device, which is never renamed: <directory>/<name> is its path, whatever the kind. HOLD_INCOMING: a
        // volume made by this job, or about to be.
        bool device;
};
int journal_hold_put(struct journal *journal, const struct hold *hold,
                     struct error *err); // insert or replace by (job, item)
int journal_hold_remove(struct journal *journal, const char *job, const char *item, struct error *err);
// All holds of a job (job NULL: of all jobs; kind 0: of any kind), ordered by job, item. Caller free()s *ret.
int journal_holds(struct journal *journal, const char *job, enum hold_kind kind, struct hold **ret, unsigned *ret_n,
                  struct error *err);
// A file of its own beside the journal, made when absent: what is known of a device (agent/blocks/verified.h), which
// has no directory of ours beside it. The fd is the caller's, read-write.
int journal_record_open(struct journal *journal, const char *job, const char *item, int *ret_fd, struct error *err);
int journal_record_remove(struct journal *journal, const char *job, const char *item,
                          struct error *err); // synced; absent is fine
// The job that has fenced this VM here, "" if none.
int journal_fenced_by(struct journal *journal, const char *vm_uuid, char ret_job[33], struct error *err);
