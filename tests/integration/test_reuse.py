# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the target has already does not travel: images that hold the same content, found by that and hashed again before they are used."""

import hashlib
import os
import random
from pathlib import Path

import pytest

from conftest import lab_name
from fleet import POOL, job, known, leftovers, place, start_move, wait_job
from labclient import Lab, wait_for

HOSTS = ("lyon/kvm1", "nantes/kvm1")
SIZE = 48 << 20
GRAIN = 4096


@pytest.fixture(scope="module")
def lab(request):
    with Lab(lab_name(request)) as made:
        yield made.up(hosts=",".join(HOSTS))


def image_of(lab, host, name):
    return Path(lab.file(host, f"{POOL}/{name}"))


def differ(content, share, unit=GRAIN):
    """The same but for this share of its units, at places that are the same in each run."""
    content, places = bytearray(content), random.Random(7)
    for n in places.sample(range(len(content) // unit), int(len(content) // unit * share)):
        content[n * unit:(n + 1) * unit] = os.urandom(unit)
    return bytes(content)


@pytest.fixture
def vm(lab, request):
    """A VM that is off, whose raw disk holds noise: its name and its content."""
    name = request.node.name.replace("test_", "").replace("_", "-")[:30].strip("-")
    lab.guest("lyon/kvm1", name, "--off", disk="48M", format="raw")
    content = os.urandom(SIZE)
    image_of(lab, "lyon/kvm1", f"{name}.raw").write_bytes(content)
    known(lab, name)
    yield name, content
    for host in HOSTS:
        if name in lab.virsh(host, "list", "--all", "--name").split():
            lab.exec(host, "virsh", "undefine", name, check=False)
        lab.exec(host, "sh", "-c", f"rm -f {POOL}/{name}* {POOL}/other*", check=False)
    lab.run_drover("vm", "purge", "--all", "--yes")


def test_a_vm_that_comes_back_brings_only_what_has_changed(lab, vm):
    name, content = vm
    lab.drover("vm", "move", name, "nantes/kvm1")
    changed = differ(content, 0.02)
    image_of(lab, "nantes/kvm1", f"{name}.raw").write_bytes(changed)
    (transfer,) = lab.drover("vm", "move", name, "lyon/kvm1", "--rate", "100Mbit")["transfers"]
    assert place(known(lab, name)) == "lyon/kvm1"
    assert image_of(lab, "lyon/kvm1", f"{name}.raw").read_bytes() == changed
    assert transfer["bytes_wire"] < 0.04 * SIZE and transfer["bytes_reused"] > 0.97 * SIZE
    assert transfer["bytes_done"] == SIZE


def test_an_image_that_lived_apart_gives_what_is_still_the_same(lab, vm):
    name, content = vm
    image_of(lab, "nantes/kvm1", "other.raw").write_bytes(differ(content, 0.05))
    (transfer,) = lab.drover("vm", "move", name, "nantes/kvm1", "--rate", "100Mbit")["transfers"]
    assert image_of(lab, "nantes/kvm1", f"{name}.raw").read_bytes() == content
    assert transfer["bytes_wire"] < 0.08 * SIZE and transfer["bytes_reused"] > 0.94 * SIZE


def test_a_slow_link_is_noticed_without_a_rate(lab, vm):
    name, content = vm
    image_of(lab, "nantes/kvm1", "other.raw").write_bytes(content)
    lab.link("lyon", rate="100mbit")
    try:
        (transfer,) = lab.drover("vm", "move", name, "nantes/kvm1")["transfers"]
    finally:
        lab.link("lyon", rate="none")
    assert image_of(lab, "nantes/kvm1", f"{name}.raw").read_bytes() == content
    assert transfer["bytes_reused"] > 0.5 * SIZE


def test_an_image_that_is_overwritten_meanwhile_harms_nothing(lab, vm):
    name, content = vm
    other = image_of(lab, "nantes/kvm1", "other.raw")
    other.write_bytes(differ(content, 0.3, 65536))
    ident = start_move(lab, name, "nantes/kvm1", "--rate", "30Mbit")
    wait_for("something is reused", 20, lambda: any(t.get("bytes_reused") for t in job(lab, ident)["transfers"]))
    with other.open("r+b") as file:
        for n in range(0, SIZE, 3 * GRAIN):
            file.seek(n)
            file.write(os.urandom(GRAIN))
        file.truncate(SIZE // 2)
    assert wait_job(lab, ident)["state"] == "done"
    now = image_of(lab, "nantes/kvm1", f"{name}.raw").read_bytes()
    assert hashlib.sha256(now).digest() == hashlib.sha256(content).digest()
    assert leftovers(lab, "nantes/kvm1") == []


def test_fault_49_a_link_in_the_pool_is_not_looked_into(lab, vm):
    name, content = vm
    secret = image_of(lab, "nantes/kvm1", "../secret.raw")
    secret.write_bytes(content)
    lab.exec("nantes/kvm1", "ln", "-s", "../secret.raw", f"{POOL}/other.raw")
    (transfer,) = lab.drover("vm", "move", name, "nantes/kvm1", "--rate", "200Mbit")["transfers"]
    assert image_of(lab, "nantes/kvm1", f"{name}.raw").read_bytes() == content
    assert transfer["bytes_reused"] == 0
    secret.unlink()
