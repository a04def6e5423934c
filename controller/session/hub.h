// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * Which host is connected, and over which link: host UUID to the one link that counts. It is how the runner reaches
 * the agents. Loop thread.
 */
#include "controller/job/runner.h"

struct hub;
struct agent_link;
struct hub *hub_new(void);
void hub_free(struct hub *hub); // when the last link has gone
struct runner_port hub_port(struct hub *hub);
struct agent_link *hub_link(const struct hub *hub, const char *host_uuid); // NULL: not connected
// The key belongs to the link and lives as long as it is in the hub. One link a host.
void hub_put(struct hub *hub, const char *host_uuid, struct agent_link *link);
void hub_drop(struct hub *hub, const char *host_uuid, struct agent_link *link);
// Ids of requests: never the same one twice, so that an answer cannot be taken for that of another connection.
uint64_t hub_next_id(struct hub *hub);
