// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The walk over a definition along the whitelist's table, and the words for what does not pass. Pure; any thread.
 */
#include "agent/host/definition_whitelist.h"
#include "common/memory.h"
#include <fnmatch.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define PATH_BYTES    512
#define MESSAGE_BYTES 512
#define VALUE_MAX     256 // of attributes and texts that are names or numbers

struct whitelist {
        const char *vm;
        bool apply;
        whitelist_fn fn;
        void *data;
        char path[PATH_BYTES]; // of the element being looked at
};

// Why something does not pass, and how to mend it, where more can be said than that it is not in the table.
// In hints {vm} is the VM's name.
static const struct {
        const char *path, *code, *message, *hint;
} reasons[] = {
        {"domain/@type", "domain-type", "only kvm and qemu domains are carried", "look at: virsh dumpxml {vm}"},
        {"domain/qemu:commandline", "qemu-commandline", "it passes options of its own to QEMU (qemu:commandline)",
         "if it can do without: virsh edit {vm}, remove <qemu:commandline>"},
        {"domain/qemu:capabilities", "qemu-commandline", "it changes QEMU's capabilities (qemu:capabilities)",
         "if it can do without: virsh edit {vm}, remove <qemu:capabilities>"},
        {"domain/qemu:override", "qemu-commandline", "it overrides QEMU's device options (qemu:override)",
         "if it can do without: virsh edit {vm}, remove <qemu:override>"},
        {"domain/launchSecurity", "launch-security", "its memory is encrypted for this host's processor",
         "if it can do without: virsh edit {vm}, remove <launchSecurity>"},
        {"domain/memoryBacking/source/@type", "shared-memory", "its memory lies in files of the host",
         "virsh edit {vm}, use <source type='memfd'/>"},
        {"domain/devices/hostdev", "hostdev", "a device of the host is passed through to it",
         "virsh edit {vm}, remove the <hostdev>"},
        {"domain/devices/filesystem", "filesystem", "a directory of the host is shared with it",
         "virsh edit {vm}, remove the <filesystem>"},
        {"domain/devices/tpm", "tpm", "its TPM keeps its state on this host",
         "if nothing in the guest is sealed to it: virsh edit {vm}, remove the <tpm>"},
        {"domain/devices/shmem", "shared-memory", "it shares memory with others on the host",
         "virsh edit {vm}, remove the <shmem>"},
        {"domain/devices/lease", "lease", "it holds leases of the host's lock manager",
         "virsh edit {vm}, remove the <lease>"},
        {"domain/devices/smartcard/@mode", "smartcard", "it uses a smartcard of the host",
         "virsh edit {vm}, remove the <smartcard>"},
        {"domain/devices/input/@type", "hostdev", "an input device of the host is passed through to it",
         "virsh edit {vm}, remove the <input>"},
        {"domain/devices/interface/@type", "interface", "it is bound to this host's hardware or programs",
         "virsh edit {vm}, connect it to a bridge or to a network"},
        {"domain/devices/interface/script", "interface", "a script of the host sets it up",
         "virsh edit {vm}, remove the <script>"},
        {"domain/devices/interface/backend", "interface", "it names devices or programs of the host (backend)",
         "virsh edit {vm}, remove the <backend>"},
        {"domain/devices/disk/encryption", "encryption", "its key is a secret of this host",
         "decrypt the image first: qemu-img convert"},
        {"domain/devices/disk/source/encryption", "encryption", "its key is a secret of this host",
         "decrypt the image first: qemu-img convert"},
        {"domain/devices/disk/source/slices", "disk-slice", "it uses only a part of its image file",
         "copy that part to a file of its own: qemu-img convert"},
        {"domain/devices/graphics/@type", "graphics", "its display is a window on the host",
         "virsh edit {vm}, use <graphics type='vnc'/>"},
        {"domain/devices/graphics/@socket", "graphics", "its display listens on a socket file of the host",
         "virsh edit {vm}, remove the socket attribute"},
        {"domain/devices/graphics/listen/@socket", "graphics", "its display listens on a socket file of the host",
         "virsh edit {vm}, remove the socket attribute"},
        {"domain/devices/graphics/gl/@rendernode", "graphics", "its display uses a graphics card of the host",
         "virsh edit {vm}, remove the rendernode attribute"},
        {"domain/devices/audio/@type", "audio", "its sound goes to the host's own",
         "virsh edit {vm}, use <audio type='none'/>"},
        {"domain/devices/memory/@model", "nvdimm", "its memory module lies in a file of the host",
         "virsh edit {vm}, remove the <memory> device"},
        {"domain/devices/redirdev/@type", "redirdev", "its redirected USB device comes over a socket of the host",
         "virsh edit {vm}, use type='spicevmc'"},
};

