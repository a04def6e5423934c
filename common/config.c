// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Configuration: libyaml's events are read by a small reader that knows one shape, a mapping of scalars and of lists of
 * scalars, and refuses all else with the line where it stands. Used at start, by one thread.
 */
#include "common/config.h"
#include "common/cleanup.h"
#include "common/file.h"
#include "common/memory.h"
#include "common/name.h"
#include "common/units.h"
#include "common/utf8.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <yaml.h>

#define FILE_MAX (64u << 10)
#define LIST_MAX 256u

struct reader {
        const char *path;
        const struct config_option *options;
        unsigned n;
        void *target;
        bool *seen; // by option
        yaml_parser_t parser;
        yaml_event_t event; // the current one; owned
};

static void *field(const struct config_option *option, void *target) {
        return (char *) target + option->offset;
}

static void list_free(struct config_list *list) {
        for (unsigned i = 0; i < list->n; i++)
                free(list->items[i]);
        free(list->items);
        *list = (struct config_list){0};
}

static int list_add(struct config_list *list, const char *item, struct error *err) {
        if (list->n >= LIST_MAX)
                return error_set(err, ERROR_INVALID, "has more than %u items", LIST_MAX);
        list->items = memory_grow(list->items, list->n + 1, sizeof(*list->items));
        list->items[list->n++] = memory_string(item);
        return 0;
}

static int parse_int(const char *text, uint64_t *ret_value, struct error *err) {
        uint64_t value = 0;
        const char *at = text;
        for (; *at >= '0' && *at <= '9'; at++)
                if (__builtin_mul_overflow(value, 10, &value) ||
                    __builtin_add_overflow(value, (uint64_t) (*at - '0'), &value))
                        return error_set(err, ERROR_INVALID, "\"%.40s\" is too large for a number", text);
        if (at == text || *at)
                return error_set(err, ERROR_INVALID, "\"%.40s\" is not a number", text);
        *ret_value = value;
        return 0;
}

static int parse_bool(const char *text, bool *ret_value, struct error *err) {
        bool yes = strcmp(text, "true") == 0 || strcmp(text, "yes") == 0;
        if (!yes && strcmp(text, "false") != 0 && strcmp(text, "no") != 0)
                return error_set(err, ERROR_INVALID, "\"%.40s\" is not true or false", text);
        *ret_value = yes;
        return 0;
}

static int set_scalar(const struct config_option *option, void *target, const char *text, struct error *err) {
        void *to = field(option, target);
        switch (option->type) {
        case CONFIG_TEXT:
                free(*(char **) to);
                *(char **) to = memory_string(text);
                return 0;
        case CONFIG_INT:
                return parse_int(text, to, err);
        case CONFIG_BOOL:
                return parse_bool(text, to, err);
        case CONFIG_SIZE:
                return units_parse_size(text, to, err);
        case CONFIG_DURATION:
                return units_parse_duration(text, to, err);
        case CONFIG_LIST:
                return error_set(err, ERROR_INVALID, "wants a list");
        }
        return error_set(err, ERROR_FAILED, "has an unknown type");
}

static int set_default(const struct config_option *option, void *target, struct error *err) {
        if (!option->default_text)
                return 0;
        if (option->type != CONFIG_LIST)
                return set_scalar(option, target, option->default_text, err);
        _cleanup_(free_p) char *copy = memory_string(option->default_text);
        char *rest = copy;
        for (char *item; (item = strsep(&rest, ","));)
                if (*item && list_add(field(option, target), item, err) < 0)
                        return -1;
        return 0;
}

static void set_zero(const struct config_option *option, void *target) {
        switch (option->type) {
        case CONFIG_TEXT:
                *(char **) field(option, target) = NULL;
                break;
        case CONFIG_BOOL:
                *(bool *) field(option, target) = false;
                break;
        case CONFIG_LIST:
                *(struct config_list *) field(option, target) = (struct config_list){0};
                break;
        case CONFIG_INT:
        case CONFIG_SIZE:
        case CONFIG_DURATION:
                *(uint64_t *) field(option, target) = 0;
                break;
        }
}

