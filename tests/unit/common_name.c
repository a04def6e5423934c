// SPDX-License-Identifier: LGPL-2.1-or-later
/* Names from outside: what each check lets pass, and fault 48 for each of them. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "common/name.h"
#include "scratch.h"
#include <regex.h>

typedef int (*name_check)(const char *name, struct error *err);

static const struct {
        name_check check;
        const char *good, *kind;
        size_t most; // 0: a fixed form, always refused with the same words
} checks[] = {
        {name_check_site, "lyon", "site name", NAME_SITE_MAX},
        {name_check_host, "kvm1", "host name", NAME_HOST_MAX},
        {name_check_user, "anne", "user name", NAME_USER_MAX},
        {name_check_vm, "erp", "VM name", NAME_VM_MAX},
        {name_check_volume, "default", "name", NAME_VOLUME_MAX},
        {name_check_uuid, "0b6c1a5e-7c1f-4f0e-9a51-3a1f2b7c9d10", NULL, 0},
        {name_check_job, "k3x9", NULL, 0},
        {name_check_target, "vda", NULL, 0},
};
#define N_CHECKS (sizeof(checks) / sizeof(checks[0]))

static void passes(name_check check, const char *name) {
        struct error err = ERROR_INIT;
        if (check(name, &err) < 0)
                fail_msg("%s", err.message);
        assert_int_equal(err.code, ERROR_NONE);
}

static void refuses(name_check check, const char *name, const char *message) {
        struct error err = ERROR_INIT;
        assert_int_equal(check(name, &err), -1);
        assert_error(err, ERROR_INVALID, message);
}

// Every check refuses `bad`; those with rules say why, after their kind and the quoted name.
static void all_refuse(const char *bad, const char *quoted, const char *why) {
        for (size_t i = 0; i < N_CHECKS; i++) {
                struct error err = ERROR_INIT;
                char message[256];
                assert_int_equal(checks[i].check(bad, &err), -1);
                assert_int_equal(err.code, ERROR_INVALID);
                if (checks[i].most == 0)
                        continue;
                snprintf(message, sizeof(message), "%s \"%s\" %s", checks[i].kind, quoted, why);
                assert_string_equal(err.message, message);
        }
}

static void a_good_name_passes_each_check(void **state) {
        (void) state;
        for (size_t i = 0; i < N_CHECKS; i++)
                passes(checks[i].check, checks[i].good);
}

static void fault_48_a_path_upwards_is_refused_by_each_check(void **state) {
        (void) state;
        all_refuse("../etc", "../etc", "begins with \".\"");
        all_refuse("a/../b", "a/../b", "has a \"..\"");
        all_refuse("..", "..", "begins with \".\"");
        all_refuse("a..", "a..", "has a \"..\"");
}

static void fault_48_a_slash_is_refused_by_each_check(void **state) {
        (void) state;
        all_refuse("/", "/", "has a \"/\"");
        all_refuse("/etc/passwd", "/etc/passwd", "has a \"/\"");
        all_refuse("a/b", "a/b", "has a \"/\"");
        all_refuse("a/", "a/", "has a \"/\"");
}

static void fault_48_a_name_that_is_empty_or_begins_with_nul_is_refused_by_each_check(void **state) {
        (void) state;
        for (size_t i = 0; i < N_CHECKS; i++) {
                struct error err = ERROR_INIT;
                char message[64];
                assert_int_equal(checks[i].check("\0../etc", &err), -1);
                assert_int_equal(checks[i].check(NULL, &err), -1);
                assert_int_equal(err.code, ERROR_INVALID);
                snprintf(message, sizeof(message), "%s is empty", checks[i].kind);
                if (checks[i].most)
                        assert_string_equal(err.message, message);
        }
}

static void fault_48_control_characters_are_refused_by_each_check(void **state) {
        (void) state;
        all_refuse("er\np", "er?p", "has a control character");
        all_refuse("erp\n", "erp?", "has a control character");
        all_refuse("er\tp", "er?p", "has a control character");
        all_refuse("er\x1b[2Jp", "er?[2Jp", "has a control character");
        all_refuse("er\x7fp", "er?p", "has a control character");
        all_refuse("er\xc2\x85p", "er??p", "has a control character");
}

static void fault_48_a_leading_dash_or_dot_is_refused_by_each_check(void **state) {
        (void) state;
        all_refuse("-rf", "-rf", "begins with \"-\"");
        all_refuse("-", "-", "begins with \"-\"");
        all_refuse("--help", "--help", "begins with \"-\"");
        all_refuse(".hidden", ".hidden", "begins with \".\"");
}

static void fault_48_four_kib_are_refused_by_each_check(void **state) {
        (void) state;
        static char name[4097];
        memset(name, 'a', 4096);
        for (size_t i = 0; i < N_CHECKS; i++) {
                struct error err = ERROR_INIT;
                char message[256];
                assert_int_equal(checks[i].check(name, &err), -1);
                assert_int_equal(err.code, ERROR_INVALID);
                assert_in_range(strlen(err.message), 1, 120);
                if (checks[i].most == 0)
                        continue;
                snprintf(message, sizeof(message), "%s \"%.40s\"... is longer than %zu bytes", checks[i].kind, name,
                         checks[i].most);
                assert_string_equal(err.message, message);
        }
}

static void fault_48_invalid_utf8_is_refused_by_each_check(void **state) {
        (void) state;
        all_refuse("er\xffp", "er?p", "is not valid UTF-8");
        all_refuse("er\xc0\xafp", "er??p", "is not valid UTF-8");
        all_refuse("er\xed\xa0\x80p", "er???p", "is not valid UTF-8");
        all_refuse("erp\xe2\x82", "erp??", "is not valid UTF-8");
}

static void names_of_the_greatest_length_pass_and_one_more_byte_does_not(void **state) {
        (void) state;
        for (size_t i = 0; i < N_CHECKS; i++) {
                char name[300] = {0};
                if (checks[i].most == 0)
                        continue;
                memset(name, 'a', checks[i].most);
                passes(checks[i].check, name);
                name[checks[i].most] = 'a';
                assert_int_equal(checks[i].check(name, NULL), -1);
        }
}

static void a_guest_has_a_host_name_of_rfc_1123(void **state) {
        (void) state;
        static const char *const bad[] = {
                "",     "-x",   "--run=x",
                "a-",   "a..b", ".a",
                "a.",   "a b",  "a;b",
                "a_b",  "a/b",  "\xc3\xa4",
                "a.-b", "a\nb", "a234567890123456789012345678901234567890123456789012345678901234"};
        static const char *const good[] = {"a",     "7",
                                           "web-7", "web-7.example.org",
                                           "A1",    "a23456789012345678901234567890123456789012345678901234567890123"};
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
                if (name_check_guest(bad[i], NULL) == 0)
                        fail_msg("%s passes", bad[i]);
        for (size_t i = 0; i < sizeof good / sizeof *good; i++)
                passes(name_check_guest, good[i]);
}

static void each_kind_has_its_own_characters(void **state) {
        (void) state;
        passes(name_check_site, "saint-denis-2");
        refuses(name_check_site, "Lyon", "site name \"Lyon\" has a character outside a-z, 0-9 and -");
        refuses(name_check_site, "ly on", "site name \"ly on\" has a character outside a-z, 0-9 and -");
        passes(name_check_host, "KVM1.lyon.example");
        refuses(name_check_host, "kvm_1", "host name \"kvm_1\" has a character outside a-z, A-Z, 0-9, . and -");
        passes(name_check_user, "anne.b_c-d@example.org");
        refuses(name_check_user, "an ne", "user name \"an ne\" has a character outside a-z, A-Z, 0-9, ., _, - and @");
        refuses(name_check_user, "ren\xc3\xa9",
                "user name \"ren\xc3\xa9\" has a character outside a-z, A-Z, 0-9, ., _, - and @");
        passes(name_check_vm, "Comptabilit\xc3\xa9 (old) #2");
        passes(name_check_volume, "erp disk.qcow2");
}

static void a_uuid_is_lower_case_in_its_five_groups(void **state) {
        (void) state;
        refuses(name_check_uuid, "0B6C1A5E-7C1F-4F0E-9A51-3A1F2B7C9D10",
                "\"0B6C1A5E-7C1F-4F0E-9A51-3A1F2B7C9D10\" is not a UUID (8-4-4-4-12, lower case)");
        static const char *const bad[] = {
                "0b6c1a5e7c1f4f0e9a513a1f2b7c9d10",      "0b6c1a5e-7c1f-4f0e-9a51-3a1f2b7c9d1",
                "0b6c1a5e-7c1f-4f0e-9a51-3a1f2b7c9d100", "0b6c1a5g-7c1f-4f0e-9a51-3a1f2b7c9d10",
                "{b6c1a5e-7c1f-4f0e-9a51-3a1f2b7c9d1}",  "0b6c1a5e-7c1f-4f0e-9a5-13a1f2b7c9d10"};
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
                assert_int_equal(name_check_uuid(bad[i], NULL), -1);
}

static void a_job_id_has_4_to_32_characters(void **state) {
        (void) state;
        passes(name_check_job, "abcd");
        passes(name_check_job, "abcdefghijklmnopqrstuvwxyz012345");
        refuses(name_check_job, "abc", "\"abc\" is not a job id (4 to 32 of a-z and 0-9)");
        refuses(name_check_job, "ABCD", "\"ABCD\" is not a job id (4 to 32 of a-z and 0-9)");
        assert_int_equal(name_check_job("abcdefghijklmnopqrstuvwxyz0123456", NULL), -1);
        assert_int_equal(name_check_job("ab-d", NULL), -1);
}

static void a_disk_target_is_two_letters_and_what_may_follow(void **state) {
        (void) state;
        static const char *const good[] = {"vda", "sdb", "hdc", "vdaa", "fda", "vd", "nvme0n1", "nvram", "abcdefgh"};
        static const char *const bad[] = {"v", "1da", "v1", "VDA", "vda1b2c3d", "abcdefghi", "vd-a"};
        for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
                passes(name_check_target, good[i]);
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
                assert_int_equal(name_check_target(bad[i], NULL), -1);
        refuses(name_check_target, "vd-a", "\"vd-a\" is not a disk target (such as vda)");
}

static void the_disk_target_check_agrees_with_its_expression(void **state) {
        (void) state;
        regex_t expression;
        assert_int_equal(regcomp(&expression, "^([a-z]{2,4}[a-z0-9]{0,4}|nvram)$", REG_EXTENDED | REG_NOSUB), 0);
        // Every text of letter, digit and other, up to nine places.
        for (unsigned length = 0, count = 1; length <= 9; length++, count *= 3)
                for (unsigned i = 0; i < count; i++) {
                        char text[10] = {0};
                        for (unsigned at = 0, rest = i; at < length; at++, rest /= 3)
                                text[at] = "a1-"[rest % 3];
                        assert_int_equal(name_check_target(text, NULL) == 0,
                                         regexec(&expression, text, 0, NULL, 0) == 0);
                }
        regfree(&expression);
}

static void a_host_is_split_into_site_and_host(void **state) {
        (void) state;
        char site[NAME_SITE_MAX + 1], host[NAME_HOST_MAX + 1];
        assert_int_equal(name_split_host("lyon/kvm1", site, host, NULL), 0);
        assert_string_equal(site, "lyon");
        assert_string_equal(host, "kvm1");
}

static void a_host_that_cannot_be_split_leaves_the_outputs(void **state) {
        (void) state;
        static const struct {
                const char *text, *message;
        } rows[] = {
                {"lyon", "\"lyon\" is not SITE/HOST, such as lyon/kvm1"},
                {"/kvm1", "\"/kvm1\" is not SITE/HOST, such as lyon/kvm1"},
                {"lyon/", "\"lyon/\" is not SITE/HOST, such as lyon/kvm1"},
                {"", "\"\" is not SITE/HOST, such as lyon/kvm1"},
                {"lyon/a/b", "host name \"a/b\" has a \"/\""},
                {"lyon/../x", "host name \"../x\" begins with \".\""},
                {"Lyon/kvm1", "site name \"Lyon\" has a character outside a-z, 0-9 and -"},
                {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/k",
                 "site name \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"... is longer than 63 bytes"},
        };
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                struct error err = ERROR_INIT;
                char site[NAME_SITE_MAX + 1] = "s", host[NAME_HOST_MAX + 1] = "h";
                assert_int_equal(name_split_host(rows[i].text, site, host, &err), -1);
                assert_error(err, ERROR_INVALID, rows[i].message);
                assert_string_equal(site, "s");
                assert_string_equal(host, "h");
        }
}

static void new_uuids_are_version_4_and_differ(void **state) {
        (void) state;
        char one[NAME_UUID_LENGTH + 1], other[NAME_UUID_LENGTH + 1];
        name_new_uuid(one);
        name_new_uuid(other);
        passes(name_check_uuid, one);
        assert_int_equal(one[14], '4');
        assert_non_null(strchr("89ab", one[19]));
        assert_string_not_equal(one, other);
}

static void distance_counts_edits_and_swaps(void **state) {
        (void) state;
        assert_int_equal(name_distance("", ""), 0);
        assert_int_equal(name_distance("", "abc"), 3);
        assert_int_equal(name_distance("kitten", "sitting"), 3);
        assert_int_equal(name_distance("lyon", "lyno"), 1);
        assert_int_equal(name_distance("adress", "address"), 1);
        char longest[256], longer[257];
        memset(longest, 'a', 255);
        memset(longer, 'a', 256);
        longest[255] = longer[256] = '\0';
        assert_int_equal(name_distance(longest, longest), 0);
        assert_int_equal(name_distance(longest, ""), 255);
        assert_int_equal(name_distance(longer, longer), 255);
}

static void the_nearest_name_is_offered_only_when_it_is_near(void **state) {
        (void) state;
        char *const names[] = {"br0", NULL, "default", "backup", "vm-storage"};
        assert_int_equal(name_nearest("defualt", names, 5), 2);
        assert_int_equal(name_nearest("vmstorage", names, 5), 4);
        assert_int_equal(name_nearest("backup", names, 5), 3);
        assert_int_equal(name_nearest("br1", names, 5), 0);
        assert_int_equal(name_nearest("bx", names, 5), -1);
        assert_int_equal(name_nearest("something", names, 5), -1);
        assert_int_equal(name_nearest("x", names, 0), -1);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_guest_has_a_host_name_of_rfc_1123),
                cmocka_unit_test(a_good_name_passes_each_check),
                cmocka_unit_test(fault_48_a_path_upwards_is_refused_by_each_check),
                cmocka_unit_test(fault_48_a_slash_is_refused_by_each_check),
                cmocka_unit_test(fault_48_a_name_that_is_empty_or_begins_with_nul_is_refused_by_each_check),
                cmocka_unit_test(fault_48_control_characters_are_refused_by_each_check),
                cmocka_unit_test(fault_48_a_leading_dash_or_dot_is_refused_by_each_check),
                cmocka_unit_test(fault_48_four_kib_are_refused_by_each_check),
                cmocka_unit_test(fault_48_invalid_utf8_is_refused_by_each_check),
                cmocka_unit_test(names_of_the_greatest_length_pass_and_one_more_byte_does_not),
                cmocka_unit_test(each_kind_has_its_own_characters),
                cmocka_unit_test(a_uuid_is_lower_case_in_its_five_groups),
                cmocka_unit_test(a_job_id_has_4_to_32_characters),
                cmocka_unit_test(a_disk_target_is_two_letters_and_what_may_follow),
                cmocka_unit_test(the_disk_target_check_agrees_with_its_expression),
                cmocka_unit_test(a_host_is_split_into_site_and_host),
                cmocka_unit_test(a_host_that_cannot_be_split_leaves_the_outputs),
                cmocka_unit_test(new_uuids_are_version_4_and_differ),
                cmocka_unit_test(distance_counts_edits_and_swaps),
                cmocka_unit_test(the_nearest_name_is_offered_only_when_it_is_near),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
