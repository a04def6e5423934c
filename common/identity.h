// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * Who a certificate speaks for, from its one SAN URI and from nothing else: drover://host/<uuid>,
 * drover://user/<name>, drover://controller/<uuid>.
 */
#include "common/error.h"
#include "common/name.h"
#include <stdint.h>

enum identity_kind { IDENTITY_NONE, IDENTITY_HOST, IDENTITY_USER, IDENTITY_CONTROLLER };
struct identity {
        enum identity_kind kind;
        char name[NAME_USER_MAX + 1];   // UUID of a host or controller, name of a user
        uint8_t certificate_sha256[32]; // of the DER
        char serial[48];                // hex, lower case
        int64_t not_after;              // seconds since 1970 UTC
};
int identity_parse(const char *uri, struct identity *ret_identity, struct error *err); // strict: fuzzed
int identity_format(const struct identity *identity, char *buffer, size_t size);       // the URI
const char *identity_kind_word(enum identity_kind kind);                               // "host"
