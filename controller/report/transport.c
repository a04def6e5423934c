// SPDX-License-Identifier: LGPL-2.1-or-later
/* One libcurl handle, its bounds, and libcurl's errors in our words. Each handle belongs to one thread at a time. */
#include "controller/report/transport.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/memory.h"
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#define URL_MAX 2048u

DEFINE_CLEANUP(curl_url_cleanup, CURLU *)

static void curl_text_p(char **text) {
        curl_free(*text);
}

static CURLcode global_result;

static void global_init(void) {
        global_result = curl_global_init(CURL_GLOBAL_DEFAULT);
}

static int on_progress(void *data, curl_off_t down, curl_off_t down_now, curl_off_t up, curl_off_t up_now) {
        const struct transport *transport = data;
        (void) down, (void) down_now, (void) up, (void) up_now;
        return atomic_load(transport->cancelled) || clock_ms(&system_clock) > transport->deadline_ms;
}

int transport_init(struct transport *transport, const char *schemes, const char *ca_file, const atomic_bool *cancelled,
                   struct error *err) {
        static pthread_once_t once = PTHREAD_ONCE_INIT;
        pthread_once(&once, global_init);
        *transport = (struct transport){.cancelled = cancelled};
        if (ca_file && access(ca_file, R_OK) < 0) {
                error_set(err, ERROR_NOT_FOUND, "%s: the authorities' certificates cannot be read", ca_file);
                error_hint(err, "it is a file of PEM certificates that the controller's user may read");
                return -1;
        }
        CURL *easy = global_result == CURLE_OK ? curl_easy_init() : NULL;
        if (!easy)
                return error_set(err, ERROR_NO_MEMORY, "libcurl cannot be used");
        transport->easy = easy;
        curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transport->text);
        curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
        curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L); // no waiting at the end for a resolver that does not answer
        curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, schemes);
        curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
        curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long) CURL_SSLVERSION_TLSv1_2);
        curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long) TRANSPORT_CONNECT_MS);
        curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 0L);
        curl_easy_setopt(easy, CURLOPT_XFERINFOFUNCTION, on_progress);
        curl_easy_setopt(easy, CURLOPT_XFERINFODATA, transport);
        if (ca_file) {
                curl_easy_setopt(easy, CURLOPT_CAINFO, ca_file);
                curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
        }
        return 0;
}

void transport_fini(struct transport *transport) {
        if (transport->easy)
                curl_easy_cleanup(transport->easy);
        transport->easy = NULL;
}

// libcurl's own bound does not hold while it takes leave of a server (QUIT), so there is a second one in on_progress().
CURLcode transport_perform(struct transport *transport, uint64_t total_ms) {
        transport->text[0] = '\0';
        transport->deadline_ms = clock_ms(&system_clock) + total_ms;
        curl_easy_setopt(transport->easy, CURLOPT_TIMEOUT_MS, (long) total_ms);
        CURLcode code = curl_easy_perform(transport->easy);
        return code == CURLE_ABORTED_BY_CALLBACK && !atomic_load(transport->cancelled) ? CURLE_OPERATION_TIMEDOUT
                                                                                       : code;
}

// ---- errors

