// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The session, against a controller of the test's own on the same loop: real TLS on the loopback, libvirt's test driver
 * for a host, a real journal.
 */
#include "agent/session/session.h"
#include "agent/session/state.h"
#include "agent/host/events.h"
#include "common/fault.h"
#include "common/link.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/worker.h"
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>
#include "certificates.h"
#include "scratch.h"

#define TEST_DOMAIN "6695eb01-f6a4-8304-79aa-97f2502e193f" // of test:///default

static struct {
        // the controller
        struct authority authority;
        struct tls_credentials *credentials;
        uv_loop_t loop;
        uv_tcp_t listener;
        char address[32];
        struct link *link;
        bool mute;           // says nothing at all
        bool silent;         // after the welcome, says nothing
        uint32_t version;    // of the welcome
        uint32_t ping, dead; // of the welcome
        const char *refusal; // a failure instead of a welcome
        bool renews;         // answers renewals
        bool renews_wrongly; // with a certificate for another key
        unsigned opened, closed, frames, hellos, pings, pongs, renewals, wholes, deltas, results;
        uint64_t instance, generation, last_serial;
        char software[64], domain_state[32];
        char state_at_result[32]; // domain_state when the last result came
        uint8_t peer_sha256[32];
        Drover__AgentResult *result; // the last
        // the agent
        struct tls_credentials *host_credentials;
        struct journal *journal;
        struct connection *connection;
        struct transfers *transfers;
        struct session *session;
        char status[ERROR_MESSAGE_MAX + 64];
        bool started, stopped;
        uint32_t retry_ms; // before the first new try
        uint64_t later_ms; // by which the agent's clock has been put forward
} scene;

static uint64_t agent_ms(void *data) {
        (void) data;
        return clock_ms(&system_clock) + scene.later_ms;
}

static int64_t agent_wall(void *data) {
        (void) data;
        return clock_wall(&system_clock);
}

static const struct clock agent_clock = {.monotonic_ms = agent_ms, .wall_seconds = agent_wall};

// ---- the controller

static void send_envelope(Drover__Envelope *envelope, int body_case) {
        struct buffer bytes;
        buffer_init(&bytes, 0);
        envelope->body_case = (Drover__Envelope__BodyCase) body_case;
        assert_int_equal(PROTO_PACK(envelope, &bytes, NULL), 0);
        link_send(scene.link, bytes.data, bytes.length, NULL);
        buffer_fini(&bytes);
}

static Drover__Envelope new_envelope(void) {
        Drover__Envelope envelope;
        drover__envelope__init(&envelope);
        return envelope;
}

static void send_welcome(void) {
        Drover__Envelope envelope = new_envelope();
        Drover__Welcome welcome;
        drover__welcome__init(&welcome);
        welcome.version = scene.version;
        welcome.software = (char *) "drover-controller 9";
        welcome.site = (char *) "lyon";
        welcome.host = (char *) "kvm1";
        welcome.ping_seconds = scene.ping;
        welcome.dead_seconds = scene.dead;
        welcome.clock_at = clock_wall(&system_clock);
        envelope.welcome = &welcome;
        send_envelope(&envelope, DROVER__ENVELOPE__BODY_WELCOME);
}

static void send_failure(const char *text) {
        struct error err = ERROR_INIT;
        Drover__Envelope envelope = new_envelope();
        error_set(&err, ERROR_DENIED, "%s", text);
        envelope.failure = proto_failure(&err);
        send_envelope(&envelope, DROVER__ENVELOPE__BODY_FAILURE);
        proto_free(&envelope.failure->base);
        link_close(scene.link);
}

static void send_renewed(const Drover__RenewRequest *request) {
        int64_t now = clock_wall(&system_clock);
        struct identity identity = identity_of(IDENTITY_HOST);
        struct pki_request wanted = {
                .identity = &identity, .common_name = "kvm1", .not_before = now - 60, .not_after = now + 24 * HOUR};
        X509 *certificate = NULL;
        struct buffer pem;
        buffer_init(&pem, 0);
        if (scene.renews_wrongly)
                certificate = certificate_now(&scene.authority, scene.authority.key, IDENTITY_HOST);
        else
                must(pki_issue(scene.authority.certificate, scene.authority.key, request->csr_der.data,
                               request->csr_der.len, &wanted, &certificate, NULL),
                     &ERROR_INIT);
        pki_certificate_pem(certificate, &pem, NULL);
        Drover__Envelope envelope = new_envelope();
        Drover__RenewReply reply;
        drover__renew_reply__init(&reply);
        reply.certificate_pem = (ProtobufCBinaryData){.len = pem.length, .data = pem.data};
        envelope.renewed = &reply;
        send_envelope(&envelope, DROVER__ENVELOPE__BODY_RENEWED);
        buffer_fini(&pem);
        X509_free(certificate);
}

