// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A copy on one host: the readers of a sender and the writers of a receiver on one pipeline, without a network between
 * them. What the target has already is looked up in its record.
 */
#include "agent/transfer/copy.h"
#include "agent/transfer/readers.h"
#include "agent/transfer/writers.h"

#define PARCELS 24u

struct local {
        struct flow flow;
        struct readers readers;
        struct writers writers;
};

static void work(void *data, unsigned n) {
        struct local *local = data;
        if (n < READERS_THREADS)
                readers_work(&local->readers);
        else
                writers_work(&local->writers, n - READERS_THREADS);
}

static int run(struct local *local, struct source *source, const struct transfer_target *target,
               Drover__TransferResult **ret, struct error *err) {
        struct flow *flow = &local->flow;
        uint8_t digest[DIGEST_BYTES];
        if (writers_begin(&local->writers, source->bytes, target->verified_fd, target->image, err) < 0)
                return -1;
        struct have *have =
                local->writers.verified && !local->writers.fresh ? have_of(local->writers.verified) : have_none();
        local->readers.have = have;
        int result = flow_run(flow, READERS_THREADS + WRITERS_THREADS, work, local, err);
        have_free(have);
        if (result < 0 || digest_finish(flow->digest, digest, err) < 0)
                return -1;
        flow_report(flow, true);
        *ret = copy_result(flow, digest);
        if (local->writers.verified)
                (*ret)->resumed = verified_resumed(local->writers.verified);
        return 0;
}

int transfer_local(struct source *source, const struct transfer_target *target, const char *disk,
                   const struct transfer_observer *observer, Drover__TransferResult **ret, struct error *err) {
        struct local local;
        struct flow *flow = &local.flow;
        flow_init(flow, disk, observer, &system_clock);
        flow_set_pipeline(flow, pipeline_new(PARCELS));
        flow_set_digest(flow, digest_new(source->bytes));
        flow->bytes_total = source->bytes;
        writers_init(&local.writers, flow, target->sink);
        int result = readers_init(&local.readers, flow, source, err);
        if (result == 0)
                result = run(&local, source, target, ret, err);
        if (result < 0 && !flow_stopped_by(flow, NULL))
                error_prefix(err, "%s", disk);
        readers_fini(&local.readers);
        writers_fini(&local.writers);
        flow_fini(flow);
        return result;
}
