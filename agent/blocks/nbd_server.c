// SPDX-License-Identifier: LGPL-2.1-or-later
/* Starting qemu-nbd for an image (see nbd_server.h). */
#include "agent/blocks/nbd_server.h"
#include "agent/blocks/nbd_meeting.h"
#include "common/buffer.h"
#include "common/cleanup.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define PROGRAM "/usr/bin/qemu-nbd"
// How long a server may take to write out what it holds in memory: a few MiB of tables.
#define FINISH_MILLISECONDS 20000

// ---- formats ----

static const char *const words[] = {[NBD_RAW] = "raw", [NBD_QCOW2] = "qcow2", [NBD_VMDK] = "vmdk"};

int nbd_format_parse(const char *word, enum nbd_format *ret, struct error *err) {
        for (unsigned i = 0; i < ARRAY_SIZE(words); i++)
                if (strcmp(words[i], word) == 0) {
                        *ret = (enum nbd_format) i;
                        return 0;
                }
        return error_set(err, ERROR_REFUSED, "images of format %s are not read, only raw, qcow2 and vmdk", word);
}

const char *nbd_format_word(enum nbd_format format) {
        return words[format];
}

uint64_t nbd_whole_sectors(uint64_t bytes) {
        return (bytes + 511) / 512 * 512;
}

// ---- what it is told ----

static bool is_device(int fd) {
        struct stat status;
        return fstat(fd, &status) == 0 && S_ISBLK(status.st_mode);
}

// The last member has no backing file, whatever its header says: `null` keeps QEMU from looking.
char *nbd_server_describe(const struct nbd_image *image) {
        struct buffer text;
        buffer_init(&text, 4096);
        int failed = buffer_append(&text, "json:", 5, NULL);
        for (unsigned i = 0; i < image->n; i++) {
                bool last = i + 1 == image->n, layered = image->formats[i] != NBD_RAW;
                failed |= buffer_appendf(
                        &text, NULL,
                        "{\"driver\":\"%s\",\"file\":{\"driver\":\"%s\",\"filename\":\"/proc/self/fd/%u\"}%s",
                        words[image->formats[i]], is_device(image->fds[i]) ? "host_device" : "file",
                        CONFINED_FIRST_FILE + i,
                        !layered ? ""
                        : last   ? ",\"backing\":null"
                                 : ",\"backing\":");
        }
        for (unsigned i = 0; i < image->n; i++)
                failed |= buffer_append(&text, "}", 1, NULL);
        return failed ? NULL : buffer_steal_text(&text);
}

// QEMU would fail where the file system has no direct I/O.
static bool allows_direct(const struct nbd_image *image) {
        for (unsigned i = 0; i < image->n; i++) {
                char path[32];
                snprintf(path, sizeof(path), "/proc/self/fd/%d", image->fds[i]);
                _cleanup_(close_p) int fd = open(path, O_RDONLY | O_DIRECT | O_NONBLOCK | O_CLOEXEC);
                if (fd < 0)
                        return false;
        }
        return true;
}

// ---- start and end ----

static int meet(const struct nbd_meeting *meeting, int sockets[NBD_CONNECTIONS], struct error *err) {
        for (unsigned i = 0; i < NBD_CONNECTIONS; i++)
                if (nbd_meeting_connect(meeting, &sockets[i], err) < 0)
                        return -1;
        return 0;
}

static void fill(const struct nbd_image *image, struct confined_order *order) {
        for (unsigned i = 0; i < image->n; i++)
                order->files[i] = image->fds[i];
        order->n_files = image->n;
}

int nbd_server_start(const struct nbd_image *image, bool writable, struct nbd_server *ret, struct error *err) {
        struct nbd_server server = {.sockets = {-1, -1, -1, -1}};
        _cleanup_(nbd_meeting_fini) struct nbd_meeting meeting = {.lock = -1, .fd = -1};
        _cleanup_(free_p) char *description = nbd_server_describe(image);
        char shared[24];
        snprintf(shared, sizeof(shared), "--shared=%u", NBD_CONNECTIONS);
        // docs/decisions/0010: which of these were measured, and against what.
        const char *const argv[] = {PROGRAM,
                                    shared,
                                    allows_direct(image) ? "--cache=none" : "--cache=writeback",
                                    "--aio=threads",
                                    "--discard=unmap",
                                    "--detect-zeroes=off",
                                    writable ? description : "--read-only",
                                    writable ? NULL : description,
                                    NULL};
        if (!description || nbd_meeting_init(&meeting, NBD_CONNECTIONS, err) < 0)
                return description ? -1 : error_set(err, ERROR_TOO_LARGE, "the image has too many backing files");
        struct confined_order order = {
                .profile = &profile_image_program, .argv = argv, .listener = meeting.fd, .writable = writable};
        fill(image, &order);
        // Connected before there is a server: so it has clients to lose, and ends when this process does.
        if (meet(&meeting, server.sockets, err) < 0 || confined_start(&order, &server.program, err) < 0) {
                nbd_server_fini(&server);
                return -1;
        }
        *ret = server;
        return 0;
}

int nbd_server_finish(struct nbd_server *server, struct error *err) {
        int status = 0;
        if (!confined_wait(server->program, FINISH_MILLISECONDS, &status))
                return error_set(err, ERROR_TIMEOUT, "qemu-nbd does not end");
        return status == 0 ? 0 : confined_ended(server->program, err);
}

void nbd_server_fini(struct nbd_server *server) {
        for (unsigned i = 0; i < NBD_CONNECTIONS; i++)
                close_p(&server->sockets[i]);
        confined_free(server->program);
}
