// SPDX-License-Identifier: LGPL-2.1-or-later
/* The options of moves and clones; see move_options.h. */
#include "cli/move_options.h"
#include "cli/verb.h"
#include "common/name.h"
#include "common/units.h"

#include <stdio.h>
#include <string.h>

static int take_bridges(const struct invocation *call, struct move_options *options, struct error *err) {
        const char *text;
        for (unsigned i = 0; (text = option_nth(call, "--bridge", i)); i++) {
                const char *equals = strchr(text, '=');
                if (!equals || equals == text || !equals[1])
                        return error_set(err, ERROR_USAGE, "--bridge %s: it is written OLD=NEW", text);
                drover__name_map__init(&options->maps[i]);
                options->maps[i].from = strndup(text, (size_t) (equals - text));
                options->maps[i].to = memory_string(equals + 1);
                options->pointers[i] = &options->maps[i];
                options->n = i + 1;
        }
        return 0;
}

static int take_word(const struct invocation *call, const char *option, const char *const *words, int *ret,
                     struct error *err) {
        const char *text = option_value(call, option);
        if (!text)
                return 0;
        for (int i = 0; words[i]; i++)
                if (strcmp(text, words[i]) == 0) {
                        *ret = i;
                        return 0;
                }
        char known[64] = "";
        for (int i = 0; words[i]; i++)
                snprintf(known + strlen(known), sizeof(known) - strlen(known), "%s%s",
                         !i             ? ""
                         : words[i + 1] ? ", "
                                        : " or ",
                         words[i]);
        return error_set(err, ERROR_USAGE, "%s %s: it is %s", option, text, known);
}

static int both(const struct invocation *call, const char *one, const char *other, struct error *err) {
        if (option_given(call, one) && option_given(call, other))
                return error_set(err, ERROR_USAGE, "%s and %s exclude each other", one, other);
        return 0;
}

int move_options_stop(const struct invocation *call, Drover__StopMode *ret_mode, uint32_t *ret_timeout_seconds,
                      struct error *err) {
        if (both(call, "--shutdown", "--stop", err) < 0 ||
            option_duration(call, "--timeout", ret_timeout_seconds, err) < 0)
                return -1;
        *ret_mode = option_given(call, "--stop")       ? DROVER__STOP_MODE__STOP_HARD
                    : option_given(call, "--shutdown") ? DROVER__STOP_MODE__STOP_SHUTDOWN
                                                       : DROVER__STOP_MODE__STOP_MODE_NONE;
        return 0;
}

int move_options_take(const struct invocation *call, struct move_options *options, Drover__VmMove *verb,
                      struct error *err) {
        static const char *const paths[] = {"auto", "direct", "reverse", "relay", NULL};
        static const char *const verifies[] = {"sums", "read-back", NULL};
        int path = 0, verify = 0;
        const char *rate = option_value(call, "--rate");
        if (move_options_stop(call, &verb->stop, &verb->stop_timeout_seconds, err) < 0 ||
            both(call, "--start", "--no-start", err) < 0 || take_word(call, "--path", paths, &path, err) < 0 ||
            take_word(call, "--verify", verifies, &verify, err) < 0 || take_bridges(call, options, err) < 0)
                return -1;
        if (rate && units_parse_rate(rate, &verb->rate_bytes_per_second, err) < 0)
                return error_prefix(err, "--rate");
        verb->bridges = options->pointers;
        verb->n_bridges = options->n;
        verb->path = (Drover__TransferPath) path;
        verb->read_back = verify == 1;
        verb->new_name = verb_text(call, "--as");
        if (verb->new_name[0] && name_check_vm(verb->new_name, err) < 0)
                return error_prefix(err, "--as");
        verb->pool = verb_text(call, "--pool");
        verb->format = verb_text(call, "--format");
        verb->purge_source = option_given(call, "--purge-source");
        verb->plan_only = option_given(call, "--plan");
        verb->start = option_given(call, "--start")      ? DROVER__VM_MOVE__START__START_YES
                      : option_given(call, "--no-start") ? DROVER__VM_MOVE__START__START_NO
                                                         : DROVER__VM_MOVE__START__START_AS_BEFORE;
        return 0;
}

void move_options_fini(struct move_options *options) {
        for (size_t i = 0; i < options->n; i++) {
                free(options->maps[i].from);
                free(options->maps[i].to);
        }
}
