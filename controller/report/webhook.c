// SPDX-License-Identifier: LGPL-2.1-or-later
/* One POST with a signature, and what an answer means for trying again. One thread at a time: see the header. */
#include "controller/report/webhook.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/memory.h"
#include "common/worker.h"
#include "controller/report/secret.h"
#include <openssl/evp.h>
#include <string.h>

#define SCHEMES    "http,https"
#define ANSWER_MAX (64u << 10) // bytes of the answer that are waited for; none of them counts

struct webhook_private {
        struct webhook_target target;
        char *ca_file, *peer;
        uint32_t timeout_ms;
        uint8_t *body;
        size_t length, answered;
        struct transport transport;
        atomic_bool cancelled;
        webhook_fn done;
        void *data;
};

void webhook_target_fini(struct webhook_target *target) {
        free(target->url);
        free(target->secret_file);
        *target = (struct webhook_target){0};
}

int webhook_target_parse(const char *text, struct webhook_target *ret, struct error *err) {
        size_t length = strcspn(text, " ");
        const char *file = text + length + strspn(text + length, " ");
        _cleanup_(free_p) char *url = memory_format("%.*s", (int) length, text);
        if (file[0] != '/') {
                error_set(err, ERROR_INVALID,
                          "a webhook has a URL, a space, and the whole path of the file with its secret");
                error_hint(err, "- https://hooks.example.org/drover /etc/drover/webhook.secret");
                return -1;
        }
        if (transport_check_url(url, SCHEMES, true, NULL, err) < 0)
                return error_prefix(err, "a webhook's URL");
        *ret = (struct webhook_target){.url = steal(&url), .secret_file = memory_string(file)};
        return 0;
}

int webhook_new(const struct webhook_target *target, const char *ca_file, uint32_t timeout_ms, const void *body,
                size_t length, struct webhook **ret, struct error *err) {
        _cleanup_(free_p) char *peer = NULL;
        void *bytes = NULL;
        if (length > WEBHOOK_BODY_MAX)
                return error_set(err, ERROR_TOO_LARGE, "a webhook's body has %zu bytes, and may have %u", length,
                                 WEBHOOK_BODY_MAX);
        if (transport_check_url(target->url, SCHEMES, true, &peer, err) < 0)
                return error_prefix(err, "a webhook's URL");
        if (memory_try(length + 1, &bytes, err) < 0)
                return -1;
        struct webhook *webhook = new (struct webhook);
        webhook->own = new (struct webhook_private);
        *webhook->own = (struct webhook_private){
                .target = {memory_string(target->url), memory_string(target->secret_file)},
                .ca_file = memory_string(ca_file),
                .peer = steal(&peer),
                .timeout_ms = timeout_ms ? timeout_ms : WEBHOOK_MS,
                .body = memcpy(bytes, body, length),
                .length = length,
        };
        *ret = webhook;
        return 0;
}

void webhook_free(struct webhook *webhook) {
        if (!webhook)
                return;
        webhook_target_fini(&webhook->own->target);
        free(webhook->own->ca_file);
        free(webhook->own->peer);
        free(webhook->own->body);
        free(webhook->own);
        free(webhook);
}

int webhook_sign(const void *secret, size_t secret_length, int64_t seconds, const void *body, size_t length,
                 char ret_signature[WEBHOOK_SIGNATURE_MAX], struct error *err) {
        char prefix[32];
        uint8_t digest[EVP_MAX_MD_SIZE];
        size_t digest_length = sizeof(digest);
        int prefix_length = snprintf(prefix, sizeof(prefix), "%lld.", (long long) seconds);
        EVP_MD_CTX *context = EVP_MD_CTX_new();
        EVP_PKEY *key = EVP_PKEY_new_raw_private_key(EVP_PKEY_HMAC, NULL, secret, secret_length);
        bool right = context && key && EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL, key) == 1 &&
                     EVP_DigestSignUpdate(context, prefix, (size_t) prefix_length) == 1 &&
                     EVP_DigestSignUpdate(context, body, length) == 1 &&
                     EVP_DigestSignFinal(context, digest, &digest_length) == 1;
        EVP_PKEY_free(key);
        EVP_MD_CTX_free(context);
        if (!right || digest_length != 32)
                return error_set(err, ERROR_FAILED, "a webhook's body cannot be signed");
        int at = snprintf(ret_signature, WEBHOOK_SIGNATURE_MAX, "t=%lld,v1=", (long long) seconds);
        for (size_t i = 0; i < digest_length; i++)
                at += snprintf(ret_signature + at, WEBHOOK_SIGNATURE_MAX - (size_t) at, "%02x", digest[i]);
        return 0;
}

// ---- the POST

static size_t on_answer(char *bytes, size_t size, size_t n, void *data) {
        struct webhook_private *own = data;
        (void) bytes;
        own->answered += size * n;
        return own->answered > ANSWER_MAX ? 0 : size * n; // 0 breaks off; the status has been read
}

