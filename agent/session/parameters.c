// SPDX-License-Identifier: LGPL-2.1-or-later
/* Checks of the verbs' parameters, each where it has just been decoded. Pure; any thread. */
#include "agent/session/parameters.h"
#include "common/name.h"

#include <string.h>

#define DIGEST_PREFIX "d2:"
#define SHA256_HEX    64
#define VERSION_HEX   32

// One check over every member of a list of names; `what` names the parameter in the error.
static int check_names(const char *what, char *const *names, size_t n, int (*check)(const char *, struct error *),
                       struct error *err) {
        if (n > PARAMETERS_LIST_MAX)
                return error_set(err, ERROR_INVALID, "%s: %zu of them; at most %d are allowed", what, n,
                                 PARAMETERS_LIST_MAX);
        for (size_t i = 0; i < n; i++)
                if (check(names[i], err) < 0)
                        return error_prefix(err, "%s", what);
        return 0;
}

static int check_hex(const char *what, const char *text, struct error *err) {
        if (strlen(text) != SHA256_HEX || strspn(text, "0123456789abcdef") != SHA256_HEX)
                return error_set(err, ERROR_INVALID, "%s is not a SHA-256 in lower-case hex", what);
        return 0;
}

static int check_version(const char *text, struct error *err) {
        if (strlen(text) != VERSION_HEX || strspn(text, "0123456789abcdef") != VERSION_HEX)
                return error_set(err, ERROR_INVALID, "images_version is not %d digits in lower-case hex", VERSION_HEX);
        return 0;
}

static int check_digest(const char *text, struct error *err) {
        if (strncmp(text, DIGEST_PREFIX, strlen(DIGEST_PREFIX)) != 0)
                return error_set(err, ERROR_INVALID, "a digest begins with \"%s\"", DIGEST_PREFIX);
        return check_hex("a digest", text + strlen(DIGEST_PREFIX), err);
}

static int check_mac(const char *text, struct error *err) {
        bool right = strlen(text) == 17;
        for (unsigned i = 0; right && i < 17; i++)
                right = i % 3 == 2 ? text[i] == ':' : strchr("0123456789abcdefABCDEF", text[i]) != NULL;
        return right ? 0 : error_set(err, ERROR_INVALID, "not a MAC address of the form 52:54:00:12:34:56");
}

static int check_format(const char *format, struct error *err) {
        if (strcmp(format, "qcow2") != 0 && strcmp(format, "raw") != 0)
                return error_set(err, ERROR_INVALID, "format is neither qcow2 nor raw");
        return 0;
}

// What an image may be read as: more than what is written.
static int check_source_format(const char *format, struct error *err) {
        if (!*format || strcmp(format, "vmdk") == 0)
                return 0;
        return check_format(format, err);
}

static int check_timeout(uint32_t seconds, struct error *err) {
        if (seconds > PARAMETERS_TIMEOUT_MAX)
                return error_set(err, ERROR_INVALID, "timeout_seconds is over %u", PARAMETERS_TIMEOUT_MAX);
        return 0;
}

static int check_xml(const char *what, const ProtobufCBinaryData *xml, struct error *err) {
        if (!xml->len || xml->len > PARAMETERS_XML_MAX)
                return error_set(err, ERROR_INVALID, "%s: %zu bytes; 1 to %u are allowed", what, xml->len,
                                 PARAMETERS_XML_MAX);
        if (memchr(xml->data, 0, xml->len))
                return error_set(err, ERROR_INVALID, "%s holds a NUL byte", what);
        return 0;
}

static int check_disk(const Drover__MoveDisk *disk, struct error *err) {
        if (name_check_target(disk->target, err) < 0)
                return error_prefix(err, "disk target");
        if (name_check_volume(disk->pool, err) < 0)
                return error_prefix(err, "pool");
        if (name_check_volume(disk->volume, err) < 0)
                return error_prefix(err, "volume");
        if (disk->file_bytes > INT64_MAX || disk->allocation_bytes > INT64_MAX || disk->capacity_bytes > INT64_MAX)
                return error_set(err, ERROR_INVALID, "disk %s: a size is out of range", disk->target);
        if (check_source_format(disk->source_format, err) < 0)
                return error_prefix(err, "source_format");
        if (*disk->source_pool && name_check_volume(disk->source_pool, err) < 0)
                return error_prefix(err, "source_pool");
        if (*disk->backing_target && name_check_target(disk->backing_target, err) < 0)
                return error_prefix(err, "backing_target");
        return check_format(disk->format, err);
}

