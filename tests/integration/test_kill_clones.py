# SPDX-License-Identifier: LGPL-2.1-or-later
"""Each process, killed at each step of a clone and of an undo, as test_kill_matrix does it for moves (faults 9 to 13, 17, 26).

A clone of a running original: it is stopped, and afterwards it always runs again. An undo that revives, and one that is undone
itself. DROVER_SHARD=K/N takes every Nth case from the Kth on, so that N runs side by side do them all.
"""

import os

import pytest

from conftest import lab_name
from fleet import POOL, Faults, define, defined_on, disk_xml, domain_xml, images, known, leftovers, place, undefine, wait_job
from labclient import Lab, wait_for

ONE, OTHER = "lyon/kvm1", "nantes/kvm1"
HOSTS = (ONE, OTHER)
VM, CLONE = "erp", "erp-test"
STEPS = ["check", "reserve", "stop", "hold", "send-vda", "receive-vda", "define", "verify", "confirm", "settle", "restart"]
VERBS = {ONE: ["move_inspect", "move_stop", "clone_hold", "transfer_send", "clone_confirm", "move_release"],
         OTHER: ["move_reserve", "transfer_receive", "move_define", "move_verify", "move_settle"]}
CLONES = [(f"controller.{step}.intent", "controller", "controller") for step in STEPS]
CLONES += [(f"controller.commit.{when}", "controller", "controller") for when in ("before", "recorded")]
CLONES += [(f"agent.step.{verb}.acted", host, "agent") for host, verbs in VERBS.items() for verb in verbs]
CLONES += [("agent.step.clone_hold.acted", ONE, "libvirtd"), ("agent.step.move_define.acted", OTHER, "libvirtd")]

UNDOS = [(f"controller.{step}.intent", "controller") for step in ("check", "fence", "revive", "confirm", "settle", "retire")]
UNDOS += [(f"controller.commit.{when}", "controller") for when in ("before", "recorded")]
UNDOS += [(f"agent.revive.{where}", ONE) for where in ("begun", "before-rename", "after-rename", "before-define", "defined", "done", "settled")]
UNDOS += [("agent.step.move_revive.acted", ONE), ("agent.step.move_fence.acted", OTHER), ("agent.step.move_retire.acted", OTHER)]
UNREVIVES = [f"agent.unrevive.{where}" for where in ("renamed", "undefined", "noted", "done")]
SHARD, SHARDS = (int(part) for part in os.environ.get("DROVER_SHARD", "0/1").split("/"))


@pytest.fixture(scope="module")
def lab(request):
    with Lab(lab_name(request)) as made:
        yield made.up(hosts=",".join(HOSTS), DROVER_FAULT_DIR=Faults.DIRECTORY)


@pytest.fixture
def vm(lab):
    """A VM with a pattern on its disk, which gets as far as its firmware when it runs."""
    path = f"{POOL}/{VM}.qcow2"
    lab.exec(ONE, "qemu-img", "create", "-q", "-f", "qcow2", path, "64M")
    lab.exec(ONE, "qemu-io", "-f", "qcow2", "-c", "write -P 7 0 8M", path)
    define(lab, ONE, domain_xml(VM, disk_xml(path)))
    lab.wait_online()
    known(lab, VM)
    yield VM
    for node in (*HOSTS, "controller"):
        Faults(lab, node).clear()
    for host in HOSTS:
        undefine(lab, host, VM, CLONE)
        lab.exec(host, "sh", "-c", f"rm -f {POOL}/{VM}*", check=False)
    lab.run_drover("vm", "purge", "--all", "--yes")
    wait_for("all is forgotten", 20, lambda: lab.drover("vm", "list") == [] and lab.drover("vm", "list", "--retired") == [])


def assert_pattern(lab, vm):
    lab.exec(place(vm), "qemu-io", "-r", "-U", "-f", "qcow2", "-c", "read -P 7 0 8M", vm["disks"][0]["path"])


def kill_at(lab, node, process, point, begin):
    """Begin the job, kill the process where it has come to the point, and start it again; the job's id."""
    faults = Faults(lab, node)
    faults.set(point, "hold")
    ident = begin()
    wait_for(f"{point} reached", 30, lambda: faults.held(point))
    lab.kill(node, process)
    faults.clear()
    lab.start(node, process)
    return ident


@pytest.mark.parametrize("point,node,process", CLONES[SHARD::SHARDS], ids=[f"{p}-{process}" for p, _, process in CLONES[SHARD::SHARDS]])
def test_fault_09_10_11_26_a_clone_goes_on_after_a_kill(lab, vm, point, node, process):
    lab.virsh(ONE, "start", vm)
    wait_for("it is known to run", 15, lambda: known(lab, vm)["state"] == "running")
    ident = kill_at(lab, node, process, point, lambda: lab.drover("vm", "clone", vm, f"{OTHER}/{CLONE}", "--stop", "--detach")["id"])
    ended = wait_job(lab, ident)
    assert ended["state"] == "done", ended
    lab.wait_state(ONE, vm, "running")
    assert (defined_on(lab, HOSTS, vm), defined_on(lab, HOSTS, CLONE)) == ([ONE], [OTHER])
    assert_pattern(lab, known(lab, CLONE))
    assert [images(lab, host) for host in HOSTS] == [[f"{VM}.qcow2"], [known(lab, CLONE)["disks"][0]["volume"]]]
    assert leftovers(lab, ONE) == [] and leftovers(lab, OTHER) == []


@pytest.mark.parametrize("point,node", UNDOS[SHARD::SHARDS], ids=[point for point, _ in UNDOS[SHARD::SHARDS]])
def test_fault_09_10_11_17_an_undo_goes_on_after_a_kill(lab, vm, point, node):
    moved = lab.drover("vm", "move", vm, OTHER)["id"]
    process = "controller" if node == "controller" else "agent"
    ident = kill_at(lab, node, process, point, lambda: lab.drover("job", "undo", moved, "--detach")["id"])
    ended = wait_job(lab, ident)
    assert ended["state"] == "done", ended
    assert defined_on(lab, HOSTS, vm) == [ONE]
    wait_for("the inventory", 15, lambda: place(known(lab, vm)) == ONE)
    assert_pattern(lab, known(lab, vm))
    assert [images(lab, host) for host in HOSTS] == [[f"{VM}.qcow2"], []]
    assert leftovers(lab, ONE) == [] and leftovers(lab, OTHER) == []


@pytest.mark.parametrize("point", UNREVIVES[SHARD::SHARDS])
def test_fault_13_an_undo_that_is_undone_goes_on_after_a_kill(lab, vm, point):
    moved = lab.drover("vm", "move", vm, OTHER)["id"]
    controller = Faults(lab, "controller")

    def begin():
        controller.set("controller.confirm.before", "hold")
        ident = lab.drover("job", "undo", moved, "--detach")["id"]
        wait_for("confirm reached", 30, lambda: controller.held("controller.confirm.before"))
        lab.drover("job", "cancel", ident)
        controller.clear()
        return ident

    ident = kill_at(lab, ONE, "agent", point, begin)
    assert wait_job(lab, ident)["state"] == "cancelled"
    assert defined_on(lab, HOSTS, vm) == [OTHER] and leftovers(lab, OTHER) == []
    wait_for("the inventory", 15, lambda: place(known(lab, vm)) == OTHER and len(lab.drover("vm", "list", "--retired")) == 1)
    assert_pattern(lab, known(lab, vm))
