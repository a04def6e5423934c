// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * Block devices of this host as images. Their paths come from libvirt's definitions and pools on this host, never from
 * a message; only what is a block device below /dev, links resolved, is opened. Blocking, any thread.
 */
#include "common/error.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

bool device_is(const char *path); // there, a block device, and below /dev
// Its length, without opening it.
int device_bytes(const char *path, uint64_t *ret, struct error *err);
// flags: O_RDONLY or O_RDWR, and O_EXCL, with which nothing else can mount or claim it while it is open: ERROR_CONFLICT
// when something has done so already, and still has after a second. The fd is the caller's.
int device_open(const char *path, int flags, int *ret_fd, uint64_t *ret_bytes, struct error *err);
// Neither mounted nor claimed by another device (ERROR_CONFLICT), and not empty (ERROR_REFUSED).
int device_check_free(const char *path, struct error *err);

// What tells the content of a device from what it was: the sectors that were written to it since it appeared, counted
// by the kernel. `life` says which appearance of which boot that is: counts of two lives cannot be compared.
// ERROR_REFUSED where the kernel does not count.
int device_count(dev_t device, uint64_t *ret_written, uint64_t *ret_life, struct error *err);
