// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * Until when the newest certificate of each host holds. Listings of ten thousand hosts ask for all of them, so what the
 * store has said once is remembered. Loop thread.
 */
#include "controller/session/session.h"

struct certificate_ends;
struct certificate_ends *certificate_ends_new(void);
void certificate_ends_free(struct certificate_ends *ends);
int64_t certificate_ends_of(struct session *session, const char *host_uuid); // 0: none
// To be called when the host was given another one; returns its end, or `otherwise` if that cannot be read.
int64_t certificate_ends_renewed(struct session *session, const char *host_uuid, int64_t otherwise);
void certificate_ends_forget(struct session *session, const char *host_uuid);
