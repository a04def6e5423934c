// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/* drover-agent's command line. Returns the exit code; errors and hints are on standard error. Called once, by main().
 */
int commands_main(int argc, char **argv);
