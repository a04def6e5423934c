# SPDX-License-Identifier: LGPL-2.1-or-later
"""Disks that fill, fail, turn read-only and cannot be read, at either end of a copy; and VMs that somebody changes meanwhile.

The pools are file systems on devices of their own (lab pool), whose errors are the kernel's: nothing in drover is made to fail."""

import itertools
import re
from pathlib import Path

import pytest

from conftest import lab_name
from fleet import POOL, Faults, defined_on, disk_xml, domain_xml, define, images, job, known, leftovers, start_move, undefine, wait_job
from labclient import Lab, wait_for
from labkit import flaky

HERE, THERE = "lyon/kvm1", "nantes/kvm1"
HOSTS = (HERE, THERE)
SERIAL = itertools.count(1)  # no two VMs of one name: what is said of one is not said of the other
MIB = 1 << 20


@pytest.fixture(scope="module")
def lab(request):
    with Lab(lab_name(request)) as made:
        yield made.up(hosts=",".join(HOSTS), DROVER_FAULT_DIR=Faults.DIRECTORY)


def new_vm(lab, name, folder=POOL, mebibytes=24, format="raw"):
    """A VM that is off, with so much random data; its image's path here and the data."""
    path = f"{folder}/{name}.{format}"
    data = lab.exec(HERE, "sh", "-c", f"head -c {mebibytes}M /dev/urandom > {path} && sync {path} && sha256sum {path}").stdout.split()[0]
    lab.virsh(HERE, "pool-refresh", "default")
    define(lab, HERE, domain_xml(name, disk_xml(path, format=format)))
    wait_for("its image is known", 20, lambda: known(lab, name)["disks"][0]["volume"])
    return data


@pytest.fixture
def vm(lab, request):
    name = re.sub(r"[^a-z0-9-]", "-", request.node.name.removeprefix("test_").replace("_", "-"))[:36].strip("-") + f"-{next(SERIAL)}"
    yield name
    for host in HOSTS:
        Faults(lab, host).clear()
        undefine(lab, host, name)
        lab.exec(host, "sh", "-c", f"rm -f {POOL}/{name}*", check=False)
    lab.run_drover("vm", "purge", "--all", "--yes")


@pytest.fixture
def pool(lab):
    """Makes a pool that lives as long as the test."""
    made = []

    def make(host, name, **options):
        made.append((host, name))
        path = lab.pool(host, name, **options)
        wait_for("the pool in the inventory", 70, lambda: any(p["name"] == name for p in lab.drover("host", "show", host)["pools"]))
        return path

    yield make
    for host, name in made:
        lab.pool_remove(host, name)
        wait_for("the pool is forgotten", 70, lambda: all(p["name"] != name for p in lab.drover("host", "show", host)["pools"]))


def hold_in_copy(lab, vm, *options):
    """A move that stands still in the middle of its copy; (job, what lets it go on)."""
    faults = Faults(lab, THERE)
    faults.set("agent.receive.block", "nth 3 hold")
    ident = start_move(lab, vm, THERE, *options)
    wait_for("in the middle of the copy", 20, lambda: faults.held("agent.receive.block"))
    return ident, faults.clear


def assert_as_before(lab, vm, path, data):
    """The VM is at its source, whole; the target has nothing of it."""
    assert defined_on(lab, HOSTS, vm) == [HERE]
    assert lab.exec(HERE, "sha256sum", path).stdout.split()[0] == data
    assert images(lab, THERE, vm) == [] and leftovers(lab, THERE) == [] and leftovers(lab, HERE) == []
    lab.virsh(HERE, "start", vm)
    lab.virsh(HERE, "destroy", vm)
    wait_for("off in the inventory", 10, lambda: known(lab, vm)["state"] == "shut off")


