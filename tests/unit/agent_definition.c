// SPDX-License-Identifier: LGPL-2.1-or-later
/* Definitions of domains: what is accepted, what is told of them, what may pass between hosts, and what comes out. */
#include "agent/host/definition.h"
#include "agent/host/definition_snapshot.h"
#include "common/buffer.h"
#include "common/cleanup.h"
#include "common/file.h"
#include "common/memory.h"
#include "proto/codec.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#define UUID "0f6b2d5c-6d1c-4c50-9f2b-0a1b2c3d4e5f"
#define DISK                                                                                                           \
        "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>"                                           \
        "<source file='/var/lib/libvirt/images/erp.qcow2'/><target dev='vda' bus='virtio'/></disk>"

static struct error err;
static char text[1 << 14];

static int set_up(void **state) {
        (void) state;
        error_clear(&err);
        return 0;
}

static char *seed(const char *name) {
        struct buffer content;
        _cleanup_(free_p) char *path = memory_format(SOURCE_DIR "/tests/fuzz/seeds/definition/%s.xml", name);
        buffer_init(&content, 0);
        if (file_read(path, 1 << 20, &content, &err) < 0)
                fail_msg("%s", err.message);
        return buffer_steal_text(&content);
}

// A small domain with something more before, and in, its devices.
static const char *domain_with(const char *parts, const char *devices) {
        snprintf(text, sizeof(text),
                 "<domain type='kvm'><name>erp</name><uuid>" UUID "</uuid><memory unit='MiB'>192</memory>"
                 "<vcpu>2</vcpu>%s<devices><emulator>/usr/bin/qemu-system-x86_64</emulator>%s</devices></domain>",
                 parts, devices);
        return text;
}

#define OS(inner) "<os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type>" inner "</os>"

// ---- the gate ----

static void assert_not_parsed(const char *xml, size_t length, enum error_code code, const char *message) {
        struct definition *definition = (void *) 1;
        assert_int_equal(definition_parse(xml, length, &definition, &err), -1);
        assert_string_equal(err.message, message);
        assert_int_equal(err.code, code);
        assert_ptr_equal(definition, (void *) 1);
}

static void fault_50_an_entity_bomb_is_refused(void **state) {
        (void) state;
        static const char bomb[] = "<?xml version='1.0'?><!DOCTYPE lolz [<!ENTITY lol 'lol'><!ENTITY lol2 "
                                   "'&lol;&lol;&lol;&lol;'>]><domain><name>&lol2;</name></domain>";
        assert_not_parsed(bomb, strlen(bomb), ERROR_REFUSED,
                          "the definition has a DOCTYPE; document types are not accepted");
}

static void fault_50_an_external_entity_is_refused(void **state) {
        (void) state;
        static const char external[] = "<!DOCTYPE d SYSTEM 'file:///etc/passwd'><domain/>";
        assert_not_parsed(external, strlen(external), ERROR_REFUSED,
                          "the definition has a DOCTYPE; document types are not accepted");
        static const char entity[] = "<domain><name>&passwd;</name></domain>";
        assert_not_parsed(entity, strlen(entity), ERROR_REFUSED,
                          "the definition uses the entity &passwd; entities are not accepted");
        static const char attribute[] = "<domain type='&kind;'/>";
        assert_not_parsed(attribute, strlen(attribute), ERROR_REFUSED,
                          "the definition uses the entity &kind; entities are not accepted");
}

static void fault_50_a_doctype_in_another_encoding_is_refused(void **state) {
        (void) state;
        static const char utf16[] = "\xff\xfe<\0!\0D\0O\0C\0T\0Y\0P\0E\0";
        assert_not_parsed(utf16, sizeof(utf16) - 1, ERROR_INVALID, "the definition is not valid UTF-8");
        // In UTF-7 this is a DOCTYPE; the declaration is not believed.
        static const char utf7[] = "<?xml version='1.0' encoding='UTF-7'?>+ADwAIQ-DOCTYPE d []><domain/>";
        assert_int_equal(definition_parse(utf7, strlen(utf7), &(struct definition *){NULL}, &err), -1);
        assert_int_equal(err.code, ERROR_INVALID);
        assert_non_null(strstr(err.message, "the definition is not well-formed XML: line 1: "));
}

static void fault_50_a_huge_definition_is_refused(void **state) {
        (void) state;
        size_t length = (1u << 20) + 1;
        _cleanup_(free_p) char *huge = malloc(length);
        memset(huge, ' ', length);
        assert_not_parsed(huge, length, ERROR_TOO_LARGE,
                          "the definition is 1048577 bytes long; at most 1048576 are read");
}

static void fault_50_a_deep_definition_is_refused(void **state) {
        (void) state;
        char deep[65 * 3 + 1] = "";
        for (int i = 0; i < 65; i++)
                strcat(deep, "<a>");
        assert_not_parsed(deep, strlen(deep), ERROR_REFUSED, "the definition is nested deeper than 64 elements");
}

static void fault_50_a_definition_of_countless_elements_is_refused(void **state) {
        (void) state;
        size_t length = 3 + 10001 * 4;
        _cleanup_(free_p) char *wide = malloc(length);
        memcpy(wide, "<a>", 3);
        for (size_t i = 3; i < length; i += 4)
                memcpy(wide + i, "<b/>", 4);
        assert_not_parsed(wide, length, ERROR_REFUSED, "the definition has more than 10000 elements");
}

