// SPDX-License-Identifier: LGPL-2.1-or-later
/* qemu-img for images of our own making (see image_tool.h). */
#include "agent/blocks/image_tool.h"
#include "agent/confine/confined.h"
#include "common/cleanup.h"
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#define PROGRAM "/usr/bin/qemu-img"
// Tables of 64 TiB are read in a few minutes.
#define CPU_SECONDS  600u
#define MILLISECONDS (900u * 1000u)

#define FILE_NAME "/proc/self/fd/4"
_Static_assert(CONFINED_FIRST_FILE == 4, "the name of the first file");

DEFINE_CLEANUP(confined_free, struct confined *)

static int run(const char *const *argv, int fd, int *ret_code, struct error *err) {
        struct confined_order order = {.profile = &profile_image_program,
                                       .argv = argv,
                                       .listener = -1,
                                       .files = {fd},
                                       .n_files = 1,
                                       .writable = true,
                                       .cpu_seconds = CPU_SECONDS};
        _cleanup_(confined_free_p) struct confined *program = NULL;
        int status;
        if (confined_start(&order, &program, err) < 0)
                return -1;
        if (!confined_wait(program, MILLISECONDS, &status))
                return error_set(err, ERROR_TIMEOUT, "qemu-img does not end");
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
                confined_ended(program, err);
        *ret_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
        return 0;
}

int image_tool_create(int fd, uint64_t bytes, struct error *err) {
        char size[24];
        int code;
        snprintf(size, sizeof(size), "%llu", (unsigned long long) bytes);
        const char *const argv[] = {PROGRAM,   "create", "-q", "-f", "qcow2", "-o", "compat=1.1,cluster_size=65536",
                                    FILE_NAME, size,     NULL};
        if (run(argv, fd, &code, err) < 0)
                return -1;
        return code == 0 ? 0 : error_prefix(err, "make the image");
}

int image_tool_create_over(int fd, uint64_t bytes, const char *base, const char *format, struct error *err) {
        char size[24];
        int code;
        if (base[0] != '/') // neither an option nor one of QEMU's protocols
                return error_set(err, ERROR_INVALID, "%s is not an absolute path", base);
        snprintf(size, sizeof(size), "%llu", (unsigned long long) bytes);
        const char *const argv[] = {
                PROGRAM, "create", "-q", "-u",   "-f",      "qcow2", "-o", "compat=1.1,cluster_size=65536",
                "-b",    base,     "-F", format, FILE_NAME, size,    NULL};
        if (run(argv, fd, &code, err) < 0)
                return -1;
        return code == 0 ? 0 : error_prefix(err, "make the image");
}

int image_tool_repair(int fd, struct error *err) {
        static const char *const argv[] = {PROGRAM, "check", "-q", "-f", "qcow2", "-r", "leaks", FILE_NAME, NULL};
        int code;
        if (run(argv, fd, &code, err) < 0)
                return -1;
        if (code == 0)
                return 0;
        // The server of an attempt that was killed may be about to end.
        if (strstr(err->message, "another process"))
                return error_set(err, ERROR_BUSY, "another program still has the image open");
        err->code = ERROR_CORRUPT;
        return error_prefix(err, "check the image");
}