static void send_pong(uint64_t token) {
        Drover__Envelope envelope = new_envelope();
        Drover__Pong pong;
        drover__pong__init(&pong);
        pong.token = token;
        envelope.pong = &pong;
        send_envelope(&envelope, DROVER__ENVELOPE__BODY_PONG);
}

static void on_inventory(const Drover__InventoryPart *part) {
        scene.generation = part->generation;
        scene.wholes += part->end ? 1 : 0;
        scene.deltas += part->serial > 0;
        if (part->serial)
                assert_int_equal(part->serial, scene.last_serial + 1);
        scene.last_serial = part->serial;
        for (size_t i = 0; i < part->n_domains; i++)
                if (!strcmp(part->domains[i]->uuid, TEST_DOMAIN))
                        snprintf(scene.domain_state, sizeof scene.domain_state, "%s", part->domains[i]->state);
}

static void on_hello(const Drover__Hello *hello) {
        scene.hellos++;
        scene.instance = hello->instance;
        snprintf(scene.software, sizeof scene.software, "%s", hello->software);
        assert_in_range(1, hello->version_min, hello->version_max);
        if (scene.mute)
                return;
        if (scene.refusal)
                send_failure(scene.refusal);
        else
                send_welcome();
}

static void on_envelope(Drover__Envelope *envelope) {
        switch (envelope->body_case) {
        case DROVER__ENVELOPE__BODY_HELLO:
                on_hello(envelope->hello);
                break;
        case DROVER__ENVELOPE__BODY_PING:
                scene.pings++;
                if (!scene.silent)
                        send_pong(envelope->ping->token);
                break;
        case DROVER__ENVELOPE__BODY_PONG:
                scene.pongs += envelope->pong->token == 99;
                break;
        case DROVER__ENVELOPE__BODY_INVENTORY:
                on_inventory(envelope->inventory);
                break;
        case DROVER__ENVELOPE__BODY_RENEW:
                scene.renewals++;
                if (scene.renews)
                        send_renewed(envelope->renew);
                break;
        case DROVER__ENVELOPE__BODY_RESULT:
                proto_free(scene.result ? &scene.result->base : NULL);
                scene.result = envelope->result;
                envelope->result = NULL;
                snprintf(scene.state_at_result, sizeof scene.state_at_result, "%s", scene.domain_state);
                scene.results++;
                break;
        default:
                break;
        }
}

static int on_open(struct link *link, void *data, struct error *err) {
        (void) data, (void) err;
        scene.opened++;
        link_set_frame_max(link, FRAME_MAX);
        memcpy(scene.peer_sha256, link_peer(link)->certificate_sha256, 32);
        return 0;
}

static int on_frame(struct link *link, const uint8_t *frame, size_t length, void *data, struct error *err) {
        (void) link, (void) data;
        Drover__Envelope *envelope = NULL;
        scene.frames++;
        if (PROTO_UNPACK(envelope, frame, length, &envelope, err) < 0)
                return -1;
        on_envelope(envelope);
        proto_free(&envelope->base);
        return 0;
}

static void on_close(struct link *link, const struct error *why, void *data) {
        (void) why, (void) data;
        scene.closed++;
        if (scene.link == link)
                scene.link = NULL;
}

static void on_connection(uv_stream_t *listener, int status) {
        static const char *const alpns[] = {TLS_ALPN_AGENT, NULL};
        static const struct tls_policy policy = {.alpns = alpns, .peer = IDENTITY_HOST};
        static const struct link_callbacks callbacks = {.on_open = on_open, .on_frame = on_frame, .on_close = on_close};
        if (status == 0)
                link_accept(listener, scene.credentials, &policy, &callbacks, NULL, &scene.link, NULL);
}

