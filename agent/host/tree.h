// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * XML as this program accepts it, and small ways to read it. Whoever wrote the text, it passes the same gate before
 * libxml2 sees it (fault 50): at most TREE_MAX bytes of valid UTF-8, no DOCTYPE and with it no entity of one's own, at
 * most TREE_DEPTH levels and TREE_ELEMENTS elements. No function here opens a file or the network. Any thread; a
 * document belongs to its caller.
 */
#include "common/cleanup.h"
#include "common/error.h"
#include <libxml/tree.h>

#define TREE_MAX      (1u << 20)
#define TREE_DEPTH    64u
#define TREE_ELEMENTS 10000u

// `what` stands at the beginning of each message: "the definition is not valid UTF-8". Comments and processing
// instructions are gone from the result.
int tree_parse(const char *what, const char *xml, size_t length, xmlDoc **ret, struct error *err);
// The gate alone.
int tree_check(const char *what, const char *xml, size_t length, struct error *err);
// The node as text; caller frees.
char *tree_print(xmlNode *node);

// Elements in no namespace; NULL when there is none.
xmlNode *tree_child(const xmlNode *parent, const char *name);
xmlNode *tree_next(const xmlNode *node, const char *name);   // the next sibling of that name
xmlNode *tree_find(const xmlNode *parent, const char *path); // "os/type": the first of each
xmlNode *tree_child_element(const xmlNode *parent);          // the first element of any name
xmlNode *tree_next_element(const xmlNode *node);
bool tree_named(const xmlNode *node, const char *name);
// Copies that the caller frees; NULL when absent. Text is trimmed of white space at both ends.
char *tree_attribute(const xmlNode *node, const char *name);
char *tree_text(const xmlNode *node);
char *tree_find_text(const xmlNode *parent, const char *path);
char *tree_find_attribute(const xmlNode *parent, const char *path, const char *name); // path "": of parent itself
bool tree_attribute_is(const xmlNode *node, const char *name, const char *value);

void tree_set(xmlNode *node, const char *name, const char *value); // attribute
void tree_unset(xmlNode *node, const char *name);
void tree_set_text(xmlNode *node, const char *text);
xmlNode *tree_add(xmlNode *parent, const char *name); // at the end
void tree_remove(xmlNode *node);                      // NULL is fine
void tree_remove_children(xmlNode *parent, const char *name);

static inline void tree_free_p(xmlDoc **doc) {
        if (*doc)
                xmlFreeDoc(*doc);
}
