// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Mail by libcurl's SMTP. libcurl says only that something failed and with which number; which command it was, and what
 * the server answered in words, is heard by listening to the commands and answers as they pass (on_talk()). What passes
 * while logging in is not kept. One thread at a time: the worker's, between mail_start() and `done`.
 */
#include "controller/report/mail.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/memory.h"
#include "common/utf8.h"
#include "common/worker.h"
#include "controller/report/message.h"
#include "controller/report/secret.h"
#include <assert.h>
#include <string.h>
#include <strings.h>

#define SCHEMES    "smtp,smtps"
#define TRIES      5u // of timeout_ms each, for all recipients together
#define ANSWER_MAX 200u

// How far a try has come: the last command that was sent.
enum stage { STAGE_CONNECT, STAGE_GREET, STAGE_STARTTLS, STAGE_LOGIN, STAGE_SENDER, STAGE_RECIPIENT, STAGE_CONTENT };

struct mail_private {
        char *url, *user, *password_file, *ca_file, *peer, *sender;
        bool starttls;
        uint64_t timeout_ms;
        uint8_t *content;
        size_t length, read;
        enum stage stage;
        bool leaving;                // what is answered to QUIT is of no interest
        char answer[ANSWER_MAX + 1]; // the server's last line
        struct transport transport;
        atomic_bool cancelled;
        mail_fn done;
        void *data;
};

// ---- settings

int mail_server_check(const struct mail_server *server, struct error *err) {
        if (transport_check_url(server->url, SCHEMES, false, NULL, err) < 0) {
                error_prefix(err, "mail_server");
                error_hint(err, "mail_server: smtp://mail.example.org:587");
                return -1;
        }
        if (!server->user != !server->password_file)
                return error_set(err, ERROR_INVALID, "mail_user and mail_password_file go together");
        if (server->user && !server->starttls && strncasecmp(server->url, "smtps:", 6) != 0) {
                error_set(err, ERROR_INVALID, "mail_user wants TLS: the password would pass in clear");
                error_hint(err, "mail_starttls: true, or mail_server: smtps://...");
                return -1;
        }
        return 0;
}

static char *copy(const char *text) {
        return text ? memory_string(text) : NULL;
}

int mail_new(const struct mail_server *server, const char *from, char *const *to, unsigned n_to, const void *content,
             size_t length, struct mail **ret, struct error *err) {
        if (n_to == 0 || n_to > MESSAGE_RECIPIENTS_MAX)
                return error_set(err, ERROR_INVALID, "a mail goes to 1 to %u recipients", MESSAGE_RECIPIENTS_MAX);
        if (mail_server_check(server, err) < 0)
                return -1;
        struct mail *mail = new (struct mail);
        struct mail_private *own = mail->own = new (struct mail_private);
        mail->recipients = new_array(struct mail_recipient, n_to);
        mail->n = n_to;
        void *bytes = NULL;
        if (transport_check_url(server->url, SCHEMES, false, &own->peer, err) < 0 ||
            message_address(from, &own->sender, NULL, err) < 0 || memory_try(length + 1, &bytes, err) < 0)
                goto out;
        own->content = memcpy(bytes, content, length);
        own->length = length;
        own->url = copy(server->url);
        own->user = copy(server->user);
        own->password_file = copy(server->password_file);
        own->ca_file = copy(server->ca_file);
        own->starttls = server->starttls;
        own->timeout_ms = server->timeout_ms ? server->timeout_ms : MAIL_TRY_MS;
        for (unsigned i = 0; i < n_to; i++)
                if (message_address(to[i], &mail->recipients[i].address, NULL, err) < 0)
                        goto out;
        *ret = mail;
        return 0;
out:
        mail_free(mail);
        return -1;
}

void mail_free(struct mail *mail) {
        if (!mail)
                return;
        struct mail_private *own = mail->own;
        for (unsigned i = 0; i < mail->n; i++)
                free(mail->recipients[i].address);
        free(mail->recipients);
        free(own->url);
        free(own->user);
        free(own->password_file);
        free(own->ca_file);
        free(own->peer);
        free(own->sender);
        free(own->content);
        free(own);
        free(mail);
}

// ---- the talk

static size_t on_read(char *to, size_t size, size_t n, void *data) {
        struct mail_private *own = data;
        size_t left = own->length - own->read, room = size * n, taken = left < room ? left : room;
        memcpy(to, own->content + own->read, taken);
        own->read += taken;
        return taken;
}

static void hear_command(struct mail_private *own, const char *line, size_t length) {
        static const struct {
                const char *word;
                enum stage stage;
        } commands[] = {{"EHLO ", STAGE_GREET}, {"HELO ", STAGE_GREET},  {"STARTTLS", STAGE_STARTTLS},
                        {"AUTH ", STAGE_LOGIN}, {"MAIL ", STAGE_SENDER}, {"RCPT ", STAGE_RECIPIENT},
                        {"DATA", STAGE_CONTENT}};
        own->leaving = length >= 4 && memcmp(line, "QUIT", 4) == 0;
        if (!own->leaving)
                own->answer[0] = '\0';
        for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
                size_t word = strlen(commands[i].word);
                if (length >= word && memcmp(line, commands[i].word, word) == 0)
                        own->stage = commands[i].stage;
        }
}

