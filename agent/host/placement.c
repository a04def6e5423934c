// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The target of a move, apart from reserving, defining and discarding, which have files of their own: the partial
 * images for the copy, the start, and the settling after the commit. Workers only.
 */
#include "agent/host/placement.h"
#include "agent/host/collect.h"
#include "agent/host/definition.h"
#include "agent/host/hold_file.h"
#include "agent/host/placement_parts.h"
#include "agent/host/placement_volume.h"
#include "agent/host/revive.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/fault.h"
#include "common/memory.h"
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

// ---- shared with the other files of placement ----

void placement_hold(const struct custody *custody, const char *vm_name, const char *item, struct hold *ret) {
        memset(ret, 0, sizeof(*ret));
        snprintf(ret->job, sizeof(ret->job), "%s", custody->job);
        snprintf(ret->vm_uuid, sizeof(ret->vm_uuid), "%s", custody->vm_uuid);
        snprintf(ret->vm_name, sizeof(ret->vm_name), "%s", vm_name);
        snprintf(ret->item, sizeof(ret->item), "%s", item);
        ret->kind = HOLD_INCOMING;
        ret->at = clock_wall(&system_clock);
}

static int nvram_name_free(const struct custody *custody, const struct hold *hold, struct error *err) {
        _cleanup_(free_p) struct hold *holds = NULL;
        unsigned n = 0;
        enum hold_place place;
        if (hold_file_find(hold, &place, err) < 0 || journal_holds(custody->journal, NULL, 0, &holds, &n, err) < 0)
                return -1;
        if (place == HOLD_IN_PLACE || place == HOLD_BOTH)
                return 0;
        for (unsigned i = 0; i < n; i++)
                if (strcmp(holds[i].directory, hold->directory) == 0 && strcmp(holds[i].name, hold->name) == 0 &&
                    strcmp(holds[i].job, hold->job) != 0 && holds[i].kind != HOLD_RETIRED)
                        return 0;
        return 1;
}

int placement_nvram_place(const struct custody *custody, const char *vm_name, struct hold *hold, struct error *err) {
        snprintf(hold->directory, sizeof(hold->directory), "%s", NVRAM_DIRECTORY);
        snprintf(hold->name, sizeof(hold->name), "%s_VARS.fd", vm_name);
        int is_free = nvram_name_free(custody, hold, err);
        if (is_free == 0)
                snprintf(hold->name, sizeof(hold->name), "%s-%s_VARS.fd", vm_name, custody->job);
        return is_free < 0 ? -1 : 0;
}

int placement_check_open(const struct custody *custody, struct error *err) {
        _cleanup_(free_p) char *settled = NULL;
        int found = custody_fact(custody, FACT_SETTLED, &settled, err);
        if (found > 0)
                return error_set(err, ERROR_CONFLICT, "job %s is committed: VM %s belongs to this host now",
                                 custody->job, custody->vm_uuid);
        return found;
}

// Whether a definition names one of the published files of this job; a VM without disks has nothing else to show.
static int names_our_files(const struct custody *custody, virDomainPtr domain, struct error *err) {
        _cleanup_(free_p) struct hold *holds = NULL;
        _cleanup_(free_p) char *xml = NULL;
        unsigned n = 0, disks = 0;
        bool named = false;
        if (custody_holds(custody, 0, &holds, &n, err) < 0 || custody_definition(domain, &xml, err) < 0)
                return -1;
        struct definition *definition = NULL;
        Drover__Domain *described = new (Drover__Domain);
        drover__domain__init(described);
        int status = definition_parse(xml, strlen(xml), &definition, err);
        if (status == 0)
                status = definition_describe(definition, described, err);
        for (unsigned i = 0; i < n; i++) {
                _cleanup_(free_p) char *path = memory_format("%s/%s", holds[i].directory, holds[i].name);
                disks += strcmp(holds[i].item, NVRAM_ITEM) != 0;
                for (size_t k = 0; k < described->n_disks; k++)
                        named = named || strcmp(described->disks[k]->path, path) == 0;
        }
        definition_free(definition);
        proto_free(&described->base);
        return status < 0 ? -1 : named || disks == 0;
}

int placement_made(const struct custody *custody, virDomainPtr domain, struct error *err) {
        int noted = custody_fact_is(custody, FACT_DEFINED, custody->vm_uuid, err);
        return noted > 0 ? names_our_files(custody, domain, err) : noted;
}

// What has become of the VM since the commit is its owner's doing: other images, another name, gone. What is known only
// while it runs has no autostart.
int placement_restore_autostart(const struct custody *custody, bool autostart, struct error *err) {
        _cleanup_(domain_free_p) virDomainPtr domain = NULL;
        int found = custody_lookup(custody, &domain, err);
        if (found <= 0)
                return found;
        int persistent = virDomainIsPersistent(domain);
        if (persistent == 0 || (persistent > 0 && virDomainSetAutostart(domain, autostart) == 0))
                return 0;
        return virGetLastErrorCode() == VIR_ERR_NO_DOMAIN ? 0 : connection_error(err, "set autostart");
}

// ---- images ----

