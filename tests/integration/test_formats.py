# SPDX-License-Identifier: LGPL-2.1-or-later
"""Images that change their format on the way, or are made one of several: what the guest sees stays what it was."""

import hashlib
import subprocess
from pathlib import Path

import pytest

from conftest import lab_name
from fleet import POOL, Faults, defined_on, images, known, leftovers, place, start_move, wait_job
from labclient import DroverError, Lab, wait_for

HERE, THERE = "lyon/kvm1", "nantes/kvm1"


@pytest.fixture(scope="module")
def lab(request):
    with Lab(lab_name(request)) as made:
        yield made.up(hosts=f"{HERE},{THERE}", DROVER_FAULT_DIR=Faults.DIRECTORY)


@pytest.fixture
def name(lab, request):
    """The name of a VM of the test's own; it and its images are gone afterwards."""
    name = "".join(c if c.isalnum() else "-" for c in request.node.name.replace("test_", ""))[-40:].strip("-")
    yield name
    for host in (HERE, THERE):
        Faults(lab, host).clear()
        if name in lab.virsh(host, "list", "--all", "--name").split():
            lab.exec(host, "virsh", "undefine", name, "--nvram", "--snapshots-metadata", check=False)
        lab.exec(host, "sh", "-c", f"rm -f {POOL}/{name}*", check=False)
    lab.run_drover("vm", "purge", "--all", "--yes")


def disk(image, format, target="vda"):
    return f"<disk type='file' device='disk'><driver name='qemu' type='{format}'/><source file='{image}'/><target dev='{target}' bus='virtio'/></disk>"


def define(lab, name, *disks):
    xml = (f"<domain type='qemu'><name>{name}</name><memory unit='MiB'>64</memory><os><type arch='x86_64' machine='q35'>hvm</type></os>"
           f"<devices>{''.join(disks)}</devices></domain>")
    Path(lab.file(HERE, f"/var/lib/libvirt/{name}.xml")).write_text(xml)
    lab.virsh(HERE, "define", f"/var/lib/libvirt/{name}.xml")
    lab.virsh(HERE, "pool-refresh", "default")
    return known(lab, name)


def tool(lab, *argv, host=HERE):
    """qemu-img or qemu-io in the host's pool."""
    return lab.exec(host, "sh", "-ec", f"cd {POOL}; exec \"$@\"", "sh", *argv).stdout


def make(lab, volume, format, size="64M", *options):
    tool(lab, "qemu-img", "create", "-q", "-f", format, *options, volume, size)


def write(lab, volume, format, *commands):
    tool(lab, "qemu-io", "-f", format, *[f"-c{command}" for command in commands], volume)


def content(lab, host, volume, format):
    """SHA-256 of what a guest would see."""
    image = lab.file(host, f"{POOL}/{volume}")
    raw = Path(lab.plan.node_dir(lab.plan.node(host))) / "content.raw"
    subprocess.run(["qemu-img", "convert", "-U", "-f", format, "-O", "raw", image, raw], check=True)
    digest = hashlib.sha256(raw.read_bytes()).hexdigest()
    raw.unlink()
    return digest


def driver(lab, name, target="vda"):
    """Format and file of a disk, as the definition at the target has them."""
    found = next(d for d in known(lab, name)["disks"] if d["target"] == target)
    return found["format"], found["path"]


PATTERN = ("write -P 0x5a 0 1M", "write -P 0xa5 7M 3M", "write -P 0x11 30M 64k", "write -z 31M 1M")


@pytest.mark.parametrize("source,wanted", [("qcow2", "raw"), ("raw", "qcow2"), ("vmdk", "qcow2"), ("vmdk", "raw")])
def test_an_image_is_made_anew_in_another_format(lab, name, source, wanted):
    ending = {"raw": "img"}.get(source, source), {"raw": "img"}.get(wanted, wanted)
    make(lab, f"{name}.{ending[0]}", source)
    write(lab, f"{name}.{ending[0]}", source, *PATTERN)
    before = content(lab, HERE, f"{name}.{ending[0]}", source)
    define(lab, name, disk(f"{POOL}/{name}.{ending[0]}", source))
    done = lab.drover("vm", "move", name, THERE, "--format", wanted, "--verify", "read-back")
    assert done["state"] == "done" and done["transfers"][0]["bytes_total"] == 64 << 20
    assert driver(lab, name) == (wanted, f"{POOL}/{name}.{ending[1]}")
    assert content(lab, THERE, f"{name}.{ending[1]}", wanted) == before
    taken = Path(lab.file(THERE, f"{POOL}/{name}.{ending[1]}")).stat().st_blocks * 512
    assert taken < 8 << 20  # zeros take no room
    if wanted == "qcow2":
        tool(lab, "qemu-img", "check", "-q", "-f", "qcow2", f"{name}.qcow2", host=THERE)
    assert leftovers(lab, THERE) == []


