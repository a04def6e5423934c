// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * The runner of requests. Lives on the loop; runs each request on the thread that its verb names.
 *
 *      queued -> running -> ended      (a queued step that is cancelled ends at once)
 *
 * Requests for the same VM run one after another in the order of their arrival, except those that only read. A request
 * of a job is a step with a memory: granted, intent committed, acted, result committed, answered, in this order; what
 * has been done before is answered from the journal, and what is still running takes the newest request's id. A step
 * that failed leaves its intent only: asked again, it runs again. An undo (VERB_PREEMPTS) and a newer attempt cancel
 * what they replace and run when that has ended. When the link goes, steps go on and nobody is answered: the controller
 * asks again on the next link.
 *
 * Fault points, on the step's thread: agent.step.<verb>.intent, .acted, .recorded; after each of the three commits and
 * acts above.
 */
#include "agent/session/verbs.h"
#include <uv.h>

#define STEPS_MAX      32 // requests in hand, queued and running; more get ERROR_BUSY
#define STEPS_MAX_UNDO 64 // the same for undo, which must get through

struct steps;
struct steps_hooks { // all on the loop thread
        // Exactly one for each request submitted; `behind`: it is to go behind what the step changed (VERB_TELLS).
        void (*result)(const Drover__AgentResult *result, bool behind, void *data);
        void (*progress)(const Drover__AgentProgress *progress, void *data);
        // The VM, or what this host holds, may look different now; comes before the result.
        void (*touched)(const char *vm_uuid, void *data);
        void *data;
};
struct steps *steps_new(uv_loop_t *loop, const struct verb_host *host, const struct steps_hooks *hooks);
// Takes the request, which has passed verbs_check(). -1 only when the id is in use on this link: the peer broke the
// rules.
int steps_submit(struct steps *steps, const struct verb *verb, Drover__AgentRequest *request, struct error *err);
void steps_detach(struct steps *steps); // the link is gone: nobody waits for an answer any more
unsigned steps_count(const struct steps *steps);
// Cancels all and takes nothing more; on_stopped when the last has ended, at the earliest from the loop's next turn.
void steps_stop(struct steps *steps, void (*on_stopped)(void *data), void *data);
void steps_free(struct steps *steps); // only when steps_count() is 0
