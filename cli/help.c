// SPDX-License-Identifier: LGPL-2.1-or-later
/* Help, the man page's source and shell completion, all from the table of commands. */
#include "cli/command.h"

#include <stdio.h>
#include <string.h>

#define COLUMNS 80

static void usage_of(const struct command *command, FILE *out) {
        fprintf(out, "drover %s", command->noun);
        if (command->verb)
                fprintf(out, " %s", command->verb);
        if (command->objects)
                fprintf(out, " %s", command->objects);
}

// From `column` on, in lines of at most COLUMNS; those after the first are indented by as much.
static void print_wrapped(FILE *out, size_t column, const char *text) {
        size_t indent = column;
        while (*text) {
                size_t word = strcspn(text, " ");
                bool first = column == indent;
                if (!first && column + 1 + word > COLUMNS) {
                        fprintf(out, "\n%*s", (int) indent, "");
                        column = indent;
                        first = true;
                }
                column += (size_t) fprintf(out, "%s%.*s", first ? "" : " ", (int) word, text);
                text += word;
                text += strspn(text, " ");
        }
        fputc('\n', out);
}

static void print_row(FILE *out, int width, const char *left, const char *text) {
        print_wrapped(out, (size_t) fprintf(out, "  %-*s ", width, left), text);
}

static void overview_row(const struct command *command, void *data) {
        const char **noun = data;
        char left[64];
        if (*noun && strcmp(*noun, command->noun) != 0)
                putchar('\n');
        *noun = command->noun;
        snprintf(left, sizeof(left), "%s%s%s%s%s", command->noun, command->verb ? " " : "",
                 command->verb ? command->verb : "", command->objects ? " " : "",
                 command->objects ? command->objects : "");
        print_row(stdout, 27, left, command->summary);
}

void help_overview(void) {
        const char *noun = NULL;
        printf("drover looks after the virtual machines of hosts in many places.\n\n"
               "usage: drover NOUN VERB [OBJECT...] [--options]\n\n");
        command_each(overview_row, &noun);
        printf("\nA VM is named SITE/HOST/VM, any ending of that which is unique, or its UUID.\n"
               "drover NOUN VERB --help says more about a command; drover(1) about all of them.\n");
}

struct noun_list {
        FILE *out;
        const char *noun;
};

static void noun_row(const struct command *command, void *data) {
        const struct noun_list *list = data;
        if (strcmp(command->noun, list->noun) != 0)
                return;
        char left[64];
        snprintf(left, sizeof(left), "%s%s%s", command->verb ? command->verb : "", command->objects ? " " : "",
                 command->objects ? command->objects : "");
        print_row(list->out, 24, left, command->summary);
}

void help_noun(FILE *out, const char *noun) {
        struct noun_list list = {.out = out, .noun = noun};
        fprintf(out, "usage: drover %s VERB [OBJECT...] [--options]\n\n", noun);
        command_each(noun_row, &list);
        fprintf(out, "\ndrover %s VERB --help says more about each.\n", noun);
}

static void option_row(const char *name, const char *value, const char *help) {
        char left[48];
        snprintf(left, sizeof(left), "%s%s%s", name, value ? " " : "", value ? value : "");
        print_row(stdout, 25, left, help);
}

void help_command(const struct command *command) {
        printf("usage: ");
        usage_of(command, stdout);
        bool options = command->options || command->lists || command->job || command->asks;
        printf("%s\n\n%s\n", options ? " [--options]" : "", command->summary);
        if (command->description) {
                putchar('\n');
                print_wrapped(stdout, 0, command->description);
        }
        if (options)
                printf("\noptions:\n");
        for (const struct command_option *option = command->options; option && option->name; option++)
                option_row(option->name, option->value, option->help);
        if (command->asks)
                option_row("--yes", NULL, "answer what would be asked with yes");
        if (command->lists)
                option_row("-o", "FORMAT", "table, wide, json, jsonl, csv or name");
        if (command->job) {
                option_row("--detach", NULL, "print the job's id and return; the job goes on");
                option_row("-o", "FORMAT",
                           "jsonl: an event a line while the job runs; json: the job when it has ended");
        }
}

// ---- the man page, in scdoc's language ----

static void man_text(const char *text) {
        for (; *text; text++) {
                if (strchr("_*\\#[]<>|", *text))
                        putchar('\\');
                putchar(*text);
        }
}

static void man_command(const struct command *command, void *data) {
        (void) data;
        printf("*drover %s", command->noun);
        if (command->verb)
                printf(" %s", command->verb);
        printf("*");
        if (command->objects) {
                printf(" ");
                man_text(command->objects);
        }
        printf("\n\t");
        man_text(command->summary);
        printf(". ");
        if (command->description)
                man_text(command->description);
        printf("\n");
        for (const struct command_option *option = command->options; option && option->name; option++) {
                printf("\n\t*%s*", option->name);
                if (option->value) {
                        printf(" ");
                        man_text(option->value);
                }
                printf(": ");
                man_text(option->help);
                printf("\n");
        }
        printf("\n");
}

