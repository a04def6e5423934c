// SPDX-License-Identifier: LGPL-2.1-or-later
/* Finding commands and taking command lines apart, both from the table; see command.h. */
#include "cli/command.h"
#include "common/cleanup.h"
#include "common/name.h"
#include "common/units.h"

#include <string.h>

void command_each(command_fn fn, void *data) {
        for (unsigned i = 0; command_tables[i]; i++)
                for (const struct command *command = command_tables[i]; command->noun; command++)
                        fn(command, data);
}

struct search {
        const char *noun, *verb;
        const struct command *found;
        bool noun_found;
        char *names[256]; // of what was looked for, for "did you mean"
        int n;
};

static void look(const struct command *command, void *data) {
        struct search *search = data;
        bool noun = search->noun && strcmp(command->noun, search->noun) == 0;
        search->noun_found |= noun;
        if (noun && ((!command->verb && !search->verb) ||
                     (command->verb && search->verb && strcmp(command->verb, search->verb) == 0)))
                search->found = command;
        if (search->n < 256 && (!search->verb || noun) && (search->verb ? command->verb != NULL : true))
                search->names[search->n++] = (char *) (search->verb ? command->verb : command->noun);
}

const struct command *command_find(const char *noun, const char *verb) {
        struct search search = {.noun = noun, .verb = verb};
        command_each(look, &search);
        return search.found;
}

bool command_is_noun(const char *noun) {
        struct search search = {.noun = noun};
        command_each(look, &search);
        return search.noun_found;
}

int command_unknown(const char *noun, const char *verb, struct error *err) {
        if (!command_is_noun(noun)) // then the verb is not what is wrong
                verb = NULL;
        struct search search = {.noun = noun, .verb = verb};
        command_each(look, &search);
        if (verb)
                error_set(err, ERROR_USAGE, "%s %s: no such command", noun, verb);
        else
                error_set(err, ERROR_USAGE, "%s: no such command", noun);
        int nearest = name_nearest(verb ? verb : noun, search.names, (size_t) search.n);
        if (nearest >= 0)
                error_hint(err, "did you mean drover %s%s%s?", verb ? noun : "", verb ? " " : "",
                           search.names[nearest]);
        error_hint(err, verb ? "drover %s --help" : "drover help", noun);
        return -1;
}

// What every command understands, by what it does.
static const struct command_option common_options[] = {
        {"-o", "FORMAT", "table, wide, json, jsonl, csv or name", false},
        {"--detach", NULL, "print the job's id and return", false},
        {"--yes", NULL, "answer what would be asked with yes", false},
        {"--help", NULL, "say how it is used", false},
        {"-h", NULL, "say how it is used", false},
        {NULL, NULL, NULL, false},
};

static const struct command_option *find_option(const struct command_option *options, const char *name, size_t length) {
        for (; options && options->name; options++)
                if (strlen(options->name) == length && strncmp(options->name, name, length) == 0)
                        return options;
        return NULL;
}

static int no_option(const struct command *command, const char *name, struct error *err) {
        char *names[COMMAND_OPTIONS_MAX + ARRAY_SIZE(common_options)];
        size_t n = 0;
        for (const struct command_option *option = command->options; option && option->name && n < COMMAND_OPTIONS_MAX;
             option++)
                names[n++] = (char *) option->name;
        for (const struct command_option *option = common_options; option->name; option++)
                names[n++] = (char *) option->name;
        error_set(err, ERROR_USAGE, "drover %s%s%s has no option %s", command->noun, command->verb ? " " : "",
                  command->verb ? command->verb : "", name);
        int nearest = name_nearest(name, names, n);
        if (nearest >= 0)
                error_hint(err, "did you mean %s?", names[nearest]);
        error_hint(err, "drover %s%s%s --help", command->noun, command->verb ? " " : "",
                   command->verb ? command->verb : "");
        return -1;
}

static int take_common(struct invocation *call, const struct command_option *option, const char *value,
                       struct error *err) {
        if (option == &common_options[0])
                return output_parse_format(value, &call->format, err);
        if (option == &common_options[1])
                call->detach = true;
        else if (option == &common_options[2])
                call->yes = true;
        else
                call->help = true;
        return 0;
}

