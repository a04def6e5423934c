// SPDX-License-Identifier: LGPL-2.1-or-later
/* Segments of the index: reading and writing pages of records (see segment.h). */
#include "agent/repository/segment.h"
#include "agent/repository/filter.h"
#include "common/cleanup.h"
#include "common/memory.h"
#include "common/random.h"
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#define MAGIC         "DROVRSG1"
#define RECORD        41u
#define PAGE_HEAD     8u
#define WRITE_BYTES   (1u << 18)
#define CURSOR_PAGES  32u
#define FILE_NAME_MAX 32

_Static_assert(PAGE_HEAD + FILTER_PAGE * RECORD <= SEGMENT_PAGE, "a page holds what its leaf describes");

struct trailer { // little endian, at the beginning of the last page
        char magic[8];
        uint8_t repository[16];
        uint64_t salt, records, scale, filter_bytes, filter_check;
        uint32_t number, pages, rice, zero;
        uint64_t check; // XXH3-64 of what stands before it
};

static void name_file(char file[FILE_NAME_MAX], uint32_t number, const char *suffix) {
        snprintf(file, FILE_NAME_MAX, "%08" PRIx32 ".%s", number, suffix);
}

bool segment_number_of(const char *file, uint32_t *ret_number) {
        char records[FILE_NAME_MAX], filter[FILE_NAME_MAX];
        uint32_t number;
        if (sscanf(file, "%8" SCNx32, &number) != 1)
                return false;
        name_file(records, number, "records");
        name_file(filter, number, "filter");
        if (strcmp(file, records) != 0 && strcmp(file, filter) != 0)
                return false;
        *ret_number = number;
        return true;
}

void segment_remove(int directory_fd, uint32_t number) {
        char file[FILE_NAME_MAX];
        name_file(file, number, "records");
        unlinkat(directory_fd, file, 0);
        name_file(file, number, "filter");
        unlinkat(directory_fd, file, 0);
}

static uint64_t check_of_page(const uint8_t *page, uint64_t salt, uint32_t number) {
        return XXH3_64bits_withSeed(page + PAGE_HEAD, SEGMENT_PAGE - PAGE_HEAD, salt + number);
}

// ---- writing
struct output {
        int fd;
        char file[FILE_NAME_MAX];
        uint8_t *buffer; // WRITE_BYTES
        size_t held;
        uint64_t written;
};
struct segment_writer {
        int directory_fd;
        uint8_t repository[16];
        struct segment_head head;
        uint64_t records_max;
        struct filter_shape shape;
        struct output records, filter;
        XXH3_state_t *sum; // of the filter
        uint8_t page[SEGMENT_PAGE];
        uint64_t positions[FILTER_PAGE];
        unsigned n; // on the page
        bool closed;
};

