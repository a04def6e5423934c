// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * What this end of a transfer was told to do, checked: its ticket, its side, whom to expect. Owned by the call of
 * transfer_send() or transfer_receive(); read-only once open, so its threads share it.
 */
#include "agent/transfer/flow.h"
#include "common/tls.h"
#include "proto/ticket.h"

struct standing { // what the agent is at this moment: a snapshot, with references of its own
        struct tls_credentials *credentials;
        EVP_PKEY *controller_key;
        char *relay_address;
};
void standing_fini(struct standing *standing);

struct order {
        struct standing standing;
        Drover__Ticket *ticket;
        ProtobufCBinaryData ticket_bytes; // borrowed from the TransferOrder
        const char *disk;
        const char *peer_address; // borrowed; "" when the peer dials
        uint16_t peer_port;
        uint64_t rate;
        unsigned streams; // the conversation, and those that carry blocks
        bool source;
        int path;
};
// Takes over the standing. ERROR_DENIED and words that say which part of the ticket is not right.
int order_open(struct order *order, struct standing *standing, const Drover__TransferOrder *message, const char *disk,
               bool source, int64_t now, struct error *err);
void order_fini(struct order *order);
// Whether this peer, known by its certificate, is the ticket's other side.
int order_check_peer(const struct order *order, const struct identity *peer, struct error *err);
// Whether the ticket that the peer shows is the one of this order, too.
int order_check_ticket(const struct order *order, ProtobufCBinaryData bytes, int64_t now, struct error *err);
bool order_dials(const struct order *order);            // this end dials (relayed: both do)
const char *order_peer_word(const struct order *order); // "the sink"
