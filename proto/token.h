// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/* Join tokens as people paste them: "DRV1." and the base64url of a packed JoinToken, at most TOKEN_MAX characters. */
#include "proto/codec.h"
#define TOKEN_MAX 2048
int token_encode(const Drover__JoinToken *token, struct buffer *text, struct error *err);
// Checks everything: prefix, alphabet, lengths of hash (32) and secret (32), id, 1..8 addresses of host:port form.
int token_decode(const char *text, Drover__JoinToken **ret, struct error *err); // proto_free(&t->base)
