// SPDX-License-Identifier: LGPL-2.1-or-later
/* The checks of a join, one function for each thing that is looked at; on the calling thread, nothing is kept. */
#include "agent/session/checks.h"
#include "agent/host/connection.h"
#include "common/cleanup.h"
#include "common/memory.h"
#include "common/name.h"
#include "common/units.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/statvfs.h>

#define LIBVIRT_OLDEST   7000000ul // 7.0.0: Debian 11's
#define POOL_FREE_LEAST  (1ull << 30)
#define STATE_FREE_LEAST (100ull << 20)
#define CLOCK_MOST_MS    1500 // one second, and what the measurement itself may be off

static void ok(struct checks *checks) {
        checks->n_ok++;
}

static void __attribute__((format(printf, 2, 3))) warn(struct checks *checks, const char *format, ...) {
        va_list args;
        char *text = NULL;
        va_start(args, format);
        int n = vasprintf(&text, format, args);
        va_end(args);
        unsigned index = checks->n_warnings++;
        if (n >= 0 && index < CHECKS_WARNINGS_MAX)
                checks->warnings[index] = text;
        else if (n >= 0)
                free(text);
}

static void check_root(struct checks *checks) {
        if (geteuid() == 0)
                ok(checks);
        else
                warn(checks, "not run as root: sudo drover-agent join TOKEN");
}

static void check_kvm(struct checks *checks) {
        if (access("/dev/kvm", R_OK | W_OK) == 0)
                ok(checks);
        else
                warn(checks, "/dev/kvm cannot be used (%s), guests are emulated: enable virtualisation in the firmware",
                     strerror(errno));
}

static void check_program(struct checks *checks, const char *program, const char *package) {
        const char *path = getenv("PATH");
        _cleanup_(free_p) char *copy = memory_string(path ? path : "/usr/local/bin:/usr/bin:/bin");
        char *rest = copy;
        for (char *directory; (directory = strsep(&rest, ":"));) {
                _cleanup_(free_p) char *file = memory_format("%s/%s", directory, program);
                if (access(file, X_OK) == 0) {
                        ok(checks);
                        return;
                }
        }
        warn(checks, "%s is not installed: apt install %s", program, package);
}

static void check_clock(struct checks *checks, int64_t offset_ms) {
        int64_t size = offset_ms < 0 ? -offset_ms : offset_ms;
        if (size <= CLOCK_MOST_MS)
                ok(checks);
        else
                warn(checks, "clock is %lld.%lld s %s: systemctl enable --now systemd-timesyncd",
                     (long long) size / 1000, (long long) size % 1000 / 100, offset_ms > 0 ? "ahead" : "behind");
}

static void check_state_space(struct checks *checks, const char *directory) {
        struct statvfs file_system;
        char size[UNITS_TEXT_MAX];
        if (statvfs(directory, &file_system) < 0) {
                warn(checks, "%s: %s", directory, strerror(errno));
                return;
        }
        uint64_t free_bytes = (uint64_t) file_system.f_bavail * file_system.f_frsize;
        if (free_bytes >= STATE_FREE_LEAST)
                ok(checks);
        else
                warn(checks, "%s has only %s free: the agent's journal needs room", directory,
                     units_format_size(free_bytes, size));
}

// Tries the port on IPv6 with IPv4 mapped, as the listener will, or on IPv4 alone where there is no IPv6.
static int try_port(uint16_t port) {
        struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = in6addr_any};
        struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(port)};
        int on = 1;
        _cleanup_(close_p) int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd >= 0) {
                setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
                return bind(fd, (struct sockaddr *) &six, sizeof six) < 0 ? errno : 0;
        }
        fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return errno;
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        return bind(fd, (struct sockaddr *) &four, sizeof four) < 0 ? errno : 0;
}

static void check_port(struct checks *checks, uint16_t port) {
        if (!port)
                return;
        int r = try_port(port);
        if (r == 0)
                ok(checks);
        else
                warn(checks, "data port %u cannot be used (%s): set data_port in /etc/drover/agent.yaml", port,
                     strerror(r));
}

static void check_versions(struct checks *checks, virConnectPtr conn) {
        unsigned long libvirt = 0, qemu = 0;
        if (virConnectGetLibVersion(conn, &libvirt) < 0 || libvirt < LIBVIRT_OLDEST)
                warn(checks, "libvirt is older than 7.0: upgrade this host's system");
        else
                ok(checks);
        if (virConnectGetVersion(conn, &qemu) < 0 || !qemu)
                warn(checks, "no QEMU was found: apt install qemu-system-x86");
        else
                ok(checks);
}

