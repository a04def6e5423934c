// SPDX-License-Identifier: LGPL-2.1-or-later
/* agent/transfer/have: what the sink says that it has, and a source that goes through its image meanwhile. */
#include "agent/transfer/have.h"
#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>
#include "transfer_rig.h"

#define BLOCKS 4096u

static struct flow flow;

static int up(void **state) {
        (void) state;
        flow_init(&flow, "vda", NULL, &rig_clock);
        return 0;
}

static int down(void **state) {
        (void) state;
        flow_fini(&flow);
        return 0;
}

// One block, whose hash is its number.
static void tell(struct have *have, uint64_t n, bool last) {
        Drover__DataHave message = DROVER__DATA_HAVE__INIT;
        uint8_t hash[VERIFIED_HASH] = {1};
        memcpy(hash + 8, &n, sizeof n);
        message.first = n;
        message.hashes = (ProtobufCBinaryData){sizeof hash, hash};
        message.last = last;
        assert_int_equal(have_add(have, &message, NULL), 0);
}

struct asker_thread {
        struct have *have;
        uint64_t n;
        uint8_t hash[VERIFIED_HASH];
        int result;
};

static void *ask(void *data) {
        struct asker_thread *asker = data;
        asker->result = have_ask(asker->have, asker->n, asker->hash, NULL);
        return NULL;
}

// The source has become sparser: what the sink has of the hole fills all the room there is for what it says.
static void what_lies_in_a_hole_does_not_keep_the_sink_from_going_on(void **state) {
        (void) state;
        struct have *have = have_new(&flow, (uint64_t) BLOCKS * BLOCKS_BLOCK);
        struct asker_thread asker = {.have = have, .n = 1000};
        pthread_t thread;
        uint64_t said;
        for (unsigned i = 0; i < HAVE_QUEUE_MAX; i++)
                tell(have, 2 * (uint64_t) i, false);
        assert_true(have_full(have));
        have_pass(have, 0); // where the hole begins
        assert_true(have_full(have));
        assert_int_equal(pthread_create(&thread, NULL, ask, &asker), 0);
        RIG_UNTIL(!have_full(have));
        tell(have, 1000, true);
        pthread_join(thread, NULL);
        assert_int_equal(asker.result, 1);
        memcpy(&said, asker.hash + 8, sizeof said);
        assert_int_equal(said, 1000);
        have_free(have);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(what_lies_in_a_hole_does_not_keep_the_sink_from_going_on),
        };
        return cmocka_run_group_tests(tests, up, down);
}
