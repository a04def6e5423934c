// SPDX-License-Identifier: LGPL-2.1-or-later
/* The registry of one agent (see exchange.h and transfer.h). Everything in it is guarded by its mutex. */
#include "agent/transfer/exchange.h"
#include "agent/transfer/hello.h"
#include "agent/transfer/listener.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "common/memory.h"
#include <string.h>

DEFINE_CLEANUP(proto_free, ProtobufCMessage *)

// Of the connections that are not yet known, one address may have this part: others shall get a turn beside it (fault
// 3).
#define SHARE 4

struct waiting { // a transfer that waits for its peer; on its own stack
        struct waiting *next;
        const struct order *order;
        struct channel *channels[FLOW_STREAMS_MAX];
        unsigned arrived;
};

struct arrival { // a connection that is not yet known, and the thread that gets to know it
        struct arrival *next;
        struct transfers *transfers;
        int fd;
        struct sockaddr_storage peer;
        pthread_t thread;
        bool ended; // to be joined
};

struct transfers {
        const struct clock *clock;
        struct listener *listener;
        struct ticket_ledger *ledger;
        struct recall *recall;
        uint16_t port;
        unsigned most;
        uint32_t patience_ms, call_ms;
        atomic_bool closing;

        pthread_mutex_t mutex; // of what follows
        pthread_cond_t changed;
        struct standing standing;
        struct waiting *waiting;
        struct arrival *arrivals;
        unsigned n_arrivals, n_transfers;
        struct running *running;
};

// ---- waiting, with the mutex held; wakes at least every tick so that a cancel is seen
static void tick(struct transfers *transfers) {
        flow_tick(&transfers->changed, &transfers->mutex);
}

// ---- incoming connections
// What the ticket must say for this peer to call us, whichever transfer it is for.
static int check_claim(struct transfers *transfers, const struct standing *standing, const struct identity *peer,
                       ProtobufCBinaryData bytes, Drover__Ticket **ret, struct error *err) {
        _cleanup_(proto_free_p) ProtobufCMessage *message = NULL;
        const struct identity *own = tls_credentials_identity(standing->credentials);
        if (ticket_open(bytes.data, bytes.len, standing->controller_key, clock_wall(transfers->clock),
                        (Drover__Ticket **) &message, err) < 0)
                return -1;
        const Drover__Ticket *ticket = (const Drover__Ticket *) message;
        bool we_are_source = strcmp(own->name, ticket->source_host) == 0;
        const struct identity *source = we_are_source ? own : peer, *sink = we_are_source ? peer : own;
        struct ticket_expectation expected = {
                .source_host = source->name,
                .sink_host = sink->name,
                .source_certificate_sha256 = source->certificate_sha256,
                .sink_certificate_sha256 = sink->certificate_sha256,
                .path = we_are_source ? DROVER__TRANSFER_PATH__PATH_REVERSE : DROVER__TRANSFER_PATH__PATH_DIRECT,
        };
        if (ticket_match(ticket, &expected, err) < 0)
                return -1;
        *ret = (Drover__Ticket *) steal(&message);
        return 0;
}

static struct waiting *find_nonce(struct transfers *transfers, const Drover__Ticket *ticket) {
        struct waiting *waiting = transfers->waiting;
        while (waiting && memcmp(waiting->order->ticket->nonce.data, ticket->nonce.data, TICKET_NONCE) != 0)
                waiting = waiting->next;
        return waiting;
}

static struct waiting *find_peer(struct transfers *transfers, const Drover__Ticket *ticket) {
        struct waiting *waiting = transfers->waiting;
        while (waiting && (strcmp(waiting->order->ticket->source_host, ticket->source_host) != 0 ||
                           strcmp(waiting->order->ticket->sink_host, ticket->sink_host) != 0))
                waiting = waiting->next;
        return waiting;
}

// Nothing waits under this ticket: say how it differs from what waits for this peer, if anything does.
static int refuse_unknown(struct transfers *transfers, const Drover__Ticket *ticket, ProtobufCBinaryData bytes,
                          struct error *err) {
        const struct waiting *other = find_peer(transfers, ticket);
        if (other && order_check_ticket(other->order, bytes, clock_wall(transfers->clock), err) < 0)
                return -1;
        return error_set(err, ERROR_NOT_FOUND, "no transfer waits for job %s, disk %s, attempt %u", ticket->job,
                         ticket->disk, ticket->attempt);
}

