# SPDX-License-Identifier: LGPL-2.1-or-later
"""Rows of a line of 100 Mbit/s between the two places. What drover takes is the whole command, what rsync takes its whole copy into
nothing; rsync's time does not depend on what drover finds at the target, so it is measured once for all rows."""

import statistics
import threading
import time

import disk
import image
from fleet import known
from labclient import wait_for
from labkit import link
from scene import FAR, HERE, POOL, SLOW, VM, told
from table import row

RSYNC = "rsync --inplace -z --zc=zstd, into nothing"
CUTS = 10
DOWN_SECONDS = 0.5


def first(scene):
    """Moves into nothing, and rsync in turn with them."""
    theirs, moves = [], []
    for _ in range(scene.runs):
        scene.bring(HERE)
        scene.line(SLOW)
        theirs.append(scene.peer("rsync", HERE, FAR))
        moves.append(scene.move(FAR))
    scene.bring(HERE)
    return theirs, moves


def rsync(scene):
    """rsync's times, of `first` if that was measured."""
    if first in scene.shared or {"slow-first", "cuts"} & scene.wanted:
        return scene.once(first)[0]
    scene.bring(HERE)
    scene.line(SLOW)
    times = [scene.peer("rsync", HERE, FAR) for _ in range(scene.runs)]
    scene.line("none")
    return times


def slow_first(scene):
    theirs, moves = scene.once(first)
    return [row("100 Mbit/s, first copy", [m.seconds for m in moves], "s", 0.95, RSYNC, theirs, transfers=told(moves))]


def with_clone(scene, grain):
    """The target has a clone of the VM, which has lived apart for a while. The moves, and what the disk alone takes."""
    path, moves, least = f"{POOL}/apart.qcow2", [], []
    scene.bring(HERE)
    try:
        for n in range(scene.runs):
            scene.bring(HERE)
            scene.lab.exec(FAR, "cp", "--sparse=always", scene.image, path)
            image.alter(scene.lab.file(FAR, path), 0.05, grain, f"{grain} {n}")
            if n == 0:
                scene.define(FAR, "apart", path)
            scene.lab.virsh(FAR, "pool-refresh", "default")
            scene.line(SLOW)
            least.append(scene.disk_alone(scene.lab.file(FAR, path)))
            moves.append(scene.move(FAR))
    finally:
        scene.bring(HERE)
        scene.forget(FAR, "apart", path)
    return moves, least


def beside_the_disk(name, moves, least):
    """Not asked for, but it tells what a row that is not reached waits for."""
    return row(f"{name}: beside the disk alone", [m.transfer for m in moves], "s", None, "both images read, one written, nothing else", least)


def slow_clone(scene):
    moves, least = with_clone(scene, 64 << 10)
    return [row("100 Mbit/s, a clone there, 5 % differ", [m.seconds for m in moves], "s", 0.10, RSYNC, scene.once(rsync), transfers=told(moves)),
            beside_the_disk("a clone there", moves, least)]


def slow_clone_4k(scene):
    moves, _ = with_clone(scene, 4 << 10)
    return [row("the same, differing by single blocks of 4 KiB", [m.seconds for m in moves], "s", None, RSYNC, scene.once(rsync), transfers=told(moves))]


def slow_back(scene):
    moves, least = [], []
    for n in range(scene.runs):
        scene.bring(HERE)
        scene.bring(FAR, purge=False)
        image.alter(scene.file(), 0.02, 64 << 10, f"day {n}")
        scene.line(SLOW)
        least.append(scene.disk_alone(scene.file()))
        moves.append(scene.move(HERE))
        scene.purge()
    scene.bring(HERE)
    return [row("100 Mbit/s, moved back, 2 % differ", [m.seconds for m in moves], "s", 0.08, RSYNC, scene.once(rsync), transfers=told(moves)),
            beside_the_disk("moved back", moves, least)]


class Cutter(threading.Thread):
    """Cuts the line ten times in `span` seconds, from when the copy runs: by turns it is dead for half a second, which TCP may
    survive, and every connection over it is reset."""

    def __init__(self, scene, span):
        super().__init__(daemon=True)
        self.lab, self.pause = scene.lab, span / (CUTS + 1)
        self.made, self.down = 0, 0.0
        self.over = threading.Event()

    def run(self):
        wait_for("the copy", 30, self.copying)
        while self.made < CUTS and not self.over.wait(self.pause):
            self.made += 1
            if self.made % 2 == 0:
                link.reset(self.lab.plan, "nantes")
                continue
            link.change(self.lab.plan, "nantes", up=False)
            begun = time.monotonic()  # what the changes themselves take counts as time with the line up
            time.sleep(DOWN_SECONDS)
            self.down += time.monotonic() - begun
            link.change(self.lab.plan, "nantes", up=True)

    def copying(self):
        jobs = self.lab.drover("job", "list")
        return jobs and any(t["bytes_done"] for t in self.lab.drover("job", "show", jobs[0]["id"])["transfers"])


def cuts(scene):
    uncut = statistics.median(m.seconds for m in scene.once(first)[1])
    times, twice, notes = [], [], []
    for _ in range(scene.runs):
        scene.bring(HERE)
        scene.line(SLOW)
        cutter = Cutter(scene, uncut)
        move = scene.move(FAR, meanwhile=cutter.start)
        cutter.over.set()
        cutter.join()
        data = move.disk["bytes_total"] - move.disk["bytes_zero"]
        times.append(move.seconds - cutter.down)
        twice.append((move.disk.get("bytes_resent") or 0) / data * uncut / max(cutter.made, 1))
        notes.append({"cuts": cutter.made, "seconds": round(move.seconds, 2), "line_down": round(cutter.down, 2), **told([move])[0]})
    scene.bring(HERE)
    known(scene.lab, VM)
    return [row("cut ten times, time while the line was up", times, "s", 1.05, "the same copy uncut", [uncut], runs_told=notes),
            row("sent twice for each cut", twice, "s", 2)]
