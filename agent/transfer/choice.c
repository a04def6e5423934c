// SPDX-License-Identifier: LGPL-2.1-or-later
/* How hard to compress (see choice.h). */
#include "agent/transfer/choice.h"
#include "common/units.h"
#include <stdio.h>
#include <string.h>

const unsigned choice_levels[CHOICE_LEVELS] = {0, 1, 3, 5, 6, 7, 9, 12, 15};
// How the levels compare on images of Linux systems: bytes a second of one thread relative to level 3, and what is left
// of 1 (docs/decisions/ says what was measured). Only the proportions count.
static const double usual_speed[CHOICE_LEVELS] = {0, 1.6, 1, 0.62, 0.50, 0.40, 0.29, 0.15, 0.065};
static const double usual_ratio[CHOICE_LEVELS] = {1, 0.455, 0.43, 0.418, 0.411, 0.405, 0.398, 0.395, 0.385};

#define SPEED_GUESS 150e6 // of level 3, before anything is measured
#define HEADROOM    0.85  // of what coding is believed to make
#define WORTH       1.04  // what a change has to promise
#define TOO_BAD     0.9   // of the pace before, while the link has room: it is taken back
#define LEAST       0.25  // of a processor: what whoever asks for it gets on the busiest host
#define PATIENCE    1.0   // seconds between changes, and until one is judged
#define FIRST       0.15  // seconds before the first change
#define BARRED      30.0  // seconds
#define ONE_STREAM  30e6  // bytes a second that one stream is sure to carry
#define APART       1.06  // what is left when streams share an image, to what is left when one has it alone
#define BUSY        0.5   // of the time waited for the network: it is what everything waits for
#define NOT_BUSY    0.15
#define LINK_GROWTH 1.05 // of what the link is believed to take, from one sample to the next
#define FASTEST     100e9

void choice_init(struct choice *choice, unsigned streams) {
        *choice = (struct choice){.streams = streams, .active = streams, .now = CHOICE_START, .before = CHOICE_START};
}

unsigned choice_level(const struct choice *choice) {
        return choice_levels[choice->now];
}

// ---- what is believed of a level
static double speed_of(const struct choice *choice, unsigned n) {
        if (!choice->measured)
                return SPEED_GUESS * usual_speed[n];
        return choice->speed * usual_speed[n] / usual_speed[choice->measured];
}

static double ratio_of(const struct choice *choice, unsigned n) {
        if (n == 0 || !choice->measured)
                return usual_ratio[n];
        double saved = (1 - choice->ratio) * (1 - usual_ratio[n]) / (1 - usual_ratio[choice->measured]);
        return saved < 0.99 ? 1 - saved : 0.01;
}

// One stream sees the whole image in its window and so codes best; several make use of several processors.
static double pace_with(const struct choice *choice, unsigned n, double threads, unsigned streams) {
        double ratio = ratio_of(choice, n) * (n > 0 && streams > 1 ? APART : 1), by_link = choice->link / ratio;
        if (n == 0)
                return by_link;
        double by_coding = HEADROOM * (threads < streams ? threads : streams) * speed_of(choice, n);
        return by_coding < by_link ? by_coding : by_link;
}

static unsigned streams_for(const struct choice *choice, unsigned n, double threads) {
        if (n == 0 || choice->link <= 0 || choice->link >= ONE_STREAM)
                return choice->streams;
        bool alone = pace_with(choice, n, threads, 1) >= pace_with(choice, n, threads, choice->streams);
        return alone ? 1 : choice->streams;
}

static double pace_of(const struct choice *choice, unsigned n, double threads) {
        return pace_with(choice, n, threads, streams_for(choice, n, threads));
}

// ---- what happened
static double blend(double before, double now) {
        return before > 0 ? (before + now) / 2 : now;
}

