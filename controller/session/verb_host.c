// SPDX-License-Identifier: LGPL-2.1-or-later
/* Verbs about hosts: members and those who are invited. Loop thread. */
#include "common/cleanup.h"
#include "common/log.h"
#include "common/memory.h"
#include "controller/session/agent_link.h"
#include "controller/session/batch.h"
#include "controller/session/certificate_ends.h"
#include "controller/session/hub.h"
#include "controller/session/relay.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

BATCH_FILL(fill, HOSTS, hosts, hosts, host_records, HostRecords, HostRecord)

// ---- records

static void add_facts(Drover__HostRecord *record, const struct fleet_host *host, bool whole) {
        if (!host->facts)
                return;
        Drover__HostFacts facts = *host->facts;
        if (!whole) { // a list is for comparing, and these are long
                facts.n_bridges = facts.n_machine_types = facts.n_firmwares = facts.n_domain_types = 0;
                facts.identity_reset = NULL;
        }
        record->facts = (Drover__HostFacts *) proto_copy(&facts.base);
}

static void add_details(Drover__HostRecord *record, const struct fleet_host *host) {
        record->pools = new_array(Drover__Pool *, host->n_pools + 1);
        record->networks = new_array(Drover__Network *, host->n_networks + 1);
        for (; record->n_pools < host->n_pools; record->n_pools++)
                record->pools[record->n_pools] = (Drover__Pool *) proto_copy(&host->pools[record->n_pools]->base);
        for (; record->n_networks < host->n_networks; record->n_networks++)
                record->networks[record->n_networks] =
                        (Drover__Network *) proto_copy(&host->networks[record->n_networks]->base);
}

static Drover__HostRecord *new_record(struct session *session, const struct fleet_host *host, bool whole) {
        Drover__HostRecord *record = new (Drover__HostRecord);
        drover__host_record__init(record);
        record->site = memory_string(host->site);
        record->name = memory_string(host->name);
        record->uuid = memory_string(host->uuid);
        record->state = memory_string(host->online ? "online" : "offline");
        record->last_seen_at = host->last_seen_at;
        record->offline_since = host->online ? 0 : host->offline_since;
        record->address = memory_string(host->address);
        record->certificate_expires_at = certificate_ends_of(session, host->uuid);
        record->clock_offset_seconds = host->clock_offset_seconds;
        for (size_t i = 0; i < host->n_vms; i++) {
                if (!fleet_vm_shown(session->fleet, host->vms[i]))
                        continue;
                record->vms++;
                record->vms_running += strcmp(host->vms[i]->domain->state, "running") == 0;
        }
        add_facts(record, host, whole);
        if (whole)
                add_details(record, host);
        return record;
}

static Drover__HostRecord *new_invited(const struct store_token *token) {
        Drover__HostRecord *record = new (Drover__HostRecord);
        drover__host_record__init(record);
        record->site = memory_string(token->site);
        record->name = memory_string(token->name);
        record->state = memory_string("invited");
        record->invited_until = token->expires_at;
        return record;
}

// ---- list and show

static int add_invited(struct verb_call *call, const char *site, struct batch *batch, struct error *err) {
        _cleanup_(free_p) struct store_token *tokens = NULL;
        unsigned n;
        int r = store_tokens_open(call->session->store, clock_wall(call->session->clock), &tokens, &n, err);
        for (unsigned i = 0; r == 0 && i < n; i++)
                if (!tokens[i].operator&& verb_may_see(call, tokens[i].site) &&
                    (!site[0] || strcmp(site, tokens[i].site) == 0))
                        r = batch_add(batch, &new_invited(&tokens[i])->base, err);
        return r;
}

int verb_host_list(struct verb_call *call, struct error *err) {
        const char *site = call->request->host_list->site;
        struct batch batch;
        size_t n;
        struct fleet_host *const *hosts = fleet_hosts(call->session->fleet, &n);
        if (site[0] && !verb_site(call, site, err))
                return -1;
        batch_init(&batch, call, fill);
        int r = 0;
        for (size_t i = 0; r == 0 && i < n; i++)
                if (verb_may_see(call, hosts[i]->site) && (!site[0] || strcmp(site, hosts[i]->site) == 0))
                        r = batch_add(&batch, &new_record(call->session, hosts[i], false)->base, err);
        if (r == 0)
                r = add_invited(call, site, &batch, err);
        if (r == 0)
                r = batch_end(&batch, err);
        batch_fini(&batch);
        return r;
}

