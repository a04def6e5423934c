// SPDX-License-Identifier: LGPL-2.1-or-later
/* What the guest sees of an image (see source_nbd.h). */
#include "agent/blocks/source_nbd.h"
#include "agent/blocks/file_version.h"
#include "agent/blocks/nbd_client.h"
#include "common/memory.h"
#include <openssl/evp.h>

struct source_nbd {
        struct source source;
        struct nbd_image image;
        struct nbd_client *client;
        struct nbd_runs runs; // told last; extent() is called by one thread at a time
        unsigned next;
};

static int extent(struct source *source, uint64_t offset, enum source_kind *ret_kind, uint64_t *ret_end,
                  struct error *err) {
        struct source_nbd *nbd = (struct source_nbd *) source;
        const struct nbd_run *run = nbd_runs_at(nbd->client, offset, &nbd->runs, &nbd->next, err);
        if (!run)
                return -1;
        *ret_kind = run->kind;
        *ret_end = run->end < source->bytes ? run->end : source->bytes;
        return 0;
}

static int read_block(struct source *source, uint64_t offset, uint8_t *buffer, size_t length, struct error *err) {
        struct source_nbd *nbd = (struct source_nbd *) source;
        return nbd_client_read(nbd->client, offset, buffer, length, err);
}

static int version(struct source *source, uint8_t ret[SOURCE_VERSION_BYTES], struct error *err) {
        const struct source_nbd *nbd = (const struct source_nbd *) source;
        uint64_t facts[NBD_CHAIN_MAX][FILE_VERSION_FACTS];
        for (unsigned i = 0; i < nbd->image.n; i++) {
                int known = file_version(nbd->image.fds[i], facts[i], err);
                if (known <= 0)
                        return known;
        }
        _Static_assert(SOURCE_VERSION_BYTES == 32, "a SHA-256");
        if (!EVP_Digest(facts, nbd->image.n * sizeof(facts[0]), ret, NULL, EVP_sha256(), NULL))
                return error_set(err, ERROR_FAILED, "SHA-256 cannot be had");
        return 1;
}

static void free_nbd(struct source *source) {
        struct source_nbd *nbd = (struct source_nbd *) source;
        nbd_client_free(nbd->client);
        free(nbd);
}

static const struct source_ops ops = {
        .kind = "guest", .extent = extent, .read = read_block, .version = version, .free = free_nbd};

int source_nbd_new(const struct nbd_image *image, struct source **ret, struct error *err) {
        struct nbd_client *client = NULL;
        if (nbd_client_new(image, false, &client, err) < 0)
                return -1;
        struct source_nbd *nbd = new (struct source_nbd);
        source_init(&nbd->source, &ops, image->bytes ? image->bytes : nbd_client_bytes(client));
        nbd->image = *image;
        nbd->client = client;
        *ret = &nbd->source;
        return 0;
}
