// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Defining at the target: the definition from the source is checked and rewritten for this host before anything becomes
 * visible; then the images take their names, and the VM is defined with its snapshots, autostart off. The definition
 * and the images come from another host and are data from a stranger. Workers only.
 */
#include "agent/host/capabilities.h"
#include "agent/host/clone.h"
#include "agent/host/definition.h"
#include "agent/host/hold_file.h"
#include "agent/host/placement.h"
#include "agent/host/placement_parts.h"
#include "agent/host/placement_volume.h"
#include "common/cleanup.h"
#include "common/fault.h"
#include "common/memory.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

struct define {
        const struct custody *custody;
        const Drover__MoveDefine *request;
        struct definition *definition; // as it came
        Drover__Domain *described;
        struct capabilities capabilities;
        struct hold *holds; // of this job
        unsigned n_holds;
        struct definition_disk *disks;
        char **paths; // of disks
        char *nvram_path;
        struct definition_changes changes;
        char *xml;          // rewritten
        uint32_t snapshots; // in the image that holds the most
        virDomainPtr domain;
        Drover__MoveDefineResult *result;
};

static void define_fini(struct define *define) {
        if (define->definition)
                definition_free(define->definition);
        proto_free((ProtobufCMessage *) define->described);
        capabilities_fini(&define->capabilities);
        free(define->holds);
        free(define->disks);
        for (size_t i = 0; define->paths && i < define->request->n_disks; i++)
                free(define->paths[i]);
        free(define->paths);
        free(define->nvram_path);
        free(define->xml);
        if (define->domain)
                virDomainFree(define->domain);
        proto_free((ProtobufCMessage *) define->result);
}

static const struct hold *hold_of(const struct define *define, const char *item) {
        for (unsigned i = 0; i < define->n_holds; i++)
                if (strcmp(define->holds[i].item, item) == 0 &&
                    (define->holds[i].kind == HOLD_INCOMING || define->holds[i].kind == HOLD_PUBLISHED))
                        return &define->holds[i];
        return NULL;
}

// ---- what came ----

// A clone is another VM than the one whose definition came.
static int check_identity(struct define *define, struct error *err) {
        const char *uuid = define->custody->vm_uuid;
        if (strcmp(define->request->identity->uuid, uuid) != 0)
                return error_set(err, ERROR_REFUSED, "the clone's identity is that of VM %s, not of %s",
                                 define->request->identity->uuid, uuid);
        if (strcmp(definition_uuid(define->definition), uuid) == 0)
                return error_set(err, ERROR_REFUSED, "the clone has the UUID %s of the VM that it is made from", uuid);
        return custody_holds(define->custody, 0, &define->holds, &define->n_holds, err);
}

static int read_definition(struct define *define, struct error *err) {
        const Drover__MoveDefine *request = define->request;
        define->described = new (Drover__Domain);
        drover__domain__init(define->described);
        if (definition_parse((const char *) request->definition_xml.data, request->definition_xml.len,
                             &define->definition, err) < 0 ||
            definition_describe(define->definition, define->described, err) < 0)
                return -1;
        if (request->identity)
                return check_identity(define, err);
        const char *uuid = definition_uuid(define->definition);
        if (!uuid || strcmp(uuid, define->custody->vm_uuid) != 0)
                return error_set(err, ERROR_REFUSED, "the definition that came is of VM %s, not of %s",
                                 uuid ? uuid : "none", define->custody->vm_uuid);
        return custody_holds(define->custody, 0, &define->holds, &define->n_holds, err);
}

// A file of this host that the VM reads must be one that anybody may read: a definition from elsewhere cannot show a
// guest what root alone may see.
static bool host_file_usable(const char *path) {
        struct stat status;
        return stat(path, &status) == 0 && S_ISREG(status.st_mode) && (status.st_mode & S_IROTH);
}

