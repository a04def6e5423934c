// SPDX-License-Identifier: LGPL-2.1-or-later
/* Joining, against a controller of the test's own that runs on a thread behind real TLS on the loopback. */
#include "agent/session/join.h"
#include "agent/session/state.h"
#include "common/link.h"
#include "common/memory.h"
#include "proto/token.h"
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <cmocka.h>
#include "certificates.h"
#include "scratch.h"

#define SECRET "0123456789abcdef0123456789abcdef"

enum behaviour { ANSWER, REFUSE_USED, ANSWER_ANOTHERS_KEY, ANSWER_ANOTHERS_UUID, ANSWER_SLASH, ANSWER_SELF_SIGNED };

static struct {
        struct authority authority;
        struct tls_credentials *credentials;
        enum behaviour behaviour;
        uv_loop_t loop;
        uv_tcp_t listener;
        uv_async_t stop;
        uv_thread_t thread;
        char address[32];
        atomic_uint frames; // that the controller has received
} controller;

// ---- the controller

static void send_envelope(struct link *link, const Drover__JoinEnvelope *envelope) {
        struct buffer bytes;
        buffer_init(&bytes, 0);
        PROTO_PACK(envelope, &bytes, NULL);
        link_send(link, bytes.data, bytes.length, NULL);
        buffer_fini(&bytes);
}

static void refuse(struct link *link) {
        struct error err = ERROR_INIT;
        Drover__JoinEnvelope envelope;
        drover__join_envelope__init(&envelope);
        error_set(&err, ERROR_DENIED, "this token has been used already");
        envelope.body_case = DROVER__JOIN_ENVELOPE__BODY_FAILURE;
        envelope.failure = proto_failure(&err);
        send_envelope(link, &envelope);
        proto_free(&envelope.failure->base);
}

static X509 *issue(const Drover__JoinRequest *request) {
        struct authority another = authority_new();
        struct authority *signer = controller.behaviour == ANSWER_SELF_SIGNED ? &another : &controller.authority;
        struct identity identity = identity_of(IDENTITY_HOST);
        int64_t now = clock_wall(&system_clock);
        struct pki_request wanted = {
                .identity = &identity, .common_name = "kvm1", .not_before = now - HOUR, .not_after = now + HOUR};
        X509 *certificate = NULL;
        if (controller.behaviour == ANSWER_ANOTHERS_KEY)
                certificate = certificate_now(&controller.authority, controller.authority.key, IDENTITY_HOST);
        else
                pki_issue(signer->certificate, signer->key, request->csr_der.data, request->csr_der.len, &wanted,
                          &certificate, NULL);
        authority_free(&another);
        return certificate;
}

static void answer(struct link *link, const Drover__JoinRequest *request) {
        struct buffer pem;
        buffer_init(&pem, 0);
        X509 *certificate = issue(request);
        pki_certificate_pem(certificate, &pem, NULL);
        char *addresses[] = {controller.address};
        Drover__JoinReply reply;
        drover__join_reply__init(&reply);
        reply.certificate_pem = (ProtobufCBinaryData){.len = pem.length, .data = pem.data};
        reply.site = (char *) "lyon";
        reply.name = (char *) (controller.behaviour == ANSWER_SLASH ? "../kvm1" : "kvm1");
        reply.uuid = (char *) (controller.behaviour == ANSWER_ANOTHERS_UUID ? UUID_CONTROLLER : UUID_HOST);
        reply.clock_at = clock_wall(&system_clock) - 90;
        reply.n_addresses = 1;
        reply.addresses = addresses;
        Drover__JoinEnvelope envelope;
        drover__join_envelope__init(&envelope);
        envelope.body_case = DROVER__JOIN_ENVELOPE__BODY_REPLY;
        envelope.reply = &reply;
        send_envelope(link, &envelope);
        buffer_fini(&pem);
        X509_free(certificate);
}

static int on_open(struct link *link, void *data, struct error *err) {
        (void) link, (void) data, (void) err;
        return 0;
}

static int on_frame(struct link *link, const uint8_t *frame, size_t length, void *data, struct error *err) {
        (void) data;
        Drover__JoinEnvelope *envelope = NULL;
        atomic_fetch_add(&controller.frames, 1);
        if (PROTO_UNPACK(join_envelope, frame, length, &envelope, err) < 0)
                return -1;
        const Drover__JoinRequest *request = envelope->request;
        bool right = envelope->body_case == DROVER__JOIN_ENVELOPE__BODY_REQUEST &&
                     request->secret.len == strlen(SECRET) && !memcmp(request->secret.data, SECRET, strlen(SECRET)) &&
                     !strcmp(request->token_id, "tok1");
        if (!right || controller.behaviour == REFUSE_USED)
                refuse(link);
        else
                answer(link, request);
        proto_free(&envelope->base);
        return 0;
}

