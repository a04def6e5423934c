// SPDX-License-Identifier: LGPL-2.1-or-later
/* A small unordered table; a host has hundreds of objects at most. Its owner's thread only. */
#include "agent/inventory/picture.h"
#include "common/memory.h"
#include "common/pki.h"

#include <string.h>

void picture_fini(struct picture *picture) {
        free(picture->entries);
        *picture = (struct picture){0};
}

static void hash_object(const ProtobufCMessage *object, uint8_t hash[16]) {
        uint8_t sha256[32] = {0};
        size_t length = protobuf_c_message_get_packed_size(object);
        uint8_t *bytes = new_array(uint8_t, length + 1);
        protobuf_c_message_pack(object, bytes);
        pki_sha256(bytes, length, sha256);
        memcpy(hash, sha256, 16);
        free(bytes);
}

static struct picture_entry *find(struct picture *picture, enum picture_kind kind, const char *uuid) {
        for (size_t i = 0; i < picture->n; i++)
                if (picture->entries[i].kind == kind && !strcmp(picture->entries[i].uuid, uuid))
                        return &picture->entries[i];
        return NULL;
}

static struct picture_entry *add(struct picture *picture, enum picture_kind kind, const char *uuid) {
        if (picture->n == picture->capacity) {
                picture->capacity = picture->capacity ? 2 * picture->capacity : 16;
                picture->entries = memory_grow(picture->entries, picture->capacity, sizeof *picture->entries);
        }
        struct picture_entry *entry = &picture->entries[picture->n++];
        *entry = (struct picture_entry){.kind = kind};
        strncpy(entry->uuid, uuid, NAME_UUID_LENGTH);
        return entry;
}

static void take_out(struct picture *picture, struct picture_entry *entry) {
        *entry = picture->entries[--picture->n];
}

bool picture_note(struct picture *picture, enum picture_kind kind, const char *uuid, const ProtobufCMessage *object) {
        uint8_t hash[16];
        hash_object(object, hash);
        struct picture_entry *entry = find(picture, kind, uuid);
        bool differs = !entry || memcmp(entry->hash, hash, sizeof hash) != 0;
        if (!entry)
                entry = add(picture, kind, uuid);
        memcpy(entry->hash, hash, sizeof hash);
        entry->seen = true;
        return differs;
}

bool picture_drop(struct picture *picture, enum picture_kind kind, const char *uuid) {
        struct picture_entry *entry = find(picture, kind, uuid);
        if (!entry)
                return false;
        take_out(picture, entry);
        return true;
}

void picture_unsee(struct picture *picture, enum picture_kind kind) {
        for (size_t i = 0; i < picture->n; i++)
                if (picture->entries[i].kind == kind)
                        picture->entries[i].seen = false;
}

bool picture_take_unseen(struct picture *picture, enum picture_kind kind, char ret_uuid[NAME_UUID_LENGTH + 1]) {
        for (size_t i = 0; i < picture->n; i++) {
                struct picture_entry *entry = &picture->entries[i];
                if (entry->kind != kind || entry->seen)
                        continue;
                memcpy(ret_uuid, entry->uuid, sizeof entry->uuid);
                take_out(picture, entry);
                return true;
        }
        return false;
}
