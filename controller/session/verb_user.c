// SPDX-License-Identifier: LGPL-2.1-or-later
/* Verbs about users, the audit record, and an operator's own certificate. Loop thread. */
#include "common/cleanup.h"
#include "common/log.h"
#include "common/memory.h"
#include "controller/session/batch.h"
#include <stdio.h>
#include <string.h>

#define AUDITS_DEFAULT 50u
#define AUDITS_MAX     100000u

BATCH_FILL(fill_users, USERS, users, users, user_records, UserRecords, UserRecord)
BATCH_FILL(fill_audits, AUDITS, audits, audits, audit_records, AuditRecords, AuditRecord)

// ---- users

static void add_sites(Drover__UserRecord *record, const char *sites) {
        _cleanup_(free_p) char *copy = memory_string(sites);
        char *rest = copy;
        for (char *site; (site = strsep(&rest, " "));) {
                if (!*site)
                        continue;
                record->sites = memory_grow(record->sites, record->n_sites + 1, sizeof(*record->sites));
                record->sites[record->n_sites++] = memory_string(site);
        }
}

static Drover__UserRecord *new_user(const char *name, const char *role, const char *sites, const char *state) {
        Drover__UserRecord *record = new (Drover__UserRecord);
        drover__user_record__init(record);
        record->name = memory_string(name);
        record->role = memory_string(role);
        record->state = memory_string(state);
        add_sites(record, sites);
        return record;
}

static int add_members(struct verb_call *call, struct batch *batch, struct error *err) {
        _cleanup_(free_p) struct store_user *users = NULL;
        unsigned n;
        int r = store_users(call->session->store, &users, &n, err);
        for (unsigned i = 0; r == 0 && i < n; i++) {
                struct store_certificate newest = {0};
                if (store_certificate_newest(call->session->store, IDENTITY_USER, users[i].name, &newest, err) < 0)
                        return -1;
                Drover__UserRecord *record = new_user(users[i].name, users[i].role, users[i].sites, "active");
                record->created_at = users[i].created_at;
                record->last_seen_at = users[i].last_seen_at;
                record->certificate_expires_at = newest.not_after;
                r = batch_add(batch, &record->base, err);
        }
        return r;
}

static int add_invited(struct verb_call *call, struct batch *batch, struct error *err) {
        _cleanup_(free_p) struct store_token *tokens = NULL;
        unsigned n;
        int r = store_tokens_open(call->session->store, clock_wall(call->session->clock), &tokens, &n, err);
        for (unsigned i = 0; r == 0 && i < n; i++) {
                bool is_user = tokens[i].operator;
                if (!is_user)
                        continue;
                Drover__UserRecord *record = new_user(tokens[i].name, tokens[i].role, tokens[i].sites, "invited");
                record->created_at = tokens[i].created_at;
                r = batch_add(batch, &record->base, err);
        }
        return r;
}

int verb_user_list(struct verb_call *call, struct error *err) {
        struct batch batch;
        batch_init(&batch, call, fill_users);
        int r = add_members(call, &batch, err);
        if (r == 0)
                r = add_invited(call, &batch, err);
        if (r == 0)
                r = batch_end(&batch, err);
        batch_fini(&batch);
        return r;
}

static int join_sites(const struct verb_call *call, const Drover__UserInvite *invite, char sites[VERB_SITES_MAX],
                      struct error *err) {
        size_t used = 0;
        sites[0] = '\0';
        for (size_t i = 0; i < invite->n_sites; i++) {
                if (!verb_site(call, invite->sites[i], err))
                        return -1;
                if (used + strlen(invite->sites[i]) + 2 > VERB_SITES_MAX)
                        return error_set(err, ERROR_TOO_LARGE, "the names of the sites take more than %u bytes",
                                         VERB_SITES_MAX - 1);
                used += (size_t) snprintf(sites + used, VERB_SITES_MAX - used, "%s%s", used ? " " : "",
                                          invite->sites[i]);
        }
        return 0;
}

