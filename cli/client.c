// SPDX-License-Identifier: LGPL-2.1-or-later
/* The operator's connection, one command long: connect, hello, one request at a time, all on a loop of its own. */
#include "cli/client.h"
#include "cli/renew.h"
#include "cli/settings.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/link.h"
#include "common/memory.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

struct client {
        uv_loop_t loop;
        uv_signal_t interrupt;
        struct settings settings;
        struct link *link;
        struct tls_credentials *credentials;
        bool welcome, done;
        uint64_t next_id, waiting_for;
        client_reply_fn fn;
        void *fn_data;
        struct error error; // of the connection, or of the reply
};

static int send_envelope(struct client *client, const Drover__OperatorEnvelope *envelope, struct error *err) {
        struct buffer bytes;
        buffer_init(&bytes, FRAME_MAX);
        int r = PROTO_PACK(envelope, &bytes, err);
        if (r == 0)
                r = link_send(client->link, bytes.data, bytes.length, err);
        buffer_fini(&bytes);
        return r;
}

static int on_open(struct link *link, void *data, struct error *err) {
        struct client *client = data;
        Drover__OperatorHello hello = DROVER__OPERATOR_HELLO__INIT;
        Drover__OperatorEnvelope envelope = DROVER__OPERATOR_ENVELOPE__INIT;
        link_set_frame_max(link, FRAME_MAX);
        hello.version_min = PROTO_VERSION_MIN;
        hello.version_max = PROTO_VERSION_MAX;
        hello.software = (char *) "drover " DROVER_VERSION;
        envelope.body_case = DROVER__OPERATOR_ENVELOPE__BODY_HELLO;
        envelope.hello = &hello;
        return send_envelope(client, &envelope, err);
}

static int on_reply(struct client *client, const Drover__OperatorReply *reply) {
        if (reply->id != client->waiting_for)
                return 0;
        if (reply->failure) {
                client->done = true;
                return proto_error(reply->failure, &client->error);
        }
        int r = client->fn(reply, client->fn_data, &client->error);
        if (r != 0 || reply->last)
                client->done = true;
        return 0;
}

static int on_envelope(struct client *client, const Drover__OperatorEnvelope *envelope, struct error *err) {
        Drover__OperatorEnvelope answer = DROVER__OPERATOR_ENVELOPE__INIT;
        Drover__Pong pong = DROVER__PONG__INIT;
        switch (envelope->body_case) {
        case DROVER__OPERATOR_ENVELOPE__BODY_WELCOME:
                client->welcome = true;
                return 0;
        case DROVER__OPERATOR_ENVELOPE__BODY_REPLY:
                on_reply(client, envelope->reply);
                return 0;
        case DROVER__OPERATOR_ENVELOPE__BODY_PING:
                pong.token = envelope->ping->token;
                answer.body_case = DROVER__OPERATOR_ENVELOPE__BODY_PONG;
                answer.pong = &pong;
                return send_envelope(client, &answer, err);
        case DROVER__OPERATOR_ENVELOPE__BODY_FAILURE:
                return proto_error(envelope->failure, err);
        default:
                return 0;
        }
}

static int on_frame(struct link *link, const uint8_t *frame, size_t length, void *data, struct error *err) {
        (void) link;
        Drover__OperatorEnvelope *envelope = NULL;
        if (PROTO_UNPACK(operator_envelope, frame, length, &envelope, err) < 0)
                return -1;
        int r = on_envelope(data, envelope, err);
        proto_free(&envelope->base);
        return r;
}

static void on_close(struct link *link, const struct error *why, void *data) {
        (void) link;
        struct client *client = data;
        client->link = NULL;
        if (client->error.code == ERROR_NONE && !client->done)
                client->error = *why;
}

static void on_interrupt(uv_signal_t *handle, int signal_number) {
        (void) signal_number;
        struct client *client = handle->data;
        error_set(&client->error, ERROR_INTERRUPTED, "interrupted");
        client->done = true;
        uv_stop(handle->loop);
}

static const struct link_callbacks callbacks = {.on_open = on_open, .on_frame = on_frame, .on_close = on_close};

const char *client_directory(void) {
        return settings_directory();
}

// Until the condition holds or the connection is over.
static int run_until(struct client *client, const bool *condition, struct error *err) {
        while (client->link && !*condition && client->error.code == ERROR_NONE)
                uv_run(&client->loop, UV_RUN_ONCE);
        if (client->error.code != ERROR_NONE) {
                if (err)
                        *err = client->error;
                return -1;
        }
        return *condition ? 0 : error_set(err, ERROR_UNREACHABLE, "the controller closed the connection");
}

