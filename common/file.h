// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/* Small files of our own (keys, certificates, state): bounded reads, writes that are whole or not there. */
#include "common/buffer.h"
#include <sys/types.h>
// Regular files only, and no symbolic link. `content` is initialised; what it held is replaced on success, with a NUL
// beyond its length. ERROR_TOO_LARGE when there are more than `limit` bytes.
int file_read(const char *path, size_t limit, struct buffer *content, struct error *err);
// The same from a descriptor, which stays open; path is for the error's text.
int file_read_fd(int fd, const char *path, size_t limit, struct buffer *content, struct error *err);
// Write ".NAME.tmp" beside, fsync, rename over, fsync the directory. The mode, e.g. 0600, is exact whatever the umask.
// On failure the old file is untouched, unless it was the last fsync that failed.
int file_write(const char *path, const void *bytes, size_t length, mode_t mode, struct error *err);
// Like mkdir -p; every directory that is made gets the mode, less the umask.
int file_make_directories(const char *path, mode_t mode, struct error *err);
// For our own state directories; follows no links, at most 64 levels. What is not there counts as removed.
int file_remove_tree(const char *path, struct error *err);
int file_remove_at(int dir_fd, const char *name, struct error *err); // the same of a name in a directory
int file_sync_directory(int dir_fd, struct error *err);
