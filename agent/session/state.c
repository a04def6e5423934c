// SPDX-License-Identifier: LGPL-2.1-or-later
/* The state directory: what is written in which order, so that a crash at any point leaves the old or the new. */
#include "agent/session/state.h"
#include "common/cleanup.h"
#include "common/fault.h"
#include "common/file.h"
#include "common/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/file.h>

#define KEY         "host.key"
#define CERTIFICATE "host.crt"
#define AUTHORITY   "ca.crt"
#define MARKER      "controller.yaml"
#define LOCK        "agent.lock"
#define NEXT        ".next" // of a renewal under way

static const struct config_option options[] = {
        {"addresses", CONFIG_LIST, offsetof(struct state, addresses), NULL},
        {"site", CONFIG_TEXT, offsetof(struct state, site), NULL},
        {"host", CONFIG_TEXT, offsetof(struct state, host), NULL},
        {"uuid", CONFIG_TEXT, offsetof(struct state, uuid), NULL},
};

static void key_free_p(EVP_PKEY **key) {
        EVP_PKEY_free(*key);
}

static void certificate_free_p(X509 **certificate) {
        X509_free(*certificate);
}

static void buffer_fini_p(struct buffer *buffer) {
        buffer_fini(buffer);
}

char *state_path(const char *directory, const char *file) {
        return memory_format("%s/%s", directory, file);
}

int state_lock(const char *directory, int *ret_fd, struct error *err) {
        if (file_make_directories(directory, 0700, err) < 0)
                return -1;
        _cleanup_(free_p) char *path = state_path(directory, LOCK);
        _cleanup_(close_p) int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0)
                return error_errno(err, errno, "open %s", path);
        if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
                if (errno != EWOULDBLOCK)
                        return error_errno(err, errno, "lock %s", path);
                error_set(err, ERROR_CONFLICT, "%s is in use by another drover-agent", directory);
                error_hint(err, "systemctl stop drover-agent");
                return -1;
        }
        *ret_fd = steal_fd(&fd);
        return 0;
}

bool state_joined(const char *directory) {
        _cleanup_(free_p) char *path = state_path(directory, MARKER);
        return access(path, F_OK) == 0;
}

void state_fini(struct state *state) {
        config_free(options, ARRAY_SIZE(options), state);
}

static int check(const char *path, const struct state *state, struct error *err) {
        if (!state->addresses.n || !state->site || !state->host || !state->uuid)
                return error_set(err, ERROR_INVALID, "%s: addresses, site, host or uuid is missing", path);
        if (name_check_site(state->site, err) < 0 || name_check_host(state->host, err) < 0 ||
            name_check_uuid(state->uuid, err) < 0)
                return error_prefix(err, "%s", path);
        return 0;
}

static int move(const char *directory, const char *from, const char *to, struct error *err) {
        _cleanup_(free_p) char *old = state_path(directory, from);
        _cleanup_(free_p) char *name = state_path(directory, to);
        _cleanup_(close_p) int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return error_errno(err, errno, "open %s", directory);
        if (rename(old, name) < 0)
                return error_errno(err, errno, "rename %s to %s", old, to);
        return file_sync_directory(fd, err);
}

// A renewal that was cut between its renames has left the new key and, beside it, its certificate.
static int finish_renewal(const char *directory, struct error *err) {
        _cleanup_(free_p) char *next = state_path(directory, CERTIFICATE NEXT);
        _cleanup_(free_p) char *key_path = state_path(directory, KEY);
        if (access(next, F_OK) < 0)
                return 0;
        _cleanup_(key_free_p) EVP_PKEY *key = NULL;
        _cleanup_(certificate_free_p) X509 *certificate = NULL;
        if (pki_read_key(key_path, &key, err) < 0 || pki_read_certificate(next, &certificate, err) < 0)
                return error_prefix(err, "finish a renewal");
        if (pki_matches(certificate, key))
                return move(directory, CERTIFICATE NEXT, CERTIFICATE, err);
        return 0; // cut before the first rename: the old pair stands, the next renewal writes over this
}

