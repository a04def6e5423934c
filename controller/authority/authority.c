// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The authority's life: made once by `init`, opened at each start. ca.crt is written last, so that it is there exactly
 * when `init` has finished; an `init` that was cut short is simply done again. Loop thread.
 */
#include "common/cleanup.h"
#include "common/file.h"
#include "common/memory.h"
#include "controller/authority/authority_private.h"
#include <string.h>

DEFINE_CLEANUP(X509_free, X509 *)

#define OR_DAYS(days, otherwise) ((days) ? (days) : (otherwise))

int64_t authority_now(const struct authority *authority) {
        return clock_wall(authority->clock);
}

char *authority_path(const struct authority *authority, const char *file) {
        return memory_format("%s/%s", authority->directory, file);
}

static struct authority *prepare(const struct authority_config *config, struct store *store) {
        struct authority *authority = new (struct authority);
        authority->store = store;
        authority->clock = config->clock ? config->clock : &system_clock;
        authority->directory = memory_string(config->directory);
        authority->host_days = OR_DAYS(config->host_days, 90);
        authority->user_days = OR_DAYS(config->user_days, 365);
        authority->server_days = OR_DAYS(config->server_days, 90);
        authority->certificate_seconds = config->certificate_seconds;
        return authority;
}

void authority_free(struct authority *authority) {
        if (!authority)
                return;
        tls_credentials_unref(authority->credentials);
        X509_free(authority->certificate);
        EVP_PKEY_free(authority->key);
        EVP_PKEY_free(authority->server_key);
        for (unsigned i = 0; i < authority->n_addresses; i++)
                free(authority->addresses[i]);
        free(authority->addresses);
        free(authority->name);
        free(authority->directory);
        free(authority);
}

static void add_address(struct authority *authority, char *address) {
        size_t room = (size_t) authority->n_addresses + 1;
        authority->addresses = memory_grow(authority->addresses, room, sizeof(char *));
        authority->addresses[authority->n_addresses++] = address;
}

// The addresses will stand in every token, so a token is what says whether they are good.
static int check_addresses(const struct authority *authority, struct error *err) {
        static const uint8_t secret[32];
        _cleanup_(free_p) char *text = NULL;
        if (authority_token_text(authority, "check", secret, false, &text, err) == 0)
                return 0;
        error_hint(err, "drover-controller init --address hq.example.org:7443");
        return error_prefix(err, "the controller's addresses");
}

static int store_settings(struct authority *authority, const struct store_certificate *record, struct error *err) {
        struct buffer addresses;
        buffer_init(&addresses, 0);
        int result = 0;
        for (unsigned i = 0; i < authority->n_addresses && result == 0; i++)
                result = buffer_appendf(&addresses, err, "%s\n", authority->addresses[i]);
        _cleanup_(free_p) char *text = buffer_steal_text(&addresses);
        if (result < 0 || store_begin(authority->store, err) < 0)
                return -1;
        if (store_meta_set(authority->store, "controller_uuid", authority->uuid, err) < 0 ||
            store_meta_set(authority->store, "name", authority->name, err) < 0 ||
            store_meta_set(authority->store, "addresses", text, err) < 0 ||
            store_certificate_add(authority->store, record, err) < 0) {
                store_rollback(authority->store);
                return -1;
        }
        return store_commit(authority->store, err);
}

static int write_files(struct authority *authority, X509 *server, struct error *err) {
        _cleanup_(free_p) char *server_key = authority_path(authority, "server.key");
        _cleanup_(free_p) char *server_crt = authority_path(authority, "server.crt");
        _cleanup_(free_p) char *ca_key = authority_path(authority, "ca.key");
        _cleanup_(free_p) char *ca_crt = authority_path(authority, "ca.crt");
        if (pki_write_key(server_key, authority->server_key, err) < 0 ||
            authority_write_certificate(server_crt, server, err) < 0 || pki_write_key(ca_key, authority->key, err) < 0)
                return -1;
        return authority_write_certificate(ca_crt, authority->certificate, err);
}

static int make(struct authority *authority, struct error *err) {
        _cleanup_(X509_free_p) X509 *server = NULL;
        _cleanup_(free_p) char *common_name = memory_format("drover %s", authority->name);
        struct store_certificate record;
        name_new_uuid(authority->uuid);
        if (pki_new_key(&authority->key, err) < 0 || pki_new_key(&authority->server_key, err) < 0 ||
            pki_new_authority(authority->key, common_name, AUTHORITY_YEARS_DAYS, &authority->certificate, err) < 0 ||
            authority_issue_key(authority, IDENTITY_CONTROLLER, authority->uuid, authority->server_key, &server,
                                &record, err) < 0 ||
            file_make_directories(authority->directory, 0700, err) < 0 || store_settings(authority, &record, err) < 0)
                return -1;
        return write_files(authority, server, err);
}

