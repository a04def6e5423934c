// SPDX-License-Identifier: LGPL-2.1-or-later
/* Members: whether a certificate that was shown is still good, roles, and removal. Loop thread. */
#include "common/cleanup.h"
#include "controller/authority/authority_private.h"
#include <string.h>

static int check_certificate(struct authority *authority, const struct identity *peer, struct error *err) {
        struct store_certificate record;
        char when[CLOCK_RFC3339_MAX];
        const char *kind = identity_kind_word(peer->kind);
        int found = store_certificate_get(authority->store, peer->certificate_sha256, &record, err);
        if (found < 0)
                return -1;
        if (found == 0 || record.kind != peer->kind || strcmp(record.subject, peer->name) != 0)
                return error_set(err, ERROR_DENIED, "the certificate of %s %s is not known", kind, peer->name);
        if (record.revoked_at)
                return error_set(err, ERROR_DENIED, "the certificate of %s %s was revoked at %s", kind, peer->name,
                                 clock_rfc3339(record.revoked_at, when));
        if (record.not_after <= authority_now(authority))
                return error_set(err, ERROR_DENIED, "the certificate of %s %s expired at %s", kind, peer->name,
                                 clock_rfc3339(record.not_after, when));
        return 0;
}

static int is_member(struct authority *authority, const struct identity *peer, struct error *err) {
        struct store_host host;
        struct store_user user;
        if (peer->kind == IDENTITY_HOST)
                return store_host_get(authority->store, peer->name, &host, err);
        return store_user_get(authority->store, peer->name, &user, err);
}

static void hint_rejoin(const struct identity *peer, struct error *err) {
        if (peer->kind == IDENTITY_HOST)
                error_hint(err, "drover host invite SITE/HOST, then drover-agent join TOKEN on the host");
        else
                error_hint(err, "drover user invite %s, then drover login TOKEN", peer->name);
}

int authority_check_peer(struct authority *authority, const struct identity *peer, struct error *err) {
        if (peer->kind != IDENTITY_HOST && peer->kind != IDENTITY_USER)
                return error_set(err, ERROR_DENIED, "a certificate of a host or of a user is needed here");
        if (check_certificate(authority, peer, err) < 0) {
                hint_rejoin(peer, err);
                return -1;
        }
        int member = is_member(authority, peer, err);
        if (member == 0) {
                error_set(err, ERROR_DENIED, "%s %s is not a member", identity_kind_word(peer->kind), peer->name);
                hint_rejoin(peer, err);
        }
        return member > 0 ? 0 : -1;
}

int authority_role_of(struct authority *authority, const char *user, enum role *ret_role, char ret_sites[1024],
                      struct error *err) {
        struct store_user member;
        int found = store_user_get(authority->store, user, &member, err);
        if (found == 0)
                return error_set(err, ERROR_DENIED, "user %s is not a member", user);
        if (found < 0)
                return -1;
        *ret_role = role_parse(member.role);
        memcpy(ret_sites, member.sites, sizeof(member.sites));
        return 0;
}

int authority_remove_host(struct authority *authority, const char *uuid, struct error *err) {
        int64_t now = authority_now(authority);
        if (store_begin(authority->store, err) < 0)
                return -1;
        if (store_host_remove(authority->store, uuid, now, err) < 0 ||
            store_certificates_revoke(authority->store, IDENTITY_HOST, uuid, now, err) < 0) {
                store_rollback(authority->store);
                return -1;
        }
        return store_commit(authority->store, err);
}

static int other_admins(struct authority *authority, const char *user, unsigned *ret_n, struct error *err) {
        _cleanup_(free_p) struct store_user *users = NULL;
        unsigned n, admins = 0;
        if (store_users(authority->store, &users, &n, err) < 0)
                return -1;
        for (unsigned i = 0; i < n; i++)
                if (role_parse(users[i].role) == ROLE_ADMIN && strcmp(users[i].name, user) != 0)
                        admins++;
        *ret_n = admins;
        return 0;
}

int authority_remove_user(struct authority *authority, const char *user, struct error *err) {
        struct store_user member;
        unsigned admins;
        int64_t now = authority_now(authority);
        int found = store_user_get(authority->store, user, &member, err);
        if (found == 0)
                return error_set(err, ERROR_NOT_FOUND, "no user %s", user);
        if (found < 0 || other_admins(authority, user, &admins, err) < 0)
                return -1;
        if (role_parse(member.role) == ROLE_ADMIN && admins == 0) {
                error_set(err, ERROR_REFUSED, "%s is the last admin", user);
                error_hint(err, "drover user invite NAME --role admin");
                return -1;
        }
        if (store_begin(authority->store, err) < 0)
                return -1;
        if (store_user_remove(authority->store, user, now, err) < 0 ||
            store_certificates_revoke(authority->store, IDENTITY_USER, user, now, err) < 0) {
                store_rollback(authority->store);
                return -1;
        }
        return store_commit(authority->store, err);
}
