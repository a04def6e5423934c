// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * Whether to ask before sending. Asking costs both ends the SHA-256 of everything and the sink the reading of what it
 * has, so it pays where the link is several times slower than that, and where something is found:
 *
 *     the first blocks are sent as they are; if they are gone before the streams have waited for the network, the link
 * is fast, and nothing is asked until the streams wait most of the time and the image moves slowly; on a slow link, and
 *     under a low rate, everything is asked, or, as long as nearly nothing is found, a few blocks now and then.
 *
 * What waits for processors or disks is no slow link: there asking would make it worse.
 *
 * Pure; guarded by its owner.
 */
#include <stdbool.h>
#include <stdint.h>

#define WORTH_FIRST     8u           // blocks that are sent as they are
#define WORTH_WAIT_MS   50u          // that the streams wait for the network meanwhile, on a slow link
#define WORTH_SLOW      (150u << 20) // bytes of the image a second, or of a rate that was set: less is slow
#define WORTH_LOOK_MS   500u         // between looks at a fast link
#define WORTH_SAMPLE    128u         // pieces that are judged together
#define WORTH_PAUSE     24u          // blocks that are not asked when they were asked in vain; doubles
#define WORTH_PAUSE_MAX 192u

enum worth_link { WORTH_UNKNOWN, WORTH_IS_FAST, WORTH_IS_SLOW };
struct worth {
        enum worth_link link;
        uint64_t offered;
        uint64_t looked_ms;         // 0: not yet
        uint64_t sent, waited_us;   // at the last look
        uint64_t pieces, saved;     // of this sample: asked for; that need not travel (16 grains count as one)
        unsigned pause, next_pause; // blocks
};
struct worth_now {          // how the transfer does
        uint64_t ms;        // a clock's
        uint64_t sent;      // bytes of the image that have gone over the network
        uint64_t waited_us; // for which the streams have waited for the network, all together
        uint64_t rate;      // that was set, bytes a second; 0: none
};
// For the next block.
bool worth_asking(struct worth *worth, const struct worth_now *now);
// What came of one that was asked: pieces that were named, sixteenths of pieces that need not travel.
void worth_learn(struct worth *worth, unsigned pieces, unsigned saved_grains);
