// SPDX-License-Identifier: LGPL-2.1-or-later
/* The text of a restore point (see point.h); point_place.c keeps it. Pure functions, any thread. */
#include "agent/repository/point.h"
#include "agent/repository/lines.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/memory.h"
#include "common/random.h"
#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>

static const char *const consistencies[] = {"guest", "crash", "off"};

// What the parts may have at most is less than the text: each line with its names and its words.
_Static_assert(POINT_FILES_MAX *(POINT_FILE_MAX / CHUNK_BYTES * CHUNK_HEX + 128) +
                               POINT_DISKS_MAX * (MAP_BYTES_MAX / CHUNK_BYTES / MAP_FAN / MAP_FAN * CHUNK_HEX + 256) +
                               POINT_FACTS_MAX * (POINT_FACT_MAX + 64) + 4096 <
                       POINT_TEXT_MAX,
               "a point that has the most of everything fits");

DEFINE_CLEANUP(point_free, struct point *)

void point_free(struct point *point) {
        if (!point)
                return;
        for (unsigned i = 0; i < POINT_FILES_MAX; i++)
                free(point->files[i].names);
        for (unsigned i = 0; i < POINT_DISKS_MAX; i++)
                free(point->disks[i].root.names);
        for (unsigned i = 0; i < POINT_FACTS_MAX; i++)
                free(point->facts[i].value);
        free(point);
}

// ---- ids
void point_new_id(int64_t wall_seconds, char ret_id[POINT_ID]) {
        char time[CLOCK_RFC3339_MAX];
        clock_rfc3339(wall_seconds, time);
        snprintf(ret_id, POINT_ID, "%.4s%.2s%.5s%.2s%.3s-%08x", time, time + 5, time + 8, time + 14, time + 17,
                 random_u32());
}

static bool is_id(const char *id, size_t length) {
        static const char form[] = "ddddddddTddddddZ-xxxxxxxx";
        if (length != sizeof form - 1)
                return false;
        for (size_t i = 0; i < length; i++) {
                bool digit = id[i] >= '0' && id[i] <= '9', letter = id[i] >= 'a' && id[i] <= 'f';
                if (form[i] == 'd' ? !digit : form[i] == 'x' ? !digit && !letter : id[i] != form[i])
                        return false;
        }
        return true;
}

int point_check_id(const char *id, struct error *err) {
        if (id && is_id(id, strnlen(id, POINT_ID)))
                return 0;
        return error_set(err, ERROR_INVALID,
                         "\"%.64s\" is not the id of a restore point, as 20261122T220000Z-9f31c2d4 is", id ? id : "");
}

bool point_id_of_file(const char *name, char ret_id[POINT_ID]) {
        if (!is_id(name, strnlen(name, POINT_ID - 1)) || strcmp(name + POINT_ID - 1, ".point") != 0)
                return false;
        memcpy(ret_id, name, POINT_ID - 1);
        ret_id[POINT_ID - 1] = '\0';
        return true;
}

// ---- reading it
static int parse_text(struct lines *lines, const char *word, char *ret_text, size_t size,
                      int (*check)(const char *, struct error *), struct error *err) {
        struct line line;
        struct error why = ERROR_INIT;
        if (lines_expect(lines, word, &line, err) < 0)
                return -1;
        if (!line_text(&line, ret_text, size))
                return lines_wrong(lines, err, "the value is longer than %zu bytes", size - 1);
        if (check(ret_text, &why) < 0)
                return lines_wrong(lines, err, "%s", why.message);
        return 0;
}

static int check_host(const char *text, struct error *err) {
        char site[NAME_SITE_MAX + 1], host[NAME_HOST_MAX + 1];
        return name_split_host(text, site, host, err);
}

static int check_time(const char *text, struct error *err) {
        return lines_is_time(text) ? 0 : error_set(err, ERROR_INVALID, "\"%s\" is not a time", text);
}

static int check_consistency(const char *text, struct error *err) {
        for (unsigned i = 0; i < ARRAY_SIZE(consistencies); i++)
                if (strcmp(text, consistencies[i]) == 0)
                        return 0;
        return error_set(err, ERROR_INVALID, "\"%s\" is not guest, crash or off", text);
}

