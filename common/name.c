// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Names from outside: one check with a rule for each kind, and "did you mean". A refused name is quoted in the error,
 * cut, and with its control characters replaced by error_set(). Pure functions, any thread.
 */
#include "common/name.h"
#include "common/random.h"
#include "common/utf8.h"
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define QUOTED "\"%.40s\""

struct rule {
        const char *kind;
        size_t most;
        const char *others; // allowed beside letters and digits; NULL: any valid UTF-8
        bool upper;
        const char *allowed; // for people
};

static const struct rule site_rule = {"site name", NAME_SITE_MAX, "-", false, "a-z, 0-9 and -"};
static const struct rule host_rule = {"host name", NAME_HOST_MAX, ".-", true, "a-z, A-Z, 0-9, . and -"};
static const struct rule user_rule = {"user name", NAME_USER_MAX, "._-@", true, "a-z, A-Z, 0-9, ., _, - and @"};
static const struct rule vm_rule = {"VM name", NAME_VM_MAX, NULL, true, NULL};
static const struct rule volume_rule = {"name", NAME_VOLUME_MAX, NULL, true, NULL};

static bool is_lower(char c) {
        return c >= 'a' && c <= 'z';
}

static bool is_digit(char c) {
        return c >= '0' && c <= '9';
}

static int check_text(const struct rule *rule, const char *name, struct error *err) {
        for (const char *at = name; *at;) {
                uint32_t point = 0;
                unsigned length = utf8_next(at, &point);
                if (length == 0)
                        return error_set(err, ERROR_INVALID, "%s " QUOTED " is not valid UTF-8", rule->kind, name);
                if (point < 0x20 || (point >= 0x7f && point <= 0x9f))
                        return error_set(err, ERROR_INVALID, "%s " QUOTED " has a control character", rule->kind, name);
                if (point == '/')
                        return error_set(err, ERROR_INVALID, "%s " QUOTED " has a \"/\"", rule->kind, name);
                if (rule->others && !is_lower(*at) && !is_digit(*at) && !(rule->upper && *at >= 'A' && *at <= 'Z') &&
                    !strchr(rule->others, *at))
                        return error_set(err, ERROR_INVALID, "%s " QUOTED " has a character outside %s", rule->kind,
                                         name, rule->allowed);
                at += length;
        }
        return 0;
}

static int check(const struct rule *rule, const char *name, struct error *err) {
        if (!name || !*name)
                return error_set(err, ERROR_INVALID, "%s is empty", rule->kind);
        if (strnlen(name, rule->most + 1) > rule->most)
                return error_set(err, ERROR_INVALID, "%s " QUOTED "... is longer than %zu bytes", rule->kind, name,
                                 rule->most);
        if (*name == '-' || *name == '.')
                return error_set(err, ERROR_INVALID, "%s " QUOTED " begins with \"%c\"", rule->kind, name, *name);
        if (strstr(name, ".."))
                return error_set(err, ERROR_INVALID, "%s " QUOTED " has a \"..\"", rule->kind, name);
        return check_text(rule, name, err);
}

int name_check_site(const char *name, struct error *err) {
        return check(&site_rule, name, err);
}

int name_check_host(const char *name, struct error *err) {
        return check(&host_rule, name, err);
}

int name_check_user(const char *name, struct error *err) {
        return check(&user_rule, name, err);
}

int name_check_vm(const char *name, struct error *err) {
        return check(&vm_rule, name, err);
}

// Labels of letters, digits and hyphens, none of these at either end. 64 bytes are what Linux holds.
int name_check_guest(const char *name, struct error *err) {
        static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
        size_t length = strlen(name), label = 0;
        bool right = length > 0 && length <= 64;
        for (size_t i = 0; right && i <= length; i++) {
                bool end = name[i] == '.' || name[i] == 0;
                if (end)
                        right = label > 0 && label <= 63 && name[i - 1] != '-';
                else
                        right = name[i] == '-' ? label > 0 : strchr(letters, name[i]) != NULL;
                label = end ? 0 : label + 1;
        }
        if (right)
                return 0;
        return error_set(err, ERROR_INVALID, QUOTED " is not a host name that a guest can have (RFC 1123)", name);
}

int name_check_volume(const char *name, struct error *err) {
        return check(&volume_rule, name, err);
}

static bool is_uuid(const char *text) {
        for (unsigned i = 0; i < NAME_UUID_LENGTH; i++) {
                bool dash = i == 8 || i == 13 || i == 18 || i == 23;
                if (dash ? text[i] != '-' : !is_digit(text[i]) && !(text[i] >= 'a' && text[i] <= 'f'))
                        return false; // a NUL too
        }
        return text[NAME_UUID_LENGTH] == '\0';
}

