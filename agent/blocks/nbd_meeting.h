// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * Where we and a qemu-nbd of ours meet: a listening socket that has a name only until the connections to it are made,
 * in a directory of its own that nobody else may enter. The directory is locked for as long as it is in use, so what
 * an agent that was killed has left is known from what another is about to use. Owned by the caller; any thread.
 */
#include "common/error.h"
#include <sys/un.h>

struct nbd_meeting {
        char directory[32];
        struct sockaddr_un address;
        int lock; // the directory
        int fd;   // the listening socket
};
int nbd_meeting_init(struct nbd_meeting *meeting, unsigned connections, struct error *err);
int nbd_meeting_connect(const struct nbd_meeting *meeting, int *ret_fd, struct error *err);
void nbd_meeting_fini(struct nbd_meeting *meeting);
// Removes what agents of ours that were killed have left, at the start of one. How many directories that were.
unsigned nbd_meeting_collect(void);
