// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Which tickets have been used (ticket.h). An array, looked through in full: a host runs a handful of transfers at a
 * time, and expired uses leave it whenever one is added. Guarded by its own mutex, any thread.
 */
#include "proto/ticket.h"
#include "common/memory.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct use {
        uint8_t nonce[TICKET_NONCE];
        uint32_t part;
        int64_t forget_at;
};

struct ticket_ledger {
        pthread_mutex_t mutex;
        struct use *uses;
        size_t n, capacity;
};

struct ticket_ledger *ticket_ledger_new(void) {
        struct ticket_ledger *ledger = new (struct ticket_ledger);
        pthread_mutex_init(&ledger->mutex, NULL);
        return ledger;
}

void ticket_ledger_free(struct ticket_ledger *ledger) {
        if (!ledger)
                return;
        pthread_mutex_destroy(&ledger->mutex);
        free(ledger->uses);
        free(ledger);
}

static void forget_expired(struct ticket_ledger *ledger, int64_t now) {
        size_t kept = 0;
        for (size_t i = 0; i < ledger->n; i++)
                if (ledger->uses[i].forget_at >= now)
                        ledger->uses[kept++] = ledger->uses[i];
        ledger->n = kept;
}

static bool used(const struct ticket_ledger *ledger, const uint8_t *nonce, uint32_t part) {
        for (size_t i = 0; i < ledger->n; i++)
                if (ledger->uses[i].part == part && memcmp(ledger->uses[i].nonce, nonce, TICKET_NONCE) == 0)
                        return true;
        return false;
}

static int use_locked(struct ticket_ledger *ledger, const Drover__Ticket *ticket, uint32_t part, int64_t now,
                      struct error *err) {
        forget_expired(ledger, now);
        if (used(ledger, ticket->nonce.data, part))
                return error_set(err, ERROR_DENIED, "the ticket for job %s, disk %s has been used before", ticket->job,
                                 ticket->disk);
        if (ledger->n == TICKET_LEDGER_MAX)
                return error_set(err, ERROR_BUSY, "%u tickets are in use; no further one is accepted now",
                                 TICKET_LEDGER_MAX);
        if (ledger->n == ledger->capacity) {
                ledger->capacity = ledger->capacity ? ledger->capacity * 2 : 16;
                ledger->uses = memory_grow(ledger->uses, ledger->capacity, sizeof *ledger->uses);
        }
        struct use *use = &ledger->uses[ledger->n++];
        memcpy(use->nonce, ticket->nonce.data, TICKET_NONCE);
        use->part = part;
        // ticket_open() refuses it from the second after the grace on, so that it may be forgotten then.
        use->forget_at = ticket->expires_at > INT64_MAX - TICKET_GRACE ? INT64_MAX : ticket->expires_at + TICKET_GRACE;
        return 0;
}

int ticket_ledger_use_part(struct ticket_ledger *ledger, const Drover__Ticket *ticket, uint32_t part, int64_t now,
                           struct error *err) {
        if (ticket->nonce.len != TICKET_NONCE)
                return error_set(err, ERROR_DENIED, "the nonce is not %d bytes long", TICKET_NONCE);
        pthread_mutex_lock(&ledger->mutex);
        int result = use_locked(ledger, ticket, part, now, err);
        pthread_mutex_unlock(&ledger->mutex);
        return result;
}

int ticket_ledger_use(struct ticket_ledger *ledger, const Drover__Ticket *ticket, int64_t now, struct error *err) {
        return ticket_ledger_use_part(ledger, ticket, 0, now, err);
}
