// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The source's end of a transfer: readers fill the pipeline, streams empty it into the network, and the conversation
 * says what is sent, hears what the sink has, and waits for its word that all is on its disk.
 */
#include "agent/transfer/asking.h"
#include "agent/transfer/copy.h"
#include "agent/transfer/readers.h"
#include "agent/transfer/sending.h"
#include "agent/transfer/talk.h"
#include "common/cleanup.h"
#include "common/memory.h"
#include <string.h>

DEFINE_CLEANUP(proto_free, ProtobufCMessage *)

#define PARCELS 10u // beside one for each stream

struct sender {
        struct copy copy;
        struct readers readers;
        struct talk talk;
        struct coding coding;
        struct running running;
        struct sending sendings[FLOW_STREAMS_MAX];
        atomic_uint sent; // streams that have sent everything
        bool guest, ended, done;
        uint8_t digest[DIGEST_BYTES];
};

// ---- the conversation
static int say_begin(struct sender *sender, struct error *err) {
        Drover__DataEnvelope envelope = DROVER__DATA_ENVELOPE__INIT;
        Drover__DataBegin begin = DROVER__DATA_BEGIN__INIT;
        begin.bytes = sender->copy.flow.bytes_total;
        begin.guest = sender->guest;
        envelope.body_case = DROVER__DATA_ENVELOPE__BODY_BEGIN;
        envelope.begin = &begin;
        return talk_say(&sender->talk, &envelope, err);
}

// When everything has been sent, and not when it has been read: what is changed meanwhile must not be left behind.
static int say_end(struct sender *sender, struct error *err) {
        Drover__DataEnvelope envelope = DROVER__DATA_ENVELOPE__INIT;
        Drover__DataEnd end = DROVER__DATA_END__INIT;
        if (readers_check_version(&sender->readers, err) < 0 ||
            digest_finish(sender->copy.flow.digest, sender->digest, err) < 0)
                return -1;
        end.bytes = sender->copy.flow.bytes_total;
        end.digest = (ProtobufCBinaryData){DIGEST_BYTES, sender->digest};
        envelope.body_case = DROVER__DATA_ENVELOPE__BODY_END;
        envelope.end = &end;
        sender->ended = true;
        return talk_say(&sender->talk, &envelope, err);
}

static bool all_sent(const struct sender *sender) {
        return atomic_load(&sender->readers.finished) && atomic_load(&sender->sent) == sender->copy.order.streams - 1;
}

static int hear_done(struct sender *sender, const Drover__DataDone *done, struct error *err) {
        if (done->digest.len != DIGEST_BYTES || memcmp(done->digest.data, sender->digest, DIGEST_BYTES) != 0)
                return error_set(err, ERROR_CORRUPT, "the sink has another digest than the source");
        sender->done = true;
        return 0;
}

static int hear_have(struct sender *sender, const Drover__DataHave *have, struct error *err) {
        struct readers *readers = &sender->readers;
        if (have->last && have->has_other && !readers->asker)
                readers->asker = asking_new(&sender->copy.flow, &sender->talk, readers->source, &sender->coding,
                                            readers->recalled, &sender->running.rate);
        return have_add(readers->have, have, err);
}

static int hear(struct sender *sender, const Drover__DataEnvelope *envelope, struct error *err) {
        struct asker *asker = sender->readers.asker;
        if (envelope->body_case == DROVER__DATA_ENVELOPE__BODY_HAVE)
                return hear_have(sender, envelope->have, err);
        if (envelope->body_case == DROVER__DATA_ENVELOPE__BODY_DONE && sender->ended)
                return hear_done(sender, envelope->done, err);
        if (envelope->body_case == DROVER__DATA_ENVELOPE__BODY_WANTS && asker)
                return asker->ops->answer(asker, envelope->wants, err);
        return talk_out_of_turn(&sender->talk, envelope, err);
}

static int converse(struct sender *sender, struct error *err) {
        if (say_begin(sender, err) < 0)
                return -1;
        while (!sender->done) {
                _cleanup_(proto_free_p) ProtobufCMessage *message = NULL;
                if (flow_stopping(&sender->copy.flow))
                        return 0;
                if (!sender->ended && all_sent(sender) && say_end(sender, err) < 0)
                        return -1;
                bool deaf = have_full(sender->readers.have);
                int heard = talk_next(&sender->talk, deaf, (Drover__DataEnvelope **) &message, err);
                if (heard < 0 || (heard > 0 && hear(sender, (Drover__DataEnvelope *) message, err) < 0))
                        return -1;
        }
        return 0;
}

