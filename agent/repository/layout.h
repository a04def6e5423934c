// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * The directory of a repository: made, opened, and held open. All that is done inside goes through the descriptors that
 * are given here, and no link in it is followed. One owner at a time has it, by a lock on the file `repository`, until
 * layout_free() or the end of the process; readers need no lock and change nothing.
 *
 * A struct layout does not change after it was opened: any thread may use it.
 */
#include "agent/repository/label.h"

struct layout;
enum layout_use { LAYOUT_OWN, LAYOUT_READ };

/*
 * Makes the directory (its parent must be there), or uses one that is empty; what an interrupted call has left is
 * completed. ERROR_CONFLICT when it holds anything else, a repository among it. `path` is the administrator's. The
 * label's id and time are made here when they are empty; *ret_label is what stands in the directory then.
 */
int layout_make(const char *path, const struct label *label, struct label *ret_label, struct error *err);
/*
 * ERROR_NOT_FOUND: no repository is there; ERROR_VERSION, ERROR_CORRUPT: as label_parse(), or the
 * label is no file, or too long for one; ERROR_BUSY: another process
 * owns it. The owner finds incoming/ emptied (of files; a directory in there is somebody else's, and counts for
 * nothing).
 */
int layout_open(const char *path, enum layout_use use, struct layout **ret_layout, struct error *err);
void layout_free(struct layout *layout);

const struct label *layout_label(const struct layout *layout);
const char *layout_path(const struct layout *layout); // for messages, and for SQLite
int layout_root(const struct layout *layout);         // descriptors, the layout's own
int layout_packs(const struct layout *layout);
int layout_points(const struct layout *layout);
int layout_incoming(const struct layout *layout); // -1 for readers
int layout_index(const struct layout *layout);    // -1 for readers

// What lies in the directory is from anybody: no regular file in the place of one, or too long a one, is ERROR_CORRUPT.
// `path` is for messages. ERROR_NOT_FOUND: nothing is there.
int layout_open_file(int dir, const char *name, int mode, const char *path, int *ret_fd, struct error *err);
int layout_read_file(int fd, const char *path, size_t limit, struct buffer *text, struct error *err);

/*
 * Calls back for each restore point that has a name of the right form. Anything else that lies in points/, a file or a
 * link with a VM's name among it, is only counted: it may be one that somebody has renamed, so that what removes by
 * this list asks for strange == 0. 0: the list is whole, and it is empty only if there are none. A directory that
 * cannot be read, or that is no longer the one that was opened, is an error, never an empty list (fault 65): -1, and
 * then what was called back for is not all. A callback that returns -1 (err filled) ends it.
 */
typedef int (*layout_on_point)(void *closure, const char *vm, const char *id, struct error *err);
int layout_each_point(const struct layout *layout, layout_on_point on_point, void *closure, unsigned *ret_strange,
                      struct error *err);
