// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * What stays in memory of a segment: enough to say of most names that they are not in it, and of the others on which
 * page they would be. A name's first 8 bytes are scaled to a position below 2^rice times the number of names; the
 * positions of a page's names, in order as they are, are kept as gaps in Golomb-Rice code (S. W. Golomb, 1966; R. F.
 * Rice, 1979): rice + 1.5 bits a name, and 12 bytes a page for where it begins. A name that is not there meets the
 * position of another one once in 2^rice. So it is written while a segment is, in one pass and without memory, and
 * what it says is exact: no guess where on the disk a name may be.
 *
 * A filter does not change once it is loaded: any thread.
 */
#include "agent/repository/chunk.h"

#define FILTER_PAGE      99u // names on a page, but for the last page
#define FILTER_LEAF_HEAD 10u
#define FILTER_LEAF_MAX  (FILTER_LEAF_HEAD + (FILTER_PAGE * 97 + 7) / 8)
#define FILTER_NAMES_MAX (3ull << 30) // whose gaps are within 32 bits
#define FILTER_BEGIN     UINT32_MAX

struct filter_shape {
        uint64_t scale; // positions are less than this
        uint32_t rice;  // 1 to 15
};
// Of a segment of at most so many names (1 to FILTER_NAMES_MAX): the larger, the fewer bits a name, so that all
// segments together stay within 2 % of false positives and the largest within its memory (docs/decisions/0019).
struct filter_shape filter_shape_for(uint64_t names_max);
bool filter_shape_is_sound(const struct filter_shape *shape);
uint64_t filter_position(const struct filter_shape *shape, const struct chunk_name *name);
// A page's leaf as it stands in the file; n positions (1 to FILTER_PAGE) in order. The length of it.
size_t filter_leaf(const struct filter_shape *shape, const uint64_t *positions, unsigned n,
                   uint8_t ret_leaf[FILTER_LEAF_MAX]);

struct filter;
// fd: a file of leaves, `bytes` of them with this XXH3-64, for `pages` pages of `names` names. ERROR_CORRUPT.
int filter_load(int fd, const char *file, const struct filter_shape *shape, uint64_t names, uint32_t pages,
                uint64_t bytes, uint64_t check, struct filter **ret, struct error *err);
void filter_free(struct filter *filter); // NULL is fine
size_t filter_bytes(const struct filter *filter);
// The next page that may hold a name of this position, from *page = FILTER_BEGIN on. false: there is none.
bool filter_next(const struct filter *filter, uint64_t position, uint32_t *page);