static void on_close(struct link *link, const struct error *why, void *data) {
        (void) link, (void) why, (void) data;
}

static void on_connection(uv_stream_t *listener, int status) {
        static const char *const alpns[] = {TLS_ALPN_JOIN, NULL};
        static const struct tls_policy policy = {.alpns = alpns, .anonymous_join = true};
        static const struct link_callbacks callbacks = {.on_open = on_open, .on_frame = on_frame, .on_close = on_close};
        struct link *link;
        if (status == 0)
                link_accept(listener, controller.credentials, &policy, &callbacks, NULL, &link, NULL);
}

static void on_stop(uv_async_t *handle) {
        uv_close((uv_handle_t *) handle, NULL);
        uv_close((uv_handle_t *) &controller.listener, NULL);
}

static void controller_main(void *data) {
        (void) data;
        uv_run(&controller.loop, UV_RUN_DEFAULT);
}

static void controller_start(enum behaviour behaviour, enum identity_kind kind) {
        struct sockaddr_in address;
        int length = sizeof address;
        controller.behaviour = behaviour;
        controller.credentials = credentials_new(&controller.authority, kind);
        atomic_store(&controller.frames, 0);
        uv_loop_init(&controller.loop);
        uv_tcp_init(&controller.loop, &controller.listener);
        uv_async_init(&controller.loop, &controller.stop, on_stop);
        uv_ip4_addr("127.0.0.1", 0, &address);
        assert_int_equal(uv_tcp_bind(&controller.listener, (struct sockaddr *) &address, 0), 0);
        assert_int_equal(uv_listen((uv_stream_t *) &controller.listener, 8, on_connection), 0);
        uv_tcp_getsockname(&controller.listener, (struct sockaddr *) &address, &length);
        snprintf(controller.address, sizeof controller.address, "127.0.0.1:%u", ntohs(address.sin_port));
        uv_thread_create(&controller.thread, controller_main, NULL);
}

static void controller_stop(void) {
        uv_async_send(&controller.stop);
        uv_thread_join(&controller.thread);
        assert_int_equal(uv_loop_close(&controller.loop), 0);
        tls_credentials_unref(controller.credentials);
}

static int set_up(void **state) {
        controller.authority = authority_new();
        return scratch_make(state);
}

static int tear_down(void **state) {
        authority_free(&controller.authority);
        return scratch_remove(state);
}

// ---- the host

struct ask {
        const char *first; // an address that is tried before the controller's
        bool operator_, another_authority, force;
};

static int join(struct ask ask, struct join_result *result, struct error *err) {
        struct authority another = authority_new();
        uint8_t sha256[32];
        char *addresses[] = {(char *) ask.first, controller.address};
        struct buffer text;
        buffer_init(&text, 0);
        pki_fingerprint(ask.another_authority ? another.certificate : controller.authority.certificate, sha256, NULL);
        Drover__JoinToken token;
        drover__join_token__init(&token);
        token.addresses = ask.first ? addresses : addresses + 1;
        token.n_addresses = ask.first ? 2 : 1;
        token.authority_sha256 = (ProtobufCBinaryData){.len = 32, .data = sha256};
        token.token_id = (char *) "tok1";
        token.secret = (ProtobufCBinaryData){.len = 32, .data = (uint8_t *) SECRET};
        token.operator_ = ask.operator_;
        must(token_encode(&token, &text, err), err);
        char *encoded = buffer_steal_text(&text);
        error_clear(err);
        int r = join_run(encoded, scratch_path("agent"), ask.force, result, err);
        free(encoded);
        buffer_fini(&text);
        authority_free(&another);
        return r;
}

static bool state_has(const char *name) {
        char path[64];
        snprintf(path, sizeof path, "agent/%s", name);
        return scratch_has(path);
}

static void assert_nothing_stored(void) {
        assert_false(state_has("controller.yaml"));
        assert_false(state_has("host.key"));
        assert_false(state_has("host.crt"));
        assert_false(state_has("ca.crt"));
}

