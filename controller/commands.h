// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/* The controller's command line: init and run. The main thread. */

int commands_main(int argc, char **argv); // the exit code
