// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Bridges among the network interfaces: the driver's name, asked of each interface, tells. Any thread.
 */
#include "agent/host/bridge.h"
#include "common/cleanup.h"
#include "common/memory.h"
#include <errno.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

static bool is_bridge(int fd, const char *name) {
        struct ethtool_drvinfo info = {.cmd = ETHTOOL_GDRVINFO};
        struct ifreq request = {.ifr_data = (char *) &info};
        snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
        if (ioctl(fd, SIOCETHTOOL, &request) < 0)
                return false; // gone meanwhile, or an interface without a driver
        return strcmp(info.driver, "bridge") == 0 || strcmp(info.driver, "openvswitch") == 0;
}

int bridge_names(char ***ret, unsigned *ret_n, struct error *err) {
        _cleanup_(close_p) int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        struct if_nameindex *interfaces = fd < 0 ? NULL : if_nameindex();
        if (!interfaces)
                return error_errno(err, errno, "list the network interfaces");
        char **names = NULL;
        unsigned n = 0;
        for (const struct if_nameindex *at = interfaces; at->if_name; at++)
                if (is_bridge(fd, at->if_name)) {
                        names = memory_grow(names, n + 1, sizeof(*names));
                        names[n++] = memory_string(at->if_name);
                }
        if_freenameindex(interfaces);
        *ret = names;
        *ret_n = n;
        return 0;
}