static int dial(struct client *client, const char *address, struct error *err) {
        static const char *const alpns[] = {TLS_ALPN_OPERATOR, NULL};
        const struct tls_policy policy = {.alpns = alpns, .peer = IDENTITY_CONTROLLER};
        error_clear(&client->error);
        if (link_connect(&client->loop, address, client->credentials, &policy, &callbacks, client, &client->link, err) <
            0)
                return -1;
        return run_until(client, &client->welcome, err);
}

static int dial_any(struct client *client, struct error *err) {
        int r = error_set(err, ERROR_USAGE, "%s/config.yaml names no controller", settings_directory());
        for (unsigned i = 0; i < client->settings.controllers.n; i++) {
                r = dial(client, client->settings.controllers.items[i], err);
                if (r == 0 || (err && err->code != ERROR_UNREACHABLE && err->code != ERROR_TIMEOUT))
                        break;
        }
        if (r < 0 && err && err->code == ERROR_UNREACHABLE)
                error_hint(err, "is drover-controller running there, and does the network reach it?");
        return r;
}

// The controller could only break off the handshake, and TLS has no words for what to do about it.
static int check_expiry(const struct client *client, struct error *err) {
        const struct identity *identity = tls_credentials_identity(client->credentials);
        char when[CLOCK_RFC3339_MAX];
        if (identity->not_after > clock_wall(&system_clock))
                return 0;
        error_set(err, ERROR_DENIED, "the certificate of %s expired at %s", identity->name,
                  clock_rfc3339(identity->not_after, when));
        error_hint(err, "ask an administrator for: drover user rm %s; drover user invite %s --role ROLE",
                   identity->name, identity->name);
        error_hint(err, "then, here: drover login TOKEN --replace");
        return -1;
}

int client_open(struct client **ret, struct error *err) {
        struct client *client = new (struct client);
        signal(SIGPIPE, SIG_IGN);
        uv_loop_init(&client->loop);
        uv_signal_init(&client->loop, &client->interrupt);
        client->interrupt.data = client;
        uv_signal_start(&client->interrupt, on_interrupt, SIGINT);
        client->next_id = 1;
        int r = settings_load(&client->settings, err);
        if (r == 0)
                r = tls_credentials_load(settings_directory(), "client", &client->credentials, err);
        if (r == 0)
                r = check_expiry(client, err);
        if (r == 0)
                r = dial_any(client, err);
        if (r < 0) {
                client_close(client);
                return -1;
        }
        renew_if_due(client);
        *ret = client;
        return 0;
}

void client_close(struct client *client) {
        if (!client)
                return;
        if (client->link)
                link_close(client->link);
        uv_close((uv_handle_t *) &client->interrupt, NULL);
        uv_run(&client->loop, UV_RUN_DEFAULT);
        uv_loop_close(&client->loop);
        tls_credentials_unref(client->credentials);
        settings_fini(&client->settings);
        free(client);
}

int client_ask(struct client *client, Drover__OperatorRequest *request, client_reply_fn fn, void *data,
               struct error *err) {
        Drover__OperatorEnvelope envelope = DROVER__OPERATOR_ENVELOPE__INIT;
        request->id = client->waiting_for = client->next_id++;
        envelope.body_case = DROVER__OPERATOR_ENVELOPE__BODY_REQUEST;
        envelope.request = request;
        client->fn = fn;
        client->fn_data = data;
        client->done = false;
        error_clear(&client->error);
        if (!client->link)
                return error_set(err, ERROR_UNREACHABLE, "the controller closed the connection");
        if (send_envelope(client, &envelope, err) < 0)
                return -1;
        return run_until(client, &client->done, err);
}

static int keep_reply(const Drover__OperatorReply *reply, void *data, struct error *err) {
        (void) err;
        Drover__OperatorReply **kept = data;
        if (*kept)
                proto_free(&(*kept)->base);
        *kept = (Drover__OperatorReply *) proto_copy(&reply->base);
        return 0;
}

int client_ask_one(struct client *client, Drover__OperatorRequest *request, Drover__OperatorReply **ret,
                   struct error *err) {
        *ret = NULL;
        if (client_ask(client, request, keep_reply, ret, err) < 0) {
                if (*ret)
                        proto_free(&(*ret)->base);
                *ret = NULL;
                return -1;
        }
        return *ret ? 0 : error_set(err, ERROR_PROTOCOL, "the controller gave no answer");
}

int client_ask_once(Drover__OperatorRequest *request, client_reply_fn fn, void *data, struct error *err) {
        struct client *client;
        if (client_open(&client, err) < 0)
                return -1;
        int r = client_ask(client, request, fn, data, err);
        client_close(client);
        return r;
}
