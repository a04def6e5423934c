// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Reserving: all reasons why this host cannot take the VM in one refusal, or a hold for each file that will come. Two
 * reservations at once both look, which can take as long as a file system or libvirt likes; the one that puts its holds
 * later finds those of the other and looks again, so that they do not count the same room twice. Workers only.
 */
#include "agent/host/hold_file.h"
#include "agent/host/neighbour.h"
#include "agent/host/placement.h"
#include "agent/host/placement_parts.h"
#include "agent/host/placement_volume.h"
#include "agent/host/pool.h"
#include "agent/host/reach.h"
#include "common/buffer.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/fault.h"
#include "common/memory.h"
#include "common/units.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

static pthread_mutex_t reserving = PTHREAD_MUTEX_INITIALIZER; // nothing but the journal is asked under it

// A file system or a pool of devices that will receive disks.
struct room {
        dev_t device; // 0: a pool of devices
        char pool[NAME_VOLUME_MAX + 1];
        uint64_t available, needed;
};
struct reserve {
        const struct custody *custody;
        const Drover__MoveReserve *request;
        struct neighbours neighbours;
        struct hold *others; // every hold of this host
        unsigned n_others;
        struct hold *holds; // what will be put
        unsigned n_holds;
        struct room *rooms;
        unsigned n_rooms;
        struct error refusal; // all reasons so far; code ERROR_NONE: none
};

static void reserve_fini(struct reserve *reserve) {
        neighbours_fini(&reserve->neighbours);
        free(reserve->others);
        free(reserve->holds);
        free(reserve->rooms);
}

// ---- reasons ----

// A failure that is a reason against this host, as opposed to one that says nothing about it.
static int refuse_for(struct reserve *reserve, const struct error *why, struct error *err) {
        if (why->code == ERROR_NOT_FOUND || why->code == ERROR_REFUSED || why->code == ERROR_INVALID) {
                placement_refuse(&reserve->refusal, "%s", why->message);
                for (unsigned i = 0; i < why->n_hints; i++)
                        error_hint(&reserve->refusal, "%s", why->hints[i]);
                return 0;
        }
        if (err)
                *err = *why;
        return -1;
}

static int conclude(const struct reserve *reserve, struct error *err) {
        if (reserve->refusal.code == ERROR_NONE)
                return 0;
        error_set(err, ERROR_REFUSED, "this host cannot take %s: %s", reserve->request->vm_name,
                  reserve->refusal.message);
        for (unsigned i = 0; i < reserve->refusal.n_hints; i++)
                error_hint(err, "%s", reserve->refusal.hints[i]);
        return -1;
}

// ---- names, UUID, MACs ----

// The names become names of files and of a VM here, so they are checked here as well.
static int check_forms(const Drover__MoveReserve *request, struct error *err) {
        if (name_check_vm(request->vm_name, err) < 0)
                return -1;
        for (size_t i = 0; i < request->n_disks; i++)
                if (name_check_target(request->disks[i]->target, err) < 0 ||
                    name_check_volume(request->disks[i]->volume, err) < 0)
                        return -1;
        return 0;
}

static int check_uuid(struct reserve *reserve, struct error *err) {
        _cleanup_(domain_free_p) virDomainPtr domain = NULL;
        int found = custody_lookup(reserve->custody, &domain, err);
        int ours = found > 0 ? placement_made(reserve->custody, domain, err) : found;
        if (ours < 0)
                return -1;
        if (found && !ours) {
                placement_refuse(&reserve->refusal, "its UUID is in use here by the VM %s", virDomainGetName(domain));
                error_hint(&reserve->refusal, "see whether that one is still needed: virsh dominfo %s",
                           reserve->custody->vm_uuid);
        }
        return 0;
}

static void check_name(struct reserve *reserve) {
        const char *name = reserve->request->vm_name;
        const struct neighbours *neighbours = &reserve->neighbours;
        for (unsigned i = 0; i < neighbours->n; i++)
                if (strcmp(neighbours->items[i].definition->name, name) == 0) {
                        placement_refuse(&reserve->refusal, "a VM named %s exists here", name);
                        error_hint(&reserve->refusal, "give it another name: --as NAME");
                        return;
                }
        for (unsigned i = 0; i < reserve->n_others; i++) {
                const struct hold *other = &reserve->others[i];
                if (strcmp(other->job, reserve->custody->job) == 0 || strcmp(other->vm_name, name) != 0 ||
                    (other->kind != HOLD_INCOMING && other->kind != HOLD_PUBLISHED))
                        continue;
                placement_refuse(&reserve->refusal, "job %s is bringing a VM named %s here", other->job, name);
                error_hint(&reserve->refusal, "see how far it is: drover job show %s", other->job);
                return;
        }
}