void config_free(const struct config_option *options, unsigned n, void *target) {
        for (unsigned i = 0; i < n; i++) {
                if (options[i].type == CONFIG_TEXT)
                        free(*(char **) field(&options[i], target));
                if (options[i].type == CONFIG_LIST)
                        list_free(field(&options[i], target));
                set_zero(&options[i], target);
        }
}

static size_t line_of(const struct reader *reader) {
        return reader->event.start_mark.line + 1;
}

static int at_line(const struct reader *reader, struct error *err) {
        return error_prefix(err, "%s:%zu", reader->path, line_of(reader));
}

static int refuse(const struct reader *reader, const char *why, struct error *err) {
        error_set(err, ERROR_INVALID, "%s", why);
        return at_line(reader, err);
}

static int next(struct reader *reader, struct error *err) {
        yaml_event_delete(&reader->event);
        if (!yaml_parser_parse(&reader->parser, &reader->event)) {
                memset(&reader->event, 0, sizeof(reader->event));
                return error_set(err, ERROR_INVALID, "%s:%zu: not YAML: %s", reader->path,
                                 reader->parser.problem_mark.line + 1,
                                 reader->parser.problem ? reader->parser.problem : "it cannot be read");
        }
        if (reader->event.type == YAML_ALIAS_EVENT)
                return refuse(reader, "anchors and aliases are not allowed", err);
        return 0;
}

// The current event as text, which stays the reader's.
static int scalar(const struct reader *reader, const char **ret_text, struct error *err) {
        if (reader->event.type != YAML_SCALAR_EVENT)
                return refuse(reader, "lists and mappings inside one another are not allowed", err);
        if (reader->event.data.scalar.anchor)
                return refuse(reader, "anchors and aliases are not allowed", err);
        if (reader->event.data.scalar.tag)
                return refuse(reader, "tags are not allowed", err);
        const char *text = (const char *) reader->event.data.scalar.value;
        const char *end = text + reader->event.data.scalar.length;
        uint32_t point = 0;
        for (const char *at = text; at < end; at += utf8_next(at, &point)) // libyaml has checked that it is UTF-8
                if (utf8_next(at, &point) == 0 || point < 0x20 || point == 0x7f)
                        return refuse(reader, "control characters are not allowed", err);
        *ret_text = text;
        return 0;
}

static int unknown_key(const struct reader *reader, const char *key, struct error *err) {
        _cleanup_(free_p) char **keys = new_array(char *, reader->n);
        for (unsigned i = 0; i < reader->n; i++)
                keys[i] = (char *) reader->options[i].key;
        int nearest = name_nearest(key, keys, reader->n);
        if (nearest >= 0)
                error_set(err, ERROR_INVALID, "unknown key \"%.40s\": did you mean \"%s\"?", key, keys[nearest]);
        else
                error_set(err, ERROR_INVALID, "unknown key \"%.40s\"", key);
        return at_line(reader, err);
}

static int read_list(struct reader *reader, const struct config_option *option, struct error *err) {
        struct config_list *list = field(option, reader->target);
        list_free(list); // the default
        while (next(reader, err) == 0) {
                const char *text;
                if (reader->event.type == YAML_SEQUENCE_END_EVENT)
                        return 0;
                if (scalar(reader, &text, err) < 0)
                        return -1;
                if (list_add(list, text, err) < 0) {
                        error_prefix(err, "%s", option->key);
                        return at_line(reader, err);
                }
        }
        return -1;
}

