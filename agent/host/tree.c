// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * XML read with libxml2, behind a gate of our own. The gate is a scanner of a few dozen lines that knows just enough of
 * XML to count elements and to meet every "<!" and "&" outside comments and CDATA; what it does not understand it
 * leaves to libxml2, which then reports it. Pure; any thread.
 */
#include "agent/host/tree.h"
#include "common/memory.h"
#include <ctype.h>
#include <libxml/parser.h>
#include <pthread.h>
#include <string.h>

struct scan {
        const char *what;
        const char *at, *end;
        unsigned depth, elements;
};

static bool scan_ahead(const struct scan *scan, const char *text) {
        size_t length = strlen(text);
        return (size_t) (scan->end - scan->at) >= length && memcmp(scan->at, text, length) == 0;
}

// Move behind the next `text`, or to the end.
static void scan_skip(struct scan *scan, const char *text) {
        const char *found = memmem(scan->at, (size_t) (scan->end - scan->at), text, strlen(text));
        scan->at = found ? found + strlen(text) : scan->end;
}

static int scan_entity(struct scan *scan, struct error *err) {
        static const char *const known[] = {"&amp;", "&lt;", "&gt;", "&quot;", "&apos;", "&#"};
        for (size_t i = 0; i < ARRAY_SIZE(known); i++)
                if (scan_ahead(scan, known[i])) {
                        scan->at += strlen(known[i]);
                        return 0;
                }
        size_t left = (size_t) (scan->end - scan->at), length = 1;
        while (length < left && length < 32 && scan->at[length] != ';' && !isspace((unsigned char) scan->at[length]))
                length++;
        return error_set(err, ERROR_REFUSED, "%s uses the entity %.*s; entities are not accepted", scan->what,
                         (int) length, scan->at);
}

// A start tag: up to its ">", with quoted values skipped over.
static int scan_tag(struct scan *scan, struct error *err) {
        char quote = 0, last = 0;
        for (scan->at++; scan->at < scan->end; scan->at++) {
                char c = *scan->at;
                if (c == '&') {
                        if (scan_entity(scan, err) < 0)
                                return -1;
                        scan->at--;
                } else if (quote) {
                        quote = c == quote ? 0 : quote;
                } else if (c == '"' || c == '\'') {
                        quote = c;
                } else if (c == '>') {
                        break;
                }
                last = c;
        }
        if (++scan->elements > TREE_ELEMENTS)
                return error_set(err, ERROR_REFUSED, "%s has more than %u elements", scan->what, TREE_ELEMENTS);
        if (last == '/')
                return 0;
        if (++scan->depth > TREE_DEPTH)
                return error_set(err, ERROR_REFUSED, "%s is nested deeper than %u elements", scan->what, TREE_DEPTH);
        return 0;
}

static int scan_markup(struct scan *scan, struct error *err) {
        if (scan_ahead(scan, "<!--")) {
                scan->at += 4;
                scan_skip(scan, "-->");
        } else if (scan_ahead(scan, "<![CDATA[")) {
                scan_skip(scan, "]]>");
        } else if (scan_ahead(scan, "<?")) {
                scan_skip(scan, "?>");
        } else if (scan_ahead(scan, "<!")) {
                return error_set(err, ERROR_REFUSED, "%s has a DOCTYPE; document types are not accepted", scan->what);
        } else if (scan_ahead(scan, "</")) {
                if (scan->depth > 0)
                        scan->depth--;
                scan_skip(scan, ">");
        } else {
                return scan_tag(scan, err);
        }
        return 0;
}

// xmlCheckUTF8 wants a string; it is one here, since there is no NUL within.
static bool scan_is_text(const char *xml, size_t length) {
        char *copy = memchr(xml, 0, length) ? NULL : strndup(xml, length);
        bool valid = copy && xmlCheckUTF8((const xmlChar *) copy);
        free(copy);
        return valid;
}

int tree_check(const char *what, const char *xml, size_t length, struct error *err) {
        if (length > TREE_MAX)
                return error_set(err, ERROR_TOO_LARGE, "%s is %zu bytes long; at most %u are read", what, length,
                                 TREE_MAX);
        if (length == 0)
                return error_set(err, ERROR_INVALID, "%s is empty", what);
        if (!scan_is_text(xml, length))
                return error_set(err, ERROR_INVALID, "%s is not valid UTF-8", what);
        struct scan scan = {.what = what, .at = xml, .end = xml + length};
        while (scan.at < scan.end) {
                int r = 0;
                if (*scan.at == '<')
                        r = scan_markup(&scan, err);
                else if (*scan.at == '&')
                        r = scan_entity(&scan, err);
                else
                        scan.at++;
                if (r < 0)
                        return -1;
        }
        return 0;
}

static void drop_comments(xmlNode *first) {
        for (xmlNode *node = first, *next; node; node = next) {
                next = node->next;
                if (node->type == XML_COMMENT_NODE || node->type == XML_PI_NODE)
                        tree_remove(node);
                else if (node->type == XML_ELEMENT_NODE)
                        drop_comments(node->children);
        }
}

static pthread_once_t initialized = PTHREAD_ONCE_INIT;