static int hand_over(struct transfers *transfers, struct waiting *waiting, const Drover__DataHello *hello,
                     struct channel *channel, struct error *err) {
        if (order_check_ticket(waiting->order, hello->ticket, clock_wall(transfers->clock), err) < 0)
                return -1;
        if (hello->streams != waiting->order->streams)
                return error_set(err, ERROR_PROTOCOL, "the peer means %u streams, the order says %u", hello->streams,
                                 waiting->order->streams);
        // A few bytes into an empty socket: this does not block under the mutex.
        if (exchange_use_ticket(transfers, waiting->order->ticket, hello->stream, err) < 0 ||
            hello_accept(channel, err) < 0)
                return -1;
        waiting->channels[hello->stream] = channel;
        waiting->arrived++;
        pthread_cond_broadcast(&transfers->changed);
        return 0;
}

static int find_transfer(struct transfers *transfers, const Drover__Ticket *ticket, const Drover__DataHello *hello,
                         struct channel *channel, struct error *err) {
        uint64_t until = clock_ms(transfers->clock) + transfers->patience_ms;
        struct waiting *waiting;
        int result;
        pthread_mutex_lock(&transfers->mutex);
        while (!(waiting = find_nonce(transfers, ticket)) && clock_ms(transfers->clock) < until &&
               !atomic_load(&transfers->closing))
                tick(transfers);
        if (waiting)
                result = hand_over(transfers, waiting, hello, channel, err);
        else
                result = refuse_unknown(transfers, ticket, hello->ticket, err);
        pthread_mutex_unlock(&transfers->mutex);
        return result;
}

// 0: the channel belongs to a transfer now.
static int admit(struct transfers *transfers, struct channel *channel, const struct standing *standing,
                 struct error *err) {
        _cleanup_(proto_free_p) ProtobufCMessage *envelope = NULL;
        _cleanup_(proto_free_p) ProtobufCMessage *ticket = NULL;
        if (hello_hear(channel, (Drover__DataEnvelope **) &envelope, err) < 0)
                return -1;
        const Drover__DataHello *hello = ((Drover__DataEnvelope *) envelope)->hello;
        if (check_claim(transfers, standing, channel_peer(channel), hello->ticket, (Drover__Ticket **) &ticket, err) <
            0)
                return -1;
        return find_transfer(transfers, (Drover__Ticket *) ticket, hello, channel, err);
}

static void log_refusal(const struct channel *channel, const struct error *why) {
        enum log_level level = why->code == ERROR_DENIED ? LOG_LEVEL_WARNING : LOG_LEVEL_DEBUG;
        log_failure(level, "data connection refused", why, "address", channel_address(channel), "host",
                    channel_peer(channel)->kind == IDENTITY_HOST ? channel_peer(channel)->name : NULL, NULL);
}

static void greet(struct arrival *arrival) {
        struct transfers *transfers = arrival->transfers;
        struct error why = ERROR_INIT;
        struct standing standing;
        struct channel *channel = channel_new(arrival->fd, transfers->clock);
        exchange_standing(transfers, &standing);
        channel_set_stop(channel, &transfers->closing);
        channel_set_deadline(channel, CHANNEL_HELLO_MS);
        if (standing.credentials && standing.controller_key) {
                if (channel_secure(channel, standing.credentials, IDENTITY_HOST, true, &why) < 0) {
                        log_refusal(channel, &why);
                } else if (admit(transfers, channel, &standing, &why) == 0) {
                        channel = NULL;
                } else {
                        log_refusal(channel, &why);
                        channel_say_why(channel, &why);
                }
        }
        channel_free(channel);
        standing_fini(&standing);
}

static void *greet_main(void *pointer) {
        struct arrival *arrival = pointer;
        struct transfers *transfers = arrival->transfers;
        greet(arrival);
        pthread_mutex_lock(&transfers->mutex);
        arrival->ended = true;
        transfers->n_arrivals--;
        pthread_cond_broadcast(&transfers->changed);
        pthread_mutex_unlock(&transfers->mutex);
        return NULL;
}

// With the mutex held. A thread that has set `ended` needs the mutex no more, so it can be joined under it.
static void reap(struct transfers *transfers) {
        for (struct arrival **link = &transfers->arrivals; *link;) {
                struct arrival *arrival = *link;
                if (!arrival->ended) {
                        link = &arrival->next;
                        continue;
                }
                *link = arrival->next;
                pthread_join(arrival->thread, NULL);
                free(arrival);
        }
}

static bool same_host(const struct sockaddr_storage *one, const struct sockaddr_storage *other) {
        if (one->ss_family != other->ss_family)
                return false;
        if (one->ss_family == AF_INET)
                return ((const struct sockaddr_in *) one)->sin_addr.s_addr ==
                       ((const struct sockaddr_in *) other)->sin_addr.s_addr;
        return memcmp(&((const struct sockaddr_in6 *) one)->sin6_addr,
                      &((const struct sockaddr_in6 *) other)->sin6_addr, sizeof(struct in6_addr)) == 0;
}

