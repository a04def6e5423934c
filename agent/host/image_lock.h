// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * QEMU's own locks on an image (docs: block/file-posix.c of QEMU): a read lock on byte 100 + P says that somebody uses
 * the file with permission P, one on byte 200 + P that somebody does not let others use it so. Holding the latter for
 * writing and resizing keeps every QEMU program from opening the image to write, with a message that names the file,
 * and lets any number of readers in. The lock belongs to the open file: it ends when the last descriptor of it is
 * closed.
 */
#include "common/error.h"

// For as long as fd stays open nobody writes to the image. `path` is for the message. ERROR_CONFLICT when somebody has
// it open to write. A file system without locks gives none, and that is no failure: versions tell what it missed.
int image_lock_reading(int fd, const char *path, struct error *err);
