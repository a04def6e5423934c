# SPDX-License-Identifier: LGPL-2.1-or-later
"""Rows of a fast link: nothing limits it but the machine. The VM goes back and forth between two hosts on one switch; before each of
its moves every peer that is asked for copies the same image the same way: from cold caches, or from an image that lies in the page
cache, as that of a VM that has just been stopped does."""

from scene import BESIDE, FAR, HERE
from table import row

PEERS = ("nbdcopy", "scp", "bare")


def lan(scene):
    return in_turn(scene, [name for name in PEERS if f"lan-{name}" in scene.wanted])


def warm(scene):
    scene.cached = True
    try:
        return in_turn(scene, [name for name in PEERS if f"warm-{name}" in scene.wanted])
    finally:
        scene.cached = False


def in_turn(scene, names):
    """Per run: each peer's seconds, and the move."""
    scene.bring(HERE)
    peers, moves = {name: [] for name in names}, []
    scene.move(BESIDE)  # one for nothing: whoever goes first pays for what is new to the machine
    scene.purge()
    for _ in range(scene.runs):
        source = scene.where()
        target = HERE if source == BESIDE else BESIDE
        for name, seconds in peers.items():
            seconds.append(scene.peer(name, source, target))
        moves.append(scene.move(target))
        scene.purge()
    scene.bring(HERE)
    return peers, moves


def beside(scene, name, text, at_most, measure=lan):
    peers, moves = scene.once(measure)
    choices = sorted({m.disk["choice"] for m in moves if m.disk.get("choice")})
    cached = ", image cached" if measure is warm else ""
    return row(f"LAN{cached}, transfer beside {name}", [m.transfer for m in moves], "s", at_most, text, peers[name], choices=choices)


def lan_nbdcopy(scene):
    return [beside(scene, "nbdcopy", "nbdcopy over TLS, flushed", 1 / 3)]


def warm_nbdcopy(scene):
    return [beside(scene, "nbdcopy", "nbdcopy over TLS, flushed", 1 / 3, warm)]


def warm_scp(scene):
    return [beside(scene, "scp", "scp, then fsync", 1 / 4.5, warm)]


def lan_scp(scene):
    return [beside(scene, "scp", "scp, then fsync", 1 / 4.5)]


def lan_bare(scene):
    found = beside(scene, "bare", "pread, TLS 1.3, pwrite, all direct, and nothing else", 1.3)
    found["notes"]["threads"] = scene.bare.threads
    return [found]


def beyond(scene):
    _, moves = scene.once(lan)
    return [row("whole job beyond its transfer", [m.seconds - m.transfer for m in moves], "s", 0.5, whole=[round(m.seconds, 3) for m in moves])]


def relay(scene):
    scene.bring(HERE)
    direct, relayed = [], []
    for _ in range(scene.runs):
        for path, times in (("direct", direct), ("relay", relayed)):
            target = HERE if scene.where() == FAR else FAR
            move = scene.move(target, "--path", path)
            assert move.disk["path"] == path, move.disk
            times.append(move.transfer)
            scene.purge()
    scene.bring(HERE)
    return [row("through the relay, no limit", relayed, "s", 1.2, "the direct path", direct)]


def resident(scene):
    if not scene.resident:
        scene.once(lan)
    return [row("agent in a transfer, resident at most", [max(scene.resident)], "MiB", 96, moves=[round(mib) for mib in scene.resident])]
