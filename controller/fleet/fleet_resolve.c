// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Names as people type them, to what they mean: a whole name, an ending of it that is unique, or a UUID. Who mistypes
 * is told what is near; who is ambiguous is told what there is. Loop thread.
 */
#include "common/memory.h"
#include "controller/fleet/fleet_private.h"
#include "controller/fleet/near.h"
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define QUOTED    "\"%.200s\""
#define NAMES_MAX 8u

// What was typed, in parts; NULL for what was not given.
struct wanted {
        char *copy;
        const char *site, *host, *vm;
};

static void wanted_fini(struct wanted *wanted) {
        free(wanted->copy);
}

// Fills parts from the last one back; false with too many parts or an empty one.
static bool split(const char *text, struct wanted *wanted, const char ***parts, unsigned n) {
        wanted->copy = memory_string(text);
        for (unsigned i = 0; i < n; i++) {
                char *slash = strrchr(wanted->copy, '/');
                const char *part = slash ? slash + 1 : wanted->copy;
                if (!*part)
                        return false;
                *parts[i] = part;
                if (!slash)
                        return true;
                *slash = '\0';
        }
        return false;
}

static bool uuid_of(const char *text, char ret_uuid[NAME_UUID_LENGTH + 1]) {
        if (strnlen(text, NAME_UUID_LENGTH + 1) != NAME_UUID_LENGTH)
                return false;
        for (unsigned i = 0; i <= NAME_UUID_LENGTH; i++)
                ret_uuid[i] = (char) tolower((unsigned char) text[i]);
        return name_check_uuid(ret_uuid, NULL) == 0;
}

static bool host_fits(const struct fleet_host *host, const struct wanted *wanted) {
        return (!wanted->host || strcmp(host->name, wanted->host) == 0) &&
               (!wanted->site || strcmp(host->site, wanted->site) == 0);
}

// Candidates, of which the first NAMES_MAX in the order of their names are kept.
struct found {
        struct fleet_vm *vms[NAMES_MAX];
        size_t n; // all that there were
};

static int compare_vms(const struct fleet_vm *one, const struct fleet_vm *other) {
        int order = strcmp(one->host->site, other->host->site);
        if (order == 0)
                order = strcmp(one->host->name, other->host->name);
        return order ? order : strcmp(one->domain->name, other->domain->name);
}

static void keep(struct found *found, struct fleet_vm *vm) {
        size_t kept = found->n < NAMES_MAX ? found->n : NAMES_MAX, place = kept;
        while (place > 0 && compare_vms(vm, found->vms[place - 1]) < 0)
                place--;
        found->n++;
        if (place == NAMES_MAX)
                return;
        size_t moved = (kept == NAMES_MAX ? kept - 1 : kept) - place;
        memmove(&found->vms[place + 1], &found->vms[place], moved * sizeof(void *));
        found->vms[place] = vm;
}

static void find_all(const struct fleet *fleet, const struct index *index, const char *key, const struct wanted *wanted,
                     struct found *found) {
        struct index_cursor cursor;
        for (struct fleet_vm *vm = index_first(index, key, &cursor); vm; vm = index_next(&cursor))
                if (host_fits(vm->host, wanted) && fleet_vm_shown(fleet, vm))
                        keep(found, vm);
}

static int ambiguous_vm(const char *text, const struct found *found, struct error *err) {
        error_set(err, ERROR_CONFLICT, QUOTED " is the name of %zu VMs", text, found->n);
        for (size_t i = 0; i < found->n && i < NAMES_MAX; i++)
                error_hint(err, "%s/%s/%s", found->vms[i]->host->site, found->vms[i]->host->name,
                           found->vms[i]->domain->name);
        return -1;
}

static int unknown_vm(const struct fleet *fleet, const char *text, const struct wanted *wanted, struct error *err) {
        struct near near;
        near_vms(fleet, wanted->site, wanted->host, wanted->vm, &near);
        error_set(err, ERROR_NOT_FOUND, "no VM " QUOTED, text);
        for (unsigned i = 0; i < near.n; i++)
                error_hint(err, "did you mean %s/%s/%s?", near.hosts[i]->site, near.hosts[i]->name, near.names[i]);
        if (near.n == 0)
                error_hint(err, "drover vm list");
        return -1;
}

int fleet_resolve_vm(const struct fleet *fleet, const char *text, struct fleet_vm **ret, struct error *err) {
        _cleanup_(wanted_fini) struct wanted wanted = {0};
        struct found found = {0};
        char uuid[NAME_UUID_LENGTH + 1];
        if (!split(text, &wanted, (const char **[]){&wanted.vm, &wanted.host, &wanted.site}, 3)) {
                error_set(err, ERROR_INVALID, QUOTED " is not the name of a VM", text);
                error_hint(err, "write SITE/HOST/VM, an ending of it, or a UUID");
                return -1;
        }
        find_all(fleet, fleet->vms_by_name, wanted.vm, &wanted, &found);
        if (found.n == 0 && uuid_of(text, uuid))
                find_all(fleet, fleet->vms_by_uuid, uuid, &wanted, &found);
        if (found.n == 0)
                return unknown_vm(fleet, text, &wanted, err);
        if (found.n > 1)
                return ambiguous_vm(text, &found, err);
        *ret = found.vms[0];
        return 0;
}

static int unknown_host(const struct fleet *fleet, const char *text, const struct wanted *wanted, struct error *err) {
        struct near near;
        near_hosts(fleet, wanted->site, wanted->host, &near);
        error_set(err, ERROR_NOT_FOUND, "no host " QUOTED, text);
        for (unsigned i = 0; i < near.n; i++)
                error_hint(err, "did you mean %s/%s?", near.hosts[i]->site, near.hosts[i]->name);
        if (near.n == 0)
                error_hint(err, "drover host list");
        return -1;
}

static int ambiguous_host(const char *text, struct fleet_host *const *hosts, size_t n, struct error *err) {
        error_set(err, ERROR_CONFLICT, QUOTED " is the name of %zu hosts", text, n);
        for (size_t i = 0; i < n && i < NAMES_MAX; i++)
                error_hint(err, "%s/%s", hosts[i]->site, hosts[i]->name);
        return -1;
}

int fleet_resolve_host(const struct fleet *fleet, const char *text, struct fleet_host **ret, struct error *err) {
        _cleanup_(wanted_fini) struct wanted wanted = {0};
        struct fleet_host *first[NAMES_MAX];
        char uuid[NAME_UUID_LENGTH + 1];
        size_t n = 0;
        if (!split(text, &wanted, (const char **[]){&wanted.host, &wanted.site}, 2)) {
                error_set(err, ERROR_INVALID, QUOTED " is not the name of a host", text);
                error_hint(err, "write SITE/HOST, such as lyon/kvm1");
                return -1;
        }
        for (size_t i = 0; i < fleet->n_hosts; i++)
                if (host_fits(fleet->hosts[i], &wanted) && n++ < NAMES_MAX)
                        first[n - 1] = fleet->hosts[i];
        if (n == 0 && uuid_of(text, uuid) && (first[0] = fleet_host_by_uuid(fleet, uuid)))
                n = 1;
        if (n == 0)
                return unknown_host(fleet, text, &wanted, err);
        if (n > 1)
                return ambiguous_host(text, first, n, err);
        *ret = first[0];
        return 0;
}
