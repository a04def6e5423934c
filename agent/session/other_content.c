// SPDX-License-Identifier: LGPL-2.1-or-later
/* What else this host has of an image that comes (see other_content.h). */
#include "agent/session/other_content.h"
#include "agent/host/content.h"
#include "agent/transfer/answering.h"
#include "common/log.h"

void other_content_find(const struct custody *custody, struct shelf *shelf, const Drover__TransferReceive *receive,
                        const char *item, struct other_content *ret) {
        int fds[CONTENT_MAX];
        unsigned n = 0;
        struct error why = ERROR_INIT;
        *ret = (struct other_content){0};
        if (!receive->disk ||
            receive->item == DROVER__TRANSFER_ITEM__TRANSFER_ITEM_NVRAM) // an NVRAM file is sent sooner than found
                return;
        if (content_find(custody->conn, custody->journal, custody->job, item, receive->disk->file_bytes, fds, &n,
                         &why) < 0) {
                log_failure(LOG_LEVEL_WARNING, "look for what is here already", &why, "job", custody->job, NULL);
                return;
        }
        if (n == 0)
                return;
        ret->reuse = reuse_new(fds, n, &(struct reuse_config){.shelf = shelf});
        ret->answerer = answering_new(ret->reuse);
}

void other_content_fini(struct other_content *other) {
        answering_free(other->answerer);
        reuse_free(other->reuse);
        *other = (struct other_content){0};
}
