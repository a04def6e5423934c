// SPDX-License-Identifier: LGPL-2.1-or-later
/* Numbers of packs and their log (see index_packs.h). */
#include "agent/repository/index_packs.h"
#include "common/cleanup.h"
#include "common/memory.h"
#include "common/random.h"
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

#define PACKS_MAX  (1u << 24) // half a PiB in packs of 32 MiB
#define SLOTS_MIN  64u
#define LOG_ADD    1u
#define LOG_REMOVE 2u
#define LOG_BATCH  2048u

struct log_entry { // little endian
        uint8_t id[16];
        uint32_t number, entries, what;
        uint32_t check; // low bits of the XXH3-64 of what stands before it
};

void index_packs_init(struct index_packs *packs) {
        *packs = (struct index_packs){.seed = random_u64()};
}

void index_packs_fini(struct index_packs *packs) {
        free(packs->packs);
        free(packs->slots);
        *packs = (struct index_packs){0};
}

// ---- by id
static uint32_t slot_of(const struct index_packs *packs, const uint8_t id[16]) {
        return (uint32_t) XXH3_64bits_withSeed(id, 16, packs->seed) & (packs->n_slots - 1);
}

static void enter(struct index_packs *packs, uint32_t number) {
        uint32_t slot = slot_of(packs, packs->packs[number].id);
        while (packs->slots[slot])
                slot = (slot + 1) & (packs->n_slots - 1);
        packs->slots[slot] = number + 1;
        packs->n_entered++;
}

static void enter_all(struct index_packs *packs) {
        uint32_t n_slots = SLOTS_MIN;
        while (n_slots < packs->n * 2)
                n_slots *= 2;
        free(packs->slots);
        packs->slots = new_array(uint32_t, n_slots);
        packs->n_slots = n_slots;
        packs->n_entered = 0;
        for (uint32_t i = 0; i < packs->n; i++)
                if (index_packs_counts(packs, i))
                        enter(packs, i);
}

bool index_packs_counts(const struct index_packs *packs, uint32_t number) {
        return number < packs->n &&
               (packs->packs[number].state == INDEX_PACK_TABLE || packs->packs[number].state == INDEX_PACK_LIVE);
}

bool index_packs_unlogged(const struct index_packs *packs, uint32_t number) {
        return number < packs->n && packs->packs[number].state == INDEX_PACK_GONE && packs->packs[number].unlogged;
}

bool index_packs_find(const struct index_packs *packs, const uint8_t id[16], uint32_t *ret_number) {
        if (packs->n_slots == 0)
                return false;
        for (uint32_t slot = slot_of(packs, id); packs->slots[slot]; slot = (slot + 1) & (packs->n_slots - 1)) {
                uint32_t number = packs->slots[slot] - 1;
                if (!index_packs_counts(packs, number) || memcmp(packs->packs[number].id, id, 16) != 0)
                        continue;
                *ret_number = number;
                return true;
        }
        return false;
}

// ---- states
static void reserve(struct index_packs *packs, uint32_t n) {
        uint32_t capacity = packs->capacity ? packs->capacity : SLOTS_MIN;
        while (capacity < n)
                capacity *= 2;
        if (capacity == packs->capacity)
                return;
        packs->packs = memory_grow(packs->packs, capacity, sizeof *packs->packs);
        packs->capacity = capacity;
}

int index_packs_add(struct index_packs *packs, const uint8_t id[16], uint32_t entries, uint32_t *ret_number,
                    struct error *err) {
        uint32_t number = packs->free ? packs->free - 1 : packs->n;
        if (number >= PACKS_MAX)
                return error_set(err, ERROR_TOO_LARGE, "index: more than %u packs", PACKS_MAX);
        if (packs->free)
                packs->free = packs->packs[number].entries;
        else
                reserve(packs, ++packs->n);
        packs->packs[number] = (struct index_pack){.entries = entries, .state = INDEX_PACK_TABLE};
        memcpy(packs->packs[number].id, id, sizeof packs->packs[number].id);
        packs->live++;
        if ((packs->n_entered + 1) * 2 > packs->n_slots)
                enter_all(packs); // with it
        else
                enter(packs, number);
        *ret_number = number;
        return 0;
}

// One of the table goes to segments never, but may still be in the table: it is free when that is flushed.
void index_packs_remove(struct index_packs *packs, uint32_t number) {
        struct index_pack *pack = &packs->packs[number];
        if (pack->state == INDEX_PACK_LIVE) {
                pack->unlogged = 1;
                packs->gone += pack->entries;
        } else
                pack->dying = 2;
        pack->state = INDEX_PACK_GONE;
        packs->live--;
}