static int output_open(struct output *output, int directory_fd, uint32_t number, const char *suffix,
                       struct error *err) {
        name_file(output->file, number, suffix);
        output->buffer = memory_new(WRITE_BYTES);
        output->fd = openat(directory_fd, output->file, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        return output->fd < 0 ? error_errno(err, errno, "index: make %s", output->file) : 0;
}

static int output_drain(struct output *output, struct error *err) {
        for (size_t at = 0; at < output->held;) {
                ssize_t n = pwrite(output->fd, output->buffer + at, output->held - at, (off_t) output->written);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return error_errno(err, errno, "index: write %s at %" PRIu64, output->file, output->written);
                at += (size_t) n;
                output->written += (uint64_t) n;
        }
        output->held = 0;
        return 0;
}

static int output_put(struct output *output, const void *bytes, size_t length, struct error *err) {
        if (output->held + length > WRITE_BYTES && output_drain(output, err) < 0)
                return -1;
        memcpy(output->buffer + output->held, bytes, length);
        output->held += length;
        return 0;
}

static int output_sync(struct output *output, struct error *err) {
        if (output_drain(output, err) < 0)
                return -1;
        return fsync(output->fd) < 0 ? error_errno(err, errno, "index: fsync of %s", output->file) : 0;
}

void segment_writer_free(struct segment_writer *writer) {
        if (!writer)
                return;
        // Only what this writer has made: a file that was in the way is somebody else's.
        if (!writer->closed && writer->records.fd >= 0)
                unlinkat(writer->directory_fd, writer->records.file, 0);
        if (!writer->closed && writer->filter.fd >= 0)
                unlinkat(writer->directory_fd, writer->filter.file, 0);
        close_p(&writer->records.fd);
        close_p(&writer->filter.fd);
        free(writer->records.buffer);
        free(writer->filter.buffer);
        XXH3_freeState(writer->sum);
        free(writer);
}
DEFINE_CLEANUP(segment_writer_free, struct segment_writer *)

int segment_writer_new(int directory_fd, const uint8_t repository[16], uint32_t number, uint64_t records_max,
                       struct segment_writer **ret, struct error *err) {
        if (records_max == 0 || records_max > FILTER_NAMES_MAX)
                return error_set(err, ERROR_TOO_LARGE, "index: a segment of %" PRIu64 " records", records_max);
        _cleanup_(segment_writer_free_p) struct segment_writer *writer = new (struct segment_writer);
        writer->directory_fd = directory_fd;
        writer->records.fd = writer->filter.fd = -1;
        memcpy(writer->repository, repository, sizeof writer->repository);
        writer->head = (struct segment_head){.number = number, .salt = random_u64()};
        writer->records_max = records_max;
        writer->shape = filter_shape_for(records_max);
        if (output_open(&writer->records, directory_fd, number, "records", err) < 0 ||
            output_open(&writer->filter, directory_fd, number, "filter", err) < 0)
                return -1;
        writer->sum = XXH3_createState();
        if (!writer->sum)
                return error_set(err, ERROR_NO_MEMORY, "index: no memory for a check sum");
        XXH3_64bits_reset(writer->sum);
        *ret = steal(&writer);
        return 0;
}

static int put_page(struct segment_writer *writer, struct error *err) {
        uint8_t leaf[FILTER_LEAF_MAX];
        memset(writer->page + PAGE_HEAD + writer->n * RECORD, 0, SEGMENT_PAGE - PAGE_HEAD - writer->n * RECORD);
        uint64_t check = htole64(check_of_page(writer->page, writer->head.salt, writer->head.pages));
        memcpy(writer->page, &check, sizeof check);
        size_t length = filter_leaf(&writer->shape, writer->positions, writer->n, leaf);
        XXH3_64bits_update(writer->sum, leaf, length);
        writer->head.pages++;
        writer->n = 0;
        if (output_put(&writer->records, writer->page, SEGMENT_PAGE, err) < 0)
                return -1;
        return output_put(&writer->filter, leaf, length, err);
}

static void pack_record(uint8_t to[RECORD], const struct segment_record *record) {
        uint32_t pack = htole32(record->pack), offset = htole32(record->offset);
        memcpy(to, record->name.bytes, CHUNK_NAME);
        memcpy(to + 32, &pack, sizeof pack);
        memcpy(to + 36, &offset, sizeof offset);
        to[40] = record->place;
}

static void unpack_record(const uint8_t from[RECORD], struct segment_record *ret) {
        memcpy(ret->name.bytes, from, CHUNK_NAME);
        memcpy(&ret->pack, from + 32, sizeof ret->pack);
        memcpy(&ret->offset, from + 36, sizeof ret->offset);
        ret->pack = le32toh(ret->pack);
        ret->offset = le32toh(ret->offset);
        ret->place = from[40];
}

int segment_writer_add(struct segment_writer *writer, const struct segment_record *record, struct error *err) {
        if (writer->head.records == writer->records_max)
                return error_set(err, ERROR_TOO_LARGE, "index: more than %" PRIu64 " records for %s",
                                 writer->records_max, writer->records.file);
        writer->positions[writer->n] = filter_position(&writer->shape, &record->name);
        pack_record(writer->page + PAGE_HEAD + writer->n++ * RECORD, record);
        writer->head.records++;
        return writer->n == FILTER_PAGE ? put_page(writer, err) : 0;
}

static int put_trailer(struct segment_writer *writer, struct error *err) {
        uint8_t page[SEGMENT_PAGE] = {0};
        struct trailer trailer = {
                .salt = htole64(writer->head.salt),
                .records = htole64(writer->head.records),
                .scale = htole64(writer->shape.scale),
                .filter_bytes = htole64(writer->filter.written),
                .filter_check = htole64(XXH3_64bits_digest(writer->sum)),
                .number = htole32(writer->head.number),
                .pages = htole32(writer->head.pages),
                .rice = htole32(writer->shape.rice),
        };
        memcpy(trailer.magic, MAGIC, sizeof trailer.magic);
        memcpy(trailer.repository, writer->repository, sizeof trailer.repository);
        trailer.check = htole64(XXH3_64bits(&trailer, offsetof(struct trailer, check)));
        memcpy(page, &trailer, sizeof trailer);
        return output_put(&writer->records, page, sizeof page, err);
}

int segment_writer_close(struct segment_writer *writer, struct segment_head *ret, struct error *err) {
        if ((writer->n > 0 && put_page(writer, err) < 0) || output_sync(&writer->filter, err) < 0 ||
            put_trailer(writer, err) < 0 || output_sync(&writer->records, err) < 0)
                return -1;
        writer->closed = true;
        *ret = writer->head;
        return 0;
}

// ---- reading
struct segment {
        int fd;
        char file[FILE_NAME_MAX];
        struct segment_head head;
        struct filter_shape shape;
        struct filter *filter;
};

void segment_free(struct segment *segment) {
        if (!segment)
                return;
        close_p(&segment->fd);
        filter_free(segment->filter);
        free(segment);
}
DEFINE_CLEANUP(segment_free, struct segment *)

const struct segment_head *segment_head(const struct segment *segment) {
        return &segment->head;
}

size_t segment_bytes(const struct segment *segment) {
        return sizeof *segment + filter_bytes(segment->filter);
}

static int read_pages(const struct segment *segment, uint32_t first, uint32_t n, uint8_t *ret, struct error *err) {
        size_t length = n * (size_t) SEGMENT_PAGE;
        uint64_t offset = first * (uint64_t) SEGMENT_PAGE;
        for (size_t at = 0; at < length;) {
                ssize_t got = pread(segment->fd, ret + at, length - at, (off_t) (offset + at));
                if (got < 0 && errno == EINTR)
                        continue;
                if (got < 0)
                        return error_errno(err, errno, "index: read %s at %" PRIu64, segment->file, offset + at);
                if (got == 0)
                        return error_set(err, ERROR_CORRUPT, "index: %s ends at %" PRIu64 ": expected %u pages",
                                         segment->file, offset + at, segment->head.pages + 1);
                at += (size_t) got;
        }
        return 0;
}

static int check_page(const struct segment *segment, uint32_t number, const uint8_t *page, struct error *err) {
        uint64_t check;
        memcpy(&check, page, sizeof check);
        if (le64toh(check) == check_of_page(page, segment->head.salt, number))
                return 0;
        return error_set(err, ERROR_CORRUPT, "index: %s at %" PRIu64 ": expected another check sum", segment->file,
                         number * (uint64_t) SEGMENT_PAGE);
}

static int open_file(int directory_fd, const char *file, int *ret_fd, uint64_t *ret_bytes, struct error *err) {
        struct stat status;
        _cleanup_(close_p) int fd = openat(directory_fd, file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0 && (errno == ENOENT || errno == ELOOP))
                return error_set(err, ERROR_CORRUPT, "index: %s is missing", file);
        if (fd < 0)
                return error_errno(err, errno, "index: open %s", file);
        if (fstat(fd, &status) < 0)
                return error_errno(err, errno, "index: open %s", file);
        if (!S_ISREG(status.st_mode))
                return error_set(err, ERROR_CORRUPT, "index: %s: expected a regular file", file);
        *ret_bytes = (uint64_t) status.st_size;
        *ret_fd = steal_fd(&fd);
        return 0;
}

static bool trailer_is_sound(const struct trailer *trailer, const struct segment_head *head,
                             const uint8_t repository[16]) {
        return memcmp(trailer->magic, MAGIC, sizeof trailer->magic) == 0 &&
               le64toh(trailer->check) == XXH3_64bits(trailer, offsetof(struct trailer, check)) &&
               memcmp(trailer->repository, repository, sizeof trailer->repository) == 0 &&
               le64toh(trailer->salt) == head->salt && le64toh(trailer->records) == head->records &&
               le32toh(trailer->number) == head->number && le32toh(trailer->pages) == head->pages;
}

static int load_filter(struct segment *segment, int directory_fd, const struct trailer *trailer, struct error *err) {
        char file[FILE_NAME_MAX];
        uint64_t bytes = 0, expected = le64toh(trailer->filter_bytes);
        _cleanup_(close_p) int fd = -1;
        name_file(file, segment->head.number, "filter");
        if (open_file(directory_fd, file, &fd, &bytes, err) < 0)
                return -1;
        if (bytes != expected) // before anything is allocated for it
                return error_set(err, ERROR_CORRUPT, "index: %s has %" PRIu64 " bytes: expected %" PRIu64, file, bytes,
                                 expected);
        segment->shape = (struct filter_shape){.scale = le64toh(trailer->scale), .rice = le32toh(trailer->rice)};
        return filter_load(fd, file, &segment->shape, segment->head.records, segment->head.pages, bytes,
                           le64toh(trailer->filter_check), &segment->filter, err);
}

int segment_open(int directory_fd, const uint8_t repository[16], const struct segment_head *head, struct segment **ret,
                 struct error *err) {
        _cleanup_(segment_free_p) struct segment *segment = new (struct segment);
        uint8_t page[SEGMENT_PAGE];
        struct trailer trailer;
        uint64_t bytes = 0;
        segment->fd = -1;
        segment->head = *head;
        name_file(segment->file, head->number, "records");
        if (open_file(directory_fd, segment->file, &segment->fd, &bytes, err) < 0)
                return -1;
        if (head->records == 0 || head->pages != (head->records + FILTER_PAGE - 1) / FILTER_PAGE ||
            bytes != (head->pages + 1ull) * SEGMENT_PAGE)
                return error_set(err, ERROR_CORRUPT, "index: %s has %" PRIu64 " bytes: expected %u pages of %u",
                                 segment->file, bytes, head->pages + 1, SEGMENT_PAGE);
        if (read_pages(segment, head->pages, 1, page, err) < 0)
                return -1;
        memcpy(&trailer, page, sizeof trailer);
        if (!trailer_is_sound(&trailer, head, repository))
                return error_set(err, ERROR_CORRUPT, "index: %s at %" PRIu64 ": expected this segment's last page",
                                 segment->file, head->pages * (uint64_t) SEGMENT_PAGE);
        if (load_filter(segment, directory_fd, &trailer, err) < 0)
                return -1;
        // A look-up wants one page and not those around it.
        posix_fadvise(segment->fd, 0, 0, POSIX_FADV_RANDOM);
        *ret = steal(&segment);
        return 0;
}

static unsigned records_on(const struct segment *segment, uint32_t page) {
        uint64_t left = segment->head.records - page * (uint64_t) FILTER_PAGE;
        return left < FILTER_PAGE ? (unsigned) left : FILTER_PAGE;
}

// The first record on the page that is not before this name.
static unsigned first_not_before(const uint8_t *page, unsigned n, const struct chunk_name *name) {
        unsigned low = 0, high = n;
        while (low < high) {
                unsigned middle = (low + high) / 2;
                if (memcmp(page + PAGE_HEAD + middle * RECORD, name->bytes, CHUNK_NAME) < 0)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

int segment_find(const struct segment *segment, const struct chunk_name *name,
                 bool (*wanted)(void *context, const struct segment_record *record), void *context,
                 struct segment_record *ret, bool *ret_found, unsigned *pages_read, struct error *err) {
        uint64_t position = filter_position(&segment->shape, name);
        uint8_t page[SEGMENT_PAGE];
        for (uint32_t number = FILTER_BEGIN; filter_next(segment->filter, position, &number);) {
                unsigned n = records_on(segment, number);
                if (read_pages(segment, number, 1, page, err) < 0 || check_page(segment, number, page, err) < 0)
                        return -1;
                ++*pages_read;
                for (unsigned i = first_not_before(page, n, name); i < n; i++) {
                        struct segment_record record;
                        unpack_record(page + PAGE_HEAD + i * RECORD, &record);
                        if (!chunk_name_equal(&record.name, name))
                                break;
                        if (!wanted(context, &record))
                                continue;
                        *ret = record;
                        *ret_found = true;
                        return 0;
                }
        }
        *ret_found = false;
        return 0;
}

// ---- all of it
int segment_cursor_step(struct segment_cursor *cursor, struct error *err) {
        const struct segment *segment = cursor->segment;
        if (cursor->next == segment->head.records) {
                cursor->at_end = true;
                return 0;
        }
        uint32_t page = (uint32_t) (cursor->next / FILTER_PAGE);
        if (page >= cursor->end) {
                uint32_t left = segment->head.pages - page, n = left < CURSOR_PAGES ? left : CURSOR_PAGES;
                if (read_pages(segment, page, n, cursor->buffer, err) < 0)
                        return -1;
                for (uint32_t i = 0; i < n; i++)
                        if (check_page(segment, page + i, cursor->buffer + i * SEGMENT_PAGE, err) < 0)
                                return -1;
                cursor->page = page;
                cursor->end = page + n;
        }
        const uint8_t *there = cursor->buffer + (page - cursor->page) * SEGMENT_PAGE;
        struct chunk_name before = cursor->record.name;
        unpack_record(there + PAGE_HEAD + cursor->next % FILTER_PAGE * RECORD, &cursor->record);
        if (chunk_name_compare(&cursor->record.name, &before) < 0)
                return error_set(err, ERROR_CORRUPT, "index: %s at %" PRIu64 ": expected records in order",
                                 segment->file, page * (uint64_t) SEGMENT_PAGE);
        cursor->next++;
        return 0;
}

int segment_cursor_init(struct segment_cursor *cursor, const struct segment *segment, struct error *err) {
        *cursor = (struct segment_cursor){.segment = segment};
        cursor->buffer = memory_new((size_t) CURSOR_PAGES * SEGMENT_PAGE);
        return segment_cursor_step(cursor, err);
}

void segment_cursor_fini(struct segment_cursor *cursor) {
        free(cursor->buffer);
        cursor->buffer = NULL;
}
