// SPDX-License-Identifier: LGPL-2.1-or-later
/* drover-agent. */
#include "agent/commands.h"

int main(int argc, char **argv) {
        return commands_main(argc, argv);
}
