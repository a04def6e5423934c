// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * The table of commands. Help, man page and shell completion are made from it, and so is the parsing: a command that is
 * not in it does not exist. Each noun's rows stand beside the functions that carry them out.
 */
#include "cli/client.h"
#include "cli/output.h"

#define COMMAND_OPTIONS_MAX 16
#define COMMAND_OBJECTS_MAX 64

struct command_option {
        const char *name;  // "--pool"
        const char *value; // what help calls it, "POOL"; NULL: a switch
        const char *help;
        bool repeated;
};

struct invocation;
struct command {
        const char *noun, *verb; // verb NULL: the noun alone ("status")
        const char *objects;     // as help shows it: "VM SITE/HOST"
        unsigned objects_min, objects_max;
        const char *summary;                                    // one line
        const char *description;                                // a paragraph for the man page and --help; NULL: none
        const struct command_option *options;                   // ended by one without a name
        int (*run)(struct invocation *call, struct error *err); // 0, or -1 with err
        bool lists;                                             // takes -o
        bool job;                                               // starts a job and follows it: takes --detach and -o
        bool asks;                                              // before it begins: takes --yes
        const char *completes; // what its objects are, for shell completion: "vm" "host" "site" "job" "user", "vm host"
};

struct invocation_option {
        const struct command_option *option;
        const char *value;
};
struct invocation {
        const struct command *command;
        const char *objects[COMMAND_OBJECTS_MAX];
        unsigned n_objects;
        struct invocation_option options[COMMAND_OBJECTS_MAX];
        unsigned n_options;
        enum output_format format;
        bool detach, yes, help;
        int exit_code; // of a run that failed; 0: that of its error
};

extern const struct command *const command_tables[]; // each ended by a row without a noun; the list by NULL
typedef void (*command_fn)(const struct command *command, void *data);
void command_each(command_fn fn, void *data);
const struct command *command_find(const char *noun, const char *verb);
bool command_is_noun(const char *noun);
int command_unknown(const char *noun, const char *verb, struct error *err); // -1: not in the table, and what is near
// argv without the program's name. ERROR_USAGE with a hint that names the nearest command or option.
int command_parse(int argc, char **argv, struct invocation *ret, struct error *err);

const char *option_value(const struct invocation *call, const char *name); // NULL: not given
bool option_given(const struct invocation *call, const char *name);
const char *option_nth(const struct invocation *call, const char *name, unsigned n); // of a repeated one; NULL: no more
int option_duration(const struct invocation *call, const char *name, uint32_t *ret_seconds,
                    struct error *err); // untouched when not given

// help.c: all to stdout.
void help_overview(void);
void help_noun(FILE *out, const char *noun);
void help_command(const struct command *command);
void help_man(void); // scdoc source of drover(1)
int help_completion(const char *shell, struct error *err);