void help_man(void) {
        printf("drover(1)\n\n# NAME\n\ndrover - look after the virtual machines of hosts in many places\n\n"
               "# SYNOPSIS\n\n*drover* NOUN VERB \\[OBJECT...\\] \\[--options\\]\n\n"
               "# DESCRIPTION\n\ndrover asks the controller what runs where, and has it move, start and stop virtual "
               "machines. Whatever takes longer than a "
               "moment is a job: on a terminal the command follows it and Ctrl-C detaches; the job goes on.\n\n"
               "A VM is named SITE/HOST/VM, by any shorter ending that is unique, or by its UUID. Sizes are written "
               "20G or 512M (powers of 1024), rates 40Mbit "
               "or 5M (bytes), durations 90s, 15m, 2h or 7d.\n\n# COMMANDS\n\n");
        command_each(man_command, NULL);
        printf("# COMMON OPTIONS\n\n*-o* FORMAT\n\ttable, wide, json, jsonl, csv or name, on every list and show. JSON "
               "keys are snake\\_case; sizes are integers in "
               "bytes, times are RFC 3339 in UTC, durations are in seconds, unknown is null.\n\n"
               "*--detach*\n\tPrint the id of the job and return.\n\n*--yes*\n\tAnswer what would be asked with "
               "yes.\n\n*--help*\n\tSay how a command is used.\n\n"
               "# EXIT STATUS\n\n0 done, 1 failed, 2 usage, 3 partly done, 4 not permitted, 5 not found, 6 conflict "
               "(exists, locked), 7 refused by the checks before "
               "starting, 8 unreachable, 9 stopped waiting while the job lives on, 130 interrupted. A job that was "
               "begun and does "
               "not succeed gives 1, or 3 when a part of it did.\n\n"
               "# ENVIRONMENT\n\n*DROVER\\_CONFIG*\n\tThe directory with the operator's credentials; "
               "\\~/.config/drover by default.\n\n*NO\\_COLOR*\n\tNo colour.\n\n"
               "# SEE ALSO\n\n*drover-agent*(8), *drover-controller*(8)\n");
}

// ---- completion ----

static void complete_nouns(const struct command *command, void *data) {
        const char **last = data;
        if (!*last || strcmp(*last, command->noun) != 0)
                printf("%s ", command->noun);
        *last = command->noun;
}

struct completion {
        const char *last;
};

static void complete_verbs(const struct command *command, void *data) {
        struct completion *state = data;
        if (!command->verb)
                return;
        if (!state->last || strcmp(state->last, command->noun) != 0)
                printf("%s    %s) verbs=\"", state->last ? "\" ;;\n" : "", command->noun);
        printf("%s ", command->verb);
        state->last = command->noun;
}

static void complete_words(const struct command *command, void *data) {
        (void) data;
        printf("    \"%s%s%s\") options=\"--help", command->noun, command->verb ? " " : "",
               command->verb ? command->verb : "");
        for (const struct command_option *option = command->options; option && option->name; option++)
                printf(" %s", option->name);
        printf("%s%s%s\"; objects=\"%s\" ;;\n", command->lists || command->job ? " -o" : "",
               command->job ? " --detach" : "", command->asks ? " --yes" : "",
               command->completes ? command->completes : "");
}

// What may stand behind an option: these words, or the names that a list gives.
static const struct {
        const char *option, *words, *lists;
} values[] = {
        {"-o", "table wide json jsonl csv name", ""},
        {"--site", "", "site"},
        {"--host", "", "host"},
        {"--path", "auto direct reverse relay", ""},
        {"--verify", "sums read-back", ""},
        {"--format", "keep qcow2 raw", ""},
        {"--role", "viewer operator admin", ""},
};

static void complete_values(void) {
        printf("  case ${COMP_WORDS[COMP_CWORD-1]} in\n");
        for (unsigned i = 0; i < sizeof(values) / sizeof(values[0]); i++)
                if (values[i].words[0])
                        printf("    %s) COMPREPLY=($(compgen -W \"%s\" -- \"$word\")); return ;;\n", values[i].option,
                               values[i].words);
                else
                        printf("    %s) objects=%s ;;\n", values[i].option, values[i].lists);
        printf("  esac\n");
}

static void bash_completion(void) {
        const char *noun = NULL;
        struct completion state = {NULL};
        printf("# bash completion of drover; load it with: source <(drover completion bash)\n"
               "_drover() {\n  local word=${COMP_WORDS[COMP_CWORD]} noun=${COMP_WORDS[1]} verbs= options= objects= "
               "key\n"
               "  if [ \"$noun\" = help ] && [ \"$COMP_CWORD\" -gt 1 ]; then\n"
               "    COMP_WORDS=(\"${COMP_WORDS[@]:1}\") COMP_CWORD=$((COMP_CWORD - 1)) noun=${COMP_WORDS[1]}\n  fi\n"
               "  if [ \"$COMP_CWORD\" = 1 ]; then COMPREPLY=($(compgen -W \"");
        command_each(complete_nouns, &noun);
        printf("help\" -- \"$word\")); return; fi\n  case $noun in\n");
        command_each(complete_verbs, &state);
        printf("%s  esac\n"
               "  if [ \"$COMP_CWORD\" = 2 ] && [ -n \"$verbs\" ]; then COMPREPLY=($(compgen -W \"$verbs\" -- "
               "\"$word\")); return; fi\n"
               "  key=$noun; [ -n \"$verbs\" ] && key=\"$noun ${COMP_WORDS[2]}\"\n  case $key in\n",
               state.last ? "\" ;;\n" : "");
        command_each(complete_words, NULL);
        printf("  esac\n");
        complete_values();
        printf("  case $word in -*) COMPREPLY=($(compgen -W \"$options\" -- \"$word\")); return ;; esac\n"
               "  [ -n \"$objects\" ] && COMPREPLY=($(compgen -W \"$(for list in $objects; do drover $list list -o "
               "name "
               "2>/dev/null; done | sed 'p;s|.*/||;t;d')\" -- \"$word\"))\n}\n"
               "complete -F _drover drover\n");
}

int help_completion(const char *shell, struct error *err) {
        if (strcmp(shell, "zsh") == 0) {
                printf("autoload -U +X bashcompinit && bashcompinit\n");
                bash_completion();
        } else if (strcmp(shell, "bash") == 0) {
                bash_completion();
        } else {
                return error_set(err, ERROR_USAGE, "%s: completion is for bash or zsh", shell);
        }
        return 0;
}
