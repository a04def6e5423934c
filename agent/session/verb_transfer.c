// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Verbs that move an image's bytes: the files come from custody, from a clone's source or from placement, the kind of
 * source and sink from image_ends, the rest is the data plane's. Each runs on a thread of its own until the image is
 * verified and synced at the sink. libvirt's connection is given back before the bytes flow, so that a copy outlives a
 * restart of libvirtd (fault 26).
 */
#include "agent/host/clone.h"
#include "agent/host/placement.h"
#include "agent/session/image_ends.h"
#include "agent/session/other_content.h"
#include "agent/session/parameters.h"
#include "agent/session/verb_runs.h"
#include "common/cleanup.h"
#include "common/memory.h"

#define NVRAM_ITEM "nvram"

static struct transfer_observer observer_of(const struct verb_call *call) {
        return (struct transfer_observer){.progress = call->progress, .cancelled = call->cancelled, .data = call->data};
}

static void give_result(struct verb_call *call, Drover__TransferResult *value) {
        call->result->value_case = DROVER__AGENT_RESULT__VALUE_TRANSFER;
        call->result->transfer = value;
}

// ---- the source
static int check_length(const Drover__TransferSend *send, uint64_t bytes, struct error *err) {
        if (!send->file_bytes || send->file_bytes == bytes)
                return 0;
        return error_set(err, ERROR_CONFLICT, "the image has %llu bytes, and %llu when it was fenced",
                         (unsigned long long) bytes, (unsigned long long) send->file_bytes);
}

static int open_file(const struct custody *custody, const Drover__TransferSend *send, const char *item, int *ret_fd,
                     uint64_t *ret_bytes, char **ret_path, struct error *err) {
        if (send->in_place)
                return clone_open(custody, send->source_uuid, item, ret_fd, ret_bytes, ret_path, err);
        return custody_open(custody, item, ret_fd, ret_bytes, err);
}

// The image file as it is.
static int open_as_it_is(const struct custody *custody, const Drover__TransferSend *send, const char *item,
                         struct image_source *ret, struct error *err) {
        int fd = -1;
        uint64_t bytes = 0;
        if (open_file(custody, send, item, &fd, &bytes, NULL, err) < 0)
                return -1;
        if (check_length(send, bytes, err) < 0) {
                close(fd);
                return -1;
        }
        return image_source_file(fd, bytes, ret, err);
}

// What the guest sees of it.
static int open_guest(const struct custody *custody, const Drover__TransferSend *send, const char *item,
                      struct image_source *ret, struct error *err) {
        struct image_files files;
        _cleanup_(free_p) char *path = NULL;
        int fd = -1;
        uint64_t bytes = 0;
        if (!send->in_place) {
                if (custody_open_files(custody, item, send->format, &files, err) < 0)
                        return -1;
        } else if (clone_open(custody, send->source_uuid, item, &fd, &bytes, &path, err) < 0 ||
                   image_files_of(custody->conn, fd, path, send->format, &files, err) < 0) {
                return -1;
        }
        return image_source_guest(&files, send->file_bytes ? send->file_bytes : files.virtual_bytes, ret, err);
}

static int open_source(struct verb_call *call, const char *item, struct image_source *ret, struct error *err) {
        const Drover__TransferSend *send = call->request->transfer_send;
        _cleanup_(connection_put_p) virConnectPtr conn = NULL;
        if (connection_get(call->host->connection, &conn, err) < 0)
                return -1;
        struct custody custody;
        verb_custody(call, conn, &custody);
        return *send->format ? open_guest(&custody, send, item, ret, err)
                             : open_as_it_is(&custody, send, item, ret, err);
}

int verb_transfer_send(struct verb_call *call, struct error *err) {
        const Drover__TransferSend *send = call->request->transfer_send;
        bool nvram = send->item == DROVER__TRANSFER_ITEM__TRANSFER_ITEM_NVRAM;
        const char *item = nvram ? NVRAM_ITEM : send->target;
        _cleanup_(image_source_fini) struct image_source image = {0};
        if (open_source(call, item, &image, err) < 0)
                return error_prefix(err, "send %s", item);
        struct transfer_observer observer = observer_of(call);
        Drover__TransferResult *value = NULL;
        if (transfer_send(call->host->transfers, send->order, item, image.source, *send->format, &observer, &value,
                          err) < 0)
                return -1; // it names the disk itself
        give_result(call, value);
        return 0;
}

// ---- the sink
// The partial file, and what else this host has that may hold the same.
static int open_partial(struct verb_call *call, const char *item, struct hold_partial *ret, struct other_content *other,
                        struct error *err) {
        _cleanup_(connection_put_p) virConnectPtr conn = NULL;
        if (connection_get(call->host->connection, &conn, err) < 0)
                return -1;
        struct custody custody;
        verb_custody(call, conn, &custody);
        if (placement_resume(&custody, item, ret, err) < 0)
                return -1;
        other_content_find(&custody, call->host->shelf, call->request->transfer_receive, item, other);
        return 0;
}

static int receive_into(struct verb_call *call, const char *item, const struct hold_partial *partial, struct sink *sink,
                        struct answerer *answerer, struct error *err) {
        const Drover__TransferReceive *receive = call->request->transfer_receive;
        const Drover__MoveDisk *disk = receive->disk;
        _cleanup_(free_p) char *image = memory_format("%s %s %s %s", partial->identity, sink->ops->kind,
                                                      disk ? disk->source_format : "", disk ? disk->format : "");
        struct transfer_target target = {
                .sink = sink,
                .least = disk ? disk->file_bytes : 0,
                .most = disk ? disk->file_bytes : PARAMETERS_NVRAM_MAX,
                .verified_fd = partial->ranges_fd,
                .image = image,
                .answerer = answerer,
        };
        struct transfer_observer observer = observer_of(call);
        Drover__TransferResult *value = NULL;
        if (transfer_receive(call->host->transfers, receive->order, item, &target, &observer, &value, err) < 0)
                return -1;
        give_result(call, value);
        return 0;
}

int verb_transfer_receive(struct verb_call *call, struct error *err) {
        const Drover__TransferReceive *receive = call->request->transfer_receive;
        bool nvram = receive->item == DROVER__TRANSFER_ITEM__TRANSFER_ITEM_NVRAM;
        const char *item = nvram ? NVRAM_ITEM : receive->disk->target;
        _cleanup_(hold_partial_fini) struct hold_partial partial = {.fd = -1, .ranges_fd = -1};
        _cleanup_(other_content_fini) struct other_content other = {0};
        struct sink *sink = NULL;
        if (open_partial(call, item, &partial, &other, err) < 0 ||
            image_sink_new(partial.fd, nvram ? NULL : receive->disk, &sink, err) < 0)
                return error_prefix(err, "receive %s", item);
        int result = receive_into(call, item, &partial, sink, other.answerer, err);
        sink_free(sink);
        return result;
}
