// SPDX-License-Identifier: LGPL-2.1-or-later
/* agent/transfer/worth: whether to ask first, on links and hosts that are played here, block by block. */
#include "agent/transfer/worth.h"
#include "agent/blocks/blocks.h"
#include <string.h>
#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>

#define MIB   (1024.0 * 1024)
#define CODED 0.45 // bytes on the wire for one of the image

struct world {
        double link, rate, sink, naming; // bytes a second: of the wire, and of the image; rate 0: none
        double found;                    // of what is asked
        bool long_line;                  // what a rate lets through is on its way all the time
        bool relayed;
        struct worth worth;
        double seconds, sent, wire, busy, held;
        unsigned asked, changes;
        bool asks;
};

static struct world new_world(double link) {
        struct world world = {.link = link, .sink = 400 * MIB, .naming = 800 * MIB};
        worth_init(&world.worth, 0);
        return world;
}

static double slower(double one, double other) {
        return one > other ? one : other;
}

// So much of the image goes over the link.
static void carry(struct world *world, double image) {
        double wire = image * CODED, on_line = wire / world->link;
        double at_rate = world->rate > 0 ? wire / world->rate : 0, took = slower(on_line, at_rate);
        double at_sink = image / world->sink;
        double busy = world->long_line ? took : on_line;
        if (at_sink > took) {
                world->held += at_sink - busy;
                busy = took = at_sink;
        }
        world->busy += busy;
        world->seconds += took;
        world->sent += image;
        world->wire += wire;
}

static void block(struct world *world) {
        struct worth_now now = {.ms = 1000 + (uint64_t) (world->seconds * 1000),
                                .sent = (uint64_t) world->sent,
                                .wire = (uint64_t) world->wire,
                                .busy_us = (uint64_t) (world->busy * 1e6),
                                .held_us = (uint64_t) (world->held * 1e6),
                                .rate = (uint64_t) world->rate,
                                .hidden = world->relayed};
        bool asks = worth_asking(&world->worth, &now);
        world->changes += asks != world->asks;
        world->asks = asks;
        world->asked += asks;
        if (!asks) {
                carry(world, MIB);
                return;
        }
        world->seconds += MIB / world->naming;
        worth_named(&world->worth, BLOCKS_BLOCK, (uint64_t) (MIB / world->naming * 1e6));
        worth_learn(&world->worth, 16, (unsigned) (world->found * 256));
        if (world->found < 1)
                carry(world, MIB * (1 - world->found));
}

// Returns how many of these blocks were asked.
static unsigned play(struct world *world, unsigned blocks) {
        world->asked = world->changes = 0;
        while (blocks-- > 0)
                block(world);
        return world->asked;
}

static void assert_says(const struct world *world, const char *words) {
        char text[WORTH_TEXT_MAX];
        assert_string_equal(worth_text(&world->worth, text), words);
}

static void on_a_fast_link_nothing_is_asked(void **state) {
        (void) state;
        struct world world = new_world(1000 * MIB);
        world.found = 1;
        assert_in_range(play(&world, 100), 0, 8); // until the link is known
        assert_int_equal(play(&world, 1000), 0);
        assert_says(&world, "not asked: the link is fast");
}

static void on_a_fast_link_nothing_is_asked_however_busy_the_hosts_are(void **state) {
        (void) state;
        struct world world = new_world(1000 * MIB);
        world.found = 1;
        world.sink = 20 * MIB;
        world.naming = 30 * MIB;
        assert_in_range(play(&world, 100), 0, 8);
        assert_int_equal(play(&world, 1000), 0);
}

static void on_a_slow_link_all_is_asked(void **state) {
        (void) state;
        struct world world = new_world(12.5e6);
        world.found = 0.95;
        assert_int_equal(play(&world, WORTH_PROBE), 0);
        assert_int_equal(play(&world, 1000), 1000);
        assert_says(&world, "asked first: the sink had 94 %");
}

static void where_naming_is_no_faster_than_the_link_nothing_is_asked(void **state) {
        (void) state;
        struct world world = new_world(40e6); // 85 MiB of the image a second
        world.found = 0.5;
        world.naming = 60 * MIB;
        play(&world, 100);
        assert_int_equal(play(&world, 500), 0);
}

static void a_sink_that_has_all_is_asked_and_the_link_is_tried_seldom(void **state) {
        (void) state;
        struct world world = new_world(12.5e6);
        world.found = 1;
        play(&world, 100);
        double began = world.seconds, sent = world.sent;
        assert_in_range(play(&world, 100000), 99000, 100000);
        double trying = (world.sent - sent) * CODED / world.link;
        assert_true(trying > 0 && trying < 0.03 * (world.seconds - began));
}

static void a_sink_that_has_nothing_is_asked_now_and_then(void **state) {
        (void) state;
        struct world world = new_world(12.5e6);
        play(&world, WORTH_PROBE);
        assert_int_equal(play(&world, WORTH_SAMPLE / 16), WORTH_SAMPLE / 16);
        assert_int_equal(play(&world, WORTH_PAUSE), 0);
        assert_in_range(play(&world, 2000), 1, 200);
        assert_says(&world, "asked now and then: the sink has nearly nothing");
        world.found = 0.3; // further on it has some
        play(&world, 2 * WORTH_PAUSE_MAX);
        assert_int_equal(play(&world, 500), 500);
}

