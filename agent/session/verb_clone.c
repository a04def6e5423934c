// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Verbs of a clone: holding its source, and making an image of it on the same host, by the cheapest way that the file
 * system has. On workers; libvirt's connection is given back before bytes flow.
 */
#include "agent/blocks/image_tool.h"
#include "agent/host/clone.h"
#include "agent/host/identity_reset.h"
#include "agent/host/placement.h"
#include "agent/session/image_ends.h"
#include "agent/session/verb_runs.h"
#include "common/cleanup.h"
#include "common/memory.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#define NVRAM_ITEM "nvram"

int verb_clone_hold(struct verb_call *call, struct error *err) {
        _cleanup_(connection_put_p) virConnectPtr conn = NULL;
        if (connection_get(call->host->connection, &conn, err) < 0)
                return -1;
        struct custody custody;
        verb_custody(call, conn, &custody);
        if (clone_hold(&custody, call->request->clone_hold, &call->result->fence, err) < 0)
                return -1;
        call->result->value_case = DROVER__AGENT_RESULT__VALUE_FENCE;
        return 0;
}

int verb_clone_confirm(struct verb_call *call, struct error *err) {
        _cleanup_(connection_put_p) virConnectPtr conn = NULL;
        if (connection_get(call->host->connection, &conn, err) < 0)
                return -1;
        struct custody custody;
        verb_custody(call, conn, &custody);
        return clone_confirm(&custody, call->request->clone_confirm, err);
}

int verb_identity_reset(struct verb_call *call, struct error *err) {
        _cleanup_(connection_put_p) virConnectPtr conn = NULL;
        if (connection_get(call->host->connection, &conn, err) < 0)
                return -1;
        struct custody custody;
        verb_custody(call, conn, &custody);
        return identity_reset(&custody, call->request->identity_reset, err);
}

// ---- an image on one host ----

static const char *item_of(const Drover__CloneLocal *clone) {
        return clone->item == DROVER__TRANSFER_ITEM__TRANSFER_ITEM_NVRAM ? NVRAM_ITEM : clone->disk->target;
}

static void give_result(struct verb_call *call, const char *item, uint64_t bytes, const char *choice) {
        Drover__TransferResult *value = new (Drover__TransferResult);
        drover__transfer_result__init(value);
        value->state = new (Drover__TransferState);
        drover__transfer_state__init(value->state);
        value->state->disk = memory_string(item);
        value->state->bytes_total = value->state->bytes_done = bytes;
        value->state->choice = memory_string(choice);
        call->result->value_case = DROVER__AGENT_RESULT__VALUE_TRANSFER;
        call->result->transfer = value;
}

// The image that is read, open and locked, and the one that is to be written.
struct ends {
        int source;
        uint64_t bytes;
        struct image_files files; // of a source that is converted
        bool has_files;
        struct hold_partial sink;
};

static void ends_fini(struct ends *ends) {
        close_p(&ends->source);
        if (ends->has_files)
                image_files_fini(&ends->files);
        hold_partial_fini(&ends->sink);
}

static int open_ends(struct verb_call *call, struct ends *ends, struct error *err) {
        const Drover__CloneLocal *clone = call->request->clone_local;
        _cleanup_(connection_put_p) virConnectPtr conn = NULL;
        _cleanup_(free_p) char *path = NULL;
        struct custody custody;
        if (connection_get(call->host->connection, &conn, err) < 0)
                return -1;
        verb_custody(call, conn, &custody);
        if (clone_open(&custody, clone->source_uuid, item_of(clone), &ends->source, &ends->bytes, &path, err) < 0)
                return -1;
        if (clone->file_bytes && clone->file_bytes != ends->bytes && !image_is_made_anew(clone->disk))
                return error_set(err, ERROR_STALE, "the image has %llu bytes, and %llu when it was held",
                                 (unsigned long long) ends->bytes, (unsigned long long) clone->file_bytes);
        if (image_is_made_anew(clone->disk)) {
                if (image_files_of(conn, steal_fd(&ends->source), path, clone->disk->source_format, &ends->files, err) <
                    0)
                        return -1;
                ends->has_files = true;
        } else if (clone->disk && clone_base_inherit(&custody, clone, path, err) < 0) {
                return -1;
        }
        return placement_resume(&custody, item_of(clone), &ends->sink, err);
}

