// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Image headers, which are written by strangers and read by the agent itself. The first byte chooses the format that
 * the file is said to have; the rest is the file.
 */
#include "agent/host/image.h"
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int file_of(const uint8_t *data, size_t size) {
        static int fd = -1;
        if (fd < 0)
                fd = memfd_create("image", MFD_CLOEXEC);
        if (fd < 0 || ftruncate(fd, 0) < 0 || pwrite(fd, data, size, 0) != (ssize_t) size)
                abort();
        return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static const char *const formats[] = {"qcow2", "vmdk", "raw"};
        struct image image;
        struct error err = ERROR_INIT;
        if (size < 1)
                return 0;
        int fd = file_of(data + 1, size - 1);
        if (image_inspect(fd, "image", formats[data[0] % 3], &image, &err) < 0)
                return err.code == ERROR_REFUSED ? 0 : (abort(), 0);
        // A name is one text that ends within its room, and a raw image has neither name nor size of its own.
        if (strnlen(image.backing, sizeof image.backing) == sizeof image.backing ||
            strnlen(image.backing_format, sizeof image.backing_format) == sizeof image.backing_format ||
            (data[0] % 3 == 2 && (image.has_backing || image.virtual_bytes != size - 1)))
                abort();
        if (image.has_backing)
                free(image_backing_path("/pool/image", image.backing));
        return 0;
}
