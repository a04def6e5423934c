// SPDX-License-Identifier: LGPL-2.1-or-later
/* Records of the protocol as JSON objects; see record.h. Keys are only ever added. */
#include "cli/record.h"
#include "cli/output.h"

#include <stdio.h>
#include <string.h>

static json_t *number(uint64_t value) {
        return json_integer((json_int_t) value);
}

static json_t *number_or_null(uint64_t value) {
        return value ? number(value) : json_null();
}

static json_t *strings(char *const *texts, size_t n) {
        json_t *array = json_array();
        for (size_t i = 0; i < n; i++)
                json_array_append_new(array, json_string(texts[i]));
        return array;
}

static void set(json_t *object, const char *key, json_t *value) {
        json_object_set_new(object, key, value);
}

static void set_text(json_t *object, const char *key, const char *text) {
        json_object_set_new(object, key, output_text(text));
}

json_t *record_site(const Drover__SiteRecord *site) {
        json_t *o = json_object();
        set_text(o, "name", site->name);
        set(o, "hosts", number(site->hosts));
        set(o, "hosts_online", number(site->hosts_online));
        set(o, "vms", number(site->vms));
        set(o, "vms_running", number(site->vms_running));
        set_text(o, "timezone", site->timezone[0] ? site->timezone : "UTC"); // where none was set
        set(o, "rates", strings(site->rates, site->n_rates));
        return o;
}

static json_t *record_pool(const Drover__Pool *pool) {
        json_t *o = json_object();
        set_text(o, "name", pool->name);
        set_text(o, "type", pool->type);
        set(o, "active", json_boolean(pool->active));
        set(o, "autostart", json_boolean(pool->autostart));
        set(o, "capacity_bytes", number(pool->capacity_bytes));
        set(o, "available_bytes", number(pool->available_bytes));
        set(o, "spare_bytes", number(pool->spare_bytes));
        set(o, "volumes", number(pool->n_volumes));
        set_text(o, "path", pool->path);
        return o;
}

static json_t *record_network(const Drover__Network *network) {
        json_t *o = json_object();
        set_text(o, "name", network->name);
        set(o, "active", json_boolean(network->active));
        set(o, "autostart", json_boolean(network->autostart));
        set_text(o, "bridge", network->bridge);
        set_text(o, "forward", network->forward);
        return o;
}

static void host_details(json_t *o, const Drover__HostRecord *host) {
        const Drover__HostFacts *facts = host->facts;
        set_text(o, "hostname", facts ? facts->hostname : "");
        set_text(o, "arch", facts ? facts->arch : "");
        set_text(o, "qemu_version", facts ? facts->qemu_version : "");
        const Drover__IdentityResetFact *reset = facts ? facts->identity_reset : NULL;
        set(o, "identity_reset", reset ? json_boolean(!reset->refusal[0]) : json_null());
        set_text(o, "identity_reset_refusal", reset ? reset->refusal : "");
        set(o, "bridges", facts ? strings(facts->bridges, facts->n_bridges) : json_array());
        json_t *pools = json_array(), *networks = json_array();
        for (size_t i = 0; i < host->n_pools; i++)
                json_array_append_new(pools, record_pool(host->pools[i]));
        for (size_t i = 0; i < host->n_networks; i++)
                json_array_append_new(networks, record_network(host->networks[i]));
        set(o, "pools", pools);
        set(o, "networks", networks);
}

