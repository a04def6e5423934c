// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The bridges and networks that a VM needs of this host, and what is said when one is not here: all of it in one
 * refusal, with the nearest names. Workers only.
 */
#include "agent/host/bridge.h"
#include "agent/host/placement_parts.h"
#include "common/memory.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void placement_refuse(struct error *refusal, const char *format, ...) {
        char text[512];
        va_list args;
        va_start(args, format);
        vsnprintf(text, sizeof(text), format, args);
        va_end(args);
        size_t used = strlen(refusal->message);
        snprintf(refusal->message + used, sizeof(refusal->message) - used, "%s%s", used ? "; " : "", text);
        refusal->code = ERROR_REFUSED;
}

static void free_names(char **names, unsigned n) {
        for (unsigned i = 0; i < n; i++)
                free(names[i]);
        free(names);
}

static bool among(const char *name, char *const *names, unsigned n) {
        for (unsigned i = 0; i < n; i++)
                if (strcmp(names[i], name) == 0)
                        return true;
        return false;
}

static void refuse_unknown(struct error *refusal, const char *what, const char *name, char *const *names, unsigned n) {
        placement_refuse(refusal, "there is no %s %s here", what, name);
        int nearest = name_nearest(name, names, n);
        if (nearest >= 0)
                error_hint(refusal, "did you mean %s? --bridge %s=%s", names[nearest], name, names[nearest]);
        else if (n > 0)
                error_hint(refusal, "name one that is here, such as %s: --bridge %s=%s", names[0], name, names[0]);
        else
                error_hint(refusal, "this host has no %s at all", what);
}

static int check_bridges(const Drover__MoveReserve *request, struct error *refusal, struct error *err) {
        char **names = NULL;
        unsigned n = 0;
        if (request->n_bridges == 0)
                return 0;
        if (bridge_names(&names, &n, err) < 0)
                return -1;
        for (size_t i = 0; i < request->n_bridges; i++)
                if (!among(request->bridges[i], names, n))
                        refuse_unknown(refusal, "bridge", request->bridges[i], names, n);
        free_names(names, n);
        return 0;
}

static int network_names(virConnectPtr conn, unsigned flags, char ***ret, unsigned *ret_n, struct error *err) {
        virNetworkPtr *networks = NULL;
        int n = virConnectListAllNetworks(conn, &networks, flags);
        if (n < 0)
                return connection_error(err, "list the networks");
        *ret = new_array(char *, (size_t) n + 1);
        *ret_n = (unsigned) n;
        for (int i = 0; i < n; i++) {
                (*ret)[i] = memory_string(virNetworkGetName(networks[i]));
                virNetworkFree(networks[i]);
        }
        free(networks);
        return 0;
}

static int check_networks(virConnectPtr conn, const Drover__MoveReserve *request, struct error *refusal,
                          struct error *err) {
        char **all = NULL, **active = NULL;
        unsigned n_all = 0, n_active = 0;
        if (request->n_networks == 0)
                return 0;
        int status = network_names(conn, 0, &all, &n_all, err);
        if (status == 0)
                status = network_names(conn, VIR_CONNECT_LIST_NETWORKS_ACTIVE, &active, &n_active, err);
        for (size_t i = 0; status == 0 && i < request->n_networks; i++) {
                const char *name = request->networks[i];
                if (!among(name, all, n_all))
                        refuse_unknown(refusal, "network", name, all, n_all);
                else if (!among(name, active, n_active)) {
                        placement_refuse(refusal, "the network %s is not active here", name);
                        error_hint(refusal, "on the host: virsh net-start %s", name);
                }
        }
        free_names(all, n_all);
        free_names(active, n_active);
        return status;
}

int placement_networks_check(virConnectPtr conn, const Drover__MoveReserve *request, struct error *refusal,
                             struct error *err) {
        return check_bridges(request, refusal, err) < 0 ? -1 : check_networks(conn, request, refusal, err);
}
