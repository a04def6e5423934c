// SPDX-License-Identifier: LGPL-2.1-or-later
/* agent/repository/point: a restore point is whole, durable and what it says, or it is not there. */
#include "agent/repository/layout.h"
#include "agent/repository/point.h"
#include "agent/repository/seal.h"
#include "common/cleanup.h"
#include "common/memory.h"
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <openssl/sha.h>
#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>
#include "scratch.h"

#define VM    "6f0c0a8e-2f6b-4c1d-9a35-0d6b7c1e2f30"
#define OTHER "7f0c0a8e-2f6b-4c1d-9a35-0d6b7c1e2f30"
#define ID    "20261122T220000Z-9f31c2d4"
#define N1    "0101010101010101010101010101010101010101010101010101010101010101"
#define HEAD                                                                                                           \
        "drover-point 1\nid " ID "\nvm " VM "\nname erp\nhost lyon/kvm1\ncreated 2026-11-22T22:00:00Z\n"               \
        "consistency guest\n"
#define FILE_LINE "file definition.xml 5312 " N1 "\n"

// A disk that fails: which call of fsync or read is the one, from 1; 0: none.
static unsigned failing_fsync, failing_read;
int fsync(int fd) {
        int (*real)(int);
        *(void **) &real = dlsym(RTLD_NEXT, "fsync");
        if (failing_fsync > 0 && --failing_fsync == 0) {
                errno = EIO;
                return -1;
        }
        return real(fd);
}
ssize_t read(int fd, void *bytes, size_t length) {
        ssize_t (*real)(int, void *, size_t);
        *(void **) &real = dlsym(RTLD_NEXT, "read");
        if (failing_read > 0 && --failing_read == 0) {
                errno = EIO;
                return -1;
        }
        return real(fd, bytes, length);
}

static struct layout *layout_of(bool sealed) {
        struct label label = {.sealed = sealed}, made;
        struct layout *layout = NULL;
        struct error err = ERROR_INIT;
        if (layout_make(scratch_path("r"), &label, &made, &err) < 0 ||
            layout_open(scratch_path("r"), LAYOUT_OWN, &layout, &err) < 0)
                fail_msg("%s", err.message);
        return layout;
}

// With the right end put to it.
static char *closed(const char *text) {
        uint8_t hash[32];
        char hex[65];
        SHA256((const uint8_t *) text, strlen(text), hash);
        for (unsigned i = 0; i < 32; i++)
                sprintf(hex + 2 * i, "%02x", hash[i]);
        return memory_format("%send %s\n", text, hex);
}

static char *text_of_disk(uint64_t bytes, const char *more) {
        struct map_root root = {.bytes = bytes, .names = new_array(struct chunk_name, 1)};
        char hex[CHUNK_HEX];
        memset(root.names[0].bytes, 1, CHUNK_NAME);
        map_root_digest(&root, &root.digest);
        chunk_name_to_hex(&root.digest, hex);
        free(root.names);
        return memory_format(HEAD FILE_LINE "disk vda %llu qcow2 " N1 "\ndigest vda %s\nfact machine pc-q35-7.2\n%s",
                             (unsigned long long) bytes, hex, more);
}

static char *whole_text(void) {
        char *text = text_of_disk(10737418240, ""), *all = closed(text);
        free(text);
        return all;
}

static void write_it(const struct layout *layout, const char *text) {
        struct error err = ERROR_INIT;
        if (point_write(layout, VM, text, strlen(text), &err) < 0)
                fail_msg("%s", err.message);
}