json_t *record_host(const Drover__HostRecord *host, bool whole) {
        const Drover__HostFacts *facts = host->facts;
        json_t *o = json_object();
        set_text(o, "site", host->site);
        set_text(o, "name", host->name);
        set_text(o, "uuid", host->uuid);
        set_text(o, "state", host->state);
        set_text(o, "agent_version", facts ? facts->agent_version : "");
        set_text(o, "libvirt_version", facts ? facts->libvirt_version : "");
        set(o, "cpus", number_or_null(facts ? facts->cpus : 0));
        set(o, "memory_bytes", number_or_null(facts ? facts->memory_bytes : 0));
        set(o, "vms", number(host->vms));
        set(o, "vms_running", number(host->vms_running));
        set(o, "last_seen_at", output_time(host->last_seen_at));
        set(o, "offline_since_at", output_time(host->offline_since));
        set(o, "invited_until_at", output_time(host->invited_until));
        set_text(o, "address", host->address);
        set(o, "libvirt_connected", facts ? json_boolean(facts->libvirt_connected) : json_null());
        set(o, "certificate_expires_at", output_time(host->certificate_expires_at));
        set(o, "clock_offset_seconds", facts ? json_integer(host->clock_offset_seconds) : json_null());
        if (whole)
                host_details(o, host);
        return o;
}

static json_t *record_disk(const Drover__Disk *disk, bool whole) {
        json_t *o = json_object();
        set_text(o, "target", disk->target);
        set_text(o, "bus", disk->bus);
        set_text(o, "device", disk->device);
        set_text(o, "format", disk->format);
        set_text(o, "pool", disk->pool);
        set_text(o, "volume", disk->volume);
        set_text(o, "path", disk->path);
        set(o, "capacity_bytes", number_or_null(disk->capacity_bytes));
        set(o, "allocation_bytes", number_or_null(disk->allocation_bytes));
        if (whole) {
                set(o, "backing_chain", strings(disk->backing_chain, disk->n_backing_chain));
                set(o, "is_backing", json_boolean(disk->is_backing));
                set(o, "bitmaps", number(disk->bitmaps));
        }
        return o;
}

static json_t *record_interface(const Drover__Interface *interface) {
        json_t *o = json_object();
        set_text(o, "mac", interface->mac);
        set_text(o, "type", interface->type);
        set_text(o, "source", interface->source);
        set_text(o, "model", interface->model);
        return o;
}

static void vm_details(json_t *o, const Drover__Domain *domain) {
        json_t *snapshots = json_array(), *obstacles = json_array();
        for (size_t i = 0; i < domain->n_snapshots; i++) {
                const Drover__Snapshot *snapshot = domain->snapshots[i];
                json_t *s = json_object();
                set_text(s, "name", snapshot->name);
                set_text(s, "parent", snapshot->parent);
                set_text(s, "state", snapshot->state);
                set(s, "created_at", output_time(snapshot->created_at));
                set(s, "current", json_boolean(snapshot->current));
                set(s, "external", json_boolean(snapshot->external));
                json_array_append_new(snapshots, s);
        }
        for (size_t i = 0; i < domain->n_obstacles; i++) {
                const Drover__Obstacle *obstacle = domain->obstacles[i];
                json_t *b = json_object();
                set_text(b, "code", obstacle->code);
                set_text(b, "message", obstacle->message);
                set_text(b, "hint", obstacle->hint);
                json_array_append_new(obstacles, b);
        }
        set_text(o, "machine", domain->machine);
        set_text(o, "loader", domain->loader);
        set_text(o, "title", domain->title);
        set_text(o, "definition_sha256", domain->definition_sha256);
        set(o, "snapshots", snapshots);
        set(o, "move_obstacles", obstacles);
}

