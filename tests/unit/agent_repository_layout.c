// SPDX-License-Identifier: LGPL-2.1-or-later
/* agent/repository/layout, label: a repository's directory has one owner and is never mistaken for another thing. */
#include "agent/repository/layout.h"
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>
#include "scratch.h"

#define VM    "6f0c0a8e-2f6b-4c1d-9a35-0d6b7c1e2f30"
#define OTHER "7f0c0a8e-2f6b-4c1d-9a35-0d6b7c1e2f30"

// A disk that fails after so many entries of directories.
static int entries_left = -1;
struct dirent *readdir(DIR *dir) {
        struct dirent *(*real)(DIR *);
        *(void **) &real = dlsym(RTLD_NEXT, "readdir");
        if (entries_left == 0) {
                errno = EIO;
                return NULL;
        }
        if (entries_left > 0)
                entries_left--;
        return real(dir);
}

static struct label make(const char *name) {
        struct label label = {.sealed = false}, made;
        struct error err = ERROR_INIT;
        if (layout_make(scratch_path(name), &label, &made, &err) < 0)
                fail_msg("%s", err.message);
        return made;
}

static struct layout *open_it(const char *name, enum layout_use use) {
        struct layout *layout = NULL;
        struct error err = ERROR_INIT;
        if (layout_open(scratch_path(name), use, &layout, &err) < 0)
                fail_msg("%s", err.message);
        return layout;
}

static void refuse_to_open(const char *name, enum error_code code, const char *part) {
        struct layout *layout = NULL;
        struct error err = ERROR_INIT;
        assert_int_equal(layout_open(scratch_path(name), LAYOUT_OWN, &layout, &err), -1);
        if (!strstr(err.message, part))
                fail_msg("%s", err.message);
        assert_int_equal(err.code, code);
}

static void what_was_made_is_opened(void **state) {
        (void) state;
        struct label made = make("r");
        struct layout *layout = open_it("r", LAYOUT_OWN);
        assert_int_equal(strlen(made.id), 32);
        assert_string_equal(layout_label(layout)->id, made.id);
        assert_string_equal(layout_label(layout)->created, made.created);
        assert_string_equal(layout_path(layout), scratch_path("r"));
        assert_true(layout_packs(layout) >= 0 && layout_incoming(layout) >= 0 && layout_index(layout) >= 0);
        layout_free(layout);
}

static void what_is_there_already_is_not_overwritten(void **state) {
        (void) state;
        struct label label = {.sealed = false}, made;
        struct error err = ERROR_INIT;
        make("r");
        assert_int_equal(layout_make(scratch_path("r"), &label, &made, &err), -1);
        assert_int_equal(err.code, ERROR_CONFLICT);
        assert_non_null(strstr(err.message, "/r is a repository already"));
        assert_int_equal(mkdir(scratch_path("photos"), 0700), 0);
        scratch_write("photos/cat.jpg", "meow");
        assert_int_equal(layout_make(scratch_path("photos"), &label, &made, &err), -1);
        assert_int_equal(err.code, ERROR_CONFLICT);
        assert_non_null(strstr(err.message, "/photos holds something else: cat.jpg"));
        assert_false(scratch_has("photos/packs"));
        assert_int_equal(mkdir(scratch_path("packed"), 0700), 0);
        assert_int_equal(mkdir(scratch_path("packed/packs"), 0700), 0);
        scratch_write("packed/packs/pack", "of somebody");
        assert_int_equal(layout_make(scratch_path("packed"), &label, &made, &err), -1);
        assert_non_null(strstr(err.message, "/packed holds something else: packs"));
        assert_int_equal(layout_make(scratch_path("no/where"), &label, &made, &err), -1);
        assert_int_equal(err.code, ERROR_NOT_FOUND);
}

static void an_interrupted_making_is_completed(void **state) {
        (void) state;
        assert_int_equal(mkdir(scratch_path("r"), 0700), 0);
        assert_int_equal(mkdir(scratch_path("r/packs"), 0700), 0);
        scratch_write("r/.repository.tmp", "drover-rep");
        refuse_to_open("r", ERROR_NOT_FOUND, "/r is not a repository: there is no file \"repository\" in it");
        make("r");
        layout_free(open_it("r", LAYOUT_OWN));
        assert_false(scratch_has("r/.repository.tmp"));
}

