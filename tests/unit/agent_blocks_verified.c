// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * agent/blocks/verified: what is in the record is on the disk, whatever happened to the record. pwrite and fdatasync
 * are this program's own, so that a test can see them and make them fail.
 */
#include "agent/blocks/verified.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>

#define MIB (1ull << 20)

static bool sync_fails;
static size_t unsynced; // bytes written since the last sync that succeeded

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) {
        unsynced += length;
        return syscall(SYS_pwrite64, fd, bytes, length, offset);
}

int fdatasync(int fd) {
        if (sync_fails) {
                errno = EIO;
                return -1;
        }
        unsynced = 0;
        return (int) syscall(SYS_fdatasync, fd);
}

struct scene {
        int fd;
        struct verified *verified;
        bool fresh;
};

static void open_as(struct scene *scene, const char *image, uint64_t bytes) {
        verified_free(scene->verified);
        scene->verified = NULL;
        assert_int_equal(verified_open(scene->fd, image, bytes, &scene->verified, &scene->fresh, NULL), 0);
}

static void begin(struct scene *scene) {
        char path[] = "/var/tmp/drover-verified-XXXXXX";
        *scene = (struct scene){.fd = mkstemp(path)};
        assert_true(scene->fd >= 0);
        unlink(path);
        open_as(scene, "one", 3000 * MIB);
        assert_true(scene->fresh);
}

static void end(struct scene *scene) {
        verified_free(scene->verified);
        close(scene->fd);
}

static const uint8_t *hash_of(uint64_t n) {
        static uint8_t hash[VERIFIED_HASH];
        memset(hash, (int) (n % 255) + 1, sizeof hash);
        return hash;
}

static void commit(struct scene *scene) {
        assert_int_equal(verified_commit(scene->verified, verified_mark(scene->verified), NULL), 0);
}

static void learn(struct scene *scene, uint64_t n) {
        verified_note(scene->verified, n, hash_of(n));
        commit(scene);
}

static bool has(const struct scene *scene, uint64_t n) {
        uint8_t hash[VERIFIED_HASH];
        return verified_get(scene->verified, n, hash) && memcmp(hash, hash_of(n), sizeof hash) == 0;
}

static void assert_anew(struct scene *scene, const char *image, uint64_t bytes) {
        open_as(scene, image, bytes);
        assert_true(scene->fresh && !has(scene, 7));
}

static void a_note_counts_when_it_is_committed(void **state) {
        (void) state;
        struct scene scene;
        begin(&scene);
        verified_note(scene.verified, 7, hash_of(7));
        uint64_t mark = verified_mark(scene.verified);
        verified_note(scene.verified, 8, hash_of(8)); // after the flush began
        assert_false(has(&scene, 7));
        assert_int_equal(verified_commit(scene.verified, mark, NULL), 0);
        assert_true(has(&scene, 7));
        assert_false(has(&scene, 8));
        assert_int_equal(verified_count(scene.verified), 1);
        open_as(&scene, "one", 3000 * MIB); // what was only noted is forgotten
        assert_false(scene.fresh);
        assert_true(has(&scene, 7));
        assert_false(has(&scene, 8));
        assert_int_equal(verified_resumed(scene.verified), 1);
        end(&scene);
}

static void another_image_or_length_begins_anew(void **state) {
        (void) state;
        struct scene scene;
        begin(&scene);
        learn(&scene, 7);
        assert_anew(&scene, "two", 3000 * MIB);
        learn(&scene, 7);
        assert_anew(&scene, "two", 3000 * MIB - 1); // as many blocks
        assert_anew(&scene, "one", 3000 * MIB);
        assert_int_equal(verified_count(scene.verified), 0);
        end(&scene);
}

static void a_torn_record_begins_anew(void **state) {
        (void) state;
        struct scene scene;
        begin(&scene);
        learn(&scene, 7);
        off_t length = lseek(scene.fd, 0, SEEK_END);
        for (off_t cut = 0; cut < length; cut += cut < 600 ? 64 : 7000) {
                assert_int_equal(ftruncate(scene.fd, cut), 0);
                assert_anew(&scene, "one", 3000 * MIB);
                learn(&scene, 7);
        }
        for (off_t at = 0; at < 296; at += 37) {
                uint8_t byte;
                assert_int_equal(pread(scene.fd, &byte, 1, at), 1);
                byte ^= 1;
                assert_int_equal(pwrite(scene.fd, &byte, 1, at), 1);
                assert_anew(&scene, "one", 3000 * MIB);
                learn(&scene, 7);
        }
        end(&scene);
}