static void a_point_reads_as_it_was_written(void **state) {
        (void) state;
        struct layout *layout = layout_of(false);
        struct point *point = NULL;
        struct buffer printed, stored;
        struct error err = ERROR_INIT;
        char *text = whole_text();
        buffer_init(&printed, POINT_TEXT_MAX);
        buffer_init(&stored, 0);
        write_it(layout, text);
        write_it(layout, text); // once more: the same
        assert_int_equal(point_read(layout, VM, ID, &point, &stored, &err), 0);
        assert_int_equal(stored.length, strlen(text));
        assert_memory_equal(stored.data, text, stored.length);
        assert_string_equal(point->name, "erp");
        assert_string_equal(point->host, "lyon/kvm1");
        assert_int_equal(point->consistency, POINT_GUEST);
        assert_string_equal(point->files[0].name, "definition.xml");
        assert_int_equal(point->files[0].bytes, 5312);
        assert_string_equal(point->disks[0].format, "qcow2");
        assert_int_equal(point->disks[0].root.bytes, 10737418240);
        assert_string_equal(point->facts[0].value, "pc-q35-7.2");
        assert_int_equal(point_print(point, &printed, &err), 0);
        assert_int_equal(point_close_text(&printed, NULL, &err), 0);
        assert_int_equal(printed.length, strlen(text));
        assert_memory_equal(printed.data, text, printed.length);
        assert_false(scratch_has("r/incoming/" VM "." ID ".point"));
        buffer_fini(&printed);
        buffer_fini(&stored);
        point_free(point);
        free(text);
        assert_int_equal(point_remove(layout, VM, ID, &err), 0);
        assert_int_equal(point_remove(layout, VM, ID, &err), -1);
        assert_error(err, ERROR_NOT_FOUND, "there is no restore point " ID " of the VM " VM);
        assert_int_equal(point_read(layout, VM, ID, &point, NULL, &err), -1);
        assert_error(err, ERROR_NOT_FOUND, "there is no restore point " ID " of the VM " VM);
        assert_int_equal(point_read(layout, OTHER, ID, &point, NULL, &err), -1);
        assert_int_equal(err.code, ERROR_NOT_FOUND);
        layout_free(layout);
}

static void ids_sort_by_time(void **state) {
        (void) state;
        char id[POINT_ID];
        point_new_id(1795384800, id);
        assert_memory_equal(id, "20261122T220000Z-", 17);
        assert_int_equal(point_check_id(id, NULL), 0);
}

// ---- refused
static const struct {
        const char *text;
        enum error_code code;
        const char *message;
} refused[] = {
        {"drover-point 2\nother\n", ERROR_VERSION,
         "version \"2\" of a restore point is unknown to this version of drover"},
        {"drover-point 1\nid ../../etc/x\n", ERROR_CORRUPT,
         "line 2: \"../../etc/x\" is not the id of a restore point, as 20261122T220000Z-9f31c2d4 is"},
        {"drover-point 1\nid " ID "\nvm ../x\n", ERROR_CORRUPT,
         "line 3: \"../x\" is not a UUID (8-4-4-4-12, lower case)"},
        {"drover-point 1\nid " ID "\nvm " VM "\nhost a/b\n", ERROR_CORRUPT, "line 4: \"name\" expected, not \"host\""},
        {HEAD "file ../passwd 1 " N1 "\n", ERROR_CORRUPT, "line 8: this is not a file's name"},
        {HEAD "file a..b 1 " N1 "\n", ERROR_CORRUPT, "line 8: this is not a file's name"},
        {HEAD "file -x 1 " N1 "\n", ERROR_CORRUPT, "line 8: this is not a file's name"},
        {HEAD "file a/b 1 " N1 "\n", ERROR_CORRUPT, "line 8: this is not a file's name"},
        {HEAD FILE_LINE FILE_LINE, ERROR_CORRUPT, "line 9: the file definition.xml is there twice"},
        {HEAD "file a 01 " N1 "\n", ERROR_CORRUPT, "line 8: this is not a file's length"},
        {HEAD "file a 268435457 " N1 "\n", ERROR_CORRUPT, "line 8: this is not a file's length"},
        {HEAD "file a 65537 " N1 "\n", ERROR_CORRUPT, "line 8: there are not the 2 names that the length asks for"},
        {HEAD "file a 1 " N1 " \n", ERROR_CORRUPT, "line 8: there are not the 1 names that the length asks for"},
        {HEAD "file a 1 X101010101010101010101010101010101010101010101010101010101010101\n", ERROR_CORRUPT,
         "line 8: name 1 is not 64 hex digits"},
        {HEAD "disk ../a 1 raw " N1 "\n", ERROR_CORRUPT, "line 8: this is not the name of a disk"},
        {HEAD "disk vda 70368744177665 raw " N1 "\n", ERROR_CORRUPT, "line 8: this is not the capacity of a disk"},
        {HEAD "disk vda 99999999999999999999 raw " N1 "\n", ERROR_CORRUPT,
         "line 8: this is not the capacity of a disk"},
        {HEAD "disk vda 1 RAW " N1 "\n", ERROR_CORRUPT, "line 8: this is not a format"},
        {HEAD "disk vda 1 raw " N1 "\n", ERROR_CORRUPT, "line 9: \"digest\" expected, not \"end\""},
        {HEAD "disk vda 1 raw " N1 "\ndigest vdb " N1 "\n", ERROR_CORRUPT, "line 9: this is not the digest of vda"},
        {HEAD "disk vda 1 raw " N1 "\ndigest vda " N1 "\n", ERROR_CORRUPT,
         "line 9: the digest is not that of the line before it"},
        {HEAD "fact machine a\nfact machine b\n", ERROR_CORRUPT, "line 9: the fact machine is there twice"},
        {HEAD "fact machine\n", ERROR_CORRUPT, "line 8: the fact machine has no value, or one that is too long"},
        {HEAD "fact machine a\n" FILE_LINE, ERROR_CORRUPT, "line 9: files stand before disks and facts"},
        {HEAD "proof " N1 "\n" FILE_LINE, ERROR_CORRUPT, "line 9: \"end\" expected, not \"file\""},
        {HEAD "proof 1\n", ERROR_CORRUPT, "line 8: the proof is not 64 hex digits"},
        {HEAD "colour blue\n", ERROR_VERSION, "line 8: the word \"colour\" is unknown to this version of drover"},
        {HEAD "fact machine a\x1b[2J\n", ERROR_CORRUPT,
         "line 8: its value has a control character in it or is not UTF-8"},
};

