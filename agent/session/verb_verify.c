// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Verifying what has arrived: each published image is there with the length that was sent, the VM is defined under its
 * UUID and does not run; with read_back the disks are read again, past the page cache, and must give the digests that
 * both ends agreed on when the copy closed. On a thread of its own.
 */
#include "agent/blocks/nbd_image.h"
#include "agent/host/placement.h"
#include "agent/session/image_ends.h"
#include "agent/session/verb_runs.h"
#include "common/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

static int check_defined(virConnectPtr conn, const struct verb_call *call, struct error *err) {
        const char *name = call->request->move_verify->vm_name;
        _cleanup_(domain_free_p) virDomainPtr domain = virDomainLookupByUUIDString(conn, call->request->vm_uuid);
        if (!domain)
                return connection_error(err, "verify: find the VM");
        if (*name && strcmp(virDomainGetName(domain), name) != 0)
                return error_set(err, ERROR_CONFLICT, "verify: the VM is called %s here, not %s",
                                 virDomainGetName(domain), name);
        int active = virDomainIsActive(domain);
        if (active < 0)
                return connection_error(err, "verify: state of the VM");
        if (active)
                return error_set(err, ERROR_CONFLICT, "verify: the VM runs already, so its disks are changing");
        return 0;
}

// What the page cache holds is what was written; only the disk's own answer proves anything (fault 24).
static int read_back(struct verb_call *call, const Drover__MoveDisk *disk, const char *expected, struct source *source,
                     struct error *err) {
        char digest[DIGEST_TEXT];
        if (transfer_digest(source, call->cancelled, call->data, digest, err) < 0)
                return -1;
        if (strcmp(digest, expected) == 0)
                return 0;
        error_set(err, ERROR_CORRUPT, "read back as %s, but %s was written", digest, expected);
        error_hint(err, "check the disks of pool %s on this host before trying again", disk->pool);
        return -1;
}

static int check_length(uint64_t has, uint64_t sent, struct error *err) {
        return has == sent ? 0
                           : error_set(err, ERROR_CORRUPT, "the image has %llu bytes, but %llu were sent",
                                       (unsigned long long) has, (unsigned long long) sent);
}

// A volume is as long as its pool's units make it.
static int check_room(int fd, uint64_t has, uint64_t sent, struct error *err) {
        struct stat status;
        if (fstat(fd, &status) < 0)
                return error_errno(err, errno, "look at the image");
        return S_ISBLK(status.st_mode) && has > sent ? 0 : check_length(has, sent, err);
}

// Of an image that was made anew counts what the guest sees; a disk has whole sectors.
static int check_guest(int fd, const Drover__MoveDisk *disk, struct error *err) {
        struct image image;
        if (image_inspect(fd, disk->volume, disk->format, &image, err) < 0)
                return -1;
        return check_length(image.virtual_bytes, nbd_whole_sectors(disk->file_bytes), err);
}

static int verify_image(struct verb_call *call, const Drover__MoveDisk *disk, const char *digest, int fd,
                        uint64_t bytes, struct error *err) {
        bool guest = image_is_made_anew(disk) && strcmp(disk->format, "raw") != 0;
        if ((guest ? check_guest(fd, disk, err) : check_room(fd, bytes, disk->file_bytes, err)) < 0)
                return -1;
        if (!call->request->move_verify->read_back)
                return 0;
        int failed = posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        if (failed)
                return error_errno(err, failed, "drop the page cache");
        struct source *source = NULL;
        if (image_source_published(fd, guest ? disk->format : "", disk->file_bytes, &source, err) < 0)
                return -1;
        int status = read_back(call, disk, digest, source, err);
        source_free(source);
        return status;
}

static int verify_disk(struct verb_call *call, const struct custody *custody, size_t index, struct error *err) {
        const Drover__MoveVerify *verify = call->request->move_verify;
        const Drover__MoveDisk *disk = verify->disks[index];
        _cleanup_(close_p) int fd = -1;
        uint64_t bytes = 0;
        if (placement_open_published(custody, disk->target, &fd, &bytes, err) < 0 ||
            verify_image(call, disk, verify->digests[index], fd, bytes, err) < 0)
                return error_prefix(err, "verify %s", disk->target);
        return 0;
}

int verb_move_verify(struct verb_call *call, struct error *err) {
        _cleanup_(connection_put_p) virConnectPtr conn = NULL;
        if (connection_get(call->host->connection, &conn, err) < 0 || check_defined(conn, call, err) < 0)
                return -1;
        struct custody custody;
        verb_custody(call, conn, &custody);
        for (size_t i = 0; i < call->request->move_verify->n_disks; i++)
                if (verify_disk(call, &custody, i, err) < 0)
                        return -1;
        return 0;
}
