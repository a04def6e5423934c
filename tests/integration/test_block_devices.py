# SPDX-License-Identifier: LGPL-2.1-or-later
"""Disks that are block devices and pools of type logical, as source and as target of moves and clones.

libvirt's own logical backend runs on LVM's own metadata; where the kernel has no device mapper, loop devices stand for the
volumes (tests/lab/lvm).
"""

import hashlib
import re
import uuid

import pytest

from conftest import lab_name
from fleet import Faults, define, defined_on, find, images, job, known, leftovers, start_move, undefine, wait_job
from labclient import DroverError, Lab, wait_for

ONE, OTHER = "lyon/kvm1", "nantes/kvm1"
HOSTS = (ONE, OTHER)
POOL = "/var/lib/libvirt/images"
MIB = 1 << 20
BYTES = 10 * MIB  # LVM makes 12 MiB of it
VM = "erp"


@pytest.fixture(scope="module")
def lab(request):
    with Lab(lab_name(request)) as made:
        made.up(hosts=",".join(HOSTS), DROVER_FAULT_DIR=Faults.DIRECTORY)
        for host in HOSTS:
            made.pool(host, "vg", kind="lvm", size="200M")
            dirty(made, host)
            wait_for("its room in the inventory", 10, lambda host=host: pool_of(made, host)["available_bytes"] > 0)
        yield made


def dirty(lab, host):
    """What others left on the disk is what a new volume holds."""
    lab.virsh(host, "vol-create-as", "vg", "old", "196M")
    lab.exec(host, "sh", "-c", "tr '\\0' '\\245' </dev/zero | head -c 196M >/dev/vg/old; sync /dev/vg/old")
    lab.virsh(host, "vol-delete", "old", "--pool", "vg")
    lab.virsh(host, "pool-refresh", "vg")  # of which libvirt tells; of a volume it does not


def content(seed=VM, size=BYTES):
    """Data, a hole in the middle, and data up to the last byte."""
    half = hashlib.shake_256(seed.encode()).digest(3 * MIB)
    return half + bytes(size - 2 * len(half)) + half[::-1]


def device_disk(path, target="vda"):
    return (f"<disk type='block' device='disk'><driver name='qemu' type='raw'/><source dev='{path}'/>"
            f"<target dev='{target}' bus='virtio'/></disk>")


def file_disk(path, kind, target="vda"):
    return (f"<disk type='file' device='disk'><driver name='qemu' type='{kind}'/><source file='{path}'/>"
            f"<target dev='{target}' bus='virtio'/></disk>")


def define_vm(lab, host, disks, name=VM):
    define(lab, host, f"<domain type='qemu'><name>{name}</name><uuid>{uuid.uuid4()}</uuid><memory unit='MiB'>32</memory><vcpu>1</vcpu>"
                      f"<os><type arch='x86_64' machine='pc'>hvm</type></os><devices>{disks}</devices></domain>")
    known(lab, name)


def write(lab, host, path, data):
    exchange = lab.file(host, "/var/lib/drover/content")
    with open(exchange, "wb") as file:
        file.write(data)
    lab.exec(host, "dd", "if=/var/lib/drover/content", f"of={path}", "bs=1M", "conv=notrunc,fsync", "status=none")


def read(lab, host, path, kind="raw"):
    """What the guest sees."""
    lab.exec(host, "qemu-img", "convert", "-U", "-f", kind, "-O", "raw", path, "/var/lib/drover/seen")
    with open(lab.file(host, "/var/lib/drover/seen"), "rb") as file:
        return file.read()


def seen(lab, host, path, kind="raw", data=None):
    """The disk's content is there, and nothing but zeros beyond it."""
    data = data or content()
    got = read(lab, host, path, kind)
    return got[:len(data)] == data and not any(got[len(data):])


def on_device(lab, host=ONE, volume="erp-vda", data=None):
    """A VM on a logical volume; the volume's path."""
    lab.virsh(host, "vol-create-as", "vg", volume, str(BYTES))
    path = f"/dev/vg/{volume}"
    size = int(lab.exec(host, "blockdev", "--getsize64", path).stdout)
    write(lab, host, path, (data or content()) + bytes(size - BYTES))
    define_vm(lab, host, device_disk(path))
    wait_for("its size in the inventory", 10, lambda: known(lab, VM)["disks"][0]["capacity_bytes"] == size)
    return path