def test_fault_19_a_disk_that_fills_while_it_is_copied_to(lab, vm, pool):
    folder = pool(THERE, "thin", size="1G", store="24M")  # says that it has a gigabyte, and has not
    data = new_vm(lab, vm, mebibytes=48)
    ended = wait_job(lab, start_move(lab, vm, THERE, "--pool", "thin"))
    assert ended["state"] == "failed" and ended["error"]["code"] == "no-space", ended
    assert re.search(r"vda: .*write at [\d.]+ MiB: No space left on device", ended["error"]["message"]), ended["error"]
    assert_as_before(lab, vm, f"{POOL}/{vm}.raw", data)
    assert lab.exec(THERE, "find", folder, "-name", f"*{vm}*", "-o", "-name", "*.part").stdout == ""


def test_fault_20_a_place_that_cannot_be_read_is_named(lab, vm, pool):
    folder = pool(HERE, "worn", size="1G")
    new_vm(lab, vm, folder, mebibytes=24)
    lab.pool_fail(HERE, "worn", f"read:{vm}.raw@{12 * MIB}")
    ended = wait_job(lab, start_move(lab, vm, THERE, "--pool", "default"))
    assert ended["state"] == "failed" and ended["error"]["code"] == "io", ended
    assert re.search(r"vda: .*read at (1[2-9]|2\d)\.\d MiB: Input/output error", ended["error"]["message"]), ended["error"]
    assert defined_on(lab, HOSTS, vm) == [HERE] and images(lab, THERE, vm) == [] and leftovers(lab, THERE) == []


def without_a_head(record):
    record.write_bytes(b"\xa5" * 4096 + record.read_bytes()[4096:])


def cut_in_an_entry(record):
    record.write_bytes(record.read_bytes()[:4096 + 24])


def with_other_entries(record):
    whole = record.read_bytes()
    record.write_bytes(whole[:4096] + b"\xa5" * (len(whole) - 4096))


@pytest.mark.parametrize("tear", [without_a_head, cut_in_an_entry, with_other_entries])
def test_fault_22_a_torn_record_of_what_was_verified(lab, vm, tear):
    """Nothing is believed for which there is no whole entry, and no entry that is not the hash of what the source has."""
    data = new_vm(lab, vm, mebibytes=32)
    faults = Faults(lab, THERE)
    faults.set("agent.receive.block", "nth 20 hold")
    ident = start_move(lab, vm, THERE)
    wait_for("in the middle of the copy", 20, lambda: faults.held("agent.receive.block"))
    folder = Path(lab.file(THERE, f"{POOL}/.drover"))
    wait_for("some of it is recorded", 10, lambda: any(record.stat().st_size > 4096 for record in folder.glob("*.ranges")))
    lab.kill(THERE, "agent")
    faults.clear()
    (record,) = folder.glob("*.ranges")
    tear(record)
    lab.start(THERE, "agent")
    assert wait_job(lab, ident)["state"] == "done"
    assert lab.exec(THERE, "sha256sum", f"{POOL}/{vm}.raw").stdout.split()[0] == data
    assert leftovers(lab, THERE) == []


def test_fault_23_a_sync_that_fails_once_and_then_succeeds(lab, vm):
    """What was written before is lost, whatever later syncs say: the copy fails, and what it had written is not used again."""
    data = new_vm(lab, vm)
    node = lab.plan.host(THERE)
    flaky.load(lab.plan, node)
    lab.wait_online()
    try:
        flaky.fail_next_sync(lab.plan, node, ".part")
        ended = wait_job(lab, start_move(lab, vm, THERE))
        assert flaky.has_failed(lab.plan, node)
        assert ended["state"] == "failed" and ended["error"]["code"] == "io" and "Input/output error" in ended["error"]["message"], ended
        assert_as_before(lab, vm, f"{POOL}/{vm}.raw", data)
        assert wait_job(lab, start_move(lab, vm, THERE))["state"] == "done"
    finally:
        lab.set_env(THERE, DROVER_FAULT_DIR=Faults.DIRECTORY)
        lab.kill(THERE, "agent")
        lab.start(THERE, "agent")
        lab.wait_online()


