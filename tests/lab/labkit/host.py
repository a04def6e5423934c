# SPDX-License-Identifier: LGPL-2.1-or-later
"""A KVM host of the lab: its directories, and its libvirtd and virtlogd."""

import os
import shutil
import socket

from labkit import enter, image
from labkit.enter import Service, wait_for
from labkit.furnish import BOOT, private_dirs
from labkit.shell import Failure

POOL = "/var/lib/libvirt/images"

QEMU_CONF = """\
user = "root"
group = "root"
security_driver = "none"
cgroup_controllers = []
namespaces = []
remember_owner = 0
dynamic_ownership = 0
"""

LIBVIRTD_CONF = """\
host_uuid = "{uuid}"
auth_unix_rw = "none"
auth_unix_ro = "none"
log_level = 3
log_outputs = "3:stderr"
"""

VIRTLOGD_CONF = """\
log_level = 3
log_outputs = "3:stderr"
"""

POOL_XML = """\
<pool type='dir'>
  <name>default</name>
  <uuid>{uuid}</uuid>
  <target><path>{path}</path></target>
</pool>
"""


def prepare(lab, node):
    """Make the node's directories, before its namespaces exist."""
    for path in private_dirs(node):
        lab.root_dir(node, path).mkdir(parents=True)
    if not node.is_host:
        return
    etc = lab.root_dir(node, "/etc/libvirt")
    (etc / "storage/autostart").mkdir(parents=True)
    (etc / "qemu.conf").write_text(QEMU_CONF)
    (etc / "libvirtd.conf").write_text(LIBVIRTD_CONF.format(uuid=lab.uuid_of(node.name)))
    (etc / "virtlogd.conf").write_text(VIRTLOGD_CONF)
    (etc / "storage/default.xml").write_text(POOL_XML.format(uuid=lab.uuid_of(f"{node.name} pool"), path=POOL))
    (etc / "storage/autostart/default.xml").symlink_to("/etc/libvirt/storage/default.xml")
    for path in (POOL, BOOT, "/var/log/libvirt/qemu"):
        lab.root_dir(node, path).mkdir(parents=True)
    if capabilities_cache().is_dir():
        shutil.copytree(capabilities_cache(), lab.root_dir(node, "/var/cache/libvirt/qemu/capabilities"))


def capabilities_cache():
    """What libvirt found out about QEMU, kept from an earlier lab: asking QEMU again takes a second a host."""
    return image.cache_dir() / "libvirt-capabilities"


def keep_capabilities(lab, node):
    """Keep what this host's libvirt found out, if it is news. libvirt itself judges whether it still holds."""
    found = lab.root_dir(node, "/var/cache/libvirt/qemu/capabilities")
    fresh = {f.name: f.read_bytes() for f in found.glob("*.xml")}
    kept = {f.name: f.read_bytes() for f in capabilities_cache().glob("*.xml")}
    if not fresh or fresh == kept:
        return
    capabilities_cache().mkdir(exist_ok=True)
    for name, content in fresh.items():
        temporary = capabilities_cache() / f".{name}.{os.getpid()}"
        temporary.write_bytes(content)
        temporary.rename(capabilities_cache() / name)


def virtlogd(lab, node):
    return Service(lab, node, "virtlogd", ["virtlogd"])


def libvirtd(lab, node):
    return Service(lab, node, "libvirtd", ["libvirtd"])


def start_libvirt(lab, node):
    """Start what is not running of virtlogd and libvirtd, and wait until libvirtd answers."""
    for service in (virtlogd(lab, node), libvirtd(lab, node)):
        if not service.alive():
            service.start()
    daemon = libvirtd(lab, node)
    try:
        wait_for(f"{node.name}: libvirtd", 30, lambda: listens(node, "/run/libvirt/libvirt-sock"), 0.03)
        wait_for(f"{node.name}: libvirt's pool 'default'", 30, lambda: pool_active(node), 0.05)
    except Failure as failure:
        raise Failure(f"{failure}\n{daemon.tail()}") from None


def listens(node, path):
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(f"/proc/{node.init.pid}/root{path}")
            return True
        except OSError:
            return False


def pool_active(node):
    return "default" in enter.attempt(node, "virsh", "-q", "pool-list", "--name").stdout.split()


def virsh(node, *arguments):
    return enter.run(node, "virsh", "-q", *arguments)


def qemu_pid(node, name):
    """The process of a running guest, as the host counts."""
    done = enter.attempt(node, "cat", f"/run/libvirt/qemu/{name}.pid")
    if done.returncode != 0:
        raise Failure(f"{node.name}: no guest '{name}' is running")
    return int(done.stdout)


def cut_power(node):
    """Kill every process of the node at once, and forget what only lived in its memory."""
    enter.attempt(node, "sh", "-c", "kill -s KILL -- -1")
    wait_for(f"{node.name}: its processes", 10, lambda: processes(node) == ["1"], 0.01)
    enter.attempt(node, "find", "/run", "/dev/shm", "-mindepth", "1", "-delete")


def processes(node):
    return [p for p in os.listdir(f"/proc/{node.init.pid}/root/proc") if p.isdigit()]
