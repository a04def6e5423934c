// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * Two agents' data planes in one process, with a controller's key and certificates of one authority, over loopback:
 * what the tests of agent/transfer have in common. Each side of a transfer runs on a thread of its own.
 */
#include "agent/blocks/sink_file.h"
#include "agent/blocks/source_file.h"
#include "agent/transfer/flow.h"
#include "agent/transfer/transfer.h"
#include "agent/transfer/exchange.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/random.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>

#define RIG_SOURCE 0
#define RIG_SINK   1
#define RIG_OTHER  2
#define RIG_HOSTS  3
#define MIB        (1ull << 20)

static const char *const rig_uuids[RIG_HOSTS] = {"11111111-1111-4111-8111-111111111111",
                                                 "22222222-2222-4222-8222-222222222222",
                                                 "33333333-3333-4333-8333-333333333333"};

static struct {
        EVP_PKEY *authority_key, *controller_key;
        X509 *authority;
        struct tls_credentials *hosts[RIG_HOSTS], *controller;
        struct transfers *agents[RIG_HOSTS];
        uint16_t ports[RIG_HOSTS];
        uv_loop_t loop;
        uv_async_t stop;
        pthread_t thread;
} rig;

// The system's clock, and what a test adds to it instead of sleeping.
static atomic_uint_least64_t rig_later_ms;

static inline uint64_t rig_monotonic(void *data) {
        (void) data;
        return clock_ms(&system_clock) + atomic_load(&rig_later_ms);
}

static inline int64_t rig_wall(void *data) {
        (void) data;
        return clock_wall(&system_clock);
}

static const struct clock rig_clock = {rig_monotonic, rig_wall, NULL};

static inline struct tls_credentials *rig_credentials(enum identity_kind kind, const char *name) {
        struct identity identity = {.kind = kind};
        EVP_PKEY *key = NULL;
        X509 *certificate = NULL;
        uint8_t *csr = NULL;
        size_t length = 0;
        struct tls_credentials *credentials = NULL;
        snprintf(identity.name, sizeof identity.name, "%s", name);
        struct pki_request request = {.identity = &identity,
                                      .common_name = name,
                                      .not_before = time(NULL) - 60,
                                      .not_after = time(NULL) + 3600,
                                      .server = true};
        assert_int_equal(pki_new_key(&key, NULL), 0);
        assert_int_equal(pki_new_csr(key, &csr, &length, NULL), 0);
        assert_int_equal(pki_issue(rig.authority, rig.authority_key, csr, length, &request, &certificate, NULL), 0);
        assert_int_equal(tls_credentials_new(certificate, key, rig.authority, &credentials, NULL), 0);
        free(csr);
        X509_free(certificate);
        EVP_PKEY_free(key);
        return credentials;
}

static inline int rig_listen(uint16_t *ret_port) {
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t size = sizeof address;
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(bind(fd, (struct sockaddr *) &address, size), 0);
        assert_int_equal(listen(fd, 16), 0);
        assert_int_equal(getsockname(fd, (struct sockaddr *) &address, &size), 0);
        *ret_port = ntohs(address.sin_port);
        return fd;
}

static inline int rig_dial(uint16_t port) {
        struct sockaddr_in address = {
                .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)};
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(connect(fd, (struct sockaddr *) &address, sizeof address), 0);
        return fd;
}

static inline uint16_t rig_free_port(void) {
        uint16_t port;
        close(rig_listen(&port));
        return port;
}

static inline void rig_on_stop(uv_async_t *async) {
        for (unsigned i = 0; i < RIG_HOSTS; i++)
                transfers_free(rig.agents[i]);
        uv_close((uv_handle_t *) async, NULL);
}

static inline void *rig_loop(void *data) {
        (void) data;
        uv_run(&rig.loop, UV_RUN_DEFAULT);
        return NULL;
}