def on_file(lab, host=ONE, kind="qcow2", name=VM):
    with open(lab.file(host, "/var/lib/drover/content"), "wb") as file:
        file.write(content())
    path = f"{POOL}/{name}.{kind}"
    lab.exec(host, "qemu-img", "convert", "-f", "raw", "-O", kind, "/var/lib/drover/content", path)
    lab.virsh(host, "pool-refresh", "default")
    define_vm(lab, host, file_disk(path, kind), name)
    wait_for("its size in the inventory", 10, lambda: known(lab, name)["disks"][0]["capacity_bytes"] == BYTES)
    return path


def volumes(lab, host):
    return sorted(line.split()[0] for line in lab.virsh(host, "vol-list", "vg").splitlines() if line.strip())


def records(lab, host):
    """What the agent remembers of volumes that are being copied."""
    done = lab.exec(host, "sh", "-c", "ls /var/lib/drover/agent/ranges", check=False)
    return done.stdout.split()


def recorded(lab, host):
    """Bytes in these records behind the page that says whose they are: sixteen for each block that was synced."""
    return int(lab.exec(host, "sh", "-c", "tail -q -c +4097 /var/lib/drover/agent/ranges/* | tr -d '\\0' | wc -c").stdout)


def disk_of(lab, host, name=VM):
    """(type, path, format) of its first disk, as libvirt has it."""
    xml = lab.virsh(host, "dumpxml", name, "--inactive")
    kind = re.search(r"<disk type='(\w+)'", xml).group(1)
    return kind, re.search(r"<source (?:file|dev)='([^']+)'", xml).group(1), re.search(r"<driver [^>]*type='(\w+)'", xml).group(1)


def move(lab, target, *options, vm=VM, ends="done"):
    ended = wait_job(lab, start_move(lab, vm, target, *options))
    assert ended["state"] == ends, ended
    return ended


def clean(lab):
    """Nothing of a test is left: neither VMs nor volumes nor what drover kept."""
    for host in HOSTS:
        Faults(lab, host).clear()
    lab.wait_online()
    if lab.drover("vm", "list", "--retired"):
        lab.run_drover("vm", "purge", "--all", "--yes")
    for host in HOSTS:
        undefine(lab, host, *lab.virsh(host, "list", "--all", "--name").split())
        for volume in volumes(lab, host):
            lab.virsh(host, "vol-delete", volume, "--pool", "vg")
        lab.exec(host, "sh", "-c", f"rm -rf {POOL}/* {POOL}/.drover")
        lab.virsh(host, "pool-refresh", "default")
    wait_for("an empty inventory", 15, lambda: not lab.drover("vm", "list"))


@pytest.fixture(autouse=True)
def swept(lab):
    yield
    clean(lab)


# ---- devices as the source

@pytest.mark.parametrize("options,kind", [((), "raw"), (("--format", "qcow2"), "qcow2")])
def test_a_device_becomes_a_file(lab, options, kind):
    on_device(lab)
    ended = move(lab, OTHER, "--pool", "default", *options)
    assert defined_on(lab, HOSTS, VM) == [OTHER]
    how, path, driver = disk_of(lab, OTHER)
    assert (how, driver) == ("file", kind) and path.endswith(".qcow2" if kind == "qcow2" else ".img")
    assert seen(lab, OTHER, path, kind)
    assert ended["transfers"][0]["digest"].startswith("d2:")
    assert volumes(lab, ONE) == ["erp-vda"]
    lab.drover("vm", "purge", VM, "--yes")
    wait_for("the volume is gone", 15, lambda: volumes(lab, ONE) == [])


def test_a_retired_volume_that_was_written_to_goes_by_hand(lab):
    path = on_device(lab)
    move(lab, OTHER, "--pool", "default")
    lab.exec(ONE, "sh", "-c", f"printf x | dd of={path} bs=1 seek=4096 conv=notrunc,fsync status=none")
    with pytest.raises(DroverError) as refused:
        lab.drover("vm", "purge", VM, "--yes")
    assert "was written to since it was held" in refused.value.stderr
    assert f"virsh vol-delete {path}, and purge it again" in refused.value.stderr
    assert volumes(lab, ONE) == ["erp-vda"]
    lab.virsh(ONE, "vol-delete", path)
    lab.drover("vm", "purge", VM, "--yes")
    assert lab.drover("vm", "list", "--retired") == []


