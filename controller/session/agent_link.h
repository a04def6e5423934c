// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * drover-agent/1: one host's connection. Whose it is says its certificate; nothing in a message can speak for another
 * host. Loop thread.
 *
 *      open --Hello--> online (in the hub) ---> gone
 */
#include "controller/session/connection.h"

struct agent_link;
struct question;
// `result` is NULL when none came: the link was lost, or the time was over.
typedef void (*question_fn)(const Drover__AgentResult *result, const struct error *why, void *data);

// request->id is set here. For the runner, which hears of the result through runner_on_result().
int agent_link_send(struct agent_link *link, Drover__AgentRequest *request, uint64_t *ret_id, struct error *err);
// The same for one who waits himself; `answer` is called once, and not after question_forget().
int agent_link_ask(struct agent_link *link, Drover__AgentRequest *request, question_fn answer, void *data,
                   struct question **ret, struct error *err);
void question_forget(struct question *question);
// Out of the hub at once, and closed; the fleet and the runner are told. Says why to the agent.
void agent_link_cut(struct agent_link *link, const struct error *why);
