// SPDX-License-Identifier: LGPL-2.1-or-later
/* What sending and receiving have in common (see copy.h). */
#include "agent/transfer/copy.h"
#include "common/memory.h"
#include <stdlib.h>
#include <string.h>

size_t copy_leaves(size_t length) {
        return (length + COPY_LEAF - 1) / COPY_LEAF;
}

uint64_t copy_pieces(const struct grains *grains) {
        uint64_t pieces = 0;
        for (size_t i = 0; i < BLOCKS_GRAINS; i++)
                if (grains_has(grains, i))
                        pieces |= 1ull << (i * BLOCKS_GRAIN / COPY_LEAF);
        return pieces;
}

struct grains copy_grains(uint64_t pieces) {
        struct grains grains = {0};
        for (size_t i = 0; i < BLOCKS_GRAINS; i++)
                grains_set(&grains, i, pieces >> (i * BLOCKS_GRAIN / COPY_LEAF) & 1);
        return grains;
}

static int open_path(struct copy *copy, const Drover__TransferOrder *message, const char *disk, bool source,
                     struct error *err) {
        struct standing standing;
        int64_t now = clock_wall(exchange_clock(copy->transfers));
        exchange_standing(copy->transfers, &standing);
        if (order_open(&copy->order, &standing, message, disk, source, now, err) < 0 ||
            exchange_enter(copy->transfers, err) < 0)
                return -1;
        copy->entered = true;
        copy->flow.streams = copy->order.streams;
        copy->flow.path = copy->order.path;
        return path_open(copy->transfers, &copy->order, &copy->flow, copy->channels, err);
}

int copy_open(struct copy *copy, struct transfers *transfers, const Drover__TransferOrder *message, const char *disk,
              bool source, const struct transfer_observer *observer, struct error *err) {
        memset(copy, 0, sizeof *copy);
        copy->transfers = transfers;
        flow_init(&copy->flow, disk, observer, exchange_clock(transfers));
        if (open_path(copy, message, disk, source, err) == 0)
                return 0;
        if (flow_stopped_by(&copy->flow, NULL)) // cancelled; what else failed then is only how it showed
                flow_stopped_by(&copy->flow, err);
        return error_prefix(err, "%s", disk);
}

void copy_close(struct copy *copy) {
        path_close(&copy->order, copy->channels);
        order_fini(&copy->order);
        flow_fini(&copy->flow);
        if (copy->entered)
                exchange_leave(copy->transfers);
}

// What only tells that a connection is no more, and not why the transfer failed.
static enum flow_weight weight(enum error_code code) {
        switch (code) {
        case ERROR_UNREACHABLE:
        case ERROR_TIMEOUT:
        case ERROR_TLS:
        case ERROR_CANCELLED:
                return FLOW_SYMPTOM;
        default:
                return FLOW_CAUSE;
        }
}

void copy_fail_stream(struct copy *copy, unsigned stream, const struct error *why) {
        struct error reason = *why;
        flow_fail(&copy->flow, weight(why->code), why);
        flow_stopped_by(&copy->flow, &reason);
        channel_say_why(copy->channels[stream], &reason);
}

void copy_say_why(struct copy *copy, const struct error *why) {
        for (unsigned i = 0; i < copy->order.streams; i++)
                channel_say_why(copy->channels[i], why);
}

Drover__TransferResult *copy_result(struct copy *copy, const uint8_t hash[DIGEST_BYTES]) {
        char text[DIGEST_TEXT];
        Drover__TransferResult *result = new (Drover__TransferResult);
        drover__transfer_result__init(result);
        result->state = new (Drover__TransferState);
        flow_state(&copy->flow, result->state);
        result->state->disk = memory_string(copy->flow.disk);
        result->digest = memory_string(digest_text(hash, text));
        return result;
}
