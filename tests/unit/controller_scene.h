// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * A controller in this process, on a free port of the loopback, with an authority of its own below the scratch
 * directory; and peers that dial it with real TLS. Whatever fails here fails the test. Include after cmocka.h.
 */
#include "scratch.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/link.h"
#include "common/memory.h"
#include "common/pki.h"
#include "controller/controller.h"
#include "proto/codec.h"
#include "proto/token.h"

#define WAIT_MS   20000
#define INBOX_MAX 256

static struct {
        uv_loop_t loop;
        uv_timer_t tick; // wakes the loop, so that deadlines of tests are looked at
        struct controller *controller;
        char address[64];
        struct session_limits limits; // changed by a test before scene_start(), like the next one
        uint32_t certificate_seconds; // 0: days
        bool closed;
} scene;

static inline void must(int r, const struct error *err) {
        if (r < 0)
                fail_msg("%s", err->message);
}

static inline void on_scene_tick(uv_timer_t *timer) {
        (void) timer;
}

#define RUN_UNTIL(condition)                                                                                           \
        do {                                                                                                           \
                uint64_t until = clock_ms(&system_clock) + WAIT_MS;                                                    \
                while (!(condition)) {                                                                                 \
                        if (clock_ms(&system_clock) > until)                                                           \
                                fail_msg("%s:%d: waited in vain for %s", __FILE__, __LINE__, #condition);              \
                        uv_run(&scene.loop, UV_RUN_ONCE);                                                              \
                }                                                                                                      \
        } while (0)

// ---- the controller

static inline struct authority *scene_authority(void) {
        return controller_authority(scene.controller);
}

static inline struct fleet *scene_fleet(void) {
        return controller_fleet(scene.controller);
}

static inline struct settings scene_settings(void) {
        return (struct settings){.host_certificate = 90 * 86400,
                                 .user_certificate = 365 * 86400,
                                 .server_certificate = 90 * 86400,
                                 .certificate_seconds = scene.certificate_seconds};
}

static inline void scene_start(void) {
        struct error err = ERROR_INIT;
        struct settings settings = scene_settings();
        must(controller_open(&scene.loop, &settings, &scene.limits, scratch_path("state"), "127.0.0.1:0",
                             &scene.controller, &err),
             &err);
        snprintf(scene.address, sizeof(scene.address), "127.0.0.1:%u", controller_port(scene.controller));
}

static inline void on_scene_closed(void *data) {
        (void) data;
        scene.closed = true;
}

static inline void scene_stop(void) {
        if (!scene.controller)
                return;
        scene.closed = false;
        controller_close(scene.controller, on_scene_closed, NULL);
        RUN_UNTIL(scene.closed);
        controller_free(scene.controller);
        scene.controller = NULL;
}

static inline int scene_make(void **state) {
        static const char *const addresses[] = {"127.0.0.1:7443"};
        struct error err = ERROR_INIT;
        struct store *store;
        if (scratch_make(state) < 0)
                return -1;
        const struct authority_config config = {.directory = scratch_path("state")};
        memset(&scene, 0, sizeof(scene));
        scene.limits = session_limits;
        scene.limits.failed_joins_per_minute = 1000;
        uv_loop_init(&scene.loop);
        uv_timer_init(&scene.loop, &scene.tick);
        uv_timer_start(&scene.tick, on_scene_tick, 20, 20);
        must(file_make_directories(scratch_path("state"), 0700, &err), &err);
        must(store_open(scratch_path("state/controller.db"), &store, &err), &err);
        must(authority_create(&config, store, "hq", addresses, 1, &err), &err);
        store_close(store);
        return 0;
}

static inline int scene_remove(void **state) {
        scene_stop();
        uv_close((uv_handle_t *) &scene.tick, NULL);
        uv_run(&scene.loop, UV_RUN_DEFAULT);
        assert_int_equal(uv_loop_close(&scene.loop), 0);
        return scratch_remove(state);
}

#define SCENE_TEST(test) cmocka_unit_test_setup_teardown(test, scene_make, scene_remove)

// ---- members

struct member {
        struct tls_credentials *credentials;
        char uuid[NAME_UUID_LENGTH + 1], name[NAME_USER_MAX + 1];
};

static inline Drover__JoinReply *join_with(const char *token_text, EVP_PKEY *key) {
        struct error err = ERROR_INIT;
        Drover__JoinRequest request = DROVER__JOIN_REQUEST__INIT;
        Drover__JoinToken *token;
        Drover__JoinReply *reply;
        must(token_decode(token_text, &token, &err), &err);
        request.version = PROTO_VERSION_MAX;
        request.token_id = token->token_id;
        request.secret = token->secret;
        must(pki_new_csr(key, &request.csr_der.data, &request.csr_der.len, &err), &err);
        must(authority_join(scene_authority(), &request, &reply, &err), &err);
        free(request.csr_der.data);
        proto_free(&token->base);
        return reply;
}

static inline struct tls_credentials *credentials_of(const Drover__JoinReply *reply, EVP_PKEY *key) {
        struct error err = ERROR_INIT;
        struct tls_credentials *credentials;
        X509 *certificate, *authority;
        must(pki_parse_certificate(reply->certificate_pem.data, reply->certificate_pem.len, &certificate, &err), &err);
        must(pki_parse_certificate(reply->authority_pem.data, reply->authority_pem.len, &authority, &err), &err);
        must(tls_credentials_new(certificate, key, authority, &credentials, &err), &err);
        X509_free(certificate);
        X509_free(authority);
        return credentials;
}

static inline struct member member_from(char *token) {
        struct error err = ERROR_INIT;
        struct member member = {0};
        EVP_PKEY *key;
        must(pki_new_key(&key, &err), &err);
        Drover__JoinReply *reply = join_with(token, key);
        member.credentials = credentials_of(reply, key);
        snprintf(member.uuid, sizeof(member.uuid), "%s", reply->uuid);
        snprintf(member.name, sizeof(member.name), "%s", reply->name);
        if (reply->uuid[0])
                fleet_host_add(scene_fleet(), reply->uuid, reply->site, reply->name);
        proto_free(&reply->base);
        EVP_PKEY_free(key);
        free(token);
        return member;
}

static inline struct member new_host(const char *site, const char *name) {
        struct error err = ERROR_INIT;
        int64_t expires;
        char *token;
        must(authority_invite_host(scene_authority(), site, name, 0, &token, &expires, &err), &err);
        return member_from(token);
}

static inline struct member new_user(const char *name, enum role role, const char *sites) {
        struct error err = ERROR_INIT;
        int64_t expires;
        char *token;
        must(authority_invite_user(scene_authority(), name, role, sites, 0, &token, &expires, &err), &err);
        return member_from(token);
}

static inline void member_fini(struct member *member) {
        tls_credentials_unref(member->credentials);
}

// ---- peers

struct peer {
        struct link *link;
        const ProtobufCMessageDescriptor *envelope;
        ProtobufCMessage *inbox[INBOX_MAX];
        unsigned n, taken;
        bool open, closed, paused;
        struct error why;
};

static inline int on_peer_open(struct link *link, void *data, struct error *err) {
        struct peer *peer = data;
        (void) err;
        link_set_frame_max(link, FRAME_MAX);
        peer->open = true;
        return 0;
}

static inline int on_peer_frame(struct link *link, const uint8_t *frame, size_t length, void *data, struct error *err) {
        struct peer *peer = data;
        (void) link;
        if (peer->n == INBOX_MAX)
                return error_set(err, ERROR_FAILED, "the test's inbox is full");
        return proto_unpack(peer->envelope, frame, length, &peer->inbox[peer->n], err) < 0 ? -1 : (peer->n++, 0);
}

static inline void on_peer_close(struct link *link, const struct error *why, void *data) {
        struct peer *peer = data;
        (void) link;
        peer->link = NULL;
        peer->closed = true;
        peer->why = *why;
}

static const struct link_callbacks peer_callbacks = {
        .on_open = on_peer_open, .on_frame = on_peer_frame, .on_close = on_peer_close};

static inline const ProtobufCMessageDescriptor *envelope_of(const char *alpn) {
        return strcmp(alpn, TLS_ALPN_AGENT) == 0      ? &drover__envelope__descriptor
               : strcmp(alpn, TLS_ALPN_OPERATOR) == 0 ? &drover__operator_envelope__descriptor
               : strcmp(alpn, TLS_ALPN_JOIN) == 0     ? &drover__join_envelope__descriptor
                                                      : &drover__data_envelope__descriptor;
}

// Credentials NULL: without a certificate, trusting the controller's authority.
static inline void dial(struct peer *peer, const char *alpn, struct tls_credentials *credentials) {
        const char *const alpns[] = {alpn, NULL};
        struct error err = ERROR_INIT;
        uint8_t sha256[32];
        must(pki_fingerprint(tls_credentials_authority(authority_credentials(scene_authority())), sha256, &err), &err);
        const struct tls_policy policy = {
                .alpns = alpns, .peer = IDENTITY_CONTROLLER, .authority_sha256 = credentials ? NULL : sha256};
        memset(peer, 0, sizeof(*peer));
        peer->envelope = envelope_of(alpn);
        must(link_connect(&scene.loop, scene.address, credentials, &policy, &peer_callbacks, peer, &peer->link, &err),
             &err);
        RUN_UNTIL(peer->open || peer->closed);
}

static inline void say(struct peer *peer, const ProtobufCMessage *envelope) {
        struct buffer bytes;
        buffer_init(&bytes, 0);
        proto_pack(envelope, &bytes, NULL);
        if (peer->link)
                link_send(peer->link, bytes.data, bytes.length, NULL); // a link that is closed already says why
        buffer_fini(&bytes);
}

static inline ProtobufCMessage *hear(struct peer *peer) {
        RUN_UNTIL(peer->taken < peer->n || peer->closed);
        return peer->taken < peer->n ? peer->inbox[peer->taken++] : NULL;
}

static inline void hang_up(struct peer *peer) {
        if (peer->link)
                link_abort(peer->link, ERROR_CANCELLED, "the test is over");
        RUN_UNTIL(peer->closed);
        for (unsigned i = 0; i < peer->n; i++)
                proto_free(peer->inbox[i]);
        peer->n = peer->taken = 0;
}

// ---- agents

static inline void say_hello(struct peer *peer) {
        Drover__Envelope envelope = DROVER__ENVELOPE__INIT;
        Drover__Hello hello = DROVER__HELLO__INIT;
        hello.version_min = PROTO_VERSION_MIN;
        hello.version_max = PROTO_VERSION_MAX;
        hello.software = (char *) "drover-agent test";
        hello.data_port = 7444;
        envelope.body_case = DROVER__ENVELOPE__BODY_HELLO;
        envelope.hello = &hello;
        say(peer, &envelope.base);
}

static inline Drover__Envelope *hear_agent(struct peer *peer, Drover__Envelope__BodyCase body) {
        Drover__Envelope *envelope = (Drover__Envelope *) hear(peer);
        if (!envelope)
                fail_msg("closed: %s", peer->why.message);
        assert_int_equal(envelope->body_case, body);
        return envelope;
}

static inline void go_online(struct peer *peer, const struct member *host) {
        dial(peer, TLS_ALPN_AGENT, host->credentials);
        say_hello(peer);
        hear_agent(peer, DROVER__ENVELOPE__BODY_WELCOME);
}

// The last words, before the connection was closed.
static inline const Drover__Failure *last_words(struct peer *peer) {
        RUN_UNTIL(peer->closed);
        assert_true(peer->n > 0);
        ProtobufCMessage *message = peer->inbox[peer->n - 1];
        assert_string_equal(proto_oneof_name(message, "body"), "failure");
        if (peer->envelope == &drover__envelope__descriptor)
                return ((Drover__Envelope *) message)->failure;
        if (peer->envelope == &drover__operator_envelope__descriptor)
                return ((Drover__OperatorEnvelope *) message)->failure;
        if (peer->envelope == &drover__join_envelope__descriptor)
                return ((Drover__JoinEnvelope *) message)->failure;
        return ((Drover__DataEnvelope *) message)->failure;
}

#define assert_last_words(peer, expected_code, text)                                                                   \
        do {                                                                                                           \
                const Drover__Failure *failure_ = last_words(peer);                                                    \
                assert_string_equal(failure_->message, (text));                                                        \
                assert_int_equal(failure_->code, (expected_code));                                                     \
        } while (0)

// A whole picture with VMs of these names (UUIDs are made from site, host and place), over the fleet's own door.
static inline void give_vms(const struct member *host, const char *const *names, size_t n) {
        Drover__InventoryPart part = DROVER__INVENTORY_PART__INIT;
        struct error err = ERROR_INIT;
        struct fleet_host *known = fleet_host_by_uuid(scene_fleet(), host->uuid);
        Drover__Domain domains[16], *pointers[16];
        char uuids[16][NAME_UUID_LENGTH + 1];
        for (size_t i = 0; i < n; i++) {
                drover__domain__init(&domains[i]);
                snprintf(uuids[i], sizeof(uuids[i]), "%.24s%012x", host->uuid, (unsigned) (i + 1) & 0xffff);
                domains[i].uuid = uuids[i];
                domains[i].name = (char *) names[i];
                domains[i].state = (char *) (i % 2 ? "shut off" : "running");
                domains[i].persistent = true;
                pointers[i] = &domains[i];
        }
        part.generation = 1;
        part.begin = part.end = true;
        part.domains = pointers;
        part.n_domains = n;
        must(fleet_apply(scene_fleet(), known, &part, &err), &err);
}

// ---- operators

static inline void log_in(struct peer *peer, const struct member *user) {
        Drover__OperatorEnvelope envelope = DROVER__OPERATOR_ENVELOPE__INIT;
        Drover__OperatorHello hello = DROVER__OPERATOR_HELLO__INIT;
        dial(peer, TLS_ALPN_OPERATOR, user->credentials);
        hello.version_min = PROTO_VERSION_MIN;
        hello.version_max = PROTO_VERSION_MAX;
        hello.software = (char *) "drover test";
        envelope.body_case = DROVER__OPERATOR_ENVELOPE__BODY_HELLO;
        envelope.hello = &hello;
        say(peer, &envelope.base);
        Drover__OperatorEnvelope *welcome = (Drover__OperatorEnvelope *) hear(peer);
        if (!welcome)
                fail_msg("closed: %s", peer->why.message);
        assert_int_equal(welcome->body_case, DROVER__OPERATOR_ENVELOPE__BODY_WELCOME);
        assert_string_equal(welcome->welcome->user, user->name);
}

static inline void send_request(struct peer *peer, Drover__OperatorRequest *request) {
        Drover__OperatorEnvelope envelope = DROVER__OPERATOR_ENVELOPE__INIT;
        static uint64_t last_id;
        request->id = ++last_id;
        envelope.body_case = DROVER__OPERATOR_ENVELOPE__BODY_REQUEST;
        envelope.request = request;
        say(peer, &envelope.base);
}

// Borrowed from the inbox.
static inline const Drover__OperatorReply *hear_reply(struct peer *peer) {
        Drover__OperatorEnvelope *envelope = (Drover__OperatorEnvelope *) hear(peer);
        if (!envelope)
                fail_msg("closed: %s", peer->why.message);
        assert_int_equal(envelope->body_case, DROVER__OPERATOR_ENVELOPE__BODY_REPLY);
        return envelope->reply;
}

static inline const Drover__OperatorReply *ask(struct peer *peer, Drover__OperatorRequest *request) {
        send_request(peer, request);
        const Drover__OperatorReply *reply = hear_reply(peer);
        assert_int_equal(reply->id, request->id);
        return reply;
}

// REQUEST(vm_list, VM_LIST, vm_list, VmList) gives `request` and `verb`.
#define REQUEST(member, MEMBER, type_lower, Type)                                                                      \
        Drover__OperatorRequest request = DROVER__OPERATOR_REQUEST__INIT;                                              \
        Drover__##Type verb;                                                                                           \
        drover__##type_lower##__init(&verb);                                                                           \
        request.verb_case = DROVER__OPERATOR_REQUEST__VERB_##MEMBER;                                                   \
        request.member = &verb;

#define assert_refused(reply, expected_code, text)                                                                     \
        do {                                                                                                           \
                const Drover__OperatorReply *reply_ = (reply);                                                         \
                assert_non_null(reply_->failure);                                                                      \
                assert_string_equal(reply_->failure->message, (text));                                                 \
                assert_int_equal(reply_->failure->code, (expected_code));                                              \
                assert_true(reply_->last);                                                                             \
        } while (0)
