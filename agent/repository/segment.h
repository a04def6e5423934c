// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * A segment of the index: records in the order of their names, written once from the first to the last and never
 * changed. Two files, NUMBER.records (pages of 4 KiB with a check sum each, the last one says what the segment is) and
 * NUMBER.filter (what filter.h loads). The check sums begin with the segment's salt, so that a page of another segment
 * is no page of this one. Damage gives ERROR_CORRUPT and says where; a read that failed does not (ERROR_IO).
 *
 * Writer and cursor belong to one thread; an open segment does not change: any thread.
 */
#include "agent/repository/chunk.h"

#define SEGMENT_PAGE 4096u

struct segment_record {
        struct chunk_name name;
        uint32_t pack;   // the number that the index gives it
        uint32_t offset; // of the group in the pack
        uint8_t place;   // in the group
};
// Which segment is meant: what the index remembers of it.
struct segment_head {
        uint32_t number;
        uint32_t pages;
        uint64_t records;
        uint64_t salt;
};

struct segment_writer;
// records_max: how many will be added at most, at least 1. directory_fd is used until the writer is freed.
int segment_writer_new(int directory_fd, const uint8_t repository[16], uint32_t number, uint64_t records_max,
                       struct segment_writer **ret, struct error *err);
// In the order of names.
int segment_writer_add(struct segment_writer *writer, const struct segment_record *record, struct error *err);
// At least one was added. On return both files are on disk, the directory is not synced.
int segment_writer_close(struct segment_writer *writer, struct segment_head *ret, struct error *err);
void segment_writer_free(struct segment_writer *writer); // what was not closed is removed; NULL is fine
void segment_remove(int directory_fd, uint32_t number);
bool segment_number_of(const char *file, uint32_t *ret_number); // false: no name of a segment's file

struct segment;
int segment_open(int directory_fd, const uint8_t repository[16], const struct segment_head *head, struct segment **ret,
                 struct error *err);
void segment_free(struct segment *segment); // NULL is fine
const struct segment_head *segment_head(const struct segment *segment);
size_t segment_bytes(const struct segment *segment); // in memory
// The first record of this name that is wanted. *pages_read is added to.
int segment_find(const struct segment *segment, const struct chunk_name *name,
                 bool (*wanted)(void *context, const struct segment_record *record), void *context,
                 struct segment_record *ret, bool *ret_found, unsigned *pages_read, struct error *err);

struct segment_cursor {
        const struct segment *segment;
        uint64_t next;      // number of the record after this one
        uint32_t page, end; // that the buffer holds
        uint8_t *buffer;
        bool at_end;
        struct segment_record record;
};
// To the first record; at_end says that there is none any more.
int segment_cursor_init(struct segment_cursor *cursor, const struct segment *segment, struct error *err);
int segment_cursor_step(struct segment_cursor *cursor, struct error *err);
void segment_cursor_fini(struct segment_cursor *cursor);