def test_a_device_outside_every_pool_is_carried_and_left(lab):
    lab.exec(ONE, "truncate", "-s", str(BYTES), "/var/lib/drover/disk")
    lab.virsh(ONE, "pool-list")
    path = lab.exec(ONE, "lvm", "lab-device", "/var/lib/drover/disk").stdout.strip()
    write(lab, ONE, path, content())
    define_vm(lab, ONE, device_disk(path))
    wait_for("its size", 10, lambda: known(lab, VM)["disks"][0]["capacity_bytes"] == BYTES)
    plan = lab.drover("vm", "move", VM, OTHER, "--pool", "vg", "--purge-source", "--plan")
    assert any("it is left there as it is" in warning for warning in plan["warnings"])
    move(lab, OTHER, "--pool", "vg")
    purged = lab.run_drover("vm", "purge", VM, "--yes")
    assert f"left as it is, since it is a volume of no pool: {path}" in purged.stdout + purged.stderr, purged
    assert disk_of(lab, OTHER) == ("block", "/dev/vg/erp-vda", "raw") and seen(lab, OTHER, "/dev/vg/erp-vda")
    assert read(lab, ONE, path) == content()
    assert lab.drover("vm", "list", "--retired") == []


def test_a_mounted_device_does_not_move(lab):
    path = on_device(lab)
    lab.exec(ONE, "sh", "-c", f"mkfs.ext4 -q -F {path} && mkdir -p /run/m && mount {path} /run/m")
    try:
        ended = move(lab, OTHER, "--pool", "default", ends="failed")
        assert "is mounted here" in ended["error"]["message"]
    finally:
        lab.exec(ONE, "umount", "/run/m")
    assert defined_on(lab, HOSTS, VM) == [ONE]


def test_a_device_of_two_vms_does_not_move(lab):
    path = on_device(lab)
    define_vm(lab, ONE, device_disk(path), "other")
    wait_for("the obstacle", 10, lambda: refusals(lab, VM, OTHER, "--pool", "default"))
    assert any("uses the same image" in said for said in refusals(lab, VM, OTHER, "--pool", "default"))


def refusals(lab, vm, target, *options):
    """What its plan says against the move; nothing: it may go."""
    try:
        lab.drover("vm", "move", vm, target, "--plan", *options)
        return []
    except DroverError as refused:
        assert refused.code == "refused"
        return refused.error["hints"]


def test_fault_31_nobody_starts_or_writes_it_while_it_moves(lab):
    """Its definition is gone; what is written to its device all the same is noticed before the commit."""
    path = on_device(lab)
    faults = Faults(lab, ONE)
    faults.set("agent.step.transfer_send.acted", "hold")
    ident = start_move(lab, VM, OTHER, "--pool", "default")
    wait_for("the copy", 20, lambda: faults.held("agent.step.transfer_send.acted"))
    assert lab.exec(ONE, "virsh", "start", VM, check=False).returncode != 0
    lab.exec(ONE, "sh", "-c", f"printf x | dd of={path} bs=1 seek=4096 conv=notrunc,fsync status=none")
    faults.clear()
    ended = wait_job(lab, ident)
    assert ended["state"] == "failed" and "was written to since it was held" in ended["error"]["message"], ended
    assert defined_on(lab, HOSTS, VM) == [ONE] and disk_of(lab, ONE) == ("block", path, "raw")
    assert images(lab, OTHER) == [] and leftovers(lab, OTHER) == []


