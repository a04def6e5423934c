// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What test_mail.py drives: report_send CONFIG MILLISECONDS CANCEL mail|webhook. The controller's settings come from
 * CONFIG, and what is sent from standard input (for a mail the subject's line, a line of ids, then text and HTML with a
 * line of "--" between). It is sent on a worker thread, cancelled after CANCEL milliseconds unless that is 0, and what
 * became of it printed as JSON.
 */
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/memory.h"
#include "controller/report/message.h"
#include "controller/settings.h"
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

struct sending {
        struct mail *mail;
        struct webhook *webhook;
        uv_timer_t cancel;
        json_t *result;
};

static const char *const outcomes[] = {[OUTCOME_LATER] = "later", [OUTCOME_DONE] = "done", [OUTCOME_NEVER] = "never"};

static json_t *described(const char *to, enum outcome outcome, const struct error *error) {
        json_t *hints = json_array();
        for (unsigned i = 0; i < error->n_hints; i++)
                json_array_append_new(hints, json_string(error->hints[i]));
        return json_pack("{s:s, s:s, s:s, s:s, s:o}", "to", to, "outcome", outcomes[outcome], "code",
                         error_word(error->code), "error", error->message, "hints", hints);
}

static void on_mail(struct mail *mail, void *data) {
        struct sending *sending = data;
        for (unsigned i = 0; i < mail->n; i++)
                json_array_append_new(sending->result,
                                      described(mail->recipients[i].address, mail->recipients[i].outcome,
                                                &mail->recipients[i].error));
        uv_close((uv_handle_t *) &sending->cancel, NULL);
}

static void on_webhook(struct webhook *webhook, void *data) {
        struct sending *sending = data;
        json_array_append_new(sending->result, described("", webhook->outcome, &webhook->error));
        uv_close((uv_handle_t *) &sending->cancel, NULL);
}

static void on_cancel(uv_timer_t *timer) {
        struct sending *sending = timer->data;
        if (sending->mail)
                mail_cancel(sending->mail);
        if (sending->webhook)
                webhook_cancel(sending->webhook);
}

static char *line(char **at, const char *end) {
        char *begin = *at, *found = strstr(begin, end);
        if (found)
                *found = '\0';
        *at = found ? found + strlen(end) : begin + strlen(begin);
        return begin;
}

static int new_mail(const struct settings *settings, uint32_t timeout_ms, char *input, struct mail **ret,
                    struct error *err) {
        struct mail_server server = settings_mail_server(settings);
        struct message message = {.from = settings->mail_from,
                                  .to = settings->mail_to.items,
                                  .n_to = settings->mail_to.n,
                                  .date = clock_wall(&system_clock)};
        struct buffer content;
        server.timeout_ms = timeout_ms;
        message.subject = line(&input, "\n");
        message.id = line(&input, "\n");
        message.text = line(&input, "\n--\n");
        message.html = input;
        buffer_init(&content, 0);
        int r = message_format(&message, &content, err);
        if (r == 0)
                r = mail_new(&server, message.from, message.to, message.n_to, content.data, content.length, ret, err);
        buffer_fini(&content);
        return r;
}

static int new_webhook(const struct settings *settings, uint32_t timeout_ms, const char *input, struct webhook **ret,
                       struct error *err) {
        struct webhook_target target;
        if (settings->webhooks.n == 0)
                return error_set(err, ERROR_USAGE, "no webhook in the settings");
        if (webhook_target_parse(settings->webhooks.items[0], &target, err) < 0)
                return -1;
        int r = webhook_new(&target, settings->webhook_ca_file, timeout_ms, input, strlen(input), ret, err);
        webhook_target_fini(&target);
        return r;
}

static int send_all(char **argv, char *input, struct sending *sending, struct error *err) {
        struct settings settings;
        uint32_t timeout_ms = (uint32_t) strtoul(argv[2], NULL, 10);
        uint64_t cancel_ms = strtoul(argv[3], NULL, 10);
        bool is_mail = strcmp(argv[4], "mail") == 0;
        uv_loop_t loop;
        if (settings_load(argv[1], &settings, err) < 0)
                return -1;
        int r = is_mail ? new_mail(&settings, timeout_ms, input, &sending->mail, err)
                        : new_webhook(&settings, timeout_ms, input, &sending->webhook, err);
        settings_fini(&settings);
        if (r < 0)
                return r;
        uv_loop_init(&loop);
        uv_timer_init(&loop, &sending->cancel);
        sending->cancel.data = sending;
        if (cancel_ms)
                uv_timer_start(&sending->cancel, on_cancel, cancel_ms, 0);
        if (is_mail)
                mail_start(sending->mail, &loop, on_mail, sending);
        else
                webhook_start(sending->webhook, &loop, on_webhook, sending);
        uv_run(&loop, UV_RUN_DEFAULT);
        mail_free(sending->mail);
        webhook_free(sending->webhook);
        return uv_loop_close(&loop);
}

int main(int argc, char **argv) {
        struct error err = ERROR_INIT;
        struct sending sending = {.result = json_array()};
        size_t room = 1u << 20;
        _cleanup_(free_p) char *input = memory_new(room);
        if (argc != 5)
                return 2;
        signal(SIGPIPE, SIG_IGN);
        input[fread(input, 1, room - 1, stdin)] = '\0';
        int r = send_all(argv, input, &sending, &err);
        if (r < 0)
                fprintf(stderr, "%s\n", err.message);
        else
                json_dumpf(sending.result, stdout, 0);
        json_decref(sending.result);
        return r < 0;
}
