// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * Envelopes to frames and back: pure bytes. Unpacking is bounded by the frame (common/frame.h), by PROTO_FIELDS_MAX
 * members in all, and refuses text that is not valid UTF-8 or holds NUL. Both are checked on the bytes, before the
 * first allocation. protobuf-c has no recursion limit, so no message here refers to itself.
 */
#include "common/error.h"
#include "common/buffer.h"
#include "proto/generated/control.pb-c.h"
#include "proto/generated/data.pb-c.h"
#include "proto/generated/inventory.pb-c.h"
#include "proto/generated/join.pb-c.h"
#include "proto/generated/operator.pb-c.h"

#define PROTO_VERSION_MIN  1u
#define PROTO_VERSION_MAX  1u
#define PROTO_DATA_VERSION 3u // of drover-data between two agents
#define PROTO_FIELDS_MAX   100000u

// Append the packed message (no frame header) to `bytes`.
int proto_pack(const ProtobufCMessage *message, struct buffer *bytes, struct error *err);
// Unpack exactly one message; NULL-terminated strings, unknown fields ignored; ERROR_PROTOCOL on anything malformed,
// on more than PROTO_FIELDS_MAX members, on strings with control characters other than newline and tab.
int proto_unpack(const ProtobufCMessageDescriptor *descriptor, const uint8_t *bytes, size_t length,
                 ProtobufCMessage **ret, struct error *err);
void proto_free(ProtobufCMessage *message); // NULL is fine
// Replace, in every string of the message, what proto_unpack() would refuse by '?'. For text that comes from outside
// our programs (names of files, descriptions in definitions) and must not make a whole frame unreadable.
void proto_clean(ProtobufCMessage *message);
// A deep copy, by packing and unpacking.
ProtobufCMessage *proto_copy(const ProtobufCMessage *message);
// The version both speak, or ERROR_VERSION that names both ranges.
int proto_negotiate(uint32_t peer_min, uint32_t peer_max, uint32_t *ret_version, struct error *err);
// struct error <-> Failure. proto_failure() allocates (proto_free); proto_error() fills *err from the wire and returns
// -1.
Drover__Failure *proto_failure(const struct error *err);
int proto_error(const Drover__Failure *failure, struct error *err);
// The name of the member set in a oneof, from the descriptor ("vm_move"), or "none": for dispatch tables and audit.
// `oneof` says to the reader which one is meant; protobuf-c keeps no names of oneofs, and no message here has two.
const char *proto_oneof_name(const ProtobufCMessage *message, const char *oneof);

// Typed helpers: PROTO_UNPACK(envelope, bytes, n, &e, err)
#define PROTO_UNPACK(type_lower, bytes, length, ret, err)                                                              \
        proto_unpack(&drover__##type_lower##__descriptor, (bytes), (length), (ProtobufCMessage **) (ret), (err))
#define PROTO_PACK(message, bytes, err) proto_pack(&(message)->base, (bytes), (err))
