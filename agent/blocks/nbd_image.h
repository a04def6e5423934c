// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * An image of which the guest-visible blocks are wanted: its own file, then the files below it, each with the format
 * that somebody who may say so has said. Nothing is guessed from the files' content (faults 34, 53), and no name is
 * followed: the descriptors are all that QEMU's programs are given.
 */
#include "agent/blocks/blocks.h"
#include "common/error.h"
#include <stdbool.h>

#define NBD_CHAIN_MAX 17u // an image and sixteen backing files

enum nbd_format { NBD_RAW, NBD_QCOW2, NBD_VMDK };
struct nbd_image {
        int fds[NBD_CHAIN_MAX]; // the image first; the caller's, open for as long as what is made of it
        enum nbd_format formats[NBD_CHAIN_MAX];
        unsigned n;
        uint64_t bytes; // what the guest sees of it; 0: as the image says
};
// "raw", "qcow2", "vmdk". ERROR_REFUSED for other words.
int nbd_format_parse(const char *word, enum nbd_format *ret, struct error *err);
const char *nbd_format_word(enum nbd_format format);
// What QEMU makes of a length: disks have whole sectors.
uint64_t nbd_whole_sectors(uint64_t bytes);
