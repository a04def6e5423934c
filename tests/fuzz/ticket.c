// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Tickets and tokens. The first byte chooses: a signed ticket as it comes over the wire; a ticket that the controller
 * itself has signed, whatever stands in it; a join token as it is pasted.
 */
#include "proto/ticket.h"
#include "proto/token.h"
#include <stdlib.h>
#include <string.h>

#define NOW 1800000000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static EVP_PKEY *key(void) {
        static EVP_PKEY *made;
        if (!made && pki_new_key(&made, NULL) < 0)
                abort();
        return made;
}

// Nothing that the fuzzer can make up carries the controller's signature.
static void open_forged(const uint8_t *bytes, size_t length) {
        Drover__Ticket *ticket = NULL;
        struct error err = ERROR_INIT;
        if (ticket_open(bytes, length, key(), NOW, &ticket, &err) == 0 || err.code != ERROR_DENIED)
                abort();
}

static void open_signed(const uint8_t *bytes, size_t length) {
        Drover__SignedTicket outer = DROVER__SIGNED_TICKET__INIT;
        Drover__Ticket *ticket = NULL;
        struct buffer packed;
        uint8_t signature[80];
        size_t signature_length = sizeof signature;
        if (pki_sign(key(), bytes, length, signature, &signature_length, NULL) < 0)
                abort();
        outer.ticket = (ProtobufCBinaryData){length, (uint8_t *) bytes};
        outer.signature = (ProtobufCBinaryData){signature_length, signature};
        buffer_init(&packed, 0);
        if (PROTO_PACK(&outer, &packed, NULL) == 0 &&
            ticket_open(packed.data, packed.length, key(), NOW, &ticket, NULL) == 0) {
                struct ticket_expectation itself = {
                        .job = ticket->job, .disk = ticket->disk, .path = (int) ticket->path};
                struct ticket_ledger *ledger = ticket_ledger_new();
                if (ticket_match(ticket, &itself, NULL) < 0 || ticket_ledger_use(ledger, ticket, NOW, NULL) < 0 ||
                    ticket_ledger_use(ledger, ticket, NOW, NULL) == 0)
                        abort();
                ticket_ledger_free(ledger);
                proto_free(&ticket->base);
        }
        buffer_fini(&packed);
}

// What is taken for a token can be written down again, and means the same.
static void decode_token(const uint8_t *bytes, size_t length) {
        char *text = strndup((const char *) bytes, length);
        Drover__JoinToken *token = NULL, *again = NULL;
        struct buffer written;
        buffer_init(&written, 0);
        if (token_decode(text, &token, NULL) == 0) {
                if (token_encode(token, &written, NULL) == 0) {
                        char *copy = buffer_steal_text(&written);
                        if (token_decode(copy, &again, NULL) < 0 || strcmp(again->token_id, token->token_id) != 0)
                                abort();
                        proto_free(&again->base);
                        free(copy);
                }
                proto_free(&token->base);
        }
        buffer_fini(&written);
        free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        if (size < 2)
                return 0;
        switch (data[0] % 3) {
        case 0:
                open_forged(data + 1, size - 1);
                break;
        case 1:
                open_signed(data + 1, size - 1);
                break;
        default:
                decode_token(data + 1, size - 1);
        }
        return 0;
}