static bool holds_images(virStoragePoolPtr pool) {
        _cleanup_(free_p) char *xml = virStoragePoolGetXMLDesc(pool, 0);
        return xml && (strstr(xml, "type='dir'") || strstr(xml, "type='fs'") || strstr(xml, "type='netfs'"));
}

static void check_pool(struct checks *checks, virStoragePoolPtr pool, bool *ret_usable) {
        const char *name = virStoragePoolGetName(pool);
        virStoragePoolInfo info;
        int autostart = 0;
        char size[UNITS_TEXT_MAX];
        if (virStoragePoolIsActive(pool) != 1) {
                if (virStoragePoolGetAutostart(pool, &autostart) == 0 && autostart)
                        warn(checks, "pool %s is not active: virsh pool-start %s", name, name);
                return;
        }
        if (!holds_images(pool))
                return;
        *ret_usable = true;
        if (virStoragePoolGetInfo(pool, &info) < 0)
                warn(checks, "pool %s cannot be read: virsh pool-info %s", name, name);
        else if (info.available < POOL_FREE_LEAST)
                warn(checks, "pool %s has only %s free: make room in it", name,
                     units_format_size(info.available, size));
        else
                ok(checks);
}

static void check_pools(struct checks *checks, virConnectPtr conn) {
        virStoragePoolPtr *pools = NULL;
        bool usable = false;
        int n = virConnectListAllStoragePools(conn, &pools, 0);
        if (n < 0) {
                warn(checks, "the storage pools cannot be read: systemctl status libvirtd");
                return;
        }
        for (int i = 0; i < n; i++) {
                check_pool(checks, pools[i], &usable);
                virStoragePoolFree(pools[i]);
        }
        free(pools);
        if (usable)
                ok(checks);
        else
                warn(checks, "no active pool of files: virsh pool-create-as default dir --target "
                             "/var/lib/libvirt/images");
}

static void check_network(struct checks *checks, virNetworkPtr network) {
        int autostart = 0;
        const char *name = virNetworkGetName(network);
        if (virNetworkIsActive(network) == 1)
                ok(checks);
        else if (virNetworkGetAutostart(network, &autostart) == 0 && autostart)
                warn(checks, "network %s is not active: virsh net-start %s", name, name);
}

static void check_networks(struct checks *checks, virConnectPtr conn) {
        virNetworkPtr *networks = NULL;
        int n = virConnectListAllNetworks(conn, &networks, 0);
        for (int i = 0; i < n; i++) {
                check_network(checks, networks[i]);
                virNetworkFree(networks[i]);
        }
        free(networks);
}

static void check_domains(struct checks *checks, virConnectPtr conn) {
        virDomainPtr *domains = NULL;
        int n = virConnectListAllDomains(conn, &domains, 0);
        if (n < 0) {
                warn(checks, "the VMs cannot be read: systemctl status libvirtd");
                return;
        }
        bool good = true;
        for (int i = 0; i < n; i++) {
                struct error err = ERROR_INIT;
                if (name_check_vm(virDomainGetName(domains[i]), &err) < 0) {
                        good = false;
                        warn(checks, "a VM's name cannot be used (%s): virsh domrename", err.message);
                }
                virDomainFree(domains[i]);
        }
        free(domains);
        checks->n_vms = n;
        if (good)
                ok(checks);
}

static void check_libvirt(struct checks *checks, const char *uri) {
        struct connection *connection = NULL;
        virConnectPtr conn = NULL;
        struct error err = ERROR_INIT;
        if (connection_new(uri, &connection, &err) < 0 || connection_get(connection, &conn, &err) < 0) {
                warn(checks, "%s: apt install libvirt-daemon-system", err.message);
        } else {
                ok(checks);
                check_versions(checks, conn);
                check_pools(checks, conn);
                check_networks(checks, conn);
                check_domains(checks, conn);
                connection_put(conn);
        }
        connection_free(connection);
}

void checks_run(const struct checks_config *config, struct checks *ret) {
        *ret = (struct checks){.n_vms = -1};
        check_root(ret);
        check_kvm(ret);
        check_program(ret, "qemu-img", "qemu-utils");
        check_clock(ret, config->clock_offset_ms);
        check_state_space(ret, config->state_directory);
        check_port(ret, config->data_port);
        check_libvirt(ret, config->libvirt_uri);
}

void checks_fini(struct checks *checks) {
        for (unsigned i = 0; i < CHECKS_WARNINGS_MAX; i++)
                free(checks->warnings[i]);
        *checks = (struct checks){0};
}