static void what_is_no_domain_is_refused(void **state) {
        (void) state;
        assert_not_parsed("", 0, ERROR_INVALID, "the definition is empty");
        assert_not_parsed("a\0b", 3, ERROR_INVALID, "the definition is not valid UTF-8");
        assert_not_parsed("<network/>", 10, ERROR_INVALID, "the definition is a <network>, not a <domain>");
        assert_not_parsed("<domain/>", 9, ERROR_INVALID, "the definition has no name");
        static const char nameless[] = "<domain><name>x</name></domain>";
        assert_not_parsed(nameless, strlen(nameless), ERROR_INVALID, "the definition has no UUID");
        static const char foreign[] = "<domain xmlns='urn:x'><name>x</name></domain>";
        assert_not_parsed(foreign, strlen(foreign), ERROR_INVALID, "the definition is a <domain>, not a <domain>");
}

static void comments_may_hold_anything(void **state) {
        (void) state;
        struct definition *definition = NULL;
        const char *xml = domain_with("<!-- <!DOCTYPE & <<< -->" OS(""), DISK);
        assert_int_equal(definition_parse(xml, strlen(xml), &definition, &err), 0);
        assert_string_equal(definition_name(definition), "erp");
        assert_string_equal(definition_uuid(definition), UUID);
        assert_null(definition_nvram(definition));
        definition_free(definition);
}