int verb_host_show(struct verb_call *call, struct error *err) {
        struct batch batch;
        batch_init(&batch, call, fill);
        Drover__HostRecord *record =
                call->invited.id[0] ? new_invited(&call->invited) : new_record(call->session, call->host, true);
        int r = batch_add(&batch, &record->base, err);
        if (r == 0)
                r = batch_end(&batch, err);
        batch_fini(&batch);
        return r;
}

// ---- invite

static int reply_invitation(struct verb_call *call, char *token, int64_t expires_at, struct error *err) {
        Drover__OperatorReply reply = DROVER__OPERATOR_REPLY__INIT;
        Drover__Invitation invitation = DROVER__INVITATION__INIT;
        _cleanup_(free_p) char *command = memory_format("drover-agent join %s", token);
        invitation.token = token;
        invitation.command = command;
        invitation.expires_at = expires_at;
        invitation.name = call->object;
        reply.value_case = DROVER__OPERATOR_REPLY__VALUE_INVITATION;
        reply.invitation = &invitation;
        return verb_reply(call, &reply, true, err);
}

int verb_host_invite(struct verb_call *call, struct error *err) {
        const Drover__HostInvite *invite = call->request->host_invite;
        struct session *session = call->session;
        struct store_site site = {0};
        _cleanup_(free_p) char *token = NULL;
        int64_t expires_at;
        snprintf(call->object, sizeof(call->object), "%s/%s", invite->site, invite->host);
        snprintf(site.name, sizeof(site.name), "%s", invite->site);
        if (authority_invite_host(session->authority, invite->site, invite->host, invite->ttl_seconds, &token,
                                  &expires_at, err) < 0)
                return -1;
        if (!verb_site(call, invite->site, NULL) && fleet_site_put(session->fleet, &site, err) < 0)
                return -1;
        return reply_invitation(call, token, expires_at, err);
}

// ---- remove

static void find_job(const struct session *session, const char *name, char ret_id[33]) {
        Drover__JobRecords *jobs = runner_unfinished(session->runner);
        for (size_t i = 0; i < jobs->n_jobs; i++)
                if (strcmp(jobs->jobs[i]->source, name) == 0 || strcmp(jobs->jobs[i]->target, name) == 0)
                        snprintf(ret_id, 33, "%s", jobs->jobs[i]->id);
        proto_free(&jobs->base);
}

static int check_removable(const struct verb_call *call, const struct fleet_host *host, const char *name,
                           struct error *err) {
        char job[33] = "";
        find_job(call->session, name, job);
        if (!job[0] && host->n_vms == 0)
                return 0;
        if (job[0]) {
                error_set(err, ERROR_CONFLICT, "%s is part of job %s, which has not ended", name, job);
                error_hint(err, "drover job show %s", job);
        } else {
                error_set(err, ERROR_CONFLICT, "%s has %zu VM%s, which would run on unseen", name, host->n_vms,
                          host->n_vms == 1 ? "" : "s");
        }
        error_hint(err, "to remove it all the same: drover host rm %s --force", name);
        return -1;
}

static int withdraw(struct verb_call *call, struct error *err) {
        int done = store_token_withdraw(call->session->store, false, call->invited.site, call->invited.name, err);
        if (done == 0)
                return error_set(err, ERROR_NOT_FOUND, "the invitation of %s is gone already", call->object);
        if (done > 0)
                log_info("invitation withdrawn", "host", call->object, "user", call->user, NULL);
        return done < 0 ? -1 : 0;
}

// The certificate is revoked in the store before anything is cut, so nothing comes back.
int verb_host_remove(struct verb_call *call, struct error *err) {
        struct session *session = call->session;
        struct error why = ERROR_INIT;
        char uuid[NAME_UUID_LENGTH + 1], name[NAME_SITE_MAX + NAME_HOST_MAX + 2];
        if (call->invited.id[0])
                return withdraw(call, err);
        memcpy(uuid, call->host->uuid, sizeof(uuid));
        snprintf(name, sizeof(name), "%s/%s", call->host->site, call->host->name);
        if (!call->request->host_remove->force && check_removable(call, call->host, name, err) < 0)
                return -1;
        if (authority_remove_host(session->authority, uuid, err) < 0)
                return -1;
        error_set(&why, ERROR_DENIED, "host %s was removed from the fleet by %s", name, call->user);
        struct agent_link *link = hub_link(session->hub, uuid);
        if (link)
                agent_link_cut(link, &why);
        connection_cut(session, IDENTITY_HOST, uuid, &why);
        relay_cut(session->relay, uuid);
        certificate_ends_forget(session, uuid);
        call->host = NULL;
        fleet_host_remove(session->fleet, uuid);
        log_info("host removed", "host", name, "user", call->user, NULL);
        return 0;
}