void index_packs_mark(struct index_packs *packs) {
        for (uint32_t i = 0; i < packs->n; i++)
                if (packs->packs[i].state == INDEX_PACK_GONE && packs->packs[i].dying == 0)
                        packs->packs[i].dying = 1;
}

static void release(struct index_packs *packs, uint8_t dying) {
        bool any = false;
        for (uint32_t i = 0; i < packs->n; i++) {
                struct index_pack *pack = &packs->packs[i];
                if (pack->state != INDEX_PACK_GONE || pack->dying != dying)
                        continue;
                if (dying == 1)
                        packs->gone -= pack->entries;
                *pack = (struct index_pack){.entries = packs->free};
                packs->free = i + 1;
                any = true;
        }
        if (any)
                enter_all(packs);
}

void index_packs_bury(struct index_packs *packs) {
        for (uint32_t i = 0; i < packs->n; i++)
                packs->packs[i].unlogged = 0;
        release(packs, 1);
}

void index_packs_flushed(struct index_packs *packs, uint32_t logged) {
        for (uint32_t i = 0; i < packs->n; i++) {
                if (packs->packs[i].state == INDEX_PACK_TABLE)
                        packs->packs[i].state = INDEX_PACK_LIVE;
                packs->packs[i].unlogged = 0;
        }
        packs->logged = logged;
        release(packs, 2);
}

// ---- the log
static void name_file(char file[32], uint32_t generation) {
        snprintf(file, 32, "packs-%08" PRIx32, generation);
}

bool index_packs_generation_of(const char *file, uint32_t *ret_generation) {
        char exactly[32];
        uint32_t generation;
        if (sscanf(file, "packs-%8" SCNx32, &generation) != 1)
                return false;
        name_file(exactly, generation);
        *ret_generation = generation;
        return strcmp(file, exactly) == 0;
}

void index_packs_unlink(int directory_fd, uint32_t generation) {
        char file[32];
        name_file(file, generation);
        unlinkat(directory_fd, file, 0);
}

// Bound to its place, so that entries do not change theirs.
static uint32_t check_of(const struct log_entry *entry, uint32_t generation, uint32_t place) {
        return (uint32_t) XXH3_64bits_withSeed(entry, offsetof(struct log_entry, check),
                                               (uint64_t) generation << 32 | place);
}

struct log {
        int fd;
        const char *file;
        uint32_t generation, written;
        struct log_entry *batch; // LOG_BATCH
        uint32_t n;
};

static int log_drain(struct log *log, struct error *err) {
        const uint8_t *bytes = (const uint8_t *) log->batch;
        size_t length = log->n * sizeof *log->batch;
        for (size_t at = 0; at < length;) {
                ssize_t n = pwrite(log->fd, bytes + at, length - at, (off_t) (log->written * sizeof *log->batch + at));
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return error_errno(err, errno, "index: write %s", log->file);
                at += (size_t) n;
        }
        log->written += log->n;
        log->n = 0;
        return 0;
}

static int log_put(struct log *log, const struct index_pack *pack, uint32_t number, uint32_t what, struct error *err) {
        struct log_entry *entry = &log->batch[log->n];
        *entry =
                (struct log_entry){.number = htole32(number), .entries = htole32(pack->entries), .what = htole32(what)};
        memcpy(entry->id, pack->id, sizeof entry->id);
        entry->check = htole32(check_of(entry, log->generation, log->written + log->n));
        return ++log->n == LOG_BATCH ? log_drain(log, err) : 0;
}

// anew: everything; otherwise what changed.
static int log_all(const struct index_packs *packs, struct log *log, bool anew, struct error *err) {
        for (uint32_t i = 0; i < packs->n; i++) {
                const struct index_pack *pack = &packs->packs[i];
                bool gone = pack->state == INDEX_PACK_GONE && pack->dying != 2;
                bool add = anew ? pack->state == INDEX_PACK_LIVE || (gone && !pack->dying)
                                : pack->state == INDEX_PACK_TABLE;
                bool remove = anew ? gone && !pack->dying : gone && pack->unlogged;
                if (add && log_put(log, pack, i, LOG_ADD, err) < 0)
                        return -1;
                if (remove && log_put(log, pack, i, LOG_REMOVE, err) < 0)
                        return -1;
        }
        if (log_drain(log, err) < 0)
                return -1;
        return fsync(log->fd) < 0 ? error_errno(err, errno, "index: fsync of %s", log->file) : 0;
}

