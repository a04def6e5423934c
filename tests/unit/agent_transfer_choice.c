// SPDX-License-Identifier: LGPL-2.1-or-later
/* agent/transfer/choice: how hard to compress, on links and hosts that are played here. */
#include "agent/transfer/choice.h"
#include <string.h>
#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>

// A host and a link: what one thread makes of level 3, how much of it is left, idle processors, bytes a second.
struct world {
        double speed, ratio, idle, link, disk;
};
static const double speeds[CHOICE_LEVELS] = {0, 1.6, 1, 0.5, 0.4, 0.3, 0.24, 0.15, 0.05};
static const double ratios[CHOICE_LEVELS] = {0, 1.1, 1, 0.96, 0.94, 0.92, 0.91, 0.90, 0.89};

// What a quarter of a second looks like in it.
static struct choice_sample look(const struct world *world, const struct choice *choice) {
        double ratio = choice->now ? world->ratio * ratios[choice->now] : 1;
        double speed = world->speed * speeds[choice->now];
        double threads = world->idle < choice->active ? world->idle : choice->active;
        double coding = choice->now ? threads * speed : 1e12;
        double pace = world->link / ratio;
        pace = coding < pace ? coding : pace;
        pace = world->disk < pace ? world->disk : pace;
        double busy = choice->now ? pace / speed : 0;
        double waiting = pace >= world->link / ratio * 0.999 ? 1 - busy / choice->active : 0;
        return (struct choice_sample){.seconds = 0.25,
                                      .wire = pace * ratio / 4,
                                      .waiting = waiting,
                                      .plain = pace / 4,
                                      .coded = pace * ratio / 4,
                                      .coding = busy / 4,
                                      .idle = world->idle - busy};
}

static unsigned settles_at(const struct world *world, struct choice *choice) {
        unsigned changes = 0;
        choice_init(choice, 2);
        for (unsigned i = 0; i < 400; i++) {
                struct choice_sample sample = look(world, choice);
                bool changed = choice_update(choice, &sample);
                changes += i >= 100 && changed;
        }
        assert_true(changes <= 2); // it does not swing
        return choice_level(choice);
}

static void a_link_that_nothing_waits_for_gets_plain_bytes(void **state) {
        (void) state;
        struct choice choice;
        char text[CHOICE_TEXT_MAX];
        struct world fast = {.speed = 250e6, .ratio = 0.4, .idle = 4, .link = 5e9, .disk = 600e6};
        assert_int_equal(settles_at(&fast, &choice), 0);
        assert_string_equal(choice_text(&choice, text), "plain: nothing waits for the link");
        assert_int_equal(choice.active, 2);
}

static void a_slow_link_gets_the_hardest_level_that_keeps_it_busy(void **state) {
        (void) state;
        struct choice choice;
        char text[CHOICE_TEXT_MAX];
        struct world branch = {.speed = 250e6, .ratio = 0.4, .idle = 2, .link = 12.5e6, .disk = 600e6};
        assert_in_range(settles_at(&branch, &choice), 6, 12);
        assert_int_equal(choice.active, 1); // one stream codes better than two
        assert_true(strncmp(choice_text(&choice, text), "zstd ", 5) == 0);
        assert_non_null(strstr(text, ": the link takes 1"));
        struct world village = {.speed = 250e6, .ratio = 0.4, .idle = 2, .link = 0.25e6, .disk = 600e6};
        assert_int_equal(settles_at(&village, &choice), 15);
}

static void a_middling_link_gets_a_light_level(void **state) {
        (void) state;
        struct choice choice;
        struct world gigabit = {.speed = 250e6, .ratio = 0.4, .idle = 3, .link = 117e6, .disk = 900e6};
        assert_in_range(settles_at(&gigabit, &choice), 1, 5);
}

static void a_host_whose_guests_need_the_processors_is_left_alone(void **state) {
        (void) state;
        struct choice choice;
        struct world busy = {.speed = 250e6, .ratio = 0.4, .idle = 0.05, .link = 117e6, .disk = 900e6};
        assert_int_equal(settles_at(&busy, &choice), 0);
}

static void what_does_not_compress_is_sent_plain(void **state) {
        (void) state;
        struct choice choice;
        struct world noise = {.speed = 400e6, .ratio = 1.0001, .idle = 2, .link = 117e6, .disk = 900e6};
        assert_in_range(settles_at(&noise, &choice), 0, 3);
}

