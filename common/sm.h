// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * A state machine as data: a table of states, each with its name and the set of states that may follow. One setter
 * checks; a move that the table does not allow is our own bug and ends the process. At most 32 states.
 */
#include <stdbool.h>
#include <stdint.h>
struct sm_state {
        const char *name;
        uint32_t next; // bits: 1u << state
        bool initial;
        bool final;
};
struct sm {
        const struct sm_state *states;
        unsigned n;
        unsigned current;
};
#define SM_TO(state) (1u << (state))
void sm_init(struct sm *sm, const struct sm_state *states, unsigned n, unsigned initial);
void sm_move(struct sm *sm, unsigned state);
bool sm_may(const struct sm *sm, unsigned state);
const char *sm_name(const struct sm *sm);