int name_check_uuid(const char *text, struct error *err) {
        if (text && is_uuid(text))
                return 0;
        return error_set(err, ERROR_INVALID, QUOTED " is not a UUID (8-4-4-4-12, lower case)", text ? text : "");
}

int name_check_job(const char *text, struct error *err) {
        size_t length = 0;
        while (text && length <= 32 && (is_lower(text[length]) || is_digit(text[length])))
                length++;
        if (text && length >= 4 && length <= 32 && text[length] == '\0')
                return 0;
        return error_set(err, ERROR_INVALID, QUOTED " is not a job id (4 to 32 of a-z and 0-9)", text ? text : "");
}

int name_check_target(const char *text, struct error *err) {
        if (text && strcmp(text, "nvram") == 0)
                return 0;
        // [a-z]{2,4}[a-z0-9]{0,4}: two letters, and beyond the fourth place digits are as good as letters.
        size_t letters = 0, length = 0;
        while (text && letters < 4 && is_lower(text[letters]))
                letters++;
        for (length = letters; text && length - letters < 4 && (is_lower(text[length]) || is_digit(text[length]));)
                length++;
        if (text && letters >= 2 && text[length] == '\0')
                return 0;
        return error_set(err, ERROR_INVALID, QUOTED " is not a disk target (such as vda)", text ? text : "");
}

int name_split_host(const char *text, char *ret_site, char *ret_host, struct error *err) {
        const char *slash = text ? strchr(text, '/') : NULL;
        if (!slash || slash == text || !slash[1])
                return error_set(err, ERROR_INVALID, QUOTED " is not SITE/HOST, such as lyon/kvm1", text ? text : "");
        char site[NAME_SITE_MAX + 2];
        size_t length = (size_t) (slash - text);
        if (length > sizeof(site) - 1)
                length = sizeof(site) - 1; // still too long for the check
        memcpy(site, text, length);
        site[length] = '\0';
        if (name_check_site(site, err) < 0 || name_check_host(slash + 1, err) < 0)
                return -1;
        memcpy(ret_site, site, length + 1);
        memcpy(ret_host, slash + 1, strlen(slash + 1) + 1);
        return 0;
}

void name_new_uuid(char ret_uuid[NAME_UUID_LENGTH + 1]) {
        uint8_t b[16];
        random_bytes(b, sizeof(b));
        b[6] = (uint8_t) ((b[6] & 0x0f) | 0x40); // RFC 9562: version 4
        b[8] = (uint8_t) ((b[8] & 0x3f) | 0x80); // and its variant
        char *at = ret_uuid;
        for (unsigned i = 0; i < sizeof(b); i++) {
                if (i == 4 || i == 6 || i == 8 || i == 10)
                        *at++ = '-';
                *at++ = "0123456789abcdef"[b[i] >> 4];
                *at++ = "0123456789abcdef"[b[i] & 15];
        }
        *at = '\0';
}

static unsigned least(unsigned a, unsigned b) {
        return a < b ? a : b;
}

unsigned name_distance(const char *one, const char *other) {
        enum { MOST = 255 };
        size_t n = strnlen(one, MOST + 1), m = strnlen(other, MOST + 1);
        if (n > MOST || m > MOST)
                return MOST;
        // Rows of the table for i - 2, i - 1 and i; a swap of neighbours counts as one edit.
        unsigned rows[3][MOST + 1];
        for (size_t j = 0; j <= m; j++)
                rows[0][j] = (unsigned) j;
        for (size_t i = 1; i <= n; i++) {
                unsigned *row = rows[i % 3], *up = rows[(i + 2) % 3], *up2 = rows[(i + 1) % 3];
                row[0] = (unsigned) i;
                for (size_t j = 1; j <= m; j++) {
                        unsigned differ = one[i - 1] != other[j - 1];
                        row[j] = least(least(up[j], row[j - 1]) + 1, up[j - 1] + differ);
                        if (i > 1 && j > 1 && one[i - 1] == other[j - 2] && one[i - 2] == other[j - 1])
                                row[j] = least(row[j], up2[j - 2] + 1);
                }
        }
        return rows[n % 3][m];
}

int name_nearest(const char *name, char *const *candidates, size_t n) {
        unsigned best = 4;
        int nearest = -1;
        size_t length = strnlen(name, 256);
        for (size_t i = 0; i < n; i++) {
                if (!candidates[i])
                        continue;
                unsigned distance = name_distance(name, candidates[i]);
                if (distance < best && distance * 2 < length) {
                        best = distance;
                        nearest = (int) i;
                }
        }
        return nearest;
}
