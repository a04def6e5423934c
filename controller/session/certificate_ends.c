// SPDX-License-Identifier: LGPL-2.1-or-later
/* A hash table in front of store_certificate_newest(). Loop thread. */
#include "controller/session/certificate_ends.h"
#include "common/memory.h"
#include "controller/fleet/index.h"
#include "controller/session/context.h"
#include <stdio.h>

struct certificate_ends {
        struct index *index;
};

struct end {
        char uuid[NAME_UUID_LENGTH + 1];
        int64_t not_after;
};

struct certificate_ends *certificate_ends_new(void) {
        struct certificate_ends *ends = new (struct certificate_ends);
        ends->index = index_new();
        return ends;
}

void certificate_ends_free(struct certificate_ends *ends) {
        if (!ends)
                return;
        index_clear(ends->index, free);
        index_free(ends->index);
        free(ends);
}

int64_t certificate_ends_of(struct session *session, const char *host_uuid) {
        struct end *end = index_get(session->certificate_ends->index, host_uuid);
        struct store_certificate newest;
        if (end)
                return end->not_after;
        if (store_certificate_newest(session->store, IDENTITY_HOST, host_uuid, &newest, NULL) <= 0)
                return 0;
        end = new (struct end);
        snprintf(end->uuid, sizeof(end->uuid), "%s", host_uuid);
        end->not_after = newest.not_after;
        index_add(session->certificate_ends->index, end->uuid, end);
        return end->not_after;
}

int64_t certificate_ends_renewed(struct session *session, const char *host_uuid, int64_t otherwise) {
        certificate_ends_forget(session, host_uuid);
        int64_t end = certificate_ends_of(session, host_uuid);
        return end ? end : otherwise;
}

void certificate_ends_forget(struct session *session, const char *host_uuid) {
        struct end *end = index_get(session->certificate_ends->index, host_uuid);
        if (!end)
                return;
        index_remove(session->certificate_ends->index, end->uuid, end);
        free(end);
}
