// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * How hard to compress: from what the link takes, what each level makes here, and what it gains. The model: a level's
 * blocks leave at the pace of the slower of coding and link,
 *
 *      bytes of the image a second = min(speed of the level x threads, link / ratio of the level)
 *
 * and of the levels that leave the link busy the hardest is chosen, which sends the fewest bytes. What has not been
 * measured is derived from what has been, by how the levels compare on ordinary images. Threads are those that are
 * idle, so a host whose guests need its processors is left alone. A change has to promise something, and one that
 * turned out badly is taken back and not tried again for a while. A line that falls silent for a moment is not a slow
 * line: what is believed of it stays. Pure.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CHOICE_LEVELS   9u // of choice_levels[]
#define CHOICE_START    2u // index of the level to begin with
#define CHOICE_TEXT_MAX 80

extern const unsigned choice_levels[CHOICE_LEVELS]; // zstd's numbers; the first is 0: plain

struct choice_sample { // what happened since the last one
        double seconds;
        double wire;    // bytes that the network took
        double waiting; // share of the time in which the streams waited for the network or for the rate: 0 to 1
        double plain;   // bytes of the image that went through the present level
        double coded;   // and what became of them
        double coding;  // seconds that this took, of all threads together
        double idle;    // processors that had nothing to do
        bool opening; // what may be on the way at a time was still growing fast: the link takes more, nobody knows how
                      // much
};
struct choice {
        unsigned streams;    // at most
        unsigned now;        // index of the level in use
        unsigned active;     // streams in use
        double link;         // bytes a second; 0: not known, for something else was slower
        double speed, ratio; // of `measured`, one thread
        unsigned measured;   // index of the level that these are of; 0: none yet
        double pace;         // bytes of the image a second, lately
        double pace_before;  // at the level before
        double wire;         // bytes that the network took a second, lately, at this level
        double waiting;      // of the last sample
        double silent;       // seconds for which the link has taken next to nothing of what it took before
        unsigned before, active_before;
        double since;                 // seconds since the last change
        double barred[CHOICE_LEVELS]; // seconds for which a level is not tried
};
void choice_init(struct choice *choice, unsigned streams);
// Goes on after a cut with what was believed when the link was lost, by as many streams at most.
void choice_resume(struct choice *choice, const struct choice *before);
// true: level or streams have changed.
bool choice_update(struct choice *choice, const struct choice_sample *sample);
unsigned choice_level(const struct choice *choice);
char *choice_text(const struct choice *choice, char text[CHOICE_TEXT_MAX]); // "zstd 7: the link takes 12.1 MB/s"
