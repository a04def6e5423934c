// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * What the controller has been told, as one hash for each object instead of the object: enough to send only what
 * differs and to notice what is gone. Embedded in its owner; not thread-safe.
 */
#include "common/name.h"
#include "proto/codec.h"

enum picture_kind { PICTURE_FACTS, PICTURE_DOMAIN, PICTURE_POOL, PICTURE_NETWORK, PICTURE_RETIRED };
struct picture_entry {
        enum picture_kind kind;
        bool seen;                       // since picture_unsee()
        char uuid[NAME_UUID_LENGTH + 1]; // "" for facts and the retired list
        uint8_t hash[16];
};
struct picture {
        struct picture_entry *entries;
        size_t n, capacity;
};
void picture_fini(struct picture *picture); // empty again afterwards
// Records the object; true when it is new or another than was recorded.
bool picture_note(struct picture *picture, enum picture_kind kind, const char *uuid, const ProtobufCMessage *object);
bool picture_drop(struct picture *picture, enum picture_kind kind, const char *uuid); // whether it was there
// To find what is gone: unsee all of a kind, note those that are there, then take the others out one by one.
void picture_unsee(struct picture *picture, enum picture_kind kind);
bool picture_take_unseen(struct picture *picture, enum picture_kind kind, char ret_uuid[NAME_UUID_LENGTH + 1]);
