// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * What mail and webhooks have in common: one libcurl handle with bounded times that can be cancelled, and libcurl's
 * errors in our words (nowhere else). Used by one thread at a time, which blocks; only the flag may be set by another.
 * Nothing of what is sent is ever logged. SIGPIPE must be ignored by the process: OpenSSL writes to sockets that a peer
 * has closed.
 */
#include "common/error.h"
#include <curl/curl.h>
#include <stdatomic.h>
#include <stdint.h>

#define TRANSPORT_CONNECT_MS 20000u // until a connection stands, with TLS

struct transport {
        CURL *easy;
        char text[CURL_ERROR_SIZE]; // libcurl's own words about what failed
        const atomic_bool *cancelled;
        uint64_t deadline_ms; // of the transfer, by the monotonic clock
};

// How a try ended, and so what its owner does next.
enum outcome {
        OUTCOME_LATER, // again later: nothing here has to change, or somebody may have mended something
        OUTCOME_DONE,
        OUTCOME_NEVER, // the other side has said that it will not take this
};

// `schemes` as "smtp,smtps"; ca_file NULL: the system's authorities. `cancelled` is looked at about once a second.
int transport_init(struct transport *transport, const char *schemes, const char *ca_file, const atomic_bool *cancelled,
                   struct error *err);
void transport_fini(struct transport *transport);
// Blocks for total_ms and about a second at most, whatever the other side does or leaves undone.
CURLcode transport_perform(struct transport *transport, uint64_t total_ms);
// libcurl's failure of a transfer with `peer`, which is to be shown (no path, no user); returns -1.
int transport_error(const struct transport *transport, CURLcode code, const char *peer, struct error *err);
// Whether a URL has one of the schemes (separated by commas), a host, and no user or password: these belong into
// files. `path`: whether it may have a path and a query. *ret_peer (may be NULL): SCHEME://HOST[:PORT], which the
// caller frees.
int transport_check_url(const char *url, const char *schemes, bool path, char **ret_peer, struct error *err);
