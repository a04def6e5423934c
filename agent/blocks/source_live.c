// SPDX-License-Identifier: LGPL-2.1-or-later
/* What QEMU shows of a running VM's disk (see source_live.h). */
#include "agent/blocks/source_live.h"
#include "common/memory.h"
#include <stdlib.h>

struct source_live {
        struct source source;
        struct nbd_client *client;
        struct nbd_runs runs; // told last; extent() is called by one thread at a time
        unsigned next;
};

static int extent(struct source *source, uint64_t offset, enum source_kind *ret_kind, uint64_t *ret_end,
                  struct error *err) {
        struct source_live *live = (struct source_live *) source;
        const struct nbd_run *run = nbd_runs_at(live->client, offset, &live->runs, &live->next, err);
        if (!run)
                return -1;
        *ret_kind = run->kind;
        *ret_end = run->end;
        return 0;
}

static int read_block(struct source *source, uint64_t offset, uint8_t *buffer, size_t length, struct error *err) {
        struct source_live *live = (struct source_live *) source;
        return nbd_client_read(live->client, offset, buffer, length, err);
}

static int version(struct source *source, uint8_t ret[SOURCE_VERSION_BYTES], struct error *err) {
        (void) source;
        (void) ret;
        (void) err;
        return 0;
}

static void free_live(struct source *source) {
        struct source_live *live = (struct source_live *) source;
        nbd_client_free(live->client);
        free(live);
}

static const struct source_ops ops = {
        .kind = "live", .extent = extent, .read = read_block, .version = version, .free = free_live};

int source_live_new(const struct nbd_export *export, struct source **ret, struct error *err) {
        struct nbd_client *client = NULL;
        if (nbd_client_open(export, &client, err) < 0)
                return -1;
        struct source_live *live = new (struct source_live);
        source_init(&live->source, &ops, nbd_client_bytes(client));
        live->client = client;
        *ret = &live->source;
        return 0;
}
