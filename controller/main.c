// SPDX-License-Identifier: LGPL-2.1-or-later
/* drover-controller. */
#include "controller/commands.h"

int main(int argc, char **argv) {
        return commands_main(argc, argv);
}