static bool has_mac(const Drover__Domain *domain, const char *mac) {
        for (size_t i = 0; i < domain->n_interfaces; i++)
                if (strcasecmp(domain->interfaces[i]->mac, mac) == 0)
                        return true;
        return false;
}

static void check_macs(struct reserve *reserve) {
        for (size_t i = 0; i < reserve->request->n_macs; i++)
                for (unsigned k = 0; k < reserve->neighbours.n; k++) {
                        const Drover__Domain *other = reserve->neighbours.items[k].definition;
                        if (!has_mac(other, reserve->request->macs[i]))
                                continue;
                        placement_refuse(&reserve->refusal, "the MAC address %s is in use here by the VM %s",
                                         reserve->request->macs[i], other->name);
                        error_hint(&reserve->refusal, "give one of them another address: virsh edit %s", other->name);
                        break;
                }
}

// ---- volumes and room ----

static const struct hold *hold_of(const struct reserve *reserve, const char *item) {
        for (unsigned i = 0; i < reserve->n_others; i++)
                if (strcmp(reserve->others[i].job, reserve->custody->job) == 0 &&
                    strcmp(reserve->others[i].item, item) == 0)
                        return &reserve->others[i];
        return NULL;
}

static bool same_place(const struct hold *one, const struct hold *other) {
        return strcmp(one->directory, other->directory) == 0 && strcmp(one->name, other->name) == 0;
}

static void check_promised(struct reserve *reserve, const struct hold *hold, const char *pool) {
        for (unsigned i = 0; i < reserve->n_others; i++)
                // A retired copy lies aside and has no claim to the name it had: its VM may come back here.
                if (&reserve->others[i] != hold_of(reserve, hold->item) && reserve->others[i].kind != HOLD_RETIRED &&
                    same_place(&reserve->others[i], hold))
                        placement_refuse(&reserve->refusal, "volume %s of pool %s is promised to job %s", hold->name,
                                         pool, reserve->others[i].job);
        for (unsigned i = 0; i < reserve->n_holds; i++)
                if (same_place(&reserve->holds[i], hold))
                        placement_refuse(&reserve->refusal, "the disks %s and %s would have the same file %s",
                                         reserve->holds[i].item, hold->item, hold->name);
}

// What this job put at that name itself, in an earlier run, is no reason against it.
static int check_volume(struct reserve *reserve, const struct hold *hold, const char *pool, struct error *err) {
        enum hold_place place;
        const struct hold *known = hold_of(reserve, hold->item);
        if (hold_file_find(hold, &place, err) < 0)
                return -1;
        bool taken = place == HOLD_IN_PLACE || place == HOLD_BOTH;
        if (known && known->kind == HOLD_PUBLISHED && same_place(known, hold))
                taken = false;
        if (taken && known) {
                _cleanup_(free_p) char *key = memory_format(FACT_IDENTITY "%s", hold->item);
                char identity[HOLD_IDENTITY_MAX];
                if (hold_file_identity(hold, HOLD_IN_PLACE, identity, err) < 0)
                        return -1;
                int ours = custody_fact_is(reserve->custody, key, identity, err);
                if (ours < 0)
                        return -1;
                taken = !ours;
        }
        if (taken)
                placement_refuse(&reserve->refusal, "pool %s has a volume %s already", pool, hold->name);
        check_promised(reserve, hold, pool);
        return 0;
}

static uint64_t written(const struct hold *hold) {
        struct image image;
        return hold_file_inspect(hold, HOLD_ASIDE, "raw", &image, NULL) == 0 ? image.allocated_bytes : 0;
}

static uint64_t outstanding(const struct hold *hold) {
        uint64_t have = written(hold);
        return hold->bytes > have ? hold->bytes - have : 0;
}

// What other jobs have been promised of a file system and have not written yet. One that does not answer is not the one
// that has just answered.
static uint64_t promised(const struct reserve *reserve, dev_t device) {
        uint64_t bytes = 0;
        for (unsigned i = 0; i < reserve->n_others; i++) {
                const struct hold *other = &reserve->others[i];
                struct stat status;
                if (other->kind == HOLD_INCOMING && strcmp(other->job, reserve->custody->job) != 0 &&
                    reach_answers(other->directory) && stat(other->directory, &status) == 0 && status.st_dev == device)
                        bytes += outstanding(other);
        }
        return bytes;
}

// device 0: a pool of devices, known by its name.
static struct room *room_of(struct reserve *reserve, dev_t device, const char *pool, uint64_t available) {
        for (unsigned i = 0; i < reserve->n_rooms; i++)
                if (reserve->rooms[i].device == device && (device || strcmp(reserve->rooms[i].pool, pool) == 0))
                        return &reserve->rooms[i];
        reserve->rooms = memory_grow(reserve->rooms, reserve->n_rooms + 1, sizeof(*reserve->rooms));
        struct room *room = &reserve->rooms[reserve->n_rooms++];
        *room = (struct room){.device = device, .available = available};
        if (device)
                room->needed = POOL_SPARE_BYTES + promised(reserve, device);
        snprintf(room->pool, sizeof(room->pool), "%s", pool);
        return room;
}

