// SPDX-License-Identifier: LGPL-2.1-or-later
/* A mail's headers and parts, encoded so that any server passes them on unchanged. Pure functions, any thread. */
#include "controller/report/message.h"
#include "common/cleanup.h"
#include "common/memory.h"
#include "common/random.h"
#include "common/utf8.h"
#include <openssl/evp.h>
#include <string.h>
#include <time.h>

#define LINE_LENGTH 78u // characters that a line should have at most: RFC 5322, 2.1.1
#define PART_LINE   76u // of a part in quoted-printable: RFC 2045, 6.7
#define WORD_LEAST  12u // bytes for which a word is begun in what is left of a line
#define WORD_MAX    45u // bytes in an encoded word, which has 75 characters at most: RFC 2047, 2
// No part can hold it: in quoted-printable a hexadecimal digit or the line's end follows "=".
#define BOUNDARY "=_drover"

static const char alphanumeric[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

static bool consists_of(const char *text, size_t length, const char *more) {
        for (size_t i = 0; i < length; i++)
                if (!strchr(alphanumeric, text[i]) && !strchr(more, text[i]))
                        return false;
        return length > 0;
}

// ---- what is allowed

// One line of UTF-8.
static int check_value(const char *what, const char *text, size_t most, struct error *err) {
        size_t length = strlen(text);
        if (length > most)
                return error_set(err, ERROR_TOO_LARGE, "%s has %zu bytes, and may have %zu", what, length, most);
        for (uint32_t point; *text;) {
                unsigned n = utf8_next(text, &point);
                if (n == 0)
                        return error_set(err, ERROR_INVALID, "%s is not UTF-8", what);
                if (point < 0x20 || (point >= 0x7f && point < 0xa0) || point == 0x2028 || point == 0x2029)
                        return error_set(err, ERROR_INVALID, "%s holds a line's end or another control character",
                                         what);
                text += n;
        }
        return 0;
}

static int check_part(const char *what, const char *text, struct error *err) {
        size_t length = strlen(text);
        if (length > MESSAGE_PART_MAX)
                return error_set(err, ERROR_TOO_LARGE, "%s has %zu bytes, and may have %u", what, length,
                                 MESSAGE_PART_MAX);
        for (uint32_t point; *text;) {
                unsigned n = utf8_next(text, &point);
                if (n == 0)
                        return error_set(err, ERROR_INVALID, "%s is not UTF-8", what);
                text += n;
        }
        return 0;
}

static bool dots_stand_alone(const char *text, size_t length) {
        if (text[0] == '.' || text[length - 1] == '.')
                return false;
        for (size_t i = 1; i < length; i++)
                if (text[i] == '.' && text[i - 1] == '.')
                        return false;
        return true;
}

// A dot-atom on each side of the @: RFC 5322, 3.4.1; the lengths are RFC 5321's, 4.5.3.1.
static bool is_address(const char *text, size_t length) {
        const char *at = memchr(text, '@', length);
        size_t local = at ? (size_t) (at - text) : 0;
        size_t domain = at ? length - local - 1 : 0;
        return local > 0 && local <= 64 && domain > 0 && domain <= 253 && text[0] != '-' &&
               consists_of(text, local, "!#$%&'*+-/=?^_`{|}~.") && dots_stand_alone(text, local) &&
               consists_of(at + 1, domain, "-.") && dots_stand_alone(at + 1, domain) && at[1] != '-';
}

static size_t trimmed(const char *text, size_t length) {
        while (length > 0 && text[length - 1] == ' ')
                length--;
        return length;
}

int message_address(const char *text, char **ret_address, char **ret_name, struct error *err) {
        if (check_value("an address", text, 320 + MESSAGE_NAME_MAX, err) < 0)
                return -1;
        const char *open = strrchr(text, '<'), *address = open ? open + 1 : text;
        size_t length = strlen(address), name = open ? trimmed(text, (size_t) (open - text)) : 0;
        bool closed = !open || (length > 0 && address[length - 1] == '>');
        if (open && closed)
                length--;
        if (name >= 2 && text[0] == '"' && text[name - 1] == '"') {
                text++;
                name -= 2;
        }
        if (!closed || !is_address(address, length) || name > MESSAGE_NAME_MAX) {
                error_set(err, ERROR_INVALID, "\"%s\" is not a mail address", text);
                error_hint(err,
                           "write admin@example.org, or Administrator <admin@example.org>, in ASCII behind the name");
                return -1;
        }
        if (ret_address)
                *ret_address = memory_format("%.*s", (int) length, address);
        if (ret_name)
                *ret_name = name ? memory_format("%.*s", (int) name, text) : NULL;
        return 0;
}

// ---- headers

// A header that is being written: words are put on a new line where the one that stands would grow too long.
struct header {
        struct buffer *out;
        size_t column;
        struct error *err;
};

// `space` goes between the word and what stands before it, as a space or as a folded line.
static int put(struct header *header, const char *word, size_t length, bool space) {
        if (space && header->column + 1 + length > LINE_LENGTH) {
                if (buffer_append(header->out, "\r\n ", 3, header->err) < 0)
                        return -1;
                header->column = 1;
        } else if (space) {
                if (buffer_append(header->out, " ", 1, header->err) < 0)
                        return -1;
                header->column++;
        }
        header->column += length;
        return buffer_append(header->out, word, length, header->err);
}

static int begin(struct header *header, const char *name) {
        header->column = 0;
        return put(header, name, strlen(name), false);
}

static int end(struct header *header) {
        return buffer_append(header->out, "\r\n", 2, header->err);
}

// In words that end where the line does: as many bytes as there is room for, or a line of its own.
static int put_encoded(struct header *header, const char *text) {
        while (*text) {
                char word[16 + (WORD_MAX + 2) / 3 * 4] = "=?UTF-8?B?";
                size_t length = strlen(word), around = length + strlen(" ?=");
                size_t room =
                        header->column + around < LINE_LENGTH ? (LINE_LENGTH - header->column - around) / 4 * 3 : 0;
                size_t taken = utf8_cut(text, room < WORD_LEAST || room > WORD_MAX ? WORD_MAX : room);
                length += (size_t) EVP_EncodeBlock((unsigned char *) word + length, (const unsigned char *) text,
                                                   (int) taken);
                memcpy(word + length, "?=", 2);
                if (put(header, word, length + 2, true) < 0)
                        return -1;
                text += taken;
        }
        return 0;
}

// Whether the words can stand as they are: ASCII, none of them to be taken for an encoded one, each fits in a line, and
// no spaces that folding would lose or change.
static bool is_plain(const char *text) {
        size_t word = 0;
        for (const char *c = text; *c; c++) {
                if ((unsigned char) *c >= 0x80 || (*c == ' ' && (c == text || c[1] == ' ' || c[1] == '\0')))
                        return false;
                word = *c == ' ' ? 0 : word + 1;
                if (word > LINE_LENGTH - 16)
                        return false;
        }
        return !strstr(text, "=?");
}

static int put_words(struct header *header, const char *text) {
        if (!is_plain(text))
                return put_encoded(header, text);
        while (*text) {
                size_t length = strcspn(text, " ");
                if (put(header, text, length, true) < 0)
                        return -1;
                text += length + (text[length] == ' ');
        }
        return 0;
}

// A name that is more than letters, digits and spaces is encoded: that quotes it, too.
static int put_address(struct header *header, const char *text, bool last) {
        _cleanup_(free_p) char *address = NULL;
        _cleanup_(free_p) char *name = NULL;
        if (message_address(text, &address, &name, header->err) < 0)
                return -1;
        if (name && (consists_of(name, strlen(name), " -_") ? put_words : put_encoded)(header, name) < 0)
                return -1;
        _cleanup_(free_p) char *word = memory_format(name ? "<%s>%s" : "%s%s", address, last ? "" : ",");
        return put(header, word, strlen(word), true);
}

static int put_people(struct header *header, const struct message *message) {
        if (begin(header, "From:") < 0 || put_address(header, message->from, true) < 0)
                return error_prefix(header->err, "the sender");
        if (end(header) < 0 || begin(header, "To:") < 0)
                return -1;
        for (unsigned i = 0; i < message->n_to; i++)
                if (put_address(header, message->to[i], i + 1 == message->n_to) < 0)
                        return error_prefix(header->err, "recipient %u", i + 1);
        return end(header);
}

// The words of RFC 5322, 3.3, whatever the process's locale is.
static int put_date(struct header *header, int64_t seconds) {
        static const char days[][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
        static const char months[][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                         "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
        time_t when = (time_t) seconds;
        struct tm tm;
        if (!gmtime_r(&when, &tm) || tm.tm_year < 70 || tm.tm_year > 9999 - 1900)
                return error_set(header->err, ERROR_INVALID, "%lld is not a date for a mail", (long long) seconds);
        return buffer_appendf(header->out, header->err, "Date: %s, %d %s %d %02d:%02d:%02d +0000\r\n", days[tm.tm_wday],
                              tm.tm_mday, months[tm.tm_mon], tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
}

static int put_id(struct header *header, const struct message *message) {
        char random[33];
        _cleanup_(free_p) char *address = NULL;
        snprintf(random, sizeof(random), "%016llx%016llx", (unsigned long long) random_u64(),
                 (unsigned long long) random_u64());
        const char *id = message->id ? message->id : random;
        size_t length = strlen(id);
        if (length > MESSAGE_ID_MAX || !consists_of(id, length, "-.") || !dots_stand_alone(id, length))
                return error_set(header->err, ERROR_INVALID, "the id of a mail is not made of letters and digits");
        if (message_address(message->from, &address, NULL, header->err) < 0)
                return -1;
        return buffer_appendf(header->out, header->err, "Message-ID: <%s%s>\r\n", id, strchr(address, '@'));
}

static int put_headers(struct header *header, const struct message *message) {
        if (put_people(header, message) < 0 || begin(header, "Subject:") < 0 ||
            put_words(header, message->subject) < 0 || end(header) < 0 || put_date(header, message->date) < 0 ||
            put_id(header, message) < 0)
                return -1;
        // RFC 3834: so that nobody's holiday is told to us.
        return buffer_append_text(header->out,
                                  "Auto-Submitted: auto-generated\r\n"
                                  "MIME-Version: 1.0\r\n"
                                  "Content-Type: multipart/alternative; boundary=\"" BOUNDARY "\"\r\n",
                                  header->err);
}

// ---- parts

// Room for `length` characters in the line, and for the "=" that goes on with it.
static int fit(struct header *part, size_t length) {
        if (part->column + length <= PART_LINE - 1)
                return 0;
        part->column = 0;
        return buffer_append(part->out, "=\r\n", 3, part->err);
}

static int put_quoted(struct header *part, char byte, bool as_it_is) {
        char text[4];
        int length = snprintf(text, sizeof(text), as_it_is ? "%c" : "=%02X", (unsigned char) byte);
        if (fit(part, (size_t) length) < 0)
                return -1;
        part->column += (size_t) length;
        return buffer_append(part->out, text, (size_t) length, part->err);
}

static bool at_line_end(const char *text) {
        return text[0] == '\0' || text[0] == '\n' || (text[0] == '\r' && text[1] == '\n');
}

// Quoted-printable. A dot or "From " that begins a line is encoded, too: there are servers and mailboxes that change
// them.
static int put_part(struct header *part, const char *type, const char *text) {
        if (buffer_appendf(part->out, part->err,
                           "\r\n--" BOUNDARY "\r\nContent-Type: %s; charset=utf-8\r\n"
                           "Content-Transfer-Encoding: quoted-printable\r\n\r\n",
                           type) < 0)
                return -1;
        part->column = 0;
        for (; *text; text++) {
                if (*text == '\r' && text[1] == '\n')
                        continue;
                if (*text == '\n') {
                        part->column = 0;
                        if (end(part) < 0)
                                return -1;
                        continue;
                }
                bool first = part->column == 0 || part->column + 1 > PART_LINE - 1;
                bool odd = first && (*text == '.' || strncmp(text, "From ", 5) == 0);
                bool blank = (*text == ' ' || *text == '\t') && !at_line_end(text + 1);
                if (put_quoted(part, *text, (blank || (*text > ' ' && *text < 0x7f && *text != '=')) && !odd) < 0)
                        return -1;
        }
        return 0;
}

static int check(const struct message *message, struct error *err) {
        if (message->n_to == 0 || message->n_to > MESSAGE_RECIPIENTS_MAX)
                return error_set(err, ERROR_INVALID, "a mail goes to 1 to %u recipients", MESSAGE_RECIPIENTS_MAX);
        if (check_value("the subject", message->subject, MESSAGE_SUBJECT_MAX, err) < 0 ||
            check_part("the text", message->text, err) < 0)
                return -1;
        return check_part("the HTML", message->html, err);
}

int message_format(const struct message *message, struct buffer *ret, struct error *err) {
        struct buffer out;
        struct header header = {.out = &out, .err = err};
        if (check(message, err) < 0)
                return error_prefix(err, "mail");
        buffer_init(&out, MESSAGE_MAX);
        if (put_headers(&header, message) < 0 || put_part(&header, "text/plain", message->text) < 0 ||
            put_part(&header, "text/html", message->html) < 0 ||
            buffer_append_text(&out, "\r\n--" BOUNDARY "--\r\n", err) < 0) {
                buffer_fini(&out);
                return error_prefix(err, "mail");
        }
        buffer_fini(ret);
        *ret = out;
        return 0;
}
