// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Joining: the controller's addresses are tried in turn until one has shown the authority that the token names; from
 * then on, with the secret sent, there is one answer. Everything here belongs to the one call of join_run().
 */
#include "agent/session/join.h"
#include "agent/session/state.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/link.h"
#include "common/memory.h"
#include "common/timer.h"
#include "proto/token.h"

#include <inttypes.h>
#include <string.h>

#define REPLY_MS      15000u
#define ADDRESSES_MAX 8

struct joining {
        uv_loop_t loop;
        const Drover__JoinToken *token;
        size_t next; // address to be tried
        struct link *link;
        struct timer *deadline;
        EVP_PKEY *key;
        X509 *certificate, *authority;
        Drover__JoinReply *reply;
        uint64_t asked_ms, answered_ms; // monotonic; asked: the secret has been sent
        int64_t answered_wall_ms;
        bool asked;
        struct error err; // of the last try; ERROR_NONE once there is a good reply
};

static void token_free_p(Drover__JoinToken **token) {
        proto_free(*token ? &(*token)->base : NULL);
}

static void buffer_fini_p(struct buffer *buffer) {
        buffer_fini(buffer);
}

static void to_hex(const uint8_t *bytes, size_t n, char *hex) {
        static const char digits[] = "0123456789abcdef";
        for (size_t i = 0; i < n; i++) {
                hex[2 * i] = digits[bytes[i] >> 4];
                hex[2 * i + 1] = digits[bytes[i] & 15];
        }
        hex[2 * n] = '\0';
}

// The TLS session has compared it already; the secret depends on it, so it is compared where the secret is sent.
static int check_pin(const struct joining *joining, struct link *link, struct error *err) {
        uint8_t sha256[32];
        X509 *authority = link_peer_authority(link);
        if (!authority)
                return error_set(err, ERROR_TLS, "the controller has shown no authority");
        if (pki_fingerprint(authority, sha256, err) < 0)
                return -1;
        if (memcmp(sha256, joining->token->authority_sha256.data, sizeof sha256) != 0)
                return error_set(err, ERROR_TLS, "the controller's authority is not the one that the token names");
        return 0;
}

static int send_request(struct joining *joining, struct error *err) {
        _cleanup_(free_p) uint8_t *csr = NULL;
        size_t length = 0;
        if (pki_new_csr(joining->key, &csr, &length, err) < 0)
                return -1;
        Drover__JoinRequest request;
        drover__join_request__init(&request);
        request.version = PROTO_VERSION_MAX;
        request.token_id = joining->token->token_id;
        request.secret = joining->token->secret;
        request.csr_der = (ProtobufCBinaryData){.len = length, .data = csr};
        request.kind = DROVER__JOIN_KIND__JOIN_HOST;
        request.software = (char *) "drover-agent " DROVER_VERSION;
        Drover__JoinEnvelope envelope;
        drover__join_envelope__init(&envelope);
        envelope.body_case = DROVER__JOIN_ENVELOPE__BODY_REQUEST;
        envelope.request = &request;
        _cleanup_(buffer_fini_p) struct buffer bytes;
        buffer_init(&bytes, 0);
        if (PROTO_PACK(&envelope, &bytes, err) < 0)
                return -1;
        joining->asked = true;
        joining->asked_ms = clock_ms(&system_clock);
        return link_send(joining->link, bytes.data, bytes.length, err);
}

static int on_open(struct link *link, void *data, struct error *err) {
        struct joining *joining = data;
        if (check_pin(joining, link, err) < 0)
                return -1;
        joining->authority = link_peer_authority(link);
        X509_up_ref(joining->authority);
        timer_once(joining->deadline, REPLY_MS);
        return send_request(joining, err);
}

static int check_names(const Drover__JoinReply *reply, struct error *err) {
        if (name_check_site(reply->site, err) < 0)
                return error_prefix(err, "site");
        if (name_check_host(reply->name, err) < 0)
                return error_prefix(err, "host");
        return name_check_uuid(reply->uuid, err);
}

