// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What a disk gives back of the record of verified blocks and of a book of the index, whatever became of it (fault 22):
 * it is read or begun anew, no entry is believed that is not one, and what is written then is read again. The first
 * byte chooses which of the two; the rest is laid over a whole one, or is all there is of it.
 */
#include "agent/blocks/verified.h"
#include "agent/reuse/shelf.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define BLOCKS 600u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void need(bool holds) {
        if (!holds)
                abort();
}

static void spoil(int fd, const uint8_t *data, size_t size) {
        if (size < 4)
                return;
        if (data[0] & 1)
                need(ftruncate(fd, 0) == 0);
        off_t at = data[1] << 8 | data[2];
        need(pwrite(fd, data + 3, size - 3, at) == (ssize_t) size - 3);
        if (data[0] & 2)
                need(ftruncate(fd, at) == 0);
}

// ---- the record
static struct verified *open_record(int fd, bool *ret_fresh) {
        struct verified *verified = NULL;
        need(verified_open(fd, "image", (uint64_t) BLOCKS * BLOCKS_BLOCK, &verified, ret_fresh, NULL) == 0);
        return verified;
}

static void note_all(struct verified *verified, uint8_t mark) {
        uint8_t hash[VERIFIED_HASH];
        memset(hash, mark, sizeof hash);
        for (uint64_t n = 0; n < BLOCKS; n += 3)
                verified_note(verified, n, hash);
        need(verified_commit(verified, verified_mark(verified), NULL) == 0);
}

static void walk(const struct verified *verified, bool fresh) {
        uint8_t hashes[8][VERIFIED_HASH];
        uint64_t known = 0;
        for (uint64_t n = 0; verified_next(verified, &n); n++) {
                need(n < BLOCKS && verified_run(verified, n, hashes, 8) > 0);
                known++;
        }
        need(known == verified_count(verified) && !(fresh && known > 0));
}

static void fuzz_record(const uint8_t *data, size_t size) {
        bool fresh;
        int fd = memfd_create("record", MFD_CLOEXEC);
        struct verified *verified = open_record(fd, &fresh);
        note_all(verified, 5);
        verified_free(verified);
        spoil(fd, data, size);
        verified = open_record(fd, &fresh);
        walk(verified, fresh);
        need(verified_forget(verified, 3, NULL) == 0);
        note_all(verified, 6);
        verified_free(verified);
        verified = open_record(fd, &fresh);
        uint8_t hash[VERIFIED_HASH];
        need(!fresh && verified_get(verified, 3, hash) && hash[0] == 6 && hash[VERIFIED_HASH - 1] == 6);
        walk(verified, fresh);
        verified_free(verified);
        close(fd);
}

// ---- a book
static char directory[64];
static struct shelf *shelf;

static void remove_shelf(void) {
        char path[96];
        snprintf(path, sizeof path, "%s/1-2-3", directory);
        unlink(path);
        rmdir(directory);
        shelf_free(shelf);
}

static void need_shelf(char path[96]) {
        if (!shelf) {
                const char *place = getenv("TMPDIR");
                snprintf(directory, sizeof directory, "%s/drover-fuzz-XXXXXX", place ? place : "/tmp");
                need(mkdtemp(directory) && shelf_open(directory, 1 << 20, &shelf, NULL) == 0 &&
                     atexit(remove_shelf) == 0);
        }
        snprintf(path, 96, "%s/1-2-3", directory);
}

static void fuzz_book(const uint8_t *data, size_t size) {
        static const struct candidate_version version = {.device = 1, .inode = 2, .birth = 3, .bytes = 4};
        char path[96];
        uint32_t tags[SHELF_CHUNK] = {7, 8, 9};
        uint64_t first, next = 0;
        unsigned n;
        need_shelf(path);
        unlink(path);
        struct shelf_book *book = shelf_book_open(shelf, &version);
        need(book && shelf_book_append(book, 0, tags, 700) && shelf_book_append(book, 900, tags, SHELF_CHUNK));
        shelf_book_close(book);
        int fd = open(path, O_RDWR | O_CLOEXEC);
        spoil(fd, data, size);
        close(fd);
        book = shelf_book_open(shelf, &version);
        need(book);
        while (shelf_book_read(book, &first, tags, &n)) {
                need(n > 0 && n <= SHELF_CHUNK && first >= next);
                next = first + n;
        }
        need(shelf_book_append(book, next, tags, 3));
        shelf_book_close(book);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        if (size < 1)
                return 0;
        if (data[0] & 1)
                fuzz_record(data + 1, size - 1);
        else
                fuzz_book(data + 1, size - 1);
        return 0;
}