static void explain(struct sender *sender, struct error *why) {
        struct error changed = ERROR_INIT;
        if (readers_check_version(&sender->readers, &changed) < 0)
                *why = changed;
}

static void talk_to_sink(struct sender *sender) {
        struct error why = ERROR_INIT;
        if (converse(sender, &why) < 0) {
                if (why.code == ERROR_CORRUPT) // or was it somebody who writes, between two readings of a block?
                        explain(sender, &why);
                flow_fail(&sender->copy.flow, &why);
        }
        if (flow_stopping(&sender->copy.flow))
                talk_end(&sender->talk);
}

// ---- all together
static void work(void *data, unsigned n) {
        struct sender *sender = data;
        unsigned streams = sender->copy.order.streams; // with the conversation
        if (n == 0)
                talk_to_sink(sender);
        else if (n < streams)
                sending_work(&sender->sendings[n]);
        else if (n < 2 * streams - 1)
                sending_code(&sender->sendings[n - streams + 1]);
        else
                readers_work(&sender->readers);
}

static void prepare_streams(struct sender *sender) {
        struct copy *copy = &sender->copy;
        struct choice before;
        bool resumed = recalled_choice(sender->readers.recalled, &before);
        talk_init(&sender->talk, &copy->flow, copy->channels[0], "the sink");
        coding_init(&sender->coding, &copy->flow, copy->channels + 1, copy->order.streams - 1,
                    resumed ? &before : NULL);
        for (unsigned i = 1; i < copy->order.streams; i++)
                sender->sendings[i] = (struct sending){.flow = &copy->flow,
                                                       .coding = &sender->coding,
                                                       .rate = &sender->running.rate,
                                                       .recalled = sender->readers.recalled,
                                                       .channel = copy->channels[i],
                                                       .queue = coded_new(&copy->flow),
                                                       .sent = &sender->sent,
                                                       .stream = i - 1};
}

static int run(struct sender *sender, Drover__TransferResult **ret, struct error *err) {
        struct copy *copy = &sender->copy;
        struct flow *flow = &copy->flow;
        flow_set_pipeline(flow, pipeline_new(PARCELS + copy->order.streams));
        flow_set_digest(flow, digest_new(flow->bytes_total));
        sender->readers.have = have_new(flow, flow->bytes_total);
        prepare_streams(sender);
        int result = flow_run(flow, 2 * copy->order.streams - 1 + READERS_THREADS, work, sender, err);
        for (unsigned i = 1; i < copy->order.streams; i++)
                coded_free(sender->sendings[i].queue);
        recalled_set_choice(sender->readers.recalled, &sender->coding.choice);
        coding_fini(&sender->coding);
        talk_fini(&sender->talk);
        have_free(sender->readers.have);
        struct asker *asker = sender->readers.asker;
        if (asker)
                asker->ops->free(asker);
        if (result < 0)
                return -1;
        flow_report(flow, true);
        *ret = copy_result(flow, sender->digest);
        return 0;
}

// With the source's state, and what this agent remembers of it.
static int send_image(struct sender *sender, struct source *source, Drover__TransferResult **ret, struct error *err) {
        struct copy *copy = &sender->copy;
        const Drover__Ticket *ticket = copy->order.ticket;
        struct recall *recall = exchange_recall(copy->transfers);
        if (readers_init(&sender->readers, &copy->flow, source, err) < 0)
                return error_prefix(err, "%s", copy->flow.disk);
        sender->readers.recalled = recall_take(recall, ticket->job, ticket->disk,
                                               sender->readers.versioned ? sender->readers.version : NULL);
        int result = run(sender, ret, err);
        if (result == 0)
                recalled_free(sender->readers.recalled);
        else
                recall_give_back(recall, sender->readers.recalled);
        readers_fini(&sender->readers);
        return result;
}

int transfer_send(struct transfers *transfers, const Drover__TransferOrder *order, const char *disk,
                  struct source *source, bool guest, const struct transfer_observer *observer,
                  Drover__TransferResult **ret, struct error *err) {
        struct sender *sender = new (struct sender);
        sender->guest = guest;
        int result = copy_open(&sender->copy, transfers, order, disk, &sender->running, observer, err);
        sender->copy.flow.bytes_total = source->bytes;
        if (result == 0)
                result = send_image(sender, source, ret, err);
        copy_close(&sender->copy);
        free(sender);
        return result;
}
