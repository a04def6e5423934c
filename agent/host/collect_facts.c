// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What the host itself is. Most of it is asked of the kernel, so that a host whose libvirt is away is still described.
 * The machine types cost libvirt a document of a few hundred KiB, so they are kept for as long as the connection that
 * told them, and at most for FRESH_MS. Blocking, for workers.
 */
#include "agent/host/collect.h"
#include "agent/host/small_machine.h"
#include "agent/host/tree.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/memory.h"
#include <dirent.h>
#include <glob.h>
#include <libxml/parser.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

#define FRESH_MS      (10 * 60 * 1000)
#define MACHINES_MAX  512
#define BRIDGES_MAX   256
#define FIRMWARES_MAX 64

static void append(char ***list, size_t *n, size_t most, const char *text) {
        for (size_t i = 0; i < *n; i++)
                if (strcmp((*list)[i], text) == 0)
                        return;
        if (*n >= most)
                return;
        *list = memory_grow(*list, *n + 1, sizeof(**list));
        (*list)[(*n)++] = memory_string(text);
}

// ---- machine types ----

static struct {
        pthread_mutex_t lock;
        unsigned generation; // of the connection that told; 0: nothing is known
        uint64_t at_ms;
        char **names;
        size_t n;
} machines = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void forget_machines(void) {
        for (size_t i = 0; i < machines.n; i++)
                free(machines.names[i]);
        free(machines.names);
        machines.names = NULL;
        machines.n = 0;
        machines.generation = 0;
}

static void add_machines(const xmlNode *arch) {
        for (const xmlNode *at = tree_child(arch, "machine"); at; at = tree_next(at, "machine")) {
                _cleanup_(free_p) char *name = tree_text(at);
                append(&machines.names, &machines.n, MACHINES_MAX, name);
        }
}

// libvirt's own document, larger than what is accepted of strangers: parsed without the gate.
static void read_machines(virConnectPtr conn, const char *arch) {
        _cleanup_(free_p) char *xml = virConnectGetCapabilities(conn);
        if (!xml)
                return;
        int options = XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING;
        _cleanup_(tree_free_p) xmlDoc *doc = xmlReadMemory(xml, (int) strlen(xml), NULL, "UTF-8", options);
        const xmlNode *root = doc ? xmlDocGetRootElement(doc) : NULL;
        for (const xmlNode *at = root ? tree_child(root, "guest") : NULL; at; at = tree_next(at, "guest")) {
                const xmlNode *node = tree_child(at, "arch");
                if (node && tree_attribute_is(node, "name", arch))
                        add_machines(node);
        }
}

static void copy_machines(struct connection *connection, virConnectPtr conn, Drover__HostFacts *facts) {
        unsigned generation = connection_generation(connection);
        uint64_t now = clock_ms(&system_clock);
        pthread_mutex_lock(&machines.lock);
        if (machines.generation != generation || now - machines.at_ms > FRESH_MS) {
                forget_machines();
                read_machines(conn, facts->arch);
                machines.generation = machines.n ? generation : 0;
                machines.at_ms = now;
        }
        for (size_t i = 0; i < machines.n; i++)
                append(&facts->machine_types, &facts->n_machine_types, MACHINES_MAX, machines.names[i]);
        pthread_mutex_unlock(&machines.lock);
}

// ---- bridges ----

// Bridges that libvirt made for its networks; those of forward mode "bridge" are the host's.
static bool belongs_to_libvirt(const char *bridge, Drover__Network **networks, size_t n) {
        for (size_t i = 0; i < n; i++)
                if (strcmp(networks[i]->bridge, bridge) == 0 && strcmp(networks[i]->forward, "bridge") != 0)
                        return true;
        return false;
}

static void read_bridges(Drover__HostFacts *facts, Drover__Network **networks, size_t n) {
        DIR *directory = opendir("/sys/class/net");
        if (!directory)
                return;
        for (const struct dirent *entry; (entry = readdir(directory));) {
                _cleanup_(free_p) char *mark = memory_format("/sys/class/net/%s/bridge", entry->d_name);
                if (entry->d_name[0] != '.' && access(mark, F_OK) == 0 &&
                    !belongs_to_libvirt(entry->d_name, networks, n))
                        append(&facts->bridges, &facts->n_bridges, BRIDGES_MAX, entry->d_name);
        }
        closedir(directory);
}

// ---- the rest ----

static void read_firmwares(Drover__HostFacts *facts) {
        static const char *const patterns[] = {"/usr/share/OVMF/*.fd", "/usr/share/ovmf/*.fd", "/usr/share/AAVMF/*.fd",
                                               "/usr/share/edk2/*/*.fd"};
        glob_t found = {0};
        for (size_t i = 0; i < ARRAY_SIZE(patterns); i++)
                glob(patterns[i], i ? GLOB_APPEND : 0, NULL, &found);
        for (size_t i = 0; i < found.gl_pathc; i++)
                append(&facts->firmwares, &facts->n_firmwares, FIRMWARES_MAX, found.gl_pathv[i]);
        globfree(&found);
}

static void read_identity_reset(Drover__HostFacts *facts) {
        struct error why = ERROR_INIT;
        Drover__IdentityResetFact *fact = new (Drover__IdentityResetFact);
        drover__identity_reset_fact__init(fact);
        facts->identity_reset = fact;
        if (small_machine_check(&why) == 0)
                return;
        fact->refusal = memory_string(why.message);
        fact->hints = new_array(char *, why.n_hints + 1);
        while (fact->n_hints < why.n_hints) {
                fact->hints[fact->n_hints] = memory_string(why.hints[fact->n_hints]);
                fact->n_hints++;
        }
}

static char *version_text(unsigned long version) {
        return memory_format("%lu.%lu.%lu", version / 1000000, version / 1000 % 1000, version % 1000);
}

static void read_kernel(Drover__HostFacts *facts) {
        struct utsname names;
        struct sysinfo info;
        if (uname(&names) == 0) {
                facts->arch = memory_string(names.machine);
                facts->hostname = memory_string(names.nodename);
        }
        if (sysinfo(&info) == 0)
                facts->memory_bytes = (uint64_t) info.totalram * info.mem_unit;
        long cpus = sysconf(_SC_NPROCESSORS_ONLN);
        facts->cpus = cpus > 0 ? (uint32_t) cpus : 0;
}

static void read_libvirt(struct connection *connection, virConnectPtr conn, Drover__HostFacts *facts) {
        unsigned long version;
        facts->libvirt_connected = true;
        if (virConnectGetLibVersion(conn, &version) == 0)
                facts->libvirt_version = version_text(version);
        if (virConnectGetVersion(conn, &version) == 0)
                facts->qemu_version = version_text(version);
        copy_machines(connection, conn, facts);
}

int collect_facts(struct connection *connection, Drover__HostFacts **ret, struct error *err) {
        (void) err;
        Drover__HostFacts *facts = new (Drover__HostFacts);
        drover__host_facts__init(facts);
        facts->agent_version = memory_string(DROVER_VERSION);
        facts->clock_at = clock_wall(&system_clock);
        read_kernel(facts);
        read_firmwares(facts);
        read_identity_reset(facts);
        _cleanup_(connection_put_p) virConnectPtr conn = NULL;
        Drover__Network **networks = NULL;
        size_t n = 0;
        if (connection_get(connection, &conn, NULL) == 0) {
                read_libvirt(connection, conn, facts);
                collect_networks(conn, &networks, &n, NULL);
        }
        read_bridges(facts, networks, n);
        for (size_t i = 0; i < n; i++)
                proto_free(&networks[i]->base);
        free(networks);
        *ret = facts;
        return 0;
}