static int check_disks(Drover__MoveDisk *const *disks, size_t n, struct error *err) {
        if (n > PARAMETERS_LIST_MAX)
                return error_set(err, ERROR_INVALID, "disks: %zu of them; at most %d are allowed", n,
                                 PARAMETERS_LIST_MAX);
        for (size_t i = 0; i < n; i++) {
                if (check_disk(disks[i], err) < 0)
                        return -1;
                for (size_t j = 0; j < i; j++)
                        if (!strcmp(disks[i]->target, disks[j]->target))
                                return error_set(err, ERROR_INVALID, "disk target %s is there twice", disks[i]->target);
        }
        return 0;
}

int parameters_step_name(const char *step, struct error *err) {
        return name_check_volume(step, err);
}

int parameters_power(const Drover__AgentRequest *request, struct error *err) {
        const Drover__DomainPower *power = request->domain_power;
        if (power->action < DROVER__POWER_ACTION__POWER_START ||
            power->action > DROVER__POWER_ACTION__POWER_AUTOSTART_OFF)
                return error_set(err, ERROR_INVALID, "action %d is not known here", (int) power->action);
        return check_timeout(power->timeout_seconds, err);
}

int parameters_inspect(const Drover__AgentRequest *request, struct error *err) {
        const char *sha256 = request->move_inspect->definition_sha256;
        return *sha256 ? check_hex("definition_sha256", sha256, err) : 0;
}

int parameters_reserve(const Drover__AgentRequest *request, struct error *err) {
        const Drover__MoveReserve *reserve = request->move_reserve;
        if (name_check_vm(reserve->vm_name, err) < 0)
                return error_prefix(err, "vm_name");
        if (check_disks(reserve->disks, reserve->n_disks, err) < 0)
                return -1;
        if (check_names("macs", reserve->macs, reserve->n_macs, check_mac, err) < 0)
                return -1;
        if (check_names("bridges", reserve->bridges, reserve->n_bridges, name_check_volume, err) < 0)
                return -1;
        if (check_names("networks", reserve->networks, reserve->n_networks, name_check_volume, err) < 0)
                return -1;
        if (reserve->nvram_bytes > PARAMETERS_NVRAM_MAX)
                return error_set(err, ERROR_INVALID, "nvram_bytes is out of range");
        return 0;
}

int parameters_stop(const Drover__AgentRequest *request, struct error *err) {
        const Drover__MoveStop *stop = request->move_stop;
        if (stop->mode < DROVER__STOP_MODE__STOP_MODE_NONE || stop->mode > DROVER__STOP_MODE__STOP_HARD)
                return error_set(err, ERROR_INVALID, "mode %d is not known here", (int) stop->mode);
        return check_timeout(stop->timeout_seconds, err);
}

int parameters_fence(const Drover__AgentRequest *request, struct error *err) {
        const Drover__MoveFence *fence = request->move_fence;
        if (*fence->definition_sha256 && check_hex("definition_sha256", fence->definition_sha256, err) < 0)
                return -1;
        if (*fence->images_version && check_version(fence->images_version, err) < 0)
                return -1;
        if (check_names("converted", fence->converted, fence->n_converted, name_check_target, err) < 0)
                return -1;
        return check_names("targets", fence->targets, fence->n_targets, name_check_target, err);
}