static int read_value(struct reader *reader, const struct config_option *option, struct error *err) {
        if (reader->event.type == YAML_SEQUENCE_START_EVENT && option->type == CONFIG_LIST) {
                if (reader->event.data.sequence_start.anchor)
                        return refuse(reader, "anchors and aliases are not allowed", err);
                return read_list(reader, option, err);
        }
        if (reader->event.type == YAML_SEQUENCE_START_EVENT || reader->event.type == YAML_MAPPING_START_EVENT) {
                error_set(err, ERROR_INVALID, "%s: wants a %s", option->key,
                          option->type == CONFIG_LIST ? "list" : "single value");
                return at_line(reader, err);
        }
        const char *text;
        if (scalar(reader, &text, err) < 0)
                return -1;
        int result = 0;
        if (!*text && reader->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE)
                result = error_set(err, ERROR_INVALID, "has no value");
        else
                result = set_scalar(option, reader->target, text, err);
        if (result < 0) {
                error_prefix(err, "%s", option->key);
                return at_line(reader, err);
        }
        return 0;
}

static int read_pair(struct reader *reader, struct error *err) {
        const char *key;
        unsigned i = 0;
        if (scalar(reader, &key, err) < 0)
                return -1;
        while (i < reader->n && strcmp(reader->options[i].key, key) != 0)
                i++;
        if (i == reader->n)
                return unknown_key(reader, key, err);
        if (reader->seen[i]) {
                error_set(err, ERROR_INVALID, "%s: is given twice", key);
                return at_line(reader, err);
        }
        reader->seen[i] = true;
        return next(reader, err) < 0 ? -1 : read_value(reader, &reader->options[i], err);
}

static int read_document(struct reader *reader, struct error *err) {
        if (next(reader, err) < 0)
                return -1;
        if (reader->event.type != YAML_MAPPING_START_EVENT)
                return refuse(reader, "the file must hold \"key: value\" lines", err);
        if (reader->event.data.mapping_start.anchor)
                return refuse(reader, "anchors and aliases are not allowed", err);
        for (;;) {
                if (next(reader, err) < 0)
                        return -1;
                if (reader->event.type == YAML_MAPPING_END_EVENT)
                        return next(reader, err); // the document's end
                if (read_pair(reader, err) < 0)
                        return -1;
        }
}

static int read_stream(struct reader *reader, struct error *err) {
        if (next(reader, err) < 0 || next(reader, err) < 0)
                return -1;
        if (reader->event.type == YAML_STREAM_END_EVENT)
                return 0; // nothing, or comments only
        if (read_document(reader, err) < 0 || next(reader, err) < 0)
                return -1;
        if (reader->event.type != YAML_STREAM_END_EVENT)
                return refuse(reader, "a second document is not allowed", err);
        return 0;
}

// Not file_read(): people may keep their configuration behind a link.
static int read_file(const char *path, struct buffer *content, struct error *err) {
        _cleanup_(close_p) int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (fd < 0 && errno == ENOENT)
                return 0;
        if (fd < 0)
                return error_errno(err, errno, "read %s", path);
        return file_read_fd(fd, path, FILE_MAX, content, err);
}

static int load_file(struct reader *reader, struct error *err) {
        struct buffer content;
        buffer_init(&content, 0);
        int result = read_file(reader->path, &content, err);
        if (result == 0 && content.length > 0) {
                if (!yaml_parser_initialize(&reader->parser))
                        result = error_set(err, ERROR_NO_MEMORY, "read %s: no memory", reader->path);
                else {
                        yaml_parser_set_input_string(&reader->parser, content.data, content.length);
                        result = read_stream(reader, err);
                        yaml_event_delete(&reader->event);
                        yaml_parser_delete(&reader->parser);
                }
        }
        buffer_fini(&content);
        return result;
}

int config_load(const char *path, const struct config_option *options, unsigned n, void *target, struct error *err) {
        _cleanup_(free_p) bool *seen = new_array(bool, n);
        struct reader reader = {.path = path, .options = options, .n = n, .target = target, .seen = seen};
        for (unsigned i = 0; i < n; i++)
                set_zero(&options[i], target);
        for (unsigned i = 0; i < n; i++)
                if (set_default(&options[i], target, err) < 0) {
                        error_prefix(err, "default of %s", options[i].key);
                        goto out;
                }
        if (path && load_file(&reader, err) < 0)
                goto out;
        return 0;
out:
        config_free(options, n, target);
        return -1;
}