static int take_option(struct invocation *call, int argc, char **argv, int *i, struct error *err) {
        const char *text = argv[*i], *equals = strchr(text, '=');
        size_t length = equals && text[1] == '-' ? (size_t) (equals - text) : strlen(text);
        const struct command_option *option = find_option(call->command->options, text, length);
        const struct command_option *common = option ? NULL : find_option(common_options, text, length);
        const char *value = NULL;
        if (!option && !common)
                return no_option(call->command, text, err);
        const struct command_option *which = option ? option : common;
        if (which->value) {
                if (length < strlen(text))
                        value = equals + 1;
                else if (*i + 1 < argc)
                        value = argv[++*i];
                else
                        return error_set(err, ERROR_USAGE, "%s needs a value: %s %s", which->name, which->name,
                                         which->value);
                if (!*value)
                        return error_set(err, ERROR_USAGE, "%s is given an empty value", which->name);
        } else if (length < strlen(text)) {
                return error_set(err, ERROR_USAGE, "%s takes no value", which->name);
        }
        if (common)
                return take_common(call, common, value, err);
        if (!option->repeated && option_given(call, option->name))
                return error_set(err, ERROR_USAGE, "%s is given twice", option->name);
        if (call->n_options == COMMAND_OBJECTS_MAX)
                return error_set(err, ERROR_USAGE, "too many options");
        call->options[call->n_options++] = (struct invocation_option){option, value};
        return 0;
}

// An empty word is a variable of a script that was not set, and in a request it would stand for all there are.
static int check_objects(const struct invocation *call, struct error *err) {
        const struct command *command = call->command;
        const char *wrong = call->n_objects < command->objects_min    ? "needs"
                            : call->n_objects <= command->objects_max ? NULL
                            : command->objects_max == 0               ? "takes"
                                                                      : "takes no more than";
        for (unsigned i = 0; !wrong && i < call->n_objects; i++)
                if (!call->objects[i][0])
                        wrong = "is given an empty word for";
        if (!wrong)
                return 0;
        error_set(err, ERROR_USAGE, "drover %s%s%s %s %s", command->noun, command->verb ? " " : "",
                  command->verb ? command->verb : "", wrong, command->objects ? command->objects : "no object");
        error_hint(err, "drover %s%s%s --help", command->noun, command->verb ? " " : "",
                   command->verb ? command->verb : "");
        return -1;
}

static int take_words(struct invocation *call, int argc, char **argv, int first, struct error *err) {
        bool only_objects = false;
        for (int i = first; i < argc; i++) {
                if (!only_objects && strcmp(argv[i], "--") == 0) {
                        only_objects = true;
                } else if (!only_objects && argv[i][0] == '-' && argv[i][1]) {
                        if (take_option(call, argc, argv, &i, err) < 0)
                                return -1;
                } else if (call->n_objects == COMMAND_OBJECTS_MAX) {
                        return error_set(err, ERROR_USAGE, "more than %d objects", COMMAND_OBJECTS_MAX);
                } else {
                        call->objects[call->n_objects++] = argv[i];
                }
        }
        return call->help ? 0 : check_objects(call, err);
}

int command_parse(int argc, char **argv, struct invocation *ret, struct error *err) {
        *ret = (struct invocation){0};
        const char *noun = argv[0], *verb = argc > 1 ? argv[1] : NULL;
        ret->command = command_find(noun, NULL);
        if (ret->command)
                return take_words(ret, argc, argv, 1, err);
        if (!command_is_noun(noun))
                return command_unknown(noun, NULL, err);
        if (!verb || verb[0] == '-') {
                error_set(err, ERROR_USAGE, "drover %s needs a verb", noun);
                error_hint(err, "drover %s --help", noun);
                return -1;
        }
        ret->command = command_find(noun, verb);
        if (!ret->command)
                return command_unknown(noun, verb, err);
        return take_words(ret, argc, argv, 2, err);
}

const char *option_nth(const struct invocation *call, const char *name, unsigned n) {
        for (unsigned i = 0; i < call->n_options; i++)
                if (strcmp(call->options[i].option->name, name) == 0 && n-- == 0)
                        return call->options[i].value ? call->options[i].value : "";
        return NULL;
}

const char *option_value(const struct invocation *call, const char *name) {
        return option_nth(call, name, 0);
}

bool option_given(const struct invocation *call, const char *name) {
        return option_nth(call, name, 0) != NULL;
}

int option_duration(const struct invocation *call, const char *name, uint32_t *ret_seconds, struct error *err) {
        const char *text = option_value(call, name);
        uint64_t seconds;
        if (!text)
                return 0;
        if (units_parse_duration(text, &seconds, err) < 0)
                return error_prefix(err, "%s", name);
        if (seconds == 0) // in the protocol it stands for the default
                return error_set(err, ERROR_USAGE, "%s %s: too short", name, text);
        if (seconds > UINT32_MAX)
                return error_set(err, ERROR_USAGE, "%s %s: too long", name, text);
        *ret_seconds = (uint32_t) seconds;
        return 0;
}