int authority_create(const struct authority_config *config, struct store *store, const char *name,
                     const char *const *addresses, unsigned n, struct error *err) {
        _cleanup_(authority_free_p) struct authority *authority = prepare(config, store);
        _cleanup_(free_p) char *ca_crt = authority_path(authority, "ca.crt");
        if (name_check_host(name, err) < 0)
                return error_prefix(err, "the controller's name");
        authority->name = memory_string(name);
        for (unsigned i = 0; i < n; i++)
                add_address(authority, memory_string(addresses[i]));
        if (check_addresses(authority, err) < 0)
                return -1;
        if (access(ca_crt, F_OK) == 0) {
                error_set(err, ERROR_CONFLICT, "there is an authority in %s already", authority->directory);
                error_hint(err, "drover-controller run");
                return -1;
        }
        return make(authority, err) < 0 ? error_prefix(err, "make the authority") : 0;
}

static int read_setting(struct authority *authority, const char *key, char **ret_value, struct error *err) {
        int found = store_meta_get(authority->store, key, ret_value, err);
        if (found == 0)
                return error_set(err, ERROR_CORRUPT, "the database has no setting \"%s\"", key);
        return found < 0 ? -1 : 0;
}

static int read_settings(struct authority *authority, struct error *err) {
        _cleanup_(free_p) char *uuid = NULL;
        _cleanup_(free_p) char *addresses = NULL;
        if (read_setting(authority, "controller_uuid", &uuid, err) < 0 ||
            read_setting(authority, "name", &authority->name, err) < 0 ||
            read_setting(authority, "addresses", &addresses, err) < 0 || name_check_uuid(uuid, err) < 0)
                return -1;
        memcpy(authority->uuid, uuid, sizeof(authority->uuid));
        char *rest = addresses;
        for (char *line; (line = strsep(&rest, "\n"));)
                if (*line)
                        add_address(authority, memory_string(line));
        return 0;
}

static int read_files(struct authority *authority, X509 **ret_server, struct error *err) {
        _cleanup_(free_p) char *server_key = authority_path(authority, "server.key");
        _cleanup_(free_p) char *server_crt = authority_path(authority, "server.crt");
        _cleanup_(free_p) char *ca_key = authority_path(authority, "ca.key");
        _cleanup_(free_p) char *ca_crt = authority_path(authority, "ca.crt");
        if (access(ca_crt, F_OK) < 0) {
                error_set(err, ERROR_NOT_FOUND, "there is no authority in %s", authority->directory);
                error_hint(err, "drover-controller init");
                return -1;
        }
        if (pki_read_certificate(ca_crt, &authority->certificate, err) < 0 ||
            pki_read_key(ca_key, &authority->key, err) < 0 ||
            pki_read_key(server_key, &authority->server_key, err) < 0 ||
            pki_read_certificate(server_crt, ret_server, err) < 0)
                return -1;
        if (!pki_matches(authority->certificate, authority->key))
                return error_set(err, ERROR_CORRUPT, "%s is not the key of %s", ca_key, ca_crt);
        return pki_fingerprint(authority->certificate, authority->sha256, err);
}

// A certificate of ours that the database does not know (it was restored from an older copy) is simply issued anew.
static int use_server_certificate(struct authority *authority, X509 *server, struct error *err) {
        struct store_certificate record;
        uint8_t sha256[32];
        if (pki_fingerprint(server, sha256, err) < 0)
                return -1;
        int found = store_certificate_get(authority->store, sha256, &record, err);
        if (found <= 0)
                return found;
        if (tls_credentials_new(server, authority->server_key, authority->certificate, &authority->credentials, err) <
            0)
                return error_prefix(err, "%s/server.crt", authority->directory);
        authority->server_issued_at = authority_issued_at(&record);
        authority->server_not_after = record.not_after;
        return 0;
}

int authority_open(const struct authority_config *config, struct store *store, struct authority **ret,
                   struct error *err) {
        _cleanup_(authority_free_p) struct authority *authority = prepare(config, store);
        _cleanup_(X509_free_p) X509 *server = NULL;
        bool renewed;
        if (read_files(authority, &server, err) < 0 || read_settings(authority, err) < 0 ||
            use_server_certificate(authority, server, err) < 0 || authority_renew_own(authority, &renewed, err) < 0)
                return error_prefix(err, "open the authority");
        *ret = steal(&authority);
        return 0;
}

const char *authority_name(const struct authority *authority) {
        return authority->name;
}

void authority_fingerprint(const struct authority *authority, char ret_hex[65]) {
        for (unsigned i = 0; i < sizeof(authority->sha256); i++) {
                *ret_hex++ = "0123456789abcdef"[authority->sha256[i] >> 4];
                *ret_hex++ = "0123456789abcdef"[authority->sha256[i] & 15];
        }
        *ret_hex = '\0';
}

struct tls_credentials *authority_credentials(struct authority *authority) {
        return authority->credentials;
}

const char *const *authority_addresses(const struct authority *authority, unsigned *ret_n) {
        *ret_n = authority->n_addresses;
        return (const char *const *) authority->addresses;
}
