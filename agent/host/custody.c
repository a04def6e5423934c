// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Custody of a VM at the source of a move: looking at it, stopping it, making sure that it is still out of reach, and
 * opening its images for the copy. Fencing, releasing and retiring have files of their own. Workers only.
 */
#include "agent/host/custody.h"
#include "agent/host/collect.h"
#include "agent/host/custody_device.h"
#include "agent/host/custody_domain.h"
#include "agent/host/device.h"
#include "agent/host/hold_file.h"
#include "common/buffer.h"
#include "common/cleanup.h"
#include "common/fault.h"
#include "common/memory.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void result_free_p(Drover__MoveInspectResult **result) {
        proto_free((ProtobufCMessage *) *result);
}

// ---- inspect ----

// What keeps a VM from leaving need not keep it from being cloned; what a clone can do with a chain of images, its hold
// decides.
static bool stands_in_the_way(const Drover__Obstacle *obstacle, const Drover__MoveInspect *request) {
        const char *code = obstacle->code;
        if (request->for_clone && (strcmp(code, "is-backing") == 0 || strcmp(code, "backing-chain") == 0))
                return false;
        return !request->converts || (strcmp(code, "backing-chain") != 0 && strcmp(code, "format") != 0);
}

static int refuse_obstacles(const Drover__Domain *domain, const Drover__MoveInspect *request, struct error *err) {
        char text[ERROR_MESSAGE_MAX] = "";
        size_t used = 0;
        for (size_t i = 0; i < domain->n_obstacles && used < sizeof(text); i++)
                if (stands_in_the_way(domain->obstacles[i], request))
                        used += (size_t) snprintf(text + used, sizeof(text) - used, "%s%s", used ? "; " : "",
                                                  domain->obstacles[i]->message);
        if (!used)
                return 0;
        error_set(err, ERROR_REFUSED, "%s cannot be %s: %s", domain->name, request->for_clone ? "cloned" : "moved",
                  text);
        for (size_t i = 0; i < domain->n_obstacles; i++)
                if (stands_in_the_way(domain->obstacles[i], request) && domain->obstacles[i]->hint[0])
                        error_hint(err, "%s", domain->obstacles[i]->hint);
        return -1;
}

static int stale(struct error *err, const char *what, const char *name) {
        error_set(err, ERROR_STALE, "the %s of %s changed since the plan", what, name);
        error_hint(err, "run the move again");
        return -1;
}

static int pack_snapshots(const Drover__MoveInspectResult *result, struct buffer *bytes, struct error *err) {
        Drover__MoveInspectResult part = DROVER__MOVE_INSPECT_RESULT__INIT;
        part.n_snapshot_xml = result->n_snapshot_xml;
        part.snapshot_xml = result->snapshot_xml;
        part.current_snapshot = result->current_snapshot;
        return PROTO_PACK(&part, bytes, err);
}

// The snapshots that the target will be told of: at the fence they must still be these.
static int note_snapshots(const struct custody *custody, const Drover__MoveInspectResult *result, struct error *err) {
        struct buffer bytes;
        buffer_init(&bytes, 0);
        int status = pack_snapshots(result, &bytes, err);
        if (status == 0)
                status =
                        journal_fact_set(custody->journal, custody->job, FACT_SNAPSHOTS, bytes.data, bytes.length, err);
        buffer_fini(&bytes);
        return status;
}

// A device that is mounted here is not the VM's alone. Looked at only now: the look itself keeps others out of it.
static int check_devices(const Drover__Domain *domain, struct error *err) {
        for (size_t i = 0; i < domain->n_disks; i++) {
                const Drover__Disk *disk = domain->disks[i];
                if (strcmp(disk->device, "disk") == 0 && device_is(disk->path) &&
                    device_check_free(disk->path, err) < 0)
                        return error_prefix(err, "%s", disk->target);
        }
        return 0;
}

// ---- what a fence would refuse, before anything is stopped for it ----

struct images {
        struct hold *holds;
        unsigned n;
};

static void images_fini(struct images *images) {
        free(images->holds);
}

static int add_image(const struct custody *custody, const Drover__Domain *domain, const char *item, const char *path,
                     struct images *images, struct error *err) {
        struct hold hold = {.kind = HOLD_FENCED};
        snprintf(hold.job, sizeof(hold.job), "%s", custody->job);
        snprintf(hold.vm_uuid, sizeof(hold.vm_uuid), "%s", custody->vm_uuid);
        snprintf(hold.vm_name, sizeof(hold.vm_name), "%s", domain->name);
        snprintf(hold.item, sizeof(hold.item), "%s", item);
        if (hold_file_split(&hold, path, err) < 0)
                return -1;
        images->holds = memory_grow(images->holds, images->n + 1, sizeof(*images->holds));
        images->holds[images->n++] = hold;
        return 0;
}