def test_a_running_vm_with_a_file_and_a_device_moves_and_runs(lab):
    """And back where it was, and running, when its target fails."""
    path = on_device(lab)
    lab.exec(ONE, "qemu-img", "create", "-q", "-f", "qcow2", f"{POOL}/erp-vdb.qcow2", "5M")
    undefine(lab, ONE, VM)
    define_vm(lab, ONE, device_disk(path) + file_disk(f"{POOL}/erp-vdb.qcow2", "qcow2", "vdb"))
    lab.virsh(ONE, "autostart", VM)
    lab.virsh(ONE, "start", VM)
    wait_for("it runs, with both", 10, lambda: (vm := find(lab, VM)) and vm["state"] == "running" and vm["autostart"] and len(vm["disks"]) == 2)
    faults = Faults(lab, OTHER)
    faults.set("agent.start.before", "fail")
    move(lab, OTHER, "--stop", "--pool", "vg", ends="failed")
    faults.clear()
    wait_for("it runs again", 10, lambda: lab.state_of(ONE, VM) == "running")
    assert "enable" in lab.virsh(ONE, "dominfo", VM).split("Autostart:")[1].split("\n")[0]
    assert disk_of(lab, ONE) == ("block", path, "raw") and volumes(lab, OTHER) == []
    wait_for("the inventory", 10, lambda: (vm := find(lab, VM)) and vm["state"] == "running" and not vm["job"])
    move(lab, OTHER, "--stop", "--pool", "vg", "--purge-source")
    assert lab.state_of(OTHER, VM) == "running" and defined_on(lab, HOSTS, VM) == [OTHER]
    assert volumes(lab, OTHER) == ["erp-vda", "erp-vdb"] and volumes(lab, ONE) == [] and images(lab, ONE) == []


# ---- logical volumes as the target

@pytest.mark.parametrize("kind", ["qcow2", "raw"])
def test_a_file_becomes_a_volume(lab, kind):
    on_file(lab, kind=kind)
    ended = move(lab, OTHER, "--pool", "vg", "--verify", "read-back")
    assert disk_of(lab, OTHER) == ("block", "/dev/vg/erp", "raw")
    assert seen(lab, OTHER, "/dev/vg/erp"), "the rest of the last extent is zeros"
    assert volumes(lab, OTHER) == ["erp"] and records(lab, OTHER) == []
    assert ended["transfers"][0]["digest"].startswith("d2:")
    disk = known(lab, VM)["disks"][0]
    assert (disk["pool"], disk["volume"], disk["format"]) == ("vg", "erp", "raw")


def test_a_volume_moves_to_a_volume_over_a_link_that_is_cut(lab):
    on_device(lab)
    lab.link("nantes", rate="20mbit")
    try:
        ident = start_move(lab, VM, OTHER)
        wait_for("some of it to be recorded, which outlives the agent", 20, lambda: recorded(lab, OTHER) > 0)
        lab.link("nantes", up=False)
        lab.kill(OTHER)
        lab.link("nantes", up=True)
        lab.start(OTHER)
        ended = wait_job(lab, ident)
    finally:
        lab.link("nantes", rate="none", up=True)
    assert ended["state"] == "done", ended
    assert seen(lab, OTHER, "/dev/vg/erp-vda") and records(lab, OTHER) == []
    assert ended["transfers"][0]["attempt"] > 1 and ended["transfers"][0]["bytes_kept"] > 0, ended["transfers"]


def test_a_name_that_is_taken_is_avoided_and_never_overwritten(lab):
    on_device(lab)
    lab.virsh(OTHER, "vol-create-as", "vg", "erp-vda", "4M")
    write(lab, OTHER, "/dev/vg/erp-vda", content("theirs", 4 * MIB + 2 * MIB)[:4 * MIB])
    lab.virsh(OTHER, "pool-refresh", "vg")
    wait_for("it is known", 15, lambda: pool_of(lab, OTHER)["volumes"] == 1)
    move(lab, OTHER)
    assert disk_of(lab, OTHER)[1] == "/dev/vg/erp-vda-2"
    assert seen(lab, OTHER, "/dev/vg/erp-vda-2")
    assert read(lab, OTHER, "/dev/vg/erp-vda") == content("theirs", 6 * MIB)[:4 * MIB]


def pool_of(lab, host, name="vg"):
    return next(pool for pool in lab.drover("host", "show", host)["pools"] if pool["name"] == name)


def test_a_volume_that_nobody_told_of_is_a_refusal(lab):
    on_device(lab)
    lab.exec(OTHER, "lvcreate", "--name", "erp-vda", "-L", "12M", "vg")
    ended = move(lab, OTHER, ends="failed")
    assert "pool vg has a volume erp-vda already" in ended["error"]["message"]
    assert volumes(lab, OTHER) == ["erp-vda"] and defined_on(lab, HOSTS, VM) == [ONE]


