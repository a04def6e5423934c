// SPDX-License-Identifier: LGPL-2.1-or-later
/* drover user: who may ask for what. */
#include "cli/invitation.h"
#include "cli/verb.h"

#include <stdio.h>

static int invite(struct invocation *call, struct error *err) {
        char *sites[COMMAND_OBJECTS_MAX];
        VERB(user_invite, USER_INVITE, user_invite, UserInvite)
        verb.name = (char *) call->objects[0];
        verb.role = verb_text(call, "--role");
        if (!verb.role[0])
                return error_set(err, ERROR_USAGE, "--role viewer, operator or admin is needed");
        for (const char *site; (site = option_nth(call, "--site", (unsigned) verb.n_sites));)
                sites[verb.n_sites++] = (char *) site;
        verb.sites = sites;
        if (option_duration(call, "--ttl", &verb.ttl_seconds, err) < 0)
                return -1;
        return invitation_print(call, &request, err);
}

COLLECT(collect, USERS, users, users, record_user(reply->users->users[i]))

static const struct column columns[] = {
        {"NAME", "name", COLUMN_TEXT, false},
        {"ROLE", "role", COLUMN_TEXT, false},
        {"SITES", "sites", COLUMN_TEXT_OR_ALL, false},
        {"STATE", "state", COLUMN_TEXT, false},
        {"SEEN", "last_seen_at", COLUMN_AGE, false},
        {"EXPIRES", "certificate_expires_at", COLUMN_TIME, true},
        {0},
};

static int list(struct invocation *call, struct error *err) {
        VERB(user_list, USER_LIST, user_list, UserList)
        return list_run(call, &request, collect, columns, "name", "no users", err);
}

static int rm(struct invocation *call, struct error *err) {
        char question[256];
        VERB(user_remove, USER_REMOVE, user_remove, UserRemove)
        verb.name = (char *) call->objects[0];
        snprintf(question, sizeof(question), "Remove the user %s and revoke their certificate?", call->objects[0]);
        if (list_confirm(call, question, err) < 0)
                return -1;
        return list_done(call, &request, "user removed; the certificate is revoked", err);
}

static const struct command_option invite_options[] = {
        {"--role", "ROLE", "viewer, operator or admin", false},
        {"--site", "SITE", "only for this site; may be repeated; all sites by default", true},
        {"--ttl", "DURATION", "how long the invitation holds; 1h by default", false},
        {0},
};

const struct command user_commands[] = {
        {.noun = "user", .verb = "list", .summary = "Who may ask for what", .run = list, .lists = true},
        {.noun = "user",
         .verb = "invite",
         .objects = "NAME",
         .objects_min = 1,
         .objects_max = 1,
         .summary = "Print the one line with which NAME logs in",
         .options = invite_options,
         .run = invite,
         .lists = true},
        {.noun = "user",
         .verb = "rm",
         .objects = "NAME",
         .objects_min = 1,
         .objects_max = 1,
         .summary = "Remove a user: the certificate is revoked and connections are cut",
         .run = rm,
         .completes = "user",
         .asks = true},
        {0},
};
