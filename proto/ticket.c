// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Tickets: made by the controller's authority, checked by agents and relay. A ticket is worth nothing to anyone but the
 * two hosts whose certificates it names, and to them only once. Pure, any thread.
 */
#include "proto/ticket.h"
#include "common/cleanup.h"
#include "common/name.h"
#include <string.h>

DEFINE_CLEANUP(proto_free, ProtobufCMessage *)

#define SIGNATURE_MAX 80

const char *ticket_path_word(int path) {
        switch (path) {
        case DROVER__TRANSFER_PATH__PATH_DIRECT:
                return "direct";
        case DROVER__TRANSFER_PATH__PATH_REVERSE:
                return "reverse";
        case DROVER__TRANSFER_PATH__PATH_RELAY:
                return "relay";
        default:
                return "unknown";
        }
}

static int check_form(const Drover__Ticket *ticket, struct error *err) {
        if (name_check_job(ticket->job, err) < 0 || name_check_target(ticket->disk, err) < 0 ||
            name_check_uuid(ticket->source_host, err) < 0 || name_check_uuid(ticket->sink_host, err) < 0)
                return -1;
        if (strcmp(ticket->source_host, ticket->sink_host) == 0)
                return error_set(err, ERROR_DENIED, "source and sink are one host");
        if (ticket->source_certificate_sha256.len != 32 || ticket->sink_certificate_sha256.len != 32)
                return error_set(err, ERROR_DENIED, "a certificate's SHA-256 is not 32 bytes long");
        if (ticket->nonce.len != TICKET_NONCE)
                return error_set(err, ERROR_DENIED, "the nonce is not %d bytes long", TICKET_NONCE);
        if (ticket->path < DROVER__TRANSFER_PATH__PATH_DIRECT || ticket->path > DROVER__TRANSFER_PATH__PATH_RELAY)
                return error_set(err, ERROR_DENIED, "path %d is not known", (int) ticket->path);
        return 0;
}

int ticket_sign(const Drover__Ticket *ticket, EVP_PKEY *key, struct buffer *signed_ticket, struct error *err) {
        _cleanup_(buffer_fini) struct buffer plain;
        buffer_init(&plain, TICKET_MAX);
        if (check_form(ticket, err) < 0 || proto_pack(&ticket->base, &plain, err) < 0)
                return error_prefix(err, "sign a ticket");
        uint8_t signature[SIGNATURE_MAX];
        size_t signature_length = sizeof signature;
        if (pki_sign(key, plain.data, plain.length, signature, &signature_length, err) < 0)
                return error_prefix(err, "sign a ticket");
        Drover__SignedTicket outer = DROVER__SIGNED_TICKET__INIT;
        outer.ticket = (ProtobufCBinaryData){plain.length, plain.data};
        outer.signature = (ProtobufCBinaryData){signature_length, signature};
        return proto_pack(&outer.base, signed_ticket, err);
}

static int check_signature(const Drover__SignedTicket *outer, EVP_PKEY *key, struct error *err) {
        if (outer->ticket.len == 0 || outer->signature.len == 0 || outer->signature.len > SIGNATURE_MAX)
                return error_set(err, ERROR_DENIED, "the ticket is not signed");
        if (pki_verify(key, outer->ticket.data, outer->ticket.len, outer->signature.data, outer->signature.len, NULL) <
            0)
                return error_set(err, ERROR_DENIED, "the ticket is not signed by this fleet's controller");
        return 0;
}

int ticket_open(const uint8_t *bytes, size_t length, EVP_PKEY *controller_key, int64_t now, Drover__Ticket **ret,
                struct error *err) {
        _cleanup_(proto_free_p) ProtobufCMessage *outer = NULL, *inner = NULL;
        if (length == 0)
                return error_set(err, ERROR_DENIED, "there is no ticket");
        if (length > TICKET_MAX)
                return error_set(err, ERROR_DENIED, "a ticket of %zu bytes is over the bound of %u", length,
                                 TICKET_MAX);
        if (proto_unpack(&drover__signed_ticket__descriptor, bytes, length, &outer, NULL) < 0)
                return error_set(err, ERROR_DENIED, "the ticket is malformed");
        const Drover__SignedTicket *signed_ticket = (const Drover__SignedTicket *) outer;
        if (check_signature(signed_ticket, controller_key, err) < 0)
                return -1;
        if (proto_unpack(&drover__ticket__descriptor, signed_ticket->ticket.data, signed_ticket->ticket.len, &inner,
                         NULL) < 0)
                return error_set(err, ERROR_DENIED, "the ticket is malformed");
        Drover__Ticket *ticket = (Drover__Ticket *) inner;
        struct error why = ERROR_INIT;
        if (check_form(ticket, &why) < 0)
                return error_set(err, ERROR_DENIED, "the ticket is malformed: %s", why.message);
        if (now > ticket->expires_at && now - ticket->expires_at > TICKET_GRACE)
                return error_set(err, ERROR_DENIED, "the ticket for job %s, disk %s expired %lld seconds ago",
                                 ticket->job, ticket->disk, (long long) (now - ticket->expires_at));
        inner = NULL;
        *ret = ticket;
        return 0;
}

static int differs(struct error *err, const char *what, const char *is, const char *expected) {
        return error_set(err, ERROR_DENIED, "the ticket is for %s %s, not for %s", what, is, expected);
}

static int match_text(const char *what, const char *is, const char *expected, struct error *err) {
        return expected && strcmp(is, expected) != 0 ? differs(err, what, is, expected) : 0;
}

static int match_certificate(const char *side, ProtobufCBinaryData is, const uint8_t *expected, struct error *err) {
        if (!expected || (is.len == 32 && memcmp(is.data, expected, 32) == 0))
                return 0;
        error_set(err, ERROR_DENIED, "the ticket is for another certificate of the %s host", side);
        error_hint(err, "a certificate was renewed or replaced after the ticket was made; retry the job");
        return -1;
}

int ticket_match(const Drover__Ticket *ticket, const struct ticket_expectation *expected, struct error *err) {
        if (match_text("job", ticket->job, expected->job, err) < 0 ||
            match_text("disk", ticket->disk, expected->disk, err) < 0)
                return -1;
        if (expected->attempt && ticket->attempt != expected->attempt)
                return error_set(err, ERROR_DENIED, "the ticket is for attempt %u, not for %u", ticket->attempt,
                                 expected->attempt);
        if (match_text("source host", ticket->source_host, expected->source_host, err) < 0 ||
            match_text("sink host", ticket->sink_host, expected->sink_host, err) < 0)
                return -1;
        if (match_certificate("source", ticket->source_certificate_sha256, expected->source_certificate_sha256, err) <
                    0 ||
            match_certificate("sink", ticket->sink_certificate_sha256, expected->sink_certificate_sha256, err) < 0)
                return -1;
        if (expected->path && (int) ticket->path != expected->path)
                return differs(err, "the path", ticket_path_word((int) ticket->path), ticket_path_word(expected->path));
        return 0;
}