static void hear_answer(struct mail_private *own, const char *line, size_t length) {
        if (own->leaving)
                return;
        while (length > 0 && (line[length - 1] == '\n' || line[length - 1] == '\r'))
                length--;
        size_t taken = length < ANSWER_MAX ? length : ANSWER_MAX;
        memcpy(own->answer, line, taken);
        own->answer[taken] = '\0';
        utf8_clean(own->answer);
}

static int on_talk(CURL *easy, curl_infotype type, char *line, size_t length, void *data) {
        (void) easy;
        if (type == CURLINFO_HEADER_OUT)
                hear_command(data, line, length);
        else if (type == CURLINFO_HEADER_IN)
                hear_answer(data, line, length);
        return 0;
}

// ---- one try

static const char *hint_of(enum stage stage, long code) {
        static const char too_large[] = "the server takes no mail of this size";
        switch (stage) {
        case STAGE_CONNECT:
        case STAGE_GREET:
                return code >= 400 ? "the server takes no mail from this machine now: ask whoever runs it" : NULL;
        case STAGE_STARTTLS:
                return "the server has trouble with its TLS: ask whoever runs it, or take its port for smtps://";
        case STAGE_LOGIN:
                return "are mail_user and the password in mail_password_file right?";
        case STAGE_SENDER:
                if (code == 552)
                        return too_large;
                return code == 530 || code == 550 ? "does the server want mail_user, or another mail_from?"
                                                  : "is the address in mail_from one that the server lets us use?";
        case STAGE_RECIPIENT:
                return "is the address in mail_to right, and does the server pass mail on to it for us?";
        case STAGE_CONTENT:
                return code == 552 ? too_large : NULL;
        }
        return NULL;
}

// libcurl's own words for these say nothing about what the server has answered.
static void describe(struct mail_private *own, CURLcode code, long answer, struct error *err) {
        static const char *const done[] = {"connecting", "greeting",      "STARTTLS",   "logging in",
                                           "the sender", "the recipient", "the content"};
        static const enum error_code codes[] = {ERROR_REFUSED, ERROR_REFUSED, ERROR_TLS,    ERROR_DENIED,
                                                ERROR_REFUSED, ERROR_REFUSED, ERROR_REFUSED};
        const char *hint = hint_of(own->stage, answer);
        if (code == CURLE_USE_SSL_FAILED && own->stage < STAGE_STARTTLS) {
                error_set(err, ERROR_TLS, "%s: the server offers no STARTTLS", own->peer);
                error_hint(err, "mail_starttls: false sends in clear; or take the port that offers TLS");
        } else if (code == CURLE_LOGIN_DENIED && !(answer >= 400 && own->stage == STAGE_LOGIN)) {
                error_set(err, ERROR_DENIED, "%s: the server offers no way to log in that we use (PLAIN, LOGIN)",
                          own->peer);
        } else if (answer >= 400 && code != CURLE_OPERATION_TIMEDOUT && code != CURLE_ABORTED_BY_CALLBACK) {
                error_set(err, codes[own->stage], "%s: %s: the server answers \"%s\"", own->peer, done[own->stage],
                          own->answer);
                if (hint)
                        error_hint(err, "%s", hint);
        } else {
                transport_error(&own->transport, code, own->peer, err);
                if (own->stage != STAGE_CONNECT)
                        error_prefix(err, "%s", done[own->stage]);
        }
}

// The number of an answer that was heard to its end; 0: of none. "550-" is followed by more.
static long answered(const struct mail_private *own) {
        char *end;
        long answer = strtol(own->answer, &end, 10);
        return end == own->answer + 3 && (*end == ' ' || *end == '\0') ? answer : 0;
}

// Only what was said about this mail is final. That we are not welcome, may not log in or may not use this sender or
// this server (5.7.*, RFC 3463) can be mended without it.
static bool is_final(const struct mail_private *own, CURLcode code, long answer) {
        if (code == CURLE_OPERATION_TIMEDOUT || code == CURLE_ABORTED_BY_CALLBACK || answer < 500 || answer == 530)
                return false;
        if (own->stage == STAGE_SENDER)
                return answer == 552; // too large
        if (own->stage == STAGE_RECIPIENT)
                return strncmp(own->answer + 3, " 5.7.", 5) != 0;
        return own->stage == STAGE_CONTENT;
}

