// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/* The first words of a link: what the agent says of itself, and whether it can live with the answer. */
#include "proto/codec.h"

// Owned strings, for drover__hello__free_unpacked() by proto_free(). data_address may be NULL.
Drover__Hello *greeting_hello(uint64_t instance, uint16_t data_port, const char *data_address);
// ERROR_VERSION names both sides' versions (fault 41); ERROR_PROTOCOL for heartbeats out of range.
int greeting_check(const Drover__Welcome *welcome, struct error *err);
