// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * A password or a key that stands in a file of its own, read anew for each use so that it can be changed while the
 * controller runs, and wiped from memory afterwards. Blocks; any thread. It goes into no log and no error's text.
 */
#include "common/buffer.h"

#define SECRET_MAX 4096u // bytes

// The first line of the file, without its end. ERROR_REFUSED when others may read the file; ERROR_INVALID when the line
// is shorter than `least` bytes or holds a control character. `ret` is initialised; secret_fini() it.
int secret_read(const char *path, size_t least, struct buffer *ret, struct error *err);
void secret_fini(struct buffer *secret);
