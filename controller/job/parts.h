// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * Batches: several moves that were asked for together. Each is a job of its own, queued from the beginning, so that
 * after a restart all of them are there; the batch is one more job, without steps, that knows how far its parts are and
 * ends when the last of them has. A part begins when its hosts and its line have room (bounds.h), in the order of the
 * plan. Part of the runner; loop thread.
 */
#include "controller/job/job.h"

struct runner;

// Of a batch that is read: its plan has been unpacked, the rest is in the store.
int parts_load(struct store *store, struct job *batch, struct error *err);
void parts_free(struct job *batch);
void parts_record(const struct job *batch, Drover__JobRecord *record);
bool parts_may_start(const struct job *part); // or whatever is not part of a batch
void parts_tick(struct runner *runner);       // before jobs that have ended are forgotten
// These may end the batch, which is gone then.
int parts_cancel(struct job *batch, struct error *err);
int parts_retry(struct job *batch, struct error *err); // those that need an operator
int parts_set_rate(struct job *batch, uint64_t rate, struct error *err);
