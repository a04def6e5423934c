// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Verbs that move an image's bytes: the file comes from custody or placement, the rest is the data plane's. Each runs
 * on a thread of its own until the image is verified and synced at the sink. libvirt's connection is given back before
 * the bytes flow, so that a copy outlives a restart of libvirtd (fault 26).
 */
#include "agent/host/clone.h"
#include "agent/host/placement.h"
#include "agent/session/verb_runs.h"
#include "common/cleanup.h"

#define NVRAM_ITEM "nvram"

static struct transfer_observer observer_of(const struct verb_call *call) {
        return (struct transfer_observer){.progress = call->progress, .cancelled = call->cancelled, .data = call->data};
}

static void give_result(struct verb_call *call, Drover__TransferResult *value) {
        call->result->value_case = DROVER__AGENT_RESULT__VALUE_TRANSFER;
        call->result->transfer = value;
}

static int open_source(struct verb_call *call, const char *item, int *ret_fd, uint64_t *ret_bytes, struct error *err) {
        _cleanup_(connection_put_p) virConnectPtr conn = NULL;
        if (connection_get(call->host->connection, &conn, err) < 0)
                return -1;
        struct custody custody;
        verb_custody(call, conn, &custody);
        const Drover__TransferSend *send = call->request->transfer_send;
        if (send->in_place)
                return clone_open(&custody, send->source_uuid, item, ret_fd, ret_bytes, NULL, err);
        return custody_open(&custody, item, ret_fd, ret_bytes, err);
}

int verb_transfer_send(struct verb_call *call, struct error *err) {
        const Drover__TransferSend *send = call->request->transfer_send;
        bool nvram = send->item == DROVER__TRANSFER_ITEM__TRANSFER_ITEM_NVRAM;
        const char *item = nvram ? NVRAM_ITEM : send->target;
        _cleanup_(close_p) int fd = -1;
        uint64_t bytes = 0;
        if (open_source(call, item, &fd, &bytes, err) < 0)
                return error_prefix(err, "send %s", item);
        if (send->file_bytes && send->file_bytes != bytes)
                return error_set(err, ERROR_CONFLICT, "send %s: the image has %llu bytes, and %llu when it was fenced",
                                 item, (unsigned long long) bytes, (unsigned long long) send->file_bytes);
        struct transfer_observer observer = observer_of(call);
        Drover__TransferResult *value = NULL;
        if (transfer_send(call->host->transfers, send->order, item, fd, bytes, &observer, &value, err) < 0)
                return -1; // it names the disk itself
        give_result(call, value);
        return 0;
}

static int open_sink(struct verb_call *call, const char *item, int *ret_fd, struct error *err) {
        _cleanup_(connection_put_p) virConnectPtr conn = NULL;
        if (connection_get(call->host->connection, &conn, err) < 0)
                return -1;
        struct custody custody;
        verb_custody(call, conn, &custody);
        return placement_open(&custody, item, ret_fd, err);
}

int verb_transfer_receive(struct verb_call *call, struct error *err) {
        const Drover__TransferReceive *receive = call->request->transfer_receive;
        bool nvram = receive->item == DROVER__TRANSFER_ITEM__TRANSFER_ITEM_NVRAM;
        const char *item = nvram ? NVRAM_ITEM : receive->disk->target;
        _cleanup_(close_p) int fd = -1;
        if (open_sink(call, item, &fd, err) < 0)
                return error_prefix(err, "receive %s", item);
        struct transfer_observer observer = observer_of(call);
        Drover__TransferResult *value = NULL;
        if (transfer_receive(call->host->transfers, receive->order, item, fd, &observer, &value, err) < 0)
                return -1;
        give_result(call, value);
        return 0;
}
