// SPDX-License-Identifier: LGPL-2.1-or-later
/* drover host: inviting, seeing and removing hosts. */
#include "cli/invitation.h"
#include "cli/verb.h"
#include "common/name.h"

#include <stdio.h>

COLLECT(collect, HOSTS, hosts, hosts, record_host(reply->hosts->hosts[i], false))
COLLECT(collect_whole, HOSTS, hosts, hosts, record_host(reply->hosts->hosts[i], true))

static const struct column columns[] = {
        {"SITE", "site", COLUMN_TEXT, false},
        {"NAME", "name", COLUMN_TEXT, false},
        {"STATE", "state", COLUMN_TEXT, false},
        {"VMS", "vms", COLUMN_NUMBER, false},
        {"RUNNING", "vms_running", COLUMN_NUMBER, false},
        {"CPUS", "cpus", COLUMN_NUMBER, false},
        {"MEMORY", "memory_bytes", COLUMN_SIZE, false},
        {"LIBVIRT", "libvirt_version", COLUMN_TEXT, false},
        {"SEEN", "last_seen_at", COLUMN_AGE, false},
        {"AGENT", "agent_version", COLUMN_TEXT, true},
        {"ADDRESS", "address", COLUMN_TEXT, true},
        {"UUID", "uuid", COLUMN_TEXT, true},
        {0},
};

static int list(struct invocation *call, struct error *err) {
        VERB(host_list, HOST_LIST, host_list, HostList)
        verb.site = verb_text(call, "--site");
        return list_run(call, &request, collect, columns, "name", "no hosts: drover host invite SITE/HOST", err);
}

static int show(struct invocation *call, struct error *err) {
        VERB(host_show, HOST_SHOW, host_show, HostShow)
        verb.host = (char *) call->objects[0];
        return list_show(call, &request, collect_whole, "name", "such host", err);
}

static int invite(struct invocation *call, struct error *err) {
        char site[NAME_SITE_MAX + 1], host[NAME_HOST_MAX + 1];
        VERB(host_invite, HOST_INVITE, host_invite, HostInvite)
        if (name_split_host(call->objects[0], site, host, err) < 0 ||
            option_duration(call, "--ttl", &verb.ttl_seconds, err) < 0)
                return -1;
        verb.site = site;
        verb.host = host;
        return invitation_print(call, &request, err);
}

static int rm(struct invocation *call, struct error *err) {
        char question[256];
        VERB(host_remove, HOST_REMOVE, host_remove, HostRemove)
        verb.host = (char *) call->objects[0];
        verb.force = option_given(call, "--force");
        snprintf(question, sizeof(question), "Remove %s from the fleet and revoke its certificate?", call->objects[0]);
        if (list_confirm(call, question, err) < 0)
                return -1;
        return list_done(call, &request, "host removed; its certificate is revoked", err);
}

static const struct command_option by_site[] = {{"--site", "SITE", "only of this site", false}, {0}};
static const struct command_option lifetime[] = {
        {"--ttl", "DURATION", "how long the invitation holds; 1h by default", false}, {0}};
static const struct command_option force[] = {{"--force", NULL, "although it still has VMs", false}, {0}};
const struct command host_commands[] = {
        {.noun = "host",
         .verb = "list",
         .summary = "All hosts and the state of each",
         .options = by_site,
         .run = list,
         .lists = true},
        {.noun = "host",
         .verb = "show",
         .objects = "SITE/HOST",
         .objects_min = 1,
         .objects_max = 1,
         .summary = "One host, with its pools, networks and bridges",
         .run = show,
         .lists = true,
         .completes = "host"},
        {.noun = "host",
         .verb = "invite",
         .objects = "SITE/HOST",
         .objects_min = 1,
         .objects_max = 1,
         .summary = "Print the one line to run on a new host",
         .description = "The line holds a secret for one use. The site is made if there is none of that name.",
         .options = lifetime,
         .run = invite,
         .lists = true},
        {.noun = "host",
         .verb = "rm",
         .objects = "SITE/HOST",
         .objects_min = 1,
         .objects_max = 1,
         .summary = "Remove a host: its certificate is revoked and its connection cut",
         .description = "Its VMs go on running there; drover no longer knows of them.",
         .options = force,
         .run = rm,
         .completes = "host",
         .asks = true},
        {0},
};
