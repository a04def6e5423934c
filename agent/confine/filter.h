// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * The system calls that a confined program may not make. Made before the fork, put up in the child. Used by walls.c
 * alone.
 */
#include "agent/confine/profile.h"
#include <linux/filter.h>

#define FILTER_MAX 224 // instructions

struct filter {
        struct sock_filter code[FILTER_MAX];
        unsigned short n;
        unsigned short own; // which instruction is to know the number of the process
};
void filter_make(struct filter *filter, const struct profile *profile);
// In the child, for itself and all that it starts; 0 or -1 with errno. Only system calls.
int filter_put_up(const struct filter *filter);