static void fault_66_48_what_is_malformed_is_refused_at_commit(void **state) {
        (void) state;
        struct layout *layout = layout_of(false);
        for (unsigned i = 0; i < sizeof refused / sizeof *refused; i++) {
                struct point *point = NULL;
                struct error err = ERROR_INIT;
                char *text = closed(refused[i].text), *message = memory_format("restore point: %s", refused[i].message);
                assert_int_equal(point_parse(text, strlen(text), &point, &err), -1);
                assert_error(err, refused[i].code, refused[i].message);
                assert_int_equal(point_write(layout, VM, text, strlen(text), &err), -1);
                assert_error(err, refused[i].code == ERROR_CORRUPT ? ERROR_INVALID : refused[i].code, message);
                free(message);
                free(text);
        }
        assert_int_equal(rmdir(scratch_path("r/points")), 0); // nothing was made in it
        layout_free(layout);
}

static void fault_48_no_name_is_made_of_what_is_no_id(void **state) {
        (void) state;
        struct layout *layout = layout_of(false);
        struct point *point = NULL;
        struct error err = ERROR_INIT;
        char *text = whole_text();
        assert_int_equal(point_read(layout, "../points", ID, &point, NULL, &err), -1);
        assert_error(err, ERROR_INVALID, "\"../points\" is not a UUID (8-4-4-4-12, lower case)");
        assert_int_equal(point_remove(layout, VM, "../../repository", &err), -1);
        assert_error(err, ERROR_INVALID, "\"../../repository\" is not the id of a restore point, as " ID " is");
        assert_int_equal(point_write(layout, OTHER, text, strlen(text), &err), -1);
        assert_error(err, ERROR_INVALID, "restore point " ID " is of the VM " VM ", not of " OTHER);
        free(text);
        layout_free(layout);
}

static void words_with_a_capital_letter_are_left_aside(void **state) {
        (void) state;
        struct point *point = NULL;
        struct error err = ERROR_INIT;
        char *text = text_of_disk(5, "Colour blue\n"), *all = closed(text);
        assert_int_equal(point_parse(all, strlen(all), &point, &err), 0);
        point_free(point);
        free(all);
        free(text);
}

