// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Time zones from their files; see zone.h. A file is a table of moments at which the offset changes, and a rule for all
 * that comes after the last of them.
 */
#include "common/zone.h"
#include "common/cleanup.h"
#include "common/file.h"
#include "common/memory.h"
#include "common/name.h"
#include "common/zone_names.h"
#include "common/zone_rule.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#define FILE_MAX        (256u << 10)
#define TRANSITIONS_MAX 16384u
#define HEADER_BYTES    44u
#define RULE_MAX        127u

struct zone {
        unsigned n;       // transitions
        int64_t *at;      // when, ascending
        int32_t *offsets; // from then on
        int32_t first;    // before all of them
        bool has_rule;    // after the last of them
        struct zone_rule rule;
};

// ---- the file: RFC 9636, section 3

struct header {
        char version;
        uint32_t n_utc, n_standard, n_leaps, n_transitions, n_types, n_characters;
};

static uint32_t number_4(const uint8_t *at) {
        return (uint32_t) at[0] << 24 | (uint32_t) at[1] << 16 | (uint32_t) at[2] << 8 | at[3];
}

static int64_t number_8(const uint8_t *at) {
        return (int64_t) ((uint64_t) number_4(at) << 32 | number_4(at + 4));
}

static bool read_header(const uint8_t *at, size_t left, struct header *ret) {
        if (left < HEADER_BYTES || memcmp(at, "TZif", 4) != 0)
                return false;
        *ret = (struct header){.version = (char) at[4],
                               .n_utc = number_4(at + 20),
                               .n_standard = number_4(at + 24),
                               .n_leaps = number_4(at + 28),
                               .n_transitions = number_4(at + 32),
                               .n_types = number_4(at + 36),
                               .n_characters = number_4(at + 40)};
        return ret->n_transitions <= TRANSITIONS_MAX && ret->n_types > 0 && ret->n_types <= 256 &&
               ret->n_characters <= 4096 && ret->n_leaps <= 4096 && ret->n_utc <= 256 && ret->n_standard <= 256;
}

static size_t body_bytes(const struct header *header, size_t time_bytes) {
        return header->n_transitions * (time_bytes + 1) + header->n_types * 6u + header->n_characters +
               header->n_leaps * (time_bytes + 4) + header->n_standard + header->n_utc;
}

static bool read_body(const struct header *header, const uint8_t *at, struct zone *zone) {
        const uint8_t *kinds = at + header->n_transitions * 8, *types = kinds + header->n_transitions;
        zone->n = header->n_transitions;
        zone->at = new_array(int64_t, zone->n + 1);
        zone->offsets = new_array(int32_t, zone->n + 1);
        zone->first = (int32_t) number_4(types);
        for (unsigned i = 0; i < zone->n; i++) {
                zone->at[i] = number_8(at + i * 8);
                if (kinds[i] >= header->n_types || (i > 0 && zone->at[i] <= zone->at[i - 1]))
                        return false;
                zone->offsets[i] = (int32_t) number_4(types + kinds[i] * 6u);
        }
        return header->n_leaps == 0; // "right" zones count leap seconds, and our clock does not
}

// "\nCET-1CEST,M3.5.0,M10.5.0/3\n"; between the newlines there may be nothing.
static bool read_footer(const uint8_t *at, size_t left, struct zone *zone) {
        const uint8_t *end = left > 1 && at[0] == '\n' ? memchr(at + 1, '\n', left - 1) : NULL;
        char text[RULE_MAX + 1] = "";
        if (!end || end - at - 1 > (ptrdiff_t) RULE_MAX)
                return false;
        memcpy(text, at + 1, (size_t) (end - at) - 1);
        zone->has_rule = text[0] != '\0';
        return !zone->has_rule || zone_rule_parse(text, &zone->rule);
}

