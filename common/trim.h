// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * Giving memory back after a busy moment: free heap, and those pages of the program and its libraries that have been
 * touched and never written. They stay in the page cache, which all processes share, and come back by a minor fault
 * when they are needed: of the 24 MiB that an agent has resident after its start, it uses under 10 at rest. Any
 * thread; takes about a millisecond.
 */
void trim_memory(void);
