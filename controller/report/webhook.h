// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * A JSON body posted to somebody's URL, with a signature by which the receiver knows that it comes from here and is
 * new: Drover-Signature: t=<seconds since 1970>,v1=<HMAC-SHA-256 of "t.body" under the secret, in hex>
 *
 * webhook_post() blocks (libcurl) and belongs on a worker thread, which webhook_start() sees to; until `done` the
 * webhook is that thread's, but for webhook_cancel(). A URL's path may itself be a secret: errors show scheme, host
 * and port only.
 */
#include "controller/report/transport.h"
#include <uv.h>

#define WEBHOOK_MS         30000u
#define WEBHOOK_BODY_MAX   (8u << 20)
#define WEBHOOK_SECRET_MIN 16u // bytes
#define WEBHOOKS_MAX       16u // in the settings

struct webhook_target {
        char *url;         // http:// or https://
        char *secret_file; // its first line is the secret
};
// "URL SECRET_FILE", as the settings have it; the caller calls webhook_target_fini().
int webhook_target_parse(const char *text, struct webhook_target *ret, struct error *err);
void webhook_target_fini(struct webhook_target *target);

struct webhook {
        enum outcome outcome;
        struct error error; // when not OUTCOME_DONE: says what to do
        // The rest is webhook.c's.
        struct webhook_private *own;
};
typedef void (*webhook_fn)(struct webhook *webhook, void *data);

// All is copied. ca_file NULL: the system's authorities; timeout_ms 0: WEBHOOK_MS.
int webhook_new(const struct webhook_target *target, const char *ca_file, uint32_t timeout_ms, const void *body,
                size_t length, struct webhook **ret, struct error *err);
void webhook_free(struct webhook *webhook); // not between webhook_start() and `done`
// Once; 0 when OUTCOME_DONE: any answer of 200 to 299. Redirections are not followed.
int webhook_post(struct webhook *webhook);
// webhook_post() on a thread of libuv's pool; `done` on the loop's thread, always and not from within this call.
void webhook_start(struct webhook *webhook, uv_loop_t *loop, webhook_fn done, void *data);
void webhook_cancel(struct webhook *webhook); // any thread; ends within about a second

#define WEBHOOK_SIGNATURE_MAX 96
// The header's value.
int webhook_sign(const void *secret, size_t secret_length, int64_t seconds, const void *body, size_t length,
                 char ret_signature[WEBHOOK_SIGNATURE_MAX], struct error *err);