static bool has_room(const struct transfers *transfers, const struct sockaddr_storage *peer) {
        unsigned same = 0, share = transfers->most / SHARE;
        for (const struct arrival *other = transfers->arrivals; other; other = other->next)
                same += !other->ended && same_host(&other->peer, peer);
        return transfers->n_arrivals < transfers->most &&
               same < (share > EXCHANGE_CALLS_LEAST ? share : EXCHANGE_CALLS_LEAST);
}

static bool start_greeting(struct transfers *transfers, int fd, const struct sockaddr_storage *peer) {
        struct arrival *arrival = new (struct arrival);
        arrival->transfers = transfers;
        arrival->fd = fd;
        arrival->peer = *peer;
        if (pthread_create(&arrival->thread, NULL, greet_main, arrival) != 0) {
                free(arrival);
                return false;
        }
        arrival->next = transfers->arrivals;
        transfers->arrivals = arrival;
        transfers->n_arrivals++;
        return true;
}

static void on_connection(int fd, const struct sockaddr_storage *peer, void *data) {
        struct transfers *transfers = data;
        pthread_mutex_lock(&transfers->mutex);
        reap(transfers);
        bool taken = has_room(transfers, peer) && start_greeting(transfers, fd, peer);
        pthread_mutex_unlock(&transfers->mutex);
        if (!taken)
                close(fd);
}

// ---- transfers
static void enlist(struct transfers *transfers, struct waiting *waiting) {
        waiting->next = transfers->waiting;
        transfers->waiting = waiting;
        pthread_cond_broadcast(&transfers->changed);
}

static void delist(struct transfers *transfers, struct waiting *waiting) {
        struct waiting **link = &transfers->waiting;
        while (*link != waiting)
                link = &(*link)->next;
        *link = waiting->next;
}

// With the mutex held, which is given up while the observer is asked.
static bool cancelled(struct transfers *transfers, struct flow *flow) {
        pthread_mutex_unlock(&transfers->mutex);
        bool result = flow_cancelled(flow);
        pthread_mutex_lock(&transfers->mutex);
        return result;
}

static int await_locked(struct transfers *transfers, struct waiting *waiting, struct flow *flow, struct error *err) {
        uint64_t until = clock_ms(transfers->clock) + transfers->call_ms;
        unsigned arrived = 0;
        while (waiting->arrived < waiting->order->streams) {
                if (cancelled(transfers, flow))
                        return error_set(err, ERROR_CANCELLED, "cancelled");
                if (waiting->arrived > arrived) {
                        arrived = waiting->arrived;
                        until = clock_ms(transfers->clock) + CHANNEL_HELLO_MS;
                }
                if (clock_ms(transfers->clock) >= until && arrived == 0)
                        return error_set(err, ERROR_UNREACHABLE, "%s did not call within %u seconds",
                                         order_peer_word(waiting->order), (transfers->call_ms + 999) / 1000);
                if (clock_ms(transfers->clock) >= until)
                        return error_set(err, ERROR_UNREACHABLE, "%s called for %u of %u streams",
                                         order_peer_word(waiting->order), arrived, waiting->order->streams);
                tick(transfers);
        }
        return 0;
}

int exchange_await(struct transfers *transfers, const struct order *order, struct flow *flow, struct channel **channels,
                   struct error *err) {
        struct waiting waiting = {.order = order};
        if (!transfers->listener)
                return error_set(err, ERROR_UNREACHABLE, "this agent accepts no data connections (data_port is 0)");
        pthread_mutex_lock(&transfers->mutex);
        enlist(transfers, &waiting);
        int result = await_locked(transfers, &waiting, flow, err);
        delist(transfers, &waiting);
        pthread_mutex_unlock(&transfers->mutex);
        for (unsigned i = 0; i < order->streams; i++) {
                if (result < 0)
                        channel_free(waiting.channels[i]);
                else
                        channels[i] = waiting.channels[i];
        }
        return result;
}

int exchange_enter(struct transfers *transfers, struct error *err) {
        int result = 0;
        pthread_mutex_lock(&transfers->mutex);
        if (transfers->n_transfers >= transfers->most)
                result = error_set(err, ERROR_BUSY, "%u transfers are under way on this host already",
                                   transfers->n_transfers);
        else
                transfers->n_transfers++;
        pthread_mutex_unlock(&transfers->mutex);
        return result;
}

void exchange_leave(struct transfers *transfers) {
        pthread_mutex_lock(&transfers->mutex);
        transfers->n_transfers--;
        pthread_cond_broadcast(&transfers->changed);
        pthread_mutex_unlock(&transfers->mutex);
}

void exchange_run(struct transfers *transfers, struct running *running, const struct order *order, struct flow *flow) {
        running->order = order;
        running->flow = flow;
        rate_init(&running->rate, order->rate, flow->clock);
        atomic_store(&flow->rate, rate_now(&running->rate));
        pthread_mutex_lock(&transfers->mutex);
        running->next = transfers->running;
        transfers->running = running;
        pthread_mutex_unlock(&transfers->mutex);
}