static void joining_stores_an_identity_that_works(void **state) {
        (void) state;
        struct join_result result;
        struct error err = ERROR_INIT;
        struct state stored = {0};
        struct tls_credentials *credentials = NULL;
        struct stat st;
        controller_start(ANSWER, IDENTITY_CONTROLLER);
        must(join((struct ask){0}, &result, &err), &err);
        controller_stop();
        assert_string_equal(result.site, "lyon");
        assert_string_equal(result.host, "kvm1");
        assert_string_equal(result.uuid, UUID_HOST);
        assert_in_range(result.clock_offset_ms, 88000, 92000);
        must(state_load(scratch_path("agent"), &stored, &err), &err);
        assert_string_equal(stored.site, "lyon");
        assert_string_equal(stored.addresses.items[0], controller.address);
        must(tls_credentials_load(scratch_path("agent"), STATE_NAME, &credentials, &err), &err);
        assert_int_equal(tls_credentials_identity(credentials)->kind, IDENTITY_HOST);
        assert_int_equal(stat(scratch_path("agent/host.key"), &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
        tls_credentials_unref(credentials);
        state_fini(&stored);
}

static void fault_46_another_authority_gets_no_secret(void **state) {
        (void) state;
        struct join_result result;
        struct error err = ERROR_INIT;
        controller_start(ANSWER, IDENTITY_CONTROLLER);
        assert_int_equal(join((struct ask){.another_authority = true}, &result, &err), -1);
        controller_stop();
        assert_int_equal(err.code, ERROR_TLS);
        assert_string_equal(err.hints[0], "nothing was sent; make a new token at the controller: drover host invite "
                                          "SITE/HOST");
        assert_int_equal(atomic_load(&controller.frames), 0);
        assert_nothing_stored();
}

static void fault_46_a_used_token_is_refused_and_nothing_is_stored(void **state) {
        (void) state;
        struct join_result result;
        struct error err = ERROR_INIT;
        controller_start(REFUSE_USED, IDENTITY_CONTROLLER);
        assert_int_equal(join((struct ask){0}, &result, &err), -1);
        controller_stop();
        assert_error(err, ERROR_DENIED, "this token has been used already");
        assert_string_equal(err.hints[0], "a token is for one use; at the controller: drover host invite SITE/HOST");
        assert_nothing_stored();
}

static void a_host_that_poses_as_the_controller_gets_no_secret(void **state) {
        (void) state;
        struct join_result result;
        struct error err = ERROR_INIT;
        controller_start(ANSWER, IDENTITY_HOST);
        assert_int_equal(join((struct ask){0}, &result, &err), -1);
        controller_stop();
        assert_int_equal(atomic_load(&controller.frames), 0);
        assert_nothing_stored();
}

static void the_next_address_is_tried_when_one_does_not_answer(void **state) {
        (void) state;
        struct join_result result;
        struct error err = ERROR_INIT;
        controller_start(ANSWER, IDENTITY_CONTROLLER);
        must(join((struct ask){.first = "127.0.0.1:1"}, &result, &err), &err);
        controller_stop();
        assert_string_equal(result.host, "kvm1");
}

static void a_controller_that_cannot_be_reached_is_named(void **state) {
        (void) state;
        struct join_result result;
        struct error err = ERROR_INIT;
        snprintf(controller.address, sizeof controller.address, "127.0.0.1:1");
        assert_int_equal(join((struct ask){0}, &result, &err), -1);
        assert_int_equal(err.code, ERROR_UNREACHABLE);
        assert_non_null(strstr(err.message, "127.0.0.1:1"));
        assert_string_equal(err.hints[0],
                            "this host must reach one of the controller's addresses, such as 127.0.0.1:1");
        assert_nothing_stored();
}

static void an_operators_token_is_refused(void **state) {
        (void) state;
        struct join_result result;
        struct error err = ERROR_INIT;
        snprintf(controller.address, sizeof controller.address, "127.0.0.1:1");
        assert_int_equal(join((struct ask){.operator_ = true}, &result, &err), -1);
        assert_error(err, ERROR_USAGE, "this token is for an operator, not for a host");
        assert_string_equal(err.hints[0], "at the operator's machine: drover login TOKEN");
}

static void refuse_answer(enum behaviour behaviour, enum error_code code, const char *message) {
        struct join_result result;
        struct error err = ERROR_INIT;
        controller_start(behaviour, IDENTITY_CONTROLLER);
        assert_int_equal(join((struct ask){0}, &result, &err), -1);
        controller_stop();
        if (message)
                assert_string_equal(err.message, message);
        assert_int_equal(err.code, code);
        assert_nothing_stored();
}

static void a_certificate_for_another_key_is_refused(void **state) {
        (void) state;
        refuse_answer(ANSWER_ANOTHERS_KEY, ERROR_PROTOCOL,
                      "the controller's answer: the certificate is for another key");
}

static void a_certificate_for_another_host_is_refused(void **state) {
        (void) state;
        refuse_answer(ANSWER_ANOTHERS_UUID, ERROR_PROTOCOL,
                      "the controller's answer: the certificate is for host " UUID_HOST
                      ", not for host " UUID_CONTROLLER);
}

static void a_certificate_of_another_authority_is_refused(void **state) {
        (void) state;
        refuse_answer(ANSWER_SELF_SIGNED, ERROR_TLS, NULL);
}

static void fault_48_a_host_name_with_a_slash_is_refused(void **state) {
        (void) state;
        refuse_answer(ANSWER_SLASH, ERROR_INVALID, NULL);
}

// ---- joining again

static void a_host_that_has_joined_does_not_join_again_by_itself(void **state) {
        (void) state;
        struct join_result result;
        struct error err = ERROR_INIT;
        controller_start(ANSWER, IDENTITY_CONTROLLER);
        must(join((struct ask){0}, &result, &err), &err);
        assert_int_equal(join((struct ask){0}, &result, &err), -1);
        controller_stop();
        assert_error(err, ERROR_CONFLICT, "this host has joined already, as lyon/kvm1");
        assert_string_equal(err.hints[0], "to give that identity up: drover-agent join --force TOKEN");
        assert_int_equal(atomic_load(&controller.frames), 1);
}

static void fault_47_a_host_that_joins_again_inherits_nothing(void **state) {
        (void) state;
        struct join_result result;
        struct error err = ERROR_INIT;
        controller_start(ANSWER, IDENTITY_CONTROLLER);
        must(join((struct ask){0}, &result, &err), &err);
        scratch_write("agent/agent.db", "epochs");
        scratch_write("agent/agent.db-wal", "more of them");
        must(join((struct ask){.force = true}, &result, &err), &err);
        controller_stop();
        assert_false(state_has("agent.db"));
        assert_false(state_has("agent.db-wal"));
        assert_true(state_has("controller.yaml"));
}

static void a_forced_join_that_is_refused_leaves_what_was(void **state) {
        (void) state;
        struct join_result result;
        struct error err = ERROR_INIT;
        struct tls_credentials *credentials = NULL;
        controller_start(ANSWER, IDENTITY_CONTROLLER);
        must(join((struct ask){0}, &result, &err), &err);
        controller_stop();
        scratch_write("agent/agent.db", "epochs");
        controller_start(REFUSE_USED, IDENTITY_CONTROLLER);
        assert_int_equal(join((struct ask){.force = true}, &result, &err), -1);
        controller_stop();
        assert_true(state_joined(scratch_path("agent")));
        assert_true(state_has("agent.db"));
        must(tls_credentials_load(scratch_path("agent"), STATE_NAME, &credentials, &err), &err);
        tls_credentials_unref(credentials);
}

static void a_running_agent_keeps_a_join_out(void **state) {
        (void) state;
        struct join_result result;
        struct error err = ERROR_INIT;
        int lock = -1;
        char message[128];
        snprintf(controller.address, sizeof controller.address, "127.0.0.1:1");
        must(state_lock(scratch_path("agent"), &lock, &err), &err);
        assert_int_equal(join((struct ask){0}, &result, &err), -1);
        snprintf(message, sizeof message, "%s is in use by another drover-agent", scratch_path("agent"));
        assert_error(err, ERROR_CONFLICT, message);
        assert_string_equal(err.hints[0], "systemctl stop drover-agent");
        close(lock);
}

static void a_host_that_has_not_joined_is_told_how(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        struct state stored = {0};
        char message[160];
        assert_int_equal(state_load(scratch_path("agent"), &stored, &err), -1);
        snprintf(message, sizeof message, "this host has not joined a controller (%s/controller.yaml is not there)",
                 scratch_path("agent"));
        assert_error(err, ERROR_USAGE, message);
        assert_string_equal(err.hints[1], "then here: drover-agent join TOKEN");
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                TEST(joining_stores_an_identity_that_works),
                TEST(fault_46_another_authority_gets_no_secret),
                TEST(fault_46_a_used_token_is_refused_and_nothing_is_stored),
                TEST(a_host_that_poses_as_the_controller_gets_no_secret),
                TEST(the_next_address_is_tried_when_one_does_not_answer),
                TEST(a_controller_that_cannot_be_reached_is_named),
                TEST(an_operators_token_is_refused),
                TEST(a_certificate_for_another_key_is_refused),
                TEST(a_certificate_for_another_host_is_refused),
                TEST(a_certificate_of_another_authority_is_refused),
                TEST(fault_48_a_host_name_with_a_slash_is_refused),
                TEST(a_host_that_has_joined_does_not_join_again_by_itself),
                TEST(fault_47_a_host_that_joins_again_inherits_nothing),
                TEST(a_forced_join_that_is_refused_leaves_what_was),
                TEST(a_running_agent_keeps_a_join_out),
                TEST(a_host_that_has_not_joined_is_told_how),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