json_t *record_vm(const Drover__VmRecord *vm, bool whole) {
        const Drover__Domain *domain = vm->domain;
        json_t *o = json_object(), *disks = json_array(), *interfaces = json_array();
        set_text(o, "site", vm->site);
        set_text(o, "host", vm->host);
        set_text(o, "name", domain->name);
        set_text(o, "uuid", domain->uuid);
        set_text(o, "state", domain->state);
        set(o, "vcpus", number(domain->vcpus));
        set(o, "memory_bytes", number(domain->memory_bytes));
        set(o, "autostart", json_boolean(domain->autostart));
        set(o, "persistent", json_boolean(domain->persistent));
        set_text(o, "job", vm->job);
        set(o, "owner_epoch", number(vm->owner_epoch));
        set(o, "host_online", json_boolean(vm->host_online));
        set(o, "last_seen_at", output_time(vm->last_seen_at));
        uint64_t allocation = 0;
        for (size_t i = 0; i < domain->n_disks; i++) {
                allocation += domain->disks[i]->allocation_bytes;
                json_array_append_new(disks, record_disk(domain->disks[i], whole));
        }
        for (size_t i = 0; i < domain->n_interfaces; i++)
                json_array_append_new(interfaces, record_interface(domain->interfaces[i]));
        // While a job has the disks out of libvirt's reach, nothing is known of them.
        set(o, "disk_allocation_bytes", domain->n_disks > 0 ? number_or_null(allocation) : number(0));
        if (whole)
                vm_details(o, domain);
        set(o, "disks", disks);
        set(o, "interfaces", interfaces);
        return o;
}

json_t *record_retired(const Drover__RetiredRecord *record) {
        const Drover__Retired *retired = record->retired;
        json_t *o = json_object();
        set_text(o, "site", record->site);
        set_text(o, "host", record->host);
        set_text(o, "name", retired->vm_name);
        set_text(o, "uuid", retired->vm_uuid);
        set_text(o, "job", retired->job);
        set(o, "allocation_bytes", number(retired->bytes));
        set(o, "retired_at", output_time(retired->retired_at));
        set(o, "disks", strings(retired->disks, retired->n_disks));
        return o;
}

static json_t *record_failure(const Drover__Failure *failure) {
        if (!failure)
                return json_null();
        return json_pack("{s:s,s:s,s:o}", "code", error_word(error_from_number(failure->code)), "message",
                         failure->message, "hints", strings(failure->hints, failure->n_hints));
}

static const char *path_word(Drover__TransferPath path) {
        switch (path) {
        case DROVER__TRANSFER_PATH__PATH_DIRECT:
                return "direct";
        case DROVER__TRANSFER_PATH__PATH_REVERSE:
                return "reverse";
        case DROVER__TRANSFER_PATH__PATH_RELAY:
                return "relay";
        default:
                return "";
        }
}

static json_t *record_step(const Drover__StepRecord *step) {
        json_t *o = json_object();
        set_text(o, "name", step->name);
        set_text(o, "host", step->host);
        set_text(o, "state", step->state);
        set(o, "started_at", output_time(step->started_at));
        set(o, "finished_at", output_time(step->finished_at));
        set(o, "duration_seconds",
            step->finished_ms ? json_real((double) (step->finished_ms - step->started_ms) / 1000) : json_null());
        set(o, "attempt", number(step->attempt));
        set_text(o, "note", step->note);
        set_text(o, "error", step->error ? step->error->message : "");
        return o;
}

static json_t *record_transfer(const Drover__TransferRecord *transfer) {
        const Drover__TransferState *state = transfer->state;
        json_t *o = json_object();
        set_text(o, "disk", state->disk);
        set_text(o, "path", path_word(state->path));
        set(o, "bytes_total", number(state->bytes_total));
        set(o, "bytes_done", number(state->bytes_done));
        set(o, "bytes_wire", number(state->bytes_wire));
        set(o, "bytes_zero", number(state->bytes_zero));
        set(o, "bytes_reused", number(state->bytes_reused));
        set(o, "bytes_kept", number(state->bytes_kept));
        set(o, "bytes_resent", number(state->bytes_resent));
        set_text(o, "choice", state->choice);
        set(o, "compression_level", number(state->compression_level));
        set(o, "rate_bytes_per_second", number_or_null(state->rate_bytes_per_second));
        set(o, "resumed", number(transfer->resumed));
        set(o, "attempt", number(transfer->attempt));
        set_text(o, "digest", transfer->digest);
        return o;
}

