// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * Whether to ask before sending. Asking costs both ends the SHA-256 of everything and the sink the reading of what it
 * has, so it pays where the link is several times slower than that, and where something is found. What the link takes
 * is measured all the time: what has arrived, by the time in which anything was on its way. The time in which only the
 * sink's end took no more does not count, so slow disks and busy processors make no slow link, and neither does a link
 * that has little to do.
 *
 * The first blocks are sent as they are, to have something to measure, and so are a few when nothing else was sent for
 * long or a rate was lifted. On a slow link, and under a low rate, everything is asked, or, as long as nearly nothing
 * is found, a few blocks now and then. A link that was slow has to be clearly faster before it counts as fast.
 *
 * Pure; guarded by its owner.
 */
#include <stdbool.h>
#include <stdint.h>

#define WORTH_PROBE      8u           // blocks that are sent as they are, to see what the link takes
#define WORTH_SLOW       (150u << 20) // bytes of the image a second: a link, or rate, that lets less through is slow,
#define WORTH_NAMING     2u           // if that is also less than this part of what naming makes, once that is known
#define WORTH_LOOK_MS    500u         // between looks at a link that is known
#define WORTH_FIRST_MS   20u          // before the first one
#define WORTH_LOOK_BYTES (1u << 20)   // on the wire, that a look needs, unless the link was busy half of the time
#define WORTH_SAMPLE     128u         // pieces that are judged together
#define WORTH_PAUSE      24u          // blocks that are not asked when they were asked in vain; doubles
#define WORTH_PAUSE_MAX  192u
#define WORTH_TEXT_MAX   64
#define WORTH_TELL_MS    250u // between two texts for people

struct worth_now {        // how the transfer does; all but the last two count from its beginning
        uint64_t ms;      // a clock's
        uint64_t sent;    // bytes of the image that were written to the network
        uint64_t wire;    // bytes that have arrived
        uint64_t busy_us; // for which streams had something on its way, all together
        uint64_t held_us; // of these, for which only the other end took no more
        uint64_t rate;    // that was set, bytes a second; 0: none
        bool hidden;      // who takes no more cannot be told: there is a relay, or a long queue, between
};
struct worth {
        uint64_t link;              // bytes a second; 0: not known
        uint64_t rate;              // that was set at the last call
        bool slow;                  // the last judgement
        bool begun;                 // `last` is something
        struct worth_now last;      // look
        unsigned probe;             // blocks that are still to be sent as they are
        uint64_t named, named_us;   // bytes, and how long naming them took
        uint64_t pieces, saved;     // of this sample: asked for; that need not travel (16 grains count as one)
        uint64_t all, all_saved;    // of all that was asked
        unsigned pause, next_pause; // blocks
};
void worth_init(struct worth *worth, uint64_t link); // what the link is known to take from before; 0: not known
// For the next block.
bool worth_asking(struct worth *worth, const struct worth_now *now);
// What came of one that was asked: pieces that were named, sixteenths of pieces that need not travel.
void worth_learn(struct worth *worth, unsigned pieces, unsigned saved_grains);
void worth_named(struct worth *worth, uint64_t bytes, uint64_t us); // what naming costs here
// For people: "asked first: the sink had 94 %"; "" as long as nothing is known.
char *worth_text(const struct worth *worth, char text[WORTH_TEXT_MAX]);
