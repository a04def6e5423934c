// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * What stands behind a verb's source or sink: open files, and the kind of source or sink that their formats call for.
 * Blocking, on the verb's thread.
 */
#include "agent/blocks/sink.h"
#include "agent/blocks/source.h"
#include "agent/host/image_files.h"
#include "proto/generated/control.pb-c.h"

struct image_source {
        struct image_files files;
        struct source *source;
};
// Of an image file as it is. Takes the descriptor over, whatever the outcome.
int image_source_file(int fd, uint64_t bytes, struct image_source *ret, struct error *err);
// Of what the guest sees of it: exactly `bytes`, or ERROR_CONFLICT. Takes the files over, whatever the outcome.
int image_source_guest(const struct image_files *files, uint64_t bytes, struct image_source *ret, struct error *err);
void image_source_fini(struct image_source *image);

// Of an image that was published here: as it is (format ""), or what the guest sees of it. fd: the caller's, open for
// as long as the source.
int image_source_published(int fd, const char *format, uint64_t bytes, struct source **ret, struct error *err);

// Whether guest-visible blocks come for this disk, and not a file as it is; disk may be NULL (NVRAM).
bool image_is_made_anew(const Drover__MoveDisk *disk);
// fd: the file that becomes the image, the caller's. disk NULL: an NVRAM file.
int image_sink_new(int fd, const Drover__MoveDisk *disk, struct sink **ret, struct error *err);
