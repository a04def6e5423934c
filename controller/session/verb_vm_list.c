// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * vm list, a part at a time: the fleet may hold far more than a link's queue. Between two parts the fleet may change,
 * so what is remembered is the name of the last VM that was sent, and the next part begins after it. Loop thread.
 */
#include "common/memory.h"
#include "controller/session/batch.h"
#include "controller/session/operator_link.h"
#include <stdio.h>
#include <string.h>

struct listing {
        struct session *session;
        char sites[VERB_SITES_MAX], site[NAME_SITE_MAX + 1], host_uuid[NAME_UUID_LENGTH + 1];
        char state[201], search[201];
        // after which to go on
        char at_site[NAME_SITE_MAX + 1], at_host[NAME_HOST_MAX + 1];
        char *at_vm; // NULL: from the beginning of that host
};

struct part {
        Drover__VmRecord records[BATCH_RECORDS];
        Drover__VmRecord *pointers[BATCH_RECORDS];
        size_t n, bytes;
};

// Everything is borrowed from the fleet: to be packed before the loop goes on.
static void add_record(struct session *session, struct fleet_vm *vm, struct part *part) {
        const struct fleet_owner *owner = fleet_owner(session->fleet, vm->domain->uuid);
        Drover__VmRecord *record = part->pointers[part->n] = &part->records[part->n];
        drover__vm_record__init(record);
        record->site = vm->host->site;
        record->host = vm->host->name;
        record->domain = vm->domain;
        record->owner_epoch = owner ? owner->epoch : 0;
        record->job = (char *) (owner ? owner->job : "");
        record->host_online = vm->host->online;
        record->last_seen_at = vm->host->last_seen_at;
        part->bytes += protobuf_c_message_get_packed_size(&record->base);
        part->n++;
}

static void fill_reply(Drover__OperatorReply *reply, Drover__VmRecords *records, struct part *part) {
        drover__vm_records__init(records);
        records->vms = part->pointers;
        records->n_vms = part->n;
        reply->value_case = DROVER__OPERATOR_REPLY__VALUE_VMS;
        reply->vms = records;
}

static bool matches(const struct listing *listing, const struct fleet_vm *vm) {
        if (listing->state[0] && strcmp(listing->state, vm->domain->state) != 0)
                return false;
        if (listing->search[0] && !strcasestr(vm->domain->name, listing->search))
                return false;
        return fleet_vm_shown(listing->session->fleet, vm);
}

static bool host_matches(const struct listing *listing, const struct fleet_host *host) {
        if (listing->site[0] && strcmp(listing->site, host->site) != 0)
                return false;
        if (listing->host_uuid[0] && strcmp(listing->host_uuid, host->uuid) != 0)
                return false;
        return verb_sites_allow(listing->sites, host->site);
}

static void remember(struct listing *listing, const struct fleet_vm *vm) {
        snprintf(listing->at_site, sizeof(listing->at_site), "%s", vm->host->site);
        snprintf(listing->at_host, sizeof(listing->at_host), "%s", vm->host->name);
        free(listing->at_vm);
        listing->at_vm = memory_string(vm->domain->name);
}

static int compare(const struct listing *listing, const struct fleet_host *host) {
        int order = strcmp(host->site, listing->at_site);
        return order ? order : strcmp(host->name, listing->at_host);
}

// False when the part is full.
static bool add_host(struct listing *listing, const struct fleet_host *host, struct part *part) {
        bool here = listing->at_vm && compare(listing, host) == 0;
        for (size_t i = 0; i < host->n_vms; i++) {
                struct fleet_vm *vm = host->vms[i];
                if ((here && strcmp(vm->domain->name, listing->at_vm) <= 0) || !matches(listing, vm))
                        continue;
                add_record(listing->session, vm, part);
                if (batch_full(part->n, part->bytes)) {
                        remember(listing, vm);
                        return false;
                }
        }
        return true;
}

static bool add_hosts(struct listing *listing, struct part *part) {
        size_t n;
        struct fleet_host *const *hosts = fleet_hosts(listing->session->fleet, &n);
        for (size_t i = 0; i < n; i++)
                if (compare(listing, hosts[i]) >= 0 && host_matches(listing, hosts[i]) &&
                    !add_host(listing, hosts[i], part))
                        return false;
        return true;
}

static int list_more(struct stream *stream, enum stream_state *ret, struct error *err) {
        Drover__OperatorReply reply = DROVER__OPERATOR_REPLY__INIT;
        Drover__VmRecords records;
        struct part *part = new (struct part);
        bool all = add_hosts(stream->data, part);
        fill_reply(&reply, &records, part);
        *ret = all ? STREAM_LAST : STREAM_MORE;
        int r = stream_reply(stream, &reply, all, err);
        free(part);
        return r;
}

static void list_end(struct stream *stream) {
        struct listing *listing = stream->data;
        free(listing->at_vm);
        free(listing);
}

static const struct stream_kind list_kind = {.more = list_more, .end = list_end};

static int list_one(struct verb_call *call, const char *name, struct error *err) {
        Drover__OperatorReply reply = DROVER__OPERATOR_REPLY__INIT;
        Drover__VmRecords records;
        struct fleet_vm *vm;
        if (fleet_resolve_vm(call->session->fleet, name, &vm, err) < 0)
                return -1;
        if (!verb_may_see(call, vm->host->site)) {
                snprintf(call->object, sizeof(call->object), "%s/%s/%s", vm->host->site, vm->host->name,
                         vm->domain->name);
                return verb_refuse_site(call, call->object, err);
        }
        struct part *part = new (struct part);
        add_record(call->session, vm, part);
        fill_reply(&reply, &records, part);
        int r = verb_reply(call, &reply, true, err);
        free(part);
        return r;
}

int verb_list_place(const struct verb_call *call, const char *site, const char *name,
                    char ret_host_uuid[NAME_UUID_LENGTH + 1], struct error *err) {
        struct fleet_host *host;
        ret_host_uuid[0] = '\0';
        if (site[0] && !verb_site(call, site, err))
                return -1;
        if (!name[0])
                return 0;
        if (fleet_resolve_host(call->session->fleet, name, &host, err) < 0)
                return -1;
        memcpy(ret_host_uuid, host->uuid, sizeof(host->uuid));
        return verb_may_see(call, host->site) ? 0 : verb_refuse_site(call, name, err);
}

int verb_vm_list(struct verb_call *call, struct error *err) {
        const Drover__VmList *list = call->request->vm_list;
        char uuid[NAME_UUID_LENGTH + 1];
        struct stream *stream;
        if (list->vm[0])
                return list_one(call, list->vm, err);
        if (verb_list_place(call, list->site, list->host, uuid, err) < 0)
                return -1;
        struct listing *listing = new (struct listing);
        listing->session = call->session;
        memcpy(listing->sites, call->sites, sizeof(listing->sites));
        memcpy(listing->host_uuid, uuid, sizeof(uuid));
        snprintf(listing->site, sizeof(listing->site), "%s", list->site);
        snprintf(listing->state, sizeof(listing->state), "%s", list->state);
        snprintf(listing->search, sizeof(listing->search), "%s", list->search);
        if (stream_open(call->link, call->request->id, &list_kind, listing, &stream, err) < 0) {
                free(listing);
                return -1;
        }
        call->answered = true;
        stream_run(stream);
        return 0;
}
