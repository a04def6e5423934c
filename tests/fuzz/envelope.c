// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The envelopes of all four protocols (fault 40): what unpacks holds only text that may be shown, packs again, and
 * unpacks to the same. The first byte chooses the protocol.
 */
#include "proto/codec.h"
#include "proto/scan.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const ProtobufCMessageDescriptor *choose(uint8_t byte) {
        switch (byte % 4) {
        case 0:
                return &drover__envelope__descriptor;
        case 1:
                return &drover__operator_envelope__descriptor;
        case 2:
                return &drover__join_envelope__descriptor;
        default:
                return &drover__data_envelope__descriptor;
        }
}

static void same_again(const ProtobufCMessageDescriptor *descriptor, const ProtobufCMessage *message) {
        struct buffer once, twice;
        ProtobufCMessage *back = NULL;
        buffer_init(&once, 0);
        buffer_init(&twice, 0);
        // What we say ourselves, we must understand.
        if (proto_pack(message, &once, NULL) < 0 || proto_unpack(descriptor, once.data, once.length, &back, NULL) < 0 ||
            proto_pack(back, &twice, NULL) < 0)
                abort();
        if (once.length != twice.length || (once.length && memcmp(once.data, twice.data, once.length) != 0))
                abort();
        proto_free(back);
        buffer_fini(&once);
        buffer_fini(&twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        ProtobufCMessage *message = NULL;
        if (size < 1)
                return 0;
        const ProtobufCMessageDescriptor *descriptor = choose(data[0]);
        struct error err = ERROR_INIT;
        if (proto_unpack(descriptor, data + 1, size - 1, &message, &err) < 0) {
                if (err.code != ERROR_PROTOCOL || !scan_text_ok((const uint8_t *) err.message, strlen(err.message)))
                        abort();
                return 0;
        }
        if (!proto_oneof_name(message, "body"))
                abort();
        same_again(descriptor, message);
        proto_clean(message);
        same_again(descriptor, message);
        proto_free(message);
        return 0;
}
