// SPDX-License-Identifier: LGPL-2.1-or-later
/* Whether to ask before sending (see worth.h). */
#include "agent/transfer/worth.h"
#include "agent/blocks/blocks.h"

#define GRAINS  (BLOCKS_PIECE / BLOCKS_GRAIN)
#define IN_VAIN 16 // less than one of so many pieces

static void note(struct worth *worth, const struct worth_now *now) {
        worth->looked_ms = now->ms;
        worth->sent = now->sent;
        worth->waited_us = now->waited_us;
}

static void judge_first(struct worth *worth, const struct worth_now *now) {
        bool gone = now->sent - worth->sent >= (uint64_t) WORTH_FIRST * BLOCKS_BLOCK;
        bool waits = now->waited_us - worth->waited_us >= WORTH_WAIT_MS * 1000u;
        if (!gone && !waits)
                return;
        worth->link = waits ? WORTH_IS_SLOW : WORTH_IS_FAST;
        note(worth, now);
}

static void look_again(struct worth *worth, const struct worth_now *now) {
        uint64_t ms = now->ms - worth->looked_ms;
        if (ms < WORTH_LOOK_MS)
                return;
        bool waits = now->waited_us - worth->waited_us >= ms * 1000 / 2;
        if (waits && (now->sent - worth->sent) * 1000 / ms < WORTH_SLOW)
                worth->link = WORTH_IS_SLOW;
        note(worth, now);
}

static bool link_is_slow(struct worth *worth, const struct worth_now *now) {
        if (!worth->looked_ms)
                note(worth, now);
        if (now->rate && now->rate < WORTH_SLOW)
                return true;
        if (worth->link == WORTH_UNKNOWN && worth->offered++ < WORTH_FIRST)
                return false;
        if (worth->link == WORTH_UNKNOWN)
                judge_first(worth, now);
        else if (worth->link == WORTH_IS_FAST)
                look_again(worth, now);
        return worth->link != WORTH_IS_FAST; // as long as it is not known, asking is no loss
}

bool worth_asking(struct worth *worth, const struct worth_now *now) {
        if (!link_is_slow(worth, now))
                return false;
        if (worth->pause > 0) {
                worth->pause--;
                return false;
        }
        return true;
}

void worth_learn(struct worth *worth, unsigned pieces, unsigned saved_grains) {
        worth->pieces += pieces;
        worth->saved += saved_grains;
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
