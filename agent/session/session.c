// SPDX-License-Identifier: LGPL-2.1-or-later
/* The session's machine; loop thread only. Envelopes go out through send_envelope() and come in through on_frame(). */
#include "agent/session/session.h"
#include "agent/reuse/reuse.h"
#include "agent/session/answers.h"
#include "agent/session/greeting.h"
#include "agent/session/heartbeat.h"
#include "agent/session/renew.h"
#include "agent/session/steps.h"
#include "common/backoff.h"
#include "common/cleanup.h"
#include "common/link.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/random.h"
#include "common/sm.h"
#include "common/timer.h"

#include <stdio.h>
#include <string.h>

#define GREETING_MS     10000u
#define SHELF_DIRECTORY "reuse" // below the state's
#define CLOCK_OFF_MOST  5       // seconds; tickets bear five minutes, people less
#define STEADY_MS       2000u   // a link that has stood for so long is dialled again at once
#define AT_ONCE_MS      50u     // nearly: not every agent in the same moment

enum { IDLE, DIALLING, GREETING, ONLINE, WAITING, STOPPED };

static const struct sm_state states[] = {
        [IDLE] = {.name = "idle", .next = SM_TO(DIALLING) | SM_TO(STOPPED), .initial = true},
        [DIALLING] = {.name = "dialling", .next = SM_TO(GREETING) | SM_TO(WAITING) | SM_TO(STOPPED)},
        [GREETING] = {.name = "greeting", .next = SM_TO(ONLINE) | SM_TO(WAITING) | SM_TO(STOPPED)},
        [ONLINE] = {.name = "online", .next = SM_TO(WAITING) | SM_TO(STOPPED)},
        [WAITING] = {.name = "waiting", .next = SM_TO(DIALLING) | SM_TO(STOPPED)},
        [STOPPED] = {.name = "stopped", .final = true},
};

struct session {
        struct sm sm;
        uv_loop_t *loop;
        struct session_config config; // its texts are the session's own, below
        char **addresses;
        unsigned n_addresses, address; // the one that is tried
        char *data_address;
        struct tls_credentials *credentials;
        struct transfers *transfers;
        struct shelf *shelf; // NULL: its directory cannot be had
        struct link *link;   // from dialling until its on_close
        struct timer *retry;
        struct backoff backoff;
        uint64_t online_at; // monotonic ms
        struct heartbeat *heartbeat;
        struct renewal *renewal;
        struct inventory *inventory;
        struct steps *steps;
        struct answers *answers; // results on their way
        uint64_t instance;
        char told[ERROR_MESSAGE_MAX]; // why the last try failed, so that the log says it once
        bool steps_stopped;
        void (*on_stopped)(void *data);
        void *on_stopped_data;
};

static void dial(struct session *session);

static void buffer_fini_p(struct buffer *buffer) {
        buffer_fini(buffer);
}

// ---- sending

static int send_envelope(struct session *session, const Drover__Envelope *envelope, struct error *err) {
        _cleanup_(buffer_fini_p) struct buffer bytes;
        buffer_init(&bytes, 0);
        if (!session->link || session->sm.current == DIALLING)
                return error_set(err, ERROR_UNREACHABLE, "no link to the controller");
        if (PROTO_PACK(envelope, &bytes, err) < 0)
                return -1;
        return link_send(session->link, bytes.data, bytes.length, err);
}

static int send_hello(struct session *session, struct error *err) {
        Drover__Envelope envelope;
        drover__envelope__init(&envelope);
        envelope.body_case = DROVER__ENVELOPE__BODY_HELLO;
        envelope.hello = greeting_hello(session->instance, transfers_port(session->transfers), session->data_address);
        int r = send_envelope(session, &envelope, err);
        proto_free(&envelope.hello->base);
        return r;
}

static void send_ping(void *data) {
        struct session *session = data;
        Drover__Ping ping;
        drover__ping__init(&ping);
        ping.token = random_u64();
        Drover__Envelope envelope;
        drover__envelope__init(&envelope);
        envelope.body_case = DROVER__ENVELOPE__BODY_PING;
        envelope.ping = &ping;
        send_envelope(session, &envelope, NULL); // a link that cannot send is closed by itself
}

static int send_pong(struct session *session, uint64_t token, struct error *err) {
        Drover__Pong pong;
        drover__pong__init(&pong);
        pong.token = token;
        Drover__Envelope envelope;
        drover__envelope__init(&envelope);
        envelope.body_case = DROVER__ENVELOPE__BODY_PONG;
        envelope.pong = &pong;
        return send_envelope(session, &envelope, err);
}

static int send_inventory(const Drover__InventoryPart *part, void *data) {
        Drover__Envelope envelope;
        drover__envelope__init(&envelope);
        envelope.body_case = DROVER__ENVELOPE__BODY_INVENTORY;
        envelope.inventory = (Drover__InventoryPart *) part;
        return send_envelope(data, &envelope, NULL);
}