static void controller_start(enum identity_kind kind) {
        struct sockaddr_in address;
        int length = sizeof address;
        scene.credentials = credentials_new(&scene.authority, kind);
        uv_tcp_init(&scene.loop, &scene.listener);
        uv_ip4_addr("127.0.0.1", 0, &address);
        assert_int_equal(uv_tcp_bind(&scene.listener, (struct sockaddr *) &address, 0), 0);
        assert_int_equal(uv_listen((uv_stream_t *) &scene.listener, 8, on_connection), 0);
        uv_tcp_getsockname(&scene.listener, (struct sockaddr *) &address, &length);
        snprintf(scene.address, sizeof scene.address, "127.0.0.1:%u", ntohs(address.sin_port));
}

// ---- the scene

static void on_tick(uv_timer_t *timer) {
        (*(unsigned *) timer->data)++;
}

static void until(bool (*condition)(void)) {
        unsigned ticks = 0;
        uv_timer_t timer;
        uv_timer_init(&scene.loop, &timer);
        timer.data = &ticks;
        uv_timer_start(&timer, on_tick, 1, 1);
        while (!condition() && ticks < 15000)
                uv_run(&scene.loop, UV_RUN_ONCE);
        uv_close((uv_handle_t *) &timer, NULL);
        uv_run(&scene.loop, UV_RUN_NOWAIT);
        if (!condition())
                fail_msg("the condition never came; status: %s", scene.status);
}

static void on_status(const char *text, void *data) {
        (void) data;
        snprintf(scene.status, sizeof scene.status, "%s", text);
}

static void on_stopped(void *data) {
        (void) data;
        scene.stopped = true;
}

static bool is_stopped(void) {
        return scene.stopped;
}
static bool is_online(void) {
        return session_online(scene.session) && scene.wholes > 0;
}
static bool is_refused(void) {
        return strncmp(scene.status, "no link", 7) == 0;
}
static bool has_result(void) {
        return scene.results > 0;
}

// The host's own certificate, with as much of its life behind it and before it as is said.
static void join_host(int64_t behind, int64_t before) {
        struct error err = ERROR_INIT;
        int64_t now = clock_wall(&system_clock);
        EVP_PKEY *key = NULL;
        char *addresses[] = {scene.address};
        struct state state = {.addresses = {.items = addresses, .n = 1},
                              .site = (char *) "lyon",
                              .host = (char *) "kvm1",
                              .uuid = (char *) UUID_HOST};
        must(pki_new_key(&key, &err), &err);
        X509 *certificate = certificate_new(&scene.authority, key, IDENTITY_HOST, now - behind, now + before);
        must(state_store_join(scratch, &state, key, certificate, scene.authority.certificate, &err), &err);
        must(tls_credentials_load(scratch, STATE_NAME, &scene.host_credentials, &err), &err);
        X509_free(certificate);
        EVP_PKEY_free(key);
}

static void agent_start(const char *first) {
        struct error err = ERROR_INIT;
        const struct transfers_config transfers = {.concurrent_max = 2, .clock = &system_clock};
        const char *addresses[] = {first ? first : scene.address, scene.address};
        const struct session_config config = {.addresses = addresses,
                                              .n_addresses = first ? 2 : 1,
                                              .state_directory = scratch,
                                              .retry_first_ms = scene.retry_ms,
                                              .retry_most_ms = scene.retry_ms * 4,
                                              .clock = &agent_clock,
                                              .on_status = on_status};
        must(journal_open(scratch_path("agent.db"), &scene.journal, &err), &err);
        must(connection_new("test:///default", &scene.connection, &err), &err);
        must(transfers_new(&scene.loop, &transfers, &scene.transfers, &err), &err);
        must(session_new(&scene.loop, &config, scene.host_credentials, scene.connection, scene.journal, scene.transfers,
                         &scene.session, &err),
             &err);
        session_start(scene.session);
        scene.started = true;
}

// A controller and an agent that are about to meet.
static void meet(void) {
        controller_start(IDENTITY_CONTROLLER);
        join_host(60, HOUR);
        agent_start(NULL);
}

static void meet_online(void) {
        meet();
        until(is_online);
}