// Believed to be faster than before only step by step: what was saved up while nothing was sent goes out in a burst.
static void learn_link(struct choice *choice, double waiting, double wire) {
        double most = choice->link > 0 ? choice->link * LINK_GROWTH : wire;
        if (waiting >= BUSY)
                choice->link = blend(choice->link, wire);
        else if (waiting < NOT_BUSY && choice->now == 0)
                choice->link = 0;
        else if (choice->link > 0 && waiting < NOT_BUSY && choice->link < FASTEST)
                choice->link = most; // it takes more than was believed; how much, only trying will tell
        else if (choice->link > 0 && wire > choice->link)
                choice->link = wire;
        if (choice->link > most && most > 0)
                choice->link = most;
}

static void learn(struct choice *choice, const struct choice_sample *sample) {
        double wire = sample->wire / sample->seconds;
        choice->since += sample->seconds;
        choice->pace = blend(choice->pace, sample->plain / sample->seconds);
        choice->wire = blend(choice->wire, wire);
        if (choice->now > 0 && sample->coding > 0.01 && sample->plain > 0) {
                bool known = choice->measured == choice->now;
                choice->speed = blend(known ? choice->speed : 0, sample->plain / sample->coding);
                choice->ratio = blend(known ? choice->ratio : 0, sample->coded / sample->plain);
                choice->measured = choice->now;
        }
        learn_link(choice, sample->waiting, wire);
        for (unsigned i = 0; i < CHOICE_LEVELS; i++)
                choice->barred[i] -= sample->seconds;
}

static unsigned best_of(const struct choice *choice, double threads) {
        unsigned best = 0;
        if (choice->link <= 0)
                return 0; // nothing waits for the network
        for (unsigned i = 1; i < CHOICE_LEVELS; i++)
                if ((choice->barred[i] <= 0 || i == choice->now) &&
                    pace_of(choice, i, threads) > pace_of(choice, best, threads))
                        best = i;
        return best;
}

static void change(struct choice *choice, unsigned to) {
        choice->before = choice->now;
        choice->pace_before = choice->pace;
        choice->now = to;
        choice->pace = 0;
        choice->since = 0;
}

// What turned out slower than what was before goes back: the processors had less to spare, or the link takes less, than
// it seemed.
static bool take_back(struct choice *choice) {
        if (choice->now == choice->before || choice->since < PATIENCE || choice->pace_before <= 0)
                return false;
        bool bad = choice->pace < TOO_BAD * choice->pace_before && choice->wire < TOO_BAD * choice->link;
        unsigned from = choice->now, to = choice->before;
        choice->pace_before = 0; // judged
        if (!bad)
                return false;
        choice->barred[from] = BARRED;
        change(choice, to);
        choice->pace_before = 0;
        return true;
}

bool choice_update(struct choice *choice, const struct choice_sample *sample) {
        unsigned active = choice->active;
        bool first = !choice->measured;
        learn(choice, sample);
        if (take_back(choice))
                return true;
        double threads = sample->idle + sample->coding / sample->seconds;
        if (threads < LEAST)
                threads = LEAST;
        if (choice->since >= (first || choice->now == CHOICE_START ? FIRST : PATIENCE)) {
                unsigned best = best_of(choice, threads);
                if (best != choice->now && (choice->link <= 0 || pace_of(choice, best, threads) >
                                                                         WORTH * pace_of(choice, choice->now, threads)))
                        change(choice, best);
        }
        if (choice->since == 0 || choice->now == 0 || choice->link <= 0 || choice->link >= ONE_STREAM)
                choice->active =
                        streams_for(choice, choice->now, threads); // otherwise it would swing with every sample
        return choice->since == 0 || choice->active != active;
}

char *choice_text(const struct choice *choice, char text[CHOICE_TEXT_MAX]) {
        char rate[UNITS_TEXT_MAX];
        if (choice->link <= 0 && choice->now == 0)
                return strcpy(text, "plain: nothing waits for the link");
        units_format_rate((uint64_t) choice->link, rate);
        if (choice->link <= 0)
                snprintf(text, CHOICE_TEXT_MAX, "zstd %u: until the link is known", choice_level(choice));
        else if (choice->now == 0)
                snprintf(text, CHOICE_TEXT_MAX, "plain: the link takes %s", rate);
        else
                snprintf(text, CHOICE_TEXT_MAX, "zstd %u: the link takes %s", choice_level(choice), rate);
        return text;
}
