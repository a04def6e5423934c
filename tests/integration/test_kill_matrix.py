# SPDX-License-Identifier: LGPL-2.1-or-later
"""Each process, killed at each step of a move of a running guest (faults 9 to 12, 17, 26).

The controller is held where it has committed a step's intent and not yet asked for it; each agent where it has done a
step and not yet recorded that, and where it has recorded it and not yet answered. There, each of the five processes that
take part is killed with SIGKILL and started again. The move then goes on by itself, to its end or back to the state before
it. Every time there is exactly one VM that can run, it runs, and its data is what it was.

A guest that boots takes a processor for seconds, so most cases move a running VM that has got as far as its firmware; a
second round, with each step's own host struck, moves the whole guest. DROVER_REAL_GUESTS=1 takes the whole guest for all.
DROVER_SHARD=K/N takes every Nth case of the first round from the Kth on, so that N runs side by side do them all; the second is
one run, since the guest is booted for it once more.
"""

import os

import pytest

from fleet import KERNEL, Faults, defined_on, images, leftovers, payload_in_image, place, processes, start_move, wait_job, known
from labclient import Lab, wait_for
from conftest import lab_name

ONE, OTHER = "lyon/kvm1", "nantes/kvm1"
HOSTS = (ONE, OTHER)
VM, VOLUME = "erp", "erp.raw"
STEPS = ["check", "reserve", "stop", "fence", "send-vda", "receive-vda", "define", "verify", "confirm", "start", "retire", "settle"]
# The request by which the agent knows a step, and where it is done.
VERBS = {"check": ("move_inspect", "source"), "reserve": ("move_reserve", "target"), "stop": ("move_stop", "source"),
         "fence": ("move_fence", "source"), "send-vda": ("transfer_send", "source"), "receive-vda": ("transfer_receive", "target"),
         "define": ("move_define", "target"), "verify": ("move_verify", "target"), "confirm": ("move_confirm", "source"),
         "start": ("move_start", "target"), "retire": ("move_retire", "source"), "settle": ("move_settle", "target")}
VICTIMS = ["controller", "source-agent", "target-agent", "source-libvirtd", "target-libvirtd"]

CASES = [(f"controller.{step}.intent", "controller", victim) for step in STEPS for victim in VICTIMS]
CASES += [(f"controller.commit.{when}", "controller", victim) for when in ("before", "recorded") for victim in VICTIMS]
CASES += [(f"agent.step.{verb}.acted", where, victim) for verb, where in VERBS.values() for victim in VICTIMS]
CASES += [(f"agent.step.{verb}.recorded", where, f"{where}-agent") for verb, where in VERBS.values()]
CASES += [("agent.receive.block", "target", victim) for victim in VICTIMS]


REAL_CASES = [(f"agent.step.{verb}.acted", where, f"{where}-agent") for verb, where in VERBS.values()]
SHARD, SHARDS = (int(part) for part in os.environ.get("DROVER_SHARD", "0/1").split("/"))
CASES = CASES[SHARD::SHARDS]


@pytest.fixture(scope="module")
def lab(request):
    with Lab(lab_name(request)) as made:
        made.up(hosts=",".join(HOSTS), DROVER_FAULT_DIR=Faults.DIRECTORY)
        made.guest(ONE, VM, "--off", disk="64M", format="raw")
        made.kernel = "".join(match.group(0) for match in KERNEL.finditer(made.virsh(ONE, "dumpxml", VM)))
        restart_with(made, ONE, made.kernel if os.environ.get("DROVER_REAL_GUESTS") else "")
        yield made


def restart_with(lab, host, kernel):
    """Stop the VM, give its definition this kernel ("": none), start it, and wait until the fleet knows."""
    lab.exec(host, "virsh", "destroy", VM, check=False)
    xml = KERNEL.sub("", lab.virsh(host, "dumpxml", "--inactive", VM)).replace("</os>", kernel + "</os>")
    lab.exec(host, "sh", "-c", "cat > /run/erp.xml && virsh -q define /run/erp.xml && virsh -q start erp", input=xml)
    wait_for("it is known to run", 15, lambda: known(lab, VM)["state"] == "running")


def strike(lab, victim, source, target):
    """Kill the process; the pair to start again."""
    node, process = {"controller": ("controller", "controller"), "source-agent": (source, "agent"), "target-agent": (target, "agent"),
                     "source-libvirtd": (source, "libvirtd"), "target-libvirtd": (target, "libvirtd")}[victim]
    lab.kill(node, process)
    return node, process


def check_one_whole_vm(lab, ended, source, target):
    where = target if ended["state"] == "done" else source
    other = source if where == target else target
    assert defined_on(lab, HOSTS, VM) == [where], ended
    wait_for(f"{VM} running on {where}", 20, lambda: lab.state_of(where, VM) == "running")
    assert (processes(lab, where, VM), processes(lab, other, VM)) == (1, 0), ended
    assert payload_in_image(lab, where, VOLUME, "raw") == lab.expected_sha256(VM)
    assert images(lab, where) == [VOLUME] and images(lab, other) == []
    assert leftovers(lab, where) == [] and leftovers(lab, other) == []
    wait_for("the inventory", 10, lambda: place(known(lab, VM)) == where)


@pytest.mark.parametrize("point,holder,victim", CASES, ids=[f"{p}-{v}" for p, _, v in CASES])
def test_fault_09_10_11_12_17_26_kill(lab, point, holder, victim):
    move_and_kill(lab, point, holder, victim)


@pytest.fixture(scope="module")
def whole_guest(lab):
    where = place(known(lab, VM))
    restart_with(lab, where, lab.kernel)
    lab.guest_wait(where, VM)
    return lab


@pytest.mark.parametrize("point,holder,victim", REAL_CASES, ids=[f"{p}-{v}" for p, _, v in REAL_CASES])
def test_fault_09_10_17_kill_with_the_whole_guest(whole_guest, point, holder, victim):
    move_and_kill(whole_guest, point, holder, victim)


def move_and_kill(lab, point, holder, victim):
    source = place(known(lab, VM))
    target = OTHER if source == ONE else ONE
    nodes = {"controller": "controller", "source": source, "target": target}
    faults = Faults(lab, nodes[holder])
    faults.clear()
    faults.set(point, "nth 3 hold" if point.endswith(".block") else "hold")
    lab.wait_online()
    ident = start_move(lab, VM, target, "--stop", "--purge-source")
    faults.wait_held(point, lab, ident)
    killed = strike(lab, victim, source, target)
    faults.clear()
    lab.start(*killed)
    ended = wait_job(lab, ident)
    assert ended["state"] in ("done", "failed"), ended
    check_one_whole_vm(lab, ended, source, target)


def test_the_guest_still_reads_its_data_after_all_of_them(whole_guest):
    lab, where = whole_guest, place(known(whole_guest, VM))
    lab.guest_wait(where, VM)
    assert lab.payload_sha256(where, VM) == lab.expected_sha256(VM)