static int set_up(void **state) {
        memset(&scene, 0, sizeof scene);
        scene.version = 1;
        scene.ping = 10;
        scene.dead = 30;
        scene.retry_ms = 10;
        uv_loop_init(&scene.loop);
        scene.authority = authority_new();
        scratch_make(state);
        setenv("DROVER_FAULT_DIR", scratch, 1);
        fault_init();
        return 0;
}

static bool no_worker(void) {
        return worker_pending() == 0;
}

static int tear_down(void **state) {
        if (scene.started && !scene.stopped) {
                session_stop(scene.session, on_stopped, NULL);
                until(is_stopped);
        }
        session_free(scene.session);
        until(no_worker);
        transfers_free(scene.transfers);
        connection_free(scene.connection);
        journal_close(scene.journal);
        uv_close((uv_handle_t *) &scene.listener, NULL);
        if (scene.link)
                link_abort(scene.link, ERROR_CANCELLED, "the test is over");
        uv_run(&scene.loop, UV_RUN_DEFAULT);
        assert_int_equal(uv_loop_close(&scene.loop), 0);
        tls_credentials_unref(scene.credentials);
        tls_credentials_unref(scene.host_credentials);
        authority_free(&scene.authority);
        proto_free(scene.result ? &scene.result->base : NULL);
        unsetenv("DROVER_FAULT_DIR");
        fault_init();
        return scratch_remove(state);
}

static Drover__AgentRequest new_request(uint64_t id) {
        Drover__AgentRequest request;
        drover__agent_request__init(&request);
        request.id = id;
        request.vm_uuid = (char *) TEST_DOMAIN;
        return request;
}

static void send_request(Drover__AgentRequest *request) {
        Drover__Envelope envelope = new_envelope();
        envelope.request = request;
        scene.results = 0;
        send_envelope(&envelope, DROVER__ENVELOPE__BODY_REQUEST);
}

// ---- greeting

static void a_session_greets_and_sends_the_whole_picture(void **state) {
        (void) state;
        meet_online();
        assert_string_equal(scene.software, "drover-agent " DROVER_VERSION);
        assert_int_not_equal(scene.instance, 0);
        assert_string_equal(scene.domain_state, "running");
        assert_int_equal(scene.last_serial, 0);
        char status[128];
        snprintf(status, sizeof status, "connected to %s as lyon/kvm1", scene.address);
        assert_string_equal(scene.status, status);
}

static void fault_41_another_version_is_refused_by_name(void **state) {
        (void) state;
        scene.version = 9;
        meet();
        until(is_refused);
        assert_string_equal(scene.status, "no link to the controller: the controller (drover-controller 9) speaks "
                                          "protocol version 9; this agent (drover-agent " DROVER_VERSION
                                          ") speaks 1 to 1; next try in 1 s");
        assert_false(session_online(scene.session));
}

static void heartbeats_out_of_range_are_refused(void **state) {
        (void) state;
        scene.dead = 5;
        meet();
        until(is_refused);
        assert_string_equal(scene.status, "no link to the controller: heartbeats of 10 s, dead after 5 s, are out of "
                                          "range; next try in 1 s");
}

static void why_a_controller_refuses_is_passed_on(void **state) {
        (void) state;
        scene.refusal = "this host has been removed";
        meet();
        until(is_refused);
        assert_string_equal(scene.status,
                            "no link to the controller: the controller says: this host has been removed; next try in "
                            "1 s");
}

static bool has_tried_twice(void) {
        return scene.closed >= 2;
}

static void fault_42_a_host_that_poses_as_the_controller_hears_nothing(void **state) {
        (void) state;
        controller_start(IDENTITY_HOST);
        join_host(60, HOUR);
        agent_start(NULL);
        until(has_tried_twice);
        assert_int_equal(scene.frames, 0);
        assert_false(session_online(scene.session));
}

static void the_next_address_is_tried(void **state) {
        (void) state;
        controller_start(IDENTITY_CONTROLLER);
        join_host(60, HOUR);
        agent_start("127.0.0.1:1");
        until(is_online);
}

static void what_comes_out_of_turn_ends_the_link(void **state) {
        (void) state;
        meet_online();
        send_welcome();
        until(is_refused);
        assert_string_equal(scene.status,
                            "no link to the controller: the controller sent welcome while online; next try in 1 s");
}

// ---- staying

