// SPDX-License-Identifier: LGPL-2.1-or-later
/* Command lines taken apart by the table: what is understood, and in exactly which words the rest is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "cli/command.h"
#include "scratch.h"

static struct invocation call;
static struct error err;

static int parse(const char *line) {
        static char text[512];
        static char *words[64];
        int n = 0;
        snprintf(text, sizeof(text), "%s", line);
        for (char *word = strtok(text, " "); word; word = strtok(NULL, " "))
                words[n++] = word;
        err = ERROR_INIT;
        return command_parse(n, words, &call, &err);
}

static void assert_usage(const char *line, const char *message, const char *hint) {
        assert_int_equal(parse(line), -1);
        assert_error(err, ERROR_USAGE, message);
        assert_true(err.n_hints > 0 || !hint);
        if (hint)
                assert_string_equal(err.hints[0], hint);
}

static void objects_and_options_may_stand_in_any_order(void **state) {
        (void) state;
        assert_int_equal(
                parse("vm move --shutdown erp --as=erp-2 nantes/kvm2 --bridge br0=br1 --bridge br2=br3 -o json"), 0);
        assert_string_equal(call.objects[0], "erp");
        assert_string_equal(call.objects[1], "nantes/kvm2");
        assert_string_equal(option_value(&call, "--as"), "erp-2");
        assert_string_equal(option_nth(&call, "--bridge", 1), "br2=br3");
        assert_null(option_nth(&call, "--bridge", 2));
        assert_true(option_given(&call, "--shutdown") && !option_given(&call, "--stop"));
        assert_int_equal(call.format, OUTPUT_JSON);
}

static void a_noun_alone_can_be_a_command(void **state) {
        (void) state;
        assert_int_equal(parse("status"), 0);
        assert_string_equal(call.command->noun, "status");
}

static void clones_and_undo_are_understood(void **state) {
        (void) state;
        assert_int_equal(parse("vm clone erp nantes/kvm1/erp-test --linked --reset-identity --stop --start"), 0);
        assert_string_equal(call.objects[1], "nantes/kvm1/erp-test");
        assert_true(option_given(&call, "--linked") && option_given(&call, "--reset-identity"));
        assert_usage("vm clone erp nantes/kvm1/erp-test --purge-source", "drover vm clone has no option --purge-source",
                     "drover vm clone --help");
        assert_usage("vm clone erp", "drover vm clone needs VM SITE/HOST/NAME", "drover vm clone --help");
        assert_int_equal(parse("job undo k7wq2mfx4p --plan --shutdown --timeout 1m"), 0);
        assert_string_equal(option_value(&call, "--timeout"), "1m");
}

static void after_two_dashes_all_words_are_objects(void **state) {
        (void) state;
        assert_int_equal(parse("vm show -- --odd-name"), 0);
        assert_string_equal(call.objects[0], "--odd-name");
}

static void what_is_not_in_the_table_is_refused_with_the_nearest(void **state) {
        (void) state;
        assert_usage("vmm list", "vmm: no such command", "did you mean drover vm?");
        assert_usage("vm mvoe erp", "vm mvoe: no such command", "did you mean drover vm move?");
        assert_int_equal(command_unknown("vmm", "list", &err), -1); // drover help vmm list
        assert_error(err, ERROR_USAGE, "vmm: no such command");
        assert_int_equal(command_unknown("login", "now", &err), -1);
        assert_error(err, ERROR_USAGE, "login now: no such command");
        assert_usage("vm", "drover vm needs a verb", "drover vm --help");
        assert_usage("vm move erp nantes/kvm2 --shutdwon", "drover vm move has no option --shutdwon",
                     "did you mean --shutdown?");
        assert_usage("vm list -o yaml", "-o yaml: no such format", "-o table|wide|json|jsonl|csv|name");
}

static void objects_and_values_that_are_missing_or_too_many_are_refused(void **state) {
        (void) state;
        assert_usage("vm move erp", "drover vm move needs VM... SITE/HOST", "drover vm move --help");
        assert_usage("vm show a b", "drover vm show takes no more than VM", "drover vm show --help");
        assert_usage("vm list erp", "drover vm list takes no object", "drover vm list --help");
        assert_usage("vm move erp nantes/kvm2 --as", "--as needs a value: --as NAME", NULL);
        assert_usage("vm move erp nantes/kvm2 --stop=yes", "--stop takes no value", NULL);
        assert_usage("vm move erp nantes/kvm2 --as a --as b", "--as is given twice", NULL);
}

// As a script gives them whose variable was not set.
static void empty_words_are_refused(void **state) {
        (void) state;
        char *show[] = {(char *) "vm", (char *) "show", (char *) ""};
        err = ERROR_INIT;
        assert_int_equal(command_parse(3, show, &call, &err), -1);
        assert_error(err, ERROR_USAGE, "drover vm show is given an empty word for VM");
        char *list[] = {(char *) "vm", (char *) "list", (char *) "--site", (char *) ""};
        err = ERROR_INIT;
        assert_int_equal(command_parse(4, list, &call, &err), -1);
        assert_error(err, ERROR_USAGE, "--site is given an empty value");
        assert_usage("vm list --site=", "--site is given an empty value", NULL);
}

static void help_is_asked_for_in_two_ways(void **state) {
        (void) state;
        assert_int_equal(parse("vm move -h"), 0);
        assert_true(call.help);
        assert_int_equal(parse("vm move --help"), 0);
        assert_true(call.help);
}

static void durations_are_checked(void **state) {
        (void) state;
        uint32_t seconds = 7;
        assert_int_equal(parse("host invite lyon/kvm1 --ttl 2h"), 0);
        assert_int_equal(option_duration(&call, "--ttl", &seconds, &err), 0);
        assert_int_equal(seconds, 7200);
        assert_int_equal(parse("host invite lyon/kvm1 --ttl soon"), 0);
        assert_int_equal(option_duration(&call, "--ttl", &seconds, &err), -1);
        assert_true(strncmp(err.message, "--ttl: ", 7) == 0);
        assert_int_equal(parse("host invite lyon/kvm1 --ttl 0s"), 0);
        assert_int_equal(option_duration(&call, "--ttl", &seconds, &err), -1);
        assert_error(err, ERROR_USAGE, "--ttl 0s: too short");
        assert_int_equal(seconds, 7200);
}

static void check_row(const struct command *command, void *data) {
        unsigned *n = data;
        (*n)++;
        assert_non_null(command->run);
        assert_true(command->summary && command->summary[0]);
        assert_true(command->objects_max == 0 || command->objects);
        assert_ptr_equal(command_find(command->noun, command->verb), command);
        unsigned options = 0;
        for (const struct command_option *option = command->options; option && option->name; option++, options++) {
                assert_true(strncmp(option->name, "--", 2) == 0);
                assert_true(option->help && option->help[0]);
        }
        assert_true(options <= COMMAND_OPTIONS_MAX);
}

static void every_row_of_the_table_is_whole_and_found(void **state) {
        (void) state;
        unsigned n = 0;
        command_each(check_row, &n);
        assert_true(n >= 30);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(objects_and_options_may_stand_in_any_order),
                cmocka_unit_test(a_noun_alone_can_be_a_command),
                cmocka_unit_test(after_two_dashes_all_words_are_objects),
                cmocka_unit_test(clones_and_undo_are_understood),
                cmocka_unit_test(what_is_not_in_the_table_is_refused_with_the_nearest),
                cmocka_unit_test(objects_and_values_that_are_missing_or_too_many_are_refused),
                cmocka_unit_test(empty_words_are_refused),
                cmocka_unit_test(help_is_asked_for_in_two_ways),
                cmocka_unit_test(durations_are_checked),
                cmocka_unit_test(every_row_of_the_table_is_whole_and_found),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
