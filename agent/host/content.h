// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * Which files of this host may hold the content of an image that is coming: what a VM left here when it moved away,
 * what other jobs have in hand, the images in the pools. Guessed from outside (whose they are, names, lengths, ages),
 * for agent/reuse to look into. Names never come over the wire: holds and libvirt tell the directories, and below these
 * no link is followed (fault 49). Blocking, any worker.
 */
#include "agent/journal/journal.h"
#include <libvirt/libvirt.h>

#define CONTENT_MAX             32u   // files that are opened
#define CONTENT_ENTRIES_MAX     4096u // that are looked at in one directory
#define CONTENT_DIRECTORIES_MAX 64u
#define CONTENT_SMALLEST        (64u << 10) // bytes; less is sent sooner than found

// Candidates for the image that (job, item) holds here as HOLD_INCOMING, likeliest first, opened for reading; never
// that image itself. conn NULL: without the pools. bytes: its length at the source, 0 when unknown. The descriptors are
// the caller's. What cannot be read is left out; only a journal that cannot be read fails.
int content_find(virConnectPtr conn, struct journal *journal, const char *job, const char *item, uint64_t bytes,
                 int ret_fds[CONTENT_MAX], unsigned *ret_n, struct error *err);