static bool was_pinged(void) {
        return scene.pings > 0;
}
static bool was_answered(void) {
        return scene.pongs > 0;
}
static bool is_closed(void) {
        return scene.closed > 0;
}
static bool has_met_again(void) {
        return scene.hellos >= 2 && scene.wholes >= 2;
}

static void the_agent_pings(void **state) {
        (void) state;
        scene.ping = 1;
        meet_online();
        until(was_pinged);
}

static void a_ping_is_answered(void **state) {
        (void) state;
        meet_online();
        Drover__Envelope envelope = new_envelope();
        Drover__Ping ping;
        drover__ping__init(&ping);
        ping.token = 99;
        envelope.ping = &ping;
        send_envelope(&envelope, DROVER__ENVELOPE__BODY_PING);
        until(was_answered);
}

static void fault_02_a_controller_that_has_fallen_silent_is_given_up(void **state) {
        (void) state;
        scene.ping = 1;
        scene.dead = 2;
        scene.silent = true;
        meet_online();
        until(is_closed);
        assert_true(scene.pings > 0);
        until(has_met_again);
}

static void a_lost_link_is_made_again_with_a_new_whole_picture(void **state) {
        (void) state;
        meet_online();
        uint64_t instance = scene.instance, generation = scene.generation;
        link_abort(scene.link, ERROR_FAILED, "cut");
        until(has_met_again);
        assert_int_equal(scene.instance, instance);
        assert_true(scene.generation > generation);
}

static void a_link_that_stood_is_made_again_at_once(void **state) {
        (void) state;
        scene.retry_ms = 60000;
        meet_online();
        scene.later_ms = 2000;
        uint64_t cut_at = clock_ms(&system_clock);
        link_abort(scene.link, ERROR_FAILED, "cut");
        until(has_met_again);
        assert_in_range(clock_ms(&system_clock) - cut_at, 0, 10000); // far less than the wait between tries
}

static void a_link_that_is_cut_again_and_again_is_waited_for(void **state) {
        (void) state;
        scene.retry_ms = 60000;
        meet_online();
        link_abort(scene.link, ERROR_FAILED, "cut");
        until(is_refused);
        assert_non_null(strstr(scene.status, "; next try in "));
        assert_in_range(strtoul(strstr(scene.status, " in ") + 4, NULL, 10), 30, 60);
}

static bool has_two_wholes(void) {
        return scene.wholes >= 2;
}

static void a_resync_brings_a_new_whole_picture_on_the_same_link(void **state) {
        (void) state;
        meet_online();
        uint64_t generation = scene.generation;
        Drover__Envelope envelope = new_envelope();
        Drover__ResyncRequest resync;
        drover__resync_request__init(&resync);
        envelope.resync = &resync;
        send_envelope(&envelope, DROVER__ENVELOPE__BODY_RESYNC);
        until(has_two_wholes);
        assert_true(scene.generation > generation);
        assert_int_equal(scene.hellos, 1);
}

// ---- requests

static void a_request_is_done_and_answered(void **state) {
        (void) state;
        Drover__AgentRequest request = new_request(7);
        Drover__DomainXml verb;
        drover__domain_xml__init(&verb);
        request.verb_case = DROVER__AGENT_REQUEST__VERB_DOMAIN_XML;
        request.domain_xml = &verb;
        meet_online();
        send_request(&request);
        until(has_result);
        assert_null(scene.result->failure);
        assert_int_equal(scene.result->id, 7);
        assert_int_equal(scene.result->value_case, DROVER__AGENT_RESULT__VALUE_DOMAIN_XML);
        assert_memory_equal(scene.result->domain_xml->xml.data, "<domain ", 8);
}

static bool is_paused(void) {
        return !strcmp(scene.domain_state, "paused");
}

static void send_power(uint64_t id, const char *step, uint64_t epoch, Drover__PowerAction action) {
        Drover__AgentRequest request = new_request(id);
        Drover__DomainPower verb;
        drover__domain_power__init(&verb);
        verb.action = action;
        request.job = (char *) "job1";
        request.step = (char *) step;
        request.epoch = epoch;
        request.verb_case = DROVER__AGENT_REQUEST__VERB_DOMAIN_POWER;
        request.domain_power = &verb;
        send_request(&request);
}