static json_t *record_part(const Drover__JobPart *part) {
        json_t *o = json_object();
        set_text(o, "id", part->id);
        set_text(o, "vm", part->vm);
        set_text(o, "state", part->state);
        set(o, "wave", number_or_null(part->wave));
        set(o, "bytes_total", number(part->bytes_total));
        set(o, "bytes_done", number(part->bytes_done));
        set_text(o, "note", part->note);
        set_text(o, "error", part->error ? part->error->message : "");
        return o;
}

json_t *record_job(const Drover__JobRecord *job, bool whole) {
        json_t *o = json_object();
        set_text(o, "id", job->id);
        set_text(o, "kind", job->kind);
        set_text(o, "state", job->state);
        set_text(o, "vm", job->vm);
        set_text(o, "vm_uuid", job->vm_uuid);
        set_text(o, "source", job->source);
        set_text(o, "target", job->target);
        set_text(o, "clone", job->clone);
        set_text(o, "clone_uuid", job->clone_uuid);
        set_text(o, "undoes", job->undoes);
        set_text(o, "undone_by", job->undone_by);
        set_text(o, "user", job->user);
        set(o, "created_at", output_time(job->created_at));
        set(o, "started_at", output_time(job->started_at));
        set(o, "finished_at", output_time(job->finished_at));
        set(o, "duration_seconds",
            job->finished_ms && job->started_ms ? json_real((double) (job->finished_ms - job->started_ms) / 1000)
                                                : json_null());
        set(o, "rate_bytes_per_second", number_or_null(job->rate_bytes_per_second));
        set_text(o, "batch", job->batch);
        set_text(o, "note", job->note);
        set(o, "error", record_failure(job->error));
        if (!whole)
                return o;
        set(o, "warnings", strings(job->warnings, job->n_warnings));
        json_t *steps = json_array(), *transfers = json_array();
        for (size_t i = 0; i < job->n_steps; i++)
                json_array_append_new(steps, record_step(job->steps[i]));
        for (size_t i = 0; i < job->n_transfers; i++)
                json_array_append_new(transfers, record_transfer(job->transfers[i]));
        set(o, "steps", steps);
        set(o, "transfers", transfers);
        json_t *parts = json_array();
        for (size_t i = 0; i < job->n_parts; i++)
                json_array_append_new(parts, record_part(job->parts[i]));
        set(o, "parts", parts);
        return o;
}

json_t *record_user(const Drover__UserRecord *user) {
        json_t *o = json_object();
        set_text(o, "name", user->name);
        set_text(o, "role", user->role);
        set(o, "sites", strings(user->sites, user->n_sites));
        set_text(o, "state", user->state);
        set(o, "created_at", output_time(user->created_at));
        set(o, "last_seen_at", output_time(user->last_seen_at));
        set(o, "certificate_expires_at", output_time(user->certificate_expires_at));
        return o;
}

json_t *record_audit(const Drover__AuditRecord *audit) {
        json_t *o = json_object();
        set(o, "id", number(audit->id));
        set(o, "at", output_time(audit->at));
        set_text(o, "user", audit->user);
        set_text(o, "role", audit->role);
        set_text(o, "address", audit->address);
        set_text(o, "verb", audit->verb);
        set_text(o, "object", audit->object);
        set_text(o, "outcome", audit->outcome);
        set_text(o, "job", audit->job);
        set_text(o, "message", audit->message);
        return o;
}

// Of a clone; chosen anew when it is done.
static json_t *record_identity(const Drover__MovePlan *plan) {
        if (!plan->identity)
                return json_null();
        json_t *o = json_object(), *macs = json_array();
        set_text(o, "uuid", plan->identity->uuid);
        for (size_t i = 0; i < plan->identity->n_macs; i++)
                json_array_append_new(macs, json_pack("{s:s,s:s}", "from", plan->identity->macs[i]->from, "to",
                                                      plan->identity->macs[i]->to));
        set(o, "macs", macs);
        return o;
}

