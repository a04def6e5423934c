// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/* Numbers as they stand in a repository's files: little endian, at any address. Pure. */
#include <endian.h>
#include <stdint.h>
#include <string.h>

static inline uint16_t bytes_get16(const uint8_t *at) {
        uint16_t value;
        memcpy(&value, at, sizeof value);
        return le16toh(value);
}
static inline uint32_t bytes_get32(const uint8_t *at) {
        uint32_t value;
        memcpy(&value, at, sizeof value);
        return le32toh(value);
}
static inline uint64_t bytes_get64(const uint8_t *at) {
        uint64_t value;
        memcpy(&value, at, sizeof value);
        return le64toh(value);
}
static inline void bytes_put16(uint8_t *at, uint16_t value) {
        value = htole16(value);
        memcpy(at, &value, sizeof value);
}
static inline void bytes_put32(uint8_t *at, uint32_t value) {
        value = htole32(value);
        memcpy(at, &value, sizeof value);
}
static inline void bytes_put64(uint8_t *at, uint64_t value) {
        value = htole64(value);
        memcpy(at, &value, sizeof value);
}
