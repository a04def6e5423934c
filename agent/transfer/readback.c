// SPDX-License-Identifier: LGPL-2.1-or-later
/* The digest of an image by reading it, on the caller's thread. */
#include "agent/transfer/transfer.h"
#include "common/cleanup.h"

static int add_range(struct source *source, struct digest *digest, const struct source_range *range, uint8_t *buffer,
                     struct error *err) {
        uint8_t hash[DIGEST_HASH];
        struct grains grains;
        size_t length = (size_t) range->length;
        if (range->kind == SOURCE_ZERO)
                return digest_add(digest, range->offset, range->length, NULL, err);
        if (source_read(source, range->offset, buffer, length, err) < 0)
                return -1;
        grains_find(buffer, length, &grains);
        digest_block(buffer, length, &grains, hash);
        return digest_add(digest, range->offset, length, hash, err);
}

int transfer_digest(struct source *source, bool (*cancelled)(void *), void *data, char ret_digest[DIGEST_TEXT],
                    struct error *err) {
        struct source_range range;
        uint8_t hash[DIGEST_BYTES];
        int more;
        struct digest *digest = digest_new(source->bytes);
        _cleanup_(free_p) uint8_t *buffer = blocks_buffer();
        while ((more = source_next(source, &range, err)) > 0) {
                if (cancelled && cancelled(data)) {
                        more = error_set(err, ERROR_CANCELLED, "cancelled");
                        break;
                }
                if ((more = add_range(source, digest, &range, buffer, err)) < 0)
                        break;
        }
        if (more == 0 && (more = digest_finish(digest, hash, err)) == 0)
                digest_text(hash, ret_digest);
        digest_free(digest);
        return more;
}