static int count_room(struct reserve *reserve, const struct hold *hold, const char *pool,
                      const struct pool_directory *directory, struct error *err) {
        struct stat status;
        if (fstat(directory->fd, &status) < 0)
                return error_errno(err, errno, "%s", directory->path);
        room_of(reserve, status.st_dev, pool, directory->available_bytes)->needed += outstanding(hold);
        return 0;
}

static void check_rooms(struct reserve *reserve) {
        char available[UNITS_TEXT_MAX], needed[UNITS_TEXT_MAX];
        for (unsigned i = 0; i < reserve->n_rooms; i++) {
                const struct room *room = &reserve->rooms[i];
                if (room->needed <= room->available)
                        continue;
                placement_refuse(&reserve->refusal, "pool %s has %s free and %s are needed%s", room->pool,
                                 units_format_size(room->available, available), units_format_size(room->needed, needed),
                                 room->device ? ", with what stays free and what other jobs were promised" : "");
                error_hint(&reserve->refusal, "free some of it, or choose another pool: --pool POOL");
        }
}

static int reserved_before(const struct reserve *reserve, const struct hold *known, struct error *err) {
        return error_set(err, ERROR_CONFLICT, "job %s has reserved %s/%s for %s before", reserve->custody->job,
                         known->directory, known->name, known->item);
}

static void keep(struct reserve *reserve, const struct hold *hold) {
        reserve->holds = memory_grow(reserve->holds, reserve->n_holds + 1, sizeof(*hold));
        reserve->holds[reserve->n_holds++] = *hold;
}

// ---- volumes that are devices ----

// What others were promised has been made already, and is no longer available, or is about to be made, if there is
// room.
static int check_volume_name(struct reserve *reserve, const struct hold *hold, const char *pool, uint64_t available,
                             struct error *err) {
        const struct hold *known = hold_of(reserve, hold->item);
        struct error why = ERROR_INIT;
        if (volume_check_name(hold->name, &why) < 0)
                return refuse_for(reserve, &why, err);
        int found = placement_volume_look(reserve->custody, hold, known, &why);
        if (found < 0 && why.code != ERROR_CONFLICT)
                return refuse_for(reserve, &why, err);
        if (found < 0)
                placement_refuse(&reserve->refusal, "pool %s has a volume %s already", pool, hold->name);
        else if (found == 0)
                room_of(reserve, 0, pool, available)->needed += hold->bytes;
        return 0;
}

static uint64_t guest_bytes(const Drover__MoveDisk *disk) {
        bool as_it_is = disk->source_format[0] == 0;
        return as_it_is && disk->file_bytes > disk->capacity_bytes ? disk->file_bytes : disk->capacity_bytes;
}

static int check_device(struct reserve *reserve, const Drover__MoveDisk *disk, struct error *err) {
        char directory[PATH_MAX];
        uint64_t available = 0;
        struct error why = ERROR_INIT;
        struct hold hold;
        if (volume_pool(reserve->custody->conn, disk->pool, directory, &available, &why) < 0)
                return refuse_for(reserve, &why, err);
        placement_hold(reserve->custody, reserve->request->vm_name, disk->target, &hold);
        snprintf(hold.directory, sizeof(hold.directory), "%s", directory);
        snprintf(hold.name, sizeof(hold.name), "%s", disk->volume);
        hold.bytes = guest_bytes(disk);
        hold.device = true;
        if (strcmp(disk->format, "raw") != 0 || hold.bytes == 0) {
                placement_refuse(&reserve->refusal, "%s: a volume of pool %s is raw, and of a known size", disk->target,
                                 disk->pool);
                return 0;
        }
        const struct hold *known = hold_of(reserve, disk->target);
        if (known && !same_place(known, &hold))
                return reserved_before(reserve, known, err);
        if (known && known->kind == HOLD_PUBLISHED)
                return 0;
        check_promised(reserve, &hold, disk->pool);
        keep(reserve, &hold);
        return check_volume_name(reserve, &hold, disk->pool, available, err);
}

// ---- each disk ----