bool whitelist_applies(const struct whitelist *walk) {
        return walk->apply;
}

bool whitelist_path_below(const char *path, const char *prefix) {
        size_t length = strlen(path);
        bool up = strstr(path, "/../") || (length >= 3 && strcmp(path + length - 3, "/..") == 0);
        return strncmp(path, prefix, strlen(prefix)) == 0 && path[strlen(prefix)] != 0 && !up;
}

// "disk vda", "interface 52:54:00:..." for what is in a device; nothing else needs a label.
static char *label_of(const xmlNode *node) {
        while (node->parent && node->parent->type == XML_ELEMENT_NODE && !tree_named(node->parent, "devices"))
                node = node->parent;
        if (!node->parent || !tree_named(node->parent, "devices"))
                return NULL;
        _cleanup_(free_p) char *which = NULL;
        if (tree_named(node, "disk"))
                which = tree_find_attribute(node, "target", "dev");
        else if (tree_named(node, "interface"))
                which = tree_find_attribute(node, "mac", "address");
        return which ? memory_format("%s %s", (const char *) node->name, which)
                     : memory_string((const char *) node->name);
}

static char *with_name(const char *hint, const char *vm) {
        const char *mark = strstr(hint, "{vm}");
        return mark ? memory_format("%.*s%s%s", (int) (mark - hint), hint, vm, mark + 4) : memory_string(hint);
}

static void report(struct whitelist *walk, const xmlNode *node, const char *path, const char *code, const char *hint,
                   const char *message) {
        _cleanup_(free_p) char *label = label_of(node), *whole = NULL, *named = with_name(hint, walk->vm);
        whole = label ? memory_format("%s: %s", label, message) : memory_string(message);
        walk->fn(&(struct whitelist_finding){.path = path, .code = code, .message = whole, .hint = named}, walk->data);
}

void whitelist_report(struct whitelist *walk, const xmlNode *node, const char *code, const char *hint,
                      const char *format, ...) {
        char message[MESSAGE_BYTES];
        va_list args;
        va_start(args, format);
        vsnprintf(message, sizeof(message), format, args);
        va_end(args);
        report(walk, node, walk->path, code, hint, message);
}

// What stands at `path` has no rule, or a value that no rule allows.
static void report_by_table(struct whitelist *walk, const xmlNode *node, const char *path) {
        for (size_t i = 0; i < ARRAY_SIZE(reasons); i++)
                if (strcmp(reasons[i].path, path) == 0) {
                        report(walk, node, path, reasons[i].code, reasons[i].hint, reasons[i].message);
                        return;
                }
        char message[MESSAGE_BYTES];
        snprintf(message, sizeof(message), "%s is not carried by a move", path);
        report(walk, node, path, "definition", "if it can do without: virsh edit {vm}, and remove it", message);
}

static void report_attribute(struct whitelist *walk, const xmlNode *node, const xmlAttr *attribute) {
        const char *prefix = attribute->ns && attribute->ns->prefix ? (const char *) attribute->ns->prefix : NULL;
        _cleanup_(free_p) char *path = memory_format("%s/@%s%s%.128s", walk->path, prefix ? prefix : "",
                                                     prefix ? ":" : "", (const char *) attribute->name);
        report_by_table(walk, node, path);
}

// ---- attributes ----

static bool value_plain(const char *value) {
        return !strchr(value, '/') && strlen(value) <= VALUE_MAX;
}

static bool value_among(const char *value, const char *choices, size_t length) {
        size_t wanted = strlen(value);
        for (const char *at = choices, *end = choices + length; at < end;) {
                size_t n = strcspn(at, "| ");
                if (n == wanted && memcmp(at, value, n) == 0)
                        return true;
                at += n + 1;
        }
        return false;
}

enum verdict { PASS, DROP, REFUSE };

static enum verdict judge_attribute(const char *rules, const char *name, const char *value) {
        size_t name_length = strlen(name);
        for (const char *at = rules; *at;) {
                size_t length = strcspn(at, " "), drop = *at == '-';
                size_t n = drop + strcspn(at + drop, " *=");
                if (n - drop == name_length && memcmp(at + drop, name, name_length) == 0) {
                        if (drop)
                                return DROP;
                        if (at[n] == '*')
                                return PASS;
                        if (at[n] == '=')
                                return value_among(value, at + n + 1, length - n - 1) ? PASS : REFUSE;
                        return value_plain(value) ? PASS : REFUSE;
                }
                at += length + (at[length] == ' ');
        }
        return REFUSE;
}

