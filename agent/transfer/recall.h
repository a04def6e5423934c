// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * What a source remembers of the images that it has hashed, so that the next attempt need not read them again: the
 * hashes of their blocks, which of these were sent, and how the link and the processors did. One registry an agent,
 * bounded; what was not used for longest is forgotten first. A record belongs to one state of one image (its version)
 * and to one transfer at a time, and may be used by any of its threads.
 */
#include "agent/blocks/digest.h"
#include "agent/blocks/source.h"
#include "agent/transfer/choice.h"

#define RECALL_BYTES_MAX (8u << 20) // of hashes in all: images of half a TiB

struct recall; // the registry
struct recall *recall_new(void);
void recall_free(struct recall *recall); // when no record is out; NULL is fine

struct recalled; // one record
// The record of this disk of this job, empty if there is none of this version. version NULL: cannot be told, so nothing
// is remembered. Never NULL.
struct recalled *recall_take(struct recall *recall, const char *job, const char *disk,
                             const uint8_t version[SOURCE_VERSION_BYTES]);
void recall_give_back(struct recall *recall, struct recalled *recalled); // NULL is fine
void recalled_free(struct recalled *recalled);                           // nobody will ask for it again; NULL is fine
bool recalled_get(struct recalled *recalled, uint64_t block, uint8_t ret[DIGEST_HASH]);
void recalled_put(struct recalled *recalled, uint64_t block, const uint8_t hash[DIGEST_HASH]);
// What the link was last seen to take, bytes a second; 0: not known.
uint64_t recalled_link(const struct recalled *recalled);
void recalled_set_link(struct recalled *recalled, uint64_t link);
// How it was coded when the last attempt ended. false: nothing was found out.
bool recalled_choice(const struct recalled *recalled, struct choice *ret);
void recalled_set_choice(struct recalled *recalled, const struct choice *choice);
// It has been given to the network; returns whether that had happened before.
bool recalled_sent(struct recalled *recalled, uint64_t block);