static int write_log(struct index_packs *packs, int directory_fd, uint32_t generation, uint32_t from, bool anew,
                     uint32_t *ret_logged, struct error *err) {
        char file[32];
        name_file(file, generation);
        _cleanup_(free_p) struct log_entry *batch = new_array(struct log_entry, LOG_BATCH);
        _cleanup_(close_p) int fd =
                openat(directory_fd, file, O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
        if (fd < 0)
                return error_errno(err, errno, "index: open %s", file);
        struct log log = {.fd = fd, .file = file, .generation = generation, .written = from, .batch = batch};
        if (log_all(packs, &log, anew, err) < 0)
                return -1;
        *ret_logged = log.written;
        return 0;
}

int index_packs_log(struct index_packs *packs, int directory_fd, uint32_t *ret_logged, struct error *err) {
        return write_log(packs, directory_fd, packs->generation, packs->logged, false, ret_logged, err);
}

int index_packs_log_anew(struct index_packs *packs, int directory_fd, uint32_t generation, uint32_t *ret_logged,
                         struct error *err) {
        return write_log(packs, directory_fd, generation, 0, true, ret_logged, err);
}

// ---- loading
static bool apply(struct index_packs *packs, const struct log_entry *entry) {
        uint32_t number = le32toh(entry->number), what = le32toh(entry->what), old = packs->n;
        if (number >= PACKS_MAX || (what != LOG_ADD && what != LOG_REMOVE))
                return false;
        if (what == LOG_REMOVE) {
                if (number >= old || packs->packs[number].state != INDEX_PACK_LIVE)
                        return false;
                packs->packs[number].state = INDEX_PACK_GONE;
                packs->gone += packs->packs[number].entries;
                packs->live--;
                return true;
        }
        if (number >= old) {
                reserve(packs, number + 1);
                memset(packs->packs + old, 0, (number + 1 - old) * sizeof *packs->packs);
                packs->n = number + 1;
        }
        if (packs->packs[number].state != INDEX_PACK_FREE)
                return false;
        packs->packs[number] = (struct index_pack){.entries = le32toh(entry->entries), .state = INDEX_PACK_LIVE};
        memcpy(packs->packs[number].id, entry->id, sizeof entry->id);
        packs->live++;
        return true;
}

static int load(struct index_packs *packs, int fd, const char *file, uint32_t logged, struct error *err) {
        _cleanup_(free_p) struct log_entry *batch = new_array(struct log_entry, LOG_BATCH);
        for (uint32_t i = 0, n; i < logged; i += n) {
                n = logged - i < LOG_BATCH ? logged - i : LOG_BATCH;
                ssize_t got = pread(fd, batch, n * sizeof *batch, (off_t) (i * sizeof *batch));
                if (got < 0)
                        return error_errno(err, errno, "index: read %s", file);
                if ((size_t) got != n * sizeof *batch)
                        return error_set(err, ERROR_CORRUPT, "index: %s ends within entry %u: expected %u", file,
                                         i + (uint32_t) ((size_t) got / sizeof *batch), logged);
                for (uint32_t k = 0; k < n; k++)
                        if (le32toh(batch[k].check) != check_of(&batch[k], packs->generation, i + k) ||
                            !apply(packs, &batch[k]))
                                return error_set(err, ERROR_CORRUPT, "index: %s: entry %u: expected another check sum",
                                                 file, i + k);
        }
        return 0;
}

int index_packs_load(struct index_packs *packs, int directory_fd, uint32_t generation, uint32_t logged,
                     struct error *err) {
        char file[32];
        name_file(file, generation);
        packs->generation = generation;
        packs->logged = logged;
        if (logged == 0)
                return 0;
        _cleanup_(close_p) int fd = openat(directory_fd, file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0 && (errno == ENOENT || errno == ELOOP))
                return error_set(err, ERROR_CORRUPT, "index: %s is missing", file);
        if (fd < 0)
                return error_errno(err, errno, "index: open %s", file);
        if (load(packs, fd, file, logged, err) < 0)
                return -1;
        for (uint32_t i = 0; i < packs->n; i++)
                if (packs->packs[i].state == INDEX_PACK_FREE) {
                        packs->packs[i].entries = packs->free;
                        packs->free = i + 1;
                }
        enter_all(packs);
        return 0;
}
