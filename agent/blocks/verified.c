// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The file of verified blocks (see verified.h): a header of one page that says whose blocks, then 16 bytes a block.
 * Zeros: not verified. An entry never crosses a sector, so each is there or is not, whatever a crash leaves.
 */
#include "agent/blocks/verified.h"
#include "common/cleanup.h"
#include "common/memory.h"
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#define HEADER    4096u
#define IMAGE_MAX 255
#define MAGIC     "drover verified 1"

struct header { // as it stands in the file; read on the machine that wrote it
        char magic[24];
        uint64_t bytes;
        char image[IMAGE_MAX + 1];
        uint64_t check;   // XXH3 of all before it
        uint64_t resumed; // attempts that found something verified
};

struct note {
        uint64_t block;
        uint8_t hash[VERIFIED_HASH];
};

struct verified {
        int fd;
        uint64_t blocks;
        pthread_mutex_t disk;  // who writes entries; taken before the other
        pthread_mutex_t mutex; // of what follows
        struct note *notes;    // in the order in which they were taken
        size_t n_notes, room;
        uint64_t taken; // notes committed or given up so far: the mark of notes[0]
        uint64_t count;
        uint64_t resumed; // constant once open
};

static const uint8_t nothing[VERIFIED_HASH];

static uint64_t place_of(uint64_t n) {
        return HEADER + n * VERIFIED_HASH;
}

static int write_at(const struct verified *verified, const void *bytes, size_t length, uint64_t offset,
                    struct error *err) {
        const uint8_t *at = bytes;
        while (length > 0) {
                ssize_t n = pwrite(verified->fd, at, length, (off_t) offset);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return error_errno(err, n < 0 ? errno : EIO, "write the record of verified blocks");
                at += n;
                offset += (uint64_t) n;
                length -= (size_t) n;
        }
        return 0;
}

static int sync_file(const struct verified *verified, struct error *err) {
        return fdatasync(verified->fd) < 0 ? error_errno(err, errno, "sync the record of verified blocks") : 0;
}

// ---- opening
static void make_header(struct header *header, const char *image, uint64_t bytes) {
        memset(header, 0, sizeof *header);
        memcpy(header->magic, MAGIC, sizeof MAGIC);
        header->bytes = bytes;
        memcpy(header->image, image, strlen(image));
        header->check = XXH3_64bits(header, offsetof(struct header, check));
}

static bool is_ours(struct verified *verified, const struct header *expected) {
        struct header header;
        struct stat status;
        bool ours = pread(verified->fd, &header, sizeof header, 0) == (ssize_t) sizeof header &&
                    memcmp(&header, expected, offsetof(struct header, resumed)) == 0 &&
                    fstat(verified->fd, &status) == 0 && (uint64_t) status.st_size == place_of(verified->blocks);
        verified->resumed = ours ? header.resumed : 0;
        return ours;
}

// The entries are gone from the disk before there is a header that would have them believed.
static int begin_anew(const struct verified *verified, const struct header *header, struct error *err) {
        if (ftruncate(verified->fd, 0) < 0 || ftruncate(verified->fd, (off_t) place_of(verified->blocks)) < 0)
                return error_errno(err, errno, "make the record of verified blocks");
        if (sync_file(verified, err) < 0 || write_at(verified, header, sizeof *header, 0, err) < 0)
                return -1;
        return sync_file(verified, err);
}

#define PAGE_ENTRIES 256u

// The next entries from n on, in whole pages; how many there are, 0 at the end, -1: they cannot be read. What has never
// been written is not read.
static int read_page(const struct verified *verified, uint64_t *n, uint8_t (*page)[VERIFIED_HASH]) {
        off_t data = lseek(verified->fd, (off_t) place_of(*n), SEEK_DATA);
        if (data < 0 && errno == ENXIO)
                return 0;
        if (data > (off_t) place_of(*n))
                *n = ((uint64_t) data - HEADER) / VERIFIED_HASH;
        uint64_t left = *n < verified->blocks ? verified->blocks - *n : 0;
        ssize_t got = pread(verified->fd, page, (left < PAGE_ENTRIES ? left : PAGE_ENTRIES) * VERIFIED_HASH,
                            (off_t) place_of(*n));
        return got < 0 ? -1 : (int) ((size_t) got / VERIFIED_HASH);
}

