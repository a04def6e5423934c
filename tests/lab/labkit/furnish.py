# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a node sees: the machine's file system with the directories of a host of its own laid over it.

Runs in the node's first process, in fresh mount and host-name namespaces. The files laid over it are kept in the lab's
directory, so that the node's disks are on a real file system (O_DIRECT, fsync) and can be looked at from outside.
"""

import os
import socket
from pathlib import Path

from labkit import space

LIBVIRT_DIRS = ["/etc/libvirt", "/var/lib/libvirt", "/var/log/libvirt", "/var/cache/libvirt"]
DROVER_DIRS = ["/etc/drover", "/var/lib/drover"]
BOOT = "/var/lib/libvirt/boot"


def private_dirs(node):
    if node.is_host:
        return LIBVIRT_DIRS + DROVER_DIRS
    return DROVER_DIRS if node.name == "controller" else []


def furnish(lab, node, boot):
    socket.sethostname(node.hostname)
    space.mount("proc", "/proc", "proc")
    if node.name == "backbone":
        return
    open_etc_and_var_lib(lab)
    name_machine(lab, node)
    space.mount("sysfs", "/sys", "sysfs")
    space.mount("tmpfs", "/run", "tmpfs", options="mode=755")
    space.mount("tmpfs", "/dev/shm", "tmpfs", options="mode=1777")
    for path in private_dirs(node):
        Path(path).mkdir(parents=True, exist_ok=True)
        space.bind(lab.root_dir(node, path), path)
    if node.is_host:
        space.bind(boot, BOOT, read_only=True)
        if lab.accelerator == "tcg" and os.path.exists("/dev/kvm"):
            hide_kvm(lab, node)


def hide_kvm(lab, node):
    """Put a file there that nobody may write: QEMU cannot use it, and libvirt does not ask again and again."""
    stand_in = lab.node_dir(node) / "no-kvm"
    stand_in.touch()
    space.bind(stand_in, "/dev/kvm", read_only=True)


def open_etc_and_var_lib(lab):
    """Let this node make files and mount points in /etc and /var/lib that nobody else sees.

    The lab's own directory may be below /var/lib: it is bound back, so that what is written there is shared.
    """
    outside = os.open(lab.dir, os.O_PATH)
    space.mount("tmpfs", "/mnt", "tmpfs")
    for path in ("/etc", "/var/lib"):
        layer = Path("/mnt") / path.strip("/").replace("/", "-")
        for part in ("upper", "work"):
            (layer / part).mkdir(parents=True)
        space.mount("overlay", path, "overlay", options=f"lowerdir={path},upperdir={layer}/upper,workdir={layer}/work")
    space.unmount("/mnt")
    space.bind(f"/proc/self/fd/{outside}", lab.dir)
    os.close(outside)


def name_machine(lab, node):
    write("/etc/machine-id", f"{lab.uuid_of(node.name).hex}\n")
    write("/etc/hostname", f"{node.hostname}\n")
    write("/etc/hosts", f"127.0.0.1 localhost\n127.0.1.1 {node.hostname}\n{lab.controller_address} controller\n")
    write("/etc/resolv.conf", "")


def write(path, text):
    """Replace a file, also where it is a link to somewhere that the node does not have."""
    target = Path(path)
    target.unlink(missing_ok=True)
    target.write_text(text)
