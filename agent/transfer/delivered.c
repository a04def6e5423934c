// SPDX-License-Identifier: LGPL-2.1-or-later
/* TCP_INFO (tcp(7)), see delivered.h. */
#include "agent/transfer/delivered.h"
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

uint64_t delivered_bytes(int fd) {
        struct tcp_info info = {0};
        socklen_t size = sizeof info;
        return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0 ? info.tcpi_bytes_acked : 0;
}
