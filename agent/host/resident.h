// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/* What the process keeps in memory while it rests. Any thread; takes a few milliseconds. */

// Give back what is not needed at the moment: free heap to the kernel, and pages of program code to the page cache,
// from which they come back by themselves when they are run again. Meant for after a burst of work.
void resident_shrink(void);