static void fault_63_another_point_of_the_same_id_is_refused(void **state) {
        (void) state;
        struct layout *layout = layout_of(false);
        struct error err = ERROR_INIT;
        char *text = whole_text(), *other = text_of_disk(5, ""), *all = closed(other);
        write_it(layout, text);
        assert_int_equal(point_write(layout, VM, all, strlen(all), &err), -1);
        assert_error(err, ERROR_CONFLICT, ID ".point is there already, and is another one");
        scratch_write("r/incoming/" VM "." ID ".point", "");
        assert_int_equal(point_write(layout, VM, text, strlen(text), &err), -1);
        assert_error(err, ERROR_BUSY, ID ".point is being written already");
        free(all);
        free(other);
        free(text);
        layout_free(layout);
}

static void fault_23_a_point_whose_fsync_failed_is_not_there(void **state) {
        (void) state;
        struct layout *layout = layout_of(false);
        char *text = whole_text();
        for (unsigned nth = 1; nth <= 3; nth++) { // of points/, of the file, of the VM's directory
                struct point *point = NULL;
                struct error err = ERROR_INIT;
                failing_fsync = nth;
                assert_int_equal(point_write(layout, VM, text, strlen(text), &err), -1);
                assert_int_equal(err.code, ERROR_IO);
                assert_int_equal(point_read(layout, VM, ID, &point, NULL, &err), -1);
                assert_int_equal(err.code, ERROR_NOT_FOUND);
                assert_false(scratch_has("r/incoming/" VM "." ID ".point"));
        }
        write_it(layout, text);
        free(text);
        layout_free(layout);
}

static void fault_22_58_every_byte_of_a_point_counts(void **state) {
        (void) state;
        char *text = whole_text();
        size_t length = strlen(text);
        for (size_t i = 0; i < length; i++) {
                struct point *point = NULL;
                struct error err = ERROR_INIT;
                text[i] ^= 1;
                assert_int_equal(point_parse(text, length, &point, &err), -1);
                assert_int_equal(err.code, ERROR_CORRUPT);
                text[i] ^= 1;
                char *torn = memory_new(i + 1); // of its own size, so that a sanitizer sees what reads beyond it
                memcpy(torn, text, i);
                assert_int_equal(point_parse(torn, i, &point, &err), -1);
                assert_int_equal(err.code, ERROR_CORRUPT);
                free(torn);
        }
        free(text);
}

static void fault_58_61_67_damage_is_named_and_a_failed_read_is_not_damage(void **state) {
        (void) state;
        struct layout *layout = layout_of(false);
        struct point *point = NULL;
        struct error err = ERROR_INIT;
        char *text = whole_text(), *end = strstr(text, "end "), message[400];
        write_it(layout, text);
        failing_read = 1;
        assert_int_equal(point_read(layout, VM, ID, &point, NULL, &err), -1);
        assert_int_equal(err.code, ERROR_IO);
        memcpy(text + 20, "x", 1);
        scratch_write("r/points/" VM "/" ID ".point", text);
        assert_int_equal(point_read(layout, VM, ID, &point, NULL, &err), -1);
        snprintf(message, sizeof message,
                 "%s: line 12: what stands before the end is not what was written: its SHA-256 differs",
                 scratch_path("r/points/" VM "/" ID ".point"));
        assert_error(err, ERROR_CORRUPT, message);
        *end = '\0';
        scratch_write("r/points/" VM "/" ID ".point", text);
        assert_int_equal(point_read(layout, VM, ID, &point, NULL, &err), -1);
        assert_int_equal(err.code, ERROR_CORRUPT);
        assert_non_null(strstr(err.message, "it is cut short: there is no \"end\""));
        free(text);
        text = whole_text();
        scratch_write("r/points/" VM "/20991122T220000Z-9f31c2d4.point", text);
        assert_int_equal(point_read(layout, VM, "20991122T220000Z-9f31c2d4", &point, NULL, &err), -1);
        snprintf(message, sizeof message, "%s: it is the restore point " ID " of the VM " VM,
                 scratch_path("r/points/" VM "/20991122T220000Z-9f31c2d4.point"));
        assert_error(err, ERROR_CORRUPT, message);
        free(text);
        layout_free(layout);
}

