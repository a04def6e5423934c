// SPDX-License-Identifier: LGPL-2.1-or-later
/* What people and scripts see of a record, to the letter. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "cli/output.h"
#include "common/buffer.h"
#include "scratch.h"

// What stands on standard output while `print` runs is kept in the scratch directory.
static int out;

static void begin(void) {
        fflush(stdout);
        out = dup(STDOUT_FILENO);
        assert_true(out >= 0 && freopen(scratch_path("out"), "w", stdout));
}

static void assert_printed(const char *expected) {
        struct error err = ERROR_INIT;
        struct buffer content;
        buffer_init(&content, 65536);
        fflush(stdout);
        dup2(out, STDOUT_FILENO);
        close(out);
        assert_int_equal(file_read(scratch_path("out"), 65536, &content, &err), 0);
        char *text = buffer_steal_text(&content);
        assert_string_equal(text, expected);
        free(text);
}

static json_t *json(const char *text) {
        json_t *value = json_loads(text, 0, NULL);
        assert_non_null(value);
        return value;
}

static void a_name_that_is_a_number_is_printed(void **state) {
        (void) state;
        begin();
        output_list(json("[{\"id\": 12}, {\"id\": 11}]"), NULL, OUTPUT_NAME, "id", "nothing");
        assert_printed("12\n11\n");
}

static void a_name_is_printed_as_it_can_be_typed_back(void **state) {
        (void) state;
        begin();
        output_list(json("[{\"site\": \"lyon\", \"host\": \"kvm1\", \"name\": \"erp\"}]"), NULL, OUTPUT_NAME, "name",
                    "none");
        assert_printed("lyon/kvm1/erp\n");
}

static void rates_are_shown_as_rates(void **state) {
        (void) state;
        begin();
        output_show(json("{\"id\": \"k7wq2mfx4p\", \"rate_bytes_per_second\": 5000000}"), OUTPUT_TABLE, "id");
        assert_printed("id:                  k7wq2mfx4p\nrate:                5.0 MB/s\n");
        begin();
        output_show(json("{\"rate_bytes_per_second\": 5000000}"), OUTPUT_CSV, "id");
        assert_printed("rate_bytes_per_second\n5000000\n");
}

static void numbers_in_a_table_stand_under_each_other(void **state) {
        (void) state;
        begin();
        output_show(json("{\"pools\": [{\"name\": \"a\", \"volumes\": 7, \"type\": \"dir\"},"
                         "{\"name\": \"b\", \"volumes\": 12, \"type\": null}]}"),
                    OUTPUT_TABLE, "name");
        assert_printed("pools:\n"
                       "  NAME  VOLUMES  TYPE\n"
                       "  a           7  dir\n"
                       "  b          12  -\n");
}

static void what_is_known_of_no_row_takes_a_column_with_wide_only(void **state) {
        (void) state;
        static const char *const job = "{\"steps\": [{\"name\": \"copy\", \"note\": null, \"error\": null},"
                                       "{\"name\": \"define\", \"note\": null, \"error\": \"no room\"}]}";
        begin();
        output_show(json(job), OUTPUT_TABLE, "id");
        assert_printed("steps:\n"
                       "  NAME    ERROR\n"
                       "  copy    -\n"
                       "  define  no room\n");
        begin();
        output_show(json(job), OUTPUT_WIDE, "id");
        assert_printed("steps:\n"
                       "  NAME    NOTE  ERROR\n"
                       "  copy    -     -\n"
                       "  define  -     no room\n");
}

static void a_table_without_columns_is_left_out(void **state) {
        (void) state;
        begin();
        output_show(json("{\"id\": \"k7wq2mfx4p\", \"parts\": [{\"note\": null}, {\"note\": null}]}"), OUTPUT_TABLE,
                    "id");
        assert_printed("id:                  k7wq2mfx4p\n");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(a_name_that_is_a_number_is_printed, scratch_make, scratch_remove),
                cmocka_unit_test_setup_teardown(a_name_is_printed_as_it_can_be_typed_back, scratch_make,
                                                scratch_remove),
                cmocka_unit_test_setup_teardown(rates_are_shown_as_rates, scratch_make, scratch_remove),
                cmocka_unit_test_setup_teardown(what_is_known_of_no_row_takes_a_column_with_wide_only, scratch_make,
                                                scratch_remove),
                cmocka_unit_test_setup_teardown(a_table_without_columns_is_left_out, scratch_make, scratch_remove),
                cmocka_unit_test_setup_teardown(numbers_in_a_table_stand_under_each_other, scratch_make,
                                                scratch_remove),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