static int parse_head(struct lines *lines, struct point *point, struct error *err) {
        struct line line;
        char version[32], consistency[16];
        if (lines_expect(lines, "drover-point", &line, err) < 0)
                return -1;
        if (!line_text(&line, version, sizeof version))
                return lines_wrong(lines, err, "this is not a version");
        if (strcmp(version, "1") != 0) {
                error_set(err, ERROR_VERSION, "version \"%s\" of a restore point is unknown to this version of drover",
                          version);
                error_hint(err, "a newer drover can use it; this one is %s", DROVER_VERSION);
                return -1;
        }
        if (parse_text(lines, "id", point->id, sizeof point->id, point_check_id, err) < 0 ||
            parse_text(lines, "vm", point->vm, sizeof point->vm, name_check_uuid, err) < 0 ||
            parse_text(lines, "name", point->name, sizeof point->name, name_check_vm, err) < 0 ||
            parse_text(lines, "host", point->host, sizeof point->host, check_host, err) < 0 ||
            parse_text(lines, "created", point->created, sizeof point->created, check_time, err) < 0 ||
            parse_text(lines, "consistency", consistency, sizeof consistency, check_consistency, err) < 0)
                return -1;
        while (strcmp(consistency, consistencies[point->consistency]) != 0)
                point->consistency++;
        return 0;
}

// The rest of the line: exactly `n` names.
static int parse_names(const struct lines *lines, struct line *line, uint64_t n, struct chunk_name **ret_names,
                       struct error *err) {
        if (line->length != (n ? n * CHUNK_HEX - 1 : 0)) // before anything is allocated
                return lines_wrong(lines, err, "there are not the %llu names that the length asks for",
                                   (unsigned long long) n);
        _cleanup_(free_p) struct chunk_name *names = new_array(struct chunk_name, n + 1);
        for (uint64_t i = 0; i < n; i++) {
                const char *part;
                size_t length;
                if (!line_part(line, &part, &length) || length != CHUNK_HEX - 1 ||
                    !chunk_name_from_hex(part, &names[i]))
                        return lines_wrong(lines, err, "name %llu is not 64 hex digits", (unsigned long long) i + 1);
        }
        *ret_names = steal(&names);
        return 0;
}

static bool is_of(const char *text, const char *others, const char *first_others) {
        for (const char *at = text; *at; at++) {
                bool plain = (*at >= 'a' && *at <= 'z') || (*at >= '0' && *at <= '9');
                if (!plain && !strchr(at == text ? first_others : others, *at))
                        return false;
        }
        return *text;
}

static int parse_file(struct lines *lines, struct line *line, struct point *point, struct error *err) {
        struct point_file *file = &point->files[point->n_files];
        if (point->n_files == POINT_FILES_MAX)
                return lines_wrong(lines, err, "there are more than %u files", POINT_FILES_MAX);
        if (point->n_disks > 0 || point->n_facts > 0)
                return lines_wrong(lines, err, "files stand before disks and facts");
        if (!line_word(line, file->name, sizeof file->name) || !is_of(file->name, ".-", "") || strstr(file->name, ".."))
                return lines_wrong(lines, err, "this is not a file's name");
        for (unsigned i = 0; i < point->n_files; i++)
                if (strcmp(point->files[i].name, file->name) == 0)
                        return lines_wrong(lines, err, "the file %s is there twice", file->name);
        if (!line_number(line, &file->bytes) || file->bytes > POINT_FILE_MAX)
                return lines_wrong(lines, err, "this is not a file's length");
        if (parse_names(lines, line, map_chunks(file->bytes), &file->names, err) < 0)
                return -1;
        point->n_files++;
        return 0;
}

static int parse_digest(struct lines *lines, struct point_disk *disk, struct error *err) {
        struct line line;
        char target[sizeof disk->target];
        struct chunk_name is;
        if (lines_expect(lines, "digest", &line, err) < 0)
                return -1;
        if (!line_word(&line, target, sizeof target) || strcmp(target, disk->target) != 0 ||
            line.length != CHUNK_HEX - 1 || !chunk_name_from_hex(line.value, &disk->root.digest))
                return lines_wrong(lines, err, "this is not the digest of %s", disk->target);
        map_root_digest(&disk->root, &is);
        if (!chunk_name_equal(&is, &disk->root.digest))
                return lines_wrong(lines, err, "the digest is not that of the line before it");
        return 0;
}