// A medium in a drive stays, and an NVRAM file that is not there yet is nobody else's.
static int list_images(const struct custody *custody, const Drover__Domain *domain, const char *nvram,
                       struct images *images, struct error *err) {
        for (size_t i = 0; i < domain->n_disks; i++) {
                const Drover__Disk *disk = domain->disks[i];
                bool own = strcmp(disk->device, "disk") == 0 || strcmp(disk->device, "lun") == 0;
                if (own && disk->path[0] == '/' &&
                    add_image(custody, domain, disk->target, disk->path, images, err) < 0)
                        return -1;
        }
        return nvram && access(nvram, F_OK) == 0 ? add_image(custody, domain, NVRAM_ITEM, nvram, images, err) : 0;
}

static int check_unused(const struct custody *custody, const Drover__Domain *domain, const char *xml,
                        struct error *err) {
        _cleanup_(images_fini) struct images images = {0};
        struct definition *definition = NULL;
        if (definition_parse(xml, strlen(xml), &definition, err) < 0)
                return -1;
        _cleanup_(free_p) char *nvram = definition_nvram_file(definition);
        definition_free(definition);
        if (list_images(custody, domain, nvram, &images, err) < 0)
                return -1;
        return custody_check_unused(custody, custody->vm_uuid, images.holds, images.n, err);
}

int custody_inspect(const struct custody *custody, const Drover__MoveInspect *request, Drover__MoveInspectResult **ret,
                    struct error *err) {
        _cleanup_(domain_free_p) virDomainPtr domain = NULL;
        if (custody_require(custody, &domain, err) < 0)
                return -1;
        _cleanup_(result_free_p) Drover__MoveInspectResult *result = new (Drover__MoveInspectResult);
        drover__move_inspect_result__init(result);
        if (collect_domain(custody->conn, domain, custody->journal, &result->domain, err) < 0)
                return -1;
        if (request->definition_sha256[0] && strcmp(request->definition_sha256, result->domain->definition_sha256) != 0)
                return stale(err, "definition", result->domain->name);
        const char *holder = result->domain->held_by_job;
        if (holder[0] && strcmp(holder, custody->job) != 0)
                return error_set(err, ERROR_CONFLICT, "%s is held by job %s", result->domain->name, holder);
        if (refuse_obstacles(result->domain, request, err) < 0 || check_devices(result->domain, err) < 0)
                return -1;
        char *xml;
        if (custody_definition(domain, &xml, err) < 0)
                return -1;
        result->definition_xml = (ProtobufCBinaryData){.data = (uint8_t *) xml, .len = strlen(xml)};
        if (!request->for_clone && check_unused(custody, result->domain, xml, err) < 0)
                return -1;
        if (custody_snapshots_read(domain, result, err) < 0 || note_snapshots(custody, result, err) < 0)
                return -1;
        *ret = steal(&result);
        return 0;
}

// ---- stop ----

static int note_running(const struct custody *custody, virDomainPtr domain, bool *ret_was, bool *ret_active,
                        struct error *err) {
        _cleanup_(free_p) char *known = NULL;
        int active = custody_active(domain, err);
        int found = active < 0 ? -1 : custody_fact(custody, FACT_WAS_RUNNING, &known, err);
        if (found < 0)
                return -1;
        *ret_active = active;
        // A repeated step finds it stopped already: what was noted first is what counts.
        *ret_was = found ? strcmp(known, "yes") == 0 : active;
        return found ? 0 : custody_set_fact(custody, FACT_WAS_RUNNING, active ? "yes" : "no", err);
}

// A transient domain is gone for good once it stops.
static int require_persistent(virDomainPtr domain, struct error *err) {
        int persistent = virDomainIsPersistent(domain);
        if (persistent < 0)
                return connection_error(err, "ask whether the VM is persistent");
        if (persistent)
                return 0;
        error_set(err, ERROR_REFUSED, "%s is transient: it would be gone once it stops", virDomainGetName(domain));
        error_hint(err, "make it persistent first: virsh dumpxml %s > vm.xml && virsh define vm.xml",
                   virDomainGetName(domain));
        return -1;
}

static int refuse_running(const char *name, struct error *err) {
        error_set(err, ERROR_REFUSED, "%s is running", name);
        error_hint(err, "let the move shut it down: --shutdown");
        error_hint(err, "or switch it off hard: --stop");
        return -1;
}

static int stop(const struct custody *custody, virDomainPtr domain, const Drover__MoveStop *request,
                struct error *err) {
        switch (request->mode) {
        case DROVER__STOP_MODE__STOP_SHUTDOWN:
                return power_shutdown(domain, request->timeout_seconds, custody->cancelled, custody->cancelled_data,
                                      err);
        case DROVER__STOP_MODE__STOP_HARD:
                return power_stop(domain, err);
        default:
                return refuse_running(virDomainGetName(domain), err);
        }
}

