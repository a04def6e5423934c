// SPDX-License-Identifier: LGPL-2.1-or-later
/* The walk over packed bytes that comes before protobuf-c's own parser (see scan.h). */
#include "proto/scan.h"
#include "proto/codec.h"
#include "common/utf8.h"
#include <string.h>

// Deeper than any message of proto/ reaches; none refers to itself, so this is a bound on our own descriptors.
#define DEPTH_MAX 12

enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_LENGTH = 2, WIRE_32 = 5 };

struct scan {
        const ProtobufCMessageDescriptor *top;
        uint32_t members;
        struct error *err;
};

struct cursor {
        const uint8_t *at, *end;
};

// Bytes of the character at `text`, 0 when it is not one that may pass.
static size_t text_character(const uint8_t *text, size_t length) {
        char next[5] = "";
        uint32_t point;
        memcpy(next, text, length < 4 ? length : 4);
        size_t n = utf8_next(next, &point);
        if (n == 0 || point == '\n' || point == '\t')
                return n;
        return point < 0x20 || (point >= 0x7f && point <= 0x9f) ? 0 : n;
}

bool scan_text_ok(const uint8_t *text, size_t length) {
        for (size_t i = 0; i < length;) {
                size_t n = text_character(text + i, length - i);
                if (n == 0)
                        return false;
                i += n;
        }
        return true;
}

void scan_clean_text(char *text) {
        size_t length = strlen(text);
        for (size_t i = 0; i < length;) {
                size_t n = text_character((uint8_t *) text + i, length - i);
                if (n == 0) {
                        text[i] = '?';
                        n = 1;
                }
                i += n;
        }
}

static bool take_varint(struct cursor *cursor, uint64_t *ret) {
        uint64_t value = 0;
        for (unsigned shift = 0; shift < 70 && cursor->at < cursor->end; shift += 7) {
                uint8_t byte = *cursor->at++;
                if (shift < 64)
                        value |= (uint64_t) (byte & 0x7f) << shift;
                if (!(byte & 0x80)) {
                        *ret = value;
                        return true;
                }
        }
        return false;
}

static bool take_bytes(struct cursor *cursor, uint64_t n, struct cursor *ret) {
        if (n > (uint64_t) (cursor->end - cursor->at))
                return false;
        *ret = (struct cursor){cursor->at, cursor->at + n};
        cursor->at += n;
        return true;
}

static bool take_member(struct cursor *cursor, unsigned wire, struct cursor *ret) {
        uint64_t value;
        *ret = (struct cursor){cursor->at, cursor->at};
        switch (wire) {
        case WIRE_VARINT:
                return take_varint(cursor, &value);
        case WIRE_64:
                return take_bytes(cursor, 8, ret);
        case WIRE_LENGTH:
                return take_varint(cursor, &value) && take_bytes(cursor, value, ret);
        case WIRE_32:
                return take_bytes(cursor, 4, ret);
        default:
                return false;
        }
}

static int malformed(const struct scan *scan) {
        return error_set(scan->err, ERROR_PROTOCOL, "malformed %s", scan->top->short_name);
}

static int scan_level(struct scan *scan, const ProtobufCMessageDescriptor *descriptor, struct cursor bytes,
                      unsigned depth);

static int scan_member(struct scan *scan, const ProtobufCMessageDescriptor *descriptor, uint64_t number,
                       struct cursor member, unsigned depth) {
        const ProtobufCFieldDescriptor *field = protobuf_c_message_descriptor_get_field(descriptor, (unsigned) number);
        if (!field)
                return 0;
        if (field->type == PROTOBUF_C_TYPE_MESSAGE)
                return scan_level(scan, field->descriptor, member, depth + 1);
        if (field->type == PROTOBUF_C_TYPE_STRING && !scan_text_ok(member.at, (size_t) (member.end - member.at)))
                return error_set(scan->err, ERROR_PROTOCOL,
                                 "%s: text in %s.%s holds a control character or is not UTF-8", scan->top->short_name,
                                 descriptor->short_name, field->name);
        return 0;
}

static int scan_level(struct scan *scan, const ProtobufCMessageDescriptor *descriptor, struct cursor bytes,
                      unsigned depth) {
        if (depth > DEPTH_MAX)
                return malformed(scan);
        while (bytes.at < bytes.end) {
                uint64_t tag;
                struct cursor member;
                if (!take_varint(&bytes, &tag) || tag > UINT32_MAX || tag >> 3 == 0 ||
                    !take_member(&bytes, tag & 7, &member))
                        return malformed(scan);
                if (++scan->members > PROTO_FIELDS_MAX)
                        return error_set(scan->err, ERROR_PROTOCOL, "%s: more than %u members", scan->top->short_name,
                                         PROTO_FIELDS_MAX);
                if ((tag & 7) == WIRE_LENGTH && scan_member(scan, descriptor, tag >> 3, member, depth) < 0)
                        return -1;
        }
        return 0;
}

int scan_message(const ProtobufCMessageDescriptor *descriptor, const uint8_t *bytes, size_t length, struct error *err) {
        if (length == 0)
                return 0;
        struct scan scan = {.top = descriptor, .err = err};
        return scan_level(&scan, descriptor, (struct cursor){bytes, bytes + length}, 0);
}
