/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A link with a latency, for kernels without netem: takes packets from one TUN device and hands them to another after
 * a fixed time, both ways. Each device is made in the network namespace named on the command line.
 *
 *     delay MILLISECONDS NETNS DEVICE NETNS DEVICE
 *
 * Packets keep their virtio header, so that a segment of 64 KiB crosses as one. What does not fit in QUEUE_BYTES is
 * dropped, as a router would. One thread; the devices go away with the process.
 */

#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum { QUEUE_BYTES = 32 << 20, PACKET_BYTES = 66 << 10 };

struct packet {
        struct packet *next;
        int64_t due_ns;
        size_t size;
        unsigned char bytes[];
};

/* One way across: packets in the order in which they came. */
struct lane {
        int from;
        int to;
        struct packet *first;
        struct packet **last;
        size_t queued;
};

static int64_t now_ns(void) {
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (int64_t) t.tv_sec * 1000000000 + t.tv_nsec;
}

static void fail(const char *what) {
        fprintf(stderr, "delay: %s: %s\n", what, strerror(errno));
        exit(1);
}

static int tun_open(const char *netns, const char *name) {
        unsigned offloads = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6;
        struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR};
        int space = open(netns, O_RDONLY | O_CLOEXEC);
        int tun;

        if (space < 0 || setns(space, CLONE_NEWNET) < 0)
                fail(netns);
        close(space);
        tun = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
        if (tun < 0)
                fail("/dev/net/tun");
        snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
        if (ioctl(tun, TUNSETIFF, &request) < 0 || ioctl(tun, TUNSETOFFLOAD, offloads) < 0)
                fail(name);
        return tun;
}

static void lane_init(struct lane *lane, int from, int to) {
        *lane = (struct lane){.from = from, .to = to};
        lane->last = &lane->first;
}

/* Take in everything that is there. */
static void lane_fill(struct lane *lane, int64_t latency_ns) {
        static unsigned char buffer[PACKET_BYTES];
        ssize_t n;

        while ((n = read(lane->from, buffer, sizeof buffer)) > 0) {
                struct packet *packet;

                if (lane->queued + (size_t) n > QUEUE_BYTES)
                        continue;
                packet = malloc(sizeof *packet + (size_t) n);
                if (!packet)
                        fail("packet");
                *packet = (struct packet){.due_ns = now_ns() + latency_ns, .size = (size_t) n};
                memcpy(packet->bytes, buffer, (size_t) n);
                *lane->last = packet;
                lane->last = &packet->next;
                lane->queued += packet->size;
        }
}

/* Hand over what is due; the rest waits. A packet that the other side refuses is lost. */
static void lane_drain(struct lane *lane) {
        while (lane->first && lane->first->due_ns <= now_ns()) {
                struct packet *packet = lane->first;
                ssize_t written = write(lane->to, packet->bytes, packet->size);

                (void) written;
                lane->first = packet->next;
                if (!lane->first)
                        lane->last = &lane->first;
                lane->queued -= packet->size;
                free(packet);
        }
}

static int64_t lane_due(const struct lane *lane) {
        return lane->first ? lane->first->due_ns : INT64_MAX;
}

static void wait_for_work(const struct lane lanes[2]) {
        struct pollfd sources[2] = {{.fd = lanes[0].from, .events = POLLIN}, {.fd = lanes[1].from, .events = POLLIN}};
        int64_t due = lane_due(&lanes[0]) < lane_due(&lanes[1]) ? lane_due(&lanes[0]) : lane_due(&lanes[1]);
        int64_t left = due == INT64_MAX ? 0 : due - now_ns();
        struct timespec timeout = {.tv_sec = left > 0 ? left / 1000000000 : 0,
                                   .tv_nsec = left > 0 ? left % 1000000000 : 0};

        if (ppoll(sources, 2, due == INT64_MAX ? NULL : &timeout, NULL) < 0 && errno != EINTR)
                fail("ppoll");
}

int main(int argc, char **argv) {
        struct lane lanes[2];
        int64_t latency_ns;
        int left, right;

        if (argc != 6) {
                fprintf(stderr, "usage: delay MILLISECONDS NETNS DEVICE NETNS DEVICE\n");
                return 2;
        }
        latency_ns = (int64_t) (strtod(argv[1], NULL) * 1e6);
        left = tun_open(argv[2], argv[3]);
        right = tun_open(argv[4], argv[5]);
        lane_init(&lanes[0], left, right);
        lane_init(&lanes[1], right, left);
        for (;;) {
                wait_for_work(lanes);
                for (int i = 0; i < 2; i++) {
                        lane_fill(&lanes[i], latency_ns);
                        lane_drain(&lanes[i]);
                }
        }
}