static inline void rig_start_agent(unsigned host, unsigned concurrent_max) {
        struct transfers_config config = {.port = rig.ports[host] = rig_free_port(),
                                          .listen_address = "127.0.0.1",
                                          .concurrent_max = concurrent_max,
                                          .clock = &rig_clock};
        assert_int_equal(transfers_new(&rig.loop, &config, &rig.agents[host], NULL), 0);
        rig.hosts[host] = rig_credentials(IDENTITY_HOST, rig_uuids[host]);
        transfers_set_credentials(rig.agents[host], rig.hosts[host]);
        transfers_set_controller(rig.agents[host], rig.controller_key, NULL);
}

static inline int rig_up(void **state) {
        (void) state;
        signal(SIGPIPE, SIG_IGN);
        log_set_level(LOG_LEVEL_ERROR); // refusals are what is tested
        if (pki_new_key(&rig.authority_key, NULL) < 0 || pki_new_key(&rig.controller_key, NULL) < 0 ||
            pki_new_authority(rig.authority_key, "test authority", 10, &rig.authority, NULL) < 0)
                return -1;
        rig.controller = rig_credentials(IDENTITY_CONTROLLER, "99999999-9999-4999-8999-999999999999");
        uv_loop_init(&rig.loop);
        uv_async_init(&rig.loop, &rig.stop, rig_on_stop);
        for (unsigned i = 0; i < RIG_HOSTS; i++)
                rig_start_agent(i, 16);
        return pthread_create(&rig.thread, NULL, rig_loop, NULL);
}

static inline int rig_down(void **state) {
        (void) state;
        uv_async_send(&rig.stop);
        pthread_join(rig.thread, NULL);
        uv_loop_close(&rig.loop);
        for (unsigned i = 0; i < RIG_HOSTS; i++)
                tls_credentials_unref(rig.hosts[i]);
        tls_credentials_unref(rig.controller);
        X509_free(rig.authority);
        EVP_PKEY_free(rig.authority_key);
        EVP_PKEY_free(rig.controller_key);
        return 0;
}

// ---- tickets and orders
struct rig_ticket {
        Drover__Ticket ticket;
        uint8_t nonce[TICKET_NONCE];
        struct buffer bytes;
};

static inline void rig_ticket(struct rig_ticket *made, int path) {
        Drover__Ticket *ticket = &made->ticket;
        drover__ticket__init(ticket);
        random_bytes(made->nonce, sizeof made->nonce);
        ticket->job = (char *) "k3f7";
        ticket->disk = (char *) "vda";
        ticket->attempt = 1;
        ticket->source_host = (char *) rig_uuids[RIG_SOURCE];
        ticket->sink_host = (char *) rig_uuids[RIG_SINK];
        ticket->source_certificate_sha256 = (ProtobufCBinaryData){
                32, (uint8_t *) tls_credentials_identity(rig.hosts[RIG_SOURCE])->certificate_sha256};
        ticket->sink_certificate_sha256 = (ProtobufCBinaryData){
                32, (uint8_t *) tls_credentials_identity(rig.hosts[RIG_SINK])->certificate_sha256};
        ticket->path = (Drover__TransferPath) path;
        ticket->expires_at = time(NULL) + 600;
        ticket->nonce = (ProtobufCBinaryData){sizeof made->nonce, made->nonce};
        buffer_init(&made->bytes, 0);
}

static inline void rig_sign_with(struct rig_ticket *made, EVP_PKEY *key) {
        buffer_clear(&made->bytes);
        assert_int_equal(ticket_sign(&made->ticket, key, &made->bytes, NULL), 0);
}

static inline void rig_sign(struct rig_ticket *made) {
        rig_sign_with(made, rig.controller_key);
}

static inline Drover__TransferOrder rig_order(const struct rig_ticket *made, int peer, unsigned streams) {
        Drover__TransferOrder order = DROVER__TRANSFER_ORDER__INIT;
        order.ticket = (ProtobufCBinaryData){made->bytes.length, made->bytes.data};
        order.streams = streams;
        if (peer >= 0) {
                order.peer_address = (char *) "127.0.0.1";
                order.peer_port = rig.ports[peer];
        }
        return order;
}

