// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * Sizes, rates and durations as people write them (drover(1)). Parsers refuse trailing text, signs and overflow with
 * ERROR_INVALID.
 */
#include "common/error.h"
#include <stdint.h>

// "20G" "512M" "4096": powers of 1024.
int units_parse_size(const char *text, uint64_t *ret_bytes, struct error *err);
// "40Mbit" "1Gbit": bits, powers of 1000. "5M": bytes, powers of 1024. "full": 0; 0 itself is refused.
int units_parse_rate(const char *text, uint64_t *ret_bytes_per_second, struct error *err);
// No transfer is slower: 64 KiB are to come within 5 minutes (CHANNEL_FRAME_MS), and up to 8 streams share a rate.
#define UNITS_RATE_LEAST 2000u                                      // bytes a second: 16kbit
int units_check_rate(uint64_t bytes_per_second, struct error *err); // 0: no limit
// What was stored, maybe before there was a least rate: the least instead of what is slower.
int units_read_rate(const char *text, uint64_t *ret_bytes_per_second, struct error *err);
// "90s" "15m" "2h" "7d"; a bare number is refused.
int units_parse_duration(const char *text, uint64_t *ret_seconds, struct error *err);
#define UNITS_TEXT_MAX 32
char *units_format_size(uint64_t bytes, char *buffer);            // "2.4 GiB" for people; buffer of UNITS_TEXT_MAX
char *units_format_rate(uint64_t bytes_per_second, char *buffer); // "41.2 MB/s"
char *units_format_duration(uint64_t seconds, char *buffer);      // "3 d 04 h", "2 h 05 min", "1 min 20 s", "42 s"
