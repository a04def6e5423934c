// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * A mail as bytes: headers and one multipart/alternative of a text and an HTML part (RFC 5322, 2045 to 2047). Pure
 * functions, any thread.
 *
 * What goes into a header comes from outside now and then (the name of a VM in a subject), so nothing that could end a
 * line passes: a control character in any value is ERROR_INVALID. No line is longer than 78 characters, except those of
 * one address that is; all of it is ASCII.
 */
#include "common/buffer.h"
#include <stdint.h>

#define MESSAGE_RECIPIENTS_MAX 100u
#define MESSAGE_SUBJECT_MAX    400u        // bytes
#define MESSAGE_NAME_MAX       128u        // bytes of a person's name before an address
#define MESSAGE_PART_MAX       (8u << 20)  // bytes of each part
#define MESSAGE_MAX            (56u << 20) // bytes of the whole: a part grows at most threefold, and by its lines' ends
#define MESSAGE_ID_MAX         64u

struct message {
        const char *from; // ADDRESS or NAME <ADDRESS>
        char *const *to;  // the same; 1 to MESSAGE_RECIPIENTS_MAX
        unsigned n_to;
        const char *subject;     // UTF-8, as all that follows
        const char *text, *html; // lines end in \n or \r\n
        int64_t date;            // seconds since 1970 UTC
        // What stands before the @ of the Message-ID, [A-Za-z0-9.-]: a mail that is made again after a crash has the
        // same, so that whoever gets it twice can tell. NULL: random.
        const char *id;
};
// The bytes replace what ret (initialised) held. ERROR_INVALID, ERROR_TOO_LARGE.
int message_format(const struct message *message, struct buffer *ret, struct error *err);
// Split ADDRESS or NAME <ADDRESS>; *ret_name is NULL when there is none. The caller frees both; either may be NULL. An
// address is ASCII without quoting or comments: one with other letters has an ASCII form for its domain.
int message_address(const char *text, char **ret_address, char **ret_name, struct error *err);