static int send_renew(const Drover__RenewRequest *request, void *data, struct error *err) {
        Drover__Envelope envelope;
        drover__envelope__init(&envelope);
        envelope.body_case = DROVER__ENVELOPE__BODY_RENEW;
        envelope.renew = (Drover__RenewRequest *) request;
        return send_envelope(data, &envelope, err);
}

static int send_result_envelope(struct session *session, const Drover__AgentResult *result, struct error *err) {
        Drover__Envelope envelope;
        drover__envelope__init(&envelope);
        envelope.body_case = DROVER__ENVELOPE__BODY_RESULT;
        envelope.result = (Drover__AgentResult *) result;
        return send_envelope(session, &envelope, err);
}

static void send_failure(struct session *session, uint64_t id, const struct error *why) {
        struct error err = ERROR_INIT;
        Drover__AgentResult result;
        drover__agent_result__init(&result);
        result.id = id;
        result.failure = proto_failure(why);
        if (send_result_envelope(session, &result, &err) < 0)
                log_failure(LOG_LEVEL_DEBUG, "send a result", &err, NULL);
        proto_free(&result.failure->base);
}

static void send_result(const Drover__AgentResult *result, void *data) {
        struct error err = ERROR_INIT;
        if (send_result_envelope(data, result, &err) == 0)
                return;
        if (err.code == ERROR_TOO_LARGE)
                send_failure(data, result->id, &err);
        else
                log_failure(LOG_LEVEL_DEBUG, "send a result", &err, NULL); // it is in the journal
}

static void on_result(const Drover__AgentResult *result, bool behind, void *data) {
        struct session *session = data;
        if (behind && session->sm.current == ONLINE)
                answers_hold(session->answers, result, inventory_hurry(session->inventory));
        else
                send_result(result, session);
}

static void on_told(uint64_t reading, void *data) {
        struct session *session = data;
        answers_release(session->answers, reading);
}

static void on_progress(const Drover__AgentProgress *progress, void *data) {
        Drover__Envelope envelope;
        drover__envelope__init(&envelope);
        envelope.body_case = DROVER__ENVELOPE__BODY_PROGRESS;
        envelope.progress = (Drover__AgentProgress *) progress;
        send_envelope(data, &envelope, NULL); // the next one says more
}

static void on_touched(const char *vm_uuid, void *data) {
        struct session *session = data;
        inventory_touch(session->inventory, vm_uuid);
        if (*vm_uuid)
                inventory_touch(session->inventory, ""); // and what this host holds aside
}

// ---- the states

static void tell_status(const struct session *session, const char *text) {
        if (session->config.on_status)
                session->config.on_status(text, session->config.on_status_data);
}

static int on_welcome(struct session *session, const Drover__Welcome *welcome, struct error *err) {
        if (greeting_check(welcome, err) < 0)
                return -1;
        sm_move(&session->sm, ONLINE);
        session->online_at = clock_ms(session->config.clock);
        backoff_reset(&session->backoff);
        *session->told = '\0';
        heartbeat_start(session->heartbeat, session->link, welcome->ping_seconds * 1000, welcome->dead_seconds * 1000);
        log_info("connected", "controller", link_address(session->link), "software", welcome->software, "site",
                 welcome->site, "host", welcome->host, NULL);
        int64_t off = clock_wall(session->config.clock) - welcome->clock_at;
        if (off > CLOCK_OFF_MOST || off < -CLOCK_OFF_MOST)
                log_warning("this host's clock and the controller's differ; enable time synchronisation", NULL);
        _cleanup_(free_p) char *status =
                memory_format("connected to %s as %s/%s", link_address(session->link), welcome->site, welcome->host);
        tell_status(session, status);
        inventory_begin(session->inventory);
        renewal_begin(session->renewal);
        return 0;
}

static int on_request(struct session *session, Drover__AgentRequest **request, struct error *err) {
        const struct verb *verb = verbs_find((*request)->verb_case);
        struct error refusal = ERROR_INIT;
        if (verb && verbs_check(verb, *request, &refusal) == 0)
                return steps_submit(session->steps, verb, steal(request), err);
        if (!verb)
                error_set(&refusal, ERROR_VERSION, "this agent (%s) does not know the operation that is asked for",
                          DROVER_VERSION);
        log_failure(LOG_LEVEL_WARNING, "a request was refused", &refusal, NULL);
        send_failure(session, (*request)->id, &refusal);
        return 0;
}

static int on_refused(const Drover__Failure *failure, struct error *err) {
        proto_error(failure, err);
        return error_prefix(err, "the controller says");
}