static int check_addresses(const Drover__JoinReply *reply, struct error *err) {
        static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-:[]%_";
        if (reply->n_addresses < 1 || reply->n_addresses > ADDRESSES_MAX)
                return error_set(err, ERROR_PROTOCOL, "%zu addresses; 1 to %d are allowed", reply->n_addresses,
                                 ADDRESSES_MAX);
        for (size_t i = 0; i < reply->n_addresses; i++) {
                const char *address = reply->addresses[i];
                size_t length = strlen(address);
                if (!length || length > 262 || strspn(address, allowed) != length || *address == '-')
                        return error_set(err, ERROR_PROTOCOL, "an address is not of the form host:port");
        }
        return 0;
}

static int check_certificate(struct joining *joining, const Drover__JoinReply *reply, struct error *err) {
        const ProtobufCBinaryData *pem = &reply->certificate_pem;
        struct identity identity;
        if (pki_parse_certificate(pem->data, pem->len, &joining->certificate, err) < 0 ||
            pki_identity(joining->certificate, &identity, err) < 0)
                return error_prefix(err, "certificate");
        if (!pki_matches(joining->certificate, joining->key))
                return error_set(err, ERROR_PROTOCOL, "the certificate is for another key");
        if (identity.kind != IDENTITY_HOST || strcmp(identity.name, reply->uuid) != 0)
                return error_set(err, ERROR_PROTOCOL, "the certificate is for %s %s, not for host %s",
                                 identity_kind_word(identity.kind), identity.name, reply->uuid);
        if (X509_verify(joining->certificate, X509_get0_pubkey(joining->authority)) != 1)
                return tls_error(err, "the certificate is not signed by the controller's authority");
        return 0;
}

static int take_reply(struct joining *joining, Drover__JoinReply **reply, struct error *err) {
        if (check_names(*reply, err) < 0 || check_addresses(*reply, err) < 0 ||
            check_certificate(joining, *reply, err) < 0)
                return error_prefix(err, "the controller's answer");
        joining->answered_ms = clock_ms(&system_clock);
        joining->answered_wall_ms = clock_wall_ms();
        joining->reply = steal(reply);
        return 0;
}

static int take_envelope(struct joining *joining, Drover__JoinEnvelope *envelope, struct error *err) {
        switch (envelope->body_case) {
        case DROVER__JOIN_ENVELOPE__BODY_REPLY:
                return take_reply(joining, &envelope->reply, err);
        case DROVER__JOIN_ENVELOPE__BODY_FAILURE:
                return proto_error(envelope->failure, err);
        default:
                return error_set(err, ERROR_PROTOCOL, "the controller's answer to a join is none");
        }
}

static int on_frame(struct link *link, const uint8_t *frame, size_t length, void *data, struct error *err) {
        struct joining *joining = data;
        Drover__JoinEnvelope *envelope = NULL;
        if (joining->reply)
                return 0;
        if (PROTO_UNPACK(join_envelope, frame, length, &envelope, err) < 0)
                return -1;
        int r = take_envelope(joining, envelope, err);
        proto_free(&envelope->base);
        if (!r)
                link_close(link);
        return r;
}

static void on_deadline(void *data) {
        struct joining *joining = data;
        if (joining->link)
                link_abort(joining->link, ERROR_TIMEOUT, "the controller has not answered within 15 s");
}

static void dial_next(struct joining *joining);

static void on_close(struct link *link, const struct error *why, void *data) {
        struct joining *joining = data;
        (void) link;
        joining->link = NULL;
        timer_stop(joining->deadline);
        if (joining->reply)
                joining->err = ERROR_INIT;
        else
                joining->err = *why;
        if (!joining->asked)
                dial_next(joining);
}

static void dial_next(struct joining *joining) {
        static const char *const alpns[] = {TLS_ALPN_JOIN, NULL};
        static const struct link_callbacks callbacks = {.on_open = on_open, .on_frame = on_frame, .on_close = on_close};
        const struct tls_policy policy = {
                .alpns = alpns, .peer = IDENTITY_CONTROLLER, .authority_sha256 = joining->token->authority_sha256.data};
        while (joining->next < joining->token->n_addresses) {
                const char *address = joining->token->addresses[joining->next++];
                if (link_connect(&joining->loop, address, NULL, &policy, &callbacks, joining, &joining->link,
                                 &joining->err) == 0)
                        return;
        }
}

