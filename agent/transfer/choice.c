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
static const double usual_ratio[CHOICE_LEVELS] = {1, 0.449, 0.43, 0.424, 0.419, 0.416, 0.412, 0.411, 0.404};

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
#define CODERS_BUSY 0.75 // of the streams' time: coding is what everything waits for
#define STEADY      0.25 // weight of the last sample in what is believed of a level: images change from place to place
#define FASTEST     100e9
#define SILENT      0.5 // of what the link took: less is a cut, or the end of one, until it has lasted
#define SILENT_MAX  1.5 // seconds

void choice_init(struct choice *choice, unsigned streams) {
        *choice = (struct choice){.streams = streams, .active = streams, .now = CHOICE_START, .before = CHOICE_START};
}

void choice_resume(struct choice *choice, const struct choice *before) {
        unsigned streams = choice->streams;
        *choice = *before;
        choice->streams = streams;
        if (choice->active > streams)
                choice->active = streams;
        choice->before = choice->now;
        choice->active_before = choice->active;
        choice->pace = choice->pace_before = choice->wire = choice->waiting = choice->silent = 0;
        choice->since = 0;
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

struct way {              // of coding
        unsigned level;   // its index
        unsigned streams; // that share the image
};

static struct way present(const struct choice *choice) {
        return (struct way){choice->now, choice->active};
}

// One stream sees the whole image in its window and so codes best; several make use of several processors.
static double pace_of(const struct choice *choice, struct way way, double threads) {
        bool alone = way.streams == 1 && choice->streams > 1;
        double ratio = ratio_of(choice, way.level) * (way.level > 0 && way.streams > 1 ? APART : 1);
        double by_link = (alone && choice->link > ONE_STREAM ? ONE_STREAM : choice->link) / ratio;
        if (way.level == 0)
                return by_link;
        double by_coding = HEADROOM * (threads < way.streams ? threads : way.streams) * speed_of(choice, way.level);
        return by_coding < by_link ? by_coding : by_link;
}

// ---- what happened
static double blend(double before, double now) {
        return before > 0 ? (before + now) / 2 : now;
}

// Believed to be faster than before only step by step: what was saved up while nothing was sent goes out in a burst.
// Where nothing waits for the network, because coding is what everything waits for, nothing is learnt of the link; nor
// while TCP still finds out how much may be on the way, which takes seconds on a long line.
static void learn_link(struct choice *choice, const struct choice_sample *sample) {
        double wire = sample->wire / sample->seconds, most = choice->link > 0 ? choice->link * LINK_GROWTH : wire;
        bool coders_busy = sample->coding > CODERS_BUSY * sample->seconds * choice->active;
        if (sample->opening)
                return;
        if (sample->waiting >= BUSY)
                choice->link = blend(choice->link, wire);
        else if (sample->waiting < NOT_BUSY && choice->now == 0)
                choice->link = 0;
        else if (choice->link > 0 && sample->waiting < NOT_BUSY && !coders_busy && choice->link < FASTEST)
                choice->link = most; // it takes more than was believed; how much, only trying will tell
        else if (choice->link > 0 && wire > choice->link)
                choice->link = wire;
        if (choice->link > most && most > 0)
                choice->link = most;
}

// What another level showed stays worth something: it is carried over to this one by how the two usually compare.
static void learn_level(struct choice *choice, double speed, double ratio) {
        bool known = choice->measured > 0;
        double speed_before = known ? speed_of(choice, choice->now) : speed;
        double ratio_before = known ? ratio_of(choice, choice->now) : ratio;
        choice->speed = speed_before + STEADY * (speed - speed_before);
        choice->ratio = ratio_before + STEADY * (ratio - ratio_before);
        choice->measured = choice->now;
}

static void learn(struct choice *choice, const struct choice_sample *sample) {
        choice->since += sample->seconds;
        choice->waiting = sample->waiting;
        choice->pace = blend(choice->pace, sample->plain / sample->seconds);
        choice->wire = blend(choice->wire, sample->wire / sample->seconds);
        if (choice->now > 0 && sample->coding > 0.01 && sample->plain > 0) {
                double ratio = sample->coded / sample->plain / (choice->active > 1 ? APART : 1);
                learn_level(choice, sample->plain / sample->coding, ratio);
        }
        learn_link(choice, sample);
        for (unsigned i = 0; i < CHOICE_LEVELS; i++)
                choice->barred[i] -= sample->seconds;
}

static struct way best_of(const struct choice *choice, double threads) {
        struct way best = {0, choice->streams}, way;
        if (choice->link <=
            0) { // nothing waits for the network; or perhaps something does, and the next sample will tell
                best.level = choice->waiting < NOT_BUSY ? 0 : choice->now;
                return best;
        }
        for (way.level = 1; way.level < CHOICE_LEVELS; way.level++) {
                if (choice->barred[way.level] > 0 && way.level != choice->now)
                        continue;
                way.streams = choice->streams;
                if (pace_of(choice, way, threads) > pace_of(choice, best, threads))
                        best = way;
                way.streams = 1;
                if (pace_of(choice, way, threads) > pace_of(choice, best, threads))
                        best = way;
        }
        return best;
}

static void change(struct choice *choice, struct way to) {
        choice->before = choice->now;
        choice->active_before = choice->active;
        choice->pace_before = choice->pace;
        choice->now = to.level;
        choice->active = to.streams;
        choice->pace = 0;
        choice->since = 0;
}

// What turned out slower than what was before goes back: the processors had less to spare, or the link takes less, than
// it seemed.
static bool take_back(struct choice *choice) {
        if (choice->since < PATIENCE || choice->pace_before <= 0)
                return false;
        bool bad = choice->pace < TOO_BAD * choice->pace_before && choice->wire < TOO_BAD * choice->link;
        struct way from = present(choice), to = {choice->before, choice->active_before};
        choice->pace_before = 0; // judged
        if (!bad)
                return false;
        if (from.level != to.level)
                choice->barred[from.level] = BARRED;
        change(choice, to);
        choice->pace_before = 0;
        return true;
}

// What a cut does to a sample says nothing of the link, and to believe it costs seconds of coding too hard afterwards.
static bool is_cut(struct choice *choice, const struct choice_sample *sample) {
        if (choice->link <= 0 || sample->waiting < BUSY || sample->wire >= SILENT * choice->link * sample->seconds)
                choice->silent = 0;
        else
                choice->silent += sample->seconds;
        return choice->silent > 0 && choice->silent < SILENT_MAX;
}

bool choice_update(struct choice *choice, const struct choice_sample *sample) {
        if (is_cut(choice, sample))
                return false;
        bool first = !choice->measured;
        learn(choice, sample);
        if (take_back(choice))
                return true;
        double threads = sample->idle + sample->coding / sample->seconds;
        if (threads < LEAST)
                threads = LEAST;
        bool found_slow =
                choice->now == 0 && choice->waiting >= BUSY; // each moment of plain bytes costs four of coded ones
        if (choice->since < (first || found_slow || choice->now == CHOICE_START ? FIRST : PATIENCE))
                return false;
        struct way now = present(choice), best = best_of(choice, threads);
        if (best.level == now.level && best.streams == now.streams)
                return false;
        if (choice->link > 0 && pace_of(choice, best, threads) <= WORTH * pace_of(choice, now, threads))
                return false;
        change(choice, best);
        return true;
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
