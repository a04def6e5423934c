// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The index of a repository by itself: random names go in, a pack of 1500 at a time, then names that are there and
 * names that are not are looked for. One line of JSON a phase.
 *
 *   index segments DIR NAMES             as drover does it, merges included
 *   index sqlite DIR NAMES CACHE-KIB     a table WITHOUT ROWID, its key the name, a transaction a pack
 *   index large DIR NAMES                one segment of so many names, in order as a merge would write it; then
 * look-ups
 *
 * DIR is empty. "written" is what the process gave to be written, "rss" what it has resident, both in bytes.
 */
#include "agent/repository/index.h"
#include "agent/repository/segment.h"
#include <endian.h>
#include <err.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define PACK    1500u
#define LOOKUPS 200000u
#define STEP    20000u // records of a merge for each pack that is added

static const uint8_t repository[16] = {1};
static double began, began_cpu;

static uint64_t mix(uint64_t value) { // splitmix64
        value += 0x9e3779b97f4a7c15u;
        value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9u;
        value = (value ^ value >> 27) * 0x94d049bb133111ebu;
        return value ^ value >> 31;
}

static struct chunk_name name_of(uint64_t number) {
        struct chunk_name name;
        for (unsigned i = 0; i < 4; i++) {
                uint64_t word = mix(number * 4 + i);
                memcpy(name.bytes + i * 8, &word, sizeof word);
        }
        return name;
}

static double seconds(clockid_t clock) {
        struct timespec now;
        clock_gettime(clock, &now);
        return (double) now.tv_sec + (double) now.tv_nsec / 1e9;
}

static uint64_t number_in(const char *file, const char *key) {
        char line[256];
        uint64_t value = 0;
        FILE *stream = fopen(file, "re");
        while (stream && fgets(line, sizeof line, stream))
                if (strncmp(line, key, strlen(key)) == 0)
                        value = strtoull(line + strlen(key), NULL, 10);
        if (stream)
                fclose(stream);
        return value;
}

static void begin(void) {
        began = seconds(CLOCK_MONOTONIC);
        began_cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
}

static void report(const char *phase, uint64_t n, const char *more) {
        printf("{\"phase\": \"%s\", \"names\": %llu, \"seconds\": %.2f, \"cpu\": %.2f, \"rss\": %llu, \"written\": "
               "%llu%s}\n",
               phase, (unsigned long long) n, seconds(CLOCK_MONOTONIC) - began,
               seconds(CLOCK_PROCESS_CPUTIME_ID) - began_cpu,
               (unsigned long long) number_in("/proc/self/status", "VmRSS:") * 1024,
               (unsigned long long) number_in("/proc/self/io", "wchar:"), more);
        fflush(stdout);
}

static void check(int result, const struct error *why) {
        if (result < 0)
                errx(1, "%s", why->message);
}

// ---- segments
static void look(struct index *index, uint64_t names, bool there) {
        char more[160];
        struct error why = ERROR_INIT;
        struct index_counts before = index_count(index);
        begin();
        for (uint64_t i = 0; i < LOOKUPS; i++) {
                struct chunk_name name = name_of(there ? mix(i) % names : names + i);
                struct index_place place;
                bool found = false;
                check(index_find(index, &name, &found, &place, &why), &why);
                if (found != there)
                        errx(1, "a name is %sthere", there ? "not " : "");
        }
        struct index_counts after = index_count(index);
        snprintf(more, sizeof more, ", \"pages\": %.4f, \"segments\": %u, \"memory\": %llu",
                 (double) (after.pages - before.pages) / LOOKUPS, after.segments, (unsigned long long) after.bytes);
        report(there ? "find-present" : "find-absent", LOOKUPS, more);
}

static void run_segments(int directory, uint64_t names) {
        struct index *index = NULL;
        struct index_entry entries[PACK];
        struct error why = ERROR_INIT;
        bool more = false;
        check(index_open(directory, repository, 0, &index, &why), &why);
        begin();
        for (uint64_t at = 0; at < names; at += PACK) {
                uint32_t n = names - at < PACK ? (uint32_t) (names - at) : PACK;
                struct chunk_name id = name_of(~at);
                for (uint32_t i = 0; i < n; i++)
                        entries[i] = (struct index_entry){.name = name_of(at + i), .offset = i, .place = i % 16};
                check(index_add(index, id.bytes, entries, n, &why), &why);
                check(index_merge_step(index, STEP, &more, &why), &why);
        }
        check(index_flush(index, &why), &why);
        for (more = true; more;)
                check(index_merge_step(index, STEP, &more, &why), &why);
        report("insert", names, "");
        look(index, names, false);
        look(index, names, true);
        index_free(index);
}

// ---- one large segment
static bool any(void *context, const struct segment_record *record) {
        (void) context;
        (void) record;
        return true;
}

// In order, with the gaps that hashes have to within what matters here: one in each of equal parts of all numbers.
static struct chunk_name ordered_name(uint64_t number, uint64_t names) {
        struct chunk_name name = name_of(number);
        uint64_t part = UINT64_MAX / names, first = htobe64(number * part + mix(~number) % part);
        memcpy(name.bytes, &first, sizeof first);
        return name;
}