int verb_user_invite(struct verb_call *call, struct error *err) {
        const Drover__UserInvite *invite = call->request->user_invite;
        Drover__OperatorReply reply = DROVER__OPERATOR_REPLY__INIT;
        Drover__Invitation invitation = DROVER__INVITATION__INIT;
        char sites[VERB_SITES_MAX];
        _cleanup_(free_p) char *token = NULL;
        if (join_sites(call, invite, sites, err) < 0 ||
            authority_invite_user(call->session->authority, invite->name, role_parse(invite->role), sites,
                                  invite->ttl_seconds, &token, &invitation.expires_at, err) < 0)
                return -1;
        _cleanup_(free_p) char *command = memory_format("drover login %s", token);
        invitation.token = token;
        invitation.command = command;
        invitation.name = invite->name;
        reply.value_case = DROVER__OPERATOR_REPLY__VALUE_INVITATION;
        reply.invitation = &invitation;
        return verb_reply(call, &reply, true, err);
}

// A member, an invitation, or both.
static int remove_user(struct session *session, const char *name, struct error *err) {
        struct error why = ERROR_INIT;
        if (authority_remove_user(session->authority, name, &why) < 0 && why.code != ERROR_NOT_FOUND) {
                *err = why;
                return -1;
        }
        int withdrawn = store_token_withdraw(session->store, true, "", name, err);
        if (withdrawn == 0 && why.code != ERROR_NONE)
                *err = why;
        return withdrawn < 0 || (withdrawn == 0 && why.code != ERROR_NONE) ? -1 : 0;
}

int verb_user_remove(struct verb_call *call, struct error *err) {
        const char *name = call->request->user_remove->name;
        Drover__OperatorReply done = DROVER__OPERATOR_REPLY__INIT;
        struct error why = ERROR_INIT;
        if (remove_user(call->session, name, err) < 0)
                return -1;
        int r = verb_reply(call, &done, true, err); // first, for who removes himself
        error_set(&why, ERROR_DENIED, "user %s was removed by %s", name, call->user);
        connection_cut(call->session, IDENTITY_USER, name, &why);
        log_info("user removed", "name", name, "user", call->user, NULL);
        return r;
}

// ---- the record

static Drover__AuditRecord *new_audit(const struct store_audit *row) {
        Drover__AuditRecord *record = new (Drover__AuditRecord);
        drover__audit_record__init(record);
        record->id = (uint64_t) row->id;
        record->at = row->at;
        record->user = memory_string(row->user);
        record->role = memory_string(row->role);
        record->address = memory_string(row->address);
        record->verb = memory_string(row->verb);
        record->object = memory_string(row->object);
        record->outcome = memory_string(row->outcome);
        record->job = memory_string(row->job);
        record->message = memory_string(row->message ? row->message : "");
        proto_clean(&record->base);
        return record;
}

int verb_audit_list(struct verb_call *call, struct error *err) {
        uint32_t limit = call->request->audit_list->limit;
        struct store_audit *rows;
        struct batch batch;
        unsigned n;
        if (limit > AUDITS_MAX)
                return error_set(err, ERROR_INVALID, "at most %u records can be listed at once", AUDITS_MAX);
        if (store_audits(call->session->store, limit ? limit : AUDITS_DEFAULT, &rows, &n, err) < 0)
                return -1;
        batch_init(&batch, call, fill_audits);
        int r = 0;
        for (unsigned i = 0; i < n; i++) {
                if (r == 0)
                        r = batch_add(&batch, &new_audit(&rows[i])->base, err);
                store_audit_fini(&rows[i]);
        }
        free(rows);
        if (r == 0)
                r = batch_end(&batch, err);
        batch_fini(&batch);
        return r;
}

// ---- one's own certificate

int verb_certificate_renew(struct verb_call *call, struct error *err) {
        const ProtobufCBinaryData *csr = &call->request->certificate_renew->csr_der;
        Drover__OperatorReply reply = DROVER__OPERATOR_REPLY__INIT;
        Drover__Certificate certificate = DROVER__CERTIFICATE__INIT;
        struct buffer pem, authority;
        buffer_init(&pem, 0);
        buffer_init(&authority, 0);
        int r = authority_renew(call->session->authority, call->peer, csr->data, csr->len, &pem, &authority, err);
        if (r == 0) {
                certificate.certificate_pem = (ProtobufCBinaryData){.data = pem.data, .len = pem.length};
                certificate.authority_pem = (ProtobufCBinaryData){.data = authority.data, .len = authority.length};
                reply.value_case = DROVER__OPERATOR_REPLY__VALUE_CERTIFICATE;
                reply.certificate = &certificate;
                r = verb_reply(call, &reply, true, err);
        }
        buffer_fini(&pem);
        buffer_fini(&authority);
        return r;
}
