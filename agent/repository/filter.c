// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Positions in Golomb-Rice code, a page at a time (see filter.h). A leaf is the position of the page's first name (8
 * bytes), the length of its gaps (2) and the gaps: each a number of ones, a zero, and the low bits; a gap that would
 * take ESCAPE ones stands as ESCAPE ones and 48 bits, so that names which are no hashes cannot make a leaf long. Bits
 * count from the lowest. What is loaded has a right check sum, which a stranger can make, too: reading stays within it.
 */
#include "agent/repository/filter.h"
#include "common/cleanup.h"
#include "common/memory.h"
#include <endian.h>
#include <errno.h>
#include <unistd.h>
#include <xxhash.h>

#define ESCAPE     48u
#define RAW_BITS   48u
#define PADDING    16u // behind the gaps, so that 8 bytes can be read anywhere
#define READ_BYTES 65536u

struct filter {
        struct filter_shape shape;
        uint64_t names;
        uint32_t pages;
        uint64_t *fences;  // the position of each page's first name
        uint32_t *offsets; // where its gaps begin; pages + 1 of them
        uint8_t *gaps;
        size_t gap_bytes;
};

// ---- shape and positions
struct filter_shape filter_shape_for(uint64_t names_max) {
        uint32_t rice = names_max > 1u << 26   ? 8
                        : names_max > 1u << 24 ? 9
                        : names_max > 1u << 22 ? 11
                        : names_max > 1u << 20 ? 13
                                               : 15;
        return (struct filter_shape){.scale = names_max << rice, .rice = rice};
}

bool filter_shape_is_sound(const struct filter_shape *shape) {
        return shape->rice >= 1 && shape->rice <= 15 && shape->scale >= 1 && shape->scale <= 1ull << RAW_BITS;
}

uint64_t filter_position(const struct filter_shape *shape, const struct chunk_name *name) {
        uint64_t first;
        memcpy(&first, name->bytes, sizeof first);
        return (uint64_t) ((unsigned __int128) be64toh(first) * shape->scale >> 64);
}

// ---- writing
struct bits {
        uint8_t *bytes; // zeroed as they are reached
        size_t n;
};

static void put(struct bits *bits, uint64_t value, unsigned width) {
        for (unsigned i = 0; i < width; i++, bits->n++) {
                if (bits->n % 8 == 0)
                        bits->bytes[bits->n / 8] = 0;
                bits->bytes[bits->n / 8] |= (uint8_t) ((value >> i & 1) << bits->n % 8);
        }
}

// One bit less than the mean gap has: ones are short then.
static unsigned low_bits(const struct filter_shape *shape) {
        return shape->rice - 1;
}

static void put_gap(struct bits *bits, uint64_t gap, unsigned low) {
        uint64_t ones = gap >> low;
        if (ones >= ESCAPE) {
                put(bits, UINT64_MAX, ESCAPE);
                put(bits, gap, RAW_BITS);
                return;
        }
        put(bits, (1ull << ones) - 1, (unsigned) ones + 1);
        put(bits, gap, low);
}

size_t filter_leaf(const struct filter_shape *shape, const uint64_t *positions, unsigned n,
                   uint8_t ret_leaf[FILTER_LEAF_MAX]) {
        struct bits bits = {.bytes = ret_leaf + FILTER_LEAF_HEAD};
        for (unsigned i = 1; i < n; i++)
                put_gap(&bits, positions[i] - positions[i - 1], low_bits(shape));
        size_t length = (bits.n + 7) / 8;
        uint64_t first = htole64(positions[0]);
        uint16_t stored = htole16((uint16_t) length);
        memcpy(ret_leaf, &first, sizeof first);
        memcpy(ret_leaf + 8, &stored, sizeof stored);
        return FILTER_LEAF_HEAD + length;
}

// ---- loading
void filter_free(struct filter *filter) {
        if (!filter)
                return;
        free(filter->fences);
        free(filter->offsets);
        free(filter->gaps);
        free(filter);
}
DEFINE_CLEANUP(filter_free, struct filter *)

