// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * A restore point: the text that says what one VM was at one time, by the names of chunks (docs/repository.md). Parsed
 * with bounds from bytes that anybody may have written; written whole and durable, or not there.
 *
 * In a sealed repository the text carries a proof, which those make who have the key, so that its owner can read and
 * check what it keeps and cannot make up a point (seal.h).
 *
 * A struct point belongs to whoever made it; the functions are pure, or safe from any thread.
 */
#include "agent/repository/layout.h"
#include "agent/repository/map.h"
#include "common/name.h"

#define POINT_TEXT_MAX  (16u << 20)
#define POINT_ID        26 // "20261122T220000Z-9f31c2d4" and its NUL
#define POINT_PROOF     32
#define POINT_FILES_MAX 32u
#define POINT_DISKS_MAX 64u
#define POINT_FACTS_MAX 256u
#define POINT_FILE_MAX  (256ull << 20) // bytes of the definition, of NVRAM, of a TPM's state
#define POINT_FACT_MAX  4096u          // bytes of a value

enum point_consistency { POINT_GUEST, POINT_CRASH, POINT_OFF }; // frozen by the guest's agent, running, stopped

struct point_file {
        char name[64]; // [a-z0-9][a-z0-9.-]*, no two dots after one another
        uint64_t bytes;
        struct chunk_name *names; // chunk_count(bytes), in order
};
struct point_disk {
        char target[9];
        char format[17]; // [a-z0-9]+
        struct map_root root;
};
struct point_fact {
        char word[33]; // a lower-case letter, then [a-z0-9-]
        char *value;
};
struct point {
        char id[POINT_ID];
        char vm[NAME_UUID_LENGTH + 1];
        char name[NAME_VM_MAX + 1];
        char host[NAME_SITE_MAX + NAME_HOST_MAX + 2]; // site/host
        char created[LABEL_TIME];
        enum point_consistency consistency;
        unsigned n_files, n_disks, n_facts;
        struct point_file files[POINT_FILES_MAX];
        struct point_disk disks[POINT_DISKS_MAX];
        struct point_fact facts[POINT_FACTS_MAX];
        bool proven; // there is a proof, which is not checked here
        uint8_t proof[POINT_PROOF];
        uint64_t proven_bytes; // set by point_parse(): so much of the text, from its beginning, is what the proof is of
};

void point_free(struct point *point); // and all that it holds
// The time is put into the id, so that ids sort by it; "…-9f31c2d4" is random.
void point_new_id(int64_t wall_seconds, char ret_id[POINT_ID]);
int point_check_id(const char *id, struct error *err);
bool point_id_of_file(const char *name, char ret_id[POINT_ID]); // of "ID.point"

// ERROR_VERSION for a version or a word that is unknown, by its name; ERROR_CORRUPT, with the line, for all else: when
// the text does not end with its hash, counts differ from lengths, something is there twice, a name is none.
int point_parse(const void *text, size_t length, struct point **ret_point, struct error *err);
// The lines from the first to the one before "proof" or "end". The struct is taken as it is: point_close_text() checks.
int point_print(const struct point *point, struct buffer *text, struct error *err);
// Appends the proof, if there is one, and the end. ERROR_INVALID when that is no point which point_parse() would read.
int point_close_text(struct buffer *text, const uint8_t *proof, struct error *err);

/*
 * The owner's, of a text that came from anywhere: it counts when this returns 0, and is not there otherwise, a failed
 * fsync included. ERROR_INVALID: no point, or not this VM's; ERROR_CONFLICT: another one has this id; the same one
 * again is fine. What the names in it stand for is to be there before: point_visit().
 */
int point_write(const struct layout *layout, const char *vm, const void *text, size_t length, struct error *err);
// The text is verified by its hash and against the place it lies at; ERROR_CORRUPT also for what is no file, or too
// long for a point. ret_text (may be NULL) is initialised by the caller.
int point_read(const struct layout *layout, const char *vm, const char *id, struct point **ret_point,
               struct buffer *ret_text, struct error *err);
int point_remove(const struct layout *layout, const char *vm, const char *id, struct error *err); // ERROR_NOT_FOUND
// Every chunk that the point needs (map_visit() says how): its files' names are of level 0.
int point_visit(const struct point *point, const struct map_source *source, map_on_name visit, void *closure,
                struct error *err);
