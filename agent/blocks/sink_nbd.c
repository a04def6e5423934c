// SPDX-License-Identifier: LGPL-2.1-or-later
/* A qcow2 image made from guest-visible blocks (see sink_nbd.h). */
#include "agent/blocks/sink_nbd.h"
#include "agent/blocks/image_tool.h"
#include "agent/blocks/nbd_client.h"
#include "common/cleanup.h"
#include "common/memory.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define BUSY_TRIES              10u
#define BUSY_PAUSE_MILLISECONDS 200

struct sink_nbd {
        struct sink sink;
        int fd;                    // the caller's
        struct nbd_client *client; // from begin() on
};

// The server of an attempt that was killed goes with its agent, but not before it has let go of the disk.
static int repair(int fd, struct error *err) {
        static const struct timespec pause = {.tv_nsec = BUSY_PAUSE_MILLISECONDS * 1000000l};
        for (unsigned tries = 0; tries < BUSY_TRIES; tries++) {
                *err = ERROR_INIT;
                if (image_tool_repair(fd, err) == 0)
                        return 0;
                if (err->code != ERROR_BUSY)
                        return -1;
                nanosleep(&pause, NULL);
        }
        return -1;
}

// How long it is says nothing else; what is amiss within it, take_up() finds.
static bool keeps(const struct sink *sink, uint64_t bytes) {
        const struct sink_nbd *nbd = (const struct sink_nbd *) sink;
        struct stat status;
        return fstat(nbd->fd, &status) == 0 && (status.st_size > 0 || bytes == 0);
}

static int take_up(struct sink_nbd *nbd, struct error *err) {
        struct error why = ERROR_INIT;
        if (repair(nbd->fd, &why) == 0)
                return 0;
        if (why.code != ERROR_CORRUPT) {
                if (err)
                        *err = why;
                return -1;
        }
        if (ftruncate(nbd->fd, 0) < 0)
                return error_errno(err, errno, "begin the image anew");
        return error_set(err, ERROR_CORRUPT, "what an earlier attempt left cannot be gone on with: %s", why.message);
}

static int begin(struct sink *sink, uint64_t bytes, bool fresh, struct error *err) {
        struct sink_nbd *nbd = (struct sink_nbd *) sink;
        nbd_client_free(nbd->client);
        nbd->client = NULL;
        if ((fresh ? image_tool_create(nbd->fd, nbd_whole_sectors(bytes), err) : take_up(nbd, err)) < 0)
                return -1;
        struct nbd_image image = {.fds = {nbd->fd}, .formats = {NBD_QCOW2}, .n = 1, .bytes = bytes};
        if (nbd_client_new(&image, true, &nbd->client, err) < 0)
                return -1;
        sink->starts_zero = fresh;
        return 0;
}

// The disk has whole sectors, whatever the length of the image.
static int write_block(struct sink *sink, uint64_t offset, uint8_t *buffer, size_t length, struct error *err) {
        struct sink_nbd *nbd = (struct sink_nbd *) sink;
        size_t whole = (size_t) nbd_whole_sectors(length);
        memset(buffer + length, 0, whole - length);
        return nbd_client_write(nbd->client, offset, buffer, whole, err);
}

static int zero(struct sink *sink, uint64_t offset, uint64_t length, struct error *err) {
        struct sink_nbd *nbd = (struct sink_nbd *) sink;
        return nbd_client_zero(nbd->client, offset, nbd_whole_sectors(length), err);
}

static int read_block(struct sink *sink, uint64_t offset, uint8_t *buffer, size_t length, struct error *err) {
        struct sink_nbd *nbd = (struct sink_nbd *) sink;
        return nbd_client_read(nbd->client, offset, buffer, length, err);
}

// QEMU writes out its tables and syncs the file; its errors come back as the answer.
static int flush(struct sink *sink, struct error *err) {
        struct sink_nbd *nbd = (struct sink_nbd *) sink;
        return nbd->client ? nbd_client_flush(nbd->client, err) : 0;
}

static void free_nbd(struct sink *sink) {
        struct sink_nbd *nbd = (struct sink_nbd *) sink;
        // A server that is let go in peace gives back what it had set aside. What counts was flushed.
        if (nbd->client)
                nbd_client_close(nbd->client, NULL);
        nbd_client_free(nbd->client);
        free(nbd);
}

static const struct sink_ops ops = {.kind = "guest",
                                    .keeps = keeps,
                                    .begin = begin,
                                    .write = write_block,
                                    .zero = zero,
                                    .read = read_block,
                                    .flush = flush,
                                    .free = free_nbd};

int sink_nbd_new(int fd, struct sink **ret, struct error *err) {
        if (fcntl(fd, F_GETFD) < 0)
                return error_errno(err, errno, "open the image for writing");
        struct sink_nbd *nbd = new (struct sink_nbd);
        sink_init(&nbd->sink, &ops);
        nbd->fd = fd;
        *ret = &nbd->sink;
        return 0;
}