static int require_hold(const struct custody *custody, const char *item, enum hold_kind kind, struct hold *ret,
                        struct error *err) {
        int found = custody_hold(custody, item, ret, err);
        if (found < 0)
                return -1;
        if (!found)
                return error_set(err, ERROR_CONFLICT, "%s is not reserved for job %s on this host", item, custody->job);
        if (ret->kind == kind)
                return 0;
        return error_set(err, ERROR_CONFLICT, "%s of job %s is %s", item, custody->job,
                         ret->kind == HOLD_PUBLISHED ? "published already" : "not published yet");
}

int placement_open(const struct custody *custody, const char *item, int *ret_fd, struct error *err) {
        struct hold hold;
        if (placement_check_open(custody, err) < 0 || require_hold(custody, item, HOLD_INCOMING, &hold, err) < 0)
                return -1;
        if (hold.device)
                return error_set(err, ERROR_REFUSED, "%s is to be a volume, which is not filled like a file", item);
        return hold_file_create(&hold, ret_fd, err);
}

int placement_resume(const struct custody *custody, const char *item, struct hold_partial *ret, struct error *err) {
        struct hold hold;
        if (placement_check_open(custody, err) < 0 || require_hold(custody, item, HOLD_INCOMING, &hold, err) < 0)
                return -1;
        return hold.device ? placement_volume_resume(custody, &hold, ret, err) : hold_file_resume(&hold, ret, err);
}

int placement_open_published(const struct custody *custody, const char *item, int *ret_fd, uint64_t *ret_bytes,
                             struct error *err) {
        struct hold hold;
        if (require_hold(custody, item, HOLD_PUBLISHED, &hold, err) < 0)
                return -1;
        return hold_file_open(&hold, HOLD_IN_PLACE, ret_fd, ret_bytes, err);
}

// ---- start and settle ----

static int require_made(const struct custody *custody, virDomainPtr *ret, struct error *err) {
        _cleanup_(domain_free_p) virDomainPtr domain = NULL;
        if (custody_require(custody, &domain, err) < 0)
                return -1;
        int ours = placement_made(custody, domain, err);
        if (ours < 0)
                return -1;
        if (!ours)
                return error_set(err, ERROR_CONFLICT, "VM %s on this host is not the one that job %s made",
                                 virDomainGetName(domain), custody->job);
        *ret = steal(&domain);
        return 0;
}

int placement_start(const struct custody *custody, struct error *err) {
        _cleanup_(domain_free_p) virDomainPtr domain = NULL;
        if (require_made(custody, &domain, err) < 0 || fault_point("agent.start.before", err) < 0)
                return -1;
        int active = custody_active(domain, err);
        if (active < 0 || (!active && power_start(domain, err) < 0))
                return error_prefix(err, "%s", virDomainGetName(domain));
        return fault_point("agent.start.started", err);
}

static int forget_holds(const struct custody *custody, struct error *err) {
        _cleanup_(free_p) struct hold *holds = NULL;
        unsigned n = 0;
        if (custody_holds(custody, HOLD_PUBLISHED, &holds, &n, err) < 0)
                return -1;
        custody_tidy(custody, holds, n);
        for (unsigned i = 0; i < n; i++)
                if (journal_hold_remove(custody->journal, custody->job, holds[i].item, err) < 0 ||
                    fault_point("agent.settle.forgotten", err) < 0)
                        return -1;
        return 0;
}

static int settle(const struct custody *custody, const Drover__MoveSettle *request, struct error *err) {
        int settled = custody_fact_is(custody, FACT_SETTLED, "yes", err);
        int defined = settled == 0 ? custody_fact_is(custody, FACT_DEFINED, custody->vm_uuid, err) : settled;
        if (defined < 0)
                return -1;
        if (settled)
                return forget_holds(custody, err);
        if (!defined)
                return error_set(err, ERROR_CONFLICT, "job %s has not defined VM %s on this host", custody->job,
                                 custody->vm_uuid);
        if (placement_restore_autostart(custody, request->autostart, err) < 0 ||
            fault_point("agent.settle.before", err) < 0 || custody_set_fact(custody, FACT_SETTLED, "yes", err) < 0 ||
            fault_point("agent.settle.settled", err) < 0)
                return -1;
        return forget_holds(custody, err);
}

static void described_free_p(Drover__Domain **domain) {
        proto_free((ProtobufCMessage *) *domain);
}

// A VM that somebody took away since the commit is settled as well: its images have no version.
static int answer(const struct custody *custody, Drover__MoveSettleResult **ret, struct error *err) {
        _cleanup_(domain_free_p) virDomainPtr domain = NULL;
        _cleanup_(described_free_p) Drover__Domain *described = NULL;
        int found = custody_lookup(custody, &domain, err);
        if (found < 0 || (found && collect_domain(custody->conn, domain, NULL, &described, err) < 0))
                return -1;
        Drover__MoveSettleResult *result = new (Drover__MoveSettleResult);
        drover__move_settle_result__init(result);
        result->images_version = memory_string(described ? described->images_version : "");
        *ret = result;
        return 0;
}

int placement_settle(const struct custody *custody, const Drover__MoveSettle *request, Drover__MoveSettleResult **ret,
                     struct error *err) {
        int revived = revive_settle(custody, request, err);
        if (revived < 0 || (!revived && settle(custody, request, err) < 0))
                return -1;
        return answer(custody, ret, err);
}