// Counts the entries, and makes sure that the disk says the same as the page cache: an agent that died between taking
// an entry away and syncing that, or whose sync failed, has left an entry on the disk that is not to be seen here, and
// a sync alone writes only what the kernel still believes to be unwritten (fault 23).
static int take_up_entries(struct verified *verified, struct error *err) {
        uint8_t page[PAGE_ENTRIES][VERIFIED_HASH];
        int had;
        for (uint64_t n = 0; (had = read_page(verified, &n, page)) > 0; n += (unsigned) had) {
                if (write_at(verified, page, (size_t) had * VERIFIED_HASH, place_of(n), err) < 0)
                        return -1;
                for (int i = 0; i < had; i++)
                        verified->count += memcmp(page[i], nothing, VERIFIED_HASH) != 0;
        }
        return had < 0 ? error_errno(err, errno, "read the record of verified blocks") : 0;
}

static int take_up(struct verified *verified, struct error *err) {
        if (take_up_entries(verified, err) < 0)
                return -1;
        verified->resumed += verified->count > 0;
        if (write_at(verified, &verified->resumed, sizeof verified->resumed, offsetof(struct header, resumed), err) < 0)
                return -1;
        return sync_file(verified, err);
}

int verified_open(int fd, const char *image, uint64_t bytes, struct verified **ret, bool *ret_fresh,
                  struct error *err) {
        struct header header;
        if (strlen(image) > IMAGE_MAX || bytes > BLOCKS_BYTES_MAX)
                return error_set(err, ERROR_TOO_LARGE, "the image is too long, or its name is");
        struct verified *verified = new (struct verified);
        pthread_mutex_init(&verified->disk, NULL);
        pthread_mutex_init(&verified->mutex, NULL);
        verified->fd = fd;
        verified->blocks = (bytes + BLOCKS_BLOCK - 1) / BLOCKS_BLOCK;
        make_header(&header, image, bytes);
        bool fresh = !is_ours(verified, &header);
        if ((fresh ? begin_anew(verified, &header, err) : take_up(verified, err)) < 0) {
                verified_free(verified);
                return -1;
        }
        *ret_fresh = fresh;
        *ret = verified;
        return 0;
}

void verified_free(struct verified *verified) {
        if (!verified)
                return;
        pthread_mutex_destroy(&verified->disk);
        pthread_mutex_destroy(&verified->mutex);
        free(verified->notes);
        free(verified);
}

// ---- entries
bool verified_get(const struct verified *verified, uint64_t n, uint8_t ret[VERIFIED_HASH]) {
        uint8_t hash[VERIFIED_HASH];
        if (n >= verified->blocks || pread(verified->fd, hash, sizeof hash, (off_t) place_of(n)) != sizeof hash ||
            memcmp(hash, nothing, sizeof hash) == 0)
                return false;
        memcpy(ret, hash, sizeof hash);
        return true;
}

bool verified_next(const struct verified *verified, uint64_t *n) {
        uint8_t page[PAGE_ENTRIES][VERIFIED_HASH];
        int had;
        for (uint64_t at = *n; at < verified->blocks && (had = read_page(verified, &at, page)) > 0;
             at += (unsigned) had)
                for (unsigned i = 0; i < (unsigned) had; i++)
                        if (memcmp(page[i], nothing, VERIFIED_HASH) != 0) {
                                *n = at + i;
                                return true;
                        }
        return false;
}

unsigned verified_run(const struct verified *verified, uint64_t n, uint8_t (*ret_hashes)[VERIFIED_HASH],
                      unsigned most) {
        unsigned count = 0;
        while (count < most && verified_get(verified, n + count, ret_hashes[count]))
                count++;
        return count;
}