def test_dirty_bitmaps_come_along_with_their_image_and_are_told_when_it_is_made_anew(lab, name):
    make(lab, f"{name}.qcow2", "qcow2")
    for bitmap in ("monday", "tuesday"):
        tool(lab, "qemu-img", "bitmap", "--add", "-f", "qcow2", f"{name}.qcow2", bitmap)
    define(lab, name, disk(f"{POOL}/{name}.qcow2", "qcow2"))
    wait_for("they are known", 10, lambda: lab.drover("vm", "show", name)["disks"][0]["bitmaps"] == 2)
    stays = f"vda: 2 dirty bitmaps of {name} stay with it: the clone's image is new and holds none"
    cloned = lab.drover("vm", "clone", name, f"{THERE}/{name}-raw", "--format", "raw")
    assert lab.drover("job", "show", cloned["id"])["warnings"] == [stays]
    moved = lab.drover("vm", "move", name, THERE)
    wait_for("it is there", 10, lambda: place(known(lab, name)) == THERE)
    assert lab.drover("job", "show", moved["id"])["warnings"] == []
    assert "tuesday" in tool(lab, "qemu-img", "info", "-f", "qcow2", f"{name}.qcow2", host=THERE)
    lost = "vda: its image is made anew, without its 2 dirty bitmaps: a backup that follows them has to begin with all of it"
    assert lab.drover("vm", "move", name, HERE, "--format", "raw", "--plan")["warnings"] == [lost]
    told = lab.run_drover("vm", "move", name, HERE, "--format", "raw")
    assert told.returncode == 0 and f"warning: {lost}" in told.stdout + told.stderr, told
    newest = next(j for j in lab.drover("job", "list") if j["kind"] == "vm.move")
    assert lab.drover("job", "show", newest["id"])["warnings"] == [lost]
    lab.exec(THERE, "virsh", "-q", "undefine", f"{name}-raw")


def test_a_chain_is_flattened(lab, name):
    make(lab, f"{name}-base.img", "raw")
    write(lab, f"{name}-base.img", "raw", "write -P 1 0 8M")
    make(lab, f"{name}-middle.qcow2", "qcow2", "64M", "-b", f"{name}-base.img", "-F", "raw")
    write(lab, f"{name}-middle.qcow2", "qcow2", "write -P 2 4M 8M")
    make(lab, f"{name}.qcow2", "qcow2", "64M", "-b", f"{POOL}/{name}-middle.qcow2", "-F", "qcow2")
    write(lab, f"{name}.qcow2", "qcow2", "write -P 3 6M 1M", "write -z 1M 64k")
    write_raw = content_of_chain(lab, f"{name}.qcow2")
    define(lab, name, disk(f"{POOL}/{name}.qcow2", "qcow2"))
    with pytest.raises(DroverError) as caught:
        lab.drover("vm", "move", name, THERE)
    assert caught.value.exit == 7 and any("--format qcow2" in hint for hint in caught.value.error["hints"])
    done = lab.drover("vm", "move", name, THERE, "--format", "qcow2", "--verify", "read-back")
    assert done["state"] == "done"
    assert content(lab, THERE, f"{name}.qcow2", "qcow2") == write_raw
    assert "backing file" not in tool(lab, "qemu-img", "info", "-f", "qcow2", f"{name}.qcow2", host=THERE)
    assert images(lab, HERE, name) == [f"{name}-base.img", f"{name}-middle.qcow2"]  # others may lie over them, too


