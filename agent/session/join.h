// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * `drover-agent join TOKEN`: pin the authority by the token's hash, then and only then send the secret and a CSR, check
 * what comes back, and store it (agent/session/state.h) as a whole or not at all. Runs a loop of its own.
 */
#include "common/error.h"
#include "proto/codec.h"

struct join_result {
        char site[64], host[64], uuid[37];
        char authority_sha256[65];
        int64_t clock_offset_ms; // ours minus the controller's, to within about half a second
};
// force: give up the identity that this host has and all that is remembered under it; without, ERROR_CONFLICT. Nothing
// is given up before the controller's answer has been checked. ERROR_DENIED when the controller refuses the token.
int join_run(const char *token_text, const char *state_directory, bool force, struct join_result *ret,
             struct error *err);
