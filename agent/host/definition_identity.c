// SPDX-License-Identifier: LGPL-2.1-or-later
/* A clone's own numbers, written into a definition. Pure; any thread. */
#include "agent/host/definition_identity.h"
#include "common/memory.h"
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define SERIAL_DIGITS 20u // what virtio-blk carries
#define WWN_DIGITS    16u

// ---- numbers ----

void identity_digits(const char *vm_uuid, const char *purpose, unsigned n, char *ret) {
        unsigned char sum[EVP_MAX_MD_SIZE] = {0};
        _cleanup_(free_p) char *text = memory_format("drover %s %s", vm_uuid, purpose);
        EVP_Digest(text, strlen(text), sum, NULL, EVP_sha256(), NULL);
        for (unsigned i = 0; i < n; i++)
                ret[i] = "0123456789abcdef"[i % 2 ? sum[i / 2] & 15 : sum[i / 2] >> 4];
        ret[n] = 0;
}

void identity_uuid(const char *vm_uuid, const char *purpose, char ret[NAME_UUID_LENGTH + 1]) {
        char digits[33];
        identity_digits(vm_uuid, purpose, 32, digits);
        // Version 8 (RFC 9562: made as its maker sees fit), variant 10.
        snprintf(ret, NAME_UUID_LENGTH + 1, "%.8s-%.4s-8%.3s-%c%.3s-%.12s", digits, digits + 8, digits + 13,
                 "89ab"[digits[16] % 4], digits + 17, digits + 20);
}

// ---- disks ----

static void rename_disk(xmlNode *disk, const char *uuid) {
        char digits[SERIAL_DIGITS + 1];
        _cleanup_(free_p) char *target = tree_find_attribute(disk, "target", "dev");
        _cleanup_(free_p) char *serial = memory_format("serial of disk %s", target ? target : "");
        _cleanup_(free_p) char *wwn = memory_format("name of disk %s", target ? target : "");
        xmlNode *at = tree_child(disk, "serial");
        if (at) {
                identity_digits(uuid, serial, SERIAL_DIGITS, digits);
                tree_set_text(at, digits);
        }
        at = tree_child(disk, "wwn");
        if (at) {
                identity_digits(uuid, wwn, WWN_DIGITS, digits);
                digits[0] = '3'; // NAA 3: locally assigned
                tree_set_text(at, digits);
        }
}

// ---- interfaces ----

static int rename_interface(xmlNode *interface, const Drover__CloneIdentity *identity, struct error *err) {
        xmlNode *mac = tree_child(interface, "mac");
        _cleanup_(free_p) char *address = mac ? tree_attribute(mac, "address") : NULL;
        if (!address) // libvirt makes one
                return 0;
        for (size_t i = 0; i < identity->n_macs; i++)
                if (strcasecmp(identity->macs[i]->from, address) == 0) {
                        tree_set(mac, "address", identity->macs[i]->to);
                        return 0;
                }
        return error_set(err, ERROR_REFUSED, "the interface %s has no address of its own in the clone", address);
}

// ---- the machine ----

static bool is_any(const char *text, const char *const *words, size_t n) {
        for (size_t i = 0; text && i < n; i++)
                if (strcmp(text, words[i]) == 0)
                        return true;
        return false;
}

// <sysinfo type='smbios'><system><entry name='serial'>...: libvirt insists that the UUID there is the domain's.
static void rename_machine(xmlNode *sysinfo, const char *uuid) {
        static const char *const numbers[] = {"serial", "asset"};
        for (xmlNode *part = tree_child_element(sysinfo); part; part = tree_next_element(part))
                for (xmlNode *entry = tree_child(part, "entry"); entry; entry = tree_next(entry, "entry")) {
                        _cleanup_(free_p) char *name = tree_attribute(entry, "name");
                        char digits[SERIAL_DIGITS + 1];
                        _cleanup_(free_p) char *purpose =
                                memory_format("%s %s", (const char *) part->name, name ? name : "");
                        identity_digits(uuid, purpose, SERIAL_DIGITS, digits);
                        if (name && strcmp(name, "uuid") == 0)
                                tree_set_text(entry, uuid);
                        else if (is_any(name, numbers, ARRAY_SIZE(numbers)))
                                tree_set_text(entry, digits);
                }
}

static void renew_generation(xmlNode *domain, const char *uuid) {
        char generation[NAME_UUID_LENGTH + 1];
        xmlNode *genid = tree_child(domain, "genid");
        identity_uuid(uuid, "generation", generation);
        if (genid)
                tree_set_text(genid, generation);
}

// ---- what only one VM of a host can have ----

static void free_ports(xmlNode *graphics) {
        static const char *const ports[] = {"port", "tlsPort", "websocket"};
        for (unsigned i = 0; i < ARRAY_SIZE(ports); i++)
                tree_unset(graphics, ports[i]);
        if (tree_attribute_is(graphics, "type", "vnc") || tree_attribute_is(graphics, "type", "spice"))
                tree_set(graphics, "autoport", "yes");
}

static void free_address(xmlNode *vsock) {
        xmlNode *cid = tree_child(vsock, "cid");
        if (!cid)
                return;
        tree_unset(cid, "address");
        tree_set(cid, "auto", "yes");
}

int identity_apply(xmlNode *domain, const Drover__CloneIdentity *identity, struct error *err) {
        const char *uuid = identity->uuid;
        xmlNode *at = tree_child(domain, "uuid");
        tree_set_text(at ? at : tree_add(domain, "uuid"), uuid);
        renew_generation(domain, uuid);
        for (at = tree_child(domain, "sysinfo"); at; at = tree_next(at, "sysinfo"))
                rename_machine(at, uuid);
        xmlNode *devices = tree_child(domain, "devices");
        for (at = devices ? tree_child(devices, "disk") : NULL; at; at = tree_next(at, "disk"))
                rename_disk(at, uuid);
        for (at = devices ? tree_child(devices, "graphics") : NULL; at; at = tree_next(at, "graphics"))
                free_ports(at);
        for (at = devices ? tree_child(devices, "vsock") : NULL; at; at = tree_next(at, "vsock"))
                free_address(at);
        for (at = devices ? tree_child(devices, "interface") : NULL; at; at = tree_next(at, "interface"))
                if (rename_interface(at, identity, err) < 0)
                        return -1;
        return 0;
}
