// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * What jobs are made of: for each kind of job its steps, where each is done, which request asks for it, and how it is
 * undone. The runner knows nothing of moves; a new kind of job is a new recipe.
 */
#include "controller/job/job.h"

enum recipe_place { AT_SOURCE, AT_TARGET, AT_CONTROLLER };

struct recipe_step {
        const char *name;
        enum recipe_place place;
        // Set the verb of the request, whose memory the request owns. The runner fills job, step, attempt, VM and
        // epoch.
        int (*fill)(const struct job *job, const struct job_step *step, Drover__AgentRequest *request,
                    struct error *err);
        // Optional: look at a good result; a failure here is a failure of the step.
        int (*accept)(struct job *job, struct job_step *step, const Drover__AgentResult *result, struct error *err);
        bool copies;   // an image: may be tried again, and where it is sent its request carries a ticket for one path
        bool original; // of a clone: its request is about the VM that is cloned, under that one's epoch
        bool commits;  // done by the controller: the commit point
};

struct recipe {
        const char *kind;                                // "vm.move"
        int (*load)(struct job *job, struct error *err); // unpack row.spec
        void (*steps)(struct job *job);                  // append the forward steps
        void (*undo)(struct job *job);                   // append the undo steps; NULL: nothing to undo
        void (*end)(struct job *job);                    // optional: when it is done, before the answers are forgotten
        const char *(*host)(const struct job *job, enum recipe_place place); // host UUID
        const struct recipe_step *const *all; // NULL-terminated, to find a step's kind by name
        bool needs_answer_soon; // a request that a host left unanswered is a failure, not something to wait for
};

const struct recipe *recipe_by_kind(const char *kind);       // NULL: unknown
const struct recipe *recipe_of(const struct store_job *row); // a batch is of its parts' kind
const struct recipe_step *recipe_step_by_name(const struct recipe *recipe, const char *name, const struct job *job,
                                              unsigned *ret_item);
// "send-vda": name and item of a step as recorded; buffer of 32
void recipe_step_label(const struct job *job, const struct recipe_step *kind, unsigned item, char label[32]);

extern const struct recipe recipe_batch;
extern const struct recipe recipe_move, recipe_clone, recipe_undo;
extern const struct recipe *const recipe_singles[];        // power actions, purge; NULL-terminated
const char *recipe_power_kind(Drover__PowerAction action); // "vm.start"
