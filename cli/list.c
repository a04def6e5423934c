// SPDX-License-Identifier: LGPL-2.1-or-later
/* Asking for records and printing them; see list.h. */
#include "cli/list.h"

#include <stdio.h>
#include <unistd.h>

struct gathering {
        list_collect_fn collect;
        json_t *rows;
};

static int on_reply(const Drover__OperatorReply *reply, void *data, struct error *err) {
        (void) err;
        struct gathering *gathering = data;
        if (gathering->collect)
                gathering->collect(reply, gathering->rows);
        return 0;
}

static int gather(Drover__OperatorRequest *request, list_collect_fn collect, json_t **ret, struct error *err) {
        struct gathering gathering = {collect, json_array()};
        if (client_ask_once(request, on_reply, &gathering, err) < 0) {
                json_decref(gathering.rows);
                return -1;
        }
        *ret = gathering.rows;
        return 0;
}

int list_run(struct invocation *call, Drover__OperatorRequest *request, list_collect_fn collect,
             const struct column *columns, const char *name_key, const char *empty, struct error *err) {
        json_t *rows;
        if (gather(request, collect, &rows, err) < 0)
                return -1;
        output_list(rows, columns, call->format, name_key, empty);
        return 0;
}

int list_show(struct invocation *call, Drover__OperatorRequest *request, list_collect_fn collect, const char *name_key,
              const char *what, struct error *err) {
        json_t *rows;
        if (gather(request, collect, &rows, err) < 0)
                return -1;
        json_t *first = json_array_get(rows, 0);
        if (!first) {
                json_decref(rows);
                return error_set(err, ERROR_NOT_FOUND, "no %s", what);
        }
        output_show(json_incref(first), call->format, name_key);
        json_decref(rows);
        return 0;
}

int list_done(struct invocation *call, Drover__OperatorRequest *request, const char *said, struct error *err) {
        json_t *rows;
        if (gather(request, NULL, &rows, err) < 0)
                return -1;
        json_decref(rows);
        if (call->format == OUTPUT_TABLE || call->format == OUTPUT_WIDE)
                output_line("%s", said);
        return 0;
}

int list_confirm(const struct invocation *call, const char *question, struct error *err) {
        char answer[16];
        if (call->yes)
                return 0;
        if (!isatty(STDIN_FILENO) || !output_terminal()) {
                error_set(err, ERROR_USAGE, "%s Nobody is there to ask", question);
                error_hint(err, "--yes answers");
                return -1;
        }
        fprintf(stderr, "%s [y/N] ", question);
        if (fgets(answer, sizeof(answer), stdin) && (answer[0] == 'y' || answer[0] == 'Y'))
                return 0;
        return error_set(err, ERROR_INTERRUPTED, "nothing was done");
}
