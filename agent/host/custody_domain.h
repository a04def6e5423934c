// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * What custody and placement share: the domain of a step looked up by its UUID, what the job noted about it in the
 * journal, and its snapshots' metadata. Blocking, any worker; used by agent/host only.
 */
#include "agent/host/custody.h"
#include "agent/host/definition.h"
#include "agent/host/pool.h"

// Where libvirt keeps NVRAM files that no definition gives a place of their own.
#define NVRAM_DIRECTORY DEFINITION_NVRAM_DIRECTORY
#define NVRAM_ITEM      "nvram"

// Facts of a job on the source ...
#define FACT_WAS_RUNNING "was-running" // "yes" or "no"; set once, before anything is stopped
#define FACT_DEFINITION  "definition"  // inactive XML with secrets, as fenced
#define FACT_SNAPSHOTS   "snapshots"   // MoveInspectResult with the snapshots' part alone
#define FACT_AUTOSTART   "autostart"   // "yes" or "no"
#define FACT_PURGED      "purged."     // with the item: its file was about to be removed for good
#define FACT_PURGING     "purging"     // "yes" before the first of its disks is removed: what is left is not whole
#define FACT_RETIRED     "retired"     // "begun", then "undefined": from here on the job only goes forward
// ... and on the target.
#define FACT_DEFINED  "defined"   // UUID; set before the domain is defined here
#define FACT_SETTLED  "settled"   // the move is committed: nothing of it is taken away any more
#define FACT_IDENTITY "identity." // with the item: the file that this job made (hold_file_identity)

int custody_lookup(const struct custody *custody, virDomainPtr *ret, struct error *err);  // 1: there, 0: not, -1
int custody_require(const struct custody *custody, virDomainPtr *ret, struct error *err); // ERROR_NOT_FOUND
int custody_active(virDomainPtr domain, struct error *err);                               // 1, 0, -1
char *custody_name(virDomainPtr domain);                                                  // caller frees
int custody_definition(virDomainPtr domain, char **ret_xml, struct error *err);           // inactive, with secrets
int custody_undefine(virDomainPtr domain, struct error *err); // with all that libvirt keeps for it, NVRAM included

int custody_fact(const struct custody *custody, const char *key, char **ret_text, struct error *err); // 1, 0, -1
int custody_set_fact(const struct custody *custody, const char *key, const char *text, struct error *err);
int custody_fact_is(const struct custody *custody, const char *key, const char *text, struct error *err); // 1, 0, -1
// Before anything that job hold->job retired is removed for good.
int custody_note_purging(const struct custody *custody, const struct hold *hold, struct error *err);

// The holds of this job of one kind (0: any), and the one with this item: 1 found, 0 not, -1.
int custody_holds(const struct custody *custody, enum hold_kind kind, struct hold **ret, unsigned *ret_n,
                  struct error *err);
int custody_hold(const struct custody *custody, const char *item, struct hold *ret, struct error *err);
// ERROR_CONFLICT while something else here uses a file that is held, or is to be, or is laid over it, or may be
// (neighbour.h). The VM of `except_uuid` does not count; "": none.
int custody_check_unused(const struct custody *custody, const char *except_uuid, const struct hold *holds, unsigned n,
                         struct error *err);
// After files of these holds came or went, and before the holds themselves go: sidecars that nobody needs are removed,
// pools are read again. Never fails: it is tidiness, and no reason to stop a job.
void custody_tidy(const struct custody *custody, const struct hold *holds, unsigned n);

// Snapshots' metadata, parents first, into result->snapshot_xml and ->current_snapshot; and back.
int custody_snapshots_read(virDomainPtr domain, Drover__MoveInspectResult *result, struct error *err);
int custody_snapshot_define(virDomainPtr domain, const char *xml, const char *current, struct error *err);

// Whether the snapshots are those that this job's inspection noted; so they are when it noted none. 1, 0, -1.
int custody_snapshots_unchanged(const struct custody *custody, virDomainPtr domain, struct error *err);
int custody_check_saved_state(virDomainPtr domain, struct error *err); // ERROR_CONFLICT when there is one
// All that `job` noted, for a domain that was defined again: it may be another job than the custody's.
int custody_snapshots_restore(const struct custody *custody, const char *job, virDomainPtr domain, struct error *err);

// Shared between the files of custody.
int custody_keep(const struct custody *custody, virDomainPtr domain, const char *xml,
                 struct error *err);                                    // facts for release
int custody_put_back(const struct custody *custody, struct error *err); // every file to its place, the definition too
