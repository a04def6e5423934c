// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The first operator, made at the controller's own machine by `init`: an admin with the same files that `drover login`
 * writes. Asked again for a name, it gives that name a new certificate, which is how a team that has lost all its
 * admins' keys gets in again: whoever can write to the authority's directory is an admin anyway. Loop thread.
 */
#include "common/cleanup.h"
#include "common/file.h"
#include "common/memory.h"
#include "controller/authority/authority_private.h"
#include <stdio.h>
#include <string.h>

DEFINE_CLEANUP(X509_free, X509 *)
DEFINE_CLEANUP(EVP_PKEY_free, EVP_PKEY *)

// Quoted, because an address of IPv6 begins with a bracket; the checks of names and addresses let no quote through.
static int write_config(const struct authority *authority, const char *user, const char *path, struct error *err) {
        struct buffer text;
        buffer_init(&text, 0);
        int result = buffer_append_text(&text, "controller:\n", err);
        for (unsigned i = 0; i < authority->n_addresses && result == 0; i++)
                result = buffer_appendf(&text, err, "  - \"%s\"\n", authority->addresses[i]);
        if (result == 0)
                result = buffer_appendf(&text, err, "user: \"%s\"\n", user);
        if (result == 0)
                result = file_write(path, text.data, text.length, 0600, err);
        buffer_fini(&text);
        return result;
}

static int write_files(const struct authority *authority, const char *user, const char *directory, EVP_PKEY *key,
                       X509 *certificate, struct error *err) {
        _cleanup_(free_p) char *key_path = memory_format("%s/client.key", directory);
        _cleanup_(free_p) char *certificate_path = memory_format("%s/client.crt", directory);
        _cleanup_(free_p) char *authority_file = memory_format("%s/ca.crt", directory);
        _cleanup_(free_p) char *config_path = memory_format("%s/config.yaml", directory);
        if (file_make_directories(directory, 0700, err) < 0 || pki_write_key(key_path, key, err) < 0 ||
            authority_write_certificate(certificate_path, certificate, err) < 0 ||
            authority_write_certificate(authority_file, authority->certificate, err) < 0)
                return -1;
        return write_config(authority, user, config_path, err);
}

// Committed after the files are there: a failure leaves a member out, not a member without a key.
static int record(struct authority *authority, const struct store_user *user,
                  const struct store_certificate *certificate, struct error *err) {
        if (store_begin(authority->store, err) < 0)
                return -1;
        if (store_user_put(authority->store, user, err) < 0 ||
            store_certificate_add(authority->store, certificate, err) < 0) {
                store_rollback(authority->store);
                return -1;
        }
        return store_commit(authority->store, err);
}

int authority_first_operator(struct authority *authority, const char *user, const char *directory, struct error *err) {
        _cleanup_(EVP_PKEY_free_p) EVP_PKEY *key = NULL;
        _cleanup_(X509_free_p) X509 *certificate = NULL;
        struct store_certificate issued;
        int64_t now = authority_now(authority);
        struct store_user member = {.role = "admin", .created_at = now, .last_seen_at = now};
        if (name_check_user(user, err) < 0)
                return -1;
        snprintf(member.name, sizeof(member.name), "%s", user);
        if (pki_new_key(&key, err) < 0 ||
            authority_issue_key(authority, IDENTITY_USER, user, key, &certificate, &issued, err) < 0 ||
            write_files(authority, user, directory, key, certificate, err) < 0 ||
            record(authority, &member, &issued, err) < 0)
                return error_prefix(err, "make the first operator");
        return 0;
}
