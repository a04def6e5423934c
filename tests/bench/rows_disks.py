# SPDX-License-Identifier: LGPL-2.1-or-later
"""Are a VM's disks better copied one after another, as they are, or side by side? A VM of two disks is moved; in turn with it the same
two disks, as those of two VMs, are moved at once, which is two transfers between the same two agents. Seconds are those of the whole
command."""

import image
from fleet import find, place
from labclient import wait_for
from scene import BESIDE, FAR, HERE, POOL, SLOW, received
from table import row

WHOLE, PARTS = "halves", ("pair-1", "pair-2")  # the VMs
BOTH = "pair*"


def disks(scene):
    scene.bring(HERE)  # nothing that is like the disks lies at the target
    try:
        furnish(scene)
        return [compared(scene, "LAN", BESIDE, "none", rehearse=True), compared(scene, "100 Mbit/s", FAR, SLOW)]
    finally:
        scene.line("none")
        scene.purge()
        for name in (WHOLE, *PARTS):
            clear_away(scene, name)


def furnish(scene):
    """The VM of two disks, and the two VMs of one, each with images of its own."""
    halves, lab = image.make_halves(scene.quick), scene.lab
    paths = [f"{POOL}/{WHOLE}-{n}.qcow2" for n in (1, 2)], [f"{POOL}/{name}.qcow2" for name in PARTS]
    for images in paths:
        for half, path in zip(halves, images):
            lab.exec(HERE, "cp", "--sparse=always", half, path)
    lab.virsh(HERE, "pool-refresh", "default")
    scene.define(HERE, WHOLE, *paths[0])
    for name, path in zip(PARTS, paths[1]):
        scene.define(HERE, name, path)


def clear_away(scene, name):
    if vm := find(scene.lab, name):
        paths = [disk["path"] for disk in scene.lab.drover("vm", "show", name)["disks"]]
        scene.forget(place(vm), name, *paths)


def compared(scene, line, target, rate, rehearse=False):
    """Both ways in turn; they take turns at being first, too."""
    ways = {WHOLE: [], BOTH: []}
    if rehearse:  # whoever goes first pays for what is new to the machine
        for what in ways:
            there_and_back(scene, what, target, rate)
    for n in range(scene.runs):
        for what in sorted(ways, reverse=n % 2 == 1):
            ways[what].append(there_and_back(scene, what, target, rate))
    after, beside = ([run["seconds"] for run in runs] for runs in ways.values())
    return row(f"{line}, two disks one after another", after, "s", None, "the same two side by side, as two VMs", beside,
               one_after_another=ways[WHOLE], side_by_side=ways[BOTH])


def there_and_back(scene, what, target, rate):
    """What moving it told. It comes back as fast as it can, and nothing of it stays."""
    scene.line(rate)
    seconds, job, resident = scene.timed(HERE, target, "vm", "move", f"{HERE}/{what}", target)
    jobs = [scene.lab.drover("job", "show", part["id"]) for part in job["parts"]] or [job]
    if len(jobs) > 1:
        make_sure_of_side_by_side(jobs)
    scene.line("none")
    scene.purge()
    wait_for("all of it in the inventory", 10, lambda: all(at(scene, name, target) for name in names(what)))
    scene.lab.drover("vm", "move", f"{target}/{what}", HERE, timeout=1200)
    scene.purge()
    wait_for("all of it back in the inventory", 10, lambda: all(at(scene, name, HERE) for name in names(what)))
    transfers = [t for j in jobs for t in j["transfers"]]
    return {"seconds": round(seconds, 3), "resident_mib": round(resident, 1), "copies": [s for j in jobs for s in received(j).values()],
            "bytes_wire": [t["bytes_wire"] for t in transfers], "bytes_reused": [t["bytes_reused"] for t in transfers],
            "choices": [t["choice"] for t in transfers]}


def make_sure_of_side_by_side(jobs):
    steps = [next(s for s in j["steps"] if s["name"] == "receive-vda") for j in jobs]
    apart = max(s["started_at"] for s in steps) > min(s["finished_at"] for s in steps)
    if apart:
        raise RuntimeError(f"the two VMs were not copied side by side: {steps}")


def names(what):
    return PARTS if what == BOTH else (what,)


def at(scene, name, host):
    vm = find(scene.lab, name)
    return vm and place(vm) == host
