// SPDX-License-Identifier: LGPL-2.1-or-later
/* Whether to ask before sending (see worth.h). */
#include "agent/transfer/worth.h"
#include "agent/blocks/blocks.h"
#include <stdio.h>
#include <string.h>

#define GRAINS       (BLOCKS_PIECE / BLOCKS_GRAIN)
#define IN_VAIN      16                  // less than one of so many pieces
#define FASTEST      (4ull * WORTH_SLOW) // bytes a second; beyond it nothing is any different
#define PLAIN_MOST   4u                  // bytes of the image that one on the wire is believed to stand for
#define NAMED_LEAST  (4u << 20)          // bytes; before that, what naming makes is not known
#define PROBE_MS     5000u               // after which a link that was not measured is tried
#define PROBE_PART   50u                 // of the time goes into that at most
#define NEARLY(rate) ((rate) + (rate) / 4)

void worth_init(struct worth *worth, uint64_t link) {
        *worth = (struct worth){.link = link, .probe = link ? 0 : WORTH_PROBE};
}

static void note(struct worth *worth, const struct worth_now *now) {
        worth->last = *now;
        worth->begun = true;
}

// ---- what the link takes
static void look(struct worth *worth, const struct worth_now *now) {
        const struct worth_now *last = &worth->last;
        uint64_t us = (now->ms - last->ms) * 1000, wire = now->wire - last->wire;
        uint64_t busy = now->busy_us - last->busy_us, held = now->held_us - last->held_us;
        if (!now->hidden)
                busy -= held < busy ? held : busy;
        bool enough = us >= WORTH_LOOK_MS * 1000 && (wire >= WORTH_LOOK_BYTES || busy >= us / 2);
        bool first = !worth->link && us >= WORTH_FIRST_MS * 1000 && wire >= WORTH_LOOK_BYTES;
        if (!enough && !first)
                return;
        uint64_t line = busy < us ? busy : us; // two streams at once are one link
        uint64_t takes = line * FASTEST > wire * 1000000 ? wire * 1000000 / line : FASTEST;
        worth->link = worth->link ? (worth->link + 3 * takes) / 4 : takes;
        worth->link += worth->link == 0; // it is known, however slow
        note(worth, now);
}

// Under a rate a link shows no more than the rate, and nobody knows what it takes when that is lifted.
static void follow_rate(struct worth *worth, const struct worth_now *now) {
        bool lifted = worth->rate && (!now->rate || now->rate > worth->rate);
        if (now->rate == worth->rate)
                return;
        if (lifted && worth->link <= NEARLY(worth->rate)) {
                worth->link = 0;
                worth->probe = WORTH_PROBE;
        }
        worth->rate = now->rate;
        note(worth, now);
}

// What is asked about and found shows nothing of the link. So now and then a few blocks are sent as they are, the more
// seldom the slower the link was.
static void try_again(struct worth *worth, const struct worth_now *now) {
        uint64_t idle = now->ms - worth->last.ms;
        if (idle < PROBE_MS || idle * worth->link / PROBE_PART < (uint64_t) WORTH_PROBE * BLOCKS_BLOCK * 1000)
                return;
        worth->probe = WORTH_PROBE;
        note(worth, now);
}

// ---- the judgement
static uint64_t slow_below(const struct worth *worth) {
        uint64_t naming = worth->named_us ? worth->named * 1000000 / worth->named_us / WORTH_NAMING : 0;
        return worth->named >= NAMED_LEAST && naming < WORTH_SLOW ? naming : WORTH_SLOW;
}

// Bytes of the image a second.
static uint64_t lets_through(const struct worth *worth, const struct worth_now *now) {
        uint64_t takes = worth->link ? worth->link : FASTEST;
        double plain = now->wire ? (double) now->sent / (double) now->wire : 1;
        if (now->rate && now->rate < takes)
                takes = now->rate;
        plain = plain < 1 ? 1 : plain > PLAIN_MOST ? PLAIN_MOST : plain;
        return (uint64_t) ((double) takes * plain);
}

static bool is_slow(const struct worth *worth, const struct worth_now *now) {
        uint64_t below = slow_below(worth);
        return lets_through(worth, now) < (worth->slow ? below + below / 2 : below);
}

bool worth_asking(struct worth *worth, const struct worth_now *now) {
        if (!worth->begun) {
                worth->rate = now->rate;
                note(worth, now);
        }
        follow_rate(worth, now);
        look(worth, now);
        worth->slow = is_slow(worth, now);
        if (worth->slow && worth->link && !now->rate)
                try_again(worth, now);
        bool by_rate = now->rate && worth->slow;
        if (worth->probe > 0 && !by_rate) {
                worth->probe--;
                return false;
        }
        if (worth->link && !worth->slow)
                return false; // as long as it is not known, asking is no loss
        if (worth->pause > 0) {
                worth->pause--;
                return false;
        }
        return true;
}

// ---- what comes of it
void worth_learn(struct worth *worth, unsigned pieces, unsigned saved_grains) {
        worth->pieces += pieces;
        worth->saved += saved_grains;
        worth->all += pieces;
        worth->all_saved += saved_grains;
        if (worth->pieces < WORTH_SAMPLE)
                return;
        if (worth->saved * IN_VAIN < worth->pieces * GRAINS) {
                worth->pause = worth->next_pause ? worth->next_pause : WORTH_PAUSE;
                worth->next_pause = worth->pause * 2 < WORTH_PAUSE_MAX ? worth->pause * 2 : WORTH_PAUSE_MAX;
        } else {
                worth->next_pause = 0;
        }
        worth->pieces = worth->saved = 0;
}

void worth_named(struct worth *worth, uint64_t bytes, uint64_t us) {
        worth->named += bytes;
        worth->named_us += us;
}

char *worth_text(const struct worth *worth, char text[WORTH_TEXT_MAX]) {
        if (worth->next_pause > 0)
                return strcpy(text, "asked now and then: the sink has nearly nothing");
        if (worth->link && !worth->slow)
                return strcpy(text, "not asked: the link is fast");
        *text = '\0';
        if (worth->all > 0)
                snprintf(text, WORTH_TEXT_MAX, "asked first: the sink had %llu %%",
                         (unsigned long long) (worth->all_saved * 100 / (worth->all * GRAINS)));
        return text;
}
