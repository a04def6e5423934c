// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * Fault points: places where a test can hold, kill or fail a running program. They do nothing unless the environment
 * variable DROVER_FAULT_DIR named a directory when the process started.
 *
 * fault_point("agent.copy.after-write") looks for a file of that name in the directory:
 *   content "kill"        the process kills itself with SIGKILL there (the file is removed first: once)
 *   content "hold"        makes <name>.held, waits until <name> is removed and removes <name>.held (the thread blocks;
 *                         after 120 s it returns -1 with ERROR_TIMEOUT)
 *   content "fail [CODE]" returns -1 with an error of that code word, once (the file is removed)
 *   content "nth N ..."   counts down N calls, then acts as the rest says
 * fault_held() is the same for the loop thread, which must not block: returns true while the point is to be held; the
 * caller polls again.
 */
#include "common/error.h"
void fault_init(void);
bool fault_active(void);
int fault_point(const char *name, struct error *err);
bool fault_held(const char *name);
