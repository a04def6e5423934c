// SPDX-License-Identifier: LGPL-2.1-or-later
/* State machines as data: the one setter, and the check that the table itself makes sense. */
#include "common/sm.h"
#include "common/log.h"
#include <stddef.h>
#include <stdlib.h>

static void bug(const char *what, const char *from, const char *to) {
        log_error(what, "from", from, "to", to, NULL);
        abort();
}

static void check_table(const struct sm_state *states, unsigned n) {
        uint32_t known = n >= 32 ? UINT32_MAX : SM_TO(n) - 1;
        if (n == 0 || n > 32)
                bug("state machine has no state, or more than 32", NULL, NULL);
        for (unsigned i = 0; i < n; i++) {
                if (!states[i].name)
                        bug("state machine has a state without a name", NULL, NULL);
                if (states[i].next & ~known)
                        bug("state machine leads outside its table", states[i].name, NULL);
                if (states[i].final && states[i].next)
                        bug("state machine leads out of a final state", states[i].name, NULL);
        }
}

void sm_init(struct sm *sm, const struct sm_state *states, unsigned n, unsigned initial) {
        check_table(states, n);
        if (initial >= n || !states[initial].initial)
                bug("state machine cannot begin there", NULL, initial < n ? states[initial].name : "?");
        *sm = (struct sm){.states = states, .n = n, .current = initial};
}

bool sm_may(const struct sm *sm, unsigned state) {
        return state < sm->n && (sm->states[sm->current].next & SM_TO(state));
}

void sm_move(struct sm *sm, unsigned state) {
        if (!sm_may(sm, state))
                bug("state machine may not move there", sm_name(sm), state < sm->n ? sm->states[state].name : "?");
        sm->current = state;
}

const char *sm_name(const struct sm *sm) {
        return sm->states[sm->current].name;
}
