// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The sink's end of a transfer: streams fill the pipeline, writers empty it onto the disk, and the conversation says
 * what was there before, hears when all has been sent, and tells the source when all of it is on the disk.
 */
#include "agent/transfer/copy.h"
#include "agent/transfer/receiving.h"
#include "agent/transfer/talk.h"
#include "common/cleanup.h"
#include "common/memory.h"
#include <string.h>

DEFINE_CLEANUP(proto_free, ProtobufCMessage *)

#define PARCELS  24u  // beside one for each stream
#define HAVE_MAX 900u // blocks in one message

struct receiver {
        struct copy copy;
        const struct transfer_target *target;
        struct receiving receiving;
        struct writers writers;
        struct talk talk;
        uint64_t have_at; // what is before it has been told
        bool wanted, begun, told, ended, closed, answering;
        uint8_t digest[DIGEST_BYTES], theirs[DIGEST_BYTES];
};

// ---- the beginning
static int want(struct receiver *receiver, const Drover__DataBegin *begin, struct error *err) {
        const struct transfer_target *target = receiver->target;
        // A source that has more than the plan says would fill a pool that others need (fault 55).
        if (begin->bytes < target->least || begin->bytes > target->most)
                return error_set(err, ERROR_CONFLICT, "the source has an image of %llu bytes, and the plan one of %llu",
                                 (unsigned long long) begin->bytes,
                                 (unsigned long long) (begin->bytes < target->least ? target->least : target->most));
        receiver->wanted = true;
        receiver->copy.flow.bytes_total = begin->bytes;
        writers_want(&receiver->writers, begin->bytes, target->verified_fd, target->image);
        return 0;
}

// The sink is ready: the streams may bring what they have.
static int begin(struct receiver *receiver, struct error *err) {
        struct flow *flow = &receiver->copy.flow;
        const struct transfer_target *target = receiver->target;
        receiver->begun = true;
        flow_set_digest(flow, digest_new(flow->bytes_total));
        if (target->answerer) {
                if (target->answerer->ops->begin(target->answerer, &receiver->receiving, &receiver->talk, err) < 0)
                        return -1;
                receiver->answering = true;
                receiver->receiving.answerer = target->answerer;
        }
        receiving_begin(&receiver->receiving);
        return 0;
}

// The next of what was there before.
static int tell_have(struct receiver *receiver, struct error *err) {
        uint8_t hashes[HAVE_MAX][VERIFIED_HASH];
        Drover__DataEnvelope envelope = DROVER__DATA_ENVELOPE__INIT;
        Drover__DataHave have = DROVER__DATA_HAVE__INIT;
        const struct verified *verified = receiver->writers.verified;
        unsigned n = 0;
        have.first = receiver->have_at;
        if (verified && !receiver->writers.fresh && verified_next(verified, &have.first))
                n = verified_run(verified, have.first, hashes, HAVE_MAX);
        have.hashes = (ProtobufCBinaryData){n * VERIFIED_HASH, hashes[0]};
        have.last = receiver->told = n == 0;
        have.has_other = have.last && receiver->target->answerer;
        receiver->have_at = have.first + n;
        envelope.body_case = DROVER__DATA_ENVELOPE__BODY_HAVE;
        envelope.have = &have;
        return talk_say(&receiver->talk, &envelope, err);
}

// ---- the end
static int hear_end(struct receiver *receiver, const Drover__DataEnd *end, struct error *err) {
        if (end->bytes != receiver->copy.flow.bytes_total)
                return error_set(err, ERROR_PROTOCOL, "the source ends an image of %llu bytes",
                                 (unsigned long long) end->bytes);
        if (end->digest.len != DIGEST_BYTES)
                return error_set(err, ERROR_PROTOCOL, "the source ends without a digest");
        memcpy(receiver->theirs, end->digest.data, DIGEST_BYTES);
        receiver->ended = true;
        return 0;
}

// Nothing more will come: what is missing now is missing.
static int close_pipeline(struct receiver *receiver, struct error *err) {
        struct flow *flow = &receiver->copy.flow;
        if (digest_finish(flow->digest, receiver->digest, err) < 0)
                return -1;
        if (memcmp(receiver->digest, receiver->theirs, DIGEST_BYTES) != 0)
                return error_set(err, ERROR_CORRUPT, "the image's digest is not the source's");
        struct answerer *answerer = receiver->receiving.answerer;
        if (answerer && answerer->ops->check_settled(answerer, err) < 0)
                return -1;
        receiver->closed = true;
        pipeline_close(flow->pipeline);
        return 0;
}

