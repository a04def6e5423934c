// SPDX-License-Identifier: LGPL-2.1-or-later
/* The conversation (see talk.h). */
#include "agent/transfer/talk.h"
#include "common/buffer.h"
#include "common/cleanup.h"
#include "common/memory.h"
#include <string.h>
#include <unistd.h>

DEFINE_CLEANUP(proto_free, ProtobufCMessage *)

struct talk_frame {
        struct talk_frame *next;
        size_t length;
        uint8_t bytes[];
};

void talk_init(struct talk *talk, struct flow *flow, struct channel *channel, const char *peer) {
        memset(talk, 0, sizeof *talk);
        talk->flow = flow;
        talk->channel = channel;
        talk->peer = peer;
        talk->last = &talk->first;
        pthread_mutex_init(&talk->mutex, NULL);
        flow_condition(&talk->said);
        channel_set_patient(channel);
}

static struct talk_frame *take(struct talk *talk) {
        pthread_mutex_lock(&talk->mutex);
        struct talk_frame *frame = talk->first;
        if (frame) {
                talk->first = frame->next;
                if (!talk->first)
                        talk->last = &talk->first;
                talk->n--;
                pthread_cond_broadcast(&talk->said);
        }
        pthread_mutex_unlock(&talk->mutex);
        return frame;
}

void talk_fini(struct talk *talk) {
        for (struct talk_frame *frame; (frame = take(talk));)
                free(frame);
        pthread_cond_destroy(&talk->said);
        pthread_mutex_destroy(&talk->mutex);
}

int talk_post(struct talk *talk, const Drover__DataEnvelope *envelope, struct error *err) {
        _cleanup_(buffer_fini) struct buffer bytes;
        buffer_init(&bytes, 0);
        if (channel_pack(envelope, &bytes, err) < 0)
                return -1;
        struct talk_frame *frame = memory_new(sizeof *frame + bytes.length);
        frame->length = bytes.length;
        memcpy(frame->bytes, bytes.data, bytes.length);
        pthread_mutex_lock(&talk->mutex);
        while (talk->n >= TALK_POSTED_MAX && !flow_stopping(talk->flow))
                flow_tick(&talk->said, &talk->mutex);
        bool stopped = flow_stopping(talk->flow);
        if (!stopped) {
                *talk->last = frame;
                talk->last = &frame->next;
                talk->n++;
        }
        pthread_mutex_unlock(&talk->mutex);
        if (stopped) {
                free(frame);
                return error_set(err, ERROR_CANCELLED, "stopped");
        }
        flow_wake(talk->flow);
        return 0;
}

int talk_say(struct talk *talk, const Drover__DataEnvelope *envelope, struct error *err) {
        talk->said_at = clock_ms(talk->flow->clock);
        return channel_send(talk->channel, envelope, err);
}

static int say_posted(struct talk *talk, struct error *err) {
        int result = 0;
        bool any = false;
        for (struct talk_frame *frame; result == 0 && (frame = take(talk)); any = true) {
                result = channel_write(talk->channel, frame->bytes, frame->length, err);
                atomic_fetch_add(&talk->flow->bytes_wire, frame->length);
                free(frame);
        }
        if (!any || result < 0)
                return result;
        talk->said_at = clock_ms(talk->flow->clock);
        return channel_flush(talk->channel, err);
}

static int say_alive(struct talk *talk, struct error *err) {
        Drover__DataEnvelope envelope = DROVER__DATA_ENVELOPE__INIT;
        Drover__DataWait wait = DROVER__DATA_WAIT__INIT;
        if (clock_ms(talk->flow->clock) - talk->said_at < CHANNEL_ALIVE_MS)
                return 0;
        envelope.body_case = DROVER__DATA_ENVELOPE__BODY_WAIT;
        envelope.wait = &wait;
        return talk_say(talk, &envelope, err);
}

