// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Joining. The counters of addresses are a fixed table: an address that is new takes the place of the one whose minute
 * began longest ago, so that no number of addresses makes it grow. Loop thread.
 */
#include "controller/session/join_link.h"
#include "common/log.h"
#include "common/memory.h"
#include "controller/session/audit.h"
#include "controller/session/context.h"
#include <stdio.h>
#include <string.h>

#define ADDRESSES_MAX 512u
#define MINUTE_MS     60000u

struct join_rates {
        struct {
                char address[CONNECTION_ADDRESS_MAX];
                uint64_t began_ms;
                unsigned n;
        } rows[ADDRESSES_MAX];
};

struct join_rates *join_rates_new(void) {
        return new (struct join_rates);
}

void join_rates_free(struct join_rates *rates) {
        free(rates);
}

static unsigned row_of(const struct join_rates *rates, const char *address) {
        unsigned oldest = 0;
        for (unsigned i = 0; i < ADDRESSES_MAX; i++) {
                if (strcmp(rates->rows[i].address, address) == 0)
                        return i;
                if (rates->rows[i].began_ms < rates->rows[oldest].began_ms)
                        oldest = i;
        }
        return oldest;
}

static void count_failure(struct session *session, const char *address) {
        struct join_rates *rates = session->join_rates;
        uint64_t now = clock_ms(session->clock);
        unsigned row = row_of(rates, address);
        if (strcmp(rates->rows[row].address, address) != 0 || now - rates->rows[row].began_ms >= MINUTE_MS) {
                snprintf(rates->rows[row].address, sizeof(rates->rows[row].address), "%s", address);
                rates->rows[row].began_ms = now;
                rates->rows[row].n = 0;
        }
        rates->rows[row].n++;
}

static int check_rate(struct session *session, const char *address, struct error *err) {
        const struct join_rates *rates = session->join_rates;
        unsigned row = row_of(rates, address), most = session->limits.failed_joins_per_minute;
        if (strcmp(rates->rows[row].address, address) != 0 || rates->rows[row].n < most ||
            clock_ms(session->clock) - rates->rows[row].began_ms >= MINUTE_MS)
                return 0;
        return error_set(err, ERROR_BUSY, "%u tries to join from %s have failed in a minute; wait one", most, address);
}

static void record(struct connection *connection, const Drover__JoinReply *reply, const struct error *why) {
        struct audit_entry entry = {.address = connection->address, .why = why};
        char object[NAME_SITE_MAX + NAME_USER_MAX + 2] = "";
        bool host = reply && reply->uuid[0];
        if (reply)
                snprintf(object, sizeof(object), "%s%s%s", reply->site, host ? "/" : "", reply->name);
        entry.user = reply && !host ? reply->name : "";
        entry.role = reply ? reply->role : "";
        entry.verb = !reply ? "join" : host ? "host join" : "user login";
        entry.object = object;
        audit_add(connection->session, &entry);
}

static int send_reply(struct connection *connection, Drover__JoinReply *reply, struct error *err) {
        Drover__JoinEnvelope envelope = DROVER__JOIN_ENVELOPE__INIT;
        envelope.body_case = DROVER__JOIN_ENVELOPE__BODY_REPLY;
        envelope.reply = reply;
        return connection_send(connection, &envelope.base, err);
}

static int on_request(struct connection *connection, const Drover__JoinRequest *request, struct error *err) {
        struct session *session = connection->session;
        Drover__JoinReply *reply = NULL;
        if (check_rate(session, connection->address, err) < 0)
                return -1;
        int r = authority_join(session->authority, request, &reply, err);
        record(connection, r == 0 ? reply : NULL, err);
        if (r < 0) {
                count_failure(session, connection->address);
                return -1;
        }
        if (reply->uuid[0])
                fleet_host_add(session->fleet, reply->uuid, reply->site, reply->name);
        log_info(reply->uuid[0] ? "host joined" : "user joined", "site", reply->site, "name", reply->name, "address",
                 connection->address, "software", request->software, NULL);
        r = send_reply(connection, reply, err);
        proto_free(&reply->base);
        link_close(connection->link);
        return r;
}

static int on_frame(struct connection *connection, const uint8_t *bytes, size_t length, struct error *err) {
        Drover__JoinEnvelope *envelope;
        if (PROTO_UNPACK(join_envelope, bytes, length, &envelope, err) < 0)
                return -1;
        int r = envelope->body_case == DROVER__JOIN_ENVELOPE__BODY_REQUEST
                        ? on_request(connection, envelope->request, err)
                        : error_set(err, ERROR_PROTOCOL, "a joiner sent \"%s\"; only a request to join is taken here",
                                    proto_oneof_name(&envelope->base, "body"));
        proto_free(&envelope->base);
        return r;
}

static int on_open(struct connection *connection, struct error *err) {
        (void) err;
        connection->state = connection; // nothing to remember
        return 0;
}

static void on_gone(struct connection *connection, const struct error *why) {
        log_failure(why->code == ERROR_DENIED || why->code == ERROR_BUSY ? LOG_LEVEL_WARNING : LOG_LEVEL_DEBUG,
                    "joining ended", why, "address", connection->address, NULL);
}

static void refuse(struct connection *connection, Drover__Failure *failure) {
        Drover__JoinEnvelope envelope = DROVER__JOIN_ENVELOPE__INIT;
        envelope.body_case = DROVER__JOIN_ENVELOPE__BODY_FAILURE;
        envelope.failure = failure;
        connection_send(connection, &envelope.base, NULL);
}

const struct protocol join_protocol = {.alpn = TLS_ALPN_JOIN,
                                       .peer = IDENTITY_NONE,
                                       .frame_max = FRAME_MAX_JOIN,
                                       .open = on_open,
                                       .frame = on_frame,
                                       .gone = on_gone,
                                       .refuse = refuse};