static int parse_failed(const char *what, xmlParserCtxt *parser, struct error *err) {
        const xmlError *problem = xmlCtxtGetLastError(parser);
        if (!problem || !problem->message)
                return error_set(err, ERROR_INVALID, "%s is not well-formed XML", what);
        int length = (int) strcspn(problem->message, "\n");
        return error_set(err, ERROR_INVALID, "%s is not well-formed XML: line %d: %.*s", what, problem->line, length,
                         problem->message);
}

int tree_parse(const char *what, const char *xml, size_t length, xmlDoc **ret, struct error *err) {
        pthread_once(&initialized, xmlInitParser);
        if (tree_check(what, xml, length, err) < 0)
                return -1;
        xmlParserCtxt *parser = xmlNewParserCtxt();
        if (!parser)
                return error_set(err, ERROR_NO_MEMORY, "read %s: out of memory", what);
        // The encoding is forced: a declaration of another one would make other characters of what the gate has read.
        int options =
                XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING | XML_PARSE_NOCDATA | XML_PARSE_NOBLANKS;
        xmlDoc *doc = xmlCtxtReadMemory(parser, xml, (int) length, NULL, "UTF-8", options);
        if (!doc || !parser->wellFormed || !xmlDocGetRootElement(doc) || doc->intSubset) {
                parse_failed(what, parser, err);
                xmlFreeParserCtxt(parser);
                if (doc)
                        xmlFreeDoc(doc);
                return -1;
        }
        xmlFreeParserCtxt(parser);
        drop_comments(doc->children);
        *ret = doc;
        return 0;
}

char *tree_print(xmlNode *node) {
        xmlBuffer *buffer = xmlBufferCreate();
        char *text = NULL;
        if (buffer && xmlNodeDump(buffer, node->doc, node, 0, 1) >= 0)
                text = memory_string((const char *) xmlBufferContent(buffer));
        if (buffer)
                xmlBufferFree(buffer);
        return text;
}

bool tree_named(const xmlNode *node, const char *name) {
        return node->type == XML_ELEMENT_NODE && !node->ns && strcmp((const char *) node->name, name) == 0;
}

static xmlNode *first_element(xmlNode *node, const char *name) {
        for (; node; node = node->next)
                if (name ? tree_named(node, name) : node->type == XML_ELEMENT_NODE)
                        return node;
        return NULL;
}

xmlNode *tree_child(const xmlNode *parent, const char *name) {
        return first_element(parent->children, name);
}

xmlNode *tree_next(const xmlNode *node, const char *name) {
        return first_element(node->next, name);
}

xmlNode *tree_child_element(const xmlNode *parent) {
        return first_element(parent->children, NULL);
}

xmlNode *tree_next_element(const xmlNode *node) {
        return first_element(node->next, NULL);
}

xmlNode *tree_find(const xmlNode *parent, const char *path) {
        char name[64];
        xmlNode *node = NULL;
        for (const char *at = path; *at && parent;) {
                size_t length = strcspn(at, "/");
                if (length >= sizeof(name))
                        return NULL;
                memcpy(name, at, length);
                name[length] = 0;
                parent = node = tree_child(parent, name);
                at += length + (at[length] == '/');
        }
        return parent ? node : NULL;
}

char *tree_attribute(const xmlNode *node, const char *name) {
        return (char *) xmlGetNoNsProp(node, (const xmlChar *) name);
}

char *tree_text(const xmlNode *node) {
        char *text = (char *) xmlNodeGetContent(node);
        if (!text)
                return NULL;
        size_t start = strspn(text, " \t\r\n"), length = strlen(text);
        while (length > start && strchr(" \t\r\n", text[length - 1]))
                length--;
        memmove(text, text + start, length - start);
        text[length - start] = 0;
        return text;
}

char *tree_find_text(const xmlNode *parent, const char *path) {
        const xmlNode *node = tree_find(parent, path);
        return node ? tree_text(node) : NULL;
}

char *tree_find_attribute(const xmlNode *parent, const char *path, const char *name) {
        const xmlNode *node = *path ? tree_find(parent, path) : parent;
        return node ? tree_attribute(node, name) : NULL;
}

bool tree_attribute_is(const xmlNode *node, const char *name, const char *value) {
        _cleanup_(free_p) char *text = tree_attribute(node, name);
        return text && strcmp(text, value) == 0;
}

void tree_set(xmlNode *node, const char *name, const char *value) {
        xmlSetProp(node, (const xmlChar *) name, (const xmlChar *) value);
}

void tree_unset(xmlNode *node, const char *name) {
        xmlUnsetProp(node, (const xmlChar *) name);
}

void tree_set_text(xmlNode *node, const char *text) {
        xmlNodeSetContent(node, NULL);
        xmlNodeAddContent(node, (const xmlChar *) text);
}

xmlNode *tree_add(xmlNode *parent, const char *name) {
        return xmlNewChild(parent, NULL, (const xmlChar *) name, NULL);
}

void tree_remove(xmlNode *node) {
        if (!node)
                return;
        xmlUnlinkNode(node);
        xmlFreeNode(node);
}

void tree_remove_children(xmlNode *parent, const char *name) {
        for (xmlNode *node = tree_child(parent, name), *next; node; node = next) {
                next = tree_next(node, name);
                tree_remove(node);
        }
}