def content_of_chain(lab, volume):
    """What a guest sees of an image that lies over others; on the host, where their names are right."""
    tool(lab, "qemu-img", "convert", "-f", "qcow2", "-O", "raw", volume, "/var/lib/libvirt/flat.raw")
    flat = Path(lab.file(HERE, "/var/lib/libvirt/flat.raw"))
    digest = hashlib.sha256(flat.read_bytes()).hexdigest()
    flat.unlink()
    return digest


@pytest.mark.parametrize("where", [HERE, THERE])
def test_a_clone_of_a_chain_is_made_whole_in_another_format(lab, name, where):
    make(lab, f"{name}-base.img", "raw")
    write(lab, f"{name}-base.img", "raw", "write -P 1 0 8M")
    make(lab, f"{name}.qcow2", "qcow2", "64M", "-b", f"{POOL}/{name}-base.img", "-F", "raw")
    write(lab, f"{name}.qcow2", "qcow2", "write -P 2 4M 8M")
    before = content_of_chain(lab, f"{name}.qcow2")
    define(lab, name, disk(f"{POOL}/{name}.qcow2", "qcow2"))
    twin = f"{name}-b"
    assert lab.drover("vm", "clone", name, f"{where}/{twin}", "--format", "raw", "--verify", "read-back")["state"] == "done"
    try:
        assert driver(lab, twin) == ("raw", f"{POOL}/{twin}.img")
        assert content(lab, where, f"{twin}.img", "raw") == before == content_of_chain(lab, f"{name}.qcow2")
    finally:
        lab.virsh(where, "undefine", twin)


def test_images_of_the_wanted_format_keep_what_is_inside_them(lab, name):
    make(lab, f"{name}.qcow2", "qcow2")
    make(lab, f"{name}-b.img", "raw")
    write(lab, f"{name}-b.img", "raw", *PATTERN)
    define(lab, name, disk(f"{POOL}/{name}.qcow2", "qcow2"), disk(f"{POOL}/{name}-b.img", "raw", "vdb"))
    before = content(lab, HERE, f"{name}-b.img", "raw")
    as_it_is = hashlib.sha256(Path(lab.file(HERE, f"{POOL}/{name}.qcow2")).read_bytes()).hexdigest()
    assert lab.drover("vm", "move", name, THERE, "--format", "qcow2")["state"] == "done"
    assert hashlib.sha256(Path(lab.file(THERE, f"{POOL}/{name}.qcow2")).read_bytes()).hexdigest() == as_it_is
    assert driver(lab, name, "vdb") == ("qcow2", f"{POOL}/{name}-b.qcow2")
    assert content(lab, THERE, f"{name}-b.qcow2", "qcow2") == before


def test_snapshots_that_would_be_lost_are_a_refusal(lab, name):
    make(lab, f"{name}.qcow2", "qcow2")
    define(lab, name, disk(f"{POOL}/{name}.qcow2", "qcow2"))
    tool(lab, "qemu-img", "snapshot", "-c", "before", f"{name}.qcow2")  # libvirt does not know of it
    ended = wait_job(lab, start_move(lab, name, THERE, "--format", "raw"))
    assert ended["state"] == "failed" and ended["error"]["code"] == "refused", ended
    assert "1 snapshot, which would be lost" in ended["error"]["message"]
    assert defined_on(lab, (HERE, THERE), name) == [HERE] and leftovers(lab, HERE) == leftovers(lab, THERE) == []
    assert images(lab, HERE, name) == [f"{name}.qcow2"]


def recorded(lab, host):
    """How many entries the record beside a partial image has, its head included: a hash for each block that is on the disk."""
    found = list(Path(lab.file(host, f"{POOL}/.drover")).glob("*.vda.ranges"))
    entries = found[0].read_bytes() if found else b""
    return sum(1 for at in range(0, len(entries), 16) if any(entries[at:at + 16]))


