// SPDX-License-Identifier: LGPL-2.1-or-later
/* drover: what operators type. Finds the command in the table, runs it, and turns its outcome into an exit code. */
#include "cli/command.h"

#include <locale.h>
#include <stdio.h>
#include <string.h>

static int finish(const struct error *err, enum output_format format) {
        output_error(err, format);
        return error_exit_code(err->code);
}

static bool is_help(const char *word) {
        return strcmp(word, "help") == 0 || strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

static int run_help(int argc, char **argv, struct error *err) {
        const char *verb = argc > 2 && !is_help(argv[2]) ? argv[2] : NULL;
        if (argc > 1 && strcmp(argv[1], "--man") == 0)
                help_man();
        else if (argc < 2 || is_help(argv[1]))
                help_overview();
        else if (command_find(argv[1], verb))
                help_command(command_find(argv[1], verb));
        else if (command_is_noun(argv[1]) && !verb)
                help_noun(stdout, argv[1]);
        else
                return command_unknown(argv[1], verb, err);
        return 0;
}

// For an error in the command line itself the wish for JSON has to be guessed from it.
static enum output_format wished_format(int argc, char **argv) {
        enum output_format format = OUTPUT_TABLE;
        for (int i = 1; i + 1 < argc; i++)
                if (strcmp(argv[i], "-o") == 0)
                        (void) output_parse_format(argv[i + 1], &format, NULL);
        return format;
}

int main(int argc, char **argv) {
        struct error err = ERROR_INIT;
        struct invocation call;
        setlocale(LC_ALL, "C.UTF-8");
        if (argc < 2 || is_help(argv[1]))
                return run_help(argc - 1, argv + 1, &err) < 0 ? finish(&err, OUTPUT_TABLE) : 0;
        if (strcmp(argv[1], "--version") == 0) {
                printf("drover %s\n", DROVER_VERSION);
                return 0;
        }
        if (argc == 3 && command_is_noun(argv[1]) && !command_find(argv[1], NULL) && is_help(argv[2])) {
                help_noun(stdout, argv[1]);
                return 0;
        }
        if (argc == 2 && command_is_noun(argv[1]) && !command_find(argv[1], NULL)) {
                fprintf(stderr, "drover: %s needs a verb\n\n", argv[1]);
                help_noun(stderr, argv[1]);
                return error_exit_code(ERROR_USAGE);
        }
        if (command_parse(argc - 1, argv + 1, &call, &err) < 0)
                return finish(&err, wished_format(argc, argv));
        if (call.help) {
                help_command(call.command);
                return 0;
        }
        if (call.command->run(&call, &err) < 0) {
                int exit_code = finish(&err, call.format);
                return call.exit_code ? call.exit_code : exit_code;
        }
        return fflush(stdout) == 0 ? 0 : 1;
}