static void fault_63_two_owners_are_one_too_many(void **state) {
        (void) state;
        make("r");
        struct layout *layout = open_it("r", LAYOUT_OWN);
        refuse_to_open("r", ERROR_BUSY, "/r is in use by another process that owns it");
        layout_free(open_it("r", LAYOUT_READ));
        layout_free(layout);
        layout_free(open_it("r", LAYOUT_OWN));
}

static void the_owner_finds_incoming_emptied_and_a_reader_changes_nothing(void **state) {
        (void) state;
        make("r");
        scratch_write("r/incoming/torn.pack", "half");
        assert_int_equal(symlink("/etc/passwd", scratch_path("r/incoming/link")), 0);
        struct layout *layout = open_it("r", LAYOUT_READ);
        assert_int_equal(layout_incoming(layout), -1);
        assert_int_equal(layout_index(layout), -1);
        layout_free(layout);
        assert_true(scratch_has("r/incoming/torn.pack"));
        layout_free(open_it("r", LAYOUT_OWN));
        assert_false(scratch_has("r/incoming/torn.pack"));
        assert_false(scratch_has("r/incoming/link"));
        assert_int_equal(access("/etc/passwd", F_OK), 0);
}

static void a_link_in_the_place_of_a_part_is_not_followed(void **state) {
        (void) state;
        make("r");
        assert_int_equal(mkdir(scratch_path("precious"), 0700), 0);
        scratch_write("precious/thing", "of somebody");
        assert_int_equal(rmdir(scratch_path("r/incoming")), 0);
        assert_int_equal(symlink(scratch_path("precious"), scratch_path("r/incoming")), 0);
        refuse_to_open("r", ERROR_IO, "/r/incoming: Not a directory");
        assert_true(scratch_has("precious/thing"));
}

static void a_copy_of_the_three_is_a_repository(void **state) {
        (void) state;
        make("r");
        assert_int_equal(rmdir(scratch_path("r/incoming")), 0);
        assert_int_equal(rmdir(scratch_path("r/index")), 0);
        layout_free(open_it("r", LAYOUT_READ));
        layout_free(open_it("r", LAYOUT_OWN));
        assert_true(scratch_has("r/incoming"));
}

static void a_label_that_is_no_file_or_too_long_is_damage(void **state) {
        (void) state;
        char text[LABEL_TEXT_MAX + 2];
        memset(text, 'x', sizeof text - 1);
        text[sizeof text - 1] = '\0';
        make("r");
        scratch_write("r/repository", text);
        refuse_to_open("r", ERROR_CORRUPT, "/r/repository: longer than 4096 bytes");
        assert_int_equal(unlink(scratch_path("r/repository")), 0);
        assert_int_equal(symlink("packs", scratch_path("r/repository")), 0);
        refuse_to_open("r", ERROR_CORRUPT, "/r/repository: not a regular file");
        assert_int_equal(unlink(scratch_path("r/repository")), 0);
        assert_int_equal(mkfifo(scratch_path("r/repository"), 0600), 0);
        refuse_to_open("r", ERROR_CORRUPT, "/r/repository: not a regular file");
        assert_int_equal(unlink(scratch_path("r/repository")), 0);
        assert_int_equal(mkdir(scratch_path("r/repository"), 0700), 0);
        refuse_to_open("r", ERROR_CORRUPT, "/r/repository: not a regular file");
}

// ---- its text
#define HEAD "drover-repository 1\nid 000102030405060708090a0b0c0d0e0f\ncreated 2026-11-22T08:00:00Z\n"

static void refuse_label(const char *text, enum error_code code, const char *message) {
        struct label label;
        struct error err = ERROR_INIT;
        assert_int_equal(label_parse(text, strlen(text), &label, &err), -1);
        assert_error(err, code, message);
}

