// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * agent/repository/pack: a pack is there as a whole or not at all, and what is damaged in it is found and costs nothing
 * else. fsync, pread and renameat2 are this program's own, so that a test can make them fail.
 */
#include "agent/repository/bytes.h"
#include "agent/repository/pack.h"
#include "common/cleanup.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>
#include "scratch.h"

#define GROUPS 3u
#define CHUNKS 4u // of a group
#define EACH   50u
#define GROUP  (GROUP_HEAD + CHUNKS * GROUP_ENTRY + CHUNKS * EACH)
#define BODY   (GROUP_HEAD + CHUNKS * GROUP_ENTRY)
#define ALL    (GROUPS * CHUNKS)
#define ENDS   (PACK_HEAD + GROUPS * GROUP) // where the trailer begins

static int fsync_countdown = -1;
static off_t unreadable = -1; // reading this byte fails
static int unreadable_why = EIO, no_flags_why;

int fsync(int fd) {
        if (fsync_countdown >= 0 && fsync_countdown-- == 0) {
                errno = EIO;
                return -1;
        }
        return (int) syscall(SYS_fsync, fd);
}

ssize_t pread(int fd, void *bytes, size_t length, off_t offset) {
        if (unreadable >= offset && unreadable < offset + (off_t) length) {
                errno = unreadable_why;
                return -1;
        }
        return syscall(SYS_pread64, fd, bytes, length, offset);
}

int renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags) {
        if (flags && no_flags_why) {
                errno = no_flags_why;
                return -1;
        }
        return (int) syscall(SYS_renameat2, from_fd, from, to_fd, to, flags);
}

static struct group_coder *coder;
static int incoming, packs;
static struct pack_id id;
static char hex[PACK_ID_HEX];
static uint8_t contents[ALL][EACH];
static struct group_chunk chunks[ALL];

