// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * SHA-256 of many messages of one length at once, side by side in the lanes of wide vectors. On a processor without SHA
 * instructions this is several times as fast as one message after the other, and hashing is the largest cost of a
 * transfer there. Pure, any thread.
 */
#include <stddef.h>
#include <stdint.h>

#define LANES 16
void lanes_sha256(const uint8_t *const *messages, size_t n, size_t length, uint8_t (*ret_digests)[32]);