static int check_host_files(const struct define *define, struct error *err) {
        char **paths = NULL;
        unsigned n = 0;
        char missing[512] = "";
        if (definition_host_files(define->definition, &paths, &n, err) < 0)
                return -1;
        for (unsigned i = 0; i < n; i++) {
                size_t used = strlen(missing);
                if (!host_file_usable(paths[i]))
                        snprintf(missing + used, sizeof(missing) - used, "%s%s", used ? ", " : "", paths[i]);
                free(paths[i]);
        }
        free(paths);
        if (!missing[0])
                return 0;
        error_set(err, ERROR_REFUSED, "%s needs files that this host does not have, or not for everybody to read: %s",
                  define->request->vm_name, missing);
        error_hint(err, "install them here under the same names, readable by all");
        return -1;
}

static int check_capabilities(struct define *define, struct error *err) {
        const char *type = define->described->domain_type;
        if (capabilities_read(define->custody->conn, &define->capabilities, err) < 0)
                return -1;
        if (capabilities_offer(&define->capabilities, type))
                return 0;
        error_set(err, ERROR_REFUSED, "%s is of type %s, which this host does not offer", define->request->vm_name,
                  type);
        if (strcmp(type, "kvm") == 0)
                error_hint(err, "see whether /dev/kvm is there: virt-host-validate qemu");
        return -1;
}

// An image that refers to other files would let its sender read them through the guest (fault 53). One that this host
// itself has laid over another refers to that very file.
static int check_backing(const struct custody *custody, const struct hold *hold, const struct image *image,
                         struct error *err) {
        _cleanup_(free_p) char *base = NULL;
        int found = clone_base_of(custody, hold->item, &base, err);
        if (found < 0)
                return -1;
        if (found && !image->has_data_file && image->has_backing && strcmp(image->backing, base) == 0 &&
            image->backing_format[0])
                return 0;
        return error_set(err, ERROR_REFUSED, "%s: the image refers to %s, which no image that moves may do", hold->item,
                         image->has_backing ? image->backing : "an external data file");
}

static int check_image(struct define *define, const struct hold *hold, const char *format, struct error *err) {
        struct image image;
        enum hold_place place;
        if (strcmp(format, "qcow2") != 0 && strcmp(format, "raw") != 0)
                return error_set(err, ERROR_REFUSED, "%s: an image of format %s is not taken", hold->item, format);
        if (hold_file_find(hold, &place, err) < 0)
                return -1;
        bool published = hold->kind == HOLD_PUBLISHED || place == HOLD_IN_PLACE;
        if (hold_file_inspect(hold, published ? HOLD_IN_PLACE : HOLD_ASIDE, format, &image, err) < 0)
                return error_prefix(err, "%s", hold->item);
        if (image.snapshots > define->snapshots)
                define->snapshots = image.snapshots;
        return image.has_backing || image.has_data_file ? check_backing(define->custody, hold, &image, err) : 0;
}

static int list_disks(struct define *define, struct error *err) {
        const Drover__MoveDefine *request = define->request;
        define->disks = new_array(struct definition_disk, request->n_disks + 1);
        define->paths = new_array(char *, request->n_disks + 1);
        for (size_t i = 0; i < request->n_disks; i++) {
                const Drover__MoveDisk *disk = request->disks[i];
                const struct hold *hold = hold_of(define, disk->target);
                if (!hold)
                        return error_set(err, ERROR_CONFLICT, "%s is not reserved for job %s on this host",
                                         disk->target, define->custody->job);
                if (check_image(define, hold, disk->format, err) < 0)
                        return -1;
                define->paths[i] = memory_format("%s/%s", hold->directory, hold->name);
                define->disks[i] = (struct definition_disk){.target = disk->target,
                                                            .format = disk->format,
                                                            .path = define->paths[i],
                                                            .device = hold->device};
        }
        return 0;
}

