// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Verifying what has arrived: each published image is there with the length that was sent, the VM is defined under its
 * UUID and does not run; with read_back the disks are read again, past the page cache, and must give the digests that
 * both ends agreed on when the copy closed. On a thread of its own.
 */
#include "agent/host/placement.h"
#include "agent/session/verb_runs.h"
#include "common/cleanup.h"

#include <fcntl.h>
#include <string.h>

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
static int read_back(struct verb_call *call, const Drover__MoveDisk *disk, const char *expected, int fd, uint64_t bytes,
                     struct error *err) {
        int r = posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        if (r)
                return error_errno(err, r, "verify %s: drop the page cache", disk->target);
        char digest[80];
        if (transfer_digest(fd, bytes, call->cancelled, call->data, digest, err) < 0)
                return error_prefix(err, "verify %s", disk->target);
        if (strcmp(digest, expected) != 0) {
                error_set(err, ERROR_CORRUPT, "verify %s: read back as %s, but %s was written", disk->target, digest,
                          expected);
                error_hint(err, "check the disks of pool %s on this host before trying again", disk->pool);
                return -1;
        }
        return 0;
}

static int verify_disk(struct verb_call *call, const struct custody *custody, size_t index, struct error *err) {
        const Drover__MoveVerify *verify = call->request->move_verify;
        const Drover__MoveDisk *disk = verify->disks[index];
        _cleanup_(close_p) int fd = -1;
        uint64_t bytes = 0;
        if (placement_open_published(custody, disk->target, &fd, &bytes, err) < 0)
                return error_prefix(err, "verify %s", disk->target);
        if (bytes != disk->file_bytes)
                return error_set(err, ERROR_CORRUPT, "verify %s: the image has %llu bytes, but %llu were sent",
                                 disk->target, (unsigned long long) bytes, (unsigned long long) disk->file_bytes);
        return verify->read_back ? read_back(call, disk, verify->digests[index], fd, bytes, err) : 0;
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