static void what_is_to_be_overwritten_is_forgotten_first(void **state) {
        (void) state;
        struct scene scene;
        begin(&scene);
        learn(&scene, 7);
        assert_int_equal(verified_forget(scene.verified, 7, NULL), 0);
        assert_false(has(&scene, 7));
        verified_note(scene.verified, 9, hash_of(9)); // noted, and overwritten before it was flushed
        assert_int_equal(verified_forget(scene.verified, 9, NULL), 0);
        commit(&scene);
        assert_false(has(&scene, 9));
        assert_int_equal(verified_count(scene.verified), 0);
        assert_int_equal(verified_forget(scene.verified, 2999, NULL), 0); // never known
        end(&scene);
}

// The kernel calls a page clean whose writing failed: only writing it again brings it to the disk.
static void fault_23_an_entry_whose_taking_away_was_not_synced_does_not_come_back(void **state) {
        (void) state;
        struct scene scene;
        struct verified *verified = NULL;
        struct error err = ERROR_INIT;
        bool fresh;
        begin(&scene);
        for (uint64_t n = 0; n < 600; n++)
                verified_note(scene.verified, n, hash_of(n));
        commit(&scene);
        sync_fails = true;
        assert_int_equal(verified_forget(scene.verified, 7, NULL), -1);
        assert_int_equal(verified_open(scene.fd, "one", 3000 * MIB, &verified, &fresh, &err), -1);
        assert_string_equal(err.message, "sync the record of verified blocks: Input/output error");
        assert_true(unsynced >= 600 * VERIFIED_HASH); // all of it, and not only what the kernel still calls dirty
        sync_fails = false;
        open_as(&scene, "one", 3000 * MIB);
        assert_false(scene.fresh);
        assert_int_equal(unsynced, 0);
        assert_int_equal(verified_count(scene.verified), 599);
        end(&scene);
}

static void runs_are_found(void **state) {
        (void) state;
        struct scene scene;
        static const uint64_t known[] = {0, 1, 2, 700, 2998, 2999};
        uint8_t hashes[4][VERIFIED_HASH];
        uint64_t n = 0;
        begin(&scene);
        for (size_t i = 0; i < 6; i++)
                verified_note(scene.verified, known[i], hash_of(known[i]));
        verified_note(scene.verified, 3000, hash_of(1)); // none of this image
        commit(&scene);
        assert_int_equal(verified_count(scene.verified), 6);
        assert_true(verified_next(scene.verified, &n) && n == 0);
        assert_int_equal(verified_run(scene.verified, 0, hashes, 4), 3);
        n = 3;
        assert_true(verified_next(scene.verified, &n) && n == 700);
        n = 701;
        assert_true(verified_next(scene.verified, &n) && n == 2998);
        assert_int_equal(verified_run(scene.verified, n, hashes, 4), 2);
        n = 3000;
        assert_false(verified_next(scene.verified, &n));
        open_as(&scene, "one", 3000 * MIB);
        assert_int_equal(verified_count(scene.verified), 6);
        end(&scene);
}

static void an_image_without_bounds_is_refused(void **state) {
        (void) state;
        struct scene scene;
        struct verified *verified = NULL;
        struct error err = ERROR_INIT;
        bool fresh;
        begin(&scene);
        assert_int_equal(verified_open(scene.fd, "one", UINT64_MAX, &verified, &fresh, &err), -1);
        assert_int_equal(err.code, ERROR_TOO_LARGE);
        end(&scene);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_note_counts_when_it_is_committed),
                cmocka_unit_test(another_image_or_length_begins_anew),
                cmocka_unit_test(a_torn_record_begins_anew),
                cmocka_unit_test(what_is_to_be_overwritten_is_forgotten_first),
                cmocka_unit_test(fault_23_an_entry_whose_taking_away_was_not_synced_does_not_come_back),
                cmocka_unit_test(runs_are_found),
                cmocka_unit_test(an_image_without_bounds_is_refused),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
