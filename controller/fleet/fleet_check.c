// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What of a host's words is kept (faults 40, 48). A thing that cannot be named safely or is beyond all measure is left
 * out, so that one odd VM does not hide the others; a thing without a proper UUID breaks the rules. Pure functions.
 */
#include "common/utf8.h"
#include "controller/fleet/fleet_private.h"
#include <string.h>

static bool text_bounded(const char *text) {
        return strnlen(text, FLEET_TEXT_MAX + 1) <= FLEET_TEXT_MAX;
}

static bool member_bounded(const ProtobufCFieldDescriptor *field, const void *value) {
        if (field->type != PROTOBUF_C_TYPE_STRING && field->type != PROTOBUF_C_TYPE_MESSAGE)
                return true; // a number: no pointer to look behind
        const void *pointer = *(const void *const *) value;
        if (field->type == PROTOBUF_C_TYPE_STRING)
                return !pointer || text_bounded(pointer);
        return !pointer || fleet_message_bounded(pointer);
}

static bool list_bounded(const ProtobufCFieldDescriptor *field, const void *list, size_t n) {
        bool pointers = field->type == PROTOBUF_C_TYPE_STRING || field->type == PROTOBUF_C_TYPE_MESSAGE;
        if (n > FLEET_LIST_MAX)
                return false;
        for (size_t i = 0; pointers && i < n; i++)
                if (!member_bounded(field, (const void *const *) list + i))
                        return false;
        return true;
}

// Messages here do not refer to themselves, so this ends.
bool fleet_message_bounded(const ProtobufCMessage *message) {
        const ProtobufCMessageDescriptor *descriptor = message->descriptor;
        for (unsigned i = 0; i < descriptor->n_fields; i++) {
                const ProtobufCFieldDescriptor *field = &descriptor->fields[i];
                const char *value = (const char *) message + field->offset;
                bool bounded;
                if (field->label == PROTOBUF_C_LABEL_REPEATED)
                        bounded = list_bounded(
                                field, *(const void *const *) (const void *) value,
                                *(const size_t *) (const void *) ((const char *) message + field->quantifier_offset));
                else
                        bounded = member_bounded(field, value);
                if (!bounded)
                        return false;
        }
        return true;
}

// Title and description are whatever a person wrote, at whatever length: cut, and no reason to leave the VM out.
static void cut(char *text) {
        size_t length = utf8_cut(text, FLEET_REMARK_MAX);
        if (text[length]) // an empty text is protobuf-c's own constant
                text[length] = '\0';
}

int fleet_take_domain(const Drover__Domain *domain, Drover__Domain **ret, struct error *why, struct error *err) {
        *ret = NULL;
        if (name_check_uuid(domain->uuid, err) < 0)
                return error_prefix(err, "a VM");
        if (name_check_vm(domain->name, why) < 0)
                return 0;
        Drover__Domain *copy = (Drover__Domain *) proto_copy(&domain->base);
        cut(copy->title);
        cut(copy->description);
        if (fleet_message_bounded(&copy->base)) {
                *ret = copy;
                return 0;
        }
        error_set(why, ERROR_TOO_LARGE, "VM %s has texts or lists beyond all bounds", copy->name);
        proto_free(&copy->base);
        return 0;
}

static int check_key(enum shelf_kind kind, const ProtobufCMessage *item, struct error *err) {
        switch (kind) {
        case SHELF_POOLS:
                return name_check_uuid(((const Drover__Pool *) item)->uuid, err) < 0 ? error_prefix(err, "a pool") : 0;
        case SHELF_NETWORKS:
                return name_check_uuid(((const Drover__Network *) item)->uuid, err) < 0 ? error_prefix(err, "a network")
                                                                                        : 0;
        default:
                return name_check_job(((const Drover__Retired *) item)->job, err) < 0
                               ? error_prefix(err, "a retired copy")
                               : 0;
        }
}

static int check_name(enum shelf_kind kind, const ProtobufCMessage *item, struct error *why) {
        switch (kind) {
        case SHELF_POOLS:
                return name_check_volume(((const Drover__Pool *) item)->name, why);
        case SHELF_NETWORKS:
                return name_check_volume(((const Drover__Network *) item)->name, why);
        default:
                return name_check_vm(((const Drover__Retired *) item)->vm_name, why);
        }
}

int fleet_take_item(enum shelf_kind kind, const ProtobufCMessage *item, ProtobufCMessage **ret, struct error *why,
                    struct error *err) {
        *ret = NULL;
        if (check_key(kind, item, err) < 0)
                return -1;
        if (check_name(kind, item, why) < 0)
                return 0;
        if (fleet_message_bounded(item))
                *ret = proto_copy(item);
        else
                error_set(why, ERROR_TOO_LARGE, "%s has texts or lists beyond all bounds", shelf_key(kind, item));
        return 0;
}

bool fleet_same(const ProtobufCMessage *one, const ProtobufCMessage *other) {
        struct buffer first, second;
        buffer_init(&first, 0);
        buffer_init(&second, 0);
        bool same = protobuf_c_message_get_packed_size(one) == protobuf_c_message_get_packed_size(other) &&
                    proto_pack(one, &first, NULL) == 0 && proto_pack(other, &second, NULL) == 0 &&
                    first.length == second.length &&
                    (first.length == 0 || memcmp(first.data, second.data, first.length) == 0);
        buffer_fini(&first);
        buffer_fini(&second);
        return same;
}
