// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * The operator's certificate renews by itself: whenever a command is given after two thirds of its life, a new one for
 * the same key is asked for over the open connection and takes the old one's place in one rename. A failure is not the
 * command's: the next one tries again.
 */
#include "cli/client.h"
bool renew_due(int64_t not_before, int64_t not_after, int64_t now); // seconds since 1970 UTC
void renew_if_due(struct client *client);