static void look_large(const struct segment *segment, uint64_t names, bool there) {
        char more[160];
        struct error why = ERROR_INIT;
        unsigned pages = 0;
        begin();
        for (uint64_t i = 0; i < LOOKUPS; i++) {
                struct chunk_name name = there ? ordered_name(mix(i) % names, names) : name_of(~i);
                struct segment_record record;
                bool found = false;
                check(segment_find(segment, &name, any, NULL, &record, &found, &pages, &why), &why);
                if (found != there)
                        errx(1, "a name is %sthere", there ? "not " : "");
        }
        snprintf(more, sizeof more, ", \"pages\": %.4f, \"memory\": %llu", (double) pages / LOOKUPS,
                 (unsigned long long) segment_bytes(segment));
        report(there ? "find-present" : "find-absent", LOOKUPS, more);
}

static void run_large(int directory, uint64_t names) {
        struct segment_writer *writer = NULL;
        struct segment_head head;
        struct segment *segment = NULL;
        struct error why = ERROR_INIT;
        begin();
        check(segment_writer_new(directory, repository, 1, names, &writer, &why), &why);
        for (uint64_t i = 0; i < names; i++) {
                struct segment_record record = {.name = ordered_name(i, names), .pack = (uint32_t) (i / PACK)};
                check(segment_writer_add(writer, &record, &why), &why);
        }
        check(segment_writer_close(writer, &head, &why), &why);
        segment_writer_free(writer);
        report("write", names, "");
        begin();
        check(segment_open(directory, repository, &head, &segment, &why), &why);
        report("open", names, "");
        look_large(segment, names, false);
        look_large(segment, names, true);
        segment_free(segment);
}

// ---- SQLite
static void sql(sqlite3 *db, const char *text) {
        if (sqlite3_exec(db, text, NULL, NULL, NULL) != SQLITE_OK)
                errx(1, "%s: %s", text, sqlite3_errmsg(db));
}

static void look_sqlite(sqlite3 *db, uint64_t names, bool there) {
        sqlite3_stmt *select = NULL;
        sqlite3_prepare_v2(db, "SELECT pack, offset, place FROM chunk WHERE name = ?", -1, &select, NULL);
        begin();
        for (uint64_t i = 0; i < LOOKUPS; i++) {
                struct chunk_name name = name_of(there ? mix(i) % names : names + i);
                sqlite3_bind_blob(select, 1, name.bytes, CHUNK_NAME, SQLITE_STATIC);
                if (sqlite3_step(select) != (there ? SQLITE_ROW : SQLITE_DONE))
                        errx(1, "%s", sqlite3_errmsg(db));
                sqlite3_reset(select);
        }
        sqlite3_finalize(select);
        report(there ? "find-present" : "find-absent", LOOKUPS, "");
}

static void run_sqlite(const char *directory, uint64_t names, const char *cache) {
        char text[512];
        sqlite3 *db = NULL;
        sqlite3_stmt *insert = NULL;
        snprintf(text, sizeof text, "%s/index.db", directory);
        if (sqlite3_open(text, &db) != SQLITE_OK)
                errx(1, "%s", text);
        snprintf(text, sizeof text, "PRAGMA cache_size = -%d", atoi(cache));
        sql(db, "PRAGMA journal_mode = WAL");
        sql(db, "PRAGMA synchronous = NORMAL"); // it is made of the packs: what the last transactions said may be lost
        sql(db, text);
        sql(db, "CREATE TABLE chunk(name BLOB PRIMARY KEY, pack INTEGER, offset INTEGER, place INTEGER) WITHOUT ROWID");
        sqlite3_prepare_v2(db, "INSERT OR IGNORE INTO chunk VALUES(?, ?, ?, ?)", -1, &insert, NULL);
        begin();
        for (uint64_t at = 0; at < names; at += PACK) {
                sql(db, "BEGIN");
                for (uint64_t i = at; i < at + PACK && i < names; i++) {
                        struct chunk_name name = name_of(i);
                        sqlite3_bind_blob(insert, 1, name.bytes, CHUNK_NAME, SQLITE_STATIC);
                        sqlite3_bind_int64(insert, 2, (sqlite3_int64) (at / PACK));
                        sqlite3_bind_int64(insert, 3, (sqlite3_int64) (i - at));
                        sqlite3_bind_int(insert, 4, (int) (i % 16));
                        if (sqlite3_step(insert) != SQLITE_DONE)
                                errx(1, "%s", sqlite3_errmsg(db));
                        sqlite3_reset(insert);
                }
                sql(db, "COMMIT");
        }
        sqlite3_finalize(insert);
        sql(db, "PRAGMA wal_checkpoint(TRUNCATE)");
        report("insert", names, "");
        look_sqlite(db, names, false);
        look_sqlite(db, names, true);
        sqlite3_close(db);
}

int main(int argc, char **argv) {
        int directory = argc >= 4 ? open(argv[2], O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
        uint64_t names = argc >= 4 ? strtoull(argv[3], NULL, 10) : 0;
        if (directory < 0 || names == 0)
                errx(2, "index segments|large DIR NAMES, or index sqlite DIR NAMES CACHE-KIB; DIR is there");
        if (strcmp(argv[1], "segments") == 0)
                run_segments(directory, names);
        else if (strcmp(argv[1], "large") == 0)
                run_large(directory, names);
        else if (strcmp(argv[1], "sqlite") == 0 && argc == 5)
                run_sqlite(argv[2], names, argv[4]);
        else
                errx(2, "%s: expected segments, large or sqlite", argv[1]);
        close(directory);
        return 0;
}
