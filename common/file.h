// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/* Small files of our own (keys, certificates, state): bounded reads, writes that are whole or not there. */
#include "common/buffer.h"
#include <sys/types.h>
int file_read(const char *path, size_t limit, struct buffer *content, struct error *err); // regular files only; NUL-terminated beyond length
// Write beside, fsync, rename over, fsync the directory. mode e.g. 0600.
int file_write(const char *path, const void *bytes, size_t length, mode_t mode, struct error *err);
int file_make_directories(const char *path, mode_t mode, struct error *err);
int file_remove_tree(const char *path, struct error *err); // for our own state directories; follows no links
int file_sync_directory(int dir_fd, struct error *err);
