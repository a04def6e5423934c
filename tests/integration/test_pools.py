# SPDX-License-Identifier: LGPL-2.1-or-later
"""Pools that libvirt mounts itself: of type fs, from a device of the host, and netfs, from a server.

No server is asked here: a file system that is mounted under the name of a server's directory is, for libvirt, the one that it would
have mounted. It lives in memory, which has no direct I/O, so a copy must fall back.
"""

import hashlib
import json

import pytest

from conftest import lab_name
from fleet import POOL, defined_on, domain_xml, define, disk_xml, images, job, known, leftovers, place, undefine
from labclient import DroverError, Lab, wait_for

ONE, OTHER = "lyon/kvm1", "nantes/kvm1"
HOSTS = (ONE, OTHER)
MIB = 1 << 20
STORE, SHARE = "/var/lib/libvirt/images/store.ext4", "nas.example:/export/vms"
TARGET = "/srv/wide"


@pytest.fixture(scope="module")
def lab(request):
    with Lab(lab_name(request)) as made:
        yield made.up(hosts=",".join(HOSTS))


def fs(lab):
    """A pool of type fs, mounted by libvirt."""
    lab.exec(OTHER, "truncate", "-s", "600M", STORE)
    lab.exec(OTHER, "mkfs.ext4", "-q", "-F", STORE)
    device = lab.exec(OTHER, "losetup", "--find", "--show", STORE).stdout.strip()
    return ["fs", "--source-dev", device, "--source-format", "ext4"]


def netfs(lab):
    """A pool of type netfs, which libvirt finds mounted."""
    lab.exec(OTHER, "mkdir", "-p", TARGET)
    lab.exec(OTHER, "mount", "-t", "tmpfs", "-o", "size=600M", SHARE, TARGET)
    host, folder = SHARE.split(":")
    return ["netfs", "--source-host", host, "--source-path", folder, "--source-format", "nfs"]


@pytest.fixture(params=[fs, netfs], ids=["fs", "netfs"])
def pool(lab, request):
    lab.virsh(OTHER, "pool-define-as", "wide", *request.param(lab), "--target", TARGET)
    lab.exec(OTHER, "mkdir", "-p", TARGET)
    lab.virsh(OTHER, "pool-start", "wide")
    wait_for("the pool in the inventory", 10, lambda: any(p["name"] == "wide" for p in lab.drover("host", "show", OTHER)["pools"]))
    yield request.param.__name__
    lab.run_drover("vm", "purge", "--all", "--yes")
    lab.virsh(OTHER, "pool-destroy", "wide")
    lab.virsh(OTHER, "pool-undefine", "wide")
    lab.exec(OTHER, "sh", "-c", f"umount {TARGET} 2>/dev/null; losetup -j {STORE} | cut -d: -f1 | xargs -r losetup -d; rm -f {STORE}")


def content():
    return hashlib.shake_256(b"pools").digest(2 * MIB) + bytes(MIB) + hashlib.shake_256(b"end").digest(MIB + 5 * 512)


def read(lab, host, path):
    """What lies on a file system that only the host has mounted, too."""
    lab.exec(host, "cp", path, "/var/lib/drover/seen")
    with open(lab.file(host, "/var/lib/drover/seen"), "rb") as file:
        return file.read()