// ---- one side of a transfer, on a thread
struct rig_side {
        struct transfers *agent;
        Drover__TransferOrder order;
        bool source;
        int fd;
        int verified_fd;           // of the sink; -1: nothing is remembered
        struct answerer *answerer; // of the sink; NULL: nothing to look in
        uint64_t least, most;      // that the sink takes; most 0: any length
        unsigned resumed;
        uint64_t bytes;
        struct transfer_observer observer;
        atomic_bool cancel;
        atomic_uint reports;
        uint64_t reported_done, cancel_at; // cancel when so many bytes are reported; 0: never
        int result;
        atomic_bool ended;
        struct error err;
        char digest[80], choice[FLOW_CHOICE_MAX];
        Drover__TransferState state;
        pthread_t thread;
};

static inline bool rig_cancelled(void *data) {
        return atomic_load(&((struct rig_side *) data)->cancel);
}

static inline void rig_progress(const Drover__TransferState *state, void *data) {
        struct rig_side *side = data;
        assert_true(state->bytes_done >= side->reported_done);
        side->reported_done = state->bytes_done;
        atomic_fetch_add(&side->reports, 1);
        if (side->cancel_at && state->bytes_done >= side->cancel_at)
                atomic_store(&side->cancel, true);
}

static inline void rig_send(struct rig_side *side, Drover__TransferResult **ret) {
        struct source *source = NULL;
        side->result = source_file_new(side->fd, side->bytes, &source, &side->err);
        if (side->result == 0)
                side->result = transfer_send(side->agent, &side->order, "vda", source, false, &side->observer, ret,
                                             &side->err);
        source_free(source);
}

static inline void rig_receive(struct rig_side *side, Drover__TransferResult **ret) {
        struct transfer_target target = {
                .least = side->least,
                .most = side->most ? side->most : UINT64_MAX,
                .verified_fd = side->verified_fd,
                .image = "image",
                .answerer = side->answerer,
        };
        assert_int_equal(sink_file_new(side->fd, &target.sink, NULL), 0);
        side->result = transfer_receive(side->agent, &side->order, "vda", &target, &side->observer, ret, &side->err);
        sink_free(target.sink);
}

// Without a rig_side around it: for what fails at once.
static inline int rig_send_as(struct transfers *agent, const Drover__TransferOrder *order, const char *disk, int fd,
                              struct error *err) {
        struct stat status;
        struct source *source = NULL;
        Drover__TransferResult *result = NULL;
        assert_int_equal(fstat(fd, &status), 0);
        assert_int_equal(source_file_new(fd, (uint64_t) status.st_size, &source, NULL), 0);
        int sent = transfer_send(agent, order, disk, source, false, NULL, &result, err);
        source_free(source);
        return sent;
}

static inline int rig_receive_as(struct transfers *agent, const Drover__TransferOrder *order, const char *disk, int fd,
                                 struct error *err) {
        struct transfer_target target = {.most = UINT64_MAX, .verified_fd = -1, .image = "image"};
        Drover__TransferResult *result = NULL;
        assert_int_equal(sink_file_new(fd, &target.sink, NULL), 0);
        int received = transfer_receive(agent, order, disk, &target, NULL, &result, err);
        sink_free(target.sink);
        return received;
}

static inline void *rig_side_main(void *data) {
        struct rig_side *side = data;
        Drover__TransferResult *result = NULL;
        side->observer = (struct transfer_observer){rig_progress, rig_cancelled, side};
        if (side->source)
                rig_send(side, &result);
        else
                rig_receive(side, &result);
        if (result) {
                side->resumed = result->resumed;
                snprintf(side->digest, sizeof side->digest, "%s", result->digest);
                side->state = *result->state;
                snprintf(side->choice, sizeof side->choice, "%s", result->state->choice);
                proto_free(&result->base);
        }
        atomic_store(&side->ended, true);
        return NULL;
}

static inline void rig_side_start(struct rig_side *side) {
        assert_int_equal(pthread_create(&side->thread, NULL, rig_side_main, side), 0);
}

struct rig_pair {
        struct rig_ticket ticket;
        struct rig_side source, sink;
};