static void a_definition_is_known_by_its_hash(void **state) {
        (void) state;
        char digest[65];
        assert_int_equal(definition_sha256("abc", 3, digest), 0);
        assert_string_equal(digest, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

// ---- what is told ----

static Drover__Domain *describe(const char *xml) {
        struct definition *definition = NULL;
        if (definition_parse(xml, strlen(xml), &definition, &err) < 0)
                fail_msg("%s", err.message);
        Drover__Domain *domain = calloc(1, sizeof(*domain));
        drover__domain__init(domain);
        assert_int_equal(definition_describe(definition, domain, &err), 0);
        definition_free(definition);
        return domain;
}

static void assert_no_obstacle(const char *name) {
        _cleanup_(free_p) char *xml = seed(name);
        Drover__Domain *domain = describe(xml);
        if (domain->n_obstacles)
                fail_msg("%s: %s", name, domain->obstacles[0]->message);
        proto_free(&domain->base);
}

static void ordinary_vms_have_no_obstacle(void **state) {
        (void) state;
        assert_no_obstacle("erp");
        assert_no_obstacle("windows");
        assert_no_obstacle("kernel");
        assert_no_obstacle("hotplug");
        assert_no_obstacle("uefi");
}

static void a_domain_is_described(void **state) {
        (void) state;
        _cleanup_(free_p) char *xml = seed("erp");
        Drover__Domain *domain = describe(xml);
        assert_string_equal(domain->name, "erp");
        assert_string_equal(domain->uuid, UUID);
        assert_string_equal(domain->title, "ERP Lyon");
        assert_string_equal(domain->description, "");
        assert_string_equal(domain->domain_type, "qemu");
        assert_string_equal(domain->machine, "pc-q35-7.2");
        assert_string_equal(domain->loader, "");
        assert_int_equal(domain->vcpus, 1); // of 2
        assert_int_equal(domain->memory_bytes, 192 << 20);
        assert_true(domain->has_agent_channel);
        assert_false(domain->has_nvram);
        assert_int_equal(domain->n_disks, 2);
        const Drover__Disk *disk = domain->disks[0], *drive = domain->disks[1];
        assert_string_equal(disk->target, "vda");
        assert_string_equal(disk->bus, "virtio");
        assert_string_equal(disk->device, "disk");
        assert_string_equal(disk->type, "file");
        assert_string_equal(disk->format, "qcow2");
        assert_string_equal(disk->path, "/var/lib/libvirt/images/erp.qcow2");
        assert_string_equal(drive->device, "cdrom");
        assert_string_equal(drive->type, ""); // no medium
        assert_true(drive->read_only);
        assert_int_equal(domain->n_interfaces, 1);
        assert_string_equal(domain->interfaces[0]->type, "bridge");
        assert_string_equal(domain->interfaces[0]->source, "br0");
        assert_string_equal(domain->interfaces[0]->model, "virtio");
        assert_string_equal(domain->interfaces[0]->mac, "52:54:00:73:4e:20");
        proto_free(&domain->base);
}

static void firmware_and_its_memory_are_described(void **state) {
        (void) state;
        _cleanup_(free_p) char *xml = seed("uefi");
        Drover__Domain *domain = describe(xml);
        assert_true(domain->has_nvram);
        assert_string_equal(domain->loader, "/usr/share/OVMF/OVMF_CODE_4M.fd");
        proto_free(&domain->base);
        struct definition *definition = NULL;
        char **files = NULL;
        unsigned n = 0;
        assert_int_equal(definition_parse(xml, strlen(xml), &definition, &err), 0);
        assert_string_equal(definition_nvram(definition), "/var/lib/libvirt/qemu/nvram/uefi_VARS.fd");
        assert_int_equal(definition_host_files(definition, &files, &n, &err), 0);
        assert_int_equal(n, 2);
        assert_string_equal(files[0], "/usr/share/OVMF/OVMF_CODE_4M.fd");
        assert_string_equal(files[1], "/usr/share/OVMF/OVMF_VARS_4M.fd");
        for (unsigned i = 0; i < n; i++)
                free(files[i]);
        free(files);
        definition_free(definition);
}

static void fault_34_a_format_that_is_not_told_is_raw(void **state) {
        (void) state;
        Drover__Domain *domain = describe(domain_with(
                OS(""), "<disk type='file'><source file='/i/x.qcow2'/><target dev='vda' bus='virtio'/></disk>"));
        assert_string_equal(domain->disks[0]->format, "raw");
        assert_int_equal(domain->n_obstacles, 0);
        proto_free(&domain->base);
}

// The n-th obstacle of a domain; NULL stands for "no further one".
struct expected {
        const char *code, *message;
};

static void assert_obstacles(const char *xml, const struct expected *expected, size_t n) {
        Drover__Domain *domain = describe(xml);
        for (size_t i = 0; i < domain->n_obstacles; i++) {
                if (i >= n)
                        fail_msg("unexpected: %s", domain->obstacles[i]->message);
                assert_string_equal(domain->obstacles[i]->message, expected[i].message);
                assert_string_equal(domain->obstacles[i]->code, expected[i].code);
                assert_true(*domain->obstacles[i]->hint);
        }
        assert_int_equal(domain->n_obstacles, n);
        proto_free(&domain->base);
}
#define ASSERT_OBSTACLES(xml, ...)                                                                                     \
        assert_obstacles(xml, (const struct expected[]){__VA_ARGS__},                                                  \
                         sizeof((const struct expected[]){__VA_ARGS__}) / sizeof(struct expected))

static void everything_that_is_not_carried_is_an_obstacle(void **state) {
        (void) state;
        _cleanup_(free_p) char *xml = seed("obstacles");
        ASSERT_OBSTACLES(xml, {"startup-policy", "disk sdc: the VM would start without it (startupPolicy)"},
                         {"network-disk", "disk vdc: it lies on a storage network"},
                         {"network-disk", "disk vdd: it lies on a storage network"},
                         {"medium", "disk sda: a medium is in the cdrom: /var/lib/libvirt/images/debian-12.iso"},
                         {"format", "disk sdc: its format vmdk is not carried, only qcow2 and raw are"},
                         {"filesystem", "filesystem: a directory of the host is shared with it"},
                         {"interface", "interface 52:54:00:d7:0e:30: it is bound to this host's hardware or programs"},
                         {"interface", "interface 52:54:00:c6:b0:e6: it is bound to this host's hardware or programs"},
                         {"character-device",
                          "serial: its other end is a file, device or address of the host (file /tmp/serial.log)"},
                         {"character-device",
                          "console: its other end is a file, device or address of the host (file /tmp/serial.log)"},
                         {"character-device",
                          "channel: its other end is a file, device or address of the host (unix /tmp/agent.sock)"},
                         {"tpm", "tpm: its TPM keeps its state on this host"},
                         {"graphics", "graphics: its display listens on a socket file of the host"},
                         {"hostdev", "hostdev: a device of the host is passed through to it"},
                         {"rng", "rng: its random numbers come from a program of the host"},
                         {"shared-memory", "shmem: it shares memory with others on the host"},
                         {"qemu-commandline", "it passes options of its own to QEMU (qemu:commandline)"});
}

static void hints_name_the_vm(void **state) {
        (void) state;
        Drover__Domain *domain = describe(domain_with(
                OS(""), DISK "<disk type='file' device='cdrom'><source file='/x.iso'/><target dev='sda'/></disk>"));
        assert_int_equal(domain->n_obstacles, 1);
        assert_string_equal(domain->obstacles[0]->hint, "virsh change-media erp sda --eject --config");
        proto_free(&domain->base);
}

static void one_image_for_two_disks_is_an_obstacle(void **state) {
        (void) state;
        ASSERT_OBSTACLES(domain_with(OS(""), DISK "<disk type='file'><source file='/var/lib/libvirt/images/erp.qcow2'/>"
                                                  "<target dev='vdb'/></disk>"),
                         {"shared-disk", "disks vda and vdb are the same image"});
}

static void a_vm_without_disk_is_not_carried(void **state) {
        (void) state;
        ASSERT_OBSTACLES(
                domain_with(OS(""), ""),
                {"no-disk", "it has no disk, so nothing could keep it from being started here once it is moved"});
}

static void paths_of_the_host_are_obstacles(void **state) {
        (void) state;
        ASSERT_OBSTACLES(
                domain_with(OS("<kernel>/home/me/vmlinuz</kernel><initrd>/boot/../etc/shadow</initrd>"), DISK),
                {"boot-file", "its kernel /home/me/vmlinuz is not below /usr, /boot or /var/lib/libvirt/boot"},
                {"boot-file", "its initrd /boot/../etc/shadow is not below /usr, /boot or /var/lib/libvirt/boot"});
        ASSERT_OBSTACLES(domain_with(OS("<loader readonly='yes' type='pflash'>/opt/ovmf.fd</loader>"), DISK),
                         {"firmware", "its firmware /opt/ovmf.fd is not below /usr/share/"});
        ASSERT_OBSTACLES(domain_with(OS("<loader type='pflash'>/usr/share/OVMF/OVMF_CODE.fd</loader>"), DISK),
                         {"firmware", "its firmware /usr/share/OVMF/OVMF_CODE.fd may be written to"});
        ASSERT_OBSTACLES(
                domain_with(OS(""), DISK "<serial type='pty'><log file='/etc/cron.d/x' append='on'/></serial>"),
                {"log-file", "serial: it is logged to /etc/cron.d/x on the host"});
        ASSERT_OBSTACLES(
                domain_with(OS(""), DISK "<rng model='virtio'><backend model='random'>/dev/sda</backend></rng>"),
                {"rng", "rng: its random numbers come from /dev/sda"});
        ASSERT_OBSTACLES(domain_with(OS(""), DISK "<interface type='bridge'><mac address='52:54:00:00:00:01'/><source "
                                                  "bridge='br0'/><filterref filter='ours'/></interface>"),
                         {"network-filter", "interface 52:54:00:00:00:01: its network filter ours is this host's own"});
}

static void a_chain_in_the_definition_is_an_obstacle(void **state) {
        (void) state;
        ASSERT_OBSTACLES(domain_with(OS(""),
                                     "<disk type='file'><driver type='qcow2'/><source file='/i/top'/><backingStore "
                                     "type='file'><format type='qcow2'/><source file='/i/base'/></backingStore>"
                                     "<target dev='vda'/></disk>"),
                         {"backing-chain", "disk vda: its image depends on /i/base"});
}

static void what_nobody_has_heard_of_is_an_obstacle(void **state) {
        (void) state;
        ASSERT_OBSTACLES(domain_with(OS("") "<surprise/>", DISK "<teleporter/>"),
                         {"definition", "domain/surprise is not carried by a move"},
                         {"definition", "teleporter: domain/devices/teleporter is not carried by a move"});
}

// ---- rewriting ----

static const struct definition_disk one_disk[] = {
        {.target = "vda", .format = "qcow2", .path = "/srv/pool/erp-vda.qcow2"},
};
static Drover__NameMap to_br1 = {
        .base = PROTOBUF_C_MESSAGE_INIT(&drover__name_map__descriptor), .from = (char *) "br0", .to = (char *) "br1"};
static const Drover__NameMap *const mapped[] = {&to_br1};

static struct definition_changes changes(void) {
        return (struct definition_changes){.disks = one_disk, .n_disks = 1, .keep_only_whitelisted = true};
}

static void assert_rewritten(const char *xml, const struct definition_changes *wanted, const char *const *parts,
                             size_t n_parts, const char *const *gone, size_t n_gone) {
        _cleanup_(free_p) char *result = NULL;
        if (definition_rewrite(xml, strlen(xml), wanted, &result, &err) < 0)
                fail_msg("%s", err.message);
        for (size_t i = 0; i < n_parts; i++)
                if (!strstr(result, parts[i]))
                        fail_msg("%s is not in %s", parts[i], result);
        for (size_t i = 0; i < n_gone; i++)
                if (strstr(result, gone[i]))
                        fail_msg("%s is in %s", gone[i], result);
}
#define TEXTS(...) (const char *const[]){__VA_ARGS__}, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *)

static void assert_refused(const char *xml, const struct definition_changes *wanted, const char *message) {
        char *result = NULL;
        assert_int_equal(definition_rewrite(xml, strlen(xml), wanted, &result, &err), -1);
        assert_string_equal(err.message, message);
        assert_int_equal(err.code, ERROR_REFUSED);
        assert_null(result);
}

static void a_definition_is_made_to_fit(void **state) {
        (void) state;
        _cleanup_(free_p) char *xml = seed("erp");
        struct definition_changes wanted = changes();
        wanted.name = "erp-2";
        wanted.bridges = mapped;
        wanted.n_bridges = 1;
        wanted.emulator = "/usr/bin/kvm";
        assert_rewritten(xml, &wanted,
                         TEXTS("<name>erp-2</name>", "<uuid>" UUID "</uuid>", "52:54:00:73:4e:20",
                               "<source file=\"/srv/pool/erp-vda.qcow2\"/>", "<source bridge=\"br1\"/>",
                               "<driver name=\"qemu\" type=\"qcow2\" discard=\"unmap\"/>", "passwd=\"abc\"",
                               "<emulator>/usr/bin/kvm</emulator>"),
                         TEXTS("br0", "/var/lib/libvirt/images", "qemu-system-x86_64"));
}

static void what_is_not_said_stays(void **state) {
        (void) state;
        struct definition_changes wanted = changes();
        assert_rewritten(domain_with(OS(""), DISK "<interface type='network'><mac address='52:54:00:00:00:01'/>"
                                                  "<source network='default' portid='x' bridge='virbr0'/></interface>"),
                         &wanted, TEXTS("<name>erp</name>", "<source network=\"default\"/>"),
                         TEXTS("emulator", "virbr0"));
}

static void the_format_is_always_written(void **state) {
        (void) state;
        struct definition_changes wanted = changes();
        struct definition_disk raw = {.target = "vda", .format = "raw", .path = "/srv/x"};
        wanted.disks = &raw;
        assert_rewritten(domain_with(OS(""), "<disk type='file'><source file='/i/x'/><target dev='vda'/></disk>"),
                         &wanted, TEXTS("<driver name=\"qemu\" type=\"raw\"/>", "<source file=\"/srv/x\"/>"),
                         TEXTS("/i/x"));
}

static void a_volume_becomes_a_file(void **state) {
        (void) state;
        struct definition_changes wanted = changes();
        assert_rewritten(domain_with(OS(""),
                                     "<disk type='volume' device='disk'><driver name='qemu' type='qcow2'/><source "
                                     "pool='default' volume='data.qcow2' startupPolicy='optional'/>"
                                     "<target dev='vda'/></disk>"),
                         &wanted, TEXTS("<disk type=\"file\"", "<source file=\"/srv/pool/erp-vda.qcow2\"/>"),
                         TEXTS("volume", "default", "startupPolicy"));
}

#define BLOCK(more)                                                                                                    \
        "<disk type='block' device='disk'><driver name='qemu' type='raw'/><source dev='/dev/vg/erp'/>"                 \
        "<target dev='vda'/>" more "</disk>"

static void a_device_is_carried(void **state) {
        (void) state;
        Drover__Domain *domain = describe(domain_with(OS(""), BLOCK("")));
        assert_int_equal(domain->n_obstacles, 0);
        assert_string_equal(domain->disks[0]->type, "block");
        assert_string_equal(domain->disks[0]->path, "/dev/vg/erp");
        proto_free(&domain->base);
}

static void a_device_that_is_shared_or_holds_an_image_is_an_obstacle(void **state) {
        (void) state;
        ASSERT_OBSTACLES(domain_with(OS(""), BLOCK("<shareable/>")),
                         {"shared-disk", "disk vda: other VMs may write to its device meanwhile (shareable)"});
        ASSERT_OBSTACLES(domain_with(OS(""), "<disk type='block'><driver name='qemu' type='qcow2'/>"
                                             "<source dev='/dev/vg/erp'/><target dev='vda'/></disk>"),
                         {"block-format", "disk vda: its device holds an image of format qcow2, and only raw devices "
                                          "are carried"});
}

static void a_device_becomes_a_file(void **state) {
        (void) state;
        struct definition_changes wanted = changes();
        assert_rewritten(domain_with(OS(""), BLOCK("")), &wanted,
                         TEXTS("<disk type=\"file\"", "<source file=\"/srv/pool/erp-vda.qcow2\"/>"),
                         TEXTS("/dev/vg", "dev=\"/"));
}

static void a_file_becomes_a_device(void **state) {
        (void) state;
        struct definition_changes wanted = changes();
        struct definition_disk device = {.target = "vda", .format = "raw", .path = "/dev/vg/erp", .device = true};
        wanted.disks = &device;
        assert_rewritten(domain_with(OS(""), "<disk type='file'><driver name='qemu' type='qcow2' cache='none'/>"
                                             "<source file='/i/x'/><target dev='vda'/></disk>"),
                         &wanted,
                         TEXTS("<disk type=\"block\"", "<source dev=\"/dev/vg/erp\"/>", "type=\"raw\" cache=\"none\""),
                         TEXTS("/i/x", "file="));
}

static void a_device_from_elsewhere_opens_no_device_of_its_choice(void **state) {
        (void) state;
        struct definition_changes wanted = changes();
        assert_refused(
                domain_with(OS(""), DISK "<disk type='block'><source dev='/dev/sda'/><target dev='vdb'/></disk>"),
                &wanted, "disk vdb has no place on this host");
        // Whichever of the attributes libvirt would take: ours is the only one left.
        assert_rewritten(domain_with(OS(""), "<disk type='file'><source file='/etc/shadow' dev='/dev/sda'/>"
                                             "<target dev='vda'/></disk>"),
                         &wanted, TEXTS("<source file=\"/srv/pool/erp-vda.qcow2\"/>"), TEXTS("/dev/sda", "shadow"));
}

static void what_belongs_to_the_old_host_is_dropped(void **state) {
        (void) state;
        struct definition_changes wanted = changes();
        assert_rewritten(
                domain_with(OS("") "<resource><partition>/machine</partition></resource>"
                                   "<seclabel type='static' model='dac' relabel='yes'><label>+0:+0</label></seclabel>"
                                   "<seclabel type='none'/>",
                            "<disk type='file'><driver name='qemu' type='qcow2'/>"
                            "<source file='/i/x' index='1'><seclabel model='selinux' relabel='no'/></source>"
                            "<backingStore/><target dev='vda'/><alias name='virtio-disk0'/></disk>"
                            "<interface type='bridge'><source bridge='br0'/><target dev='tap7'/><alias "
                            "name='ua-lan'/></interface>"
                            "<serial type='pty'><source path='/dev/pts/3'/><log "
                            "file='/var/log/libvirt/qemu/x.log'/></serial>"
                            "<console type='pty' tty='/dev/pts/3'><source path='/dev/pts/3'/></console>"
                            "<channel type='unix'><source mode='bind' path='/var/lib/libvirt/qemu/channel/target/d/x'/>"
                            "<target type='virtio' name='org.qemu.guest_agent.0' state='connected'/></channel>"),
                &wanted, TEXTS("ua-lan", "org.qemu.guest_agent.0"),
                TEXTS("seclabel", "backingStore", "index", "virtio-disk0", "tap7", "/dev/pts", "<log", "tty",
                      "/var/lib/libvirt/qemu/channel", "connected"));
}

static void an_empty_drive_of_the_host_becomes_an_empty_drive(void **state) {
        (void) state;
        struct definition_changes wanted = changes();
        assert_rewritten(domain_with(OS(""), DISK "<disk type='block' device='cdrom'><target dev='hda'/></disk>"),
                         &wanted, TEXTS("<disk type=\"file\" device=\"cdrom\">"), TEXTS("block"));
}

static void the_nvram_goes_where_this_host_keeps_it(void **state) {
        (void) state;
        _cleanup_(free_p) char *xml = seed("uefi");
        struct definition_changes wanted = changes();
        assert_refused(xml, &wanted, "the NVRAM has no place on this host");
        wanted.nvram_path = "/var/lib/libvirt/qemu/nvram/new_VARS.fd";
        assert_rewritten(
                xml, &wanted,
                TEXTS("<nvram "
                      "template=\"/usr/share/OVMF/OVMF_VARS_4M.fd\">/var/lib/libvirt/qemu/nvram/new_VARS.fd</nvram>"),
                TEXTS("uefi_VARS.fd"));
        assert_rewritten(domain_with(OS("<nvram type='file'><source file='/x/old.fd'/></nvram>"), DISK), &wanted,
                         TEXTS("<nvram>/var/lib/libvirt/qemu/nvram/new_VARS.fd</nvram>"), TEXTS("old.fd"));
}

static void a_disk_without_a_place_is_refused(void **state) {
        (void) state;
        struct definition_changes wanted = changes();
        assert_refused(domain_with(OS(""), DISK "<disk type='file'><source file='/i/b'/><target dev='vdb'/></disk>"),
                       &wanted, "disk vdb has no place on this host");
        assert_refused(
                domain_with(OS(""), DISK "<disk type='file'><source file='/etc/shadow'/><target dev='vda'/></disk>"),
                &wanted, "two disks have the target vda");
}

static void a_machine_type_that_is_unknown_here_is_refused(void **state) {
        (void) state;
        static const char *const machines[] = {"pc-q35-5.2", "q35"};
        struct definition_changes wanted = changes();
        wanted.machine_types = machines;
        wanted.n_machine_types = 2;
        assert_refused(domain_with(OS(""), DISK), &wanted,
                       "the machine type pc-q35-7.2 is unknown to this host's QEMU");
        assert_int_equal(err.n_hints, 2);
        assert_rewritten(domain_with("<os><type machine='pc'>hvm</type></os>", DISK), &wanted, TEXTS("machine=\"pc\""),
                         TEXTS("emulator"));
}

static void fault_48_a_name_with_a_slash_is_refused(void **state) {
        (void) state;
        struct definition_changes wanted = changes();
        wanted.name = "../erp";
        char *result = NULL;
        const char *xml = domain_with(OS(""), DISK);
        assert_int_equal(definition_rewrite(xml, strlen(xml), &wanted, &result, &err), -1);
        assert_null(result);
}

static void a_definition_from_elsewhere_opens_no_path_of_its_choice(void **state) {
        (void) state;
        static const struct {
                const char *parts, *devices, *path;
        } cases[] = {
                {OS("<loader>/etc/shadow</loader>"), DISK, "domain/os/loader"},
                {OS("<kernel>/etc/shadow</kernel>"), DISK, "domain/os/kernel"},
                {OS("<nvram template='/etc/shadow'>/x</nvram>"), DISK, "domain/os/nvram"},
                {OS("<acpi><table type='slic'>/etc/shadow</table></acpi>"), DISK, "domain/os/acpi"},
                {OS("") "<qemu:commandline xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'/>", DISK,
                 "domain/qemu:commandline"},
                {OS(""), DISK "<hostdev mode='subsystem' type='usb'/>", "domain/devices/hostdev"},
                {OS(""), DISK "<disk type='nvme'><source type='pci' dev='/dev/sda'/><target dev='vdb'/></disk>",
                 "domain/devices/disk"},
                {OS(""), DISK "<disk type='file' device='cdrom'><source file='/etc/shadow'/><target dev='sda'/></disk>",
                 "domain/devices/disk"},
                {OS(""), DISK "<interface type='bridge'><source bridge='br0'/><script path='/x'/></interface>",
                 "domain/devices/interface/script"},
                {OS(""), DISK "<interface type='bridge'><source bridge='br0'/><rom file='/x'/></interface>",
                 "domain/devices/interface/rom/@file"},
                {OS(""), DISK "<serial type='dev'><source path='/dev/sda'/></serial>", "domain/devices/serial"},
                {OS(""), DISK "<channel type='unix'><source path='/var/lib/libvirt/qemu/../../x'/></channel>",
                 "domain/devices/channel"},
                {OS(""), DISK "<graphics type='vnc' socket='/x'/>", "domain/devices/graphics/@socket"},
                {OS(""), DISK "<graphics type='spice'><gl enable='yes' rendernode='/dev/dri/x'/></graphics>",
                 "domain/devices/graphics/gl/@rendernode"},
                {OS(""), DISK "<audio id='1' type='file' path='/x'/>", "domain/devices/audio/@type"},
                {OS(""), DISK "<video><model type='virtio'><acceleration rendernode='/x'/></model></video>",
                 "domain/devices/video/model/acceleration/@rendernode"},
                {OS(""), DISK "<memory model='nvdimm'><source><path>/x</path></source></memory>",
                 "domain/devices/memory/@model"},
                {OS(""), DISK "<input type='evdev'><source dev='/dev/input/event0'/></input>",
                 "domain/devices/input/@type"},
                {"<memoryBacking><source type='file'/></memoryBacking>", DISK, "domain/memoryBacking/source/@type"},
                {"<sysinfo type='fwcfg'><entry name='opt/x' file='/etc/shadow'/></sysinfo>", DISK,
                 "domain/sysinfo/entry/@file"},
                {"<blkiotune><device><path>/dev/sda</path></device></blkiotune>", DISK, "domain/blkiotune/device"},
                {"<on_crash>/bin/sh</on_crash>", DISK, "domain/on_crash"},
                {"<cpu mode='/x'/>", DISK, "domain/cpu/@mode"},
                {"<resource><partition>/other</partition></resource>", DISK, "domain/resource/partition"},
        };
        struct definition_changes wanted = changes();
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                char *result = NULL;
                const char *xml = domain_with(cases[i].parts, cases[i].devices);
                _cleanup_(free_p) char *start = memory_format("%s may not come from another host: ", cases[i].path);
                if (definition_rewrite(xml, strlen(xml), &wanted, &result, &err) == 0)
                        fail_msg("%s was let through: %s", cases[i].path, result);
                assert_int_equal(err.code, ERROR_REFUSED);
                if (strncmp(err.message, start, strlen(start)) != 0)
                        fail_msg("%s: %s", cases[i].path, err.message);
        }
}

static void all_refusals_are_told_at_once(void **state) {
        (void) state;
        struct definition_changes wanted = changes();
        assert_refused(domain_with(OS(""), DISK "<hostdev/><shmem/>"), &wanted,
                       "domain/devices/hostdev may not come from another host: hostdev: a device of the host is passed "
                       "through to it");
        assert_int_equal(err.n_hints, 1);
        assert_string_equal(err.hints[0], "also refused: domain/devices/shmem");
}

static void a_definition_of_this_host_keeps_what_it_has(void **state) {
        (void) state;
        struct definition_changes wanted = changes();
        wanted.keep_only_whitelisted = false;
        assert_rewritten(domain_with(OS(""), DISK "<hostdev mode='subsystem' type='usb'/>"), &wanted, TEXTS("hostdev"),
                         TEXTS("/var/lib/libvirt/images"));
}

static void metadata_is_kept_up_to_a_bound(void **state) {
        (void) state;
        struct definition_changes wanted = changes();
        assert_rewritten(domain_with("<metadata><x:a xmlns:x='urn:x' path='/etc'>t</x:a></metadata>" OS(""), DISK),
                         &wanted, TEXTS("<x:a xmlns:x=\"urn:x\" path=\"/etc\">t</x:a>"), TEXTS("emulator"));
        size_t length = 80 << 10;
        _cleanup_(free_p) char *filler = malloc(length + 1);
        memset(filler, 'x', length);
        filler[length] = 0;
        _cleanup_(free_p) char *xml =
                memory_format("<domain type='kvm'><name>erp</name><uuid>" UUID "</uuid><metadata><a>%s"
                              "</a></metadata></domain>",
                              filler);
        assert_refused(xml, &wanted,
                       "domain/metadata may not come from another host: domain/metadata is longer than 64 KiB");
}

// ---- snapshots ----

static void a_snapshot_is_described(void **state) {
        (void) state;
        _cleanup_(free_p) char *xml = seed("erp"), *snapshot_xml = seed("snapshot");
        Drover__Domain *domain = describe(xml);
        Drover__Snapshot *snapshot = NULL;
        if (definition_describe_snapshot(snapshot_xml, strlen(snapshot_xml), domain, &snapshot, &err) < 0)
                fail_msg("%s", err.message);
        assert_string_equal(snapshot->name, "before-update");
        assert_string_equal(snapshot->parent, "installed");
        assert_string_equal(snapshot->state, "running");
        assert_int_equal(snapshot->created_at, 1795292606);
        assert_false(snapshot->external);
        if (domain->n_obstacles)
                fail_msg("%s", domain->obstacles[0]->message);
        proto_free(&snapshot->base);
        proto_free(&domain->base);
}

static void an_external_snapshot_is_an_obstacle(void **state) {
        (void) state;
        Drover__Domain *domain = describe(domain_with(OS(""), DISK));
        static const char xml[] =
                "<domainsnapshot><name>s1</name><state>disk-snapshot</state><memory snapshot='no'/>"
                "<disks><disk name='vda' snapshot='external' type='file'><source file='/i/s1'/></disk>"
                "</disks></domainsnapshot>";
        Drover__Snapshot *snapshot = NULL;
        assert_int_equal(definition_describe_snapshot(xml, strlen(xml), domain, &snapshot, &err), 0);
        assert_true(snapshot->external);
        assert_int_equal(domain->n_obstacles, 1);
        assert_string_equal(domain->obstacles[0]->code, "external-snapshot");
        assert_string_equal(domain->obstacles[0]->message, "snapshot s1 lies in files of its own");
        proto_free(&snapshot->base);
        proto_free(&domain->base);
}

static void a_snapshot_of_another_image_is_an_obstacle(void **state) {
        (void) state;
        Drover__Domain *domain = describe(domain_with(OS(""), DISK));
        static const char xml[] = "<domainsnapshot><name>s1</name><state>shutoff</state><domain type='kvm'><devices>"
                                  "<disk type='file'><source file='/i/old'/><target dev='vda'/></disk>"
                                  "<hostdev/></devices></domain></domainsnapshot>";
        Drover__Snapshot *snapshot = NULL;
        assert_int_equal(definition_describe_snapshot(xml, strlen(xml), domain, &snapshot, &err), 0);
        assert_string_equal(snapshot->state, "shut off");
        assert_int_equal(domain->n_obstacles, 2);
        assert_string_equal(domain->obstacles[0]->message,
                            "snapshot s1 was made with another image of disk vda: /i/old");
        assert_string_equal(domain->obstacles[1]->message,
                            "snapshot s1 was made when hostdev: a device of the host is passed through to it");
        proto_free(&snapshot->base);
        proto_free(&domain->base);
}

static void a_snapshot_is_made_to_fit(void **state) {
        (void) state;
        _cleanup_(free_p) char *xml = seed("snapshot"), *result = NULL;
        struct definition_changes wanted = changes();
        wanted.name = "erp-2";
        if (definition_rewrite_snapshot(xml, strlen(xml), &wanted, NULL, &result, &err) < 0)
                fail_msg("%s", err.message);
        assert_null(strstr(result, "/var/lib/libvirt/images"));
        assert_null(strstr(result, "slirpHelper"));
        assert_null(strstr(result, "<name>erp</name>"));
        assert_non_null(strstr(result, "<source file=\"/srv/pool/erp-vda.qcow2\"/>"));
        assert_non_null(strstr(result, "<name>before-update</name>"));
        assert_non_null(strstr(result, "<creationTime>1795292606</creationTime>"));
}

static void assert_snapshot_refused(const char *parts, const char *message) {
        char *result = NULL;
        struct definition_changes wanted = changes();
        _cleanup_(free_p) char *xml =
                memory_format("<domainsnapshot><name>s</name>%s%s</domainsnapshot>", parts, domain_with(OS(""), DISK));
        assert_int_equal(definition_rewrite_snapshot(xml, strlen(xml), &wanted, NULL, &result, &err), -1);
        assert_string_equal(err.message, message);
}

static void a_snapshot_from_elsewhere_names_no_file(void **state) {
        (void) state;
        assert_snapshot_refused("<memory snapshot='external' file='/x'/>",
                                "the snapshot lies in files of its own and is not carried");
        assert_snapshot_refused("<memory snapshot='internal' file='/x'/>",
                                "domainsnapshot/memory/@file may not come from another host");
        assert_snapshot_refused("<disks><disk name='vda' snapshot='internal'><source file='/x'/></disk></disks>",
                                "domainsnapshot/disks/disk may not come from another host");
        assert_snapshot_refused("<surprise/>", "snapshot: domainsnapshot/surprise may not come from another host");
        assert_snapshot_refused("<parent><name>../../x</name></parent>", "the snapshot's name ../../x is not usable");
}

#define TEST(name) cmocka_unit_test_setup(name, set_up)

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(fault_50_an_entity_bomb_is_refused),
                TEST(fault_50_an_external_entity_is_refused),
                TEST(fault_50_a_doctype_in_another_encoding_is_refused),
                TEST(fault_50_a_huge_definition_is_refused),
                TEST(fault_50_a_deep_definition_is_refused),
                TEST(fault_50_a_definition_of_countless_elements_is_refused),
                TEST(what_is_no_domain_is_refused),
                TEST(comments_may_hold_anything),
                TEST(a_definition_is_known_by_its_hash),
                TEST(ordinary_vms_have_no_obstacle),
                TEST(a_domain_is_described),
                TEST(firmware_and_its_memory_are_described),
                TEST(fault_34_a_format_that_is_not_told_is_raw),
                TEST(everything_that_is_not_carried_is_an_obstacle),
                TEST(hints_name_the_vm),
                TEST(one_image_for_two_disks_is_an_obstacle),
                TEST(a_vm_without_disk_is_not_carried),
                TEST(paths_of_the_host_are_obstacles),
                TEST(a_chain_in_the_definition_is_an_obstacle),
                TEST(what_nobody_has_heard_of_is_an_obstacle),
                TEST(a_definition_is_made_to_fit),
                TEST(what_is_not_said_stays),
                TEST(the_format_is_always_written),
                TEST(a_volume_becomes_a_file),
                TEST(a_device_is_carried),
                TEST(a_device_that_is_shared_or_holds_an_image_is_an_obstacle),
                TEST(a_device_becomes_a_file),
                TEST(a_file_becomes_a_device),
                TEST(a_device_from_elsewhere_opens_no_device_of_its_choice),
                TEST(what_belongs_to_the_old_host_is_dropped),
                TEST(an_empty_drive_of_the_host_becomes_an_empty_drive),
                TEST(the_nvram_goes_where_this_host_keeps_it),
                TEST(a_disk_without_a_place_is_refused),
                TEST(a_machine_type_that_is_unknown_here_is_refused),
                TEST(fault_48_a_name_with_a_slash_is_refused),
                TEST(a_definition_from_elsewhere_opens_no_path_of_its_choice),
                TEST(all_refusals_are_told_at_once),
                TEST(a_definition_of_this_host_keeps_what_it_has),
                TEST(metadata_is_kept_up_to_a_bound),
                TEST(a_snapshot_is_described),
                TEST(an_external_snapshot_is_an_obstacle),
                TEST(a_snapshot_of_another_image_is_an_obstacle),
                TEST(a_snapshot_is_made_to_fit),
                TEST(a_snapshot_from_elsewhere_names_no_file),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