def test_a_vm_moves_into_a_pool_that_libvirt_mounts_and_out_of_it(lab, pool):
    name = f"erp-{pool}"
    path = f"{POOL}/{name}.raw"
    with open(lab.file(ONE, path), "wb") as file:
        file.write(content())
    lab.virsh(ONE, "pool-refresh", "default")
    define(lab, ONE, domain_xml(name, disk_xml(path, format="raw")))
    known(lab, name)

    there = job(lab, lab.drover("vm", "move", name, OTHER, "--pool", "wide", "--verify", "read-back")["id"])
    assert there["state"] == "done"
    wait_for("it is there", 10, lambda: place(known(lab, name)) == OTHER)
    disk = known(lab, name)["disks"][0]
    assert disk["path"].startswith(f"{TARGET}/") and disk["pool"] == "wide"
    assert read(lab, OTHER, disk["path"]) == content()

    clone = lab.drover("vm", "clone", name, f"{OTHER}/{name}-too")
    assert read(lab, OTHER, known(lab, f"{name}-too")["disks"][0]["path"]) == content(), clone
    undefine(lab, OTHER, f"{name}-too")

    back = job(lab, lab.drover("vm", "move", name, ONE, "--pool", "default")["id"])
    assert back["state"] == "done"
    assert defined_on(lab, HOSTS, name) == [ONE]
    assert read(lab, ONE, known(lab, name)["disks"][0]["path"]) == content()
    lab.drover("vm", "purge", "--all", "--yes")
    assert leftovers(lab, ONE) == leftovers(lab, OTHER) == []
    undefine(lab, ONE, name)
    lab.exec(ONE, "sh", "-c", f"rm -f {POOL}/{name}*")
    assert images(lab, ONE, name) == []


@pytest.fixture
def small(lab):
    """A pool of a few hundred MiB at the other host; what of it is free."""
    lab.pool(OTHER, "small", kind="xfs", size="640M")
    yield wait_for("the pool in the inventory", 70, lambda: next((p for p in lab.drover("host", "show", OTHER)["pools"] if p["name"] == "small"), None))
    lab.run_drover("vm", "purge", "--all", "--yes")
    for name in ("small-fits", "small-too", "small-clone"):
        undefine(lab, ONE, name)
        undefine(lab, OTHER, name)
    lab.pool_remove(OTHER, "small")


def new_vm(lab, name, size):
    path = f"{POOL}/{name}.raw"
    with open(lab.file(ONE, path), "wb") as file:
        file.truncate(size)
    undefine(lab, ONE, name)
    lab.virsh(ONE, "pool-refresh", "default")
    define(lab, ONE, domain_xml(name, disk_xml(path, format="raw")))
    wait_for("it is known with its disk", 10, lambda: known(lab, name)["disks"][0]["capacity_bytes"] == size)


def refusals(lab, *words):
    done = lab.run_drover(*words, "--pool", "small", "--plan", "-o", "json")
    plan = json.loads(done.stdout)
    return {p["vm"]: [r["message"] for r in p["refusals"]] for p in plan.get("plans", [plan])}


def test_fault_71_what_a_host_keeps_free_of_a_pool_is_known_before_a_job_begins(lab, small):
    spare, free = small["spare_bytes"], small["available_bytes"]
    assert spare == 256 * MIB < free
    kept = "of which 256.0 MiB stay free for the VMs there"
    new_vm(lab, "small-too", free - spare + MIB)
    new_vm(lab, "small-fits", free - spare - 8 * MIB)
    jobs = len(lab.drover("job", "list"))
    with pytest.raises(DroverError) as caught:
        lab.drover("vm", "move", "small-too", OTHER, "--pool", "small")
    assert caught.value.exit == 7 and kept in caught.value.error["message"], caught.value
    with pytest.raises(DroverError) as caught:
        lab.drover("vm", "clone", "small-too", f"{OTHER}/small-clone", "--pool", "small")
    assert caught.value.exit == 7 and kept in caught.value.error["message"], caught.value
    assert len(lab.drover("job", "list")) == jobs, "what is refused is no job"

    # Each by itself would fit; the first one takes what the second one needs.
    new_vm(lab, "small-too", 64 * MIB)
    said = refusals(lab, "vm", "move", "small-*", OTHER)
    assert said["small-fits"] == [] and "and 256.0 MiB stay free" in said["small-too"][0], said

    assert job(lab, lab.drover("vm", "move", "small-fits", OTHER, "--pool", "small")["id"])["state"] == "done"
    wait_for("it is there", 10, lambda: place(known(lab, "small-fits")) == OTHER)
    # It takes next to nothing yet, so there is room beside it, at its own host too.
    assert refusals(lab, "vm", "clone", "small-too", f"{OTHER}/small-clone") == {"small-too": []}
    assert job(lab, lab.drover("vm", "clone", "small-fits", f"{OTHER}/small-clone", "--pool", "small")["id"])["state"] == "done"