// Both sides ready to start, over files that the caller gives.
static inline void rig_pair(struct rig_pair *pair, int path, int source_fd, int sink_fd, unsigned streams) {
        struct stat status;
        memset(pair, 0, sizeof *pair);
        rig_ticket(&pair->ticket, path);
        rig_sign(&pair->ticket);
        assert_int_equal(fstat(source_fd, &status), 0);
        pair->source.agent = rig.agents[RIG_SOURCE];
        pair->source.source = true;
        pair->source.fd = source_fd;
        pair->source.bytes = (uint64_t) status.st_size;
        pair->sink.agent = rig.agents[RIG_SINK];
        pair->sink.fd = sink_fd;
        pair->sink.verified_fd = -1;
        pair->source.order =
                rig_order(&pair->ticket, path == DROVER__TRANSFER_PATH__PATH_DIRECT ? RIG_SINK : -1, streams);
        pair->sink.order =
                rig_order(&pair->ticket, path == DROVER__TRANSFER_PATH__PATH_REVERSE ? RIG_SOURCE : -1, streams);
}

static inline void rig_pair_run(struct rig_pair *pair) {
        rig_side_start(&pair->sink);
        rig_side_start(&pair->source);
        pthread_join(pair->source.thread, NULL);
        pthread_join(pair->sink.thread, NULL);
}

static inline void rig_pair_end(struct rig_pair *pair) {
        buffer_fini(&pair->ticket.bytes);
}

static inline void rig_assert_ok(const struct rig_side *side) {
        if (side->result < 0)
                fail_msg("%s: %s", side->source ? "source" : "sink", side->err.message);
}

static inline void rig_assert_failed(const struct rig_side *side, enum error_code code, const char *message) {
        assert_int_equal(side->result, -1);
        assert_string_equal(side->err.message, message);
        assert_int_equal(side->err.code, code);
}

// Waits until the condition holds, with a deadline.
#define RIG_UNTIL(condition)                                                                                           \
        do {                                                                                                           \
                unsigned _tries = 0;                                                                                   \
                while (!(condition) && _tries++ < 20000)                                                               \
                        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);                                       \
                assert_true(condition);                                                                                \
        } while (0)

// ---- a network between the two sides that a test may spoil: forwards connections to a port
enum rig_spoil { RIG_PASS, RIG_CUT, RIG_FLIP, RIG_HOLE };
struct rig_wires {
        enum rig_spoil spoil;
        uint64_t after; // bytes towards the dialled side, all connections together
        uint16_t port, to;
        int listener;
        atomic_uint_least64_t forwarded;
        atomic_bool spoilt, ended;
        pthread_t thread;
};

// Forwards what one side has; false when the connection is over.
static inline bool rig_forward(struct rig_wires *wires, int from, int to, bool counts) {
        uint8_t bytes[16384];
        ssize_t n = recv(from, bytes, sizeof bytes, MSG_DONTWAIT);
        if (n <= 0)
                return false;
        uint64_t before = counts ? atomic_fetch_add(&wires->forwarded, (uint64_t) n) : 0;
        bool due = counts && wires->spoil != RIG_PASS && before + (uint64_t) n > wires->after;
        if (due && wires->spoil == RIG_FLIP && !atomic_exchange(&wires->spoilt, true))
                bytes[n / 2] ^= 0x10;
        if (due && wires->spoil == RIG_CUT) {
                atomic_store(&wires->spoilt, true);
                return false;
        }
        if (due && wires->spoil == RIG_HOLE) {
                atomic_store(&wires->spoilt, true);
                return true;
        }
        return send(to, bytes, (size_t) n, MSG_NOSIGNAL) == n;
}