static int parse_disk(struct lines *lines, struct line *line, struct point *point, struct error *err) {
        struct point_disk *disk = &point->disks[point->n_disks];
        if (point->n_disks == POINT_DISKS_MAX)
                return lines_wrong(lines, err, "there are more than %u disks", POINT_DISKS_MAX);
        if (point->n_facts > 0)
                return lines_wrong(lines, err, "disks stand before facts");
        if (!line_word(line, disk->target, sizeof disk->target) || name_check_target(disk->target, NULL) < 0)
                return lines_wrong(lines, err, "this is not the name of a disk");
        for (unsigned i = 0; i < point->n_disks; i++)
                if (strcmp(point->disks[i].target, disk->target) == 0)
                        return lines_wrong(lines, err, "the disk %s is there twice", disk->target);
        if (!line_number(line, &disk->root.bytes) || disk->root.bytes > MAP_BYTES_MAX)
                return lines_wrong(lines, err, "this is not the capacity of a disk");
        if (!line_word(line, disk->format, sizeof disk->format) || !is_of(disk->format, "", ""))
                return lines_wrong(lines, err, "this is not a format");
        if (parse_names(lines, line, map_root_count(disk->root.bytes), &disk->root.names, err) < 0)
                return -1;
        point->n_disks++;
        return parse_digest(lines, disk, err);
}

static int parse_fact(struct lines *lines, struct line *line, struct point *point, struct error *err) {
        struct point_fact *fact = &point->facts[point->n_facts];
        if (point->n_facts == POINT_FACTS_MAX)
                return lines_wrong(lines, err, "there are more than %u facts", POINT_FACTS_MAX);
        if (!line_word(line, fact->word, sizeof fact->word) || !is_of(fact->word, "-", ""))
                return lines_wrong(lines, err, "this is not the word of a fact");
        for (unsigned i = 0; i < point->n_facts; i++)
                if (strcmp(point->facts[i].word, fact->word) == 0)
                        return lines_wrong(lines, err, "the fact %s is there twice", fact->word);
        if (line->length == 0 || line->length > POINT_FACT_MAX)
                return lines_wrong(lines, err, "the fact %s has no value, or one that is too long", fact->word);
        fact->value = memory_format("%.*s", (int) line->length, line->value);
        point->n_facts++;
        return 0;
}

// 1: more lines are to come; 0: this was the last one before "end".
static int parse_part(struct lines *lines, struct line *line, struct point *point, struct error *err) {
        if (strcmp(line->word, "file") == 0)
                return parse_file(lines, line, point, err) < 0 ? -1 : 1;
        if (strcmp(line->word, "disk") == 0)
                return parse_disk(lines, line, point, err) < 0 ? -1 : 1;
        if (strcmp(line->word, "fact") == 0)
                return parse_fact(lines, line, point, err) < 0 ? -1 : 1;
        if (line->word[0] >= 'A' && line->word[0] <= 'Z')
                return 1;
        if (strcmp(line->word, "proof") == 0) {
                if (!lines_from_hex(line->value, line->length, point->proof, sizeof point->proof))
                        return lines_wrong(lines, err, "the proof is not 64 hex digits");
                point->proven = true;
                return 0;
        }
        error_set(err, ERROR_VERSION, "the word \"%s\" is unknown to this version of drover", line->word);
        return error_prefix(err, "line %u", lines->number);
}

static int parse_end(struct lines *lines, const struct line *line, struct error *err) {
        struct chunk_name is, says;
        SHA256((const uint8_t *) lines->begin, line->offset, is.bytes);
        if (line->length != CHUNK_HEX - 1 || !chunk_name_from_hex(line->value, &says))
                return lines_wrong(lines, err, "the end is not 64 hex digits");
        if (!chunk_name_equal(&is, &says))
                return lines_wrong(lines, err,
                                   "what stands before the end is not what was written: its SHA-256 differs");
        if (lines->at != lines->end)
                return lines_wrong(lines, err, "something follows the end");
        return 0;
}

