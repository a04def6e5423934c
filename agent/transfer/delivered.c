// SPDX-License-Identifier: LGPL-2.1-or-later
/* TCP_INFO (tcp(7)), see delivered.h. */
#include "agent/transfer/delivered.h"
#include <linux/sock_diag.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#define QUEUED_US 20000 // beyond four times the shortest round trip

static bool look(int fd, struct tcp_info *ret) {
        socklen_t size = sizeof *ret;
        memset(ret, 0, sizeof *ret);
        return getsockopt(fd, IPPROTO_TCP, TCP_INFO, ret, &size) == 0;
}

void delivered_look(int fd, struct delivered *ret) {
        struct tcp_info info;
        *ret = (struct delivered){0};
        if (!look(fd, &info))
                return;
        ret->bytes = info.tcpi_bytes_acked;
        ret->busy_us = info.tcpi_busy_time;
        ret->held_us = info.tcpi_rwnd_limited;
        ret->trip_us = info.tcpi_min_rtt;
        ret->opening = info.tcpi_snd_cwnd < info.tcpi_snd_ssthresh ? info.tcpi_snd_cwnd : 0;
        ret->queued = info.tcpi_rtt / 4 > (uint64_t) info.tcpi_min_rtt + QUEUED_US / 4;
}

static bool has_room(int fd) {
        uint32_t memory[SK_MEMINFO_VARS] = {0};
        socklen_t size = sizeof memory;
        return getsockopt(fd, SOL_SOCKET, SO_MEMINFO, memory, &size) == 0 &&
               memory[SK_MEMINFO_RMEM_ALLOC] < memory[SK_MEMINFO_RCVBUF] / 2;
}

uint64_t delivered_heard(int fd) {
        struct tcp_info info;
        if (!look(fd, &info))
                return 0;
        return has_room(fd) ? info.tcpi_bytes_received : info.tcpi_segs_in;
}
