// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * A VM that is cloned, at the host where it is. It stays there, defined and with its images in their places, and only
 * has to stay off: clone_hold() notes which version each image is, every reading of one holds QEMU's lock against
 * writers, and clone_confirm() says in the end whether they are still the same. Nothing is exclusive, so one template
 * can be cloned many times at once, and nothing is left to undo.
 *
 * custody->vm_uuid is the clone's; the source is named by the request. What is noted are facts of the job: "clone" (the
 * source's UUID and the digest of its definition) and "clone.<item>" (version and path of each image).
 *
 * A linked clone is a new image laid over the source's, which is made immutable first, so that neither QEMU nor drover
 * nor a careless hand changes it from then on. The mark IMAGE_MARK says that it was drover who did that. When the last
 * clone of it is discarded by its own job, that is taken back; when clones are removed by hand, `chattr -i` does it.
 */
#include "agent/host/custody.h"
#include "agent/host/image.h"

// Checks that the source is off, as planned and at rest, and each image: a regular file that nobody writes, whole, or
// with request->local laid over others by absolute names.
int clone_hold(const struct custody *custody, const Drover__CloneHold *request, Drover__MoveFenceResult **ret,
               struct error *err);
// ERROR_STALE when it was started or changed in the meantime.
int clone_confirm(const struct custody *custody, const Drover__CloneConfirm *request, struct error *err);

// An image as it was held, to read, locked for as long as the fd is open; it is the caller's. ERROR_STALE when it is
// another version. ret_path (may be NULL): for what is to be laid over it; the caller's.
int clone_open(const struct custody *custody, const char *source_uuid, const char *item, int *ret_fd,
               uint64_t *ret_bytes, char **ret_path, struct error *err);

// 1: the file now shares all blocks with the source, and nothing else is in it, synced; 0: the file system cannot do
// that, and nothing was changed; -1.
int clone_reflink(int source_fd, int sink_fd, struct error *err);

// What a linked image is to be laid over.
struct clone_base {
        int fd; // locked
        char *path, *format;
        uint64_t bytes; // of the guest's disk
};
void clone_base_fini(struct clone_base *base);
// Makes the source's image ready to be laid over: noted for the definition, readable for QEMU, immutable. ERROR_REFUSED
// where the file system cannot make a file immutable.
int clone_base_prepare(const struct custody *custody, const Drover__CloneLocal *request, struct clone_base *ret,
                       struct error *err);
// The same for an image that is copied as it is and is laid over another one itself: that is a base from now on.
int clone_base_inherit(const struct custody *custody, const Drover__CloneLocal *request, const char *source_path,
                       struct error *err);
// The base that an image of this job was laid over; caller frees: 1, 0 when it has none, -1.
int clone_base_of(const struct custody *custody, const char *item, char **ret_path, struct error *err);
// After the image of `item` was discarded, and before its hold is removed: the base may be written again if nothing
// else is laid over it.
int clone_base_release(const struct custody *custody, const char *item, struct error *err);