static int choose_nvram(struct define *define, struct error *err) {
        const struct hold *hold = hold_of(define, NVRAM_ITEM);
        const char *named = definition_nvram(define->definition);
        struct hold place;
        if (define->request->has_nvram && !hold)
                return error_set(err, ERROR_CONFLICT, NVRAM_ITEM " is not reserved for job %s on this host",
                                 define->custody->job);
        if (!hold && !named)
                return 0;
        if (!hold) {
                placement_hold(define->custody, define->request->vm_name, NVRAM_ITEM, &place);
                if (placement_nvram_place(define->custody, define->request->vm_name, &place, err) < 0)
                        return -1;
                hold = &place;
        }
        // A definition that does not name its NVRAM gets the one that libvirt looks for by the VM's name.
        _cleanup_(free_p) char *usual = memory_format("%s_VARS.fd", define->request->vm_name);
        if (!named && strcmp(hold->name, usual) != 0) {
                error_set(err, ERROR_REFUSED, NVRAM_DIRECTORY "/%s exists here and belongs to no VM", usual);
                error_hint(err, "move it out of the way: mv " NVRAM_DIRECTORY "/%s /root/", usual);
                return -1;
        }
        define->nvram_path = memory_format("%s/%s", hold->directory, hold->name);
        return 0;
}

// ---- rewriting ----

static int check_rewritten(const struct define *define, struct error *err) {
        struct definition *definition = NULL;
        if (definition_parse(define->xml, strlen(define->xml), &definition, err) < 0)
                return -1;
        const char *name = definition_name(definition), *uuid = definition_uuid(definition);
        bool right = name && uuid && strcmp(name, define->request->vm_name) == 0 &&
                     strcmp(uuid, define->custody->vm_uuid) == 0;
        if (!right)
                error_set(err, ERROR_REFUSED, "the rewritten definition is of VM %s (%s), not of %s (%s)",
                          name ? name : "?", uuid ? uuid : "?", define->request->vm_name, define->custody->vm_uuid);
        definition_free(definition);
        return right ? 0 : -1;
}

static int rewrite(struct define *define, struct error *err) {
        const Drover__MoveDefine *request = define->request;
        define->changes = (struct definition_changes){
                .name = request->vm_name,
                .disks = define->disks,
                .n_disks = (unsigned) request->n_disks,
                .bridges = (const Drover__NameMap *const *) request->bridges,
                .n_bridges = request->n_bridges,
                .nvram_path = define->nvram_path,
                .machine_types = (const char *const *) define->capabilities.machines,
                .n_machine_types = define->capabilities.n_machines,
                .keep_only_whitelisted = true,
                .identity = request->identity,
        };
        if (definition_rewrite((const char *) request->definition_xml.data, request->definition_xml.len,
                               &define->changes, &define->xml, err) < 0)
                return -1;
        return check_rewritten(define, err);
}

// Nobody else may have taken the name or the UUID since the reservation: libvirt would replace a definition by UUID.
static int check_still_free(const struct define *define, struct error *err) {
        _cleanup_(domain_free_p) virDomainPtr domain = NULL;
        int found = custody_lookup(define->custody, &domain, err);
        int ours = found > 0 ? placement_made(define->custody, domain, err) : found;
        if (ours < 0)
                return -1;
        if (found && !ours)
                return error_set(err, ERROR_CONFLICT, "the UUID %s is in use here by the VM %s",
                                 define->custody->vm_uuid, virDomainGetName(domain));
        return 0;
}

// ---- publishing ----