static int say_done(struct receiver *receiver, struct error *err) {
        Drover__DataEnvelope envelope = DROVER__DATA_ENVELOPE__INIT;
        Drover__DataDone done = DROVER__DATA_DONE__INIT;
        done.digest = (ProtobufCBinaryData){DIGEST_BYTES, receiver->digest};
        envelope.body_case = DROVER__DATA_ENVELOPE__BODY_DONE;
        envelope.done = &done;
        return talk_say(&receiver->talk, &envelope, err);
}

// ---- the conversation
static int hear(struct receiver *receiver, const Drover__DataEnvelope *envelope, struct error *err) {
        struct answerer *answerer = receiver->receiving.answerer;
        if (!receiver->wanted && envelope->body_case == DROVER__DATA_ENVELOPE__BODY_BEGIN)
                return want(receiver, envelope->begin, err);
        if (receiver->wanted && !receiver->ended && envelope->body_case == DROVER__DATA_ENVELOPE__BODY_END)
                return hear_end(receiver, envelope->end, err);
        if (answerer && !receiver->ended && envelope->body_case == DROVER__DATA_ENVELOPE__BODY_NAMES)
                return answerer->ops->ask(answerer, envelope->names, err);
        return talk_out_of_turn(&receiver->talk, envelope, err);
}

static int converse(struct receiver *receiver, struct error *err) {
        while (!atomic_load(&receiver->writers.settled)) {
                _cleanup_(proto_free_p) ProtobufCMessage *message = NULL;
                if (flow_stopping(&receiver->copy.flow))
                        return 0;
                if (!receiver->begun && atomic_load(&receiver->writers.begun) && begin(receiver, err) < 0)
                        return -1;
                if (receiver->begun && !receiver->told && tell_have(receiver, err) < 0)
                        return -1;
                if (receiver->ended && !receiver->closed && atomic_load(&receiver->receiving.running) == 0 &&
                    close_pipeline(receiver, err) < 0)
                        return -1;
                int heard = talk_next(&receiver->talk, false, (Drover__DataEnvelope **) &message, err);
                if (heard < 0 || (heard > 0 && hear(receiver, (Drover__DataEnvelope *) message, err) < 0))
                        return -1;
        }
        // It is on the disk, whether or not the source is there to hear it.
        say_done(receiver, NULL);
        return 0;
}

static void talk_to_source(struct receiver *receiver) {
        struct error why = ERROR_INIT;
        if (converse(receiver, &why) < 0)
                flow_fail(&receiver->copy.flow, &why);
        if (flow_stopping(&receiver->copy.flow))
                talk_end(&receiver->talk);
        if (receiver->answering)
                receiver->target->answerer->ops->end(receiver->target->answerer);
}

// ---- all together
static void work(void *data, unsigned n) {
        struct receiver *receiver = data;
        unsigned streams = receiver->copy.order.streams; // with the conversation
        if (n == 0)
                talk_to_source(receiver);
        else if (n < streams)
                receiving_work(&receiver->receiving, receiver->copy.channels[n], n - 1);
        else
                writers_work(&receiver->writers, n - streams);
}

static int run(struct receiver *receiver, Drover__TransferResult **ret, struct error *err) {
        struct copy *copy = &receiver->copy;
        struct flow *flow = &copy->flow;
        flow_set_pipeline(flow, pipeline_new(PARCELS + copy->order.streams));
        talk_init(&receiver->talk, flow, copy->channels[0], "the source");
        writers_init(&receiver->writers, flow, receiver->target->sink);
        receiving_init(&receiver->receiving, flow, &receiver->writers, copy->order.streams - 1);
        int result = flow_run(flow, copy->order.streams + WRITERS_THREADS, work, receiver, err);
        if (result == 0) {
                flow_report(flow, true);
                *ret = copy_result(flow, receiver->digest);
                if (receiver->writers.verified)
                        (*ret)->resumed = verified_resumed(receiver->writers.verified);
        }
        writers_fini(&receiver->writers);
        receiving_fini(&receiver->receiving);
        talk_fini(&receiver->talk);
        return result;
}

int transfer_receive(struct transfers *transfers, const Drover__TransferOrder *order, const char *disk,
                     const struct transfer_target *target, const struct transfer_observer *observer,
                     Drover__TransferResult **ret, struct error *err) {
        struct receiver *receiver = new (struct receiver);
        receiver->target = target;
        int result = copy_open(&receiver->copy, transfers, order, disk, NULL, observer, err);
        if (result == 0)
                result = run(receiver, ret, err);
        copy_close(&receiver->copy);
        free(receiver);
        return result;
}
