# SPDX-License-Identifier: LGPL-2.1-or-later
"""System calls that Python 3.11 lacks: namespaces, mounts and prctl, each raising OSError."""

import ctypes
import os

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY = 1
MS_REMOUNT = 32
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18

PR_SET_PDEATHSIG = 1
PR_SET_NAME = 15

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result, what):
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags):
    _check(_libc.unshare(flags), "unshare")


def setns(handle, kind):
    _check(_libc.setns(handle, kind), "setns")


def enter(path, kind):
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        setns(handle, kind)
    finally:
        os.close(handle)


def prctl(option, value):
    _check(_libc.prctl(option, value, 0, 0, 0), "prctl")


def mount(source, target, kind=None, flags=0, options=None):
    encoded = [None if a is None else str(a).encode() for a in (source, target, kind, options)]
    _check(_libc.mount(encoded[0], encoded[1], encoded[2], ctypes.c_ulong(flags), encoded[3]),
           f"mount {source} at {target}")


def unmount(target):
    _check(_libc.umount2(str(target).encode(), 2), f"unmount {target}")


def bind(source, target, read_only=False):
    mount(source, target, flags=MS_BIND | MS_REC)
    if read_only:
        mount(None, target, flags=MS_BIND | MS_REMOUNT | MS_RDONLY)
