// SPDX-License-Identifier: LGPL-2.1-or-later
/* Configuration: defaults, every type, and the error with its line for all that is not allowed. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "common/config.h"
#include "scratch.h"

struct settings {
        char *listen;
        char *directory;
        uint64_t port;
        uint64_t room;
        uint64_t lease;
        bool relay;
        struct config_list sites;
        struct config_list nothing;
};

static const struct config_option options[] = {
        {"listen", CONFIG_TEXT, offsetof(struct settings, listen), "[::]:7420"},
        {"directory", CONFIG_TEXT, offsetof(struct settings, directory), NULL},
        {"port", CONFIG_INT, offsetof(struct settings, port), "7420"},
        {"room", CONFIG_SIZE, offsetof(struct settings, room), "20G"},
        {"lease-time", CONFIG_DURATION, offsetof(struct settings, lease), "30s"},
        {"relay", CONFIG_BOOL, offsetof(struct settings, relay), "true"},
        {"sites", CONFIG_LIST, offsetof(struct settings, sites), "lyon,nantes"},
        {"nothing", CONFIG_LIST, offsetof(struct settings, nothing), NULL},
};
#define N_OPTIONS ((unsigned) (sizeof(options) / sizeof(options[0])))

static void load(const char *text, struct settings *settings) {
        struct error err = ERROR_INIT;
        memset(settings, 0xa5, sizeof(*settings)); // what was there before is not looked at
        if (text)
                scratch_write("c.yaml", text);
        if (config_load(scratch_path("c.yaml"), options, N_OPTIONS, settings, &err) < 0)
                fail_msg("%s", err.message);
}

static void unload(struct settings *settings) {
        config_free(options, N_OPTIONS, settings);
}

static void has_the_defaults(const struct settings *settings) {
        assert_string_equal(settings->listen, "[::]:7420");
        assert_null(settings->directory);
        assert_int_equal(settings->port, 7420);
        assert_int_equal(settings->room, 21474836480);
        assert_int_equal(settings->lease, 30);
        assert_true(settings->relay);
        assert_int_equal(settings->sites.n, 2);
        assert_string_equal(settings->sites.items[0], "lyon");
        assert_string_equal(settings->sites.items[1], "nantes");
        assert_int_equal(settings->nothing.n, 0);
}

// `expected` comes after "FILE:".
static void refused(const char *text, const char *expected) {
        struct error err = ERROR_INIT;
        struct settings settings;
        char message[700];
        memset(&settings, 0xa5, sizeof(settings));
        scratch_write("c.yaml", text);
        assert_int_equal(config_load(scratch_path("c.yaml"), options, N_OPTIONS, &settings, &err), -1);
        snprintf(message, sizeof(message), "%s:%s", scratch_path("c.yaml"), expected);
        assert_error(err, ERROR_INVALID, message);
        assert_null(settings.listen);
        assert_null(settings.sites.items);
}

static void a_file_that_is_not_there_leaves_the_defaults(void **state) {
        (void) state;
        struct settings settings;
        load(NULL, &settings);
        has_the_defaults(&settings);
        unload(&settings);
        assert_int_equal(config_load(NULL, options, N_OPTIONS, &settings, NULL), 0);
        has_the_defaults(&settings);
        unload(&settings);
}

static void an_empty_file_leaves_the_defaults(void **state) {
        (void) state;
        static const char *const texts[] = {"", "\n\n", "# a comment\n", "{}\n", "---\n{}\n...\n"};
        for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
                struct settings settings;
                load(texts[i], &settings);
                has_the_defaults(&settings);
                unload(&settings);
        }
}

static void every_type_is_read(void **state) {
        (void) state;
        struct settings settings;
        load("listen: 10.0.0.1:7420   # the inner side\n"
             "directory: \"\"\n"
             "port: 18446744073709551615\n"
             "room: 512M\n"
             "lease-time: 2h\n"
             "relay: no\n"
             "sites:\n  - paris\n  - 'saint denis'\n  - \"caf\xc3\xa9\"\n"
             "nothing: []\n",
             &settings);
        assert_string_equal(settings.listen, "10.0.0.1:7420");
        assert_string_equal(settings.directory, "");
        assert_true(settings.port == UINT64_MAX);
        assert_int_equal(settings.room, 536870912);
        assert_int_equal(settings.lease, 7200);
        assert_false(settings.relay);
        assert_int_equal(settings.sites.n, 3);
        assert_string_equal(settings.sites.items[0], "paris");
        assert_string_equal(settings.sites.items[1], "saint denis");
        assert_string_equal(settings.sites.items[2], "caf\xc3\xa9");
        assert_int_equal(settings.nothing.n, 0);
        unload(&settings);
        assert_null(settings.listen);
}

static void an_unknown_key_names_the_nearest(void **state) {
        (void) state;
        refused("port: 1\nlisten: x\nlease-tmie: 30s\n", "3: unknown key \"lease-tmie\": did you mean \"lease-time\"?");
        refused("lisen: x\n", "1: unknown key \"lisen\": did you mean \"listen\"?");
        refused("colour: blue\n", "1: unknown key \"colour\"");
        refused("\"lis\\nen\": x\n", "1: control characters are not allowed");
}

static void a_key_given_twice_is_refused(void **state) {
        (void) state;
        refused("port: 1\nlisten: a\nport: 2\n", "3: port: is given twice");
}

static void values_of_the_wrong_type_are_refused_with_their_line(void **state) {
        (void) state;
        refused("\nport: many\n", "2: port: \"many\" is not a number");
        refused("port: -1\n", "1: port: \"-1\" is not a number");
        refused("port: 18446744073709551616\n", "1: port: \"18446744073709551616\" is too large for a number");
        refused("room: 20GiB\n", "1: room: \"20GiB\" is not a size: write 4096, 512M or 20G (K, M, G, T, P)");
        refused("lease-time: 30\n", "1: lease-time: \"30\" is not a duration: write 90s, 15m, 2h or 7d");
        refused("relay: maybe\n", "1: relay: \"maybe\" is not true or false");
        refused("sites: lyon\n", "1: sites: wants a list");
        refused("sites: {a: b}\n", "1: sites: wants a list");
        refused("listen: [a, b]\n", "1: listen: wants a single value");
        refused("listen:\n  a: b\n", "2: listen: wants a single value");
        refused("listen:\nport: 1\n", "1: listen: has no value");
        refused("nothing:\n", "1: nothing: has no value");
}

static void what_is_no_mapping_is_refused(void **state) {
        (void) state;
        refused("- a\n- b\n", "1: the file must hold \"key: value\" lines");
        refused("hello\n", "1: the file must hold \"key: value\" lines");
        refused("port: 1\n---\nport: 2\n", "2: a second document is not allowed");
        refused("? [a]\n: b\n", "1: lists and mappings inside one another are not allowed");
        refused("sites: [[a]]\n", "1: lists and mappings inside one another are not allowed");
        refused("sites: [{a: b}]\n", "1: lists and mappings inside one another are not allowed");
}

static void anchors_aliases_and_tags_are_refused(void **state) {
        (void) state;
        refused("listen: &a x\n", "1: anchors and aliases are not allowed");
        refused("sites: &a [x]\n", "1: anchors and aliases are not allowed");
        refused("&a {port: 1}\n", "1: anchors and aliases are not allowed");
        refused("port: 1\nlisten: *a\n", "2: anchors and aliases are not allowed");
        refused("listen: !!str x\n", "1: tags are not allowed");
}

static void what_is_no_yaml_is_refused_with_its_line(void **state) {
        (void) state;
        refused("port: 1\nlisten: \"x\n", "3: not YAML: found unexpected end of stream");
        refused("sites: [1\n", "2: not YAML: did not find expected ',' or ']'");
}

static void fault_48_control_characters_in_values_are_refused(void **state) {
        (void) state;
        refused("listen: \"a\\0b\"\n", "1: control characters are not allowed");
        refused("listen: \"a\\nb\"\n", "1: control characters are not allowed");
        refused("sites: [\"a\\eb\"]\n", "1: control characters are not allowed");
}

static void a_list_has_a_bound(void **state) {
        (void) state;
        char text[2000] = "sites: [";
        for (int i = 0; i < 257; i++)
                strcat(text, i ? ",a" : "a");
        strcat(text, "]\n");
        refused(text, "1: sites: has more than 256 items");
}

static void a_file_over_64_kib_is_refused(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        struct settings settings;
        static char text[65538];
        char message[600];
        memset(text, '#', 65537);
        scratch_write("c.yaml", text);
        assert_int_equal(config_load(scratch_path("c.yaml"), options, N_OPTIONS, &settings, &err), -1);
        snprintf(message, sizeof(message), "read %s: longer than 65536 bytes", scratch_path("c.yaml"));
        assert_error(err, ERROR_TOO_LARGE, message);
        text[65536] = '\0';
        load(text, &settings);
        has_the_defaults(&settings);
        unload(&settings);
}

static void a_configuration_behind_a_link_is_read_and_a_directory_is_not(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        struct settings settings;
        char message[600];
        scratch_write("real.yaml", "port: 9\n");
        assert_int_equal(symlink("real.yaml", scratch_path("c.yaml")), 0);
        load(NULL, &settings);
        assert_int_equal(settings.port, 9);
        unload(&settings);
        assert_int_equal(config_load(scratch, options, N_OPTIONS, &settings, &err), -1);
        snprintf(message, sizeof(message), "read %s: not a regular file", scratch);
        assert_error(err, ERROR_INVALID, message);
}

static void a_default_that_is_wrong_is_named(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        struct settings settings;
        static const struct config_option bad[] = {{"port", CONFIG_INT, offsetof(struct settings, port), "x"}};
        assert_int_equal(config_load(NULL, bad, 1, &settings, &err), -1);
        assert_error(err, ERROR_INVALID, "default of port: \"x\" is not a number");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                SCRATCH_TEST(a_file_that_is_not_there_leaves_the_defaults),
                SCRATCH_TEST(an_empty_file_leaves_the_defaults),
                SCRATCH_TEST(every_type_is_read),
                SCRATCH_TEST(an_unknown_key_names_the_nearest),
                SCRATCH_TEST(a_key_given_twice_is_refused),
                SCRATCH_TEST(values_of_the_wrong_type_are_refused_with_their_line),
                SCRATCH_TEST(what_is_no_mapping_is_refused),
                SCRATCH_TEST(anchors_aliases_and_tags_are_refused),
                SCRATCH_TEST(what_is_no_yaml_is_refused_with_its_line),
                SCRATCH_TEST(fault_48_control_characters_in_values_are_refused),
                SCRATCH_TEST(a_list_has_a_bound),
                SCRATCH_TEST(a_file_over_64_kib_is_refused),
                SCRATCH_TEST(a_configuration_behind_a_link_is_read_and_a_directory_is_not),
                SCRATCH_TEST(a_default_that_is_wrong_is_named),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