static int signature(struct webhook_private *own, char **ret_header, struct error *err) {
        struct buffer secret;
        char text[WEBHOOK_SIGNATURE_MAX];
        buffer_init(&secret, SECRET_MAX + 1);
        if (secret_read(own->target.secret_file, WEBHOOK_SECRET_MIN, &secret, err) < 0) {
                error_hint(err, "openssl rand -base64 32 makes a secret");
                return error_prefix(err, "webhook %s", own->peer);
        }
        int r = webhook_sign(secret.data, secret.length, clock_wall(&system_clock), own->body, own->length, text, err);
        secret_fini(&secret);
        if (r == 0)
                *ret_header = memory_format("Drover-Signature: %s", text);
        return r;
}

static int set_headers(struct webhook_private *own, const char *signed_with, struct curl_slist **list,
                       struct error *err) {
        const char *const headers[] = {"Content-Type: application/json", "Accept:", "Expect:", signed_with};
        for (size_t i = 0; i < ARRAY_SIZE(headers); i++) {
                struct curl_slist *longer = curl_slist_append(*list, headers[i]);
                if (!longer)
                        return error_set(err, ERROR_NO_MEMORY, "no memory");
                *list = longer;
        }
        CURL *easy = own->transport.easy;
        curl_easy_setopt(easy, CURLOPT_HTTPHEADER, *list);
        curl_easy_setopt(easy, CURLOPT_USERAGENT, "drover/" DROVER_VERSION);
        curl_easy_setopt(easy, CURLOPT_URL, own->target.url);
        curl_easy_setopt(easy, CURLOPT_POST, 1L);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t) own->length);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, (const char *) own->body);
        curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_answer);
        curl_easy_setopt(easy, CURLOPT_WRITEDATA, own);
        return 0;
}

static bool is_denied(long status) {
        return status == 401 || status == 403 || status == 407;
}

// 401, 403 and 407 can be mended by settings and secrets. 408, 425 and 429 say that it is too early or too much, and
// what begins with 5 that the other side is not well.
static enum outcome outcome_of(long status) {
        if (status >= 200 && status < 300)
                return OUTCOME_DONE;
        bool later = is_denied(status) || status == 408 || status == 425 || status == 429 || status >= 500;
        return later ? OUTCOME_LATER : OUTCOME_NEVER;
}

// A status decides, whatever becomes of the rest of the answer: posted again, the receiver would have it twice.
static void judge(struct webhook *webhook, CURLcode code, long status) {
        const struct webhook_private *own = webhook->own;
        struct error *err = &webhook->error;
        if (status < 200) {
                transport_error(&own->transport, code, own->peer, err);
                error_prefix(err, "webhook");
                return;
        }
        webhook->outcome = outcome_of(status);
        if (webhook->outcome == OUTCOME_DONE)
                return;
        error_set(err, is_denied(status) ? ERROR_DENIED : ERROR_REFUSED, "webhook %s: the answer is %ld", own->peer,
                  status);
        if (status >= 300 && status < 400)
                error_hint(err, "redirections are not followed: put the URL to which it leads into controller.yaml");
        else if (status == 401 || status == 403)
                error_hint(err, "does the receiver have the same secret, and the right time?");
        else if (status == 407)
                error_hint(err, "the proxy in the controller's environment wants a user and a password");
        else if (status == 404 || status == 405 || status == 410)
                error_hint(err, "is the URL in controller.yaml right, and does it take a POST?");
}

int webhook_post(struct webhook *webhook) {
        struct webhook_private *own = webhook->own;
        _cleanup_(free_p) char *header = NULL;
        struct curl_slist *list = NULL;
        long status = 0;
        if (signature(own, &header, &webhook->error) < 0 ||
            transport_init(&own->transport, SCHEMES, own->ca_file, &own->cancelled, &webhook->error) < 0)
                return -1;
        if (set_headers(own, header, &list, &webhook->error) == 0) {
                CURLcode code = transport_perform(&own->transport, own->timeout_ms);
                curl_easy_getinfo(own->transport.easy, CURLINFO_RESPONSE_CODE, &status);
                judge(webhook, code, status);
        }
        transport_fini(&own->transport);
        curl_slist_free_all(list);
        return webhook->outcome == OUTCOME_DONE ? 0 : -1;
}

static void on_work(void *data) {
        webhook_post(data);
}

static void on_done(void *data) {
        struct webhook *webhook = data;
        webhook->own->done(webhook, webhook->own->data);
}

void webhook_start(struct webhook *webhook, uv_loop_t *loop, webhook_fn done, void *data) {
        webhook->own->done = done;
        webhook->own->data = data;
        worker_run(loop, on_work, on_done, webhook);
}

void webhook_cancel(struct webhook *webhook) {
        atomic_store(&webhook->own->cancelled, true);
}