static int on_unexpected(const struct session *session, const Drover__Envelope *envelope, struct error *err) {
        return error_set(err, ERROR_PROTOCOL, "the controller sent %s while %s",
                         proto_oneof_name(&envelope->base, "body"), sm_name(&session->sm));
}

static int on_envelope_online(struct session *session, Drover__Envelope *envelope, struct error *err) {
        switch (envelope->body_case) {
        case DROVER__ENVELOPE__BODY_REQUEST:
                return on_request(session, &envelope->request, err);
        case DROVER__ENVELOPE__BODY_PING:
                return send_pong(session, envelope->ping->token, err);
        case DROVER__ENVELOPE__BODY_PONG:
                return 0; // that it came is what counts
        case DROVER__ENVELOPE__BODY_RESYNC:
                inventory_begin(session->inventory);
                return 0;
        case DROVER__ENVELOPE__BODY_RENEWED:
                renewal_reply(session->renewal, envelope->renewed);
                return 0;
        default:
                return on_unexpected(session, envelope, err);
        }
}

static int on_envelope(struct session *session, Drover__Envelope *envelope, struct error *err) {
        if (envelope->body_case == DROVER__ENVELOPE__BODY_FAILURE)
                return on_refused(envelope->failure, err);
        if (session->sm.current == ONLINE)
                return on_envelope_online(session, envelope, err);
        if (envelope->body_case == DROVER__ENVELOPE__BODY_WELCOME)
                return on_welcome(session, envelope->welcome, err);
        return on_unexpected(session, envelope, err);
}

static int on_frame(struct link *link, const uint8_t *frame, size_t length, void *data, struct error *err) {
        struct session *session = data;
        Drover__Envelope *envelope = NULL;
        (void) link;
        if (session->sm.current == STOPPED)
                return 0;
        if (PROTO_UNPACK(envelope, frame, length, &envelope, err) < 0)
                return -1;
        int r = on_envelope(session, envelope, err);
        proto_free(&envelope->base);
        return r;
}

static int on_open(struct link *link, void *data, struct error *err) {
        struct session *session = data;
        if (session->sm.current == STOPPED)
                return error_set(err, ERROR_CANCELLED, "the agent is being stopped");
        sm_move(&session->sm, GREETING);
        link_set_frame_max(link, FRAME_MAX);
        transfers_set_controller(session->transfers, link_peer_key(link), session->addresses[session->address]);
        heartbeat_start(session->heartbeat, link, 0, GREETING_MS);
        return send_hello(session, err);
}

static void tell_if_stopped(struct session *session) {
        if (session->steps_stopped && !session->link)
                session->on_stopped(session->on_stopped_data);
}

// The wait before the next try: grown and jittered; at once the longest when the controller does not want this agent,
// and hardly any when a link that stood was cut, for a copy may wait for it. A controller that has just died refuses
// that one try, which costs it nothing.
static uint32_t next_wait(struct session *session, enum error_code code, bool was_online) {
        if (code == ERROR_DENIED || code == ERROR_VERSION)
                return session->config.retry_most_ms;
        if (was_online && clock_ms(session->config.clock) - session->online_at >= STEADY_MS)
                return 1 + random_u32() % AT_ONCE_MS;
        return backoff_next(&session->backoff, random_u32());
}

static void log_lost(struct session *session, const struct error *why) {
        bool again = !strcmp(session->told, why->message);
        log_failure(again ? LOG_LEVEL_DEBUG : LOG_LEVEL_WARNING, "no link to the controller", why, NULL);
        snprintf(session->told, sizeof session->told, "%s", why->message);
}

static void wait_and_retry(struct session *session, const struct error *why, bool was_online) {
        uint32_t wait = next_wait(session, why->code, was_online);
        sm_move(&session->sm, WAITING);
        timer_once(session->retry, wait);
        log_lost(session, why);
        _cleanup_(free_p) char *status =
                memory_format("no link to the controller: %s; next try in %u s", why->message, (wait + 999) / 1000);
        tell_status(session, status);
}

static void on_close(struct link *link, const struct error *why, void *data) {
        struct session *session = data;
        (void) link;
        bool was_online = session->sm.current == ONLINE;
        session->link = NULL;
        heartbeat_stop(session->heartbeat);
        inventory_end(session->inventory);
        renewal_end(session->renewal);
        steps_detach(session->steps);
        answers_drop(session->answers);
        if (session->sm.current == STOPPED) {
                tell_if_stopped(session);
                return;
        }
        if (!was_online)
                session->address = (session->address + 1) % session->n_addresses;
        wait_and_retry(session, why, was_online);
}