static void attempt(struct mail_private *own, struct mail_recipient *recipient, uint64_t left_ms, bool last) {
        CURL *easy = own->transport.easy;
        struct curl_slist *list = curl_slist_append(NULL, recipient->address);
        own->read = 0;
        own->stage = STAGE_CONNECT;
        own->leaving = false;
        own->answer[0] = '\0';
        recipient->error = ERROR_INIT;
        if (!list) {
                error_set(&recipient->error, ERROR_NO_MEMORY, "no memory");
                return;
        }
        curl_easy_setopt(easy, CURLOPT_MAIL_RCPT, list);
        // So that leave is taken within the bound of the transfer, and not when the handle goes.
        curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, (long) last);
        CURLcode code = transport_perform(&own->transport, left_ms < own->timeout_ms ? left_ms : own->timeout_ms);
        curl_easy_setopt(easy, CURLOPT_MAIL_RCPT, NULL);
        curl_slist_free_all(list);
        if (code == CURLE_OK) {
                recipient->outcome = OUTCOME_DONE;
                return;
        }
        long answer = answered(own);
        recipient->outcome = is_final(own, code, answer) ? OUTCOME_NEVER : OUTCOME_LATER;
        describe(own, code, answer, &recipient->error);
}

static int log_in(struct mail_private *own, struct error *err) {
        struct buffer secret;
        buffer_init(&secret, SECRET_MAX + 1);
        if (!own->user)
                return 0;
        if (secret_read(own->password_file, 1, &secret, err) < 0)
                return error_prefix(err, "mail_password_file");
        curl_easy_setopt(own->transport.easy, CURLOPT_USERNAME, own->user);
        curl_easy_setopt(own->transport.easy, CURLOPT_PASSWORD, (const char *) secret.data);
        curl_easy_setopt(own->transport.easy, CURLOPT_LOGIN_OPTIONS, "AUTH=PLAIN;AUTH=LOGIN");
        secret_fini(&secret);
        return 0;
}

static int prepare(struct mail_private *own, struct error *err) {
        _cleanup_(free_p) char *sender = memory_format("<%s>", own->sender);
        if (transport_init(&own->transport, SCHEMES, own->ca_file, &own->cancelled, err) < 0 || log_in(own, err) < 0)
                return -1;
        CURL *easy = own->transport.easy;
        curl_easy_setopt(easy, CURLOPT_URL, own->url);
        curl_easy_setopt(easy, CURLOPT_PROXY, ""); // whatever the environment says
        curl_easy_setopt(easy, CURLOPT_USE_SSL, (long) (own->starttls ? CURLUSESSL_ALL : CURLUSESSL_NONE));
        curl_easy_setopt(easy, CURLOPT_MAIL_FROM, sender);
        curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
        curl_easy_setopt(easy, CURLOPT_INFILESIZE_LARGE, (curl_off_t) own->length);
        curl_easy_setopt(easy, CURLOPT_READFUNCTION, on_read);
        curl_easy_setopt(easy, CURLOPT_READDATA, own);
        curl_easy_setopt(easy, CURLOPT_VERBOSE, 1L); // on_talk() hears it, and nobody else
        curl_easy_setopt(easy, CURLOPT_DEBUGFUNCTION, on_talk);
        curl_easy_setopt(easy, CURLOPT_DEBUGDATA, own);
        return 0;
}

// ---- all of them

static void fail_from(struct mail *mail, unsigned first, const struct error *error) {
        for (unsigned i = first; i < mail->n; i++)
                mail->recipients[i].error = *error;
}

static int sum_up(const struct mail *mail, struct error *err) {
        unsigned served = 0;
        const struct mail_recipient *failed = NULL;
        for (unsigned i = mail->n; i-- > 0;)
                if (mail->recipients[i].outcome == OUTCOME_DONE)
                        served++;
                else
                        failed = &mail->recipients[i];
        if (!failed)
                return 0;
        if (err)
                *err = failed->error;
        return error_prefix(err, "mail: %u of %u sent: %s", served, mail->n, failed->address);
}

int mail_send(struct mail *mail, struct error *err) {
        struct mail_private *own = mail->own;
        struct error failure = ERROR_INIT;
        uint64_t deadline = clock_ms(&system_clock) + TRIES * own->timeout_ms;
        if (prepare(own, &failure) < 0)
                fail_from(mail, 0, &failure);
        for (unsigned i = 0; failure.code == ERROR_NONE && i < mail->n; i++) {
                if (atomic_load(&own->cancelled)) {
                        transport_error(&own->transport, CURLE_ABORTED_BY_CALLBACK, own->peer, &failure);
                        fail_from(mail, i, &failure);
                        break;
                }
                // With no time left the try fails as it should, and the connection is closed.
                uint64_t now = clock_ms(&system_clock);
                attempt(own, &mail->recipients[i], now < deadline ? deadline - now : 1, i + 1 == mail->n);
                // Where the server did not let us begin, it would not for the others.
                if (mail->recipients[i].outcome != OUTCOME_DONE && own->stage < STAGE_SENDER) {
                        failure = mail->recipients[i].error;
                        fail_from(mail, i, &failure);
                }
        }
        transport_fini(&own->transport);
        return sum_up(mail, err);
}

static void on_work(void *data) {
        mail_send(data, NULL);
}

static void on_done(void *data) {
        struct mail *mail = data;
        mail->own->done(mail, mail->own->data);
}

void mail_start(struct mail *mail, uv_loop_t *loop, mail_fn done, void *data) {
        mail->own->done = done;
        mail->own->data = data;
        worker_run(loop, on_work, on_done, mail);
}

void mail_cancel(struct mail *mail) {
        atomic_store(&mail->own->cancelled, true);
}
