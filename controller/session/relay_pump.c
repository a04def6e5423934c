// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The pump: two flows, one for each direction, in one poll loop. A flow reads into its pipe when the pipe has been
 * emptied and empties it when the sink has room, so a slow sink holds its source back. The end of one flow is passed
 * on as a half close, as TCP has it.
 */
#include "controller/session/relay_pump.h"
#include "common/cleanup.h"
#include "common/memory.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>

#define PIPE_SIZE (256 << 10)

struct flow {
        int from, to;
        int pipe[2];
        size_t in_pipe;
        uint8_t *early; // what came before the pump: goes first
        size_t early_length, early_sent;
        uint64_t bytes;
        bool ended; // the source has ended
        bool done;  // and the sink knows
};

struct relay_pump {
        pthread_t thread;
        struct flow flows[2];
        int idle_ms;
        atomic_bool broken;
        void (*ended)(void *data);
        void *data;
};

static bool would_block(void) {
        return errno == EAGAIN || errno == EINTR;
}

// Each gives 1 when something moved, 0 when nothing could, -1 when the connection is broken.
static int send_early(struct flow *flow) {
        size_t rest = flow->early_length - flow->early_sent;
        ssize_t n = send(flow->to, flow->early + flow->early_sent, rest, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0)
                return would_block() ? 0 : -1;
        flow->early_sent += (size_t) n;
        flow->bytes += (uint64_t) n;
        return n > 0;
}

static int fill_pipe(struct flow *flow) {
        ssize_t n = splice(flow->from, NULL, flow->pipe[1], NULL, PIPE_SIZE, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
        if (n < 0)
                return would_block() ? 0 : -1;
        if (n == 0)
                flow->ended = true;
        flow->in_pipe += (size_t) n;
        return 1;
}

static int empty_pipe(struct flow *flow) {
        ssize_t n = splice(flow->pipe[0], NULL, flow->to, NULL, flow->in_pipe, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
        if (n < 0)
                return would_block() ? 0 : -1;
        flow->in_pipe -= (size_t) n;
        flow->bytes += (uint64_t) n;
        return n > 0;
}

static int move(struct flow *flow) {
        if (flow->done)
                return 0;
        if (flow->early_sent < flow->early_length)
                return send_early(flow);
        if (flow->in_pipe > 0)
                return empty_pipe(flow);
        if (!flow->ended)
                return fill_pipe(flow);
        flow->done = true;
        return shutdown(flow->to, SHUT_WR) < 0 ? -1 : 1;
}

static void watch(const struct flow *flow, struct pollfd *from, struct pollfd *to) {
        if (flow->done)
                return;
        if (flow->early_sent < flow->early_length || flow->in_pipe > 0)
                to->events |= POLLOUT;
        else
                from->events |= POLLIN;
}

// Until one of the flows may be able to move again; false when nothing has for too long.
static bool wait_for_room(const struct relay_pump *pump) {
        const struct flow *flows = pump->flows;
        struct pollfd fds[2] = {{.fd = flows[0].from}, {.fd = flows[1].from}};
        watch(&flows[0], &fds[0], &fds[1]);
        watch(&flows[1], &fds[1], &fds[0]);
        for (unsigned i = 0; i < 2; i++)
                if (fds[i].events == 0)
                        fds[i].fd = -1; // a half-closed side would report its hang-up without end
        int n = poll(fds, 2, pump->idle_ms);
        return n > 0 || (n < 0 && errno == EINTR);
}

static void *run(void *data) {
        struct relay_pump *pump = data;
        while (!(pump->flows[0].done && pump->flows[1].done) && !atomic_load(&pump->broken)) {
                int one = move(&pump->flows[0]), other = move(&pump->flows[1]);
                if (one < 0 || other < 0)
                        break;
                if (!one && !other && !wait_for_room(pump))
                        break;
        }
        // Whoever still waits for the other side learns of the end at once.
        shutdown(pump->flows[0].from, SHUT_RDWR);
        shutdown(pump->flows[1].from, SHUT_RDWR);
        pump->ended(pump->data);
        return NULL;
}

static int open_flow(struct flow *flow, int from, int to, const uint8_t *early, size_t length, struct error *err) {
        flow->from = from;
        flow->to = to;
        flow->pipe[0] = flow->pipe[1] = -1;
        if (pipe2(flow->pipe, O_CLOEXEC | O_NONBLOCK) < 0)
                return error_errno(err, errno, "make a pipe to relay through");
        fcntl(flow->pipe[0], F_SETPIPE_SZ, PIPE_SIZE); // less than that is slower, and no harm
        flow->early_length = length;
        flow->early = memory_new(length + 1);
        if (length)
                memcpy(flow->early, early, length);
        return 0;
}

static void pump_free(struct relay_pump *pump) {
        for (unsigned i = 0; i < 2; i++) {
                close_p(&pump->flows[i].from);
                close_p(&pump->flows[i].pipe[0]);
                close_p(&pump->flows[i].pipe[1]);
                free(pump->flows[i].early);
        }
        free(pump);
}

// Signals are the loop thread's.
static int start_thread(struct relay_pump *pump, struct error *err) {
        sigset_t all, before;
        pthread_attr_t attributes;
        sigfillset(&all);
        pthread_attr_init(&attributes);
        pthread_attr_setstacksize(&attributes, 256 << 10);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        int r = pthread_create(&pump->thread, &attributes, run, pump);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        pthread_attr_destroy(&attributes);
        return r ? error_errno(err, r, "start a thread to relay on") : 0;
}

int relay_pump_start(int one, int other, const uint8_t *from_one, size_t from_one_length, const uint8_t *from_other,
                     size_t from_other_length, uint32_t idle_ms, void (*ended)(void *data), void *data,
                     struct relay_pump **ret, struct error *err) {
        struct relay_pump *pump = new (struct relay_pump);
        pump->idle_ms = (int) idle_ms;
        pump->ended = ended;
        pump->data = data;
        pump->flows[1].pipe[0] = pump->flows[1].pipe[1] = -1;
        pump->flows[1].from = other;
        if (open_flow(&pump->flows[0], one, other, from_one, from_one_length, err) < 0 ||
            open_flow(&pump->flows[1], other, one, from_other, from_other_length, err) < 0) {
                pump_free(pump);
                return -1;
        }
        *ret = pump; // before the thread, which may end at once
        if (start_thread(pump, err) < 0) {
                pump_free(pump);
                return -1;
        }
        return 0;
}

void relay_pump_break(struct relay_pump *pump) {
        atomic_store(&pump->broken, true);
        shutdown(pump->flows[0].from, SHUT_RDWR);
        shutdown(pump->flows[1].from, SHUT_RDWR);
}

uint64_t relay_pump_finish(struct relay_pump *pump) {
        pthread_join(pump->thread, NULL);
        uint64_t bytes = pump->flows[0].bytes + pump->flows[1].bytes;
        pump_free(pump);
        return bytes;
}