@pytest.mark.parametrize("wanted", ["qcow2", "raw"])
def test_a_copy_that_was_cut_goes_on(lab, name, wanted):
    source = {"qcow2": "raw", "raw": "qcow2"}[wanted]
    volume, there = f"{name}.{'img' if source == 'raw' else source}", f"{name}.{'img' if wanted == 'raw' else wanted}"
    make(lab, volume, source)
    write(lab, volume, source, "write -P 7 0 40M", *PATTERN)
    before = content(lab, HERE, volume, source)
    define(lab, name, disk(f"{POOL}/{volume}", source))
    faults = Faults(lab, THERE)
    faults.set("agent.receive.block", "nth 20 hold")
    ident = start_move(lab, name, THERE, "--format", wanted)
    wait_for("in the middle of the copy", 20, lambda: faults.held("agent.receive.block"))
    wait_for("what is on the disk has been recorded", 10, lambda: recorded(lab, THERE) > 15)
    lab.kill(THERE, "agent")
    faults.clear()
    lab.start(THERE, "agent")
    ended = wait_job(lab, ident, 90)
    assert ended["state"] == "done" and ended["transfers"][0]["bytes_kept"] >= 8 << 20, ended
    assert content(lab, THERE, there, wanted) == before
    assert leftovers(lab, THERE) == [] and place(known(lab, name)) == THERE


def test_a_length_of_no_whole_sectors_is_rounded_as_qemu_does(lab, name):
    make(lab, f"{name}.img", "raw", "3000001")
    write(lab, f"{name}.img", "raw", "write -P 9 1M 1M", "write -P 8 2900000 100001")
    define(lab, name, disk(f"{POOL}/{name}.img", "raw"))
    before = content(lab, HERE, f"{name}.img", "raw")
    assert lab.drover("vm", "move", name, THERE, "--format", "qcow2", "--verify", "read-back")["state"] == "done"
    assert content(lab, THERE, f"{name}.qcow2", "qcow2") == before


def test_fault_34_a_qcow2_header_in_a_raw_disk_stays_content(lab, name):
    make(lab, f"{name}.img", "raw", "1M")
    tool(lab, "qemu-img", "create", "-q", "-f", "qcow2", "-u", "-b", "/etc/shadow", "-F", "raw", f"{name}-evil.qcow2", "1M")
    tool(lab, "dd", f"if={name}-evil.qcow2", f"of={name}.img", "conv=notrunc", "status=none")
    define(lab, name, disk(f"{POOL}/{name}.img", "raw"))
    before = content(lab, HERE, f"{name}.img", "raw")
    assert lab.drover("vm", "move", name, THERE, "--format", "qcow2", "--verify", "read-back")["state"] == "done"
    assert driver(lab, name)[0] == "qcow2" and content(lab, THERE, f"{name}.qcow2", "qcow2") == before


def test_fault_53_a_chain_that_leaves_the_pools_is_refused(lab, name):
    make(lab, f"{name}.qcow2", "qcow2", "1M", "-u", "-b", "/etc/shadow", "-F", "raw")
    define(lab, name, disk(f"{POOL}/{name}.qcow2", "qcow2"))
    ended = wait_job(lab, start_move(lab, name, THERE, "--format", "raw"))
    assert ended["state"] == "failed" and "/etc/shadow stands in no pool of this host" in ended["error"]["message"], ended
    assert images(lab, HERE, name) == [f"{name}.qcow2"] and leftovers(lab, HERE) == []


def test_fault_55_a_small_file_with_a_huge_disk_is_refused_for_room(lab, name):
    make(lab, f"{name}.qcow2", "qcow2", "64T")
    define(lab, name, disk(f"{POOL}/{name}.qcow2", "qcow2"))
    with pytest.raises(DroverError) as caught:
        lab.drover("vm", "move", name, THERE, "--format", "raw")
    assert caught.value.exit == 7 and "can grow to 64.0 TiB" in str(caught.value)


def test_fault_57_names_are_never_options(lab, name):
    volume = f"{name},file.filename=x.img"
    make(lab, volume, "raw", "1M")
    write(lab, f"file:{volume}", "raw", "write -P 6 0 1M")
    define(lab, name, disk(f"{POOL}/{volume}", "raw"))
    assert lab.drover("vm", "move", name, THERE, "--format", "qcow2")["state"] == "done"
    moved = Path(lab.file(THERE, driver(lab, name)[1]))
    assert content(lab, THERE, moved.name, "qcow2") == hashlib.sha256(b"\6" * (1 << 20)).hexdigest()