static void a_label_reads_as_it_was_written(void **state) {
        (void) state;
        static const char *const texts[] = {HEAD "names sha256\nseal none\n",
                                            HEAD "names hmac-sha256\nseal aes-256-gcm\nkey-check "
                                                 "ff0102030405060708090a0b0c0d0eff\n"};
        for (unsigned i = 0; i < 2; i++) {
                struct label label;
                struct error err = ERROR_INIT;
                struct buffer text;
                buffer_init(&text, 0);
                assert_int_equal(label_parse(texts[i], strlen(texts[i]), &label, &err), 0);
                assert_int_equal(label.sealed, i == 1);
                assert_int_equal(label_print(&label, &text, &err), 0);
                char *again = buffer_steal_text(&text);
                assert_string_equal(again, texts[i]);
                free(again);
        }
}

static void what_is_unknown_is_refused_by_its_name(void **state) {
        (void) state;
        refuse_label("drover-repository 2\nother\n", ERROR_VERSION,
                     "version \"2\" of a repository is unknown to this version of drover");
        refuse_label(HEAD "names blake3\nseal none\n", ERROR_VERSION,
                     "\"names blake3\" is unknown to this version of drover");
        refuse_label(HEAD "names sha256\nseal rot13\n", ERROR_VERSION,
                     "\"seal rot13\" is unknown to this version of drover");
        refuse_label(HEAD "names sha256\nseal none\ntiers 3\n", ERROR_VERSION,
                     "the word \"tiers\" is unknown to this version of drover");
}

static void fault_22_a_label_that_is_damaged_says_where(void **state) {
        (void) state;
        refuse_label("", ERROR_CORRUPT, "line 1: \"drover-repository\" expected, and there is no such line");
        refuse_label("drover-repository 1", ERROR_CORRUPT, "line 1: it is cut short");
        refuse_label("drover-repository\n", ERROR_CORRUPT, "line 1: it does not begin with a word and a space");
        refuse_label("drover-repository \n", ERROR_CORRUPT, "line 1: it has no value");
        refuse_label("drover-repository 1\nid x\n", ERROR_CORRUPT, "line 2: the id is not 32 hex digits");
        refuse_label("drover-repository 1\ncreated x\n", ERROR_CORRUPT, "line 2: \"id\" expected, not \"created\"");
        refuse_label("drover-repository 1\nid a\x01\n", ERROR_CORRUPT,
                     "line 2: its value has a control character in it or is not UTF-8");
        refuse_label("drover-repository 1\nid a\xff\n", ERROR_CORRUPT,
                     "line 2: its value has a control character in it or is not UTF-8");
        refuse_label("drover-repository 1\nid 000102030405060708090a0b0c0d0e0f\ncreated 2026-02-29T08:00:00Z\n",
                     ERROR_CORRUPT, "line 3: this is not a time such as 2026-11-22T08:00:00Z");
        refuse_label(HEAD "names hmac-sha256\nseal none\n", ERROR_CORRUPT,
                     "line 5: a repository is sealed with keyed names, or neither");
        refuse_label(HEAD "names hmac-sha256\nseal aes-256-gcm\n", ERROR_CORRUPT,
                     "line 6: \"key-check\" expected, and there is no such line");
}

// ---- its restore points
struct found {
        unsigned n;
        char last[128];
};
static int on_point(void *closure, const char *vm, const char *id, struct error *err) {
        struct found *found = closure;
        (void) err;
        found->n++;
        snprintf(found->last, sizeof found->last, "%s %s", vm, id);
        return 0;
}

static int list_points(const struct layout *layout, struct found *found, unsigned *ret_strange, struct error *err) {
        *found = (struct found){0};
        *ret_strange = 99;
        return layout_each_point(layout, on_point, found, ret_strange, err);
}

static void make_points(void) {
        make("r");
        assert_int_equal(mkdir(scratch_path("r/points/" VM), 0700), 0);
        assert_int_equal(mkdir(scratch_path("r/points/" OTHER), 0700), 0);
        scratch_write("r/points/" VM "/20261122T220000Z-9f31c2d4.point", "");
        scratch_write("r/points/" VM "/20261123T220000Z-9f31c2d4.point", "");
        scratch_write("r/points/" OTHER "/20261122T220000Z-00000000.point", "");
}