size_t filter_bytes(const struct filter *filter) {
        return sizeof *filter + filter->pages * sizeof *filter->fences +
               (filter->pages + 1ull) * sizeof *filter->offsets + filter->gap_bytes + PADDING;
}

static int make(const struct filter_shape *shape, uint64_t names, uint32_t pages, uint64_t gap_bytes,
                struct filter **ret, struct error *err) {
        _cleanup_(filter_free_p) struct filter *filter = new (struct filter);
        *filter = (struct filter){.shape = *shape, .names = names, .pages = pages, .gap_bytes = gap_bytes};
        void *memory;
        if (memory_try(pages * sizeof *filter->fences, &memory, err) < 0)
                return -1;
        filter->fences = memory;
        if (memory_try((pages + 1ull) * sizeof *filter->offsets, &memory, err) < 0)
                return -1;
        filter->offsets = memory;
        if (memory_try(gap_bytes + PADDING, &memory, err) < 0)
                return -1;
        filter->gaps = memory;
        *ret = steal(&filter);
        return 0;
}

// The file's bytes in order, through a buffer and a check sum.
struct input {
        int fd;
        uint64_t at, bytes; // in the file
        size_t from, to;    // in the buffer
        XXH3_state_t *sum;
        uint8_t *buffer; // READ_BYTES
        const char *file;
};

static int fill(struct input *input, struct error *err) {
        uint64_t left = input->bytes - input->at;
        size_t wanted = left < READ_BYTES ? (size_t) left : READ_BYTES;
        ssize_t n = pread(input->fd, input->buffer, wanted, (off_t) input->at);
        if (n < 0)
                return error_errno(err, errno, "index: read %s", input->file);
        if (n == 0)
                return error_set(err, ERROR_CORRUPT, "index: %s ends at %llu: expected %llu bytes", input->file,
                                 (unsigned long long) input->at, (unsigned long long) input->bytes);
        XXH3_64bits_update(input->sum, input->buffer, (size_t) n);
        input->at += (uint64_t) n;
        input->from = 0;
        input->to = (size_t) n;
        return 0;
}

static int take(struct input *input, void *bytes, size_t length, struct error *err) {
        for (uint8_t *to = bytes; length > 0;) {
                if (input->from == input->to && fill(input, err) < 0)
                        return -1;
                size_t n = input->to - input->from < length ? input->to - input->from : length;
                memcpy(to, input->buffer + input->from, n);
                input->from += n;
                to += n;
                length -= n;
        }
        return 0;
}

static int load_leaf(struct filter *filter, uint32_t page, struct input *input, struct error *err) {
        uint8_t head[FILTER_LEAF_HEAD];
        uint64_t first;
        uint16_t length;
        if (take(input, head, sizeof head, err) < 0)
                return -1;
        memcpy(&first, head, sizeof first);
        memcpy(&length, head + 8, sizeof length);
        filter->fences[page] = le64toh(first);
        uint32_t at = filter->offsets[page], n = le16toh(length);
        bool in_order = page == 0 || filter->fences[page] >= filter->fences[page - 1];
        if (!in_order || filter->fences[page] >= filter->shape.scale || n > filter->gap_bytes - at)
                return error_set(err, ERROR_CORRUPT, "index: %s: page %u: expected leaves in order", input->file, page);
        filter->offsets[page + 1] = at + n;
        return take(input, filter->gaps + at, n, err);
}

static int load(struct filter *filter, struct input *input, uint64_t check, struct error *err) {
        for (uint32_t page = 0; page < filter->pages; page++)
                if (load_leaf(filter, page, input, err) < 0)
                        return -1;
        if (filter->offsets[filter->pages] != filter->gap_bytes || XXH3_64bits_digest(input->sum) != check)
                return error_set(err, ERROR_CORRUPT, "index: %s: expected another check sum", input->file);
        return 0;
}

