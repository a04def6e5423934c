// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * Transfer tickets: the controller signs what one transfer may be, both agents (and the relay) check it. Pure; single
 * use is kept by whoever accepts it (ticket_ledger).
 */
#include "proto/codec.h"
#include "common/pki.h"

#define TICKET_NONCE      16
#define TICKET_MAX        1024u // bytes of a signed ticket
#define TICKET_GRACE      300   // seconds that clocks may differ by
#define TICKET_LEDGER_MAX 8192u // uses remembered at once

int ticket_sign(const Drover__Ticket *ticket, EVP_PKEY *key, struct buffer *signed_ticket, struct error *err);
// Checks signature, form, and expiry against `now` (wall seconds, 5 min of grace for clocks). ERROR_DENIED says which.
int ticket_open(const uint8_t *bytes, size_t length, EVP_PKEY *controller_key, int64_t now, Drover__Ticket **ret,
                struct error *err);
// What the side that checks expects; NULL/0 members are not checked. ERROR_DENIED names the first that differs.
struct ticket_expectation {
        const char *job, *disk;
        uint32_t attempt;
        const char *source_host, *sink_host;
        const uint8_t *source_certificate_sha256, *sink_certificate_sha256; // 32 bytes
        int path;                                                           // enum, 0: any
};
int ticket_match(const Drover__Ticket *ticket, const struct ticket_expectation *expected, struct error *err);
const char *ticket_path_word(int path); // "direct", "reverse", "relay"; "unknown"

// Uses of tickets, until the tickets expire. Thread-safe. When TICKET_LEDGER_MAX unexpired uses are remembered a
// further one is refused with ERROR_BUSY: forgetting one would allow it twice.
struct ticket_ledger;
struct ticket_ledger *ticket_ledger_new(void);
void ticket_ledger_free(struct ticket_ledger *ledger);
int ticket_ledger_use(struct ticket_ledger *ledger, const Drover__Ticket *ticket, int64_t now,
                      struct error *err); // ERROR_DENIED: used before
// One ticket serves every stream of its transfer, each once: `part` says which. An agent uses the stream's number; the
// relay, which sees both sides, the stream's number times two, plus one for the source.
int ticket_ledger_use_part(struct ticket_ledger *ledger, const Drover__Ticket *ticket, uint32_t part, int64_t now,
                           struct error *err);
