// SPDX-License-Identifier: LGPL-2.1-or-later
/* A list of pieces, filled at its end and emptied at its front. */
#include "common/outbox.h"
#include "common/memory.h"
#include <stdlib.h>
#include <string.h>

struct outbox_piece {
        struct outbox_piece *next;
        size_t length;
        uint8_t bytes[OUTBOX_PIECE];
};

static struct outbox_piece *with_room(struct outbox *outbox) {
        if (outbox->last && outbox->last->length < OUTBOX_PIECE)
                return outbox->last;
        struct outbox_piece *piece = new (struct outbox_piece);
        if (outbox->last)
                outbox->last->next = piece;
        else
                outbox->first = piece;
        return outbox->last = piece;
}

void outbox_append(struct outbox *outbox, const uint8_t *bytes, size_t length) {
        while (length > 0) {
                struct outbox_piece *piece = with_room(outbox);
                size_t room = OUTBOX_PIECE - piece->length, n = room < length ? room : length;
                memcpy(piece->bytes + piece->length, bytes, n);
                piece->length += n;
                outbox->length += n;
                bytes += n;
                length -= n;
        }
}

const uint8_t *outbox_front(const struct outbox *outbox, size_t *ret_length) {
        if (!outbox->first)
                return NULL;
        *ret_length = outbox->first->length;
        return outbox->first->bytes;
}

void outbox_drop_front(struct outbox *outbox) {
        struct outbox_piece *piece = outbox->first;
        outbox->length -= piece->length;
        outbox->first = piece->next;
        if (!outbox->first)
                outbox->last = NULL;
        free(piece);
}

void outbox_clear(struct outbox *outbox) {
        while (outbox->first)
                outbox_drop_front(outbox);
}