int filter_load(int fd, const char *file, const struct filter_shape *shape, uint64_t names, uint32_t pages,
                uint64_t bytes, uint64_t check, struct filter **ret, struct error *err) {
        uint64_t heads = (uint64_t) pages * FILTER_LEAF_HEAD;
        if (!filter_shape_is_sound(shape) || pages == 0 || bytes < heads || bytes - heads > UINT32_MAX)
                return error_set(err, ERROR_CORRUPT, "index: %s: expected leaves of %u pages", file, pages);
        _cleanup_(filter_free_p) struct filter *filter = NULL;
        if (make(shape, names, pages, bytes - heads, &filter, err) < 0)
                return error_prefix(err, "index: load %s", file);
        _cleanup_(free_p) uint8_t *buffer = memory_new(READ_BYTES);
        struct input input = {.fd = fd, .bytes = bytes, .buffer = buffer, .file = file, .sum = XXH3_createState()};
        if (!input.sum)
                return error_set(err, ERROR_NO_MEMORY, "index: load %s: no memory for a check sum", file);
        XXH3_64bits_reset(input.sum);
        int result = load(filter, &input, check, err);
        XXH3_freeState(input.sum);
        if (result == 0)
                *ret = steal(&filter);
        return result;
}

// ---- looking
// 57 bits at least.
static uint64_t peek(const uint8_t *bytes, size_t bit) {
        uint64_t word;
        memcpy(&word, bytes + bit / 8, sizeof word);
        return le64toh(word) >> bit % 8;
}

static bool page_may_hold(const struct filter *filter, uint32_t page, uint64_t position) {
        uint64_t at = filter->fences[page];
        if (at == position)
                return true;
        unsigned n =
                page + 1 < filter->pages ? FILTER_PAGE : (unsigned) (filter->names - page * (uint64_t) FILTER_PAGE);
        unsigned low = low_bits(&filter->shape);
        size_t bit = filter->offsets[page] * (size_t) 8, end = filter->offsets[page + 1] * (size_t) 8;
        for (unsigned i = 1; i < n && at < position; i++) {
                if (bit >= end)
                        return true; // not what was written: the page itself tells
                uint64_t word = peek(filter->gaps, bit);
                unsigned ones = (unsigned) __builtin_ctzll(~word | 1ull << ESCAPE);
                if (ones == ESCAPE) {
                        at += peek(filter->gaps, bit + ESCAPE) & ((1ull << RAW_BITS) - 1);
                        bit += ESCAPE + RAW_BITS;
                        continue;
                }
                bit += ones + 1;
                at += (uint64_t) ones << low | (peek(filter->gaps, bit) & ((1ull << low) - 1));
                bit += low;
        }
        return at == position;
}

// The last page that begins before this position: by where it should be, then by halves.
static uint32_t page_before(const struct filter *filter, uint64_t position) {
        uint64_t guess = (uint64_t) ((unsigned __int128) position * filter->pages / filter->shape.scale);
        uint32_t low = guess < filter->pages ? (uint32_t) guess : filter->pages - 1, high = low, step = 1;
        while (low > 0 && filter->fences[low] >= position) {
                low = low > step ? low - step : 0;
                step *= 2;
        }
        for (step = 1; high < filter->pages && filter->fences[high] < position; step *= 2)
                high = filter->pages - high > step ? high + step : filter->pages;
        while (high - low > 1) { // low begins before it, or is 0; high does not, or is none
                uint32_t middle = low + (high - low) / 2;
                if (filter->fences[middle] < position)
                        low = middle;
                else
                        high = middle;
        }
        return low;
}

bool filter_next(const struct filter *filter, uint64_t position, uint32_t *page) {
        uint32_t p = *page == FILTER_BEGIN ? page_before(filter, position) : *page + 1;
        for (; p < filter->pages && filter->fences[p] <= position; p++) {
                if (!page_may_hold(filter, p, position))
                        continue;
                *page = p;
                return true;
        }
        return false;
}