static void what_a_request_changed_is_told_in_a_delta_before_its_result(void **state) {
        (void) state;
        meet_online();
        send_power(7, "suspend", 3, DROVER__POWER_ACTION__POWER_SUSPEND);
        until(has_result);
        assert_null(scene.result->failure);
        assert_string_equal(scene.state_at_result, "paused");
        assert_int_equal(scene.last_serial, 1);
        send_power(8, "suspend", 2, DROVER__POWER_ACTION__POWER_RESUME);
        until(has_result);
        assert_int_equal(scene.result->failure->code, ERROR_STALE);
}

static bool is_being_read(void) {
        return access(scratch_path("agent.inventory.read.held"), F_OK) == 0;
}

// Somebody's request has done its work, and the reading of what it changed hangs.
static void suspend_while_reading_hangs(void) {
        meet_online();
        scratch_write("agent.inventory.read", "hold");
        send_power(7, "suspend", 3, DROVER__POWER_ACTION__POWER_SUSPEND);
        until(is_being_read);
}

static void let_it_read(void) {
        assert_int_equal(unlink(scratch_path("agent.inventory.read")), 0);
}

static void a_result_does_not_wait_for_a_host_that_hangs(void **state) {
        (void) state;
        suspend_while_reading_hangs();
        uint64_t held_at = clock_ms(&system_clock);
        until(has_result);
        assert_in_range(clock_ms(&system_clock) - held_at, 1000, 10000);
        assert_null(scene.result->failure);
        assert_string_equal(scene.state_at_result, "running");
        let_it_read();
        until(is_paused);
        assert_int_equal(scene.results, 1);
}

static void a_result_that_was_held_when_the_link_went_is_given_on_the_next(void **state) {
        (void) state;
        suspend_while_reading_hangs();
        link_abort(scene.link, ERROR_FAILED, "cut");
        until(is_closed);
        let_it_read();
        until(has_met_again);
        assert_int_equal(scene.results, 0);
        assert_string_equal(scene.domain_state, "paused");
        send_power(1, "suspend", 3, DROVER__POWER_ACTION__POWER_SUSPEND);
        until(has_result);
        assert_null(scene.result->failure);
        assert_int_equal(scene.result->id, 1);
}

static void fault_48_a_request_with_a_bad_name_is_refused_and_the_link_stays(void **state) {
        (void) state;
        Drover__AgentRequest request = new_request(7);
        Drover__DomainXml verb;
        drover__domain_xml__init(&verb);
        request.vm_uuid = (char *) "../../etc/passwd";
        request.verb_case = DROVER__AGENT_REQUEST__VERB_DOMAIN_XML;
        request.domain_xml = &verb;
        meet_online();
        send_request(&request);
        until(has_result);
        assert_int_equal(scene.result->failure->code, ERROR_INVALID);
        assert_true(session_online(scene.session));
}

static void an_operation_that_is_not_known_is_refused_by_version(void **state) {
        (void) state;
        Drover__AgentRequest request = new_request(7);
        meet_online();
        send_request(&request);
        until(has_result);
        assert_int_equal(scene.result->failure->code, ERROR_VERSION);
        assert_string_equal(scene.result->failure->message,
                            "this agent (" DROVER_VERSION ") does not know the operation that is asked for");
}

// ---- renewal

static void read_fingerprint(uint8_t sha256[32]) {
        struct error err = ERROR_INIT;
        X509 *certificate = NULL;
        must(pki_read_certificate(scratch_path("host.crt"), &certificate, &err), &err);
        must(pki_fingerprint(certificate, sha256, &err), &err);
        X509_free(certificate);
}

static uint8_t first_sha256[32];
static bool is_renewed(void) {
        uint8_t sha256[32];
        read_fingerprint(sha256);
        return memcmp(sha256, first_sha256, 32) != 0;
}

