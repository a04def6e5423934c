// SPDX-License-Identifier: LGPL-2.1-or-later
/* Roles and their words. Pure. */
#include "common/cleanup.h"
#include "controller/authority/authority.h"
#include <string.h>

static const char *const words[] = {
        [ROLE_NONE] = "none",
        [ROLE_VIEWER] = "viewer",
        [ROLE_OPERATOR] = "operator",
        [ROLE_ADMIN] = "admin",
};

enum role role_parse(const char *word) {
        for (unsigned i = ROLE_VIEWER; word && i < ARRAY_SIZE(words); i++)
                if (strcmp(word, words[i]) == 0)
                        return (enum role) i;
        return ROLE_NONE;
}

const char *role_word(enum role role) {
        return (unsigned) role < ARRAY_SIZE(words) ? words[role] : words[ROLE_NONE];
}