// What was damaged is best named by the hash, which is looked at before all else: the last line is found from behind.
static int check_end(const char *text, size_t length, struct error *err) {
        struct lines lines;
        struct line line;
        if (length < 2 || text[length - 1] != '\n')
                return error_set(err, ERROR_CORRUPT, "it is cut short: there is no \"end\"");
        const char *before = memrchr(text, '\n', length - 1);
        size_t offset = before ? (size_t) (before + 1 - text) : 0;
        lines_init(&lines, text + offset, length - offset);
        if (lines_next(&lines, &line, NULL) != 1 || strcmp(line.word, "end") != 0)
                return error_set(err, ERROR_CORRUPT, "it is cut short: there is no \"end\"");
        for (size_t i = 0; i < offset; i++)
                lines.number += text[i] == '\n';
        lines.begin = text;
        line.offset = offset;
        return parse_end(&lines, &line, err);
}

int point_parse(const void *text, size_t length, struct point **ret_point, struct error *err) {
        if (length > POINT_TEXT_MAX)
                return error_set(err, ERROR_CORRUPT, "it is longer than %u bytes", POINT_TEXT_MAX);
        _cleanup_(point_free_p) struct point *point = new (struct point);
        struct lines lines;
        struct line line;
        lines_init(&lines, text, length);
        if (check_end(text, length, err) < 0 || parse_head(&lines, point, err) < 0)
                return -1;
        for (int more = 1; more > 0;) {
                if (lines_next(&lines, &line, err) < 0)
                        return -1;
                point->proven_bytes = line.offset;
                if (strcmp(line.word, "end") == 0)
                        break;
                more = parse_part(&lines, &line, point, err);
                if (more < 0)
                        return -1;
                if (more == 0 && lines_expect(&lines, "end", &line, err) < 0)
                        return -1;
        }
        if (lines.at != lines.end)
                return lines_wrong(&lines, err, "something follows the end");
        *ret_point = steal(&point);
        return 0;
}

// ---- writing it
static int print_names(struct buffer *text, const struct chunk_name *names, uint64_t n, struct error *err) {
        char hex[CHUNK_HEX + 1] = " ";
        for (uint64_t i = 0; i < n; i++) {
                chunk_name_to_hex(&names[i], hex + 1);
                if (buffer_append(text, hex, CHUNK_HEX, err) < 0)
                        return -1;
        }
        return buffer_append_text(text, "\n", err);
}

static int print_disk(const struct point_disk *disk, struct buffer *text, struct error *err) {
        if (buffer_appendf(text, err, "disk %s %llu %s", disk->target, (unsigned long long) disk->root.bytes,
                           disk->format) < 0 ||
            print_names(text, disk->root.names, map_root_count(disk->root.bytes), err) < 0 ||
            buffer_appendf(text, err, "digest %s", disk->target) < 0)
                return -1;
        return print_names(text, &disk->root.digest, 1, err);
}

int point_print(const struct point *point, struct buffer *text, struct error *err) {
        if (buffer_appendf(text, err, "drover-point 1\nid %s\nvm %s\nname %s\nhost %s\ncreated %s\nconsistency %s\n",
                           point->id, point->vm, point->name, point->host, point->created,
                           consistencies[point->consistency]) < 0)
                return -1;
        for (unsigned i = 0; i < point->n_files; i++) {
                const struct point_file *file = &point->files[i];
                if (buffer_appendf(text, err, "file %s %llu", file->name, (unsigned long long) file->bytes) < 0 ||
                    print_names(text, file->names, map_chunks(file->bytes), err) < 0)
                        return -1;
        }
        for (unsigned i = 0; i < point->n_disks; i++)
                if (print_disk(&point->disks[i], text, err) < 0)
                        return -1;
        for (unsigned i = 0; i < point->n_facts; i++)
                if (buffer_appendf(text, err, "fact %s %s\n", point->facts[i].word, point->facts[i].value) < 0)
                        return -1;
        return 0;
}

int point_close_text(struct buffer *text, const uint8_t *proof, struct error *err) {
        _cleanup_(point_free_p) struct point *point = NULL;
        uint8_t hash[32];
        char hex[65];
        if (proof) {
                lines_to_hex(proof, POINT_PROOF, hex);
                if (buffer_appendf(text, err, "proof %s\n", hex) < 0)
                        return -1;
        }
        SHA256(text->data, text->length, hash);
        lines_to_hex(hash, sizeof hash, hex);
        if (buffer_appendf(text, err, "end %s\n", hex) < 0)
                return -1;
        if (point_parse(text->data, text->length, &point, err) == 0)
                return 0;
        if (err)
                err->code = ERROR_INVALID;
        return error_prefix(err, "restore point");
}