// Addresses are given to the resolver only: letters, digits and what IP literals need.
static int check_address(const char *address, struct error *err) {
        size_t length = strlen(address);
        size_t plain = strspn(address, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-:%_");
        if (length > 255 || plain != length || *address == '-' || strstr(address, ".."))
                return error_set(err, ERROR_INVALID, "peer_address is not a host name or an IP address");
        return 0;
}

static int check_order(const Drover__TransferOrder *order, struct error *err) {
        if (!order)
                return error_set(err, ERROR_INVALID, "order is missing");
        if (!order->ticket.len || order->ticket.len > PARAMETERS_TICKET_MAX)
                return error_set(err, ERROR_INVALID, "ticket: %zu bytes; 1 to %u are allowed", order->ticket.len,
                                 PARAMETERS_TICKET_MAX);
        if (order->peer_port > UINT16_MAX || (*order->peer_address && !order->peer_port))
                return error_set(err, ERROR_INVALID, "peer_port is out of range");
        return check_address(order->peer_address, err);
}

static int check_item(Drover__TransferItem item, struct error *err) {
        if (item != DROVER__TRANSFER_ITEM__TRANSFER_ITEM_DISK && item != DROVER__TRANSFER_ITEM__TRANSFER_ITEM_NVRAM)
                return error_set(err, ERROR_INVALID, "item %d is not known here", (int) item);
        return 0;
}

int parameters_send(const Drover__AgentRequest *request, struct error *err) {
        const Drover__TransferSend *send = request->transfer_send;
        if (check_order(send->order, err) < 0 || check_item(send->item, err) < 0)
                return -1;
        if (send->item == DROVER__TRANSFER_ITEM__TRANSFER_ITEM_DISK && name_check_target(send->target, err) < 0)
                return error_prefix(err, "target");
        if (send->file_bytes > INT64_MAX)
                return error_set(err, ERROR_INVALID, "file_bytes is out of range");
        if (check_source_format(send->format, err) < 0)
                return -1;
        if ((send->in_place || *send->source_uuid) && name_check_uuid(send->source_uuid, err) < 0)
                return error_prefix(err, "source_uuid");
        return 0;
}

// Its length is what its source says, and no room is reserved for it.
static int check_nvram(const Drover__MoveDisk *file, struct error *err) {
        if (!file || file->file_bytes <= PARAMETERS_NVRAM_MAX)
                return 0;
        return error_set(err, ERROR_INVALID, "the NVRAM is larger than %u bytes", PARAMETERS_NVRAM_MAX);
}

int parameters_receive(const Drover__AgentRequest *request, struct error *err) {
        const Drover__TransferReceive *receive = request->transfer_receive;
        if (check_order(receive->order, err) < 0 || check_item(receive->item, err) < 0)
                return -1;
        if (receive->item == DROVER__TRANSFER_ITEM__TRANSFER_ITEM_NVRAM)
                return check_nvram(receive->disk, err);
        return receive->disk ? check_disk(receive->disk, err) : error_set(err, ERROR_INVALID, "disk is missing");
}

static int check_identity(const Drover__AgentRequest *request, struct error *err) {
        const Drover__CloneIdentity *identity = request->move_define->identity;
        if (name_check_uuid(identity->uuid, err) < 0)
                return error_prefix(err, "identity");
        if (strcmp(identity->uuid, request->vm_uuid) != 0)
                return error_set(err, ERROR_INVALID, "identity: its UUID is not that of the request");
        if (identity->n_macs > PARAMETERS_LIST_MAX)
                return error_set(err, ERROR_INVALID, "macs: at most %d are allowed", PARAMETERS_LIST_MAX);
        for (size_t i = 0; i < identity->n_macs; i++)
                if (check_mac(identity->macs[i]->from, err) < 0 || check_mac(identity->macs[i]->to, err) < 0)
                        return error_prefix(err, "macs");
        return 0;
}

int parameters_define(const Drover__AgentRequest *request, struct error *err) {
        const Drover__MoveDefine *define = request->move_define;
        if (name_check_vm(define->vm_name, err) < 0)
                return error_prefix(err, "vm_name");
        if (check_disks(define->disks, define->n_disks, err) < 0)
                return -1;
        if (define->n_bridges > PARAMETERS_LIST_MAX || define->n_snapshot_xml > PARAMETERS_LIST_MAX)
                return error_set(err, ERROR_INVALID, "bridges, snapshot_xml: at most %d of each are allowed",
                                 PARAMETERS_LIST_MAX);
        for (size_t i = 0; i < define->n_bridges; i++)
                if (name_check_volume(define->bridges[i]->from, err) < 0 ||
                    name_check_volume(define->bridges[i]->to, err) < 0)
                        return error_prefix(err, "bridges");
        for (size_t i = 0; i < define->n_snapshot_xml; i++)
                if (check_xml("snapshot_xml", &define->snapshot_xml[i], err) < 0)
                        return -1;
        if (*define->current_snapshot && name_check_volume(define->current_snapshot, err) < 0)
                return error_prefix(err, "current_snapshot");
        if (define->identity && check_identity(request, err) < 0)
                return -1;
        return check_xml("definition_xml", &define->definition_xml, err);
}

// Blocks that were shared have no digest: nobody read them.
static int check_known_digest(const char *text, struct error *err) {
        return *text ? check_digest(text, err) : 0;
}

int parameters_verify(const Drover__AgentRequest *request, struct error *err) {
        const Drover__MoveVerify *verify = request->move_verify;
        if (*verify->vm_name && name_check_vm(verify->vm_name, err) < 0)
                return error_prefix(err, "vm_name");
        if (check_disks(verify->disks, verify->n_disks, err) < 0)
                return -1;
        if (verify->n_digests != verify->n_disks)
                return error_set(err, ERROR_INVALID, "%zu digests for %zu disks", verify->n_digests, verify->n_disks);
        return check_names("digests", verify->digests, verify->n_digests,
                           verify->read_back ? check_digest : check_known_digest, err);
}

int parameters_purge(const Drover__AgentRequest *request, struct error *err) {
        const Drover__RetiredPurge *purge = request->retired_purge;
        if (*purge->retired_job)
                return name_check_job(purge->retired_job, err) < 0 ? error_prefix(err, "retired_job") : 0;
        return purge->all ? 0 : error_set(err, ERROR_INVALID, "neither all nor retired_job is given");
}

static int check_source_uuid(const char *uuid, struct error *err) {
        return name_check_uuid(uuid, err) < 0 ? error_prefix(err, "source_uuid") : 0;
}

int parameters_clone_hold(const Drover__AgentRequest *request, struct error *err) {
        const Drover__CloneHold *hold = request->clone_hold;
        if (check_source_uuid(hold->source_uuid, err) < 0)
                return -1;
        if (strcmp(hold->source_uuid, request->vm_uuid) == 0)
                return error_set(err, ERROR_INVALID, "source_uuid is that of the clone");
        if (*hold->definition_sha256 && check_hex("definition_sha256", hold->definition_sha256, err) < 0)
                return -1;
        if (check_names("converted", hold->converted, hold->n_converted, name_check_target, err) < 0)
                return -1;
        return check_names("targets", hold->targets, hold->n_targets, name_check_target, err);
}

int parameters_clone_local(const Drover__AgentRequest *request, struct error *err) {
        const Drover__CloneLocal *clone = request->clone_local;
        if (check_source_uuid(clone->source_uuid, err) < 0 || check_item(clone->item, err) < 0)
                return -1;
        if (clone->mode < DROVER__CLONE_MODE__CLONE_MODE_AUTO || clone->mode > DROVER__CLONE_MODE__CLONE_COPY)
                return error_set(err, ERROR_INVALID, "mode %d is not known here", (int) clone->mode);
        if (clone->file_bytes > INT64_MAX)
                return error_set(err, ERROR_INVALID, "file_bytes is out of range");
        bool nvram = clone->item == DROVER__TRANSFER_ITEM__TRANSFER_ITEM_NVRAM;
        if (nvram != !clone->disk)
                return error_set(err, ERROR_INVALID, nvram ? "the NVRAM is no disk" : "disk is missing");
        if (nvram)
                return 0;
        if (clone->mode == DROVER__CLONE_MODE__CLONE_LINKED && strcmp(clone->disk->format, "qcow2") != 0)
                return error_set(err, ERROR_INVALID, "format: only a qcow2 image can be laid over another one");
        return check_disk(clone->disk, err);
}

int parameters_clone_confirm(const Drover__AgentRequest *request, struct error *err) {
        const Drover__CloneConfirm *confirm = request->clone_confirm;
        if (check_source_uuid(confirm->source_uuid, err) < 0)
                return -1;
        return check_names("targets", confirm->targets, confirm->n_targets, name_check_target, err);
}

int parameters_identity_reset(const Drover__AgentRequest *request, struct error *err) {
        return name_check_guest(request->identity_reset->host_name, err) < 0 ? error_prefix(err, "host_name") : 0;
}

static int check_retired_job(const char *job, struct error *err) {
        return name_check_job(job, err) < 0 ? error_prefix(err, "retired_job") : 0;
}

int parameters_revive(const Drover__AgentRequest *request, struct error *err) {
        return check_retired_job(request->move_revive->retired_job, err);
}

int parameters_unrevive(const Drover__AgentRequest *request, struct error *err) {
        return check_retired_job(request->move_unrevive->retired_job, err);
}

int parameters_rate(const Drover__AgentRequest *request, struct error *err) {
        if (!*request->job)
                return error_set(err, ERROR_INVALID, "it names no job");
        if (request->transfer_rate->rate_bytes_per_second > INT64_MAX)
                return error_set(err, ERROR_INVALID, "the rate is out of range");
        return parameters_step_name(request->transfer_rate->step, err) < 0 ? error_prefix(err, "step") : 0;
}

int parameters_cancel(const Drover__AgentRequest *request, struct error *err) {
        if (!*request->job)
                return error_set(err, ERROR_INVALID, "it names no job");
        const char *step = request->cancel_step->step;
        return *step && parameters_step_name(step, err) < 0 ? error_prefix(err, "step") : 0;
}