static void dial(struct session *session) {
        static const char *const alpns[] = {TLS_ALPN_AGENT, NULL};
        static const struct tls_policy policy = {.alpns = alpns, .peer = IDENTITY_CONTROLLER};
        static const struct link_callbacks callbacks = {.on_open = on_open, .on_frame = on_frame, .on_close = on_close};
        struct error err = ERROR_INIT;
        sm_move(&session->sm, DIALLING);
        if (link_connect(session->loop, session->addresses[session->address], session->credentials, &policy, &callbacks,
                         session, &session->link, &err) == 0)
                return;
        session->address = (session->address + 1) % session->n_addresses;
        wait_and_retry(session, &err, false);
}

static void on_retry(void *data) {
        dial(data);
}

static void on_renewed(struct tls_credentials *credentials, void *data) {
        struct session *session = data;
        tls_credentials_unref(session->credentials);
        session->credentials = credentials;
        transfers_set_credentials(session->transfers, credentials);
}

// ---- life

static void copy_config(struct session *session, const struct session_config *config) {
        session->config = *config;
        session->addresses = new_array(char *, config->n_addresses);
        session->n_addresses = config->n_addresses;
        for (unsigned i = 0; i < config->n_addresses; i++)
                session->addresses[i] = memory_string(config->addresses[i]);
        session->data_address = memory_string(config->data_address);
        session->config.addresses = NULL;
        session->config.data_address = NULL;
        session->config.state_directory = NULL;
}

// Only saves work, so that a directory that cannot be had is no reason to stay away.
static void open_shelf(struct session *session, const char *state_directory) {
        struct error why = ERROR_INIT;
        _cleanup_(free_p) char *directory = memory_format("%s/" SHELF_DIRECTORY, state_directory);
        if (shelf_open(directory, REUSE_SHELF_BYTES, &session->shelf, &why) < 0)
                log_failure(LOG_LEVEL_WARNING, "what is known of images is not kept", &why, NULL);
}

static void make_parts(struct session *session, struct connection *connection, struct journal *journal) {
        const struct verb_host host = {
                .connection = connection, .journal = journal, .transfers = session->transfers, .shelf = session->shelf};
        const struct steps_hooks hooks = {
                .result = on_result, .progress = on_progress, .touched = on_touched, .data = session};
        session->steps = steps_new(session->loop, &host, &hooks);
        session->answers = answers_new(session->loop, send_result, session);
        session->heartbeat = heartbeat_new(session->loop, send_ping, session);
        session->retry = timer_new(session->loop, on_retry, session);
}

int session_new(uv_loop_t *loop, const struct session_config *config, struct tls_credentials *credentials,
                struct connection *connection, struct journal *journal, struct transfers *transfers,
                struct session **ret, struct error *err) {
        struct session *session = new (struct session);
        const struct renewal_hooks hooks = {.send = send_renew, .renewed = on_renewed, .data = session};
        sm_init(&session->sm, states, ARRAY_SIZE(states), IDLE);
        session->loop = loop;
        session->transfers = transfers;
        session->credentials = tls_credentials_ref(credentials);
        session->instance = random_u64();
        copy_config(session, config);
        backoff_init(&session->backoff, config->retry_first_ms, config->retry_most_ms);
        open_shelf(session, config->state_directory);
        make_parts(session, connection, journal);
        if (renewal_new(loop, config->state_directory, config->clock, &hooks, &session->renewal, err) < 0 ||
            inventory_new(loop, connection, journal, send_inventory, on_told, session, &session->inventory, err) < 0) {
                session_free(session);
                return -1;
        }
        transfers_set_credentials(transfers, credentials);
        *ret = session;
        return 0;
}

void session_start(struct session *session) {
        dial(session);
}

static void on_steps_stopped(void *data) {
        struct session *session = data;
        session->steps_stopped = true;
        tell_if_stopped(session);
}

void session_stop(struct session *session, void (*on_stopped)(void *data), void *data) {
        sm_move(&session->sm, STOPPED);
        session->on_stopped = on_stopped;
        session->on_stopped_data = data;
        timer_stop(session->retry);
        heartbeat_stop(session->heartbeat);
        inventory_end(session->inventory);
        renewal_end(session->renewal);
        answers_drop(session->answers);
        if (session->link)
                link_close(session->link);
        steps_stop(session->steps, on_steps_stopped, session);
}

void session_free(struct session *session) {
        if (!session)
                return;
        steps_free(session->steps);
        answers_free(session->answers);
        shelf_free(session->shelf);
        inventory_free(session->inventory);
        renewal_free(session->renewal);
        heartbeat_free(session->heartbeat);
        timer_free(session->retry);
        tls_credentials_unref(session->credentials);
        for (unsigned i = 0; i < session->n_addresses; i++)
                free(session->addresses[i]);
        free(session->addresses);
        free(session->data_address);
        free(session);
}

void session_libvirt_event(struct session *session, enum event_kind kind, const char *uuid) {
        inventory_event(session->inventory, kind, uuid);
}

bool session_online(const struct session *session) {
        return session->sm.current == ONLINE;
}
