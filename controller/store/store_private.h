// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * What the store_*.c files share, and nobody else sees: the handle, and small helpers that turn rows into structs.
 * Texts are bounded three times: by the name checks where they come in, by the structs, and by CHECKs in the schema.
 */
#include "common/db.h"
#include "controller/store/store.h"

struct store {
        struct db *db;
};

// Room for one more item in a list that is growing; `*list` and `*n` belong to the caller, `*n` is not changed.
#define store_room(list, n) ((list) = store_grow((list), (n), sizeof(*(list))))
void *store_grow(void *list, unsigned n, size_t size);
// The column as text, cut to the buffer.
void store_text(char *buffer, size_t size, struct db_query *query, int column);
#define STORE_TEXT(member, query, column) store_text((member), sizeof(member), (query), (column))
char *store_new_text(struct db_query *query, int column);                        // NULL for NULL
uint8_t *store_new_blob(struct db_query *query, int column, size_t *ret_length); // NULL for NULL and for no bytes
// db_run() for statements whose count of rows does not matter: 0 or -1.
int store_run(struct db_query *query, struct error *err);
