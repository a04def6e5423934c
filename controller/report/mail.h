// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * Handing one mail to a server by SMTP. Each recipient has a transaction of its own over one connection, so that what
 * becomes of each is known for certain and one that is refused, or at which the connection breaks, does not stop the
 * others.
 *
 * mail_send() blocks (libcurl) and belongs on a worker thread, which mail_start() sees to. Until `done` the mail is
 * that thread's, but for mail_cancel(). Where a connection breaks after the content was sent and before the answer,
 * nobody can know: it is OUTCOME_LATER, and may arrive twice with one Message-ID.
 */
#include "controller/report/transport.h"
#include <uv.h>

#define MAIL_TRY_MS 60000u // for one recipient, connecting included; five times that for all

struct mail_server {
        const char *url;           // smtp://HOST[:PORT] or smtps://HOST[:PORT]
        const char *user;          // NULL: does not log in
        const char *password_file; // with `user`
        const char *ca_file;       // NULL: the system's authorities
        bool starttls;             // of smtp://: it must be had. Otherwise all goes in clear, and `user` is refused
        uint32_t timeout_ms;       // in place of MAIL_TRY_MS; 0: that
};

struct mail_recipient {
        char *address;
        enum outcome outcome;
        struct error error; // when not OUTCOME_DONE: says what to do
};

struct mail {
        struct mail_recipient *recipients;
        unsigned n; // 1 to MESSAGE_RECIPIENTS_MAX
        // The rest is mail.c's.
        struct mail_private *own;
};
typedef void (*mail_fn)(struct mail *mail, void *data);

// ERROR_INVALID: what is wrong with the settings, naming their keys (mail_server, mail_user, ...). Opens no file.
int mail_server_check(const struct mail_server *server, struct error *err);
// From and to as message_address() takes them; `content` is message_format()'s. All is copied.
int mail_new(const struct mail_server *server, const char *from, char *const *to, unsigned n_to, const void *content,
             size_t length, struct mail **ret, struct error *err);
void mail_free(struct mail *mail); // not between mail_start() and `done`
// Once. 0: every recipient is OUTCOME_DONE. Otherwise -1, with the first error and how many were served; each recipient
// has its own.
int mail_send(struct mail *mail, struct error *err);
// mail_send() on a thread of libuv's pool; `done` on the loop's thread, always and not from within this call.
void mail_start(struct mail *mail, uv_loop_t *loop, mail_fn done, void *data);
void mail_cancel(struct mail *mail); // any thread; what is not sent yet ends within about a second
