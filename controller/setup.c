// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Making an installation. ca.crt says that there is one, and is written last but for the first operator's credentials.
 * When those fail it is taken back, so that `init` can be given again; where a crash came between, the next `init`
 * finds an authority without any user and goes on from there.
 */
#include "controller/setup.h"
#include "common/cleanup.h"
#include "common/dial.h"
#include "common/file.h"
#include "common/memory.h"
#include "controller/controller.h"
#include "controller/lock.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define HOST_NAME_LENGTH 255

DEFINE_CLEANUP(store_close, struct store *)
DEFINE_CLEANUP(authority_free, struct authority *)

const char *setup_operator_directory(void) {
        static char directory[4096];
        const char *given = getenv("DROVER_CONFIG"), *xdg = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
        if (given && *given)
                snprintf(directory, sizeof(directory), "%s", given);
        else if (xdg && *xdg)
                snprintf(directory, sizeof(directory), "%s/drover", xdg);
        else
                snprintf(directory, sizeof(directory), "%s/.config/drover", home ? home : "");
        return directory;
}

const char *setup_user(void) {
        const char *user = getenv("SUDO_USER");
        return user && *user && strcmp(user, "root") != 0 && name_check_user(user, NULL) == 0 ? user : "admin";
}

static int refuse(const char *directory, struct error *err) {
        error_clear(err);
        error_set(err, ERROR_CONFLICT, "there is an authority in %s already", directory);
        error_hint(err, "drover-controller run");
        return -1;
}

static int check_operator(const struct setup *setup, struct error *err) {
        _cleanup_(free_p) char *config = memory_format("%s/config.yaml", setup->operator_directory);
        if (access(config, F_OK) < 0)
                return 0;
        error_set(err, ERROR_CONFLICT, "there are an operator's credentials in %s already", setup->operator_directory);
        error_hint(err, "keep both: DROVER_CONFIG=DIRECTORY drover-controller init");
        error_hint(err, "or, if they are of no more use: rm -r %s", setup->operator_directory);
        return -1;
}

// Before anything is made: what is wrong with the arguments is said once, and leaves nothing behind.
static int check(const struct setup *setup, struct error *err) {
        char host[DIAL_HOST_MAX + 1], port[DIAL_PORT_MAX + 1];
        if (setup->listen && dial_parse(setup->listen, host, port, err) < 0)
                return error_prefix(err, "--listen");
        for (unsigned i = 0; i < setup->n_addresses; i++)
                if (dial_parse(setup->addresses[i], host, port, err) < 0)
                        return error_prefix(err, "--address");
        if (setup->name && name_check_host(setup->name, err) < 0)
                return error_prefix(err, "--name");
        return check_operator(setup, err);
}

static int host_name(char name[HOST_NAME_LENGTH + 1], struct error *err) {
        if (gethostname(name, HOST_NAME_LENGTH + 1) < 0)
                return error_errno(err, errno, "the machine's host name");
        name[HOST_NAME_LENGTH] = '\0';
        return 0;
}

static int create(const struct setup *setup, const struct authority_config *config, struct store *store,
                  struct error *err) {
        char machine[HOST_NAME_LENGTH + 1], host[DIAL_HOST_MAX + 1], port[DIAL_PORT_MAX + 1];
        const char *listen = setup->listen ? setup->listen : LISTEN_DEFAULT;
        if (host_name(machine, err) < 0 || dial_parse(listen, host, port, err) < 0)
                return -1;
        _cleanup_(free_p) char *own = memory_format("%s:%s", machine, port);
        const char *const only[] = {own};
        const char *name = setup->name;
        if (!name) {
                machine[strcspn(machine, ".")] = '\0';
                name = machine;
        }
        if (setup->listen && store_meta_set(store, "listen", setup->listen, err) < 0)
                return -1;
        return authority_create(config, store, name, setup->n_addresses ? setup->addresses : only,
                                setup->n_addresses ? setup->n_addresses : 1, err);
}

// 1 when an earlier `init` made the authority and did not come to its first operator.
static int is_unfinished(struct store *store, struct error *err) {
        _cleanup_(free_p) struct store_user *users = NULL;
        unsigned n;
        return store_users(store, &users, &n, err) < 0 ? -1 : n == 0;
}

static int add_operator(const struct setup *setup, const struct authority_config *config, struct store *store,
                        char ret_fingerprint[65], struct error *err) {
        _cleanup_(authority_free_p) struct authority *authority = NULL;
        if (authority_open(config, store, &authority, err) < 0 ||
            authority_first_operator(authority, setup->user, setup->operator_directory, err) < 0)
                return -1;
        authority_fingerprint(authority, ret_fingerprint);
        return 0;
}

int setup_run(const struct setup *setup, char ret_fingerprint[65], struct error *err) {
        const struct authority_config config = {.directory = setup->state_directory, .clock = &system_clock};
        _cleanup_(free_p) char *ca_crt = memory_format("%s/ca.crt", setup->state_directory);
        _cleanup_(free_p) char *path = memory_format("%s/controller.db", setup->state_directory);
        _cleanup_(store_close_p) struct store *store = NULL;
        _cleanup_(close_p) int lock = -1;
        bool there = access(ca_crt, F_OK) == 0;
        if ((!there && check(setup, err) < 0) || file_make_directories(setup->state_directory, 0700, err) < 0)
                return -1;
        if (lock_take(setup->state_directory, 0, &lock, err) < 0)
                return there ? refuse(setup->state_directory, err) : -1;
        if (store_open(path, &store, err) < 0)
                return -1;
        if (there) {
                int unfinished = is_unfinished(store, err);
                if (unfinished <= 0)
                        return unfinished < 0 ? -1 : refuse(setup->state_directory, err);
                if (check(setup, err) < 0)
                        return -1;
        } else if (create(setup, &config, store, err) < 0) {
                return -1;
        }
        if (add_operator(setup, &config, store, ret_fingerprint, err) == 0)
                return 0;
        unlink(ca_crt);
        return -1;
}
