// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * `drover-agent join TOKEN`: pin the authority by the token's hash, then and only then send the secret and a CSR, store
 * what comes back (key 0600, certificate, CA, addresses) as a whole or not at all. Runs a loop of its own.
 */
#include "common/error.h"
#include "proto/codec.h"

struct join_result {
        char site[64], host[64], uuid[37];
        char authority_sha256[65];
        int64_t clock_offset_seconds; // ours minus the controller's
};
int join_run(const char *token_text, const char *state_directory, struct join_result *ret, struct error *err);
