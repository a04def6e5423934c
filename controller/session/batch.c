// SPDX-License-Identifier: LGPL-2.1-or-later
/* Gathering records. Loop thread. */
#include "controller/session/batch.h"
#include "common/memory.h"

// Every list of records is a base and one repeated field.
union list {
        Drover__SiteRecords sites;
        Drover__HostRecords hosts;
        Drover__JobRecords jobs;
        Drover__UserRecords users;
        Drover__AuditRecords audits;
        Drover__RetiredRecords retired;
};

void batch_init(struct batch *batch, struct verb_call *call,
                void (*fill)(Drover__OperatorReply *reply, void *list, void *records, size_t n)) {
        *batch = (struct batch){.call = call, .fill = fill};
}

bool batch_full(size_t n, size_t bytes) {
        return bytes >= BATCH_BYTES || n >= BATCH_RECORDS;
}

static void clear(struct batch *batch) {
        for (size_t i = 0; i < batch->n; i++)
                proto_free(batch->records[i]);
        batch->n = batch->bytes = 0;
}

static int send_part(struct batch *batch, bool last, struct error *err) {
        Drover__OperatorReply reply = DROVER__OPERATOR_REPLY__INIT;
        union list list;
        batch->fill(&reply, &list, batch->records, batch->n);
        int r = verb_reply(batch->call, &reply, last, err);
        clear(batch);
        return r;
}

int batch_add(struct batch *batch, ProtobufCMessage *record, struct error *err) {
        batch->records = memory_grow(batch->records, batch->n + 1, sizeof(*batch->records));
        batch->records[batch->n++] = record;
        batch->bytes += protobuf_c_message_get_packed_size(record);
        return batch_full(batch->n, batch->bytes) ? send_part(batch, false, err) : 0;
}

int batch_end(struct batch *batch, struct error *err) {
        return send_part(batch, true, err);
}

void batch_fini(struct batch *batch) {
        clear(batch);
        free(batch->records);
}