static int check_silence(const struct talk *talk, struct error *err) {
        uint64_t now = clock_ms(talk->flow->clock), moved_at = atomic_load(&talk->flow->moved_at);
        if (now <= moved_at || now - moved_at < CHANNEL_IDLE_MS)
                return 0;
        return error_set(err, ERROR_TIMEOUT, "nothing has arrived for %u seconds", CHANNEL_IDLE_MS / 1000);
}

// Woken, or the time is over.
static int look_up(const struct talk *talk, struct error *err) {
        uint64_t woken;
        return read(talk->flow->wake_fd, &woken, sizeof woken) < 0 ? check_silence(talk, err) : 0;
}

static bool hear_failure(struct talk *talk, const Drover__DataEnvelope *envelope, struct error *err) {
        if (envelope->body_case != DROVER__DATA_ENVELOPE__BODY_FAILURE)
                return false;
        talk->told = true;
        proto_error(envelope->failure, err);
        error_prefix(err, "%s failed", talk->peer);
        return true;
}

// The peer says no more, and is not written to any more: a reset would take away why, which stands behind all that it
// said before.
static int hear_end(struct talk *talk, struct error *err) {
        for (;;) {
                _cleanup_(proto_free_p) ProtobufCMessage *message = NULL;
                if (channel_receive(talk->channel, (Drover__DataEnvelope **) &message, NULL) < 0)
                        return error_set(err, ERROR_UNREACHABLE, "the peer broke off the connection");
                if (hear_failure(talk, (Drover__DataEnvelope *) message, err))
                        return -1;
        }
}

// What the peer says waits for us, but that it says something shows that it is there.
static int be_deaf(struct talk *talk, struct error *err) {
        uint64_t heard = channel_heard(talk->channel);
        if (heard != talk->heard)
                atomic_store(&talk->flow->moved_at, clock_ms(talk->flow->clock));
        talk->heard = heard;
        if (channel_await_end(talk->channel, talk->flow->wake_fd, FLOW_TICK_MS))
                return hear_end(talk, err);
        return look_up(talk, err);
}

int talk_next(struct talk *talk, bool deaf, Drover__DataEnvelope **ret, struct error *err) {
        _cleanup_(proto_free_p) ProtobufCMessage *message = NULL;
        if (say_posted(talk, err) < 0 || say_alive(talk, err) < 0)
                return -1;
        if (deaf)
                return be_deaf(talk, err);
        if (!channel_await(talk->channel, talk->flow->wake_fd, FLOW_TICK_MS))
                return look_up(talk, err);
        if (channel_receive(talk->channel, (Drover__DataEnvelope **) &message, err) < 0)
                return -1;
        Drover__DataEnvelope *envelope = (Drover__DataEnvelope *) message;
        if (hear_failure(talk, envelope, err))
                return -1;
        if (envelope->body_case == DROVER__DATA_ENVELOPE__BODY_WAIT)
                return 0;
        *ret = (Drover__DataEnvelope *) steal(&message);
        return 1;
}

int talk_out_of_turn(const struct talk *talk, const Drover__DataEnvelope *envelope, struct error *err) {
        return error_set(err, ERROR_PROTOCOL, "%s sent \"%s\" out of turn", talk->peer,
                         proto_oneof_name(&envelope->base, "body"));
}

// A stream broke; the peer may say why on the conversation.
static void hear_reason(struct talk *talk) {
        struct error why = ERROR_INIT;
        Drover__DataEnvelope *envelope = NULL;
        while (!talk->told && !flow_gives_up(talk->flow, false)) {
                int heard = talk_next(talk, false, &envelope, &why);
                if (heard > 0)
                        proto_free(&envelope->base);
                if (heard < 0)
                        break;
        }
        if (why.code != ERROR_NONE)
                flow_fail(talk->flow, &why);
}

void talk_end(struct talk *talk) {
        struct error why = ERROR_INIT;
        hear_reason(talk);
        if (!talk->told && flow_cause(talk->flow, &why))
                channel_say_why(talk->channel, &why);
}
