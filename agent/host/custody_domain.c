// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The domain of a step and what the job noted about it. Workers only.
 */
#include "agent/host/custody_domain.h"
#include "agent/host/held.h"
#include "agent/host/hold_file.h"
#include "agent/host/neighbour.h"
#include "agent/host/tree.h"
#include "common/buffer.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "common/memory.h"
#include <string.h>

int custody_lookup(const struct custody *custody, virDomainPtr *ret, struct error *err) {
        virDomainPtr domain = virDomainLookupByUUIDString(custody->conn, custody->vm_uuid);
        if (domain) {
                *ret = domain;
                return 1;
        }
        return virGetLastErrorCode() == VIR_ERR_NO_DOMAIN ? 0 : connection_error(err, "look up the VM");
}

int custody_require(const struct custody *custody, virDomainPtr *ret, struct error *err) {
        int found = custody_lookup(custody, ret, err);
        if (found == 0)
                return error_set(err, ERROR_NOT_FOUND, "no VM with UUID %s is defined on this host", custody->vm_uuid);
        return found < 0 ? -1 : 0;
}

int custody_active(virDomainPtr domain, struct error *err) {
        int active = virDomainIsActive(domain);
        return active < 0 ? connection_error(err, "ask for the VM's state") : active;
}

char *custody_name(virDomainPtr domain) {
        return memory_string(virDomainGetName(domain));
}

int custody_definition(virDomainPtr domain, char **ret_xml, struct error *err) {
        char *xml = virDomainGetXMLDesc(domain, VIR_DOMAIN_XML_INACTIVE | VIR_DOMAIN_XML_SECURE);
        if (!xml)
                return connection_error(err, "read the definition");
        *ret_xml = xml;
        return 0;
}

int custody_undefine(virDomainPtr domain, struct error *err) {
        // Drivers without NVRAM and checkpoints refuse the flags for them.
        const unsigned all = VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA;
        const unsigned more = VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA | VIR_DOMAIN_UNDEFINE_NVRAM;
        if (virDomainUndefineFlags(domain, all | more) == 0)
                return 0;
        if (virGetLastErrorCode() == VIR_ERR_INVALID_ARG && virDomainUndefineFlags(domain, all) == 0)
                return 0;
        return virGetLastErrorCode() == VIR_ERR_NO_DOMAIN ? 0 : connection_error(err, "undefine the VM");
}

// ---- facts ----

int custody_fact(const struct custody *custody, const char *key, char **ret_text, struct error *err) {
        uint8_t *bytes;
        size_t length;
        int found = journal_fact_get(custody->journal, custody->job, key, &bytes, &length, err);
        if (found > 0)
                *ret_text = (char *) bytes; // the journal ends it with NUL
        return found;
}

int custody_set_fact(const struct custody *custody, const char *key, const char *text, struct error *err) {
        return journal_fact_set(custody->journal, custody->job, key, text, strlen(text), err);
}

int custody_fact_is(const struct custody *custody, const char *key, const char *text, struct error *err) {
        _cleanup_(free_p) char *value = NULL;
        int found = custody_fact(custody, key, &value, err);
        return found > 0 ? strcmp(value, text) == 0 : found;
}

int custody_note_purging(const struct custody *custody, const struct hold *hold, struct error *err) {
        return journal_fact_set(custody->journal, hold->job, FACT_PURGING, "yes", 3, err);
}

// ---- holds ----

int custody_holds(const struct custody *custody, enum hold_kind kind, struct hold **ret, unsigned *ret_n,
                  struct error *err) {
        return journal_holds(custody->journal, custody->job, kind, ret, ret_n, err);
}

int custody_hold(const struct custody *custody, const char *item, struct hold *ret, struct error *err) {
        _cleanup_(free_p) struct hold *holds = NULL;
        unsigned n = 0;
        if (custody_holds(custody, 0, &holds, &n, err) < 0)
                return -1;
        for (unsigned i = 0; i < n; i++)
                if (strcmp(holds[i].item, item) == 0) {
                        *ret = holds[i];
                        return 1;
                }
        return 0;
}

int custody_check_unused(const struct custody *custody, const char *except_uuid, const struct hold *holds, unsigned n,
                         struct error *err) {
        _cleanup_(held_images_fini) struct held_images held = {0};
        struct neighbours neighbours = {0};
        if (neighbours_read(custody->conn, except_uuid, &neighbours, err) < 0)
                return -1;
        int status = held_images_read(custody->journal, &held, err);
        for (unsigned i = 0; status == 0 && i < n; i++)
                status = neighbours_check_unused(&neighbours, &held, &holds[i], err);
        neighbours_fini(&neighbours);
        return status;
}

static bool first_of_directory(const struct hold *holds, unsigned i) {
        for (unsigned k = 0; k < i; k++)
                if (strcmp(holds[k].directory, holds[i].directory) == 0)
                        return false;
        return holds[i].directory[0];
}

void custody_tidy(const struct custody *custody, const struct hold *holds, unsigned n) {
        for (unsigned i = 0; i < n; i++) {
                if (holds[i].device || !first_of_directory(holds, i))
                        continue;
                struct error err = ERROR_INIT;
                if (hold_file_tidy(&holds[i], custody->journal, &err) < 0)
                        log_failure(LOG_LEVEL_DEBUG, "tidy up", &err, "job", custody->job, NULL);
                error_clear(&err);
                if (custody->conn && pool_refresh_directory(custody->conn, holds[i].directory, &err) < 0)
                        log_failure(LOG_LEVEL_DEBUG, "refresh the pool", &err, "job", custody->job, NULL);
        }
}

