// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * drover-operator/1: one operator's connection. Certificate, role and sites are looked up again at every request, so
 * that what was taken away is gone at once. Answers that are long or take time are streams: they wait for the link to
 * drain instead of filling its queue. Loop thread.
 */
#include "controller/session/connection.h"

// What is in the queue before a stream waits; well under LINK_QUEUE_MAX.
#define STREAM_WINDOW (1u << 20)

struct operator_link;
struct stream;
enum stream_state {
        STREAM_MORE, // something was sent; there may be more
        STREAM_IDLE, // nothing to send just now
        STREAM_LAST, // the reply with `last` was sent
};
struct stream_kind {
        // Send the next part. Called when the link has room; a failure becomes the stream's last reply.
        int (*more)(struct stream *stream, enum stream_state *ret, struct error *err);
        void (*end)(struct stream *stream); // free stream->data; last call
};
struct stream {
        struct stream *next;
        struct operator_link *link;
        uint64_t id; // of the request
        const struct stream_kind *kind;
        void *data; // the kind's
};

int operator_link_reply(struct operator_link *link, const Drover__OperatorReply *reply, struct error *err);
// ERROR_BUSY when there are too many; `end` is not called then.
int stream_open(struct operator_link *link, uint64_t id, const struct stream_kind *kind, void *data,
                struct stream **ret, struct error *err);
void stream_run(struct stream *stream); // send what there is; the stream may be gone then
int stream_reply(struct stream *stream, Drover__OperatorReply *reply, bool last, struct error *err);
void stream_fail(struct stream *stream, const struct error *why); // the last reply; the stream is gone
void stream_end(struct stream *stream);                           // after its last reply; the stream is gone
bool stream_has_room(const struct stream *stream);