int state_load(const char *directory, struct state *ret, struct error *err) {
        if (!state_joined(directory)) {
                error_set(err, ERROR_USAGE, "this host has not joined a controller (%s/" MARKER " is not there)",
                          directory);
                error_hint(err, "at the controller: drover host invite SITE/HOST");
                error_hint(err, "then here: drover-agent join TOKEN");
                return -1;
        }
        _cleanup_(free_p) char *path = state_path(directory, MARKER);
        struct state state = {0};
        if (config_load(path, options, ARRAY_SIZE(options), &state, err) < 0 || check(path, &state, err) < 0 ||
            finish_renewal(directory, err) < 0) {
                state_fini(&state);
                return -1;
        }
        *ret = state;
        return 0;
}

static int remove_file(const char *directory, const char *name, struct error *err) {
        _cleanup_(free_p) char *path = state_path(directory, name);
        if (unlink(path) < 0 && errno != ENOENT)
                return error_errno(err, errno, "remove %s", path);
        return 0;
}

int state_discard(const char *directory, struct error *err) {
        // The marker goes first and for good: what is left of the rest after a crash belongs to nobody.
        static const char *const files[] = {MARKER,      "agent.db", "agent.db-wal", "agent.db-shm",  KEY,
                                            CERTIFICATE, AUTHORITY,  KEY NEXT,       CERTIFICATE NEXT};
        _cleanup_(close_p) int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return error_errno(err, errno, "open %s", directory);
        for (size_t i = 0; i < ARRAY_SIZE(files); i++)
                if (remove_file(directory, files[i], err) < 0 || file_sync_directory(fd, err) < 0)
                        return -1;
        _cleanup_(free_p) char *records = state_path(directory, "ranges"); // of the journal (journal_record_open)
        return file_remove_tree(records, err);
}

static int write_certificate(const char *directory, const char *name, X509 *certificate, struct error *err) {
        _cleanup_(free_p) char *path = state_path(directory, name);
        _cleanup_(buffer_fini_p) struct buffer pem;
        buffer_init(&pem, 0);
        if (pki_certificate_pem(certificate, &pem, err) < 0)
                return -1;
        return file_write(path, pem.data, pem.length, 0644, err);
}

static int write_marker(const char *directory, const struct state *state, struct error *err) {
        _cleanup_(free_p) char *path = state_path(directory, MARKER);
        _cleanup_(buffer_fini_p) struct buffer text;
        buffer_init(&text, 0);
        int r = buffer_appendf(&text, err, "site: \"%s\"\nhost: \"%s\"\nuuid: \"%s\"\naddresses:\n", state->site,
                               state->host, state->uuid);
        for (unsigned i = 0; !r && i < state->addresses.n; i++)
                r = buffer_appendf(&text, err, "  - \"%s\"\n", state->addresses.items[i]);
        return r < 0 ? -1 : file_write(path, text.data, text.length, 0644, err);
}

int state_store_join(const char *directory, const struct state *state, EVP_PKEY *key, X509 *certificate,
                     X509 *authority, struct error *err) {
        _cleanup_(free_p) char *path = state_path(directory, KEY);
        if (pki_write_key(path, key, err) < 0 || write_certificate(directory, CERTIFICATE, certificate, err) < 0 ||
            write_certificate(directory, AUTHORITY, authority, err) < 0)
                return -1;
        return write_marker(directory, state, err);
}

int state_store_renewal(const char *directory, EVP_PKEY *key, X509 *certificate, struct error *err) {
        _cleanup_(free_p) char *path = state_path(directory, KEY NEXT);
        if (write_certificate(directory, CERTIFICATE NEXT, certificate, err) < 0 || pki_write_key(path, key, err) < 0)
                return -1;
        if (move(directory, KEY NEXT, KEY, err) < 0 || fault_point("agent.renew.half", err) < 0)
                return -1;
        return move(directory, CERTIFICATE NEXT, CERTIFICATE, err);
}
