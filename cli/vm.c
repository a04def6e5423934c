// SPDX-License-Identifier: LGPL-2.1-or-later
/* drover vm list, show, xml: what runs where. */
#include "cli/verb.h"

#include <stdio.h>
#include <string.h>

COLLECT(collect, VMS, vms, vms, record_vm(reply->vms->vms[i], false))
COLLECT(collect_whole, VMS, vms, vms, record_vm(reply->vms->vms[i], true))
COLLECT(collect_retired, RETIRED, retired, retired, record_retired(reply->retired->retired[i]))

static const struct column columns[] = {
        {"SITE", "site", COLUMN_TEXT, false},
        {"HOST", "host", COLUMN_TEXT, false},
        {"NAME", "name", COLUMN_TEXT, false},
        {"STATE", "state", COLUMN_TEXT, false},
        {"VCPUS", "vcpus", COLUMN_NUMBER, false},
        {"MEMORY", "memory_bytes", COLUMN_SIZE, false},
        {"DISKS", "disks", COLUMN_COUNT, false},
        {"ALLOCATED", "disk_allocation_bytes", COLUMN_SIZE, false},
        {"JOB", "job", COLUMN_TEXT, false},
        {"AUTOSTART", "autostart", COLUMN_YES, true},
        {"SEEN", "last_seen_at", COLUMN_AGE, true},
        {"UUID", "uuid", COLUMN_TEXT, true},
        {0},
};
static const struct column retired_columns[] = {
        {"SITE", "site", COLUMN_TEXT, false},
        {"HOST", "host", COLUMN_TEXT, false},
        {"NAME", "name", COLUMN_TEXT, false},
        {"ALLOCATED", "allocation_bytes", COLUMN_SIZE, false},
        {"DISKS", "disks", COLUMN_TEXT, false},
        {"RETIRED", "retired_at", COLUMN_AGE, false},
        {"JOB", "job", COLUMN_TEXT, false},
        {"UUID", "uuid", COLUMN_TEXT, true},
        {0},
};

static int list_retired(struct invocation *call, struct error *err) {
        VERB(retired_list, RETIRED_LIST, retired_list, RetiredList)
        if (option_given(call, "--state"))
                return error_set(err, ERROR_USAGE, "--state is of VMs; what moves left behind has none");
        verb.site = verb_text(call, "--site");
        verb.host = verb_text(call, "--host");
        verb.search = verb_text(call, "--search");
        return list_run(call, &request, collect_retired, retired_columns, "name", "no retired copies", err);
}

static int list(struct invocation *call, struct error *err) {
        VERB(vm_list, VM_LIST, vm_list, VmList)
        if (option_given(call, "--retired"))
                return list_retired(call, err);
        verb.site = verb_text(call, "--site");
        verb.host = verb_text(call, "--host");
        verb.state = verb_text(call, "--state");
        verb.search = verb_text(call, "--search");
        return list_run(call, &request, collect, columns, "name", "no VMs", err);
}

static int show(struct invocation *call, struct error *err) {
        VERB(vm_list, VM_LIST, vm_list, VmList)
        verb.vm = (char *) call->objects[0];
        return list_show(call, &request, collect_whole, "name", "such VM", err);
}

static int print_xml(const Drover__OperatorReply *reply, void *data, struct error *err) {
        (void) data;
        if (reply->value_case != DROVER__OPERATOR_REPLY__VALUE_XML)
                return error_set(err, ERROR_PROTOCOL, "the controller's answer holds no definition");
        fwrite(reply->xml->xml.data, 1, reply->xml->xml.len, stdout);
        return 1;
}

static int xml(struct invocation *call, struct error *err) {
        VERB(vm_xml, VM_XML, vm_xml, VmXml)
        verb.vm = (char *) call->objects[0];
        return client_ask_once(&request, print_xml, NULL, err);
}

static int purge(struct invocation *call, struct error *err) {
        char question[256];
        VERB(vm_purge, VM_PURGE, vm_purge, VmPurge)
        verb.all = option_given(call, "--all");
        if (verb.all == (call->n_objects > 0)) {
                error_set(err, ERROR_USAGE, "drover vm purge takes a VM, or --all");
                error_hint(err, "drover vm list --retired");
                return -1;
        }
        verb.vm = (char *) (verb.all ? "" : call->objects[0]);
        snprintf(question, sizeof(question), "Remove %s%s for good?",
                 verb.all ? "all retired copies" : "the retired copy ", verb.all ? "" : call->objects[0]);
        if (list_confirm(call, question, err) < 0)
                return -1;
        return follow_request(&request, call, err);
}

static const struct command_option filters[] = {
        {"--site", "SITE", "only at this site", false},
        {"--host", "SITE/HOST", "only on this host", false},
        {"--state", "STATE", "only in this state: running, paused, \"shut off\" ...", false},
        {"--search", "TEXT", "only with TEXT in the name", false},
        {"--retired", NULL, "what moves left behind at their sources", false},
        {0},
};
static const struct command_option all[] = {{"--all", NULL, "every retired copy of the fleet", false}, {0}};

const struct command vm_commands[] = {
        {.noun = "vm", .verb = "list", .summary = "What runs where", .options = filters, .run = list, .lists = true},
        {.noun = "vm",
         .verb = "show",
         .objects = "VM",
         .objects_min = 1,
         .objects_max = 1,
         .summary = "One VM: disks, interfaces, snapshots, and what stands in the way of a move",
         .run = show,
         .lists = true,
         .completes = "vm"},
        {.noun = "vm",
         .verb = "xml",
         .objects = "VM",
         .objects_min = 1,
         .objects_max = 1,
         .summary = "Its definition, as libvirt on its host gives it now",
         .run = xml,
         .completes = "vm"},
        {.noun = "vm",
         .verb = "purge",
         .objects = "[VM]",
         .objects_max = 1,
         .summary = "Remove for good what a move left behind at its source",
         .options = all,
         .run = purge,
         .job = true,
         .asks = true},
        {0},
};
