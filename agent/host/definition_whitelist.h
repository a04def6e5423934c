// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * What of a domain's definition may pass from one host to another: a closed table of elements and attributes, and
 * checks for those that pass only with some values. One walk serves both sides: at the source what does not pass
 * becomes the obstacles of the plan, at the target it is refused. Pure; any thread.
 */
#include "agent/host/tree.h"

enum whitelist_kind {
        WHITELIST_ELEMENT, // no text of its own
        WHITELIST_TEXT,    // text without "/"
        WHITELIST_FREE,    // any text
        WHITELIST_SUBTREE, // passes with all that is in it, up to WHITELIST_SUBTREE_MAX bytes
        WHITELIST_DROP,    // means something on its own host only: does not pass, and is no obstacle
};
#define WHITELIST_SUBTREE_MAX (64u << 10)

struct whitelist;
struct whitelist_rule {
        const char *path; // "domain/os/type"; "*" stands for any one name
        enum whitelist_kind kind;
        // Names separated by spaces. "name": value without "/"; "name*": any value; "name=a|b": one of these;
        // "-name": dropped.
        const char *attributes;
        bool (*check)(struct whitelist *walk, xmlNode *node); // false: it has reported; do not look further inside
};
extern const struct whitelist_rule whitelist_rules[];
extern const unsigned whitelist_n_rules;

struct whitelist_finding {
        const char *path;    // "domain/qemu:commandline", "domain/devices/disk/@rawio"
        const char *code;    // stable word of an obstacle
        const char *message; // for people: "disk sdb: it is a block device of the host"
        const char *hint;    // how to mend it
};
typedef void (*whitelist_fn)(const struct whitelist_finding *finding, void *data);

// Look at `node` as if it stood at `path` ("domain"). With `apply`, what is to be dropped is taken out of the tree.
// `vm` is the name used in hints.
void whitelist_walk(xmlNode *node, const char *path, const char *vm, bool apply, whitelist_fn fn, void *data);

// For checks: report the node being looked at. `code` NULL: as the table of reasons has it.
void whitelist_report(struct whitelist *walk, const xmlNode *node, const char *code, const char *hint,
                      const char *format, ...) __attribute__((format(printf, 5, 6)));
bool whitelist_applies(const struct whitelist *walk); // dropping is wanted
// Absolute, below `prefix` ("/usr/share/"), and no ".." in it.
bool whitelist_path_below(const char *path, const char *prefix);

// The checks of definition_checks.c, named by the table.
bool check_disk(struct whitelist *walk, xmlNode *node);
bool check_loader(struct whitelist *walk, xmlNode *node);
bool check_nvram(struct whitelist *walk, xmlNode *node);
bool check_boot_file(struct whitelist *walk, xmlNode *node);
bool check_character_device(struct whitelist *walk, xmlNode *node);
bool check_log(struct whitelist *walk, xmlNode *node);
bool check_random(struct whitelist *walk, xmlNode *node);
bool check_filter(struct whitelist *walk, xmlNode *node);
bool check_partition(struct whitelist *walk, xmlNode *node);
bool check_alias(struct whitelist *walk, xmlNode *node);
bool check_backing(struct whitelist *walk, xmlNode *node);
