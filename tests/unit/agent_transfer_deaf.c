// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * agent/transfer while the source hears nothing: the sink has more to say of what it has than may wait, and the streams
 * stand still as well. Whether the sink is there is seen all the same.
 */
#include "transfer_liar.h"
#include "agent/transfer/have.h"
#include "agent/transfer/talk.h"
#include "common/cleanup.h"

#define DATA  (48 * MIB) // more than fits between the source's disk and a sink that reads nothing
#define IMAGE (400 * MIB)
#define FIRST 100u // block that the sink has: behind what the source comes to

static int nothing_is_later(void **state) {
        (void) state;
        atomic_store(&rig_later_ms, 0);
        return 0;
}

// Every second block, each a run of its own.
static void say_more_than_may_wait(struct liar *liar) {
        static const uint8_t hash[VERIFIED_HASH];
        for (unsigned i = 0; i < HAVE_QUEUE_MAX + 10; i++) {
                Drover__DataHave have = DROVER__DATA_HAVE__INIT;
                have.first = FIRST + 2 * i;
                have.hashes = (ProtobufCBinaryData){sizeof hash, (uint8_t *) hash};
                SAY(liar->talk, have, HAVE, &have);
        }
}

static void meet_deaf(struct liar *liar) {
        int fd = rig_file();
        rig_fill(fd, 0, DATA, 1);
        assert_int_equal(ftruncate(fd, IMAGE), 0);
        meet(liar, REVERSE, fd);
        say_more_than_may_wait(liar);
        Drover__DataEnvelope *envelope = hear(liar);
        assert_int_equal((int) envelope->body_case, DROVER__DATA_ENVELOPE__BODY_BEGIN);
        proto_free(&envelope->base);
}

static void assert_ended(struct liar *liar, enum error_code code, const char *message) {
        struct rig_side *victim = liar->victim;
        RIG_UNTIL(atomic_load(&victim->ended));
        part(liar);
        assert_int_equal(victim->result, -1);
        assert_non_null(strstr(victim->err.message, message)); // or what a stream says of it: "send at ...: ..."
        assert_int_equal(victim->err.code, code);
}

// A second goes by; whether the source says in it that it is there.
static bool source_is_alive(struct liar *liar) {
        Drover__DataEnvelope *envelope = NULL;
        atomic_fetch_add(&rig_later_ms, CHANNEL_ALIVE_MS);
        if (channel_receive(liar->talk, &envelope, NULL) < 0)
                return false;
        assert_int_equal((int) envelope->body_case, DROVER__DATA_ENVELOPE__BODY_WAIT);
        proto_free(&envelope->base);
        return true;
}

static void fault_02_a_sink_that_says_nothing_is_noticed_by_a_source_that_hears_nothing(void **state) {
        (void) state;
        struct liar liar;
        unsigned seconds = 0;
        meet_deaf(&liar);
        // A second may go by with each message that it still hears.
        while (seconds < 2 * HAVE_QUEUE_MAX && source_is_alive(&liar))
                seconds++;
        assert_in_range(seconds, CHANNEL_IDLE_MS / 1000 - 2, HAVE_QUEUE_MAX + 20);
        assert_ended(&liar, ERROR_TIMEOUT, "nothing has arrived for 5 seconds");
}

static void a_sink_that_goes_on_to_say_that_it_is_there_is_waited_for(void **state) {
        (void) state;
        struct liar liar;
        Drover__DataWait wait = DROVER__DATA_WAIT__INIT;
        meet_deaf(&liar);
        for (unsigned i = 0; i < 10; i++) {
                SAY(liar.talk, wait, WAIT, &wait);
                assert_true(source_is_alive(&liar));
        }
        atomic_store(&liar.victim->cancel, true);
        assert_ended(&liar, ERROR_CANCELLED, "vda: cancelled");
}

static void fault_02_a_sink_that_breaks_off_is_noticed_by_a_source_that_hears_nothing(void **state) {
        (void) state;
        struct liar liar;
        meet_deaf(&liar);
        channel_free(steal(&liar.talk));
        assert_ended(&liar, ERROR_UNREACHABLE, "vda: the peer broke off the connection");
}

static void why_a_sink_failed_is_heard_behind_all_that_it_had_to_say(void **state) {
        (void) state;
        struct liar liar;
        struct error why = ERROR_INIT;
        meet_deaf(&liar);
        error_set(&why, ERROR_NO_SPACE, "write at 12.0 MiB: No space left on device");
        channel_say_why(liar.talk, &why);
        assert_ended(&liar, ERROR_NO_SPACE, "vda: the sink failed: write at 12.0 MiB: No space left on device");
}

// ---- the conversation alone

// Says much, why it failed, and that it says no more.
static void *fail_behind_much(void *data) {
        struct channel *channel = data;
        struct error why = ERROR_INIT;
        assert_int_equal(channel_secure(channel, rig.hosts[RIG_SINK], IDENTITY_HOST, true, NULL), 0);
        for (unsigned i = 0; i < 100; i++) {
                Drover__DataWait wait = DROVER__DATA_WAIT__INIT;
                SAY(channel, wait, WAIT, &wait);
        }
        error_set(&why, ERROR_NO_SPACE, "no room");
        channel_say_why(channel, &why);
        return NULL;
}

static void fault_02_why_a_peer_broke_off_is_heard_at_once_by_who_hears_nothing(void **state) {
        (void) state;
        int fds[2], heard = 0;
        pthread_t thread;
        struct flow flow;
        struct talk talk;
        struct error err = ERROR_INIT;
        Drover__DataEnvelope *none = NULL;
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
        struct channel *ours = channel_new(fds[0], &rig_clock), *theirs = channel_new(fds[1], &rig_clock);
        assert_int_equal(pthread_create(&thread, NULL, fail_behind_much, theirs), 0);
        assert_int_equal(channel_secure(ours, rig.hosts[RIG_SOURCE], IDENTITY_HOST, false, &err), 0);
        flow_init(&flow, "vda", NULL, &rig_clock);
        talk_init(&talk, &flow, ours, "the sink");
        while (heard == 0)
                heard = talk_next(&talk, true, &none, &err);
        assert_int_equal(heard, -1);
        assert_int_equal(err.code, ERROR_NO_SPACE);
        assert_string_equal(err.message, "the sink failed: no room");
        assert_true(talk.told);
        channel_free(ours);
        pthread_join(thread, NULL);
        channel_free(theirs);
        talk_fini(&talk);
        flow_fini(&flow);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup(fault_02_a_sink_that_says_nothing_is_noticed_by_a_source_that_hears_nothing,
                                       nothing_is_later),
                cmocka_unit_test_setup(a_sink_that_goes_on_to_say_that_it_is_there_is_waited_for, nothing_is_later),
                cmocka_unit_test_setup(fault_02_a_sink_that_breaks_off_is_noticed_by_a_source_that_hears_nothing,
                                       nothing_is_later),
                cmocka_unit_test_setup(fault_02_why_a_peer_broke_off_is_heard_at_once_by_who_hears_nothing,
                                       nothing_is_later),
                cmocka_unit_test_setup(why_a_sink_failed_is_heard_behind_all_that_it_had_to_say, nothing_is_later),
        };
        return cmocka_run_group_tests(tests, rig_up, rig_down);
}
