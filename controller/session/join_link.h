// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * drover-join/1: one JoinRequest from somebody without a certificate, one answer, and the end. An address from which
 * many tries have failed has to wait. Loop thread.
 */
#include "controller/session/connection.h"

struct join_rates;
struct join_rates *join_rates_new(void);
void join_rates_free(struct join_rates *rates);
