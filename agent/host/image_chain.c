// SPDX-License-Identifier: LGPL-2.1-or-later
/* Following the names in images' headers (see image_chain.h). Blocking, any thread. */
#include "agent/host/image_chain.h"
#include "agent/host/reach.h"
#include "common/cleanup.h"
#include "common/memory.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

void image_chain_break(struct image_chain *chain, enum image_chain_end how, const struct error *why) {
        chain->end = how;
        snprintf(chain->why, sizeof(chain->why), "%.255s", why->message);
}

// No others are opened: looking into some devices does something.
static int open_image(const char *path, struct error *err) {
        struct stat status;
        if (stat(path, &status) < 0)
                return error_errno(err, errno, "%s", path);
        if (!S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode))
                return error_set(err, ERROR_REFUSED, "%s is neither a file nor a block device", path);
        int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        return fd < 0 ? error_errno(err, errno, "%s", path) : fd;
}

// Whether it is a qcow2 laid over something; otherwise it ends the chain, and how is noted.
static bool look(const char *path, struct image *ret, struct image_chain *chain) {
        struct error err = ERROR_INIT;
        if (reach_check(path, &err) < 0) {
                image_chain_break(chain, IMAGE_CHAIN_SILENT, &err);
                return false;
        }
        _cleanup_(close_p) int fd = open_image(path, &err);
        int found = fd < 0 ? -1 : image_read_qcow2(fd, path, ret, &err);
        if (found < 0)
                image_chain_break(chain, err.code == ERROR_NOT_FOUND ? IMAGE_CHAIN_MISSING : IMAGE_CHAIN_UNKNOWN, &err);
        else if (!found || !ret->has_backing)
                chain->end = IMAGE_CHAIN_WHOLE;
        else
                return true;
        return false;
}

// Others, "json:" above all, may well name a file of this one.
static bool leaves_the_host(const char *backing) {
        return strncmp(backing, "json:", 5) != 0 &&
               (strstr(backing, "://") || strncmp(backing, "nbd:", 4) == 0 || strncmp(backing, "rbd:", 4) == 0);
}

void image_chain_below(const struct image *image, const char *path, struct image_chain *ret) {
        struct error why = ERROR_INIT;
        struct image at = *image;
        const char *over = path;
        *ret = (struct image_chain){.end = IMAGE_CHAIN_WHOLE};
        while (at.has_backing) {
                if (ret->n == IMAGE_CHAIN_MAX) {
                        error_set(&why, ERROR_TOO_LARGE, "%s has more than %u backing files", path, IMAGE_CHAIN_MAX);
                        image_chain_break(ret, IMAGE_CHAIN_UNKNOWN, &why);
                        return;
                }
                snprintf(ret->formats[ret->n], sizeof(ret->formats[0]), "%s", at.backing_format);
                over = ret->paths[ret->n++] = image_backing_path(over, at.backing);
                if (over[0] != '/') {
                        error_set(&why, ERROR_REFUSED, "%s is no plain name of a file", over);
                        image_chain_break(ret, leaves_the_host(over) ? IMAGE_CHAIN_WHOLE : IMAGE_CHAIN_UNKNOWN, &why);
                        return;
                }
                if (at.backing_format[0] && strcmp(at.backing_format, "qcow2") != 0)
                        return;
                if (!look(over, &at, ret))
                        return;
        }
}

void image_chain_read(const char *path, const char *format, struct image_chain *ret) {
        struct image image;
        *ret = (struct image_chain){.end = IMAGE_CHAIN_WHOLE};
        if (strcmp(format, "qcow2") == 0 && look(path, &image, ret))
                image_chain_below(&image, path, ret);
}

void image_chain_fini(struct image_chain *chain) {
        for (unsigned i = 0; i < chain->n; i++)
                free(chain->paths[i]);
        chain->n = 0;
}