static inline void *rig_wires_main(void *data) {
        struct rig_wires *wires = data;
        struct pollfd fds[1 + 2 * FLOW_STREAMS_MAX] = {{.fd = wires->listener, .events = POLLIN}};
        nfds_t n = 1;
        while (!atomic_load(&wires->ended)) {
                bool hole = wires->spoil == RIG_HOLE && atomic_load(&wires->spoilt);
                if (poll(fds, hole ? 0 : n, 20) <= 0)
                        continue;
                if (fds[0].revents && n + 2 <= sizeof fds / sizeof fds[0]) {
                        fds[n] = (struct pollfd){.fd = accept(wires->listener, NULL, NULL), .events = POLLIN};
                        fds[n + 1] = (struct pollfd){.fd = rig_dial(wires->to), .events = POLLIN};
                        n += 2;
                        continue;
                }
                bool cut = false;
                for (nfds_t i = 1; i < n; i++)
                        if (fds[i].revents && fds[i].fd >= 0 &&
                            !rig_forward(wires, fds[i].fd, fds[((i - 1) ^ 1) + 1].fd, i & 1))
                                cut = true;
                for (nfds_t i = 1; cut && i < n; i++) { // all of them: it is the line that is cut
                        if (fds[i].fd >= 0)
                                close(fds[i].fd);
                        fds[i].fd = -1;
                }
        }
        for (nfds_t i = 0; i < n; i++)
                if (fds[i].fd >= 0)
                        close(fds[i].fd);
        return NULL;
}

static inline void rig_wires_start(struct rig_wires *wires, enum rig_spoil spoil, uint64_t after, uint16_t to) {
        memset(wires, 0, sizeof *wires);
        wires->spoil = spoil;
        wires->after = after;
        wires->to = to;
        wires->listener = rig_listen(&wires->port);
        assert_int_equal(pthread_create(&wires->thread, NULL, rig_wires_main, wires), 0);
}

static inline void rig_wires_end(struct rig_wires *wires) {
        atomic_store(&wires->ended, true);
        pthread_join(wires->thread, NULL);
}

// ---- files
static inline int rig_file(void) {
        char path[] = "/var/tmp/drover-transfer-XXXXXX"; // a real disk where there is one: O_DIRECT
        int fd = mkstemp(path);
        assert_true(fd >= 0);
        unlink(path);
        return fd;
}

static inline void rig_fill(int fd, uint64_t offset, uint64_t length, uint32_t seed) {
        uint32_t words[16384];
        for (uint64_t done = 0; done < length; done += sizeof words) {
                for (size_t i = 0; i < 16384; i++) {
                        seed = seed * 1664525u + 1013904223u;
                        words[i] = seed;
                }
                size_t n = length - done < sizeof words ? (size_t) (length - done) : sizeof words;
                assert_int_equal(pwrite(fd, words, n, (off_t) (offset + done)), n);
        }
}

static inline int rig_digest(int fd, uint64_t bytes, bool (*cancelled)(void *), void *data, char ret_digest[80],
                             struct error *err) {
        struct source *source = NULL;
        int result = source_file_new(fd, bytes, &source, err);
        if (result == 0)
                result = transfer_digest(source, cancelled, data, ret_digest, err);
        source_free(source);
        return result;
}

// An independent hash of the whole content, read in the plainest way.
static inline void rig_hash(int fd, uint8_t ret_hash[32]) {
        static _Thread_local uint8_t bytes[65536];
        EVP_MD_CTX *context = EVP_MD_CTX_new();
        ssize_t n;
        EVP_DigestInit_ex(context, EVP_sha256(), NULL);
        for (off_t at = 0; (n = pread(fd, bytes, sizeof bytes, at)) > 0; at += n)
                EVP_DigestUpdate(context, bytes, (size_t) n);
        assert_int_equal(n, 0);
        EVP_DigestFinal_ex(context, ret_hash, NULL);
        EVP_MD_CTX_free(context);
}

static inline void rig_assert_same(int one, int other) {
        uint8_t hashes[2][32];
        struct stat status[2];
        assert_int_equal(fstat(one, &status[0]), 0);
        assert_int_equal(fstat(other, &status[1]), 0);
        assert_int_equal(status[0].st_size, status[1].st_size);
        rig_hash(one, hashes[0]);
        rig_hash(other, hashes[1]);
        assert_memory_equal(hashes[0], hashes[1], 32);
}