// ---- snapshots ----

static int snapshot_add(virDomainSnapshotPtr snapshot, Drover__MoveInspectResult *result, struct error *err) {
        char *xml = virDomainSnapshotGetXMLDesc(snapshot, VIR_DOMAIN_SNAPSHOT_XML_SECURE);
        if (!xml)
                return connection_error(err, "read a snapshot");
        int current = virDomainSnapshotIsCurrent(snapshot, 0);
        if (current < 0) {
                free(xml);
                return connection_error(err, "read a snapshot");
        }
        result->snapshot_xml[result->n_snapshot_xml++] =
                (ProtobufCBinaryData){.data = (uint8_t *) xml, .len = strlen(xml)};
        if (current)
                result->current_snapshot = memory_string(virDomainSnapshotGetName(snapshot));
        return 0;
}

int custody_snapshots_read(virDomainPtr domain, Drover__MoveInspectResult *result, struct error *err) {
        virDomainSnapshotPtr *snapshots = NULL;
        int n = virDomainListAllSnapshots(domain, &snapshots, VIR_DOMAIN_SNAPSHOT_LIST_TOPOLOGICAL);
        if (n < 0)
                return virGetLastErrorCode() == VIR_ERR_NO_SUPPORT ? 0 : connection_error(err, "list the snapshots");
        int status = 0;
        result->snapshot_xml = n ? new_array(ProtobufCBinaryData, (size_t) n) : NULL;
        for (int i = 0; i < n; i++) {
                if (status == 0)
                        status = snapshot_add(snapshots[i], result, err);
                virDomainSnapshotFree(snapshots[i]);
        }
        free(snapshots);
        return status;
}

int custody_snapshot_define(virDomainPtr domain, const char *xml, const char *current, struct error *err) {
        _cleanup_(tree_free_p) xmlDoc *doc = NULL;
        if (tree_parse("a snapshot", xml, strlen(xml), &doc, err) < 0)
                return -1;
        _cleanup_(free_p) char *name = tree_find_text(xmlDocGetRootElement(doc), "name");
        unsigned flags = VIR_DOMAIN_SNAPSHOT_CREATE_REDEFINE;
        if (name && current && strcmp(name, current) == 0)
                flags |= VIR_DOMAIN_SNAPSHOT_CREATE_CURRENT;
        virDomainSnapshotPtr snapshot = virDomainSnapshotCreateXML(domain, xml, flags);
        if (!snapshot) {
                connection_error(err, "carry the snapshot over");
                return error_prefix(err, "snapshot %s", name ? name : "?");
        }
        virDomainSnapshotFree(snapshot);
        return 0;
}

static void noted_free_p(Drover__MoveInspectResult **noted) {
        proto_free((ProtobufCMessage *) *noted);
}

int custody_snapshots_unchanged(const struct custody *custody, virDomainPtr domain, struct error *err) {
        _cleanup_(free_p) uint8_t *noted = NULL;
        size_t length = 0;
        int found = journal_fact_get(custody->journal, custody->job, FACT_SNAPSHOTS, &noted, &length, err);
        if (found <= 0)
                return found < 0 ? -1 : 1;
        _cleanup_(noted_free_p) Drover__MoveInspectResult *now = new (Drover__MoveInspectResult);
        drover__move_inspect_result__init(now);
        _cleanup_(buffer_fini) struct buffer bytes;
        buffer_init(&bytes, 0);
        if (custody_snapshots_read(domain, now, err) < 0 || PROTO_PACK(now, &bytes, err) < 0)
                return -1;
        return bytes.length == length && (!length || memcmp(bytes.data, noted, length) == 0);
}

int custody_snapshots_restore(const struct custody *custody, const char *job, virDomainPtr domain, struct error *err) {
        _cleanup_(noted_free_p) Drover__MoveInspectResult *noted = NULL;
        _cleanup_(free_p) uint8_t *bytes = NULL;
        size_t length = 0;
        int found = journal_fact_get(custody->journal, job, FACT_SNAPSHOTS, &bytes, &length, err);
        if (found <= 0)
                return found;
        if (PROTO_UNPACK(move_inspect_result, bytes, length, &noted, err) < 0)
                return -1;
        for (size_t i = 0; i < noted->n_snapshot_xml; i++) {
                _cleanup_(free_p) char *xml = memory_format("%.*s", (int) noted->snapshot_xml[i].len,
                                                            (const char *) noted->snapshot_xml[i].data);
                if (custody_snapshot_define(domain, xml, noted->current_snapshot, err) < 0)
                        return -1;
        }
        return 0;
}

// ---- saved state ----

int custody_check_saved_state(virDomainPtr domain, struct error *err) {
        int saved = virDomainHasManagedSaveImage(domain, 0);
        if (saved < 0 && virGetLastErrorCode() != VIR_ERR_NO_SUPPORT)
                return connection_error(err, "ask for a saved state");
        if (saved <= 0)
                return 0;
        const char *name = virDomainGetName(domain);
        error_set(err, ERROR_CONFLICT, "%s has a saved state (managed save), which would be lost", name);
        error_hint(err, "start it and shut it down, or drop the state: virsh managedsave-remove %s", name);
        return -1;
}
