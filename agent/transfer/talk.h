// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * The conversation of a transfer, stream 0: one thread of its own speaks and hears on its channel, because a TLS
 * session is one thread's; others post what is to be said. Signs of life go out every CHANNEL_ALIVE_MS. Owned by one
 * transfer.
 */
#include "agent/transfer/channel.h"

#define TALK_POSTED_MAX 256u // frames that wait to be said; whoever posts one more waits
// Without a sign of life for so long the peer, or the way to it, is gone: what we write still finds room in our own
// socket for a while, and so counts as moved (fault 2). Signs of life can be late on a line that is full.

struct talk {
        struct flow *flow;
        struct channel *channel;
        const char *peer; // "the sink", for messages
        uint64_t said_at;
        uint64_t heard;        // while deaf: channel_heard() when it was looked at last
        bool told;             // the peer has said why it failed
        pthread_mutex_t mutex; // of what follows
        pthread_cond_t said;
        struct talk_frame *first, **last;
        unsigned n;
};
void talk_init(struct talk *talk, struct flow *flow, struct channel *channel, const char *peer);
void talk_fini(struct talk *talk);
// Any thread. ERROR_CANCELLED when the flow has stopped.
int talk_post(struct talk *talk, const Drover__DataEnvelope *envelope, struct error *err);
// The conversation's thread: says what was posted and that we are alive, then waits until there is something to hear or
// to do. 1 and a message to proto_free(); 0: look what there is to do; -1. `deaf`: hear nothing now, and only see
// whether the peer is still there. A Failure becomes the error: "the sink failed: ...".
int talk_next(struct talk *talk, bool deaf, Drover__DataEnvelope **ret, struct error *err);
int talk_say(struct talk *talk, const Drover__DataEnvelope *envelope, struct error *err); // the conversation's thread
int talk_out_of_turn(const struct talk *talk, const Drover__DataEnvelope *envelope, struct error *err);
// The last thing that the conversation's thread does, when the flow has stopped: tells the peer why, unless the peer
// knows it; hears the peer's reason, where ours is only a symptom.
void talk_end(struct talk *talk);