void exchange_stop(struct transfers *transfers, struct running *running) {
        pthread_mutex_lock(&transfers->mutex);
        struct running **link = &transfers->running;
        while (*link != running)
                link = &(*link)->next;
        *link = running->next;
        pthread_mutex_unlock(&transfers->mutex);
        rate_fini(&running->rate);
}

bool transfers_set_rate(struct transfers *transfers, const char *job, const char *disk, uint64_t bytes_per_second) {
        bool found = false;
        pthread_mutex_lock(&transfers->mutex);
        for (struct running *running = transfers->running; running; running = running->next) {
                const Drover__Ticket *ticket = running->order->ticket;
                if (strcmp(ticket->job, job) != 0 || strcmp(ticket->disk, disk) != 0)
                        continue;
                rate_set(&running->rate, bytes_per_second);
                atomic_store(&running->flow->rate, rate_now(&running->rate));
                found = true;
        }
        pthread_mutex_unlock(&transfers->mutex);
        return found;
}

struct recall *exchange_recall(struct transfers *transfers) {
        return transfers->recall;
}

int exchange_use_ticket(struct transfers *transfers, const Drover__Ticket *ticket, unsigned stream, struct error *err) {
        return ticket_ledger_use_part(transfers->ledger, ticket, stream, clock_wall(transfers->clock), err);
}

// ---- the agent
int transfers_new(uv_loop_t *loop, const struct transfers_config *config, struct transfers **ret, struct error *err) {
        struct transfers *transfers = new (struct transfers);
        transfers->clock = config->clock ? config->clock : &system_clock;
        transfers->port = config->port;
        transfers->most = config->concurrent_max;
        transfers->patience_ms = EXCHANGE_PATIENCE_MS;
        transfers->call_ms = EXCHANGE_CALL_MS;
        transfers->ledger = ticket_ledger_new();
        transfers->recall = recall_new();
        pthread_mutex_init(&transfers->mutex, NULL);
        flow_condition(&transfers->changed);
        if (config->port && listener_start(loop, config->listen_address, config->port, on_connection, transfers,
                                           &transfers->listener, err) < 0) {
                transfers_free(transfers);
                return -1;
        }
        *ret = transfers;
        return 0;
}

void transfers_free(struct transfers *transfers) {
        if (!transfers)
                return;
        listener_stop(transfers->listener);
        atomic_store(&transfers->closing, true);
        pthread_mutex_lock(&transfers->mutex);
        while (transfers->n_arrivals > 0 || transfers->n_transfers > 0)
                tick(transfers);
        reap(transfers);
        pthread_mutex_unlock(&transfers->mutex);
        standing_fini(&transfers->standing);
        ticket_ledger_free(transfers->ledger);
        recall_free(transfers->recall);
        pthread_cond_destroy(&transfers->changed);
        pthread_mutex_destroy(&transfers->mutex);
        free(transfers);
}

void transfers_set_credentials(struct transfers *transfers, struct tls_credentials *credentials) {
        pthread_mutex_lock(&transfers->mutex);
        tls_credentials_unref(transfers->standing.credentials);
        transfers->standing.credentials = tls_credentials_ref(credentials);
        pthread_mutex_unlock(&transfers->mutex);
}

void transfers_set_controller(struct transfers *transfers, EVP_PKEY *controller_key, const char *relay_address) {
        if (controller_key)
                EVP_PKEY_up_ref(controller_key);
        pthread_mutex_lock(&transfers->mutex);
        EVP_PKEY_free(transfers->standing.controller_key);
        free(transfers->standing.relay_address);
        transfers->standing.controller_key = controller_key;
        transfers->standing.relay_address = memory_string(relay_address);
        pthread_mutex_unlock(&transfers->mutex);
}

uint16_t transfers_port(const struct transfers *transfers) {
        return transfers->port;
}

void exchange_standing(struct transfers *transfers, struct standing *ret) {
        pthread_mutex_lock(&transfers->mutex);
        ret->credentials = tls_credentials_ref(transfers->standing.credentials);
        ret->controller_key = transfers->standing.controller_key;
        if (ret->controller_key)
                EVP_PKEY_up_ref(ret->controller_key);
        ret->relay_address = memory_string(transfers->standing.relay_address);
        pthread_mutex_unlock(&transfers->mutex);
}

const struct clock *exchange_clock(const struct transfers *transfers) {
        return transfers->clock;
}

void exchange_set_patience(struct transfers *transfers, uint32_t patience_ms, uint32_t call_ms) {
        transfers->patience_ms = patience_ms;
        transfers->call_ms = call_ms;
}