static int check_disk(struct reserve *reserve, const Drover__MoveDisk *disk, struct error *err) {
        if (volume_pool_is(reserve->custody->conn, disk->pool))
                return check_device(reserve, disk, err);
        struct pool_directory directory = {.fd = -1};
        struct error why = ERROR_INIT;
        struct hold hold;
        const struct custody *custody = reserve->custody;
        if (pool_open(custody->conn, disk->pool, &directory, &why) < 0)
                return refuse_for(reserve, &why, err);
        placement_hold(custody, reserve->request->vm_name, disk->target, &hold);
        snprintf(hold.directory, sizeof(hold.directory), "%s", directory.path);
        snprintf(hold.name, sizeof(hold.name), "%s", disk->volume);
        hold.bytes = disk->allocation_bytes;
        const struct hold *known = hold_of(reserve, disk->target);
        bool published = known && known->kind == HOLD_PUBLISHED;
        if (known && !same_place(known, &hold)) {
                pool_directory_fini(&directory);
                return reserved_before(reserve, known, err);
        }
        int status = check_volume(reserve, &hold, disk->pool, err);
        if (status == 0 && !published)
                status = count_room(reserve, &hold, disk->pool, &directory, err);
        if (!published)
                keep(reserve, &hold);
        pool_directory_fini(&directory);
        return status;
}

static int check_nvram(struct reserve *reserve, struct error *err) {
        struct hold hold;
        if (!reserve->request->has_nvram || hold_of(reserve, NVRAM_ITEM))
                return 0;
        placement_hold(reserve->custody, reserve->request->vm_name, NVRAM_ITEM, &hold);
        hold.bytes = reserve->request->nvram_bytes;
        if (placement_nvram_place(reserve->custody, reserve->request->vm_name, &hold, err) < 0)
                return -1;
        keep(reserve, &hold);
        return 0;
}

// ---- all of it ----

static int check(struct reserve *reserve, struct error *err) {
        const struct custody *custody = reserve->custody;
        if (neighbours_read(custody->conn, custody->vm_uuid, &reserve->neighbours, err) < 0 ||
            journal_holds(custody->journal, NULL, 0, &reserve->others, &reserve->n_others, err) < 0 ||
            check_uuid(reserve, err) < 0)
                return -1;
        check_name(reserve);
        check_macs(reserve);
        if (placement_networks_check(custody->conn, reserve->request, &reserve->refusal, err) < 0)
                return -1;
        for (size_t i = 0; i < reserve->request->n_disks; i++)
                if (check_disk(reserve, reserve->request->disks[i], err) < 0)
                        return -1;
        if (check_nvram(reserve, err) < 0)
                return -1;
        check_rooms(reserve);
        return conclude(reserve, err);
}

// Of what was there, only a retired copy can come to claim more than it did.
static bool seen(const struct reserve *reserve, const struct hold *hold) {
        for (unsigned i = 0; i < reserve->n_others; i++) {
                const struct hold *other = &reserve->others[i];
                if (strcmp(other->job, hold->job) == 0 && strcmp(other->item, hold->item) == 0)
                        return same_place(other, hold) && (other->kind == hold->kind || other->kind != HOLD_RETIRED);
        }
        return false;
}

// With the lock held. What went away since is no reason to look again: there is only more room.
static int seen_all(const struct reserve *reserve, struct error *err) {
        _cleanup_(free_p) struct hold *holds = NULL;
        unsigned n = 0;
        if (journal_holds(reserve->custody->journal, NULL, 0, &holds, &n, err) < 0)
                return -1;
        for (unsigned i = 0; i < n; i++)
                if (!seen(reserve, &holds[i]))
                        return 0;
        return 1;
}

static int put(const struct reserve *reserve, struct error *err) {
        for (unsigned i = 0; i < reserve->n_holds; i++)
                if (fault_point("agent.reserve.before-hold", err) < 0 ||
                    journal_hold_put(reserve->custody->journal, &reserve->holds[i], err) < 0)
                        return -1;
        return 0;
}

// 1: done, 0: others have put holds since this one began to look, -1.
static int put_if_seen(const struct reserve *reserve, struct error *err) {
        pthread_mutex_lock(&reserving);
        int result = seen_all(reserve, err);
        if (result > 0 && put(reserve, err) < 0)
                result = -1;
        pthread_mutex_unlock(&reserving);
        return result;
}

static int make_volumes(const struct reserve *reserve, struct error *err) {
        for (unsigned i = 0; i < reserve->n_holds; i++) {
                const struct hold *hold = &reserve->holds[i];
                if (hold->device &&
                    placement_volume_make(reserve->custody, hold, hold_of(reserve, hold->item) != NULL, err) < 0)
                        return -1;
        }
        return 0;
}

int placement_reserve(const struct custody *custody, const Drover__MoveReserve *request, struct error *err) {
        if (placement_check_open(custody, err) < 0 || check_forms(request, err) < 0)
                return -1;
        for (int result = 0; result == 0;) {
                _cleanup_(reserve_fini) struct reserve reserve = {.custody = custody, .request = request};
                result = check(&reserve, err) < 0 ? -1 : put_if_seen(&reserve, err);
                if (result < 0 || (result > 0 && make_volumes(&reserve, err) < 0))
                        return -1;
        }
        return fault_point("agent.reserve.done", err);
}