// False when one was refused: what is inside follows from it and is not told as well.
static bool walk_attributes(struct whitelist *walk, xmlNode *node, const struct whitelist_rule *rule) {
        bool pass = true;
        for (xmlAttr *attribute = node->properties, *next; attribute; attribute = next) {
                next = attribute->next;
                const char *name = (const char *) attribute->name;
                _cleanup_(free_p) char *value = tree_attribute(node, name);
                enum verdict verdict = REFUSE;
                if (!attribute->ns && value)
                        verdict = judge_attribute(rule->attributes, name, value);
                if (verdict == REFUSE) {
                        pass = false;
                        report_attribute(walk, node, attribute);
                } else if (verdict == DROP && walk->apply) {
                        xmlRemoveProp(attribute);
                }
        }
        return pass;
}

// ---- elements ----

static const struct whitelist_rule *rule_of(const char *path) {
        for (unsigned i = 0; i < whitelist_n_rules; i++)
                if (strcmp(whitelist_rules[i].path, path) == 0)
                        return &whitelist_rules[i];
        for (unsigned i = 0; i < whitelist_n_rules; i++)
                if (strchr(whitelist_rules[i].path, '*') && fnmatch(whitelist_rules[i].path, path, FNM_PATHNAME) == 0)
                        return &whitelist_rules[i];
        return NULL;
}

static bool text_passes(const xmlNode *node, enum whitelist_kind kind) {
        if (kind == WHITELIST_FREE)
                return true;
        for (const xmlNode *child = node->children; child; child = child->next) {
                if (child->type == XML_ELEMENT_NODE)
                        continue;
                if (child->type != XML_TEXT_NODE)
                        return false;
                const char *text = (const char *) child->content;
                bool blank = text[strspn(text, " \t\r\n")] == 0;
                if (!blank && (kind != WHITELIST_TEXT || !value_plain(text)))
                        return false;
        }
        return true;
}

static bool subtree_small(xmlNode *node) {
        _cleanup_(free_p) char *text = tree_print(node);
        return text && strlen(text) <= WHITELIST_SUBTREE_MAX;
}

static void walk_element(struct whitelist *walk, xmlNode *node);

static void walk_children(struct whitelist *walk, xmlNode *node) {
        size_t length = strlen(walk->path);
        for (xmlNode *child = tree_child_element(node), *next; child; child = next) {
                next = tree_next_element(child);
                const char *prefix = child->ns && child->ns->prefix ? (const char *) child->ns->prefix : NULL;
                int n = snprintf(walk->path + length, sizeof(walk->path) - length, "/%s%s%s", prefix ? prefix : "",
                                 prefix ? ":" : "", (const char *) child->name);
                if (child->ns || n < 0 || (size_t) n >= sizeof(walk->path) - length)
                        report_by_table(walk, child, walk->path);
                else
                        walk_element(walk, child);
                walk->path[length] = 0;
        }
}

static void walk_element(struct whitelist *walk, xmlNode *node) {
        const struct whitelist_rule *rule = rule_of(walk->path);
        if (!rule) {
                report_by_table(walk, node, walk->path);
                return;
        }
        if (rule->kind == WHITELIST_DROP) {
                if (walk->apply)
                        tree_remove(node);
                return;
        }
        if (rule->kind == WHITELIST_SUBTREE) {
                if (!subtree_small(node))
                        whitelist_report(walk, node, "definition", "virsh edit {vm}, and shorten it",
                                         "%s is longer than %u KiB", walk->path, WHITELIST_SUBTREE_MAX >> 10);
                return;
        }
        if (!text_passes(node, rule->kind)) {
                report_by_table(walk, node, walk->path);
                return;
        }
        if (rule->check && !rule->check(walk, node))
                return;
        if (walk_attributes(walk, node, rule))
                walk_children(walk, node);
}

void whitelist_walk(xmlNode *node, const char *path, const char *vm, bool apply, whitelist_fn fn, void *data) {
        struct whitelist walk = {.vm = vm, .apply = apply, .fn = fn, .data = data};
        snprintf(walk.path, sizeof(walk.path), "%s", path);
        walk_element(&walk, node);
}
