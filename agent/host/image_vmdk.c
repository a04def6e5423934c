// SPDX-License-Identifier: LGPL-2.1-or-later
/* VMDK headers (see image_vmdk.h), read as QEMU's block/vmdk.c reads them; all numbers are little-endian. */
#include "agent/host/image_vmdk.h"
#include "common/cleanup.h"
#include "common/memory.h"
#include <endian.h>
#include <errno.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define SECTOR         512u
#define HEADER         512u
#define CAPACITY       12u // sectors of the disk
#define GRAIN          20u
#define DESCRIPTOR     28u // sector and number of sectors of the embedded descriptor
#define DIRECTORY      56u // sector of the grain directory
#define AT_END         UINT64_MAX
#define DESCRIPTOR_MAX 128u // sectors

static uint64_t u64_at(const uint8_t *header, size_t offset) {
        uint64_t value;
        memcpy(&value, header + offset, sizeof(value));
        return le64toh(value);
}

static int read_all(int fd, const char *name, uint64_t offset, uint8_t *bytes, size_t length, struct error *err) {
        for (size_t done = 0; done < length;) {
                ssize_t n = pread(fd, bytes + done, length - done, (off_t) (offset + done));
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return error_errno(err, errno, "read %s", name);
                if (n == 0)
                        return error_set(err, ERROR_REFUSED, "%s: the VMDK header is cut short", name);
                done += (size_t) n;
        }
        return 0;
}

// A stream's numbers stand at its end, and QEMU believes those: they must be the ones that were checked.
static int check_footer(int fd, const char *name, const uint8_t *header, const struct image *image, struct error *err) {
        uint8_t footer[HEADER];
        if (u64_at(header, DIRECTORY) != AT_END)
                return 0;
        if (image->file_bytes < 2 * SECTOR + HEADER)
                return error_set(err, ERROR_REFUSED, "%s: the VMDK footer is cut short", name);
        if (read_all(fd, name, image->file_bytes - 2 * SECTOR, footer, sizeof(footer), err) < 0)
                return -1;
        if (memcmp(footer, "KDMV", 4) != 0 || memcmp(footer + CAPACITY, header + CAPACITY, DIRECTORY - CAPACITY) != 0)
                return error_set(err, ERROR_REFUSED, "%s: the VMDK footer is unlike the header", name);
        return 0;
}

// ---- the embedded descriptor ----

static bool begins(const char *line, const char *with) {
        return strncasecmp(line, with, strlen(with)) == 0;
}

struct descriptor {
        unsigned extents;
        bool kind_known, alone;
};

static void read_line(const char *line, struct descriptor *ret) {
        static const char *const accesses[] = {"RW ", "RDONLY ", "NOACCESS "};
        for (unsigned i = 0; i < ARRAY_SIZE(accesses); i++)
                ret->extents += begins(line, accesses[i]);
        if (begins(line, "createType="))
                ret->kind_known = begins(line, "createType=\"monolithicSparse\"") ||
                                  begins(line, "createType=\"streamOptimized\"");
        if (begins(line, "parentCID="))
                ret->alone = begins(line, "parentCID=ffffffff");
}

static int check_descriptor(int fd, const char *name, const uint8_t *header, const struct image *image,
                            struct error *err) {
        uint64_t at = u64_at(header, DESCRIPTOR), sectors = u64_at(header, DESCRIPTOR + 8);
        if (at == 0 || sectors == 0 || sectors > DESCRIPTOR_MAX || at > image->file_bytes / SECTOR)
                return error_set(err, ERROR_REFUSED, "%s: the VMDK descriptor is not where it should be", name);
        _cleanup_(free_p) char *text = memory_new(sectors * SECTOR + 1);
        if (read_all(fd, name, at * SECTOR, (uint8_t *) text, sectors * SECTOR, err) < 0)
                return -1;
        struct descriptor found = {0};
        char *rest = NULL;
        for (char *line = strtok_r(text, "\r\n", &rest); line; line = strtok_r(NULL, "\r\n", &rest))
                read_line(line, &found);
        if (!found.kind_known || found.extents != 1)
                return error_set(err, ERROR_REFUSED,
                                 "%s: only a VMDK that is one file is read (monolithicSparse, streamOptimized)", name);
        if (!found.alone)
                return error_set(err, ERROR_REFUSED, "%s: the VMDK is laid over another image", name);
        return 0;
}

int image_vmdk_read(int fd, const char *name, struct image *image, struct error *err) {
        uint8_t header[HEADER];
        if (image->file_bytes >= HEADER && read_all(fd, name, 0, header, sizeof(header), err) < 0)
                return -1;
        if (image->file_bytes < HEADER || memcmp(header, "KDMV", 4) != 0)
                return error_set(err, ERROR_REFUSED, "%s is not a VMDK image of one file", name);
        uint64_t sectors = u64_at(header, CAPACITY), grain = u64_at(header, GRAIN);
        // Without a size QEMU would take the descriptor for the truth, and open what it names.
        if (sectors == 0 || sectors > INT64_MAX / SECTOR)
                return error_set(err, ERROR_REFUSED, "%s: impossible VMDK disk size", name);
        if (grain < 8 || grain > 2048 || (grain & (grain - 1)))
                return error_set(err, ERROR_REFUSED, "%s: impossible VMDK grain of %llu sectors", name,
                                 (unsigned long long) grain);
        image->virtual_bytes = sectors * SECTOR;
        return check_footer(fd, name, header, image, err) < 0 ? -1 : check_descriptor(fd, name, header, image, err);
}