static void points_are_listed_and_what_is_none_is_counted(void **state) {
        (void) state;
        struct found found;
        struct error err = ERROR_INIT;
        unsigned strange;
        make("empty");
        struct layout *layout = open_it("empty", LAYOUT_READ);
        assert_int_equal(list_points(layout, &found, &strange, &err), 0);
        assert_int_equal(found.n + strange, 0);
        layout_free(layout);
        make_points();
        scratch_write("r/points/" VM "/20261122T220000Z-9f31c2d4.point.bak", "");
        scratch_write("r/points/README", "");
        scratch_write("r/points/8f0c0a8e-2f6b-4c1d-9a35-0d6b7c1e2f30", ""); // with a VM's name
        assert_int_equal(symlink(VM, scratch_path("r/points/9f0c0a8e-2f6b-4c1d-9a35-0d6b7c1e2f30")), 0);
        layout = open_it("r", LAYOUT_READ);
        for (unsigned again = 0; again < 2; again++) {
                assert_int_equal(list_points(layout, &found, &strange, &err), 0);
                assert_int_equal(found.n, 3);
                assert_int_equal(strange, 4);
        }
        layout_free(layout);
}

static void fault_65_a_listing_that_fails_is_not_an_empty_one(void **state) {
        (void) state;
        struct found found;
        struct error err = ERROR_INIT;
        unsigned strange;
        make_points();
        struct layout *layout = open_it("r", LAYOUT_OWN);
        assert_int_equal(list_points(layout, &found, &strange, &err), 0);
        for (int after = 0; after < 16; after++) { // 3 directories with 2 links each, 5 entries, 3 ends
                entries_left = after;
                int result = list_points(layout, &found, &strange, &err);
                entries_left = -1;
                assert_int_equal(result, after < 14 ? -1 : 0);
                if (result < 0) {
                        assert_int_equal(err.code, ERROR_IO);
                        assert_non_null(strstr(err.message, "Input/output error"));
                        assert_int_equal(strange, 99);
                }
        }
        layout_free(layout);
}

static void fault_65_points_that_went_elsewhere_are_not_gone(void **state) {
        (void) state;
        struct found found;
        struct error err = ERROR_INIT;
        unsigned strange;
        make_points();
        struct layout *layout = open_it("r", LAYOUT_OWN);
        assert_int_equal(rename(scratch_path("r/points"), scratch_path("r/points.old")), 0);
        assert_int_equal(list_points(layout, &found, &strange, &err), -1);
        assert_int_equal(err.code, ERROR_NOT_FOUND);
        assert_int_equal(mkdir(scratch_path("r/points"), 0700), 0);
        assert_int_equal(list_points(layout, &found, &strange, &err), -1);
        assert_int_equal(err.code, ERROR_STALE);
        assert_non_null(strstr(err.message, "/r/points is no longer the directory that was opened"));
        layout_free(layout);
        assert_int_equal(rmdir(scratch_path("r/points")), 0);
        refuse_to_open("r", ERROR_NOT_FOUND, "/r/points: No such file or directory");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                SCRATCH_TEST(what_was_made_is_opened),
                SCRATCH_TEST(what_is_there_already_is_not_overwritten),
                SCRATCH_TEST(an_interrupted_making_is_completed),
                SCRATCH_TEST(fault_63_two_owners_are_one_too_many),
                SCRATCH_TEST(the_owner_finds_incoming_emptied_and_a_reader_changes_nothing),
                SCRATCH_TEST(a_link_in_the_place_of_a_part_is_not_followed),
                SCRATCH_TEST(a_copy_of_the_three_is_a_repository),
                SCRATCH_TEST(a_label_that_is_no_file_or_too_long_is_damage),
                cmocka_unit_test(a_label_reads_as_it_was_written),
                cmocka_unit_test(what_is_unknown_is_refused_by_its_name),
                cmocka_unit_test(fault_22_a_label_that_is_damaged_says_where),
                SCRATCH_TEST(points_are_listed_and_what_is_none_is_counted),
                SCRATCH_TEST(fault_65_a_listing_that_fails_is_not_an_empty_one),
                SCRATCH_TEST(fault_65_points_that_went_elsewhere_are_not_gone),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
