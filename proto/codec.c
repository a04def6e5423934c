// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Envelopes to bytes and back (protobuf-c). Pure, no state, any thread. What a peer sent is walked once over the bytes
 * (proto/scan) before protobuf-c allocates anything for it.
 */
#include "proto/codec.h"
#include "proto/scan.h"
#include "common/memory.h"
#include <stdlib.h>
#include <string.h>

int proto_pack(const ProtobufCMessage *message, struct buffer *bytes, struct error *err) {
        size_t length = protobuf_c_message_get_packed_size(message);
        uint8_t *space;
        if (length == 0)
                return 0;
        if (buffer_reserve(bytes, length, &space, err) < 0)
                return error_prefix(err, "pack a %s", message->descriptor->short_name);
        protobuf_c_message_pack(message, space);
        buffer_commit(bytes, length);
        return 0;
}

int proto_unpack(const ProtobufCMessageDescriptor *descriptor, const uint8_t *bytes, size_t length,
                 ProtobufCMessage **ret, struct error *err) {
        if (scan_message(descriptor, bytes, length, err) < 0)
                return -1;
        ProtobufCMessage *message = protobuf_c_message_unpack(descriptor, NULL, length, bytes);
        if (!message)
                return error_set(err, ERROR_PROTOCOL, "malformed %s of %zu bytes", descriptor->short_name, length);
        *ret = message;
        return 0;
}

void proto_free(ProtobufCMessage *message) {
        if (message)
                protobuf_c_message_free_unpacked(message, NULL);
}

ProtobufCMessage *proto_copy(const ProtobufCMessage *message) {
        size_t length = protobuf_c_message_get_packed_size(message);
        uint8_t *bytes = memory_new(length + 1);
        protobuf_c_message_pack(message, bytes);
        ProtobufCMessage *copy = protobuf_c_message_unpack(message->descriptor, NULL, length, bytes);
        free(bytes);
        if (!copy) // what we packed ourselves is well-formed: there was no memory, which memory_new() ends the program
                   // for
                abort();
        return copy;
}

int proto_negotiate(uint32_t peer_min, uint32_t peer_max, uint32_t *ret_version, struct error *err) {
        if (peer_min == 0 || peer_min > peer_max)
                return error_set(err, ERROR_PROTOCOL, "the peer names an impossible range of versions, %u to %u",
                                 peer_min, peer_max);
        if (peer_min > PROTO_VERSION_MAX || peer_max < PROTO_VERSION_MIN) {
                error_set(err, ERROR_VERSION,
                          "no protocol version in common: the peer speaks %u to %u, this program speaks %u to %u",
                          peer_min, peer_max, PROTO_VERSION_MIN, PROTO_VERSION_MAX);
                error_hint(err, "install the same release of drover on both machines");
                return -1;
        }
        *ret_version = peer_max < PROTO_VERSION_MAX ? peer_max : PROTO_VERSION_MAX;
        return 0;
}

Drover__Failure *proto_failure(const struct error *err) {
        Drover__Failure *failure = new (Drover__Failure);
        drover__failure__init(failure);
        failure->code = (uint32_t) (err->code == ERROR_NONE ? ERROR_FAILED : err->code);
        failure->message = memory_string(err->message);
        if (err->n_hints > 0) {
                failure->hints = new_array(char *, err->n_hints);
                for (unsigned i = 0; i < err->n_hints; i++)
                        failure->hints[i] = memory_string(err->hints[i]);
                failure->n_hints = err->n_hints;
        }
        return failure;
}

int proto_error(const Drover__Failure *failure, struct error *err) {
        enum error_code code = error_from_number(failure->code);
        if (code == ERROR_NONE)
                code = ERROR_FAILED;
        if (failure->message[0])
                error_set(err, code, "%s", failure->message);
        else
                error_set(err, code, "the peer gave no reason");
        for (size_t i = 0; i < failure->n_hints; i++)
                error_hint(err, "%s", failure->hints[i]);
        return -1;
}

const char *proto_oneof_name(const ProtobufCMessage *message, const char *oneof) {
        (void) oneof;
        const ProtobufCMessageDescriptor *descriptor = message->descriptor;
        for (unsigned i = 0; i < descriptor->n_fields; i++) {
                const ProtobufCFieldDescriptor *field = &descriptor->fields[i];
                if (!(field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF))
                        continue;
                uint32_t set;
                memcpy(&set, (const uint8_t *) message + field->quantifier_offset, sizeof set);
                if (set == field->id)
                        return field->name;
        }
        return "none";
}

static void clean_member(const ProtobufCFieldDescriptor *field, void *member) {
        if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
                if (*(ProtobufCMessage **) member)
                        proto_clean(*(ProtobufCMessage **) member);
                return;
        }
        char *text = *(char **) member;
        if (text && text != field->default_value)
                scan_clean_text(text);
}

static void clean_field(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field) {
        uint8_t *member = (uint8_t *) message + field->offset;
        if (field->label == PROTOBUF_C_LABEL_REPEATED) {
                size_t count;
                memcpy(&count, (uint8_t *) message + field->quantifier_offset, sizeof count);
                void **items = *(void ***) member;
                for (size_t i = 0; i < count; i++)
                        clean_member(field, &items[i]);
                return;
        }
        if (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) {
                uint32_t set;
                memcpy(&set, (uint8_t *) message + field->quantifier_offset, sizeof set);
                if (set != field->id)
                        return;
        }
        clean_member(field, member);
}

void proto_clean(ProtobufCMessage *message) {
        for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
                const ProtobufCFieldDescriptor *field = &message->descriptor->fields[i];
                if (field->type == PROTOBUF_C_TYPE_STRING || field->type == PROTOBUF_C_TYPE_MESSAGE)
                        clean_field(message, field);
        }
}
