// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * Lists as answers: records are gathered and sent in parts of bounded size, the last one with `last`. For lists that
 * fit the link's queue; what may be longer is a stream. Loop thread.
 */
#include "controller/session/verbs.h"

#define BATCH_BYTES   (512u << 10) // well under FRAME_MAX with one record more
#define BATCH_RECORDS 1000u        // and under PROTO_FIELDS_MAX

struct batch {
        struct verb_call *call;
        // Put the records into the reply's list; `list` is room for the message of that list.
        void (*fill)(Drover__OperatorReply *reply, void *list, void *records, size_t n);
        void **records; // packed before the next one is added; freed with proto_free()
        size_t n, bytes;
};

void batch_init(struct batch *batch, struct verb_call *call,
                void (*fill)(Drover__OperatorReply *reply, void *list, void *records, size_t n));
int batch_add(struct batch *batch, ProtobufCMessage *record, struct error *err); // takes the record
int batch_end(struct batch *batch, struct error *err);                           // the last part
void batch_fini(struct batch *batch);
// The part that is full has to be sent before the next record.
bool batch_full(size_t n, size_t bytes);

// BATCH_FILL(fill_hosts, HOSTS, hosts, host_records, HostRecords, HostRecord): the reply's member, the list, the record
#define BATCH_FILL(function, MEMBER, member, field, list_lower, List, Record)                                          \
        static void function(Drover__OperatorReply *reply, void *list, void *records, size_t n) {                      \
                Drover__##List *message = list;                                                                        \
                drover__##list_lower##__init(message);                                                                 \
                message->field = (Drover__##Record **) records;                                                        \
                message->n_##field = n;                                                                                \
                reply->value_case = DROVER__OPERATOR_REPLY__VALUE_##MEMBER;                                            \
                reply->member = message;                                                                               \
        }
