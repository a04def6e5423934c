# SPDX-License-Identifier: LGPL-2.1-or-later
"""The image that every figure refers to: a 10 GiB qcow2 with an ext4 file system filled from /usr, 2.4 GiB allocated."""

import os
import shutil
import subprocess
from pathlib import Path

CACHE = Path(os.environ.get("DROVER_LAB_CACHE", "/var/cache/drover-lab"))
WANTED = 2400 << 20


def fill(source, target, limit):
    """Copy files of `source` in a fixed order until they take `limit` bytes; directories keep their names."""
    taken = 0
    for folder, folders, names in os.walk(source):
        folders.sort()
        for name in sorted(names):
            path = Path(folder) / name
            if path.is_symlink() or not path.is_file():
                continue
            size = path.stat().st_size
            if taken + size > limit:
                return taken
            copy = target / path.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
            taken += size
    return taken


def make():
    """The image's path; made once and kept in the cache."""
    image = CACHE / "bench-10g.qcow2"
    if image.exists():
        return image
    CACHE.mkdir(parents=True, exist_ok=True)
    work = CACHE / f"bench.{os.getpid()}"
    content, raw = work / "content", work / "disk.raw"
    content.mkdir(parents=True)
    try:
        taken, turn = 0, 0
        while taken < WANTED - (64 << 20) and turn < 20:  # a small /usr goes in several times
            taken += fill(Path("/usr"), content / str(turn), WANTED - (60 << 20) - taken)
            turn += 1
        with open(raw, "wb") as file:
            file.truncate(10 << 30)
        subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-d", content, raw], check=True)
        subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, work / "disk.qcow2"], check=True)
        (work / "disk.qcow2").rename(image)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return image
