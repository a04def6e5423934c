# SPDX-License-Identifier: LGPL-2.1-or-later
"""What keeps the images under a clone as they are: QEMU's own locks while they are read, a flag while clones are laid over them."""

import os
from pathlib import Path

import pytest

from conftest import lab_name
from fleet import POOL, define, disk_xml, domain_xml, find, known, leftovers, undefine, wait_job
from labclient import Lab, wait_for

ONE, OTHER = "lyon/kvm1", "nantes/kvm1"


@pytest.fixture(scope="module")
def lab(request):
    with Lab(lab_name(request)) as made:
        made.up(hosts=f"{ONE},{OTHER}")
        Path(made.file(ONE, f"{POOL}/erp.raw")).write_bytes(os.urandom(24 << 20))
        define(made, ONE, domain_xml("erp", disk_xml(f"{POOL}/erp.raw", format="raw")))
        wait_for("erp is known with its disk", 15, lambda: known(made, "erp")["disks"])
        yield made


def start(lab, name):
    return lab.exec(ONE, "virsh", "start", name, check=False)


def test_while_an_image_is_read_qemu_does_not_open_it_to_write(lab):
    ident = lab.drover("vm", "clone", "erp", f"{OTHER}/web", "--rate", "8Mbit", "--detach")["id"]
    wait_for("bytes flow", 20, lambda: any(t.get("bytes_wire") for t in lab.drover("job", "show", ident)["transfers"]))
    refused = start(lab, "erp")
    assert refused.returncode != 0 and 'Failed to get "write" lock' in refused.stderr and "erp.raw" in refused.stderr
    lab.drover("job", "cancel", ident)
    assert wait_job(lab, ident)["state"] == "cancelled"
    assert start(lab, "erp").returncode == 0  # nothing is left of the lock
    lab.virsh(ONE, "destroy", "erp")
    wait_for("the clone is forgotten", 15, lambda: not find(lab, "web"))
    assert leftovers(lab, OTHER) == []


def test_what_clones_are_laid_over_is_read_by_all_and_written_by_none(lab):
    wait_for("erp is known to be off", 15, lambda: known(lab, "erp")["state"] == "shut off")
    for name in ("web-1", "web-2"):
        assert lab.drover("vm", "clone", "erp", f"{ONE}/{name}", "--linked")["state"] == "done"
    image = Path(lab.file(ONE, f"{POOL}/erp.raw"))
    before = image.stat().st_mtime_ns
    for name in ("web-1", "web-2"):
        started = start(lab, name)
        assert started.returncode == 0, started.stderr
    assert start(lab, "erp").returncode != 0
    with pytest.raises(PermissionError):
        image.open("r+b")
    assert image.stat().st_mtime_ns == before
    for name in ("web-1", "web-2"):
        lab.virsh(ONE, "destroy", name)
    undefine(lab, ONE, "web-1", "web-2")
    lab.exec(ONE, "chattr", "-i", f"{POOL}/erp.raw")
    assert start(lab, "erp").returncode == 0
    lab.virsh(ONE, "destroy", "erp")


def test_a_clone_on_one_host_may_have_another_format(lab):
    wait_for("erp is known to be off", 15, lambda: known(lab, "erp")["state"] == "shut off")
    assert lab.drover("vm", "clone", "erp", f"{ONE}/web-3", "--format", "qcow2")["state"] == "done"
    disk = known(lab, "web-3")["disks"][0]
    assert disk["format"] == "qcow2"
    lab.exec(ONE, "qemu-img", "compare", "-f", "raw", "-F", "qcow2", f"{POOL}/erp.raw", f"{POOL}/{disk['volume']}")
    undefine(lab, ONE, "web-3")
    assert leftovers(lab, ONE) == []