def test_a_volume_that_came_just_now_is_not_taken_for_ours(lab):
    on_device(lab)
    faults = Faults(lab, OTHER)
    faults.set("agent.reserve.before-hold", "hold")
    ident = start_move(lab, VM, OTHER)
    wait_for("the reservation", 20, lambda: faults.held("agent.reserve.before-hold"))
    lab.exec(OTHER, "lvcreate", "--name", "erp-vda", "-L", "12M", "vg")
    faults.clear()
    ended = wait_job(lab, ident)
    assert ended["state"] == "failed", ended
    assert volumes_after_refresh(lab, OTHER) == ["erp-vda"] and defined_on(lab, HOSTS, VM) == [ONE]


def volumes_after_refresh(lab, host):
    lab.virsh(host, "pool-refresh", "vg")
    return volumes(lab, host)


def test_fault_71_a_pool_without_room_is_a_refusal_of_the_plan(lab):
    on_device(lab)
    lab.virsh(OTHER, "vol-create-as", "vg", "big", "190M")
    lab.virsh(OTHER, "pool-refresh", "vg")  # of a volume alone libvirt tells nobody
    said = wait_for("it is known", 15, lambda: refusals(lab, VM, OTHER))
    assert any("pool vg at nantes/kvm1 has" in line and "free" in line for line in said), said


def test_snapshots_keep_an_image_out_of_a_logical_pool(lab):
    on_file(lab)
    lab.virsh(ONE, "snapshot-create-as", VM, "before")
    said = wait_for("the snapshot", 10, lambda: refusals(lab, VM, OTHER, "--pool", "vg"))
    assert len(said) == 1 and "1 snapshot in the image would be lost" in said[0] and "a pool of files, which keeps them" in said[0]


def test_a_cancelled_move_leaves_no_volume(lab):
    on_file(lab)
    faults = Faults(lab, OTHER)
    faults.set("agent.receive.block", "nth 3 hold")
    ident = start_move(lab, VM, OTHER, "--pool", "vg")
    wait_for("the copy", 20, lambda: faults.held("agent.receive.block"))
    assert volumes(lab, OTHER) == ["erp"]
    lab.drover("job", "cancel", ident, "--yes")
    faults.clear()
    ended = wait_job(lab, ident)
    assert ended["state"] == "cancelled", ended
    assert volumes(lab, OTHER) == [] and records(lab, OTHER) == [] and defined_on(lab, HOSTS, VM) == [ONE]


# ---- the way back

def test_a_move_away_from_a_device_is_undone_without_carrying_anything(lab):
    path = on_device(lab)
    done = move(lab, OTHER)
    undone = wait_job(lab, lab.drover("job", "undo", done["id"], "--detach")["id"])
    assert undone["state"] == "done", undone
    assert undone["transfers"] == []
    assert defined_on(lab, HOSTS, VM) == [ONE] and disk_of(lab, ONE) == ("block", path, "raw") and seen(lab, ONE, path)
    assert volumes(lab, OTHER) == []


def test_a_device_that_was_written_to_is_not_defined_again(lab):
    path = on_device(lab)
    done = move(lab, OTHER)
    lab.exec(ONE, "sh", "-c", f"printf x | dd of={path} bs=1 seek=4096 conv=notrunc,fsync status=none")
    undone = wait_job(lab, lab.drover("job", "undo", done["id"], "--detach")["id"])
    assert undone["state"] == "failed" and "was written to since it was held" in undone["error"]["message"], undone
    assert defined_on(lab, HOSTS, VM) == [OTHER] and seen(lab, OTHER, "/dev/vg/erp-vda")


def test_a_volume_that_was_written_to_is_carried_back(lab):
    on_device(lab)
    done = move(lab, OTHER)
    newer = content("newer")
    write(lab, OTHER, "/dev/vg/erp-vda", newer)
    lab.virsh(OTHER, "desc", VM, "--config", "--title", "changed")  # libvirt's event has it read again
    wait_for("the inventory", 10, lambda: "carried back" in " ".join(
        lab.drover("job", "undo", done["id"], "--plan")["warnings"]))
    undone = wait_job(lab, lab.drover("job", "undo", done["id"], "--detach")["id"])
    assert undone["state"] == "done", undone
    kind, path, _ = disk_of(lab, ONE)
    assert (kind, path) == ("block", "/dev/vg/erp-vda-2") and seen(lab, ONE, path, data=newer)


