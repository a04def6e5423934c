// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * What the guest sees of an image of any format, flattened if it lies over others, through a qemu-nbd of our own that
 * can only read (nbd_server.h). Its version is that of all files of the chain.
 */
#include "agent/blocks/nbd_image.h"
#include "agent/blocks/source.h"

// The image's descriptors are open for as long as the source. With image->bytes the source has this length, although
// the disk has whole sectors; ERROR_CONFLICT when the image says another one.
int source_nbd_new(const struct nbd_image *image, struct source **ret, struct error *err);