static void a_link_that_becomes_fast_is_noticed(void **state) {
        (void) state;
        struct world world = new_world(12.5e6);
        world.found = 0.5;
        play(&world, 200);
        world.link = 1000 * MIB;
        play(&world, 200);
        assert_int_equal(play(&world, 500), 0);
}

static void a_link_that_becomes_fast_is_noticed_where_the_sink_has_all(void **state) {
        (void) state;
        struct world world = new_world(12.5e6);
        world.found = 1;
        play(&world, 200);
        world.link = 1000 * MIB;
        double began = world.seconds;
        while (world.seconds < began + 60)
                block(&world);
        assert_int_equal(play(&world, 500), 0);
}

static void a_link_that_becomes_slow_is_noticed(void **state) {
        (void) state;
        struct world world = new_world(1000 * MIB);
        world.found = 0.5;
        play(&world, 1000);
        world.link = 12.5e6;
        double began = world.seconds;
        while (world.seconds < began + 3)
                block(&world);
        assert_int_equal(play(&world, 500), 500);
}

// Around the line between slow and fast it does not swing.
static void a_link_that_wavers_is_judged_once(void **state) {
        (void) state;
        struct world world = new_world(60 * MIB);
        world.found = 0.5;
        play(&world, 200);
        unsigned changes = 0;
        for (unsigned i = 0; i < 50; i++) {
                world.link = (i % 2 ? 80 : 60) * MIB; // 178 and 133 of the image
                play(&world, 100);
                changes += world.changes;
        }
        assert_in_range(changes, 0, 2);
}

static void a_low_rate_is_a_slow_link_until_it_is_lifted(void **state) {
        (void) state;
        struct world world = new_world(1000 * MIB);
        world.found = 0.5;
        play(&world, 200);
        world.rate = 5e6;
        assert_int_equal(play(&world, 300), 300);
        world.rate = 0;
        assert_int_equal(play(&world, 300), 0);
        world.rate = 300 * MIB; // a high one changes nothing
        assert_int_equal(play(&world, 300), 0);
}

static void a_rate_from_the_beginning_is_a_slow_link(void **state) {
        (void) state;
        struct world world = new_world(1000 * MIB);
        world.found = 0.5;
        world.rate = 5e6;
        assert_int_equal(play(&world, 300), 300);
}

static void what_a_rate_hid_is_looked_for_when_it_is_lifted(void **state) {
        (void) state;
        struct world world = new_world(1000 * MIB);
        world.found = 0.5;
        world.rate = 5e6;
        world.long_line = true;
        play(&world, 300);
        world.rate = 0;
        assert_in_range(play(&world, 100), 0, 16);
        assert_int_equal(play(&world, 300), 0);
        world.link = 12.5e6;
        world.rate = 5e6;
        play(&world, 300);
        world.rate = 0;
        assert_in_range(play(&world, 100), 100 - WORTH_PROBE, 100);
}

static void behind_a_relay_who_is_slow_cannot_be_told(void **state) {
        (void) state;
        struct world world = new_world(1000 * MIB); // to the relay
        world.found = 0.5;
        world.relayed = true;
        world.sink = 12.5e6 / CODED; // beyond it
        play(&world, 100);
        assert_int_equal(play(&world, 300), 300);
}

static void the_next_attempt_knows_the_link(void **state) {
        (void) state;
        struct world slow = new_world(12.5e6), fast = new_world(1000 * MIB);
        slow.found = fast.found = 0.5;
        worth_init(&slow.worth, 12500000);
        assert_int_equal(play(&slow, 100), 100);
        worth_init(&fast.worth, 1 << 30);
        assert_int_equal(play(&fast, 100), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(on_a_fast_link_nothing_is_asked),
                cmocka_unit_test(on_a_fast_link_nothing_is_asked_however_busy_the_hosts_are),
                cmocka_unit_test(on_a_slow_link_all_is_asked),
                cmocka_unit_test(where_naming_is_no_faster_than_the_link_nothing_is_asked),
                cmocka_unit_test(a_sink_that_has_all_is_asked_and_the_link_is_tried_seldom),
                cmocka_unit_test(a_sink_that_has_nothing_is_asked_now_and_then),
                cmocka_unit_test(a_link_that_becomes_fast_is_noticed),
                cmocka_unit_test(a_link_that_becomes_fast_is_noticed_where_the_sink_has_all),
                cmocka_unit_test(a_link_that_becomes_slow_is_noticed),
                cmocka_unit_test(a_link_that_wavers_is_judged_once),
                cmocka_unit_test(a_low_rate_is_a_slow_link_until_it_is_lifted),
                cmocka_unit_test(a_rate_from_the_beginning_is_a_slow_link),
                cmocka_unit_test(what_a_rate_hid_is_looked_for_when_it_is_lifted),
                cmocka_unit_test(behind_a_relay_who_is_slow_cannot_be_told),
                cmocka_unit_test(the_next_attempt_knows_the_link),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
