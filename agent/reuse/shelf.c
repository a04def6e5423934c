// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The index on disk (see shelf.h). A book is "<device>-<inode>-<birth>" in hex: a head with the image's version, then
 * chunks, each a head and its tags. Nothing is synced: what a crash leaves is checked, and a hint at most.
 */
#include "agent/reuse/shelf.h"
#include "common/cleanup.h"
#include "common/file.h"
#include "common/memory.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <xxhash.h>

#define MAGIC     "drover book 001"
#define NAME      64
#define BOOKS_MAX 4096u

struct shelf {
        int fd;
        uint64_t bytes_max;
};
struct book_head {
        char magic[16];
        struct candidate_version version;
        uint64_t check; // of what stands before it
};
struct chunk_head {
        uint64_t first;
        uint64_t n;
        uint64_t check; // of the version, first, n and the tags
};
struct shelf_book {
        struct shelf *shelf;
        int fd;
        char name[NAME];
        struct candidate_version version;
        uint64_t at;   // where the next chunk begins in the file
        uint64_t next; // the first piece that it can have
};

int shelf_open(const char *directory, uint64_t bytes_max, struct shelf **ret, struct error *err) {
        if (file_make_directories(directory, 0700, err) < 0)
                return -1;
        int fd = open(directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return error_errno(err, errno, "open the directory %s", directory);
        struct shelf *shelf = new (struct shelf);
        *shelf = (struct shelf){.fd = fd, .bytes_max = bytes_max};
        *ret = shelf;
        return 0;
}

void shelf_free(struct shelf *shelf) {
        if (shelf)
                close(shelf->fd);
        free(shelf);
}

// ---- the bound
struct found {
        char name[NAME];
        struct timespec used;
        uint64_t bytes;
};

static int oldest_first(const void *a, const void *b) {
        const struct found *one = a, *other = b;
        if (one->used.tv_sec != other->used.tv_sec)
                return one->used.tv_sec < other->used.tv_sec ? -1 : 1;
        return one->used.tv_nsec < other->used.tv_nsec ? -1 : one->used.tv_nsec > other->used.tv_nsec;
}

static unsigned list(struct shelf *shelf, struct found *books, uint64_t *ret_bytes) {
        int fd = openat(shelf->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *directory = fd >= 0 ? fdopendir(fd) : NULL;
        unsigned n = 0;
        *ret_bytes = 0;
        if (!directory) {
                close_p(&fd);
                return 0;
        }
        for (struct dirent *entry; n < BOOKS_MAX && (entry = readdir(directory));) {
                struct stat status;
                if (strlen(entry->d_name) >= NAME ||
                    fstatat(shelf->fd, entry->d_name, &status, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(status.st_mode))
                        continue;
                memcpy(books[n].name, entry->d_name, strlen(entry->d_name) + 1);
                books[n].used = status.st_mtim;
                books[n].bytes = (uint64_t) status.st_size;
                *ret_bytes += books[n++].bytes;
        }
        closedir(directory);
        return n;
}

void shelf_trim(struct shelf *shelf) {
        uint64_t bytes = 0;
        _cleanup_(free_p) struct found *books = new_array(struct found, BOOKS_MAX);
        unsigned n = list(shelf, books, &bytes);
        qsort(books, n, sizeof *books, oldest_first);
        for (unsigned i = 0; i < n && (bytes > shelf->bytes_max || n - i >= BOOKS_MAX); i++)
                if (unlinkat(shelf->fd, books[i].name, 0) == 0)
                        bytes -= books[i].bytes;
}

// ---- one book
static uint64_t check_of_head(const struct book_head *head) {
        return XXH3_64bits(head, offsetof(struct book_head, check));
}

static uint64_t check_of_chunk(const struct shelf_book *book, const struct chunk_head *head, const uint32_t *tags) {
        uint64_t version = XXH3_64bits(&book->version, sizeof book->version);
        uint64_t where = XXH3_64bits_withSeed(head, offsetof(struct chunk_head, check), version);
        return XXH3_64bits_withSeed(tags, head->n * sizeof *tags, where);
}

static bool read_at(int fd, void *bytes, size_t length, uint64_t offset) {
        return pread(fd, bytes, length, (off_t) offset) == (ssize_t) length;
}

static bool write_at(int fd, const void *bytes, size_t length, uint64_t offset) {
        return pwrite(fd, bytes, length, (off_t) offset) == (ssize_t) length;
}

// As it is, or made anew for this version of the image.
static bool begin(struct shelf_book *book) {
        struct book_head head, wanted;
        memset(&wanted, 0, sizeof wanted);
        memcpy(wanted.magic, MAGIC, sizeof MAGIC);
        wanted.version = book->version;
        wanted.check = check_of_head(&wanted);
        book->at = sizeof head;
        if (read_at(book->fd, &head, sizeof head, 0) && memcmp(&head, &wanted, sizeof head) == 0)
                return futimens(book->fd, NULL) == 0; // used now
        return ftruncate(book->fd, 0) == 0 && write_at(book->fd, &wanted, sizeof wanted, 0);
}

struct shelf_book *shelf_book_open(struct shelf *shelf, const struct candidate_version *version) {
        struct shelf_book *book = new (struct shelf_book);
        book->shelf = shelf;
        book->version = *version;
        snprintf(book->name, sizeof book->name, "%" PRIx64 "-%" PRIx64 "-%" PRIx64, version->device, version->inode,
                 version->birth);
        book->fd = openat(shelf->fd, book->name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (book->fd >= 0 && flock(book->fd, LOCK_EX | LOCK_NB) == 0 && begin(book))
                return book;
        shelf_book_close(book);
        return NULL;
}

bool shelf_book_read(struct shelf_book *book, uint64_t *ret_first, uint32_t tags[SHELF_CHUNK], unsigned *ret_n) {
        struct chunk_head head;
        if (!read_at(book->fd, &head, sizeof head, book->at) || head.n == 0 || head.n > SHELF_CHUNK ||
            head.first < book->next || head.first > UINT64_MAX / 2 ||
            !read_at(book->fd, tags, head.n * sizeof *tags, book->at + sizeof head) ||
            check_of_chunk(book, &head, tags) != head.check)
                return false;
        book->at += sizeof head + head.n * sizeof *tags;
        book->next = head.first + head.n;
        *ret_first = head.first;
        *ret_n = (unsigned) head.n;
        return true;
}

bool shelf_book_append(struct shelf_book *book, uint64_t first, const uint32_t *tags, unsigned n) {
        struct chunk_head head = {.first = first, .n = n};
        size_t length = n * sizeof *tags;
        if (book->at + sizeof head + length > SHELF_BOOK_MAX)
                return false;
        head.check = check_of_chunk(book, &head, tags);
        if (!write_at(book->fd, tags, length, book->at + sizeof head) ||
            !write_at(book->fd, &head, sizeof head, book->at))
                return false;
        book->at += sizeof head + length;
        book->next = first + n;
        return true;
}

void shelf_book_drop(struct shelf_book *book) {
        unlinkat(book->shelf->fd, book->name, 0);
        shelf_book_close(book);
}

void shelf_book_close(struct shelf_book *book) {
        if (book)
                close_p(&book->fd);
        free(book);
}