static int open_source(struct ends *ends, struct image_source *ret, struct error *err) {
        if (!ends->has_files)
                return image_source_file(steal_fd(&ends->source), ends->bytes, ret, err);
        ends->has_files = false;
        return image_source_guest(&ends->files, ends->files.virtual_bytes, ret, err);
}

static int copy_into(struct verb_call *call, struct ends *ends, struct source *source, struct error *err) {
        const Drover__MoveDisk *disk = call->request->clone_local->disk;
        const char *item = item_of(call->request->clone_local);
        struct sink *sink = NULL;
        if (image_sink_new(ends->sink.fd, disk, &sink, err) < 0)
                return -1;
        _cleanup_(free_p) char *image = memory_format("%s %s %s %s", ends->sink.identity, sink->ops->kind,
                                                      disk ? disk->source_format : "", disk ? disk->format : "");
        struct transfer_target target = {.sink = sink, .verified_fd = ends->sink.ranges_fd, .image = image};
        struct transfer_observer observer = {
                .progress = call->progress, .cancelled = call->cancelled, .data = call->data};
        Drover__TransferResult *value = NULL;
        int status = transfer_local(source, &target, item, &observer, &value, err);
        sink_free(sink);
        if (status < 0)
                return -1;
        call->result->value_case = DROVER__AGENT_RESULT__VALUE_TRANSFER;
        call->result->transfer = value;
        return 0;
}

static int make_copy(struct verb_call *call, struct error *err) {
        const Drover__CloneLocal *clone = call->request->clone_local;
        _cleanup_(ends_fini) struct ends ends = {.source = -1, .sink = {.fd = -1, .ranges_fd = -1}};
        _cleanup_(image_source_fini) struct image_source image = {0};
        if (open_ends(call, &ends, err) < 0)
                return -1;
        bool may_share = clone->mode == DROVER__CLONE_MODE__CLONE_MODE_AUTO && !ends.has_files;
        int shared = may_share ? clone_reflink(ends.source, ends.sink.fd, err) : 0;
        if (shared < 0)
                return -1;
        if (shared) {
                give_result(call, item_of(clone), ends.bytes, "reflink: both lie on a file system that shares blocks");
                return 0;
        }
        if (open_source(&ends, &image, err) < 0)
                return -1;
        return copy_into(call, &ends, image.source, err);
}

static int lay_over(struct verb_call *call, struct error *err) {
        const Drover__CloneLocal *clone = call->request->clone_local;
        _cleanup_(connection_put_p) virConnectPtr conn = NULL;
        _cleanup_(clone_base_fini) struct clone_base base = {.fd = -1};
        _cleanup_(close_p) int sink = -1;
        struct custody custody;
        struct stat status;
        if (connection_get(call->host->connection, &conn, err) < 0)
                return -1;
        verb_custody(call, conn, &custody);
        if (clone_base_prepare(&custody, clone, &base, err) < 0 ||
            placement_open(&custody, clone->disk->target, &sink, err) < 0 ||
            image_tool_create_over(sink, base.bytes, base.path, base.format, err) < 0)
                return -1;
        if (fsync(sink) < 0 || fstat(sink, &status) < 0)
                return error_errno(err, errno, "write the new image");
        _cleanup_(free_p) char *choice = memory_format("linked: laid over %s", base.path);
        give_result(call, clone->disk->target, (uint64_t) status.st_size, choice);
        return 0;
}

int verb_clone_local(struct verb_call *call, struct error *err) {
        const Drover__CloneLocal *clone = call->request->clone_local;
        bool linked = clone->mode == DROVER__CLONE_MODE__CLONE_LINKED && clone->disk;
        int status = linked ? lay_over(call, err) : make_copy(call, err);
        return status < 0 ? error_prefix(err, "clone %s", item_of(clone)) : 0;
}