static void add_hints(const struct joining *joining, struct error *err) {
        if (err->n_hints)
                return;
        if (err->code == ERROR_UNREACHABLE && !joining->asked)
                error_hint(err, "this host must reach one of the controller's addresses, such as %s",
                           joining->token->addresses[0]);
        else if (err->code == ERROR_TLS && !joining->asked)
                error_hint(err, "nothing was sent; make a new token at the controller: drover host invite SITE/HOST");
        else if (err->code == ERROR_DENIED)
                error_hint(err, "a token is for one use; at the controller: drover host invite SITE/HOST");
}

// One conversation; afterwards reply, certificate and authority are there, or err says why not.
static int converse(struct joining *joining, struct error *err) {
        if (pki_new_key(&joining->key, err) < 0)
                return -1;
        int r = uv_loop_init(&joining->loop);
        if (r)
                return error_errno(err, -r, "make a loop");
        joining->deadline = timer_new(&joining->loop, on_deadline, joining);
        dial_next(joining);
        while (joining->link)
                uv_run(&joining->loop, UV_RUN_ONCE);
        timer_free(joining->deadline);
        uv_run(&joining->loop, UV_RUN_DEFAULT); // the close callbacks
        uv_loop_close(&joining->loop);
        if (joining->reply)
                return 0;
        add_hints(joining, &joining->err);
        *err = joining->err;
        return -1;
}

static int check_fresh(const char *directory, bool force, struct error *err) {
        if (force || !state_joined(directory))
                return 0;
        struct state state = {0};
        if (state_load(directory, &state, NULL) == 0)
                error_set(err, ERROR_CONFLICT, "this host has joined already, as %s/%s", state.site, state.host);
        else
                error_set(err, ERROR_CONFLICT, "this host has joined already");
        state_fini(&state);
        error_hint(err, "to give that identity up: drover-agent join --force TOKEN");
        return -1;
}

static int store(const struct joining *joining, const char *directory, struct error *err) {
        const Drover__JoinReply *reply = joining->reply;
        struct state state = {.addresses = {.items = reply->addresses, .n = (unsigned) reply->n_addresses},
                              .site = reply->site,
                              .host = reply->name,
                              .uuid = reply->uuid};
        if (state_discard(directory, err) < 0)
                return -1;
        return state_store_join(directory, &state, joining->key, joining->certificate, joining->authority, err);
}

static void fill_result(const struct joining *joining, struct join_result *ret) {
        const Drover__JoinReply *reply = joining->reply;
        *ret = (struct join_result){0};
        // All three have passed their checks, so they fit.
        strncpy(ret->site, reply->site, sizeof ret->site - 1);
        strncpy(ret->host, reply->name, sizeof ret->host - 1);
        strncpy(ret->uuid, reply->uuid, sizeof ret->uuid - 1);
        to_hex(joining->token->authority_sha256.data, 32, ret->authority_sha256);
        // The controller's clock was read half a round trip before the answer came, and is told in whole seconds.
        int64_t round_trip = (int64_t) (joining->answered_ms - joining->asked_ms);
        ret->clock_offset_ms = joining->answered_wall_ms - round_trip / 2 - (reply->clock_at * 1000 + 500);
}

static void joining_fini(struct joining *joining) {
        EVP_PKEY_free(joining->key);
        X509_free(joining->certificate);
        X509_free(joining->authority);
        proto_free(joining->reply ? &joining->reply->base : NULL);
}

int join_run(const char *token_text, const char *state_directory, bool force, struct join_result *ret,
             struct error *err) {
        struct error own = ERROR_INIT;
        err = err ? err : &own;
        _cleanup_(token_free_p) Drover__JoinToken *token = NULL;
        _cleanup_(close_p) int lock = -1;
        if (token_decode(token_text, &token, err) < 0)
                return -1;
        if (token->operator_) {
                error_set(err, ERROR_USAGE, "this token is for an operator, not for a host");
                error_hint(err, "at the operator's machine: drover login TOKEN");
                return -1;
        }
        if (state_lock(state_directory, &lock, err) < 0 || check_fresh(state_directory, force, err) < 0)
                return -1;
        struct joining joining = {.token = token};
        int r = converse(&joining, err);
        if (!r)
                r = store(&joining, state_directory, err);
        if (!r)
                fill_result(&joining, ret);
        joining_fini(&joining);
        return r;
}
