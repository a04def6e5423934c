// SPDX-License-Identifier: LGPL-2.1-or-later
/* The kinds of confined programs there are (see profile.h), side by side. */
#include "agent/confine/profile.h"
#include <linux/landlock.h>

#define READ   (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define RUN    (READ | LANDLOCK_ACCESS_FS_EXECUTE)
#define DEVICE (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE)
#define SCRATCH                                                                                                        \
        (RUN | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE |        \
         LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK |                    \
         LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_SYM)

const struct profile profile_image_program = {
        .package = "qemu-utils",
        // qemu-nbd takes some 50 MiB with an image of ordinary size; a header that claims more than this does not get
        // it (fault 55).
        .data_bytes = UINT64_C(768) << 20,
        .stack_bytes = UINT64_C(1) << 20, // of which there may be dozens
        .descriptors = 256,
        .trees = (struct profile_tree[]){{"/usr", RUN},
                                         {"/lib", RUN},
                                         {"/lib64", RUN},
                                         {"/bin", RUN},
                                         {"/etc/ld.so.cache", LANDLOCK_ACCESS_FS_READ_FILE},
                                         {"/dev/null", DEVICE},
                                         {NULL}},
};

const struct profile profile_small_machine = {
        .package = "libguestfs-tools",
        .address_bytes = UINT64_C(8) << 30, // QEMU claims far more than it uses
        .descriptors = 1024,
        .local_sockets = true, // between the library and its machine
        .signals = true,       // the library ends its machine
        .modes = true,         // of the files that its machine is made of
        // It reads what the small machine is made of, which is this host's own system. It writes to its directory, to
        // the disks it was given, and to /tmp, where the library keeps its sockets whatever it is told.
        .trees = (struct profile_tree[]){{"/", RUN},
                                         {"/tmp", SCRATCH},
                                         {"/dev/null", DEVICE},
                                         {"/dev/zero", DEVICE},
                                         {"/dev/kvm", DEVICE},
                                         {"/dev/ptmx", DEVICE},
                                         {"/dev/pts", DEVICE},
                                         {NULL}},
};
