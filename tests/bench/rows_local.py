# SPDX-License-Identifier: LGPL-2.1-or-later
"""Rows of what should cost nothing: a clone where the file system shares blocks, and a terabyte that holds nothing."""

import time

from fleet import known
from labclient import wait_for
from scene import BESIDE, HERE, drop_caches, told
from table import row

TERABYTE, GIGABYTE = 1 << 40, 1 << 30


def with_pool(scene, hosts, size):
    """An XFS of that size, which shares blocks, as a pool on each of the hosts; its path."""
    for host in hosts:
        path = scene.lab.pool(host, "wide", kind="xfs", size=size)
        wait_for("the pool in the inventory", 70, lambda host=host: any(p["name"] == "wide" for p in scene.lab.drover("host", "show", host)["pools"]))
    return path


def without_pool(scene, hosts):
    for host in hosts:
        scene.lab.pool_remove(host, "wide")


def reflink(scene):
    folder = with_pool(scene, [HERE], "30G")
    times = []
    try:
        scene.lab.exec(HERE, "cp", "--sparse=always", scene.image, f"{folder}/template.qcow2")
        scene.define(HERE, "template", f"{folder}/template.qcow2")
        for n in range(scene.runs):
            drop_caches()
            begun = time.monotonic()
            scene.lab.drover("vm", "clone", "template", f"{HERE}/copy-{n}", "--pool", "wide", timeout=600)
            times.append(time.monotonic() - begun)
            scene.forget(HERE, f"copy-{n}", known(scene.lab, f"copy-{n}")["disks"][0]["path"])
    finally:
        scene.forget(HERE, "template", f"{folder}/template.qcow2")
        without_pool(scene, [HERE])
    return [row("clone on one host, blocks shared, 10 GiB", times, "s", 1)]


def make_raw(scene, path, length, parts, nth):
    """A raw image of that length with 1 GiB in it, in so many parts spread over it: the nth of the bench's image, every byte exchanged for
    another, for what the target has in an image already is not sent."""
    script = f"""import os
source, target = open({str(scene.image)!r}, 'rb'), open({path!r}, 'wb')
target.truncate({length})
source.seek({nth * GIGABYTE})
other = bytes((n + {nth}) % 255 + 1 if n else 0 for n in range(256))
for n in range({parts}):
    target.seek({length} // {parts} * n)
    target.write(source.read({GIGABYTE} // {parts}).translate(other))
os.fsync(target.fileno())"""
    scene.lab.exec(HERE, "python3", "-c", script)


def sparse(scene):
    hosts = (HERE, BESIDE)
    folder = with_pool(scene, hosts, "3T")
    moves = {"small": [], "vast": []}
    try:
        make_raw(scene, f"{folder}/small.raw", GIGABYTE, 16, 0)
        make_raw(scene, f"{folder}/vast.raw", TERABYTE, 16, 1)
        for name in moves:
            scene.define(HERE, name, f"{folder}/{name}.raw", format="raw")
        for n in range(scene.runs):
            for name, made in moves.items():
                made.append(scene.move(hosts[(n + 1) % 2], "--pool", "wide", vm=name))
                scene.purge()
        for name in moves:
            where = hosts[scene.runs % 2]
            scene.forget(where, name, f"{folder}/{name}.raw")
    finally:
        without_pool(scene, hosts)
    seconds = {name: [m.transfer for m in made] for name, made in moves.items()}
    return [row("1 TiB that holds 1 GiB", seconds["vast"], "s", 1.1, "an image of 1 GiB", seconds["small"], transfers=told(moves["vast"]), beside=told(moves["small"]))]