static void a_certificate_is_renewed_over_the_open_link_and_shown_on_the_next(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        struct tls_credentials *credentials = NULL;
        uint8_t sha256[32];
        scene.renews = true;
        controller_start(IDENTITY_CONTROLLER);
        join_host(3 * HOUR, HOUR);
        read_fingerprint(first_sha256);
        agent_start(NULL);
        until(is_renewed);
        until(is_online);
        assert_int_equal(scene.hellos, 1);
        assert_memory_equal(scene.peer_sha256, first_sha256, 32);
        link_abort(scene.link, ERROR_FAILED, "cut");
        until(has_met_again);
        read_fingerprint(sha256);
        assert_memory_equal(scene.peer_sha256, sha256, 32);
        must(tls_credentials_load(scratch, STATE_NAME, &credentials, &err), &err);
        tls_credentials_unref(credentials);
        assert_int_equal(scene.renewals, 1);
}

static bool has_asked_twice_to_renew(void) {
        return scene.renewals >= 2;
}

static void a_new_certificate_for_another_key_is_not_taken(void **state) {
        (void) state;
        scene.renews = scene.renews_wrongly = true;
        controller_start(IDENTITY_CONTROLLER);
        join_host(30, 6); // a life of 36 s: it tries again after a second and a half
        read_fingerprint(first_sha256);
        agent_start(NULL);
        until(has_asked_twice_to_renew);
        assert_false(is_renewed());
        assert_true(session_online(scene.session));
}

static void a_certificate_in_its_first_two_thirds_is_left_alone(void **state) {
        (void) state;
        meet_online();
        assert_int_equal(scene.renewals, 0);
}

// ---- the end

static bool has_greeted(void) {
        return scene.hellos > 0;
}

static void stopping_while_dialling_ends(void **state) {
        (void) state;
        meet();
        session_stop(scene.session, on_stopped, NULL);
        until(is_stopped);
        assert_int_equal(scene.frames, 0);
}

static void stopping_while_greeting_ends(void **state) {
        (void) state;
        scene.mute = true;
        meet();
        until(has_greeted);
        session_stop(scene.session, on_stopped, NULL);
        until(is_stopped);
}

static void stopping_while_waiting_ends(void **state) {
        (void) state;
        controller_start(IDENTITY_CONTROLLER);
        join_host(60, HOUR);
        snprintf(scene.address, sizeof scene.address, "127.0.0.1:1");
        agent_start(NULL);
        until(is_refused);
        session_stop(scene.session, on_stopped, NULL);
        until(is_stopped);
}

static void stopping_online_closes_the_link(void **state) {
        (void) state;
        meet_online();
        session_stop(scene.session, on_stopped, NULL);
        until(is_stopped);
        until(is_closed);
}

int main(void) {
        struct error err = ERROR_INIT;
        log_init("agent_session", LOG_LEVEL_ERROR);
        if (events_init(&err) < 0)
                return 1;
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                TEST(a_session_greets_and_sends_the_whole_picture),
                TEST(fault_41_another_version_is_refused_by_name),
                TEST(heartbeats_out_of_range_are_refused),
                TEST(why_a_controller_refuses_is_passed_on),
                TEST(fault_42_a_host_that_poses_as_the_controller_hears_nothing),
                TEST(the_next_address_is_tried),
                TEST(what_comes_out_of_turn_ends_the_link),
                TEST(the_agent_pings),
                TEST(a_ping_is_answered),
                TEST(fault_02_a_controller_that_has_fallen_silent_is_given_up),
                TEST(a_lost_link_is_made_again_with_a_new_whole_picture),
                TEST(a_link_that_stood_is_made_again_at_once),
                TEST(a_link_that_is_cut_again_and_again_is_waited_for),
                TEST(a_resync_brings_a_new_whole_picture_on_the_same_link),
                TEST(a_request_is_done_and_answered),
                TEST(what_a_request_changed_is_told_in_a_delta_before_its_result),
                TEST(a_result_does_not_wait_for_a_host_that_hangs),
                TEST(a_result_that_was_held_when_the_link_went_is_given_on_the_next),
                TEST(fault_48_a_request_with_a_bad_name_is_refused_and_the_link_stays),
                TEST(an_operation_that_is_not_known_is_refused_by_version),
                TEST(a_certificate_is_renewed_over_the_open_link_and_shown_on_the_next),
                TEST(a_new_certificate_for_another_key_is_not_taken),
                TEST(a_certificate_in_its_first_two_thirds_is_left_alone),
                TEST(stopping_while_dialling_ends),
                TEST(stopping_while_greeting_ends),
                TEST(stopping_while_waiting_ends),
                TEST(stopping_online_closes_the_link),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