static void a_link_that_becomes_faster_is_noticed(void **state) {
        (void) state;
        struct choice choice;
        struct world world = {.speed = 250e6, .ratio = 0.4, .idle = 3, .link = 3e6, .disk = 600e6};
        settles_at(&world, &choice);
        world.link = 5e9;
        for (unsigned i = 0; i < 400; i++) {
                struct choice_sample sample = look(&world, &choice);
                choice_update(&choice, &sample);
        }
        assert_int_equal(choice_level(&choice), 0);
}

static void a_cut_does_not_make_a_line_slow(void **state) {
        (void) state;
        struct choice choice;
        struct world branch = {.speed = 250e6, .ratio = 0.4, .idle = 2, .link = 12.5e6, .disk = 600e6};
        unsigned level = settles_at(&branch, &choice);
        double link = choice.link;
        struct world dead = branch;
        dead.link = 1e3;
        for (unsigned i = 0; i < 5; i++) {
                struct choice_sample sample = look(&dead, &choice);
                assert_false(choice_update(&choice, &sample));
        }
        assert_true(choice.link == link);
        for (unsigned i = 0; i < 40; i++) {
                struct choice_sample sample = look(&branch, &choice);
                choice_update(&choice, &sample);
                assert_int_equal(choice_level(&choice), level);
        }
        for (unsigned i = 0; i < 40; i++) { // but one that stays so is
                struct choice_sample sample = look(&dead, &choice);
                choice_update(&choice, &sample);
        }
        assert_true(choice.link < 1e6);
}

static void what_was_found_out_before_a_cut_is_where_the_next_attempt_begins(void **state) {
        (void) state;
        struct choice before, choice;
        struct world branch = {.speed = 250e6, .ratio = 0.4, .idle = 2, .link = 12.5e6, .disk = 600e6};
        unsigned level = settles_at(&branch, &before);
        choice_init(&choice, 2);
        choice_resume(&choice, &before);
        assert_int_equal(choice_level(&choice), level);
        assert_int_equal(choice.active, 1);
        for (unsigned i = 0; i < 40; i++) {
                struct choice_sample sample = look(&branch, &choice);
                choice_update(&choice, &sample);
                assert_int_equal(choice_level(&choice), level);
        }
        before.active = 2;
        choice_init(&choice, 1); // not more than there are now
        choice_resume(&choice, &before);
        assert_int_equal(choice.active, 1);
        assert_int_equal(choice.streams, 1);
}

// A line of 600 ms: what is sent in a round trip doubles from 14 KB on, as long as there is enough to send, until the
// line is full. Returns how many bytes of the image have gone in so many seconds, a look a round trip.
static double goes_in(const struct world *world, struct choice *choice, double seconds) {
        double window = 14e3, trip = 0.6, sent = 0;
        choice_init(choice, 2);
        for (double at = 0; at < seconds; at += trip) {
                struct world now = *world;
                now.link = window < world->link * trip ? window / trip : world->link;
                struct choice_sample sample = look(&now, choice);
                sample.seconds = trip;
                sample.wire *= 4 * trip;
                sample.plain *= 4 * trip;
                sample.coded *= 4 * trip;
                sample.coding *= 4 * trip;
                sample.opening = now.link < world->link && sample.wire > 0.9 * window;
                if (sample.opening)
                        window *= 2;
                sent += sample.plain;
                choice_update(choice, &sample);
        }
        return sent;
}

static void a_long_line_is_not_taken_for_a_slow_one_while_its_window_opens(void **state) {
        (void) state;
        struct choice choice;
        struct world far = {.speed = 250e6, .ratio = 0.4, .idle = 2, .link = 12.5e6, .disk = 600e6};
        double sent = goes_in(&far, &choice, 12);
        assert_true(sent > 12 * 20e6); // 12.5 MB/s of what is left, and the first seconds until the window is open
        assert_in_range(choice_level(&choice), 6, 12); // the same as on a line that is near
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_link_that_nothing_waits_for_gets_plain_bytes),
                cmocka_unit_test(a_slow_link_gets_the_hardest_level_that_keeps_it_busy),
                cmocka_unit_test(a_middling_link_gets_a_light_level),
                cmocka_unit_test(a_host_whose_guests_need_the_processors_is_left_alone),
                cmocka_unit_test(what_does_not_compress_is_sent_plain),
                cmocka_unit_test(a_link_that_becomes_faster_is_noticed),
                cmocka_unit_test(a_cut_does_not_make_a_line_slow),
                cmocka_unit_test(what_was_found_out_before_a_cut_is_where_the_next_attempt_begins),
                cmocka_unit_test(a_long_line_is_not_taken_for_a_slow_one_while_its_window_opens),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
