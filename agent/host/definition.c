// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A domain's definition: parsed once, asked for its simple facts. Pure; any thread; a definition belongs to its caller.
 */
#include "agent/host/definition.h"
#include "agent/host/definition_tree.h"
#include "common/memory.h"
#include <openssl/evp.h>
#include <string.h>

_Static_assert(DEFINITION_MAX == TREE_MAX, "the gate's bound is the one that is promised");

// libvirt writes <nvram>PATH</nvram>, or <nvram type='file'><source file='PATH'/></nvram>.
static char *nvram_path(const xmlNode *root) {
        const xmlNode *nvram = tree_find(root, "os/nvram");
        if (!nvram)
                return NULL;
        char *path = tree_find_attribute(nvram, "source", "file");
        if (!path)
                path = tree_text(nvram);
        if (path && *path)
                return path;
        free(path);
        return NULL;
}

int definition_parse(const char *xml, size_t length, struct definition **ret, struct error *err) {
        struct definition *definition = new (struct definition);
        if (tree_parse("the definition", xml, length, &definition->doc, err) < 0) {
                definition_free(definition);
                return -1;
        }
        definition->root = xmlDocGetRootElement(definition->doc);
        const xmlNode *root = definition->root;
        int r = 0;
        if (!tree_named(root, "domain"))
                r = error_set(err, ERROR_INVALID, "the definition is a <%.64s>, not a <domain>",
                              (const char *) root->name);
        definition->name = r < 0 ? NULL : tree_find_text(root, "name");
        definition->uuid = r < 0 ? NULL : tree_find_text(root, "uuid");
        definition->nvram = r < 0 ? NULL : nvram_path(root);
        if (r == 0 && (!definition->name || !*definition->name))
                r = error_set(err, ERROR_INVALID, "the definition has no name");
        if (r == 0 && !definition->uuid)
                r = error_set(err, ERROR_INVALID, "the definition has no UUID");
        if (r == 0 && name_check_uuid(definition->uuid, err) < 0)
                r = error_prefix(err, "the definition");
        if (r < 0) {
                definition_free(definition);
                return -1;
        }
        *ret = definition;
        return 0;
}

void definition_free(struct definition *definition) {
        if (!definition)
                return;
        if (definition->doc)
                xmlFreeDoc(definition->doc);
        free(definition->name);
        free(definition->uuid);
        free(definition->nvram);
        free(definition);
}

const char *definition_name(const struct definition *definition) {
        return definition->name;
}

const char *definition_uuid(const struct definition *definition) {
        return definition->uuid;
}

const char *definition_nvram(const struct definition *definition) {
        return definition->nvram;
}

char *definition_nvram_file(const struct definition *definition) {
        if (definition->nvram)
                return memory_string(definition->nvram);
        _cleanup_(free_p) char *firmware = tree_find_attribute(definition->root, "os", "firmware");
        return firmware && strcmp(firmware, "efi") == 0
                       ? memory_format(DEFINITION_NVRAM_DIRECTORY "/%s_VARS.fd", definition->name)
                       : NULL;
}

int definition_sha256(const char *xml, size_t length, char ret_hex[65]) {
        unsigned char digest[EVP_MAX_MD_SIZE];
        unsigned n = 0;
        if (EVP_Digest(xml, length, digest, &n, EVP_sha256(), NULL) != 1 || n != 32)
                return -1;
        for (unsigned i = 0; i < n; i++) {
                ret_hex[2 * i] = "0123456789abcdef"[digest[i] >> 4];
                ret_hex[2 * i + 1] = "0123456789abcdef"[digest[i] & 15];
        }
        ret_hex[64] = 0;
        return 0;
}

int definition_host_files(const struct definition *definition, char ***ret_paths, unsigned *ret_n, struct error *err) {
        static const char *const places[] = {"os/kernel", "os/initrd", "os/dtb", "os/loader"};
        (void) err;
        char **paths = new_array(char *, ARRAY_SIZE(places) + 1);
        unsigned n = 0;
        for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
                char *path = tree_find_text(definition->root, places[i]);
                if (path && *path)
                        paths[n++] = path;
                else
                        free(path);
        }
        char *template = tree_find_attribute(definition->root, "os/nvram", "template");
        if (template)
                paths[n++] = template;
        *ret_paths = paths;
        *ret_n = n;
        return 0;
}
