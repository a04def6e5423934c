// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * The closed list of what a controller can ask of this host: one row for each member of AgentRequest's oneof. A row
 * says what must come with the request, what is checked before anything is done, on which thread it runs, and how. The
 * table is constant; a run function is called on a worker and touches its own call only.
 */
#include "agent/host/connection.h"
#include "agent/journal/journal.h"
#include "agent/reuse/shelf.h"
#include "agent/transfer/transfer.h"
#include "proto/codec.h"

// What the run functions work with; each member is safe to use from any thread.
struct verb_host {
        struct connection *connection;
        struct journal *journal;
        struct transfers *transfers;
        struct shelf *shelf; // what is remembered of this host's images; NULL: nothing
};

// One request under way, as its run function sees it.
struct verb_call {
        const struct verb_host *host;
        const Drover__AgentRequest *request;
        Drover__AgentResult *result;   // the value of a success goes here, with its ownership
        bool (*cancelled)(void *data); // polled at least four times a second by whatever waits
        void (*progress)(const Drover__TransferState *state, void *data);
        void *data; // of the two above
};

enum verb_thread {
        VERB_LOOP,   // done at once by the runner itself
        VERB_POOL,   // a libuv worker: short calls to libvirt and to the file system
        VERB_THREAD, // a thread of its own: whatever waits for a guest, asks many file systems, or moves an image
};

enum verb_flags {
        VERB_JOB = 1u << 0,      // a step of a job: job and step are required, and the result is journalled
        VERB_VM = 1u << 1,       // vm_uuid is required
        VERB_EPOCH = 1u << 2,    // acts for the VM's owner: an epoch is required
        VERB_CHANGES = 1u << 3,  // the inventory is read again afterwards
        VERB_PREEMPTS = 1u << 4, // undo: cancels the job's other steps and runs when they have ended
        VERB_READS = 1u << 5,    // changes nothing, so it does not wait for others of the same VM
        VERB_TELLS = 1u << 6,    // can be the last of a job: its result goes behind the inventory of what it changed
};

struct verb {
        Drover__AgentRequest__VerbCase verb;
        const char *name; // the member's name in control.proto: in fault points, logs and errors
        unsigned flags;
        enum verb_thread thread;
        int (*check)(const Drover__AgentRequest *request, struct error *err); // this verb's own parameters
        int (*run)(struct verb_call *call, struct error *err);                // NULL for VERB_LOOP
};

const struct verb *verbs_find(Drover__AgentRequest__VerbCase verb); // NULL: not on the list
const struct verb *verbs_table(size_t *ret_n);                      // for tests
// All checks of a request: the envelope's part (job, step, vm_uuid, epoch), then the verb's own. ERROR_INVALID.
int verbs_check(const struct verb *verb, const Drover__AgentRequest *request, struct error *err);
