# SPDX-License-Identifier: LGPL-2.1-or-later
"""The image that every figure refers to: a 10 GiB qcow2 with an ext4 file system filled from /usr, 2.4 GiB allocated. And what a
guest makes of it when it has run for a while. And the two disks of half its size, of one VM or of two."""

import itertools
import json
import os
import random
import shutil
import subprocess
from pathlib import Path

CACHE = Path(os.environ.get("DROVER_LAB_CACHE", "/var/cache/drover-lab"))
SIZES = {"10g": (2400 << 20, 10 << 30), "quick": (220 << 20, 1 << 30),  # bytes of content, bytes of disk
         "half": (1200 << 20, 5 << 30), "quick-half": (140 << 20, 512 << 20)}
ALIEN = 1237  # content comes from where no block, of whatever size, begins


def files(source):
    """Its files, in an order that is always the same."""
    for folder, folders, names in os.walk(source):
        folders.sort()
        for name in sorted(names):
            path = Path(folder) / name
            if not path.is_symlink() and path.is_file():
                yield path


def fill(source, target, limit, first=0, every=1):
    """Copy files of `source` until they take `limit` bytes: from the `first` on, one of `every`. Directories keep their names."""
    taken = 0
    for path in itertools.islice(files(source), first, None, every):
        size = path.stat().st_size
        if taken + size > limit:
            return taken
        copy = target / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
        taken += size
    return taken


def make(quick=False):
    """The image's path; made once and kept in the cache. `quick`: a tenth of it, for trying the bench itself."""
    size = "quick" if quick else "10g"
    return generate(CACHE / f"bench-{size}.qcow2", *SIZES[size])


def make_halves(quick=False):
    """The paths of two images of half that size. Each has every other file, so that they are alike and share nothing."""
    size = "quick-half" if quick else "half"
    return [generate(CACHE / f"bench-{size}-{n + 1}.qcow2", *SIZES[size], first=n, every=2) for n in range(2)]


def generate(image, wanted, length, **files):
    """`image`, unless it is there: a disk of `length` bytes, `wanted` of them allocated."""
    if image.exists():
        return image
    CACHE.mkdir(parents=True, exist_ok=True)
    work = CACHE / f"bench.{os.getpid()}"
    content, raw = work / "content", work / "disk.raw"
    content.mkdir(parents=True)
    try:
        taken, turn = 0, 0
        while taken < wanted - (64 << 20) and turn < 20:  # a small /usr goes in several times
            taken += fill(Path("/usr"), content / str(turn), wanted - (60 << 20) - taken, **files)
            turn += 1
        with open(raw, "wb") as file:
            file.truncate(length)
        subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-d", content, raw], check=True)
        subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, work / "disk.qcow2"], check=True)
        (work / "disk.qcow2").rename(image)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return image


def data_extents(path):
    """(offset in the file, length) of what the qcow2 holds for its guest."""
    done = subprocess.run(["qemu-img", "map", "-f", "qcow2", "--output=json", path], check=True, stdout=subprocess.PIPE)
    return [(e["offset"], e["length"]) for e in json.loads(done.stdout) if e.get("data") and "offset" in e]


def alter(path, fraction, grain, seed):
    """What a guest does while it runs: that part of its blocks of `grain` bytes, anywhere, gets other content. The content is taken
    from elsewhere in the image, so that it compresses like the rest, but not from where a block begins, so that nobody has it."""
    chance = random.Random(seed)
    grains = [offset + at for offset, length in data_extents(path) for at in range(0, length - grain + 1, grain)]
    with open(path, "r+b") as file:
        for offset in chance.sample(grains[:-1], int(len(grains) * fraction)):
            file.seek(chance.choice(grains[:-1]) + ALIEN)
            content = file.read(grain)
            file.seek(offset)
            file.write(content)
        file.flush()
        os.fsync(file.fileno())