static int begin(void **state) {
        if (scratch_make(state) < 0 || mkdir(scratch_path("incoming"), 0700) < 0 ||
            mkdir(scratch_path("packs"), 0700) < 0)
                return -1;
        incoming = open(scratch_path("incoming"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        packs = open(scratch_path("packs"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        coder = group_coder_new();
        fsync_countdown = -1;
        unreadable = -1;
        unreadable_why = EIO;
        no_flags_why = 0;
        for (unsigned i = 0; i < ALL; i++) {
                memset(contents[i], (int) ('a' + i), EACH);
                chunks[i] = (struct group_chunk){chunk_name_of(contents[i], EACH, NULL), contents[i], EACH};
        }
        return 0;
}

static int end(void **state) {
        close(incoming);
        close(packs);
        group_coder_free(coder);
        return scratch_remove(state);
}

// ---- what the tests write and look at
static struct pack_writer *writer_with(unsigned groups) {
        struct error err = ERROR_INIT;
        struct pack_writer *writer = NULL;
        if (pack_writer_new(incoming, packs, &writer, &err) < 0)
                fail_msg("%s", err.message);
        for (unsigned i = 0; i < groups; i++) {
                const uint8_t *bytes;
                size_t n;
                uint32_t offset;
                assert_int_equal(group_encode(coder, chunks + i * CHUNKS, CHUNKS, 0, NULL, &bytes, &n, &err), 0);
                assert_int_equal(n, GROUP);
                assert_int_equal(pack_writer_add(writer, bytes, n, &offset, &err), 0);
                assert_int_equal(offset, PACK_HEAD + i * GROUP);
        }
        id = *pack_writer_id(writer);
        pack_id_to_hex(&id, hex);
        return writer;
}

static const char *path_of_pack(void) {
        char name[64];
        snprintf(name, sizeof name, "packs/%.2s/%s.pack", hex, hex);
        return scratch_path(name);
}

static void write_pack(void) {
        struct error err = ERROR_INIT;
        struct pack_writer *writer = writer_with(GROUPS);
        uint64_t size = pack_writer_size(writer);
        struct stat status;
        if (pack_writer_close(writer, &err) < 0)
                fail_msg("%s", err.message);
        pack_writer_free(writer);
        assert_int_equal(stat(path_of_pack(), &status), 0);
        assert_int_equal(status.st_size, size);
}

static struct pack *open_pack(void) {
        struct pack *pack = NULL;
        struct error err = ERROR_INIT;
        if (pack_open(packs, &id, &pack, &err) < 0 || pack_load(pack, coder, &err) < 0)
                fail_msg("%s", err.message);
        return pack;
}

static unsigned entries(const char *name) {
        unsigned n = 0;
        DIR *directory = opendir(scratch_path(name));
        assert_non_null(directory);
        for (struct dirent *entry; (entry = readdir(directory));)
                n += entry->d_name[0] != '.';
        closedir(directory);
        return n;
}

static void change(off_t at, const void *bytes, size_t n) {
        int fd = open(path_of_pack(), O_WRONLY | O_CLOEXEC);
        assert_int_equal(pwrite(fd, bytes, n, at), n);
        close(fd);
}

static void flip(off_t at) {
        uint8_t byte;
        int fd = open(path_of_pack(), O_RDONLY | O_CLOEXEC);
        assert_int_equal(pread(fd, &byte, 1, at), 1);
        close(fd);
        byte ^= (uint8_t) (1 << at % 8);
        change(at, &byte, 1);
}

static unsigned listed(const struct pack *pack) {
        struct pack_entry entry;
        unsigned n = 0;
        for (struct pack_walk walk = {0}; pack_next(pack, &walk, &entry); n++)
                ;
        return n;
}

// What a check tells.
struct told {
        unsigned parts[PACK_PART_CHUNK + 1];
        unsigned lost; // chunks by their numbers, a bit each
        struct pack_finding last;
        struct error why;
        uint64_t bytes;
        unsigned groups_left;
};

static void on_found(void *context, const struct pack_finding *finding) {
        struct told *told = context;
        told->parts[finding->part]++;
        told->last = *finding;
        told->why = *finding->why;
        for (unsigned i = 0; finding->part == PACK_PART_CHUNK && i < ALL; i++)
                if (finding->offset == PACK_HEAD + i / CHUNKS * GROUP && finding->entry.place == i % CHUNKS)
                        told->lost |= 1u << i;
}

static int before(void *context, uint64_t bytes, struct error *err) {
        struct told *told = context;
        if (told->groups_left-- == 0)
                return error_set(err, ERROR_CANCELLED, "enough");
        told->bytes += bytes;
        return 0;
}

static struct pack_checked check_by(bool unverified, struct told *told) {
        struct pack *pack = open_pack();
        struct pack_checked done = {0};
        struct error err = ERROR_INIT;
        *told = (struct told){.groups_left = 100};
        const struct pack_check how = {.unverified = unverified, .context = told, .found = on_found, .before = before};
        if (pack_check(pack, coder, &how, &done, &err) < 0)
                fail_msg("%s", err.message);
        pack_close(pack);
        return done;
}

static struct pack_checked check(struct told *told) {
        return check_by(false, told);
}

// Every chunk that the pack gives, by its place; those that it cannot give are in the mask.
static unsigned lost(void) {
        unsigned mask = 0;
        struct pack *pack = open_pack();
        for (unsigned i = 0; i < ALL; i++) {
                struct group group;
                uint32_t n, offset = PACK_HEAD + i / CHUNKS * GROUP;
                const uint8_t *bytes = NULL;
                if (pack_read_group(pack, coder, offset, NULL, &group, NULL) == 0)
                        group_verify(&group, NULL);
                else if (pack_salvage_group(pack, coder, offset, NULL, false, NULL, &group, NULL) < 0)
                        group.bad = 0xffff, group.header.chunks = CHUNKS;
                if ((bytes = group_chunk_at(&group, i % CHUNKS, &n)))
                        assert_memory_equal(bytes, contents[i], EACH);
                else
                        mask |= 1u << i;
        }
        pack_close(pack);
        return mask;
}

// ---- whole packs
static void what_was_closed_is_read_back(void **state) {
        (void) state;
        struct told told;
        struct pack_entry entry;
        unsigned n = 0;
        write_pack();
        assert_int_equal(entries("incoming"), 0);
        struct pack *pack = open_pack();
        assert_null(pack_damage(pack));
        assert_true(pack_has_trailer(pack));
        assert_int_equal(pack_groups(pack), GROUPS);
        for (struct pack_walk walk = {0}; pack_next(pack, &walk, &entry); n++) {
                assert_true(chunk_name_equal(&entry.name, &chunks[n].name));
                assert_int_equal(entry.length, EACH);
                assert_int_equal(entry.offset, PACK_HEAD + n / CHUNKS * GROUP);
                assert_int_equal(entry.place, n % CHUNKS);
        }
        assert_int_equal(n, ALL);
        pack_close(pack);
        assert_int_equal(lost(), 0);
        struct pack_checked done = check(&told);
        assert_int_equal(done.findings, 0);
        assert_int_equal(done.chunks, ALL);
        assert_int_equal(done.bytes, GROUPS * GROUP);
        assert_int_equal(told.bytes, GROUPS * GROUP);
}

// The page's words, byte for byte.
static void the_bytes_are_those_of_the_format(void **state) {
        (void) state;
        struct buffer file;
        uint8_t hash[32];
        write_pack();
        buffer_init(&file, 0);
        assert_int_equal(file_read(path_of_pack(), 1 << 20, &file, NULL), 0);
        const uint8_t *trailer = file.data + ENDS;
        size_t length = file.length - ENDS;
        assert_memory_equal(file.data, "DROVRPK1", 8);
        assert_memory_equal(file.data + 8, id.bytes, 16);
        assert_memory_equal(file.data + 24, "GRP1", 4);
        assert_memory_equal(trailer, "TRL1\3\0\0\0", 8);
        assert_memory_equal(trailer + 8, "\x18\0\0\0\0\0\0\0\xc8\0\0\0\0\0\4\0", 16);
        assert_memory_equal(trailer + 24, chunks[0].name.bytes, 32);
        assert_memory_equal(trailer + 56, "\x32\0\0\0", 4);
        SHA256(trailer, length - 44, hash);
        assert_memory_equal(trailer + length - 44, hash, 32);
        assert_int_equal(bytes_get32(trailer + length - 12), length);
        assert_memory_equal(trailer + length - 8, "DROVREND", 8);
        buffer_fini(&file);
}

static void a_writer_says_when_it_has_enough(void **state) {
        (void) state;
        static uint8_t noise[CHUNK_BYTES];
        static struct group_chunk large[GROUP_CHUNKS_MAX];
        struct pack_writer *writer = writer_with(0);
        const uint8_t *bytes;
        uint32_t offset;
        size_t n;
        unsigned groups = 0;
        noise[0] = 1;
        for (unsigned i = 0; i < GROUP_CHUNKS_MAX; i++)
                large[i] = (struct group_chunk){chunk_name_of(noise, CHUNK_BYTES, NULL), noise, CHUNK_BYTES};
        assert_int_equal(group_encode(coder, large, GROUP_CHUNKS_MAX, 0, NULL, &bytes, &n, NULL), 0);
        for (; !pack_writer_full(writer); groups++)
                assert_int_equal(pack_writer_add(writer, bytes, n, &offset, NULL), 0);
        assert_int_equal(groups, 32);
        assert_int_equal(pack_writer_close(writer, NULL), 0);
        pack_writer_free(writer);
        struct pack *pack = open_pack();
        assert_int_equal(listed(pack), 32 * GROUP_CHUNKS_MAX);
        pack_close(pack);
}

static void a_writer_has_enough_of_short_chunks_before_their_bytes_are_many(void **state) {
        (void) state;
        struct group_chunk chunk[GROUP_CHUNKS_MAX];
        struct pack_writer *writer = writer_with(0);
        const uint8_t *bytes;
        uint32_t offset;
        size_t n;
        unsigned groups = 0;
        for (unsigned i = 0; i < GROUP_CHUNKS_MAX; i++)
                chunk[i] = chunks[0];
        assert_int_equal(group_encode(coder, chunk, GROUP_CHUNKS_MAX, 1, NULL, &bytes, &n, NULL), 0);
        for (; !pack_writer_full(writer); groups++)
                assert_int_equal(pack_writer_add(writer, bytes, n, &offset, NULL), 0);
        assert_int_equal(groups * GROUP_CHUNKS_MAX, 65536);
        assert_int_equal(pack_writer_close(writer, NULL), 0);
        pack_writer_free(writer);
        struct pack *pack = open_pack();
        assert_int_equal(listed(pack), 65536);
        pack_close(pack);
}

static void a_file_system_that_cannot_refuse_to_replace_holds_packs(void **state) {
        (void) state;
        static const int whys[] = {EINVAL, ENOSYS, ENOTSUP};
        for (unsigned i = 0; i < 3; i++) {
                no_flags_why = whys[i];
                write_pack();
                assert_int_equal(entries("incoming"), 0);
                assert_int_equal(lost(), 0);
        }
        struct error err = ERROR_INIT;
        no_flags_why = EROFS;
        struct pack_writer *writer = writer_with(1);
        assert_int_equal(pack_writer_close(writer, &err), -1);
        assert_int_equal(err.code, ERROR_IO);
        pack_writer_free(writer);
        assert_int_equal(entries("incoming"), 0);
}

static void what_is_no_group_or_no_pack_is_not_written(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        char message[128];
        uint32_t offset;
        struct pack_writer *writer = writer_with(0);
        snprintf(message, sizeof message, "pack %s: 20 bytes that are no group", hex);
        assert_int_equal(pack_writer_add(writer, (uint8_t[20]){0}, 20, &offset, &err), -1);
        assert_error(err, ERROR_INVALID, message);
        snprintf(message, sizeof message, "pack %s: there is nothing in it", hex);
        assert_int_equal(pack_writer_close(writer, &err), -1);
        assert_error(err, ERROR_INVALID, message);
        pack_writer_free(writer);
        assert_int_equal(entries("incoming") + entries("packs"), 0);
}

static void ids_are_hex_and_nothing_else(void **state) {
        (void) state;
        struct pack_id is, other;
        char text[PACK_ID_HEX], file[64];
        memcpy(is.bytes, "\x3f\x6a\0\1\2\3\4\5\6\7\x88\x99\xaa\xbb\xcc\xe1", 16);
        pack_id_to_hex(&is, text);
        assert_string_equal(text, "3f6a00010203040506078899aabbcce1");
        assert_true(pack_id_from_hex(text, &other));
        assert_memory_equal(&is, &other, sizeof is);
        snprintf(file, sizeof file, "%s.pack", text);
        assert_true(pack_id_from_file(file, &other));
        assert_false(pack_id_from_file(text, &other));
        assert_false(pack_id_from_file(".pack", &other));
        assert_false(pack_id_from_hex("", &other));
        assert_false(pack_id_from_hex("3f6a00010203040506078899aabbcce", &other));
        assert_false(pack_id_from_hex("3f6a00010203040506078899aabbcce10", &other));
        assert_false(pack_id_from_hex("3F6a00010203040506078899aabbcce1", &other));
        assert_false(pack_id_from_hex("../a00010203040506078899aabbcce1", &other));
}

static void what_is_not_there_or_no_file_is_not_read(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        struct pack *pack;
        char message[200], other[600];
        write_pack();
        struct pack_id none = {{1}};
        assert_int_equal(pack_open(packs, &none, &pack, &err), -1);
        assert_int_equal(err.code, ERROR_NOT_FOUND);
        snprintf(other, sizeof other, "%s.away", path_of_pack());
        assert_int_equal(rename(path_of_pack(), other), 0);
        assert_int_equal(symlink(other, path_of_pack()), 0);
        assert_int_equal(pack_open(packs, &id, &pack, &err), -1);
        snprintf(message, sizeof message, "pack %s: packs/%.2s/%s.pack: has a link or a file in its way", hex, hex,
                 hex);
        assert_error(err, ERROR_CORRUPT, message);
        unlink(path_of_pack());
        assert_int_equal(mkfifo(path_of_pack(), 0600), 0);
        assert_int_equal(pack_open(packs, &id, &pack, &err), -1);
        snprintf(message, sizeof message, "pack %s: not a regular file", hex);
        assert_error(err, ERROR_CORRUPT, message);
}

// ---- what goes wrong while it is written
static void fault_22_a_pack_that_was_not_closed_disappears(void **state) {
        (void) state;
        struct pack_writer *writer = writer_with(2);
        assert_int_equal(entries("incoming"), 1);
        assert_int_equal(entries("packs"), 0);
        pack_writer_free(writer);
        assert_int_equal(entries("incoming"), 0);
        assert_int_equal(entries("packs"), 0);
}

// All that was written of it by the time of a cut, at any byte.
static void fault_22_a_torn_pack_is_used_as_far_as_it_goes(void **state) {
        (void) state;
        struct stat status;
        write_pack();
        assert_int_equal(stat(path_of_pack(), &status), 0);
        for (off_t length = status.st_size - 1; length >= 0; length--) {
                assert_int_equal(truncate(path_of_pack(), length), 0);
                struct pack *pack = open_pack();
                unsigned whole = length < (off_t) PACK_HEAD ? 0 : (unsigned) (length - PACK_HEAD) / GROUP;
                whole = whole < GROUPS ? whole : GROUPS;
                assert_false(pack_has_trailer(pack));
                assert_int_equal(pack_damage(pack)->code, ERROR_CORRUPT);
                assert_int_equal(listed(pack), whole * CHUNKS);
                pack_close(pack);
        }
}

static void fault_23_a_failed_fsync_loses_the_pack(void **state) {
        (void) state;
        static const char *const messages[] = {
                "pack %s: fsync: Input/output error",
                "pack %s: packs/%.2s: fsync of a directory: Input/output error",
                "pack %s: packs/%.2s: fsync of a directory: Input/output error",
        };
        for (int i = 0; i < 3; i++) {
                struct error err = ERROR_INIT;
                char message[128], directory[16];
                struct pack_writer *writer = writer_with(2);
                fsync_countdown = i;
                assert_int_equal(pack_writer_close(writer, &err), -1);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
                snprintf(message, sizeof message, messages[i], hex, hex);
#pragma GCC diagnostic pop
                assert_error(err, ERROR_IO, message);
                // It would succeed now, which says nothing about what was lost.
                snprintf(message, sizeof message, "pack %s: it is closed, or an earlier write failed", hex);
                assert_int_equal(pack_writer_close(writer, &err), -1);
                assert_error(err, ERROR_FAILED, message);
                pack_writer_free(writer);
                assert_int_equal(entries("incoming"), 0);
                snprintf(directory, sizeof directory, "packs/%.2s", hex);
                assert_true(i == 0 || entries(directory) == 0);
        }
}

static void fault_19_a_full_file_system_leaves_nothing_of_the_pack(void **state) {
        (void) state;
        static uint8_t noise[CHUNK_BYTES];
        struct error err = ERROR_INIT;
        char message[128];
        const uint8_t *bytes;
        uint32_t offset;
        size_t n;
        if (mount("none", scratch_path("incoming"), "tmpfs", 0, "size=256k") < 0)
                skip(); // needs root
        close(incoming);
        incoming = open(scratch_path("incoming"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        noise[0] = 1;
        struct group_chunk chunk = {chunk_name_of(noise, CHUNK_BYTES, NULL), noise, CHUNK_BYTES};
        assert_int_equal(group_encode(coder, &chunk, 1, 0, NULL, &bytes, &n, NULL), 0);
        struct pack_writer *writer = writer_with(0);
        int result;
        while ((result = pack_writer_add(writer, bytes, n, &offset, &err)) == 0)
                assert_true(pack_writer_size(writer) < 300000);
        assert_int_equal(err.code, ERROR_NO_SPACE);
        snprintf(message, sizeof message, "pack %s: write at ", hex);
        assert_memory_equal(err.message, message, strlen(message));
        assert_non_null(strstr(err.message, ": No space left on device"));
        assert_int_equal(pack_writer_close(writer, &err), -1);
        assert_int_equal(err.code, ERROR_FAILED);
        pack_writer_free(writer);
        unsigned left = entries("incoming");
        umount2(scratch_path("incoming"), MNT_DETACH);
        assert_int_equal(left, 0);
        assert_int_equal(entries("packs"), 0);
}

// ---- damage
// Which chunks a damaged byte costs: none but those whose content it is, as the trailer tells all the rest.
static unsigned cost_of(off_t at) {
        if (at < (off_t) PACK_HEAD || at >= (off_t) ENDS)
                return 0;
        unsigned group = (unsigned) (at - PACK_HEAD) / GROUP, in = (unsigned) (at - PACK_HEAD) % GROUP;
        return in < BODY ? 0 : 1u << (group * CHUNKS + (in - BODY) / EACH);
}

static void fault_58_a_bit_anywhere_is_found_and_costs_what_it_was(void **state) {
        (void) state;
        struct stat status;
        write_pack();
        assert_int_equal(stat(path_of_pack(), &status), 0);
        for (off_t at = 0; at < status.st_size; at++) {
                struct told told;
                flip(at);
                struct pack_checked done = check(&told);
                assert_int_equal(told.parts[PACK_PART_HEAD], at < (off_t) PACK_HEAD);
                assert_int_equal(told.parts[PACK_PART_GROUP], at >= (off_t) PACK_HEAD && at < (off_t) ENDS);
                assert_int_equal(told.parts[PACK_PART_TRAILER], at >= (off_t) ENDS);
                assert_int_equal(told.lost, cost_of(at));
                assert_int_equal(done.damaged, cost_of(at) != 0);
                assert_int_equal(done.chunks, ALL);
                assert_int_equal(done.unread, 0);
                assert_int_equal(told.why.code, ERROR_CORRUPT);
                assert_int_equal(lost(), cost_of(at));
                flip(at);
        }
}

static void fault_58_damage_says_what_where_and_what_was_expected(void **state) {
        (void) state;
        struct told told;
        char message[400], name[CHUNK_HEX];
        write_pack();
        const off_t body = PACK_HEAD + GROUP + BODY + EACH;
        flip(body);
        check(&told);
        chunk_name_to_hex(&chunks[CHUNKS + 1].name, name);
        snprintf(message, sizeof message, "pack %s: group at %u: chunk 1 is not what its name says, %s", hex,
                 PACK_HEAD + GROUP, name);
        assert_error(told.why, ERROR_CORRUPT, message);
        assert_true(chunk_name_equal(&told.last.entry.name, &chunks[CHUNKS + 1].name));
        flip(body);
        flip(PACK_HEAD + GROUP);
        check(&told);
        snprintf(message, sizeof message, "pack %s: group at %u: begins with 46525031, expected GRP1", hex,
                 PACK_HEAD + GROUP);
        assert_error(told.why, ERROR_CORRUPT, message);
        flip(PACK_HEAD + GROUP);
        flip(ENDS);
        check(&told);
        snprintf(message, sizeof message, "pack %s: trailer at %u: begins with 55524c31, expected TRL1", hex, ENDS);
        assert_error(told.why, ERROR_CORRUPT, message);
}

static void fault_58_without_a_trailer_a_damaged_group_is_passed_over(void **state) {
        (void) state;
        struct told told;
        write_pack();
        assert_int_equal(truncate(path_of_pack(), ENDS + 60), 0);
        flip(PACK_HEAD + GROUP + BODY + 3 * EACH);
        struct pack *pack = open_pack();
        assert_false(pack_has_trailer(pack));
        assert_int_equal(pack_groups(pack), 2);
        assert_int_equal(listed(pack), 2 * CHUNKS); // the index must not learn of what may not be there
        pack_close(pack);
        struct pack_checked done = check(&told);
        assert_int_equal(done.chunks, ALL);
        assert_int_equal(told.lost, 1u << (CHUNKS + 3));
        assert_int_equal(lost(), 1u << (CHUNKS + 3));
}

static void fault_61_a_chunk_under_another_s_name_is_told(void **state) {
        (void) state;
        struct told told;
        chunks[6].name = chunks[2].name;
        write_pack();
        struct pack_checked done = check(&told);
        assert_int_equal(done.damaged, 1);
        assert_int_equal(done.findings, 1);
        assert_int_equal(told.lost, 1 << 6);
        assert_true(chunk_name_equal(&told.last.entry.name, &chunks[2].name));
}

static void fault_61_a_pack_under_another_s_name_is_told(void **state) {
        (void) state;
        struct told told;
        char message[200], was[PACK_ID_HEX], from[600];
        write_pack();
        memcpy(was, hex, sizeof was);
        snprintf(from, sizeof from, "%s", path_of_pack());
        id.bytes[15] ^= 1;
        pack_id_to_hex(&id, hex);
        assert_int_equal(rename(from, path_of_pack()), 0);
        check(&told);
        snprintf(message, sizeof message, "pack %s: head at 0: says that it is pack %s", hex, was);
        assert_error(told.why, ERROR_CORRUPT, message);
        assert_int_equal(lost(), 0);
}

static void fault_67_a_read_error_is_not_called_damage(void **state) {
        (void) state;
        struct told told;
        struct error err = ERROR_INIT;
        struct group group;
        struct pack *pack;
        char message[128];
        write_pack();
        static const off_t places[] = {3, ENDS, ENDS + 20};
        for (unsigned i = 0; i < 3; i++) {
                assert_int_equal(pack_open(packs, &id, &pack, &err), 0);
                unreadable = places[i];
                assert_int_equal(pack_load(pack, coder, &err), 0);
                snprintf(message, sizeof message, "pack %s: read at %u: Input/output error", hex, i ? ENDS : 0);
                assert_non_null(pack_damage(pack));
                assert_error(*pack_damage(pack), ERROR_IO, message);
                assert_true(pack_unread(pack));
                assert_int_equal(pack_has_trailer(pack), i == 0);
                assert_int_equal(listed(pack), ALL); // what can be read is not hidden by what cannot
                pack_close(pack);
                struct pack_checked done = check(&told);
                assert_int_equal(done.damaged + done.unread, 0);
                assert_int_equal(told.parts[i ? PACK_PART_TRAILER : PACK_PART_HEAD], 1);
                assert_int_equal(told.why.code, ERROR_IO);
                unreadable = -1;
                pack = open_pack(); // it has passed
                assert_true(pack_has_trailer(pack) && !pack_damage(pack) && !pack_unread(pack));
                pack_close(pack);
        }
        pack = open_pack();
        unreadable = PACK_HEAD + GROUP + BODY;
        assert_int_equal(pack_read_group(pack, coder, PACK_HEAD + GROUP, NULL, &group, &err), -1);
        assert_int_equal(err.code, ERROR_IO);
        assert_int_equal(pack_salvage_group(pack, coder, PACK_HEAD + GROUP, NULL, false, NULL, &group, &err), -1);
        assert_int_equal(err.code, ERROR_IO);
        pack_close(pack);
        struct pack_checked done = check(&told);
        assert_int_equal(done.damaged, 0);
        assert_int_equal(done.unread, CHUNKS);
        assert_int_equal(told.lost, 0xf0);
        assert_int_equal(told.why.code, ERROR_IO);
}

// The trailer is damaged, so that the groups are looked for.
static void fault_67_groups_are_found_behind_one_that_cannot_be_read(void **state) {
        (void) state;
        struct told told;
        write_pack();
        flip(ENDS + 1);
        unreadable = PACK_HEAD + GROUP + BODY;
        struct pack *pack = open_pack();
        assert_int_equal(pack_damage(pack)->code, ERROR_CORRUPT);
        assert_true(pack_unread(pack));
        assert_int_equal(listed(pack), 2 * CHUNKS);
        pack_close(pack);
        struct pack_checked done = check(&told);
        assert_int_equal(done.chunks, ALL);
        assert_int_equal(done.unread, CHUNKS);
        assert_int_equal(done.damaged, 0);
        assert_int_equal(told.lost, 0xf0);
        assert_int_equal(lost(), 0xf0);
        unreadable = -1;
        assert_int_equal(lost(), 0);
}

static void fault_67_groups_end_where_a_header_cannot_be_read(void **state) {
        (void) state;
        struct told told;
        char message[128];
        write_pack();
        flip(ENDS + 1);
        unreadable = PACK_HEAD + GROUP + 20;
        struct pack *pack = open_pack();
        assert_true(pack_unread(pack));
        assert_int_equal(listed(pack), CHUNKS);
        pack_close(pack);
        struct pack_checked done = check(&told);
        assert_int_equal(done.chunks, CHUNKS);
        assert_int_equal(done.damaged + done.unread, 0);
        assert_int_equal(told.parts[PACK_PART_GROUP], 1);
        assert_int_equal(told.last.offset, PACK_HEAD + GROUP);
        snprintf(message, sizeof message, "pack %s: read at %u: Input/output error", hex, PACK_HEAD + GROUP + 16);
        assert_error(told.why, ERROR_IO, message);
        unreadable = -1;
        pack = open_pack();
        assert_int_equal(listed(pack), ALL);
        assert_false(pack_unread(pack));
        pack_close(pack);
}

// ERROR_DENIED would say that the group is sealed and its check holds.
static void fault_67_a_read_that_is_not_permitted_is_no_missing_key(void **state) {
        (void) state;
        struct told told;
        write_pack();
        unreadable = PACK_HEAD + GROUP + BODY;
        for (unsigned i = 0; i < 2; i++) {
                unreadable_why = i ? EPERM : EACCES;
                struct pack_checked done = check(&told);
                assert_int_equal(done.unread, CHUNKS);
                assert_int_equal(done.unopened, 0);
                assert_int_equal(told.why.code, ERROR_IO);
        }
}

// ---- sealed, by a toy that adds zeros
static int toy_encrypt(const struct group_seal *seal, const uint8_t *more, size_t n_more, const uint8_t *text, size_t n,
                       uint8_t *ret, struct error *err) {
        (void) seal;
        (void) more;
        (void) n_more;
        (void) err;
        memset(ret, 0, GROUP_SEAL_MORE);
        memcpy(ret + GROUP_SEAL_MORE, text, n);
        return 0;
}

static int toy_decrypt(const struct group_seal *seal, const uint8_t *more, size_t n_more, const uint8_t *sealed,
                       size_t n, uint8_t *ret, struct error *err) {
        (void) seal;
        (void) more;
        (void) n_more;
        (void) err;
        memcpy(ret, sealed + GROUP_SEAL_MORE, n - GROUP_SEAL_MORE);
        return 0;
}

static const struct group_seal toy = {toy_encrypt, toy_decrypt};

static void write_sealed(void) {
        const uint8_t *bytes;
        uint32_t offset;
        size_t n;
        struct pack_writer *writer = writer_with(0);
        assert_int_equal(group_encode(coder, chunks, CHUNKS, 0, &toy, &bytes, &n, NULL), 0);
        assert_int_equal(pack_writer_add(writer, bytes, n, &offset, NULL), 0);
        assert_int_equal(pack_writer_close(writer, NULL), 0);
        pack_writer_free(writer);
}

static void a_sealed_pack_is_checked_without_its_key(void **state) {
        (void) state;
        struct told told;
        struct pack_checked done;
        write_sealed();
        done = check(&told);
        assert_int_equal(done.findings, 0);
        assert_int_equal(done.unopened, CHUNKS);
        flip(PACK_HEAD + BODY + GROUP_SEAL_MORE + 5);
        done = check(&told);
        assert_int_equal(told.parts[PACK_PART_GROUP], 1);
        assert_int_equal(done.damaged, CHUNKS); // nobody here can say which
        assert_int_equal(done.unopened, 0);
        assert_int_equal(told.why.code, ERROR_DENIED);
}

// The maps of a sealed repository: not sealed, and named under a key that their owner does not have.
static void a_group_that_is_named_under_a_key_is_checked_without_it(void **state) {
        (void) state;
        struct told told;
        struct chunk_key key = {{5}};
        for (unsigned i = 0; i < ALL; i++)
                chunks[i].name = chunk_name_of(contents[i], EACH, &key);
        write_pack();
        struct pack_checked done = check_by(true, &told);
        assert_int_equal(done.findings, 0);
        assert_int_equal(done.unopened, ALL);
        flip(PACK_HEAD + GROUP + BODY + 3);
        done = check_by(true, &told);
        assert_int_equal(told.parts[PACK_PART_GROUP], 1);
        assert_int_equal(told.lost, 0xf0); // nobody here can say which
        assert_int_equal(done.damaged, CHUNKS);
        assert_int_equal(done.unopened, ALL - CHUNKS);
        assert_int_equal(told.why.code, ERROR_DENIED);
        flip(PACK_HEAD + GROUP + BODY + 3);
}

// Its check says that a body is right whose header is not, but for the check itself.
static void fault_58_a_header_among_names_under_a_key_costs_nothing(void **state) {
        (void) state;
        struct told told;
        struct chunk_key key = {{5}};
        for (unsigned i = 0; i < ALL; i++)
                chunks[i].name = chunk_name_of(contents[i], EACH, &key);
        write_pack();
        for (off_t at = 0; at < (off_t) BODY; at++) {
                struct error err = ERROR_INIT;
                struct group group;
                uint32_t n;
                bool is_check = at >= 12 && at < 16;
                flip(PACK_HEAD + GROUP + at);
                struct pack_checked done = check_by(true, &told);
                assert_int_equal(told.parts[PACK_PART_GROUP], 1);
                assert_int_equal(done.damaged, is_check ? CHUNKS : 0);
                assert_int_equal(done.unopened, is_check ? ALL - CHUNKS : ALL);
                struct pack *pack = open_pack();
                int result = pack_salvage_group(pack, coder, PACK_HEAD + GROUP, NULL, true, NULL, &group, &err);
                assert_int_equal(result, is_check ? -1 : 0);
                if (is_check)
                        assert_int_equal(err.code, ERROR_DENIED);
                for (unsigned i = 0; result == 0 && i < CHUNKS; i++)
                        assert_memory_equal(group_chunk_at(&group, i, &n), contents[CHUNKS + i], EACH);
                pack_close(pack);
                flip(PACK_HEAD + GROUP + at);
        }
}

static void fault_61_a_name_under_a_seal_is_checked_with_the_key(void **state) {
        (void) state;
        struct told told = {0};
        struct pack_checked done;
        chunks[1].name = chunks[2].name;
        write_sealed();
        struct pack *pack = open_pack();
        const struct pack_check how = {.seal = &toy, .context = &told, .found = on_found};
        assert_int_equal(pack_check(pack, coder, &how, &done, NULL), 0);
        assert_int_equal(told.lost, 1 << 1);
        assert_int_equal(done.unopened, 0);
        pack_close(pack);
}

// Its reader is elsewhere, and has the key but not the trailer.
static void fault_58_a_group_with_a_damaged_header_is_mended_for_its_reader(void **state) {
        (void) state;
        write_sealed();
        for (unsigned at = 0; at < BODY; at += 3) {
                struct error err = ERROR_INIT;
                struct group group;
                size_t n;
                flip(PACK_HEAD + (off_t) at);
                struct pack *pack = open_pack();
                assert_int_equal(pack_read_group(pack, coder, PACK_HEAD, &toy, &group, &err), -1);
                assert_int_equal(err.code, ERROR_CORRUPT);
                assert_int_equal(pack_mend_bytes(pack, coder, PACK_HEAD, &n, &err), 0);
                assert_int_equal(group_decode(coder, group_coder_bytes(coder), n, &toy, &group, &err), 0);
                assert_int_equal(group_verify(&group, NULL), 0);
                pack_close(pack);
                flip(PACK_HEAD + (off_t) at);
        }
}

// ---- bounds, in trailers whose hash fits
static void rehash(void) {
        uint8_t trailer[4096], hash[32];
        int fd = open(path_of_pack(), O_RDONLY | O_CLOEXEC);
        ssize_t n = pread(fd, trailer, sizeof trailer, ENDS);
        close(fd);
        SHA256(trailer, (size_t) n - 44, hash);
        change(ENDS + n - 44, hash, 32);
}

static void fault_55_a_trailer_out_of_bounds_is_not_believed(void **state) {
        (void) state;
        static const struct {
                off_t at; // in the trailer
                uint32_t is;
                const char *message;
        } cases[] = {
                {4, 0xffffffff, "group 3: 0 bytes are left, expected 16"},
                {4, 2, "160 bytes are left behind the last group"},
                {4, 0, "480 bytes are left behind the last group"},
                {8, 25, "group 0: begins at 25, expected 24"},
                {12, 1, "group 0: begins at 4294967320, expected 24"},
                {16, 0x7fffffff, "group 0: the body has 2147483647 bytes, expected 1 to 1114112"},
                {16, 199, "group 0: the body has 199 bytes, expected 200"},
                {20, 0x00110000, "group 0: has 17 chunks, expected 1 to 16"},
                {56, 65537, "group 0: chunk 0 has 65537 bytes, expected 1 to 65536"},
        };
        for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
                uint8_t is[4];
                char message[200];
                write_pack();
                bytes_put32(is, cases[i].is);
                change(ENDS + cases[i].at, is, sizeof is);
                rehash();
                struct pack *pack = open_pack();
                assert_false(pack_has_trailer(pack));
                snprintf(message, sizeof message, "pack %s: trailer at %u: %s", hex, ENDS, cases[i].message);
                assert_error(*pack_damage(pack), ERROR_CORRUPT, message);
                assert_int_equal(listed(pack), ALL);
                pack_close(pack);
        }
}

static void fault_55_a_pack_longer_than_any_is_refused(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        struct pack *pack;
        char message[128];
        write_pack();
        assert_int_equal(truncate(path_of_pack(), (off_t) 1 << 40), 0);
        assert_int_equal(pack_open(packs, &id, &pack, &err), -1);
        snprintf(message, sizeof message, "pack %s: has 1099511627776 bytes, expected at most 67108864", hex);
        assert_error(err, ERROR_CORRUPT, message);
}

static void an_offset_where_no_group_begins_is_not_found(void **state) {
        (void) state;
        struct group group;
        write_pack();
        struct pack *pack = open_pack();
        const uint32_t offsets[] = {0, PACK_HEAD - 1, PACK_HEAD + 1, ENDS, UINT32_MAX};
        for (unsigned i = 0; i < 5; i++) {
                struct error err = ERROR_INIT;
                char message[128];
                assert_int_equal(pack_read_group(pack, coder, offsets[i], NULL, &group, &err), -1);
                snprintf(message, sizeof message, "pack %s: no group begins at %u", hex, offsets[i]);
                assert_error(err, ERROR_NOT_FOUND, message);
        }
        pack_close(pack);
}

static void a_check_ends_when_its_owner_wants(void **state) {
        (void) state;
        struct told told = {.groups_left = 1};
        struct error err = ERROR_INIT;
        struct pack_checked done;
        write_pack();
        struct pack *pack = open_pack();
        const struct pack_check how = {.context = &told, .before = before};
        assert_int_equal(pack_check(pack, coder, &how, &done, &err), -1);
        assert_error(err, ERROR_CANCELLED, "enough");
        assert_int_equal(told.bytes, GROUP);
        pack_close(pack);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, begin, end)

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(what_was_closed_is_read_back),
                TEST(the_bytes_are_those_of_the_format),
                TEST(a_writer_says_when_it_has_enough),
                TEST(a_writer_has_enough_of_short_chunks_before_their_bytes_are_many),
                TEST(a_file_system_that_cannot_refuse_to_replace_holds_packs),
                TEST(what_is_no_group_or_no_pack_is_not_written),
                TEST(ids_are_hex_and_nothing_else),
                TEST(what_is_not_there_or_no_file_is_not_read),
                TEST(fault_22_a_pack_that_was_not_closed_disappears),
                TEST(fault_22_a_torn_pack_is_used_as_far_as_it_goes),
                TEST(fault_23_a_failed_fsync_loses_the_pack),
                TEST(fault_19_a_full_file_system_leaves_nothing_of_the_pack),
                TEST(fault_58_a_bit_anywhere_is_found_and_costs_what_it_was),
                TEST(fault_58_damage_says_what_where_and_what_was_expected),
                TEST(fault_58_without_a_trailer_a_damaged_group_is_passed_over),
                TEST(fault_61_a_chunk_under_another_s_name_is_told),
                TEST(fault_61_a_pack_under_another_s_name_is_told),
                TEST(fault_67_a_read_error_is_not_called_damage),
                TEST(fault_67_groups_are_found_behind_one_that_cannot_be_read),
                TEST(fault_67_groups_end_where_a_header_cannot_be_read),
                TEST(fault_67_a_read_that_is_not_permitted_is_no_missing_key),
                TEST(a_sealed_pack_is_checked_without_its_key),
                TEST(a_group_that_is_named_under_a_key_is_checked_without_it),
                TEST(fault_58_a_header_among_names_under_a_key_costs_nothing),
                TEST(fault_61_a_name_under_a_seal_is_checked_with_the_key),
                TEST(fault_58_a_group_with_a_damaged_header_is_mended_for_its_reader),
                TEST(fault_55_a_trailer_out_of_bounds_is_not_believed),
                TEST(fault_55_a_pack_longer_than_any_is_refused),
                TEST(an_offset_where_no_group_begins_is_not_found),
                TEST(a_check_ends_when_its_owner_wants),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
