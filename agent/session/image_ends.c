// SPDX-License-Identifier: LGPL-2.1-or-later
/* Which kind of source or sink an image calls for (see image_ends.h). */
#include "agent/session/image_ends.h"
#include "agent/blocks/sink_file.h"
#include "agent/blocks/sink_nbd.h"
#include "agent/blocks/source_file.h"
#include "agent/blocks/source_nbd.h"
#include "common/cleanup.h"

#include <string.h>

void image_source_fini(struct image_source *image) {
        source_free(image->source);
        image->source = NULL;
        image_files_fini(&image->files);
}

int image_source_file(int fd, uint64_t bytes, struct image_source *ret, struct error *err) {
        struct image_source image = {.files = {.fds = {fd}, .n = 1}};
        if (source_file_new(fd, bytes, &image.source, err) < 0) {
                image_source_fini(&image);
                return -1;
        }
        *ret = image;
        return 0;
}

static int open_guest(struct image_source *image, uint64_t bytes, struct error *err) {
        const struct image_files *files = &image->files;
        if (bytes != files->virtual_bytes)
                return error_set(err, ERROR_CONFLICT, "the image has a disk of %llu bytes, and %llu when it was fenced",
                                 (unsigned long long) files->virtual_bytes, (unsigned long long) bytes);
        // What the guest sees of a raw image is the file.
        if (files->n == 1 && strcmp(files->formats[0], "raw") == 0)
                return source_file_new(files->fds[0], bytes, &image->source, err);
        struct nbd_image nbd = {.n = files->n, .bytes = bytes};
        _Static_assert(IMAGE_FILES_MAX == NBD_CHAIN_MAX, "the same chains");
        for (unsigned i = 0; i < files->n; i++) {
                nbd.fds[i] = files->fds[i];
                if (nbd_format_parse(files->formats[i], &nbd.formats[i], err) < 0)
                        return -1;
        }
        return source_nbd_new(&nbd, &image->source, err);
}

int image_source_guest(const struct image_files *files, uint64_t bytes, struct image_source *ret, struct error *err) {
        struct image_source image = {.files = *files};
        if (open_guest(&image, bytes, err) < 0) {
                image_source_fini(&image);
                return -1;
        }
        *ret = image;
        return 0;
}

int image_source_published(int fd, const char *format, uint64_t bytes, struct source **ret, struct error *err) {
        struct nbd_image image = {.fds = {fd}, .n = 1, .bytes = bytes};
        if (!format[0])
                return source_file_new(fd, bytes, ret, err);
        return nbd_format_parse(format, &image.formats[0], err) < 0 ? -1 : source_nbd_new(&image, ret, err);
}

bool image_is_made_anew(const Drover__MoveDisk *disk) {
        return disk && disk->source_format[0] && !disk->backing_target[0];
}

int image_sink_new(int fd, const Drover__MoveDisk *disk, struct sink **ret, struct error *err) {
        if (image_is_made_anew(disk) && strcmp(disk->format, "qcow2") == 0)
                return sink_nbd_new(fd, ret, err);
        return sink_file_new(fd, ret, err);
}