static const struct {
        CURLcode code;
        enum error_code error;
        const char *text, *hint;
} reasons[] = {
        {CURLE_COULDNT_RESOLVE_HOST, ERROR_UNREACHABLE, "its name cannot be resolved",
         "getent hosts NAME, on the controller's machine"},
        {CURLE_COULDNT_RESOLVE_PROXY, ERROR_UNREACHABLE, "the proxy's name cannot be resolved", NULL},
        {CURLE_COULDNT_CONNECT, ERROR_UNREACHABLE, "no connection",
         "is it running, is the port right, and does a firewall let the controller through?"},
        {CURLE_OPERATION_TIMEDOUT, ERROR_TIMEOUT, "no answer in time", "is it overloaded, and is this the right port?"},
        {CURLE_ABORTED_BY_CALLBACK, ERROR_CANCELLED, "cancelled", NULL},
        {CURLE_SSL_CONNECT_ERROR, ERROR_TLS, "no TLS session",
         "does this port begin with TLS (smtps, https), and does it speak TLS 1.2 or later?"},
        {CURLE_PEER_FAILED_VERIFICATION, ERROR_TLS, "its certificate is refused",
         "name the file with its authority's certificate in controller.yaml, and the server as its certificate does"},
        {CURLE_SSL_CACERT_BADFILE, ERROR_TLS, "the file of authorities' certificates cannot be used",
         "it is a file of PEM certificates that the controller's user may read"},
        {CURLE_GOT_NOTHING, ERROR_UNREACHABLE, "the connection was closed without an answer", NULL},
        {CURLE_SEND_ERROR, ERROR_UNREACHABLE, "the connection broke off", NULL},
        {CURLE_RECV_ERROR, ERROR_UNREACHABLE, "the connection broke off", NULL},
        {CURLE_PARTIAL_FILE, ERROR_UNREACHABLE, "the connection broke off", NULL},
        {CURLE_OUT_OF_MEMORY, ERROR_NO_MEMORY, "no memory", NULL},
};

int transport_error(const struct transport *transport, CURLcode code, const char *peer, struct error *err) {
        for (size_t i = 0; i < ARRAY_SIZE(reasons); i++) {
                if (reasons[i].code != code)
                        continue;
                bool more = reasons[i].error == ERROR_TLS && transport->text[0];
                error_set(err, reasons[i].error, "%s: %s%s%s", peer, reasons[i].text, more ? ": " : "",
                          more ? transport->text : "");
                if (reasons[i].hint)
                        error_hint(err, "%s", reasons[i].hint);
                return -1;
        }
        return error_set(err, ERROR_FAILED, "%s: %s", peer, curl_easy_strerror(code));
}

// ---- URLs

static bool is_among(const char *word, const char *list) {
        size_t length = strlen(word);
        for (const char *at = list; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL)
                if (strncmp(at, word, length) == 0 && (at[length] == ',' || at[length] == '\0'))
                        return true;
        return false;
}

static bool has(CURLU *url, CURLUPart part) {
        _cleanup_(curl_text_p) char *text = NULL;
        return curl_url_get(url, part, &text, 0) == CURLUE_OK && strcmp(text, part == CURLUPART_PATH ? "/" : "") != 0;
}

static bool is_ascii(const char *text) {
        for (; *text; text++)
                if (*text <= ' ' || *text >= 0x7f)
                        return false;
        return true;
}

int transport_check_url(const char *url, const char *schemes, bool path, char **ret_peer, struct error *err) {
        _cleanup_(curl_url_cleanup_p) CURLU *parsed = curl_url();
        _cleanup_(curl_text_p) char *scheme = NULL;
        _cleanup_(curl_text_p) char *host = NULL;
        _cleanup_(curl_text_p) char *port = NULL;
        if (!parsed)
                return error_set(err, ERROR_NO_MEMORY, "libcurl cannot be used");
        // What is not understood is not shown: it may be a secret.
        if (strlen(url) > URL_MAX || !is_ascii(url) || curl_url_set(parsed, CURLUPART_URL, url, 0) != CURLUE_OK ||
            curl_url_get(parsed, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK || !is_among(scheme, schemes) ||
            curl_url_get(parsed, CURLUPART_HOST, &host, 0) != CURLUE_OK)
                return error_set(err, ERROR_INVALID, "not a URL of the kinds %s", schemes);
        if (has(parsed, CURLUPART_USER) || has(parsed, CURLUPART_PASSWORD) || has(parsed, CURLUPART_OPTIONS))
                return error_set(err, ERROR_INVALID, "a user and a password have no place in a URL");
        if (!path && (has(parsed, CURLUPART_PATH) || has(parsed, CURLUPART_QUERY) || has(parsed, CURLUPART_FRAGMENT)))
                return error_set(err, ERROR_INVALID, "nothing may stand behind the host and port");
        bool given = curl_url_get(parsed, CURLUPART_PORT, &port, 0) == CURLUE_OK;
        if (ret_peer)
                *ret_peer = memory_format("%s://%s%s%s", scheme, host, given ? ":" : "", given ? port : "");
        return 0;
}