static void fault_58_what_is_no_file_in_the_place_of_a_point_is_damage(void **state) {
        (void) state;
        static const char place[] = "r/points/" VM "/" ID ".point";
        struct layout *layout = layout_of(false);
        struct point *point = NULL;
        struct error err = ERROR_INIT;
        _cleanup_(free_p) char *text = whole_text();
        write_it(layout, text);
        for (unsigned i = 0; i < 3; i++) {
                assert_int_equal(unlink(scratch_path(place)), 0);
                if (i == 0) {
                        assert_int_equal(symlink("elsewhere", scratch_path(place)), 0);
                } else if (i == 1) {
                        assert_int_equal(mkfifo(scratch_path(place), 0600), 0);
                } else {
                        scratch_write(place, "");
                        assert_int_equal(truncate(scratch_path(place), POINT_TEXT_MAX + 1), 0);
                }
                assert_int_equal(point_read(layout, VM, ID, &point, NULL, &err), -1);
                assert_int_equal(err.code, ERROR_CORRUPT);
                assert_int_equal(point_write(layout, VM, text, strlen(text), &err), -1);
                assert_int_equal(err.code, ERROR_CORRUPT);
        }
        layout_free(layout);
}

static void a_sealed_point_is_proven_by_its_key(void **state) {
        (void) state;
        struct layout *layout = layout_of(true);
        struct seal_secret secret = {{1}}, other = {{2}};
        struct point *point = NULL;
        struct buffer text;
        struct error err = ERROR_INIT;
        uint8_t proof[POINT_PROOF];
        char *plain = whole_text();
        assert_int_equal(point_write(layout, VM, plain, strlen(plain), &err), -1);
        assert_error(err, ERROR_INVALID, "restore point " ID " has no proof, and the repository is sealed");
        assert_int_equal(point_parse(plain, strlen(plain), &point, &err), 0);
        buffer_init(&text, 0);
        assert_int_equal(point_print(point, &text, &err), 0);
        point_free(point);
        seal_point_proof(&secret, text.data, text.length, proof);
        assert_int_equal(point_close_text(&text, proof, &err), 0);
        assert_int_equal(point_write(layout, VM, text.data, text.length, &err), 0);
        buffer_clear(&text);
        assert_int_equal(point_read(layout, VM, ID, &point, &text, &err), 0);
        assert_int_equal(seal_check_point(&secret, point, text.data, &err), 0);
        assert_int_equal(seal_check_point(&other, point, text.data, &err), -1);
        assert_error(err, ERROR_CORRUPT,
                     "restore point " ID " was not made by anybody who has the key: its proof differs");
        text.data[80] ^= 1;
        assert_int_equal(seal_check_point(&secret, point, text.data, &err), -1);
        point_free(point);
        buffer_fini(&text);
        free(plain);
        layout_free(layout);
}

static int on_name(void *closure, const struct chunk_name *name, unsigned level, struct error *err) {
        (void) name, (void) err;
        ((unsigned *) closure)[level]++;
        return 0;
}

static void a_point_names_all_that_it_needs(void **state) {
        (void) state;
        struct map_source source = {0};
        struct point *point = NULL;
        struct error err = ERROR_INIT;
        unsigned levels[3] = {0};
        char *text = whole_text();
        assert_int_equal(point_parse(text, strlen(text), &point, &err), 0);
        assert_int_equal(point_visit(point, &source, on_name, levels, &err), 0);
        assert_int_equal(levels[0], 1);
        assert_int_equal(levels[2], 1);
        point_free(point);
        free(text);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                SCRATCH_TEST(a_point_reads_as_it_was_written),
                cmocka_unit_test(ids_sort_by_time),
                SCRATCH_TEST(fault_66_48_what_is_malformed_is_refused_at_commit),
                SCRATCH_TEST(fault_48_no_name_is_made_of_what_is_no_id),
                cmocka_unit_test(words_with_a_capital_letter_are_left_aside),
                SCRATCH_TEST(fault_63_another_point_of_the_same_id_is_refused),
                SCRATCH_TEST(fault_23_a_point_whose_fsync_failed_is_not_there),
                cmocka_unit_test(fault_22_58_every_byte_of_a_point_counts),
                SCRATCH_TEST(fault_58_61_67_damage_is_named_and_a_failed_read_is_not_damage),
                SCRATCH_TEST(fault_58_what_is_no_file_in_the_place_of_a_point_is_damage),
                SCRATCH_TEST(a_sealed_point_is_proven_by_its_key),
                cmocka_unit_test(a_point_names_all_that_it_needs),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