@pytest.mark.parametrize("how,says", [("gone", "Input/output error"), ("read-only", "Read-only file system")])
def test_fault_21_a_disk_that_fails_while_it_is_copied_to(lab, vm, pool, how, says):
    pool(THERE, "failing", size="1G")
    data = new_vm(lab, vm)
    ident, go_on = hold_in_copy(lab, vm, "--pool", "failing")
    lab.pool_fail(THERE, "failing", how)
    go_on()
    wait_for("it cannot be undone either", 30, lambda: job(lab, ident)["state"] != "running")
    said = job(lab, ident)
    assert says in str(said), said
    lab.exec(THERE, "umount", "-l", "/var/lib/libvirt/failing")  # the disk is taken out
    if wait_job(lab, ident)["state"] == "needs-operator":
        lab.drover("job", "retry", ident)
    ended = wait_job(lab, ident)
    assert ended["state"] == "failed" and says in ended["error"]["message"], ended
    assert_as_before(lab, vm, f"{POOL}/{vm}.raw", data)


def renamed(lab, vm):
    lab.virsh(HERE, "domrename", vm, f"{vm}-2")


def another_disk(lab, vm):
    lab.exec(HERE, "truncate", "-s", "1M", f"{POOL}/{vm}-2.raw")
    lab.virsh(HERE, "attach-disk", vm, f"{POOL}/{vm}-2.raw", "vdb", "--config")


@pytest.mark.parametrize("change", [renamed, another_disk])
def test_fault_30_a_vm_that_is_changed_in_the_middle_of_the_copy(lab, vm, change):
    data = new_vm(lab, vm)
    ident, go_on = hold_in_copy(lab, vm)
    change(lab, vm)
    go_on()
    ended = wait_job(lab, ident)
    assert ended["state"] == "failed" and ended["error"]["code"] in ("stale", "conflict"), ended
    assert images(lab, THERE, vm) == [] and leftovers(lab, THERE) == [] and leftovers(lab, HERE) == []
    assert lab.exec(HERE, "sha256sum", f"{POOL}/{vm}.raw").stdout.split()[0] == data
    assert [n for n in lab.virsh(HERE, "list", "--all", "--name").split() if n.startswith(vm)]
    undefine(lab, HERE, f"{vm}-2")


def test_fault_30_a_vm_that_is_undefined_in_the_middle_of_the_copy(lab, vm):
    data = new_vm(lab, vm)
    ident, go_on = hold_in_copy(lab, vm)
    lab.virsh(HERE, "undefine", vm)
    go_on()
    ended = wait_job(lab, ident)
    assert ended["state"] == "failed" and ended["error"]["code"] == "conflict" and "was undefined at the source" in ended["error"]["message"], ended
    assert_as_before(lab, vm, f"{POOL}/{vm}.raw", data)  # and is defined again


def test_fault_30_an_image_that_gets_another_size_in_the_middle_of_the_copy(lab, vm):
    data = new_vm(lab, vm)
    ident, go_on = hold_in_copy(lab, vm)
    lab.exec(HERE, "truncate", "-s", "+1M", f"{POOL}/.drover/{ident}.vda.held")
    go_on()
    ended = wait_job(lab, ident)
    assert ended["state"] == "failed" and "the image has 26214400 bytes, and 25165824 when it was fenced" in ended["error"]["message"], ended
    assert images(lab, THERE, vm) == [] and leftovers(lab, THERE) == [] and leftovers(lab, HERE) == []
    assert defined_on(lab, HOSTS, vm) == [HERE]
    assert lab.exec(HERE, "sh", "-c", f"head -c 24M {POOL}/{vm}.raw | sha256sum").stdout.split()[0] == data


def test_fault_30_what_is_fenced_is_what_is_copied(lab, vm):
    """A disk that grows after the plan and before the fence arrives as long as it has become."""
    new_vm(lab, vm)
    faults = Faults(lab, HERE)
    faults.set("agent.step.move_fence.intent", "hold")
    ident = start_move(lab, vm, THERE)
    wait_for("before the fence", 20, lambda: faults.held("agent.step.move_fence.intent"))
    data = lab.exec(HERE, "sh", "-c", f"truncate -s +1M {POOL}/{vm}.raw && sha256sum {POOL}/{vm}.raw").stdout.split()[0]
    faults.clear()
    assert wait_job(lab, ident)["state"] == "done"
    assert lab.exec(THERE, "sha256sum", f"{POOL}/{vm}.raw").stdout.split()[0] == data
