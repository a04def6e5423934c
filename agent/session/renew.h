// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * Renewing this host's certificate, over the open link, when two thirds of its life are over. Lives on the loop.
 *
 * A new key and a CSR go out with a RenewRequest; the reply is checked (our key, our identity, our authority), stored
 * as a whole, and given to `renewed`. The link that is open goes on under the old certificate, so nothing in flight is
 * lost; the next link and every data connection from then on show the new one. The controller issued it, so it binds
 * the tickets of this host to the newest certificate that it has issued or seen. A ticket that crosses a renewal is
 * refused, and its step is tried again with a new one.
 */
#include "common/clock.h"
#include "common/tls.h"
#include "proto/codec.h"
#include <uv.h>

struct renewal;
struct renewal_hooks {
        int (*send)(const Drover__RenewRequest *request, void *data, struct error *err);
        void (*renewed)(struct tls_credentials *credentials, void *data); // a reference that the callee keeps
        void *data;
};
// Reads <state_directory>/host.crt and ca.crt. The directory's name is copied.
int renewal_new(uv_loop_t *loop, const char *state_directory, const struct clock *clock,
                const struct renewal_hooks *hooks, struct renewal **ret, struct error *err);
void renewal_free(struct renewal *renewal);
void renewal_begin(struct renewal *renewal); // a link is open: renews now if it is due, else watches
void renewal_end(struct renewal *renewal);   // the link is gone; an unanswered request is forgotten
void renewal_reply(struct renewal *renewal, const Drover__RenewReply *reply); // logs what is wrong with it
// When a certificate with this life is to be renewed, seconds since 1970.
int64_t renewal_due(int64_t not_before, int64_t not_after);