# ---- clones

def test_a_device_is_cloned_beside_itself_and_elsewhere(lab):
    path = on_device(lab)
    for target, name, options in ((ONE, "twin", ()), (OTHER, "far", ()), (OTHER, "file", ("--pool", "default", "--format", "qcow2"))):
        ident = lab.drover("vm", "clone", VM, f"{target}/{name}", "--detach", *options)["id"]
        ended = wait_job(lab, ident)
        assert ended["state"] == "done", ended
        kind, at, driver = disk_of(lab, target, name)
        assert at != path and seen(lab, target, at, driver), (name, at)
        assert kind == ("file" if name == "file" else "block")
    assert defined_on(lab, HOSTS, VM) == [ONE] and seen(lab, ONE, path)


def test_a_file_is_cloned_into_a_logical_pool_and_not_linked_there(lab):
    on_file(lab)
    with pytest.raises(DroverError) as refused:
        lab.drover("vm", "clone", VM, f"{ONE}/twin", "--linked", "--pool", "vg")
    assert "a linked clone is an image file, and pool vg holds logical volumes" in str(refused.value)
    ended = wait_job(lab, lab.drover("vm", "clone", VM, f"{ONE}/twin", "--pool", "vg", "--detach")["id"])
    assert ended["state"] == "done", ended
    assert disk_of(lab, ONE, "twin") == ("block", "/dev/vg/twin", "raw") and seen(lab, ONE, "/dev/vg/twin")


def test_a_device_bears_no_linked_clone(lab):
    on_device(lab)
    with pytest.raises(DroverError) as refused:
        lab.drover("vm", "clone", VM, f"{ONE}/twin", "--linked", "--pool", "default")
    assert "is a block device, which cannot be kept from being written to" in str(refused.value)


# ---- kills

POINTS = [("target", point) for point in ("agent.reserve.before-volume", "agent.reserve.volume", "agent.receive.block", "agent.define.published",
                                          "agent.define.defined", "agent.settle.settled")]
POINTS += [("source", point) for point in ("agent.fence.before-undefine", "agent.step.transfer_send.acted", "agent.step.move_confirm.acted",
                                           "agent.retire.undefined", "agent.purge.removed")]


@pytest.mark.parametrize("side,point", POINTS, ids=[point for _, point in POINTS])
def test_fault_09_10_11_17_a_killed_agent_goes_on(lab, side, point):
    on_device(lab)
    where = ONE if side == "source" else OTHER
    faults = Faults(lab, where)
    faults.set(point, "hold")
    ident = start_move(lab, VM, OTHER, "--purge-source")
    wait_for(point, 20, lambda: faults.held(point))
    lab.kill(where)
    faults.clear()
    lab.start(where)
    ended = wait_job(lab, ident)
    assert ended["state"] == "done", ended
    assert defined_on(lab, HOSTS, VM) == [OTHER] and seen(lab, OTHER, "/dev/vg/erp-vda")
    assert volumes(lab, OTHER) == ["erp-vda"] and volumes(lab, ONE) == []
    assert records(lab, OTHER) == [] and lab.drover("vm", "list", "--retired") == []


@pytest.mark.parametrize("point", ["agent.reserve.before-volume", "agent.reserve.volume", "agent.define.defined", "agent.discard.partial-removed"])
def test_fault_13_an_undone_move_leaves_no_volume_after_a_kill(lab, point):
    path = on_device(lab)
    faults = Faults(lab, OTHER)
    faults.set(point, "hold")
    if point.startswith("agent.discard"):
        faults.set("agent.define.before-define", "fail")
    ident = start_move(lab, VM, OTHER)
    wait_for(point, 20, lambda: faults.held(point))
    lab.drover("job", "cancel", ident, "--yes") if not point.startswith("agent.discard") else None
    lab.kill(OTHER)
    faults.clear()
    lab.start(OTHER)
    ended = wait_job(lab, ident)
    assert ended["state"] in ("cancelled", "failed"), ended
    assert volumes(lab, OTHER) == [] and records(lab, OTHER) == []
    assert defined_on(lab, HOSTS, VM) == [ONE] and disk_of(lab, ONE) == ("block", path, "raw") and find(lab, VM)["host"] == "kvm1"
