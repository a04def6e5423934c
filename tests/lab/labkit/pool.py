# SPDX-License-Identifier: LGPL-2.1-or-later
"""More pools for a host: file systems of their own on loop devices, whose devices can be made to fail; volume groups of LVM.

The device's file lies in the node's directory, or (--store) on a tmpfs of that size: then writing more than that fails, as on a
thin disk whose store is full. Loop devices are the machine's, and go away with the mount, at the latest with the node.
"""

import re

from labkit import enter, host
from labkit.shell import Failure
from labkit.state import PROJECT

MAKE = {"ext4": ["mkfs.ext4", "-q", "-F", "-m", "0", "-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard", "-O", "^has_journal"],
        "xfs": ["mkfs.xfs", "-q", "-f", "-K", "-l", "size=64m"],
        "btrfs": ["mkfs.btrfs", "-q", "-f", "-K"]}
KINDS = [*MAKE, "lvm"]
LVM = "/usr/sbin/lvm"
MOUNT = {"ext4": "loop,errors=remount-ro", "xfs": "loop", "btrfs": "loop"}


def path_of(name):
    return f"/var/lib/libvirt/{name}"


def store_of(name):
    return f"/run/pool-{name}"


def create(lab, node, name, kind, size, store):
    """A file system of this kind and size, and an active pool `name` of libvirt's on it. lvm: of type logical, on a volume group."""
    if kind == "lvm":
        create_group(node, name, size)
        return
    folder = store_of(name) if store else lab.node_dir(node)
    device, target = f"{folder}/{name}.{kind}", path_of(name)
    if store:
        enter.run(node, "mkdir", "-p", folder)
        enter.run(node, "mount", "-t", "tmpfs", "-o", f"size={store}", "none", folder)
    enter.run(node, "truncate", "-s", size, device)
    enter.run(node, *MAKE[kind], device)
    enter.run(node, "mkdir", "-p", target)
    enter.run(node, "mount", "-o", MOUNT[kind], device, target)
    host.virsh(node, f"pool-define-as {name} dir --target {target}; pool-start {name}; pool-autostart {name}")


def lay_lvm(node):
    """Put ../lvm in the place of LVM's program, which the kernel here can only half serve."""
    state = "/var/lib/libvirt/lab-lvm"
    script = f"mkdir -p {state}/lock {state}/real; mountpoint -q {LVM} || {{ cp -L {LVM} {state}/real/lvm && mount --bind {PROJECT}/tests/lab/lvm {LVM}; }}"
    enter.run(node, "sh", "-c", script)


def create_group(node, name, size):
    lay_lvm(node)
    enter.run(node, "lvm", "lab-make", name, size)
    host.virsh(node, f"pool-define-as {name} logical --source-name {name} --target /dev/{name}; pool-start {name}; pool-autostart {name}")


def remove(lab, node, name):
    """Unmount it and forget it, whatever state it is in."""
    enter.attempt(node, "virsh", "-q", f"pool-destroy {name}; pool-undefine {name}")
    enter.attempt(node, "umount", "-l", path_of(name))
    enter.attempt(node, "umount", "-l", store_of(name))
    enter.attempt(node, "rmdir", path_of(name))
    for kind in MAKE:
        (lab.node_dir(node) / f"{name}.{kind}").unlink(missing_ok=True)


def device_of(node, name):
    """(loop device, its file) of the pool's file system."""
    loop = enter.run(node, "findmnt", "-n", "-o", "SOURCE", path_of(name)).strip()
    return loop, enter.run(node, "losetup", "-n", "-O", "BACK-FILE", loop).strip()


def fail(node, name, how):
    """read-only: ext4 turns so after an error. gone: every access fails from now on. read:VOLUME@BYTES: the device cannot be read
    from where that place of the volume lies."""
    loop, _ = device_of(node, name)
    if how == "read-only":
        enter.run(node, "sh", "-c", f"echo 1 > /sys/fs/ext4/{loop.removeprefix('/dev/')}/trigger_fs_error")
    elif how == "gone":
        enter.run(node, "xfs_io", "-x", "-c", "shutdown", path_of(name))
    elif found := re.fullmatch(r"read:([^/@]+)@(\d+)", how):
        cut_device(node, name, found.group(1), int(found.group(2)))
    else:
        raise Failure(f"{how!r}: it is read-only, gone, or read:VOLUME@BYTES")


def cut_device(node, name, volume, offset):
    """Cut the device's file short where the volume's byte at `offset` lies; what comes after it cannot be read any more."""
    _, backing = device_of(node, name)
    enter.run(node, "sync", "-f", path_of(name))
    listing = enter.run(node, "filefrag", "-e", "-b1", f"{path_of(name)}/{volume}")
    extents = [tuple(map(int, e)) for e in re.findall(r"^\s*\d+:\s*(\d+)\.\.\s*(\d+):\s*(\d+)\.\.\s*\d+:", listing, re.M)]
    for begin, end, physical in extents:
        if begin <= offset <= end:
            enter.run(node, "truncate", "-s", physical + offset - begin, backing)
            enter.run(node, "sh", "-c", "echo 1 > /proc/sys/vm/drop_caches")
            return
    raise Failure(f"{volume} holds nothing at {offset}")