unsigned verified_resumed(const struct verified *verified) {
        return (unsigned) verified->resumed;
}

void verified_note(struct verified *verified, uint64_t n, const uint8_t hash[VERIFIED_HASH]) {
        pthread_mutex_lock(&verified->mutex);
        if (verified->n_notes == verified->room) {
                verified->room = verified->room ? 2 * verified->room : 64;
                verified->notes = memory_grow(verified->notes, verified->room, sizeof *verified->notes);
        }
        struct note *note = &verified->notes[verified->n_notes++];
        note->block = n;
        memcpy(note->hash, hash, VERIFIED_HASH);
        pthread_mutex_unlock(&verified->mutex);
}

static void add_count(struct verified *verified, int64_t n) {
        pthread_mutex_lock(&verified->mutex);
        verified->count += (uint64_t) n;
        pthread_mutex_unlock(&verified->mutex);
}

// A note of the block that is not committed yet is of what is to be overwritten, too.
static void drop_notes(struct verified *verified, uint64_t n) {
        pthread_mutex_lock(&verified->mutex);
        for (size_t i = 0; i < verified->n_notes; i++)
                if (verified->notes[i].block == n)
                        verified->notes[i].block = UINT64_MAX;
        pthread_mutex_unlock(&verified->mutex);
}

int verified_forget(struct verified *verified, uint64_t n, struct error *err) {
        uint8_t hash[VERIFIED_HASH];
        int result = 0;
        pthread_mutex_lock(&verified->disk);
        drop_notes(verified, n);
        if (verified_get(verified, n, hash)) {
                result = write_at(verified, nothing, sizeof nothing, place_of(n), err);
                if (result == 0)
                        result = sync_file(verified, err);
                add_count(verified, -1);
        }
        pthread_mutex_unlock(&verified->disk);
        return result;
}

uint64_t verified_mark(struct verified *verified) {
        pthread_mutex_lock(&verified->mutex);
        uint64_t mark = verified->taken + verified->n_notes;
        pthread_mutex_unlock(&verified->mutex);
        return mark;
}

// Takes the notes before the mark out; free() them.
static struct note *take_notes(struct verified *verified, uint64_t mark, size_t *ret_n) {
        pthread_mutex_lock(&verified->mutex);
        size_t n = mark > verified->taken ? (size_t) (mark - verified->taken) : 0;
        if (n > verified->n_notes)
                n = verified->n_notes;
        struct note *notes = new_array(struct note, n + 1);
        if (n > 0) {
                memcpy(notes, verified->notes, n * sizeof *notes);
                memmove(verified->notes, verified->notes + n, (verified->n_notes - n) * sizeof *notes);
        }
        verified->n_notes -= n;
        verified->taken += n;
        pthread_mutex_unlock(&verified->mutex);
        *ret_n = n;
        return notes;
}

static int write_entry(struct verified *verified, const struct note *note, struct error *err) {
        uint8_t before[VERIFIED_HASH];
        if (note->block >= verified->blocks)
                return 0;
        bool known = verified_get(verified, note->block, before);
        if (write_at(verified, note->hash, VERIFIED_HASH, place_of(note->block), err) < 0)
                return -1;
        add_count(verified, !known);
        return 0;
}

int verified_commit(struct verified *verified, uint64_t mark, struct error *err) {
        size_t n = 0;
        int result = 0;
        pthread_mutex_lock(&verified->disk);
        _cleanup_(free_p) struct note *notes = take_notes(verified, mark, &n);
        for (size_t i = 0; i < n && result == 0; i++)
                result = write_entry(verified, &notes[i], err);
        if (result == 0 && n > 0)
                result = sync_file(verified, err);
        pthread_mutex_unlock(&verified->disk);
        return result;
}

uint64_t verified_count(const struct verified *verified) {
        struct verified *counted = (struct verified *) verified;
        pthread_mutex_lock(&counted->mutex);
        uint64_t count = counted->count;
        pthread_mutex_unlock(&counted->mutex);
        return count;
}
