// SPDX-License-Identifier: LGPL-2.1-or-later
/* Asking for an invitation, of a host or of a user, and printing the line that it is. */
#include "cli/invitation.h"
#include "cli/verb.h"
#include "common/units.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static int keep_invitation(const Drover__OperatorReply *reply, void *data, struct error *err) {
        if (reply->value_case != DROVER__OPERATOR_REPLY__VALUE_INVITATION)
                return error_set(err, ERROR_PROTOCOL, "the controller's answer holds no invitation");
        *(Drover__Invitation **) data = (Drover__Invitation *) proto_copy(&reply->invitation->base);
        return 1;
}

int invitation_print(struct invocation *call, Drover__OperatorRequest *request, struct error *err) {
        Drover__Invitation *invitation = NULL;
        char span[UNITS_TEXT_MAX];
        if (client_ask_once(request, keep_invitation, &invitation, err) < 0)
                return -1;
        if (call->format == OUTPUT_TABLE || call->format == OUTPUT_WIDE) {
                int64_t left = (invitation->expires_at - time(NULL) + 59) / 60 * 60; // for people: whole minutes
                output_line(
                        "To be run %s%s, once, within %s:", strcmp(call->command->noun, "host") == 0 ? "on " : "by ",
                        invitation->name, units_format_duration(left > 0 ? (uint64_t) left : 0, span));
                printf("%s\n", invitation->command);
        } else {
                json_t *object = json_object();
                json_object_set_new(object, "name", json_string(invitation->name));
                json_object_set_new(object, "token", json_string(invitation->token));
                json_object_set_new(object, "command", json_string(invitation->command));
                json_object_set_new(object, "expires_at", output_time(invitation->expires_at));
                output_show(object, call->format, "token");
        }
        proto_free(&invitation->base);
        return 0;
}