int custody_stop(const struct custody *custody, const Drover__MoveStop *request, Drover__MoveStopResult **ret,
                 struct error *err) {
        _cleanup_(domain_free_p) virDomainPtr domain = NULL;
        bool was_running, active;
        if (custody_require(custody, &domain, err) < 0 || require_persistent(domain, err) < 0 ||
            note_running(custody, domain, &was_running, &active, err) < 0 || fault_point("agent.stop.noted", err) < 0)
                return -1;
        if (active && stop(custody, domain, request, err) < 0)
                return -1;
        if (fault_point("agent.stop.stopped", err) < 0)
                return -1;
        Drover__MoveStopResult *result = new (Drover__MoveStopResult);
        drover__move_stop_result__init(result);
        result->was_running = was_running;
        *ret = result;
        return 0;
}

// ---- confirm ----

static int confirm_hold(const struct custody *custody, const struct hold *hold, bool *ret_domain_kept,
                        struct error *err) {
        enum hold_place place;
        if (strcmp(hold->item, HOLD_DOMAIN) == 0) {
                *ret_domain_kept = true;
                return 0;
        }
        if (hold->device)
                return custody_device_check(custody, hold, false, err);
        if (hold_file_find(hold, &place, err) < 0)
                return -1;
        // libvirt makes a missing NVRAM file anew when somebody tries to start the VM; that start fails all the same.
        if (place == HOLD_ASIDE || (place == HOLD_BOTH && strcmp(hold->item, NVRAM_ITEM) == 0))
                return 0;
        if (place == HOLD_NOWHERE)
                return error_set(err, ERROR_CONFLICT, "%s of %s is gone from %s", hold->item, hold->vm_name,
                                 hold->directory);
        return error_set(err, ERROR_CONFLICT, "%s/%s is back in its place: %s is not out of reach", hold->directory,
                         hold->name, hold->vm_name);
}

static int confirm_domain(const struct custody *custody, const char *name, bool domain_kept, struct error *err) {
        _cleanup_(domain_free_p) virDomainPtr domain = NULL;
        _cleanup_(free_p) char *xml = NULL, *kept = NULL;
        int found = custody_lookup(custody, &domain, err);
        if (found < 0)
                return -1;
        if (domain_kept)
                return found ? error_set(err, ERROR_CONFLICT, "%s was defined again at the source", name) : 0;
        if (!found)
                return error_set(err, ERROR_CONFLICT, "%s was undefined at the source", name);
        int active = custody_active(domain, err);
        if (active)
                return active < 0 ? -1 : error_set(err, ERROR_CONFLICT, "%s runs at the source", name);
        if (custody_definition(domain, &xml, err) < 0 || custody_fact(custody, FACT_DEFINITION, &kept, err) < 0)
                return -1;
        return kept && strcmp(kept, xml) == 0
                       ? 0
                       : error_set(err, ERROR_CONFLICT, "the definition of %s was changed at the source", name);
}

int custody_confirm(const struct custody *custody, struct error *err) {
        _cleanup_(free_p) struct hold *holds = NULL;
        unsigned n = 0;
        bool domain_kept = false;
        if (custody_holds(custody, HOLD_FENCED, &holds, &n, err) < 0)
                return -1;
        if (n == 0)
                return error_set(err, ERROR_CONFLICT, "VM %s is not fenced by job %s", custody->vm_uuid, custody->job);
        for (unsigned i = 0; i < n; i++)
                if (confirm_hold(custody, &holds[i], &domain_kept, err) < 0)
                        return -1;
        return confirm_domain(custody, holds[0].vm_name, domain_kept, err);
}

// ---- the images, for the data plane ----

int custody_open(const struct custody *custody, const char *item, int *ret_fd, uint64_t *ret_bytes, struct error *err) {
        struct hold hold;
        int found = custody_hold(custody, item, &hold, err);
        if (found < 0)
                return -1;
        if (!found || hold.kind != HOLD_FENCED || !hold.directory[0])
                return error_set(err, ERROR_CONFLICT, "%s of VM %s is not fenced by job %s", item, custody->vm_uuid,
                                 custody->job);
        return hold_file_open(&hold, HOLD_ASIDE, ret_fd, ret_bytes, err);
}

int custody_open_files(const struct custody *custody, const char *item, const char *format, struct image_files *ret,
                       struct error *err) {
        struct hold hold;
        int fd = -1;
        uint64_t bytes;
        if (custody_open(custody, item, &fd, &bytes, err) < 0)
                return -1;
        // Names in its header are relative to where it was.
        int found = custody_hold(custody, item, &hold, err);
        if (found <= 0) {
                close(fd);
                return found < 0 ? -1 : error_set(err, ERROR_CONFLICT, "%s is no longer fenced", item);
        }
        _cleanup_(free_p) char *path = memory_format("%s/%s", hold.directory, hold.name);
        return image_files_of(custody->conn, fd, path, format, ret, err);
}