json_t *record_plan(const Drover__MovePlan *plan) {
        json_t *o = json_object(), *disks = json_array(), *steps = json_array(), *refusals = json_array();
        set_text(o, "vm", plan->vm_name);
        set_text(o, "vm_uuid", plan->vm_uuid);
        set_text(o, "new_name", plan->new_name);
        set(o, "clone", json_boolean(plan->clone));
        set(o, "identity", record_identity(plan));
        set_text(o, "undoes", plan->undoes);
        set(o, "revives", json_boolean(plan->revives));
        set_text(o, "source", plan->source_name);
        set_text(o, "target", plan->target_name);
        set(o, "stops", json_boolean(plan->was_running));
        set(o, "starts", json_boolean(plan->start));
        set(o, "copy_bytes", number(plan->bytes_to_copy));
        set(o, "estimated_seconds", number(plan->estimated_seconds));
        set(o, "estimated_downtime_seconds", number(plan->estimated_downtime_seconds));
        set(o, "warnings", strings(plan->warnings, plan->n_warnings));
        for (size_t i = 0; i < plan->n_disks; i++) {
                const Drover__MoveDisk *disk = plan->disks[i];
                json_t *d = json_object();
                set_text(d, "target", disk->target);
                set_text(d, "format", disk->format);
                set_text(d, "pool", disk->pool);
                set_text(d, "volume", disk->volume);
                set(d, "capacity_bytes", number(disk->capacity_bytes));
                set(d, "allocation_bytes", number(disk->allocation_bytes));
                json_array_append_new(disks, d);
        }
        for (size_t i = 0; i < plan->n_steps; i++) {
                json_t *s = json_object();
                set_text(s, "name", plan->steps[i]->name);
                set_text(s, "host", plan->steps[i]->host);
                set_text(s, "text", plan->steps[i]->text);
                json_array_append_new(steps, s);
        }
        for (size_t i = 0; i < plan->n_refusals; i++) {
                json_t *r = json_object();
                set_text(r, "code", plan->refusals[i]->code);
                set_text(r, "message", plan->refusals[i]->message);
                set_text(r, "hint", plan->refusals[i]->hint);
                json_array_append_new(refusals, r);
        }
        set(o, "disks", disks);
        set(o, "steps", steps);
        set(o, "refusals", refusals);
        return o;
}

json_t *record_batch_plan(const Drover__BatchPlan *plan) {
        json_t *o = json_object(), *plans = json_array();
        for (size_t i = 0; i < plan->n_plans; i++) {
                json_t *one = record_plan(plan->plans[i]);
                set(one, "wave", number_or_null(plan->plans[i]->wave));
                json_array_append_new(plans, one);
        }
        set_text(o, "target", plan->plans[0]->target_name);
        set(o, "waves", number(plan->waves));
        set(o, "copy_bytes", number(plan->bytes_to_copy));
        set(o, "estimated_seconds", number(plan->estimated_seconds));
        set(o, "plans", plans);
        return o;
}

json_t *record_status(const Drover__FleetStatus *status) {
        json_t *o = json_object(), *problems = json_array();
        for (size_t i = 0; i < status->n_problems; i++) {
                json_t *p = json_object();
                set_text(p, "severity", status->problems[i]->severity);
                set_text(p, "object", status->problems[i]->object);
                set_text(p, "message", status->problems[i]->message);
                set_text(p, "hint", status->problems[i]->hint);
                json_array_append_new(problems, p);
        }
        set(o, "problems", problems);
        set_text(o, "controller", status->controller);
        set(o, "sites", number(status->sites));
        set(o, "hosts", number(status->hosts));
        set(o, "hosts_online", number(status->hosts_online));
        set(o, "vms", number(status->vms));
        set(o, "vms_running", number(status->vms_running));
        set(o, "jobs_running", number(status->jobs_running));
        set(o, "jobs_waiting", number(status->jobs_waiting));
        set(o, "jobs_failed_last_day", number(status->jobs_failed_day));
        set(o, "memory_bytes", number(status->memory_bytes));
        set(o, "pool_available_bytes", number(status->pool_available_bytes));
        set(o, "retired_bytes", number(status->retired_bytes));
        return o;
}
