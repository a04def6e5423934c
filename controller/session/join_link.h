// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * drover-join/1: one JoinRequest from somebody without a certificate, one answer, and the end. From one address only
 * so many a minute are looked at. Loop thread.
 */
#include "controller/session/connection.h"

struct join_rates;
struct join_rates *join_rates_new(void);
void join_rates_free(struct join_rates *rates);
