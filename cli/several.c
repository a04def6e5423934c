// SPDX-License-Identifier: LGPL-2.1-or-later
/* One after another, whatever came of those before; see several.h. */
#include "cli/several.h"

struct failures {
        size_t n;
        enum error_code code; // of the first
        int exit_code;
};

static bool ends_all(const struct error *why) {
        return why->code == ERROR_DETACHED || why->code == ERROR_INTERRUPTED;
}

static int tell(const struct several *several, const struct failures *failed, struct invocation *call,
                struct error *err) {
        if (failed->n == 0)
                return 0;
        bool all = failed->n == several->n;
        if (all)
                call->exit_code = failed->exit_code;
        return error_set(err, all ? failed->code : ERROR_PARTLY, "%zu of %zu %s failed", failed->n, several->n,
                         several->what);
}

static int run(const struct several *several, struct invocation *call, json_t *rows, struct error *err) {
        struct failures failed = {0};
        for (size_t i = 0; i < several->n; i++) {
                struct error why = ERROR_INIT;
                call->exit_code = 0;
                if (several->one(i, call, rows, several->data, &why) == 0)
                        continue;
                if (ends_all(&why) || several->n == 1) {
                        if (err)
                                *err = why;
                        return -1;
                }
                output_error(&why, call->format);
                if (failed.n++ == 0) {
                        failed.code = why.code;
                        failed.exit_code = call->exit_code;
                }
        }
        call->exit_code = 0;
        return tell(several, &failed, call, err);
}

int several_run(const struct several *several, struct invocation *call, struct error *err) {
        json_t *rows = call->format == OUTPUT_JSON ? json_array() : NULL;
        int r = run(several, call, rows, err);
        if (rows)
                output_list(rows, NULL, OUTPUT_JSON, "id", NULL);
        return r;
}
