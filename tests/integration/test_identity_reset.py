# SPDX-License-Identifier: LGPL-2.1-or-later
"""A clone's guest made to forget who it was, by virt-sysprep in a small virtual machine; and a guest that cannot be opened.

Both at once, since each boots a machine: a minute or two without hardware virtualisation.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from conftest import lab_name
from fleet import POOL, define, disk_xml, domain_xml, find, images, known, leftovers, wait_job
from labclient import Lab, wait_for
from labkit import image
from labkit.shell import Failure

ONE, OTHER = "lyon/kvm1", "nantes/kvm1"
OLD_ID = "0123456789abcdef0123456789abcdef"
GUEST = {
    "etc/os-release": 'NAME="Debian GNU/Linux"\nID=debian\nVERSION_ID="12"\n',
    "etc/debian_version": "12.5\n",
    "etc/fstab": "/dev/vda / ext4 defaults 0 1\n",
    "etc/machine-id": OLD_ID + "\n",
    "etc/hostname": "template\n",
    "etc/hosts": "127.0.0.1 localhost\n",
    "etc/ssh/ssh_host_ed25519_key": "secret\n",
    "etc/udev/rules.d/70-persistent-net.rules": 'ATTR{address}=="52:54:00:00:00:01", NAME="eth0"\n',
    "etc/systemd/network/10-anaconda-ifname-lan0.link": "[Match]\nMACAddress=52:54:00:00:00:01\n",
    "etc/systemd/network/lan.network": "[Match]\nName=lan0\n",
    "var/lib/dbus/machine-id": OLD_ID + "\n",
    "home/kept": "what its users made\n",
}
EMPTY = ("bin", "sbin", "usr/bin", "usr/lib", "var/lib/dhcp", "var/tmp", "tmp", "boot", "dev", "proc", "sys", "root", "run")


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    """What libguestfs needs to boot its machine, as environment: this host has no kernel of its own."""
    for program in ("virt-sysprep", "supermin"):
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed: apt install libguestfs-tools")
    try:
        package = image.kernel_package()
    except Failure as error:
        pytest.skip(f"no kernel to be had: {error}")
    into = tmp_path_factory.mktemp("kernel")
    into.chmod(0o755)
    shutil.copytree(package / "boot", into / "boot")
    shutil.copytree(package / "lib", into / "lib")
    version = next((into / "lib" / "modules").iterdir()).name
    subprocess.run(["/sbin/depmod", "-b", into, version], check=True)
    made = not os.path.isdir("/lib/modules")  # it looks there in any case
    if made:
        os.mkdir("/lib/modules")
    yield {"SUPERMIN_KERNEL": str(into / "boot" / f"vmlinuz-{version}"), "SUPERMIN_MODULES": str(into / "lib" / "modules" / version),
           **({"LIBGUESTFS_BACKEND_SETTINGS": "force_tcg"} if image.accelerator() == "tcg" else {})}
    if made:
        os.rmdir("/lib/modules")


@pytest.fixture(scope="module")
def lab(request, kernel):
    with Lab(lab_name(request)) as made:
        made.up(hosts=f"{ONE},{OTHER}", **kernel)
        yield made


def make_guest(lab, tree):
    """An image as raw as it gets: a file system with just enough in it to be taken for a Debian."""
    for name in EMPTY:
        (tree / name).mkdir(parents=True, exist_ok=True)
    for name, text in GUEST.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)
    path = Path(lab.file(ONE, f"{POOL}/template.raw"))
    with open(path, "wb") as disk:
        disk.truncate(64 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-d", tree, path], check=True)


def read(path, name):
    """What the guest has under this name, None when it has nothing."""
    done = subprocess.run(["debugfs", "-R", f"cat /{name}", path], capture_output=True, text=True, check=True)
    return None if "File not found" in done.stderr else done.stdout


@pytest.fixture(scope="module")
def jobs(lab, tmp_path_factory):
    make_guest(lab, tmp_path_factory.mktemp("guest"))
    define(lab, ONE, domain_xml("template", disk_xml(f"{POOL}/template.raw", format="raw")))
    lab.exec(ONE, "qemu-img", "create", "-q", "-f", "qcow2", f"{POOL}/blank.qcow2", "16M")
    define(lab, ONE, domain_xml("blank", disk_xml(f"{POOL}/blank.qcow2")))
    for name in ("template", "blank"):
        wait_for(f"{name} is known with its disk", 15, lambda: known(lab, name)["disks"])
    asked = [lab.drover("vm", "clone", name, f"{OTHER}/web-{name}", "--reset-identity", "--detach")["id"] for name in ("template", "blank")]
    return [wait_job(lab, ident, seconds=600) for ident in asked]


GONE = (
    "etc/ssh/ssh_host_ed25519_key",
    "etc/udev/rules.d/70-persistent-net.rules",
    "etc/systemd/network/10-anaconda-ifname-lan0.link",
    "var/lib/dbus/machine-id",
)
KEPT = ("home/kept", "etc/systemd/network/lan.network", "etc/os-release")


def test_the_guest_forgets_who_it_was_and_keeps_what_is_its_users(lab, jobs):
    assert jobs[0]["state"] == "done", jobs[0]["error"]
    clone = lab.file(OTHER, f"{POOL}/{known(lab, 'web-template')['disks'][0]['volume']}")
    assert read(clone, "etc/machine-id") == ""  # there, and empty: systemd makes one at the first boot
    assert read(clone, "etc/hostname").strip() == "web-template"
    assert {name: read(clone, name) for name in GONE} == dict.fromkeys(GONE)
    assert {name: read(clone, name) for name in KEPT} == {name: GUEST[name] for name in KEPT}
    source = lab.file(ONE, f"{POOL}/template.raw")
    assert {name: read(source, name) for name in GUEST} == GUEST


def test_a_guest_that_cannot_be_opened_is_refused_and_its_clone_undone(lab, jobs):
    assert jobs[1]["state"] == "failed", jobs[1]["error"]
    assert "the guest cannot be changed: no system was found on its disks" in jobs[1]["error"]["message"]
    assert jobs[1]["error"]["hints"] == ["clone it without --reset-identity, and change what must differ in the guest"]
    assert lab.run_drover("job", "follow", jobs[1]["id"]).returncode == 1  # 7 would say that nothing was begun
    wait_for("the clone is forgotten", 15, lambda: not find(lab, "web-blank"))
    assert images(lab, OTHER, "web-blank") == [] and leftovers(lab, OTHER) == []
