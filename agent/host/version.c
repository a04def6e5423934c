// SPDX-License-Identifier: LGPL-2.1-or-later
/* Versions of image files, one by one and as the digest of all that a VM has. Any thread. */
#include "agent/host/version.h"
#include "agent/host/device.h"
#include "agent/host/reach.h"
#include "common/buffer.h"
#include "common/cleanup.h"
#include "common/memory.h"
#include <errno.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NS INT64_C(1000000000)

static void of_stat(const struct stat *status, struct version *ret) {
        *ret = (struct version){
                .inode = status->st_ino,
                .bytes = (uint64_t) status->st_size,
                .modified_ns = status->st_mtim.tv_sec * NS + status->st_mtim.tv_nsec,
                .changed_ns = status->st_ctim.tv_sec * NS + status->st_ctim.tv_nsec,
        };
}

static int of_device(dev_t device, uint64_t bytes, struct version *ret, struct error *err) {
        uint64_t written, life;
        if (device_count(device, &written, &life, err) < 0)
                return -1;
        *ret = (struct version){.inode = device,
                                .bytes = bytes,
                                .modified_ns = (int64_t) written,
                                .changed_ns = (int64_t) life,
                                .device = true};
        return 0;
}

int version_of_device(const char *path, struct version *ret, struct error *err) {
        struct stat status;
        uint64_t bytes;
        if (device_bytes(path, &bytes, err) < 0)
                return -1;
        if (stat(path, &status) < 0)
                return error_errno(err, errno, "%s", path);
        return of_device(status.st_rdev, bytes, ret, err) < 0 ? error_prefix(err, "%s", path) : 0;
}

// What was written through the page cache is counted when it leaves it.
static int of_open_device(int fd, const struct stat *status, struct version *ret, struct error *err) {
        off_t bytes = lseek(fd, 0, SEEK_END);
        if (bytes < 0 || (fsync(fd) < 0 && errno != EROFS && errno != EINVAL))
                return error_errno(err, errno, "look at the device");
        return of_device(status->st_rdev, (uint64_t) bytes, ret, err);
}

int version_of_fd(int fd, struct version *ret, struct error *err) {
        struct stat status;
        if (fstat(fd, &status) < 0)
                return error_errno(err, errno, "look at the image");
        if (S_ISBLK(status.st_mode))
                return of_open_device(fd, &status, ret, err);
        if (!S_ISREG(status.st_mode))
                return error_set(err, ERROR_REFUSED, "it is not a regular file");
        of_stat(&status, ret);
        return 0;
}

void version_format(const struct version *version, char ret[VERSION_TEXT_MAX]) {
        snprintf(ret, VERSION_TEXT_MAX, "%s%" PRIu64 " %" PRIu64 " %" PRId64 " %" PRId64, version->device ? "b" : "",
                 version->inode, version->bytes, version->modified_ns, version->changed_ns);
}

bool version_parse(const char *text, struct version *ret) {
        ret->device = text[0] == 'b';
        text += ret->device;
        return sscanf(text, "%" SCNu64 " %" SCNu64 " %" SCNd64 " %" SCNd64, &ret->inode, &ret->bytes, &ret->modified_ns,
                      &ret->changed_ns) == 4;
}

bool version_same_content(const struct version *one, const struct version *other) {
        return one->device == other->device && one->inode == other->inode && one->bytes == other->bytes &&
               one->modified_ns == other->modified_ns && (!one->device || one->changed_ns == other->changed_ns);
}

bool version_comparable(const struct version *one, const struct version *other) {
        return one->device == other->device && (!one->device || one->changed_ns == other->changed_ns);
}

bool version_same(const struct version *one, const struct version *other) {
        return version_same_content(one, other) && one->changed_ns == other->changed_ns;
}

// ---- all of a VM ----

static bool add_file(EVP_MD_CTX *digest, const char *item, const char *path) {
        struct stat status;
        struct version version;
        char text[VERSION_TEXT_MAX];
        if (!reach_answers(path) || lstat(path, &status) < 0)
                return false;
        if (S_ISREG(status.st_mode))
                of_stat(&status, &version);
        else if (version_of_device(path, &version, NULL) < 0)
                return false;
        version_format(&version, text);
        _cleanup_(free_p) char *line = memory_format("%s %s\n", item, text);
        return EVP_DigestUpdate(digest, line, strlen(line)) == 1;
}

static bool add_disks(EVP_MD_CTX *digest, const Drover__Domain *domain) {
        unsigned n = 0;
        for (size_t i = 0; i < domain->n_disks; i++) {
                const Drover__Disk *disk = domain->disks[i];
                if ((strcmp(disk->device, "disk") != 0 && strcmp(disk->device, "lun") != 0) || !*disk->type)
                        continue;
                if (!*disk->path || !add_file(digest, disk->target, disk->path))
                        return false;
                n++;
        }
        return n > 0;
}

void version_of_domain(Drover__Domain *domain, const char *nvram) {
        unsigned char sum[EVP_MAX_MD_SIZE];
        unsigned n = 0;
        if (strcmp(domain->state, "shut off") != 0)
                return;
        EVP_MD_CTX *digest = EVP_MD_CTX_new();
        bool whole = digest && EVP_DigestInit_ex(digest, EVP_sha256(), NULL) == 1 && add_disks(digest, domain);
        struct stat status;
        if (whole && nvram && stat(nvram, &status) == 0) // a VM that never ran has none yet
                whole = add_file(digest, "nvram", nvram);
        if (whole && EVP_DigestFinal_ex(digest, sum, &n) == 1 && n >= 16) {
                char hex[33];
                for (unsigned i = 0; i < 16; i++)
                        snprintf(hex + 2 * i, 3, "%02x", sum[i]);
                domain->images_version = memory_string(hex);
        }
        EVP_MD_CTX_free(digest);
}