// The file is noted before it gets its name, so that only this very file is ever taken for ours there.
static int publish(const struct define *define, const struct hold *hold, struct error *err) {
        const struct custody *custody = define->custody;
        _cleanup_(free_p) char *key = memory_format(FACT_IDENTITY "%s", hold->item);
        char identity[HOLD_IDENTITY_MAX];
        enum hold_place place;
        struct hold published = *hold;
        if (hold->kind == HOLD_PUBLISHED)
                return 0;
        published.kind = HOLD_PUBLISHED;
        if (hold->device)
                return placement_volume_publish(custody, hold, err) < 0
                               ? -1
                               : journal_hold_put(custody->journal, &published, err);
        if (hold_file_find(hold, &place, err) < 0)
                return -1;
        if (place == HOLD_NOWHERE)
                return error_set(err, ERROR_CONFLICT, "%s has not been copied to this host", hold->item);
        if (place == HOLD_IN_PLACE) {
                if (hold_file_identity(hold, HOLD_IN_PLACE, identity, err) < 0)
                        return -1;
                int ours = custody_fact_is(custody, key, identity, err);
                if (ours <= 0)
                        return ours < 0 ? -1
                                        : error_set(err, ERROR_CONFLICT, "%s/%s exists and is not what job %s copied",
                                                    hold->directory, hold->name, hold->job);
        } else if (hold_file_identity(hold, HOLD_ASIDE, identity, err) < 0 ||
                   custody_set_fact(custody, key, identity, err) < 0 ||
                   fault_point("agent.define.before-publish", err) < 0 ||
                   hold_file_put_in_place(hold, false, err) < 0 || fault_point("agent.define.published", err) < 0) {
                return -1;
        }
        return journal_hold_put(custody->journal, &published, err);
}

static int publish_all(const struct define *define, struct error *err) {
        for (unsigned i = 0; i < define->n_holds; i++)
                if (define->holds[i].kind == HOLD_INCOMING && publish(define, &define->holds[i], err) < 0)
                        return error_prefix(err, "%s", define->holds[i].item);
        custody_tidy(define->custody, define->holds, define->n_holds); // the pools show the new volumes
        return fault_point("agent.define.all-published", err);
}

// ---- defining ----

static int define_domain(struct define *define, struct error *err) {
        if (check_still_free(define, err) < 0 ||
            custody_set_fact(define->custody, FACT_DEFINED, define->custody->vm_uuid, err) < 0 ||
            fault_point("agent.define.before-define", err) < 0)
                return -1;
        define->domain = virDomainDefineXMLFlags(define->custody->conn, define->xml, VIR_DOMAIN_DEFINE_VALIDATE);
        if (!define->domain)
                return connection_error(err, "define the VM");
        return fault_point("agent.define.defined", err);
}

static int define_snapshots(const struct define *define, struct error *err) {
        struct placement_snapshots what = {
                .domain = define->domain,
                .request = define->request,
                .changes = &define->changes,
                .in_images = define->snapshots > 0,
                .result = define->result,
        };
        return placement_snapshots(&what, err);
}

static int answer(struct define *define, Drover__MoveDefineResult **ret, struct error *err) {
        _cleanup_(free_p) char *xml = NULL;
        char sha256[65];
        if (custody_definition(define->domain, &xml, err) < 0)
                return -1;
        if (definition_sha256(xml, strlen(xml), sha256) < 0)
                return error_set(err, ERROR_FAILED, "the digest of the definition cannot be had");
        define->result->definition_sha256 = memory_string(sha256);
        *ret = steal(&define->result);
        return 0;
}

int placement_define(const struct custody *custody, const Drover__MoveDefine *request, Drover__MoveDefineResult **ret,
                     struct error *err) {
        _cleanup_(define_fini) struct define define = {.custody = custody, .request = request};
        define.result = new (Drover__MoveDefineResult);
        drover__move_define_result__init(define.result);
        if (placement_check_open(custody, err) < 0 || name_check_vm(request->vm_name, err) < 0)
                return -1;
        if (read_definition(&define, err) < 0 || check_host_files(&define, err) < 0 ||
            check_capabilities(&define, err) < 0 || list_disks(&define, err) < 0 || choose_nvram(&define, err) < 0 ||
            rewrite(&define, err) < 0 || check_still_free(&define, err) < 0)
                return -1;
        if (publish_all(&define, err) < 0 || define_domain(&define, err) < 0 || define_snapshots(&define, err) < 0 ||
            fault_point("agent.define.done", err) < 0)
                return -1;
        return answer(&define, ret, err);
}
