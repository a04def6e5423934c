// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * The operator's connection: one link to the controller for one command. Blocking for its caller: client_ask() runs the
 * loop until the last reply is there. Credentials come from the directory $DROVER_CONFIG, or ~/.config/drover.
 */
#include "common/error.h"
#include "proto/codec.h"

struct client;
const char *client_directory(void); // where the credentials are; static memory
int client_open(struct client **ret, struct error *err);
void client_close(struct client *client);
// Called for each reply; return 1 to stop asking for more, -1 to fail.
typedef int (*client_reply_fn)(const Drover__OperatorReply *reply, void *data, struct error *err);
// Sends the request (its id is set here) and gives every reply to fn until the last. Replies of failure become err.
// ERROR_UNREACHABLE when the controller cannot be reached or the link is lost; ERROR_INTERRUPTED on SIGINT.
int client_ask(struct client *client, Drover__OperatorRequest *request, client_reply_fn fn, void *data,
               struct error *err);
// For a request with exactly one reply: proto_free(&(*ret)->base).
int client_ask_one(struct client *client, Drover__OperatorRequest *request, Drover__OperatorReply **ret,
                   struct error *err);
// Opens, asks once, closes.
int client_ask_once(Drover__OperatorRequest *request, client_reply_fn fn, void *data, struct error *err);
// drover login TOKEN: pin the authority, then exchange the secret for a certificate, and store all of it.
int client_login(const char *token, bool replace, char ret_user[64], char ret_role[16], char ret_authority[65],
                 struct error *err);
