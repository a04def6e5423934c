// SPDX-License-Identifier: LGPL-2.1-or-later
/* The hosts that are connected, hashed by UUID. Loop thread. */
#include "controller/session/hub.h"
#include "common/memory.h"
#include "controller/fleet/index.h"
#include "controller/session/agent_link.h"

struct hub {
        struct index *links; // struct agent_link by host UUID
        uint64_t last_id;
};

struct hub *hub_new(void) {
        struct hub *hub = new (struct hub);
        hub->links = index_new();
        return hub;
}

void hub_free(struct hub *hub) {
        if (!hub)
                return;
        index_free(hub->links);
        free(hub);
}

struct agent_link *hub_link(const struct hub *hub, const char *host_uuid) {
        return index_get(hub->links, host_uuid);
}

void hub_put(struct hub *hub, const char *host_uuid, struct agent_link *link) {
        index_add(hub->links, host_uuid, link);
}

void hub_drop(struct hub *hub, const char *host_uuid, struct agent_link *link) {
        index_remove(hub->links, host_uuid, link);
}

uint64_t hub_next_id(struct hub *hub) {
        return ++hub->last_id;
}

static int send_request(void *data, const char *host_uuid, Drover__AgentRequest *request, uint64_t *ret_id,
                        struct error *err) {
        struct agent_link *link = hub_link(data, host_uuid);
        if (!link)
                return error_set(err, ERROR_UNREACHABLE, "the host is not connected");
        return agent_link_send(link, request, ret_id, err);
}

struct runner_port hub_port(struct hub *hub) {
        return (struct runner_port){.send = send_request, .data = hub};
}
