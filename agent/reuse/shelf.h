// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * The index across transfers: a directory of our own with a book for each image that was read, which lists the tags of
 * its pieces. A book belongs to one state of one image (its version); of any other it is thrown away. It is written
 * in chunks, each with a check sum, so that one that is torn, or none of ours, ends where it stops making sense. The
 * shelf is bounded; what was not used for longest goes first. A shelf is shared by the transfers of an agent
 * (thread-safe), a book belongs to one thread and is locked: a second reader goes without.
 */
#include "agent/reuse/candidate.h"

#define SHELF_CHUNK    1024u // pieces: 64 MiB of an image
#define SHELF_BOOK_MAX (16ull << 20)

struct shelf;
// The directory is made when it is absent. bytes_max: of all books together.
int shelf_open(const char *directory, uint64_t bytes_max, struct shelf **ret, struct error *err);
void shelf_free(struct shelf *shelf); // NULL is fine
void shelf_trim(struct shelf *shelf); // down to its bound

struct shelf_book;
// The book of this image, empty when there was none of this version; NULL when it cannot be had.
struct shelf_book *shelf_book_open(struct shelf *shelf, const struct candidate_version *version);
// The next chunk: tags of the pieces from *ret_first on, 0 for those without. false: there is no more; what
// shelf_book_append() adds comes behind it.
bool shelf_book_read(struct shelf_book *book, uint64_t *ret_first, uint32_t tags[SHELF_CHUNK], unsigned *ret_n);
// false: it takes no more.
bool shelf_book_append(struct shelf_book *book, uint64_t first, const uint32_t *tags, unsigned n);
void shelf_book_drop(struct shelf_book *book);  // the image has changed: remove it
void shelf_book_close(struct shelf_book *book); // NULL is fine
