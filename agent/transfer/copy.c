// SPDX-License-Identifier: LGPL-2.1-or-later
/* What sending and receiving have in common (see copy.h). */
#include "agent/transfer/copy.h"
#include "common/memory.h"
#include <string.h>

static int open_path(struct copy *copy, const Drover__TransferOrder *message, const char *disk, struct running *running,
                     struct error *err) {
        struct standing standing;
        int64_t now = clock_wall(exchange_clock(copy->transfers));
        exchange_standing(copy->transfers, &standing);
        if (order_open(&copy->order, &standing, message, disk, running, now, err) < 0 ||
            exchange_enter(copy->transfers, err) < 0)
                return -1;
        copy->entered = true;
        copy->running = running;
        if (running)
                exchange_run(copy->transfers, running, &copy->order, &copy->flow);
        copy->flow.streams = copy->order.streams;
        copy->flow.path = copy->order.path;
        return path_open(copy->transfers, &copy->order, &copy->flow, copy->channels, err);
}

int copy_open(struct copy *copy, struct transfers *transfers, const Drover__TransferOrder *message, const char *disk,
              struct running *running, const struct transfer_observer *observer, struct error *err) {
        memset(copy, 0, sizeof *copy);
        copy->transfers = transfers;
        flow_init(&copy->flow, disk, observer, exchange_clock(transfers));
        if (open_path(copy, message, disk, running, err) == 0)
                return 0;
        if (flow_stopped_by(&copy->flow, NULL)) // cancelled; what else failed then is only how it showed
                flow_stopped_by(&copy->flow, err);
        return error_prefix(err, "%s", disk);
}

void copy_close(struct copy *copy) {
        path_close(&copy->order, copy->channels);
        if (copy->running)
                exchange_stop(copy->transfers, copy->running);
        order_fini(&copy->order);
        flow_fini(&copy->flow);
        if (copy->entered)
                exchange_leave(copy->transfers);
}

Drover__TransferResult *copy_result(struct flow *flow, const uint8_t digest[DIGEST_BYTES]) {
        char text[DIGEST_TEXT], choice[FLOW_CHOICE_MAX];
        Drover__TransferResult *result = new (Drover__TransferResult);
        drover__transfer_result__init(result);
        result->state = new (Drover__TransferState);
        flow_state(flow, result->state, choice);
        result->state->disk = memory_string(flow->disk);
        result->state->choice = memory_string(choice);
        result->digest = memory_string(digest_text(digest, text));
        return result;
}
