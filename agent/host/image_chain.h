// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * What an image is laid over, and what that is laid over, down to the end; and how it ends, for whoever has to rule out
 * that something is below. Only headers are read, and only to follow the names in them: a member whose format nobody
 * states is taken for a qcow2 here when it begins like one, which is never done to read what is in it (fault 54).
 * Blocking, any thread; a server that is gone is not waited for longer than reach.h does.
 */
#include "agent/host/image.h"

#define IMAGE_CHAIN_MAX 16u

enum image_chain_end {
        IMAGE_CHAIN_WHOLE,   // the last one is laid over nothing, or over something of another host
        IMAGE_CHAIN_MISSING, // it does not exist
        IMAGE_CHAIN_SILENT,  // its file system does not answer
        IMAGE_CHAIN_UNKNOWN, // it cannot be read, or cannot be followed
};
struct image_chain {
        char *paths[IMAGE_CHAIN_MAX]; // below the image, nearest first; what is not absolute is no file of this host
        char formats[IMAGE_CHAIN_MAX][32]; // of each, as what is laid over it says; "": it does not say
        unsigned n;
        enum image_chain_end end;
        char why[256]; // unless it is whole
};
// Links are followed, as QEMU does. `format` is the definition's: only a qcow2 is laid over anything.
void image_chain_read(const char *path, const char *format, struct image_chain *ret);
// The same below an image that was looked at already and whose own place is, or was, `path`.
void image_chain_below(const struct image *image, const char *path, struct image_chain *ret);
// It cannot be followed any further.
void image_chain_break(struct image_chain *chain, enum image_chain_end how, const struct error *why);
void image_chain_fini(struct image_chain *chain);
