// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * Domain definitions (libvirt's domain XML) with libxml2. Pure: text in, facts and text out; it opens nothing. A
 * definition from another host is data from a stranger: at most DEFINITION_MAX bytes, no DOCTYPE, no entities, no
 * network, bounded depth (fault 50), and only what stands in a whitelist of elements passes definition_rewrite(): a
 * controller or a host that has been taken over cannot make this host open a path of its choice.
 */
#include "common/error.h"
#include "common/name.h"
#include "proto/generated/control.pb-c.h"
#include "proto/generated/inventory.pb-c.h"

#define DEFINITION_MAX (1u << 20)
struct definition;
int definition_parse(const char *xml, size_t length, struct definition **ret, struct error *err);
void definition_free(struct definition *definition);
int definition_sha256(const char *xml, size_t length, char ret_hex[65]);

// Fill what the definition alone tells of a Domain: name, uuid, vcpus, memory, disks (target, bus, device, type,
// format, path or pool+volume, read_only, shareable), interfaces, machine, loader, nvram, agent channel, title, type.
// And `obstacles`: everything it refers to that a move does not carry, each with a hint (host devices, host
// directories, network and block disks, cdroms and floppies with a medium (hint: eject), TPM with state on the host,
// vhost-user, direct (macvtap) interfaces, shared memory, launch security, qemu:commandline, host paths in kernel/
// initrd/dtb that the target may lack are *not* obstacles but listed by definition_host_files()), ...
// Allocates into `domain` with malloc, as protobuf-c would, so that proto_free() releases it.
int definition_describe(const struct definition *definition, Drover__Domain *domain, struct error *err);
// Files of the host that the definition reads but does not own (kernel, initrd, dtb, loader): these must exist at the
// target. Caller frees each and the array.
int definition_host_files(const struct definition *definition, char ***ret_paths, unsigned *ret_n, struct error *err);
const char *definition_name(const struct definition *definition);
const char *definition_uuid(const struct definition *definition);
// The NVRAM file's path in the definition, or NULL. Borrowed.
const char *definition_nvram(const struct definition *definition);
// Where the NVRAM file is, if there is one: as named, or where libvirt keeps it when it chooses the firmware itself
// (<os firmware='efi'>: libvirt 9.0 does not write the path down). NULL: the VM has none. Caller frees.
#define DEFINITION_NVRAM_DIRECTORY "/var/lib/libvirt/qemu/nvram"
char *definition_nvram_file(const struct definition *definition);

struct definition_disk {
        const char *target;
        const char *format;
        const char *path;
        bool device;
}; // path: absolute, resolved on this host; device: it is a block device
struct definition_changes {
        const char *name;                    // new name; NULL keeps
        const struct definition_disk *disks; // every file-backed disk must be named here, else refused
        unsigned n_disks;
        const Drover__NameMap *const *bridges; // OLD=NEW, applied to bridge and network sources
        size_t n_bridges;
        const char *nvram_path; // where this host keeps it; required iff the definition has one
        const char *emulator;   // this host's; NULL drops the element so that libvirt fills it in
        const char *const
                *machine_types; // this host's; a versioned type not in it is an error that says so; NULL: not checked
        unsigned n_machine_types;
        bool keep_only_whitelisted; // true for anything that came from another host
        const Drover__CloneIdentity
                *identity; // a clone's (definition_identity.h); NULL keeps UUID, MACs, serial numbers
};
// A new definition: disk paths and formats, name, bridges, nvram, emulator, identity as said; seclabels with
// static labels, emulator paths, alias/address of backing chains, live-only parts dropped. ERROR_REFUSED names the
// element that may not pass. Caller frees *ret_xml.
int definition_rewrite(const char *xml, size_t length, const struct definition_changes *changes, char **ret_xml,
                       struct error *err);
// The same for a <domainsnapshot> of an internal snapshot: its embedded <domain> and <inactiveDomain> are rewritten.
// `parent`: the snapshot that it comes after, where that is another one than it says itself; "" for none; NULL keeps.
int definition_rewrite_snapshot(const char *xml, size_t length, const struct definition_changes *changes,
                                const char *parent, char **ret_xml, struct error *err);