// The first block is for readers that know 4-byte times only; ours is the second.
static bool read_zone(const uint8_t *bytes, size_t length, struct zone *zone) {
        struct header header;
        if (!read_header(bytes, length, &header) || header.version < '2')
                return false;
        size_t at = HEADER_BYTES + body_bytes(&header, 4);
        if (at > length || !read_header(bytes + at, length - at, &header))
                return false;
        at += HEADER_BYTES;
        size_t body = body_bytes(&header, 8);
        return body <= length - at && read_body(&header, bytes + at, zone) &&
               read_footer(bytes + at + body, length - at - body, zone);
}

// ---- opening

static int check_name(const char *name, struct error *err) {
        size_t length = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+-/");
        if (name[length] == '\0' && length <= ZONE_NAME_MAX && name[0] != '/' && name[0] != '-' &&
            !strstr(name, "//") && (length == 0 || name[length - 1] != '/'))
                return 0;
        error_set(err, ERROR_INVALID, "\"%.60s\" is not a time zone", name);
        error_hint(err, "for example: Europe/Paris");
        return -1;
}

static int no_such(const char *name, struct error *err) {
        error_set(err, ERROR_NOT_FOUND, "no such time zone: %s", name);
        zone_names_hint(name, err);
        return -1;
}

static bool is_missing(int errno_value) {
        return errno_value == ENOENT || errno_value == ENOTDIR || errno_value == ELOOP;
}

static int read_file(const char *name, struct zone *zone, struct error *err) {
        _cleanup_(close_p) int root = open(ZONE_DIRECTORY, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (root < 0 && !is_missing(errno))
                return error_errno(err, errno, "time zone %s: %s", name, ZONE_DIRECTORY);
        if (root < 0) {
                error_set(err, ERROR_NOT_FOUND, "no such time zone: %s: there is no %s", name, ZONE_DIRECTORY);
                error_hint(err, "apt install tzdata, on the controller");
                return -1;
        }
        _cleanup_(close_p) int fd = openat(root, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        if (fd < 0)
                return is_missing(errno) ? no_such(name, err)
                                         : error_errno(err, errno, "time zone %s: %s/%s", name, ZONE_DIRECTORY, name);
        _cleanup_(buffer_fini) struct buffer content;
        buffer_init(&content, FILE_MAX);
        struct error failure = ERROR_INIT;
        // Directories and what is too long are files of no zone.
        if (file_read_fd(fd, name, FILE_MAX, &content, &failure) < 0 && failure.code != ERROR_INVALID &&
            failure.code != ERROR_TOO_LARGE) {
                if (err)
                        *err = failure;
                return error_prefix(err, "time zone");
        }
        return read_zone(content.data, content.length, zone) ? 0 : no_such(name, err);
}

int zone_open(const char *name, struct zone **ret, struct error *err) {
        struct zone *zone = new (struct zone);
        int r = check_name(name, err);
        if (r == 0 && name[0] && strcmp(name, "UTC") != 0)
                r = read_file(name, zone, err);
        if (r < 0) {
                zone_free(zone);
                return -1;
        }
        *ret = zone;
        return 0;
}

void zone_free(struct zone *zone) {
        if (!zone)
                return;
        free(zone->at);
        free(zone->offsets);
        free(zone);
}

// ---- asking

// How many of the transitions are not after `at`.
static unsigned passed(const struct zone *zone, int64_t at) {
        unsigned low = 0, high = zone->n;
        while (low < high) {
                unsigned middle = low + (high - low) / 2;
                if (zone->at[middle] <= at)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

int32_t zone_offset(const struct zone *zone, int64_t at) {
        unsigned n = passed(zone, at);
        if (n == zone->n && zone->has_rule)
                return zone_rule_offset(&zone->rule, at);
        return n == 0 ? zone->first : zone->offsets[n - 1];
}

int64_t zone_next_change(const struct zone *zone, int64_t at) {
        int32_t now = zone_offset(zone, at);
        for (unsigned i = passed(zone, at); i < zone->n; i++)
                if (zone_offset(zone, zone->at[i]) != now)
                        return zone->at[i];
        if (!zone->has_rule)
                return INT64_MAX;
        int64_t last = zone->n > 0 ? zone->at[zone->n - 1] : at;
        return zone_rule_next_change(&zone->rule, at > last ? at : last);
}
