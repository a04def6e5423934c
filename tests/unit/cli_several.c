// SPDX-License-Identifier: LGPL-2.1-or-later
/* One command for several objects: all are tried, and the end says what came of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "cli/several.h"
#include "scratch.h"

#include <string.h>

struct script {
        const enum error_code *codes; // of each; ERROR_NONE: it succeeds
        int exit_code;                // set by those that fail
        size_t tried;
};

static struct invocation call;
static struct error err;

static int one(size_t i, struct invocation *of, json_t *rows, void *data, struct error *ret) {
        struct script *script = data;
        assert_int_equal(script->tried++, i);
        assert_int_equal(of->exit_code, 0);
        assert_true(rows == NULL);
        if (script->codes[i] == ERROR_NONE)
                return 0;
        of->exit_code = script->exit_code;
        return error_set(ret, script->codes[i], "object %zu", i);
}

static int run(struct script *script, size_t n) {
        call = (struct invocation){0};
        err = ERROR_INIT;
        return several_run(&(struct several){"VMs", n, one, script}, &call, &err);
}

static void all_that_succeed_are_a_success(void **state) {
        (void) state;
        struct script script = {.codes = (enum error_code[]){ERROR_NONE, ERROR_NONE}};
        assert_int_equal(run(&script, 2), 0);
        assert_int_equal(call.exit_code, 0);
        assert_int_equal(script.tried, 2);
}

static void a_failure_does_not_stop_the_others(void **state) {
        (void) state;
        struct script script = {.codes = (enum error_code[]){ERROR_NOT_FOUND, ERROR_NONE, ERROR_FAILED},
                                .exit_code = 1};
        assert_int_equal(run(&script, 3), -1);
        assert_error(err, ERROR_PARTLY, "2 of 3 VMs failed");
        assert_int_equal(call.exit_code, 0); // that of the code: 3
        assert_int_equal(script.tried, 3);
}

static void when_all_fail_the_first_says_how_it_ends(void **state) {
        (void) state;
        struct script script = {.codes = (enum error_code[]){ERROR_NOT_FOUND, ERROR_REFUSED}};
        assert_int_equal(run(&script, 2), -1);
        assert_error(err, ERROR_NOT_FOUND, "2 of 2 VMs failed");
        assert_int_equal(call.exit_code, 0);
        script = (struct script){.codes = (enum error_code[]){ERROR_REFUSED, ERROR_NOT_FOUND}, .exit_code = 1};
        assert_int_equal(run(&script, 2), -1);
        assert_int_equal(call.exit_code, 1);
}

static void the_only_one_tells_its_failure_itself(void **state) {
        (void) state;
        struct script script = {.codes = (enum error_code[]){ERROR_CONFLICT}};
        assert_int_equal(run(&script, 1), -1);
        assert_error(err, ERROR_CONFLICT, "object 0");
}

static void an_interrupt_ends_them_all(void **state) {
        (void) state;
        struct script script = {.codes = (enum error_code[]){ERROR_FAILED, ERROR_DETACHED, ERROR_NONE}};
        assert_int_equal(run(&script, 3), -1);
        assert_error(err, ERROR_DETACHED, "object 1");
        assert_int_equal(script.tried, 2);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(all_that_succeed_are_a_success),
                cmocka_unit_test(a_failure_does_not_stop_the_others),
                cmocka_unit_test(when_all_fail_the_first_says_how_it_ends),
                cmocka_unit_test(the_only_one_tells_its_failure_itself),
                cmocka_unit_test(an_interrupt_ends_them_all),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
