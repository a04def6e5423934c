// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * libvirt's capabilities, read for what a definition from elsewhere needs: machine types and domain types. Workers
 * only.
 */
#include "agent/host/capabilities.h"
#include "agent/host/tree.h"
#include "common/cleanup.h"
#include "common/memory.h"
#include <stdio.h>
#include <string.h>

static bool contains(char *const *texts, unsigned n, const char *text) {
        for (unsigned i = 0; i < n; i++)
                if (strcmp(texts[i], text) == 0)
                        return true;
        return false;
}

// Takes `text`, which may be NULL.
static void add(char ***texts, unsigned *n, char *text) {
        if (!text || contains(*texts, *n, text)) {
                free(text);
                return;
        }
        *texts = memory_grow(*texts, *n + 1, sizeof(**texts));
        (*texts)[(*n)++] = text;
}

static void add_machines(struct capabilities *capabilities, const xmlNode *parent) {
        for (const xmlNode *node = tree_child(parent, "machine"); node; node = tree_next(node, "machine")) {
                add(&capabilities->machines, &capabilities->n_machines, tree_text(node));
                add(&capabilities->machines, &capabilities->n_machines, tree_attribute(node, "canonical"));
        }
}

static void add_guest(struct capabilities *capabilities, const xmlNode *guest) {
        const xmlNode *arch = tree_child(guest, "arch");
        if (!arch)
                return;
        add_machines(capabilities, arch);
        for (const xmlNode *domain = tree_child(arch, "domain"); domain; domain = tree_next(domain, "domain")) {
                add(&capabilities->domain_types, &capabilities->n_domain_types, tree_attribute(domain, "type"));
                add_machines(capabilities, domain);
        }
}

static int read_document(virConnectPtr conn, xmlDoc **ret, struct error *err) {
        _cleanup_(free_p) char *xml = virConnectGetCapabilities(conn);
        if (!xml)
                return connection_error(err, "ask what this host offers");
        return tree_parse("what libvirt says of this host", xml, strlen(xml), ret, err);
}

int capabilities_read(virConnectPtr conn, struct capabilities *ret, struct error *err) {
        _cleanup_(tree_free_p) xmlDoc *doc = NULL;
        if (read_document(conn, &doc, err) < 0)
                return -1;
        const xmlNode *root = xmlDocGetRootElement(doc);
        *ret = (struct capabilities){0};
        for (const xmlNode *guest = tree_child(root, "guest"); guest; guest = tree_next(guest, "guest"))
                add_guest(ret, guest);
        return 0;
}

static void free_texts(char **texts, unsigned n) {
        for (unsigned i = 0; i < n; i++)
                free(texts[i]);
        free(texts);
}

void capabilities_fini(struct capabilities *capabilities) {
        free_texts(capabilities->machines, capabilities->n_machines);
        free_texts(capabilities->domain_types, capabilities->n_domain_types);
        *capabilities = (struct capabilities){0};
}

bool capabilities_offer(const struct capabilities *capabilities, const char *domain_type) {
        return contains(capabilities->domain_types, capabilities->n_domain_types, domain_type);
}

int capabilities_qemu_owner(virConnectPtr conn, unsigned *ret_uid, unsigned *ret_gid, struct error *err) {
        _cleanup_(tree_free_p) xmlDoc *doc = NULL;
        if (read_document(conn, &doc, err) < 0)
                return -1;
        const xmlNode *host = tree_child(xmlDocGetRootElement(doc), "host");
        for (const xmlNode *at = host ? tree_child(host, "secmodel") : NULL; at; at = tree_next(at, "secmodel")) {
                _cleanup_(free_p) char *model = tree_find_text(at, "model");
                _cleanup_(free_p) char *label = tree_find_text(at, "baselabel"); // "+64055:+109"
                if (model && label && strcmp(model, "dac") == 0 && sscanf(label, "+%u:+%u", ret_uid, ret_gid) == 2)
                        return 1;
        }
        return 0;
}
