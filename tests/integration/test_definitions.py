# SPDX-License-Identifier: LGPL-2.1-or-later
"""What stands in the way of a move is said before it begins, all of it at once; and what a host says about its VMs is not
believed."""

import hashlib
import json
import re
import time

import pytest

import wireclient as wire
from fleet import POOL, defined_on, define, disk_xml, domain_xml, find, images, job, known, leftovers, new_image, start_move, undefine, wait_job
from labclient import DroverError, wait_for

HERE, BESIDE, AWAY = "lyon/kvm1", "lyon/kvm2", "nantes/kvm1"
HOSTS = (HERE, BESIDE, AWAY)
MIB = 1 << 20
ZERO_BLOCK = bytes.fromhex("72a482184b0b565f9e370864161a7e8c")  # the hash of a MiB of zeros (PROTOCOL.md)


@pytest.fixture
def vm(lab, request):
    """A VM with one small disk, off, on the first host."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.removeprefix("test_"))[:40].strip("-")
    define(lab, HERE, domain_xml(name, disk_xml(new_image(lab, HERE, f"{name}.qcow2"))))
    known(lab, name)
    yield name
    for host in HOSTS:
        undefine(lab, host, name)
        lab.exec(host, "sh", "-c", f"rm -rf {POOL}/{name}* /var/lib/libvirt/qemu/nvram/{name}*")
    lab.exec(HERE, "virsh", "-q", "pool-refresh", "default")


def redefine(lab, name, xml, host=HERE):
    """Give a VM another definition, under its UUID, and wait until it is known."""
    before = lab.drover("vm", "show", f"{host}/{name}")["definition_sha256"]
    define(lab, host, xml.replace("</name>", f"</name><uuid>{lab.virsh(host, 'domuuid', name)}</uuid>", 1))
    wait_for("the new definition", 10, lambda: lab.drover("vm", "show", f"{host}/{name}")["definition_sha256"] != before)


def plan(lab, name, target=AWAY, *options):
    """The plan, also when it is refused."""
    done = lab.run_drover("vm", "move", name, target, "--plan", *options, "-o", "json")
    if done.returncode not in (0, 7):
        raise DroverError(["plan"], done)
    found = json.loads(done.stdout)
    assert (done.returncode == 7) == bool(found["refusals"])
    return found


def refusals(lab, name, target=AWAY, *options):
    """{code: message} of a plan that is refused, which a move is, too, with exit code 7 and nothing changed."""
    found = plan(lab, name, target, *options)["refusals"]
    before = [(images(lab, host), leftovers(lab, host), defined_on(lab, [host], name)) for host in HOSTS]
    jobs = len(lab.drover("job", "list"))
    done = lab.run_drover("vm", "move", name, target, *options)
    assert done.returncode == 7, done
    for refusal in found:
        assert refusal["message"] in done.stderr and (not refusal["hint"] or refusal["hint"] in done.stderr)
    assert [(images(lab, host), leftovers(lab, host), defined_on(lab, [host], name)) for host in HOSTS] == before
    assert len(lab.drover("job", "list")) == jobs, "what is refused is no job"
    return {refusal["code"]: refusal["message"] for refusal in found}


def hints(lab, name, target=AWAY, *options):
    return {refusal["code"]: refusal["hint"] for refusal in plan(lab, name, target, *options)["refusals"]}


def nothing_in_the_way(lab, name, target=AWAY, *options):
    return plan(lab, name, target, *options)["refusals"] == []


class TestTheOtherHost:
    """Faults 70 to 73."""

    def test_fault_70_the_name_exists_there(self, lab, vm):
        define(lab, AWAY, domain_xml(vm))
        wait_for("two of them", 5, lambda: sum(v["name"] == vm for v in lab.drover("vm", "list")) == 2)
        assert refusals(lab, f"lyon/kvm1/{vm}") == {"name-exists": f"a VM named {vm} exists at nantes/kvm1"}
        assert "--as" in hints(lab, f"lyon/kvm1/{vm}")["name-exists"]
        assert nothing_in_the_way(lab, f"lyon/kvm1/{vm}", AWAY, "--as", f"{vm}-2")

    def test_fault_70_the_uuid_exists_there(self, lab, vm):
        uuid = lab.virsh(HERE, "domuuid", vm)
        define(lab, AWAY, domain_xml(f"{vm}-copy", uuid=uuid))
        try:
            said = wait_for("seen", 5, lambda: next((r for r in plan(lab, f"lyon/kvm1/{vm}")["refusals"] if r["code"] == "uuid-exists"), None))
            assert said["message"] == f"its UUID {uuid} exists at nantes/kvm1, as {vm}-copy" and f"virsh undefine {vm}-copy" in said["hint"]
        finally:
            undefine(lab, AWAY, f"{vm}-copy")

    def test_fault_70_the_mac_exists_there(self, lab, vm):
        card = "<interface type='bridge'><mac address='52:54:00:00:70:01'/><source bridge='br0'/></interface>"
        redefine(lab, vm, domain_xml(vm, disk_xml(f"{POOL}/{vm}.qcow2") + card))
        define(lab, AWAY, domain_xml("neighbour", card))
        known(lab, "neighbour")
        try:
            assert refusals(lab, vm) == {"mac-exists": "its MAC address 52:54:00:00:70:01 is in use at nantes/kvm1, by neighbour"}
        finally:
            undefine(lab, AWAY, "neighbour")
        wait_for("free again", 5, lambda: nothing_in_the_way(lab, vm))

    def test_fault_70_a_file_of_that_name_there_is_left_alone(self, lab, vm):
        new_image(lab, AWAY, f"{vm}.qcow2", "2M")
        content = lab.file(AWAY, f"{POOL}/{vm}.qcow2").read_bytes()
        lab.virsh(AWAY, "pool-refresh", "default")
        wait_for("another name, or a refusal", 5, lambda: (p := plan(lab, vm))["refusals"] or p["disks"][0]["volume"] != f"{vm}.qcow2")
        lab.run_drover("vm", "move", vm, AWAY)
        assert lab.file(AWAY, f"{POOL}/{vm}.qcow2").read_bytes() == content
        lab.run_drover("vm", "purge", vm, "--yes")

    def test_fault_70_a_file_that_libvirt_has_not_seen_is_not_overwritten(self, lab, vm):
        path = lab.file(AWAY, f"{POOL}/{vm}.qcow2")
        path.write_bytes(b"somebody's")
        ended = wait_job(lab, start_move(lab, vm, AWAY))
        assert ended["state"] == "failed" and ended["error"]["code"] in ("conflict", "refused") and f"{vm}.qcow2" in ended["error"]["message"]
        assert path.read_bytes() == b"somebody's" and defined_on(lab, HOSTS, vm) == [HERE] and leftovers(lab, AWAY) == []

    def test_fault_71_space_is_counted_by_what_the_disk_can_grow_to(self, lab, vm):
        redefine(lab, vm, domain_xml(vm, disk_xml(new_image(lab, HERE, f"{vm}-large.qcow2", "100T"))))
        free = next(p for p in lab.drover("host", "show", AWAY)["pools"] if p["name"] == "default")["available_bytes"]
        assert free < 100 << 40
        said = refusals(lab, vm)
        assert list(said) == ["no-space"]
        assert re.fullmatch(r"its disks can grow to 100\.0 TiB and pool default at nantes/kvm1 has [0-9.]+ [GT]iB free, "
                            r"of which 256\.0 MiB stay free for the VMs there", said["no-space"])

    def test_fault_72_it_runs(self, lab, vm):
        lab.drover("vm", "start", vm)
        wait_for("running", 3, lambda: find(lab, vm)["state"] == "running")
        assert refusals(lab, vm) == {"running": "it is running"}
        assert "--shutdown" in hints(lab, vm)["running"] and "--stop" in hints(lab, vm)["running"]
        assert nothing_in_the_way(lab, vm, AWAY, "--stop") and nothing_in_the_way(lab, vm, AWAY, "--shutdown")
        lab.drover("vm", "suspend", vm)
        wait_for("paused", 3, lambda: find(lab, vm)["state"] == "paused")
        assert list(refusals(lab, vm, AWAY, "--shutdown")) == ["running"]

    def test_fault_73_no_such_bridge(self, lab, vm):
        redefine(lab, vm, domain_xml(vm, disk_xml(f"{POOL}/{vm}.qcow2") + "<interface type='bridge'><source bridge='br1'/></interface>"))
        assert refusals(lab, vm) == {"no-bridge": "no bridge br1 at nantes/kvm1"}
        assert "br0" in hints(lab, vm)["no-bridge"] and "--bridge" in hints(lab, vm)["no-bridge"]
        assert nothing_in_the_way(lab, vm, AWAY, "--bridge", "br1=br0")
        assert refusals(lab, vm, AWAY, "--bridge", "br1=br00") == {"no-bridge": "no bridge br00 at nantes/kvm1"}

    def test_fault_73_no_such_network(self, lab, vm):
        redefine(lab, vm, domain_xml(vm, disk_xml(f"{POOL}/{vm}.qcow2") + "<interface type='network'><source network='backlan'/></interface>"))
        lab.file(AWAY, "/var/lib/drover/net.xml").write_text("<network><name>backlan2</name><bridge name='virbr8'/></network>")
        lab.virsh(AWAY, "net-define", "/var/lib/drover/net.xml")
        try:
            wait_for("the hint", 5, lambda: "backlan2" in hints(lab, vm)["no-network"])
            assert refusals(lab, vm) == {"no-network": "no network backlan at nantes/kvm1"}
            assert list(refusals(lab, vm, AWAY, "--bridge", "backlan=backlan2")) == ["network-inactive"]
        finally:
            lab.virsh(AWAY, "net-undefine", "backlan2")

    def test_fault_73_no_such_pool(self, lab, vm):
        assert refusals(lab, vm, AWAY, "--pool", "defalt") == {"no-pool": "vda: no pool defalt at nantes/kvm1"}
        assert "default" in hints(lab, vm, AWAY, "--pool", "defalt")["no-pool"]

    def test_it_is_there_already_or_there_is_no_such_host(self, lab, vm):
        assert refusals(lab, vm, HERE) == {"same-host": "it is on lyon/kvm1 already"}
        with pytest.raises(DroverError) as caught:
            plan(lab, vm, "lyon/kvm9")
        assert caught.value.exit == 5

    def test_a_host_that_is_away(self, lab, vm):
        lab.kill(BESIDE, "agent")
        try:
            wait_for("offline", 15, lambda: next(h for h in lab.drover("host", "list") if h["name"] == "kvm2")["state"] == "offline")
            said = refusals(lab, vm, BESIDE)
        finally:
            lab.start(BESIDE, "agent")
            lab.wait_online()
        assert list(said) == ["host-offline"] and said["host-offline"].startswith("lyon/kvm2 is offline")


# (what it is, devices beside the disk or a change, codes that the refusal may have, a word in its message)
DEVICES = {
    "a PCI device of the host": ("<hostdev mode='subsystem' type='pci' managed='yes'><source><address domain='0x0000' bus='0x00' slot='0x1f' function='0x3'/></source></hostdev>", "host"),
    "a USB device of the host": ("<hostdev mode='subsystem' type='usb'><source><vendor id='0x1234'/><product id='0xbeef'/></source></hostdev>", "host"),
    "a directory of the host": ("<filesystem type='mount' accessmode='passthrough'><source dir='/srv'/><target dir='srv'/></filesystem>", "director|filesystem"),
    "a block device": ("<disk type='block' device='disk'><driver name='qemu' type='raw'/><source dev='/dev/vdz'/><target dev='vdb' bus='virtio'/></disk>", "block device"),
    "a disk of a storage network": ("<disk type='network' device='disk'><driver name='qemu' type='raw'/><source protocol='nbd' name='x'><host name='10.0.0.1' port='1'/></source>"
                                    "<target dev='vdb' bus='virtio'/></disk>", "network"),
    "a serial port into a file": ("<serial type='file'><source path='/tmp/serial'/><target port='0'/></serial>", "/tmp/serial"),
    "a card that is the host's": ("<interface type='direct'><source dev='eth0' mode='bridge'/></interface>", "."),
    "options for QEMU": (None, "qemu:commandline|options"),
}


class TestWhatItHas:
    @pytest.mark.parametrize("what", DEVICES)
    def test_what_cannot_be_carried_is_named(self, lab, vm, what):
        devices, words = DEVICES[what]
        xml = domain_xml(vm, disk_xml(f"{POOL}/{vm}.qcow2") + (devices or ""))
        if devices is None:
            xml = xml.replace("<domain ", "<domain xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0' ").replace(
                "</domain>", "<qemu:commandline><qemu:arg value='-version'/></qemu:commandline></domain>")
        redefine(lab, vm, xml)
        said = refusals(lab, vm)
        assert any(re.search(words, message) for message in said.values()), said
        assert all(hints(lab, vm).values())

    def test_a_medium_in_the_drive(self, lab, vm):
        medium = new_image(lab, HERE, f"{vm}.iso", "1M", "raw")
        redefine(lab, vm, domain_xml(vm, disk_xml(f"{POOL}/{vm}.qcow2") + disk_xml(medium, "hdc", "raw", "<readonly/>", "cdrom")))
        said = refusals(lab, vm)
        assert list(said) == ["medium"] and medium in said["medium"] and "eject" in hints(lab, vm)["medium"]
        lab.virsh(HERE, "change-media", vm, "hdc", "--eject", "--config")
        wait_for("nothing in the way", 5, lambda: nothing_in_the_way(lab, vm))

    def test_a_backing_chain(self, lab, vm):
        base = new_image(lab, HERE, f"{vm}-base.qcow2")
        top = new_image(lab, HERE, f"{vm}-top.qcow2", "1M", "qcow2", "-F", "qcow2", "-b", base)
        redefine(lab, vm, domain_xml(vm, disk_xml(top)))
        said = refusals(lab, vm)
        assert list(said) == ["backing-chain"] and base in said["backing-chain"] and "qemu-img convert" in hints(lab, vm)["backing-chain"]

    def test_a_managed_save(self, lab, vm):
        lab.drover("vm", "start", vm)
        lab.virsh(HERE, "managedsave", vm)
        said = wait_for("seen", 5, lambda: find(lab, vm)["state"] == "shut off" and (r := refusals(lab, vm)) and r)
        assert list(said) == ["managed-save"] and "managedsave-remove" in hints(lab, vm)["managed-save"]

    def test_an_external_snapshot(self, lab, vm):
        lab.virsh(HERE, "snapshot-create-as", vm, "outside", "--disk-only", "--diskspec", f"vda,file={POOL}/{vm}.outside")
        said = wait_for("seen", 5, lambda: plan(lab, vm)["refusals"] and refusals(lab, vm))
        assert {"snapshot", "backing-chain", "external-snapshot"} & set(said)
        assert all(hints(lab, vm).values())

    def test_an_image_that_another_vm_uses(self, lab, vm):
        define(lab, HERE, domain_xml("sharer", disk_xml(f"{POOL}/{vm}.qcow2")))
        try:
            said = wait_for("seen", 5, lambda: plan(lab, vm)["refusals"] and refusals(lab, vm))
            assert list(said) == ["shared-disk"] and "sharer" in said["shared-disk"]
            assert "shared-disk" in refusals(lab, "sharer")
        finally:
            undefine(lab, HERE, "sharer")

    def test_an_image_that_is_not_there(self, lab, vm):
        redefine(lab, vm, domain_xml(vm, disk_xml(f"{POOL}/{vm}-gone.qcow2")))
        said = refusals(lab, vm)
        assert len(said) == 1 and f"{vm}-gone.qcow2" in str(said) and "vda" in str(said)
        new_image(lab, HERE, f"{vm}-gone.qcow2")  # in its place again, of which no event tells
        wait_for("that is seen before the next look at everything", 15, lambda: nothing_in_the_way(lab, vm))

    def test_an_image_outside_of_every_pool(self, lab, vm):
        lab.exec(HERE, "sh", "-c", f"mkdir -p /var/lib/libvirt/loose && mv {POOL}/{vm}.qcow2 /var/lib/libvirt/loose/")
        redefine(lab, vm, domain_xml(vm, disk_xml(f"/var/lib/libvirt/loose/{vm}.qcow2")))
        wanted = plan(lab, vm)
        assert wanted["refusals"] == [] or all(r["hint"] for r in wanted["refusals"])
        lab.exec(HERE, "rm", "-r", "/var/lib/libvirt/loose")

    def test_another_format(self, lab, vm):
        image = new_image(lab, HERE, f"{vm}.vmdk", "1M", "vmdk")
        redefine(lab, vm, domain_xml(vm, disk_xml(image, format="vmdk")))
        said = refusals(lab, vm)
        assert list(said) == ["format"] and "vmdk" in said["format"] and "--format qcow2" in hints(lab, vm)["format"]

    def test_fault_53_an_image_whose_data_lies_elsewhere(self, lab, vm):
        new_image(lab, HERE, f"{vm}.data", "1M", "raw")
        image = new_image(lab, HERE, f"{vm}-split.qcow2", "1M", "qcow2", "-o", f"data_file={POOL}/{vm}.data")
        redefine(lab, vm, domain_xml(vm, disk_xml(image)))
        assert list(refusals(lab, vm)) == ["data-file"]

    @pytest.mark.parametrize("backing", ["json:{\"driver\":\"nbd\",\"host\":\"10.0.0.1\"}", "nbd://10.0.0.1/x", "/etc/shadow"])
    def test_fault_53_a_backing_file_that_only_the_image_names(self, lab, vm, backing):
        image = new_image(lab, HERE, f"{vm}-evil.qcow2", "1M", "qcow2", "-u", "-F", "raw", "-b", backing)
        redefine(lab, vm, domain_xml(vm, disk_xml(image)))
        assert list(refusals(lab, vm)) == ["backing-chain"]

    def test_fault_34_54_a_qcow2_that_is_told_to_be_raw_stays_raw(self, lab, vm):
        image = new_image(lab, HERE, f"{vm}-guest.img", "1M", "qcow2", "-u", "-F", "raw", "-b", "/etc/shadow")
        redefine(lab, vm, domain_xml(vm, disk_xml(image, format="raw")))
        assert nothing_in_the_way(lab, vm)
        content = lab.file(HERE, image).read_bytes()
        assert lab.drover("vm", "move", vm, AWAY)["state"] == "done"
        moved = known(lab, vm)
        assert moved["disks"][0]["format"] == "raw" and lab.file(AWAY, moved["disks"][0]["path"]).read_bytes() == content
        lab.drover("vm", "purge", vm, "--yes")

    def test_everything_that_is_in_the_way_is_said_at_once(self, lab, vm):
        medium = new_image(lab, HERE, f"{vm}.iso", "1M", "raw")
        base = new_image(lab, HERE, f"{vm}-base.qcow2")
        top = new_image(lab, HERE, f"{vm}-top.qcow2", "1M", "qcow2", "-F", "qcow2", "-b", base)
        redefine(lab, vm, domain_xml(vm, disk_xml(f"{POOL}/{vm}.qcow2") + disk_xml(top, "vdb") + disk_xml(f"{POOL}/{vm}-gone.qcow2", "vdc") +
                                     disk_xml(medium, "hdc", "raw", "<readonly/>", "cdrom") + DEVICES["a USB device of the host"][0] +
                                     "<interface type='bridge'><source bridge='br1'/></interface>"))
        define(lab, AWAY, domain_xml(vm))
        wait_for("two of them", 5, lambda: sum(v["name"] == vm for v in lab.drover("vm", "list")) == 2)
        found = plan(lab, f"lyon/kvm1/{vm}")["refusals"]
        assert {"backing-chain", "medium", "hostdev", "no-bridge", "name-exists"} <= {r["code"] for r in found}
        assert len(found) >= 6 and all(r["hint"] for r in found)
        done = lab.run_drover("vm", "move", f"lyon/kvm1/{vm}", AWAY)
        assert done.returncode == 7 and all(r["message"] in done.stderr and r["hint"] in done.stderr for r in found)
        error = lab.run_drover("vm", "move", f"lyon/kvm1/{vm}", AWAY, "-o", "json")
        assert error.returncode == 7 and '"refused"' in error.stderr


# Fault 50, and what else a host that has been taken over may say of its VMs

UUID = "11111111-2222-4333-8444-0000000000%02x"
GOOD = domain_xml("stray", disk_xml("/x/stray.img", format="raw"), uuid=UUID % 0)
ENTITIES = "".join(f"<!ENTITY e{n} '{f'&e{n - 1};' * 10 if n else 'x' * 100}'>" for n in range(9))
BAD = {
    "an entity bomb": f"<!DOCTYPE domain [{ENTITIES}]>" + GOOD.replace("<memory", "<title>&e8;</title><memory", 1),
    "an external entity": "<!DOCTYPE domain [<!ENTITY x SYSTEM 'file:///etc/shadow'>]>" + GOOD.replace("<memory", "<title>&x;</title><memory", 1),
    "an external subset": "<!DOCTYPE domain SYSTEM 'http://10.0.0.1/x.dtd'>" + GOOD,
    "huge": GOOD.replace("<memory", f"<description>{'x' * (3 << 20)}</description><memory", 1),
    "deep": GOOD.replace("<memory", "<metadata>" + "<a>" * 20000 + "</a>" * 20000 + "</metadata><memory", 1),
    "an XInclude": GOOD.replace("<memory", "<xi:include xmlns:xi='http://www.w3.org/2001/XInclude' href='/etc/shadow' parse='text'/><memory", 1),
    "options for QEMU": GOOD.replace("<domain ", "<domain xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0' ").replace(
        "</domain>", "<qemu:commandline><qemu:arg value='-chardev'/><qemu:arg value='file,id=x,path=/etc/cron.d/x'/></qemu:commandline></domain>"),
    "a block device of the target": GOOD.replace("</devices>", "<disk type='block' device='disk'><driver name='qemu' type='raw'/><source dev='/dev/vda'/>"
                                                 "<target dev='vdz' bus='virtio'/></disk></devices>"),
    "a file of the target": GOOD.replace("</devices>", disk_xml("/etc/shadow", "vdz", "raw") + "</devices>"),
    "a directory of the target": GOOD.replace("</devices>", DEVICES["a directory of the host"][0] + "</devices>"),
    "another VM's name": GOOD.replace("<name>stray</name>", "<name>../../victim</name>"),
    "another VM's UUID": GOOD.replace(UUID % 0, "11111111-2222-4333-8444-ffffffffffff"),
    "not XML": "\x00\x01 no XML at all",
    "nothing": "",
}


class Stray:
    """lyon/kvm2 taken over: it has a VM `stray` of one empty disk of 1 MiB, and says of it whatever a test wants."""

    def __init__(self, lab, definition, uuid):
        self.lab, self.definition, self.uuid = lab, definition.replace(UUID % 0, uuid), uuid
        self.sha256 = hashlib.sha256(self.definition.encode()).hexdigest()
        self.disk = wire.pack({1: "vda", 2: "virtio", 3: "disk", 4: "file", 5: "raw", 6: "default", 7: "stray.img", 8: "/x/stray.img", 9: MIB, 10: 0, 11: MIB})
        self.agent = wire.Agent(lab, BESIDE, inventory={
            5: wire.pack({1: "0", 2: "9.0.0", 3: "7.2.0", 4: 2, 5: 1 << 30, 6: "x86_64", 8: 1, 9: int(time.time()), 10: ["br0"]}),
            6: [self.domain()], 8: [wire.pack({1: "default", 2: "61111111-2222-4333-8444-555555555555", 3: "dir", 4: 1, 6: 1 << 40, 8: 1 << 40, 9: "/x"})]},
            answers={"move_inspect": self.inspect, "move_fence": self.fence, "transfer_send": self.copy, "move_stop": lambda *_: {13: b""},
                     "domain_xml": lambda *_: {10: wire.pack({1: self.definition})}})

    def domain(self):
        return wire.pack({1: self.uuid, 2: "stray", 3: "shut off", 4: 1, 5: 16 * MIB, 7: 1, 8: [self.disk], 12: self.sha256, 17: "pc", 19: "qemu"})

    def inspect(self, *_):
        return {11: wire.pack({1: self.definition, 2: self.domain()})}

    def fence(self, *_):
        return {16: wire.pack({1: [wire.pack({1: "vda", 2: "raw", 3: "default", 4: "stray.img", 5: MIB, 7: MIB})]})}

    def copy(self, request, message):
        """Deliver the disk as a sender should: a conversation and streams, a block of zeros, the digest."""
        order = wire.unpack(message[1][0])
        address, port, streams = order[2][0].decode(), order[3][0], order.get(5, [2])[0] + 1
        digest = hashlib.sha256(MIB.to_bytes(8, "little") + ZERO_BLOCK).digest()
        lanes = []
        for n in range(streams):
            lane = wire.Connection(wire.plain(self.lab, (address, port), BESIDE), wire.Credentials.of_host(self.lab, BESIDE), wire.DATA)
            lane.send({1: wire.pack({1: wire.DATA_VERSION, 2: order[1][0], 3: n, 4: streams})})
            lanes.append(lane)
        for lane in lanes:
            number, raw = lane.receive(20)
            assert number == 2, wire.Refused(raw)
        lanes[0].send({10: wire.pack({1: MIB})})
        lanes[1].send({4: wire.pack({1: 0, 2: MIB})})
        for lane in lanes[1:]:
            lane.send({5: wire.pack({1: MIB})})
        lanes[0].send({5: wire.pack({1: MIB, 2: digest})})
        number, raw = lanes[0].receive(20, skip=(11, 12))
        assert number == 6, wire.Refused(raw)
        for lane in lanes:
            lane.tls.close()
        return {12: wire.pack({1: wire.pack({1: "vda", 2: MIB, 3: MIB, 5: MIB, 7: 1}), 2: "d2:" + digest.hex()})}


class TestFault50:
    @pytest.fixture(scope="class", autouse=True)
    def taken_over(self, lab):
        lab.kill(BESIDE, "agent")
        yield
        lab.start(BESIDE, "agent")
        lab.wait_online()

    def move(self, lab, definition, uuid):
        stray = Stray(lab, definition, uuid)
        with stray.agent:
            known(lab, "stray")
            ident = wait_for("a move", 10, lambda: begin(lab))
            return wait_job(lab, ident, 30)

    def test_the_test_itself_a_good_definition_arrives(self, lab):
        ended = self.move(lab, GOOD, UUID % 99)
        assert ended["state"] == "done", ended
        assert defined_on(lab, [AWAY], "stray") == [AWAY]
        undefine(lab, AWAY, "stray")
        lab.exec(AWAY, "sh", "-c", f"rm -f {POOL}/stray*; virsh -q pool-refresh default")

    @pytest.mark.parametrize("what", BAD)
    def test_fault_50_a_definition_that_is_not_believed(self, lab, what):
        before = (images(lab, AWAY), lab.virsh(AWAY, "list", "--all", "--name"))
        agent = int((lab.plan.node_dir(lab.plan.node(AWAY)) / "agent.pid").read_text())
        ended = self.move(lab, BAD[what], UUID % (1 + list(BAD).index(what)))
        assert ended["state"] in ("failed", "cancelled", "needs-operator", "waiting"), ended
        assert ended["error"] and ended["error"]["message"]
        assert (images(lab, AWAY), lab.virsh(AWAY, "list", "--all", "--name")) == before and leftovers(lab, AWAY) == []
        assert lab.exec(AWAY, "kill", "-0", agent, check=False).returncode == 0
        status = lab.exec(AWAY, "cat", f"/proc/{agent}/status").stdout
        assert int(re.search(r"VmHWM:\s+(\d+)", status).group(1)) < 160 << 10


def begin(lab):
    try:
        return start_move(lab, "stray", AWAY, "--path", "direct")
    except DroverError as error:
        assert error.exit in (6, 7), error
        return None
