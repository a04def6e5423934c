// SPDX-License-Identifier: LGPL-2.1-or-later
/* Identities as SAN URIs: pure text in, struct out. No state, safe from any thread. */
#include "common/identity.h"
#include <stdio.h>
#include <string.h>

#define SCHEME "drover://"

static const struct {
        enum identity_kind kind;
        const char *word;
} kinds[] = {
        {IDENTITY_HOST, "host"},
        {IDENTITY_USER, "user"},
        {IDENTITY_CONTROLLER, "controller"},
};

const char *identity_kind_word(enum identity_kind kind) {
        for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
                if (kinds[i].kind == kind)
                        return kinds[i].word;
        return "none";
}

static int check_name(enum identity_kind kind, const char *name, struct error *err) {
        return kind == IDENTITY_USER ? name_check_user(name, err) : name_check_uuid(name, err);
}

int identity_parse(const char *uri, struct identity *ret_identity, struct error *err) {
        if (strncmp(uri, SCHEME, strlen(SCHEME)) != 0)
                return error_set(err, ERROR_INVALID, "\"%.100s\" is not an identity: it does not begin with %s", uri,
                                 SCHEME);
        const char *rest = uri + strlen(SCHEME);
        const char *slash = strchr(rest, '/');
        size_t word = slash ? (size_t) (slash - rest) : strlen(rest);
        for (size_t i = 0; slash && i < sizeof(kinds) / sizeof(kinds[0]); i++) {
                if (strlen(kinds[i].word) != word || strncmp(rest, kinds[i].word, word) != 0)
                        continue;
                struct identity identity = {.kind = kinds[i].kind};
                if (strlen(slash + 1) >= sizeof(identity.name))
                        return error_set(err, ERROR_INVALID, "\"%.100s\" is not an identity: the name is too long",
                                         uri);
                if (check_name(identity.kind, slash + 1, err) < 0)
                        return error_prefix(err, "\"%.100s\" is not an identity", uri);
                strcpy(identity.name, slash + 1);
                *ret_identity = identity;
                return 0;
        }
        return error_set(err, ERROR_INVALID, "\"%.100s\" is not an identity: it names no host, user or controller",
                         uri);
}

int identity_format(const struct identity *identity, char *buffer, size_t size) {
        if (identity->kind == IDENTITY_NONE)
                return -1;
        int n = snprintf(buffer, size, SCHEME "%s/%s", identity_kind_word(identity->kind), identity->name);
        return n < 0 || (size_t) n >= size ? -1 : 0;
}
