// SPDX-License-Identifier: LGPL-2.1-or-later
/* `drover-controller init`, and the settings of `run`: all of it or nothing, and never over something. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "scratch.h"
#include "common/log.h"
#include "common/memory.h"
#include "controller/commands.h"
#include "controller/controller.h"
#include "controller/setup.h"

static char state_directory[512], operator_directory[512];

static int run_setup(struct error *err) {
        char fingerprint[65];
        snprintf(state_directory, sizeof(state_directory), "%s", scratch_path("state"));
        snprintf(operator_directory, sizeof(operator_directory), "%s", scratch_path("operator"));
        const struct setup setup = {.state_directory = state_directory,
                                    .name = "hq",
                                    .listen = "127.0.0.1:7443",
                                    .addresses = {"hq.example.org:7443"},
                                    .n_addresses = 1,
                                    .operator_directory = operator_directory,
                                    .user = "ann"};
        error_clear(err);
        return setup_run(&setup, fingerprint, err);
}

static char *content_of(const char *name) {
        struct buffer content;
        struct error err = ERROR_INIT;
        buffer_init(&content, 0);
        if (file_read(scratch_path(name), 1 << 20, &content, &err) < 0)
                fail_msg("%s", err.message);
        return buffer_steal_text(&content);
}

static void init_makes_authority_database_and_operator(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        struct store *store;
        struct store_user user;
        char *listen;
        assert_int_equal(run_setup(&err), 0);
        assert_true(scratch_has("state/ca.crt"));
        assert_true(scratch_has("state/server.key"));
        char *config = content_of("operator/config.yaml");
        assert_string_equal(config, "controller:\n  - \"hq.example.org:7443\"\nuser: \"ann\"\n");
        free(config);
        assert_int_equal(store_open(scratch_path("state/controller.db"), &store, &err), 0);
        assert_int_equal(store_user_get(store, "ann", &user, &err), 1);
        assert_string_equal(user.role, "admin");
        assert_int_equal(store_meta_get(store, "listen", &listen, &err), 1);
        assert_string_equal(listen, "127.0.0.1:7443");
        free(listen);
        store_close(store);
}

static void init_given_again_refuses_and_leaves_everything_as_it_was(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        char text[600];
        assert_int_equal(run_setup(&err), 0);
        char *ca = content_of("state/ca.crt"), *client = content_of("operator/client.crt");
        assert_int_equal(run_setup(&err), -1);
        snprintf(text, sizeof(text), "there is an authority in %s already", state_directory);
        assert_error(err, ERROR_CONFLICT, text);
        assert_int_equal(error_exit_code(err.code), 6);
        char *ca_after = content_of("state/ca.crt"), *client_after = content_of("operator/client.crt");
        assert_string_equal(ca, ca_after);
        assert_string_equal(client, client_after);
        free(ca);
        free(client);
        free(ca_after);
        free(client_after);
}

static void init_does_not_overwrite_an_operators_credentials(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        char text[600];
        assert_int_equal(file_make_directories(scratch_path("operator"), 0700, &err), 0);
        scratch_write("operator/config.yaml", "user: \"bob\"\n");
        assert_int_equal(run_setup(&err), -1);
        snprintf(text, sizeof(text), "there are an operator's credentials in %s already", operator_directory);
        assert_error(err, ERROR_CONFLICT, text);
        assert_false(scratch_has("state"));
}

static void init_that_fails_leaves_nothing_that_stands_in_the_way_of_the_next(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        scratch_write("operator", "a file where a directory should be");
        assert_int_equal(run_setup(&err), -1);
        assert_false(scratch_has("state/ca.crt"));
        unlink(scratch_path("operator"));
        assert_int_equal(run_setup(&err), 0);
        assert_true(scratch_has("state/ca.crt"));
}

static void init_that_was_killed_before_its_operator_goes_on_from_there(void **state) {
        (void) state;
        static const char *const addresses[] = {"hq.example.org:7443"};
        struct error err = ERROR_INIT;
        struct store *store;
        assert_int_equal(file_make_directories(scratch_path("state"), 0700, &err), 0);
        assert_int_equal(store_open(scratch_path("state/controller.db"), &store, &err), 0);
        const struct authority_config config = {.directory = scratch_path("state")};
        assert_int_equal(authority_create(&config, store, "hq", addresses, 1, &err), 0);
        store_close(store);
        char *ca = content_of("state/ca.crt");
        assert_int_equal(run_setup(&err), 0);
        char *after = content_of("operator/ca.crt");
        assert_string_equal(ca, after);
        free(ca);
        free(after);
        assert_int_equal(run_setup(&err), -1);
        assert_int_equal(err.code, ERROR_CONFLICT);
}

static void on_closed(void *data) {
        uv_stop(data);
}

static void two_controllers_do_not_work_in_one_directory(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        struct controller *one, *other;
        struct settings settings;
        char text[600];
        uv_loop_t loop;
        assert_int_equal(run_setup(&err), 0);
        assert_int_equal(settings_load(NULL, &settings, &err), 0);
        uv_loop_init(&loop);
        assert_int_equal(controller_open(&loop, &settings, &session_limits, state_directory, "127.0.0.1:0", &one, &err),
                         0);
        assert_int_equal(
                controller_open(&loop, &settings, &session_limits, state_directory, "127.0.0.1:0", &other, &err), -1);
        snprintf(text, sizeof(text), "another drover-controller works in %s", state_directory);
        assert_error(err, ERROR_CONFLICT, text);
        controller_close(one, on_closed, &loop);
        uv_run(&loop, UV_RUN_DEFAULT);
        controller_free(one);
        uv_run(&loop, UV_RUN_DEFAULT);
        uv_loop_close(&loop);
        settings_fini(&settings);
}

// ---- settings

static void assert_settings_refused(const char *yaml, enum error_code code, const char *text) {
        struct error err = ERROR_INIT;
        struct settings settings;
        char whole[600];
        scratch_write("controller.yaml", yaml);
        assert_int_equal(settings_load(scratch_path("controller.yaml"), &settings, &err), -1);
        snprintf(whole, sizeof(whole), "%s%s", scratch_path("controller.yaml"), text);
        assert_error(err, code, whole);
}

static void settings_out_of_range_are_refused_by_name(void **state) {
        (void) state;
        assert_settings_refused("log_level: loud\n", ERROR_INVALID,
                                ": log_level is none of error, warning, info, debug");
        assert_settings_refused("host_certificate: 90s\n", ERROR_INVALID,
                                ": host_certificate is out of range: 1d to 3650d, in whole days");
        assert_settings_refused("connections: 0\n", ERROR_INVALID, ": connections is out of range: 8 to 1048576");
}

static void settings_have_defaults(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        struct settings settings;
        scratch_write("controller.yaml", "listen: 192.0.2.1:7443\ncertificate_seconds: 60\n");
        assert_int_equal(settings_load(scratch_path("controller.yaml"), &settings, &err), 0);
        assert_string_equal(settings.listen, "192.0.2.1:7443");
        assert_int_equal(settings.certificate_seconds, 60);
        assert_int_equal(settings.host_certificate, 90 * 86400);
        assert_int_equal(settings_log_level(&settings), LOG_LEVEL_INFO);
        settings_fini(&settings);
}

// ---- the command line

static int status_of(const char *const *words, unsigned n) {
        char *argv[8] = {(char *) "drover-controller"};
        for (unsigned i = 0; i < n; i++)
                argv[i + 1] = (char *) words[i];
        return commands_main((int) n + 1, argv);
}

#define STATUS(...)                                                                                                    \
        status_of((const char *const[]){__VA_ARGS__}, sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *))

static void the_command_line_gives_the_right_exit_codes(void **state) {
        (void) state;
        assert_int_equal(STATUS("--version"), 0);
        assert_int_equal(STATUS("--help"), 0);
        assert_int_equal(STATUS("dance"), 2);
        assert_int_equal(STATUS("init", "now"), 2);
        assert_int_equal(STATUS("init", "--config", "x"), 2);
        assert_int_equal(STATUS("run", "--name", "hq"), 2);
        assert_int_equal(STATUS("run", "--nonsense"), 2);
        assert_int_equal(STATUS("run", "--config"), 2);
        assert_int_equal(STATUS("run", "--state-dir", scratch_path("nowhere")), 5);
        assert_int_equal(STATUS("init", "--state-dir", scratch_path("s"), "--address", "nonsense"), 2);
        assert_false(scratch_has("s"));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                SCRATCH_TEST(init_makes_authority_database_and_operator),
                SCRATCH_TEST(init_given_again_refuses_and_leaves_everything_as_it_was),
                SCRATCH_TEST(init_does_not_overwrite_an_operators_credentials),
                SCRATCH_TEST(init_that_fails_leaves_nothing_that_stands_in_the_way_of_the_next),
                SCRATCH_TEST(init_that_was_killed_before_its_operator_goes_on_from_there),
                SCRATCH_TEST(two_controllers_do_not_work_in_one_directory),
                SCRATCH_TEST(settings_out_of_range_are_refused_by_name),
                SCRATCH_TEST(settings_have_defaults),
                SCRATCH_TEST(the_command_line_gives_the_right_exit_codes),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
