// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/* The host's own bridges (the kernel's and Open vSwitch's), by the kernel's word and not by files of a mounted /sys. */
#include "common/error.h"

// Caller frees each and the array. Any thread.
int bridge_names(char ***ret, unsigned *ret_n, struct error *err);
