// SPDX-License-Identifier: LGPL-2.1-or-later
/* Block devices at the source of a move (see custody_device.h). Workers only. */
#include "agent/host/custody_device.h"
#include "agent/host/custody_domain.h"
#include "agent/host/device.h"
#include "agent/host/version.h"
#include "agent/host/volume.h"
#include "common/cleanup.h"
#include "common/fault.h"
#include "common/memory.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define FACT_DEVICE "device." // with the item
#define NO_VOLUME   "-"

struct noted {
        struct version version;
        char key[VOLUME_KEY_MAX];
};

static char *path_of(const struct hold *hold) {
        return memory_format("%s/%s", hold->directory, hold->name);
}

// Through an open descriptor, so that what is still on its way to the device is counted.
static int read_now(const struct custody *custody, const struct hold *hold, struct noted *ret, struct error *err) {
        _cleanup_(free_p) char *path = path_of(hold);
        _cleanup_(close_p) int fd = -1;
        struct volume volume;
        uint64_t bytes;
        int found = volume_find(custody->conn, hold->directory, hold->name, &volume, err);
        if (found < 0 || device_open(path, O_RDONLY, &fd, &bytes, err) < 0)
                return -1;
        snprintf(ret->key, sizeof(ret->key), "%s", found ? volume.key : NO_VOLUME);
        return version_of_fd(fd, &ret->version, err) < 0 ? error_prefix(err, "%s", path) : 0;
}

int custody_device_note(const struct custody *custody, const struct hold *hold, struct error *err) {
        _cleanup_(free_p) char *key = memory_format(FACT_DEVICE "%s", hold->item);
        char text[VERSION_TEXT_MAX];
        struct noted noted;
        if (read_now(custody, hold, &noted, err) < 0)
                return -1;
        version_format(&noted.version, text);
        _cleanup_(free_p) char *fact = memory_format("%s %s", noted.key, text);
        return journal_fact_set(custody->journal, hold->job, key, fact, strlen(fact), err);
}

static int recall(const struct custody *custody, const struct hold *hold, struct noted *ret, struct error *err) {
        _cleanup_(free_p) char *key = memory_format(FACT_DEVICE "%s", hold->item);
        _cleanup_(free_p) uint8_t *bytes = NULL;
        size_t length;
        int found = journal_fact_get(custody->journal, hold->job, key, &bytes, &length, err);
        if (found < 0)
                return -1;
        const char *space = found ? strchr((const char *) bytes, ' ') : NULL;
        size_t key_length = space ? (size_t) (space - (const char *) bytes) : 0;
        if (!space || key_length >= sizeof(ret->key) || !version_parse(space + 1, &ret->version))
                return error_set(err, ERROR_FAILED, "what job %s noted of %s cannot be read", hold->job, hold->item);
        memcpy(ret->key, bytes, key_length);
        ret->key[key_length] = 0;
        return 0;
}

static int compare(const struct hold *hold, const struct noted *noted, const struct noted *now, bool strict,
                   struct error *err) {
        const char *what = NULL;
        if (strcmp(noted->key, now->key) != 0 || noted->version.bytes != now->version.bytes)
                what = "is another device than the one that was held";
        else if (version_comparable(&noted->version, &now->version) && !version_same(&noted->version, &now->version))
                what = "was written to since it was held";
        else if (strict && !version_comparable(&noted->version, &now->version))
                what = "may have been written to: it went away since it was held, as with a start of the host";
        return what ? error_set(err, ERROR_CONFLICT, "%s: %s/%s %s", hold->item, hold->directory, hold->name, what) : 0;
}

int custody_device_check(const struct custody *custody, const struct hold *hold, bool strict, struct error *err) {
        struct noted noted, now;
        if (recall(custody, hold, &noted, err) < 0 || read_now(custody, hold, &now, err) < 0)
                return -1;
        return compare(hold, &noted, &now, strict, err);
}

// ---- purge ----

static int check_unused(const struct custody *custody, const struct hold *hold, struct error *err) {
        _cleanup_(free_p) char *path = path_of(hold);
        return custody_check_unused(custody, "", hold, 1, err) < 0 ? -1 : device_check_free(path, err);
}

// Somebody has found a use for it: whether that was more than a look is not for us to say.
static int check_unchanged(const struct custody *custody, const struct hold *hold, struct error *err) {
        if (custody_device_check(custody, hold, false, err) == 0)
                return 0;
        error_hint(err, "if nobody needs what is in it: virsh vol-delete %s/%s, and purge it again", hold->directory,
                   hold->name);
        return -1;
}

int custody_device_purge(const struct custody *custody, const struct hold *hold, uint64_t *ret_bytes,
                         struct error *err) {
        struct noted noted;
        struct volume volume;
        if (!custody->conn)
                return error_set(err, ERROR_UNREACHABLE, "libvirt is needed to remove the volume %s/%s",
                                 hold->directory, hold->name);
        if (recall(custody, hold, &noted, err) < 0)
                return -1;
        *ret_bytes = 0;
        if (strcmp(noted.key, NO_VOLUME) == 0)
                return 1;
        int found = volume_find(custody->conn, hold->directory, hold->name, &volume, err);
        if (found < 0 || (!found && volume_check_pool(custody->conn, hold->directory, hold->name, err) < 0))
                return -1;
        // Removed by hand, or in an earlier run, and perhaps made anew by somebody.
        if (!found || strcmp(volume.key, noted.key) != 0)
                return 0;
        if (check_unused(custody, hold, err) < 0 || check_unchanged(custody, hold, err) < 0 ||
            custody_note_purging(custody, hold, err) < 0 || fault_point("agent.purge.before-remove", err) < 0)
                return -1;
        found = volume_remove(custody->conn, hold->directory, hold->name, noted.key, err);
        if (found < 0)
                return -1;
        *ret_bytes = found ? hold->bytes : 0;
        return fault_point("agent.purge.removed", err);
}
