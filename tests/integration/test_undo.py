# SPDX-License-Identifier: LGPL-2.1-or-later
"""Moves taken back: from the retired copy where nothing happened since, by a move back where something did."""

import pytest

from conftest import lab_name
from fleet import POOL, Faults, define, defined_on, disk_xml, domain_xml, known, leftovers, place, undefine, wait_job
from labclient import DroverError, Lab, wait_for

ONE, OTHER = "lyon/kvm1", "nantes/kvm1"
HOSTS = (ONE, OTHER)


@pytest.fixture(scope="module")
def lab(request):
    with Lab(lab_name(request)) as made:
        yield made.up(hosts=",".join(HOSTS), DROVER_FAULT_DIR=Faults.DIRECTORY)


@pytest.fixture
def vm(lab, request):
    """A VM that is off, with a pattern on its disk; when it runs, it gets as far as its firmware."""
    name = request.node.name.split("[")[0].replace("test_", "").replace("_", "-")[:32].strip("-")
    path = f"{POOL}/{name}.qcow2"
    lab.exec(ONE, "qemu-img", "create", "-q", "-f", "qcow2", path, "64M")
    lab.exec(ONE, "qemu-io", "-f", "qcow2", "-c", "write -P 7 0 8M", path)
    define(lab, ONE, domain_xml(name, disk_xml(path)))
    known(lab, name)
    yield name
    for node in (*HOSTS, "controller"):
        Faults(lab, node).clear()
    for host in HOSTS:
        undefine(lab, host, name, f"{name}-2")
        lab.exec(host, "sh", "-c", f"rm -f {POOL}/{name}*", check=False)
    lab.run_drover("vm", "purge", "--all", "--yes")
    wait_for("nothing is retired", 15, lambda: lab.drover("vm", "list", "--retired") == [])


def move(lab, vm, *options):
    return lab.drover("vm", "move", vm, OTHER, *options)["id"]


def undo(lab, ident, *options):
    return lab.drover("job", "undo", ident, *options)


def refusal(lab, ident, *options):
    with pytest.raises(DroverError) as caught:
        undo(lab, ident, *options)
    return caught.value


def assert_pattern(lab, vm, pattern=7, where="0 1M"):
    lab.exec(place(vm), "qemu-io", "-r", "-U", "-f", "qcow2", "-c", f"read -P {pattern} {where}", vm["disks"][0]["path"])


def assert_back(lab, vm, state="shut off", kept=False):
    """kept: it was moved back, and so left something behind in its turn."""
    wait_for("it is back in the inventory", 15, lambda: place(known(lab, vm)) == ONE and known(lab, vm)["state"] == state)
    assert defined_on(lab, HOSTS, vm) == [ONE]
    assert kept or leftovers(lab, OTHER) == []
    assert_pattern(lab, known(lab, vm))


def test_what_has_not_run_since_is_revived_in_a_moment(lab, vm):
    lab.virsh(ONE, "autostart", vm)
    wait_for("autostart is known", 15, lambda: known(lab, vm)["autostart"])
    before = known(lab, vm)
    moved = move(lab, vm, "--as", f"{vm}-2")
    plan = undo(lab, moved, "--plan")
    assert plan["revives"] and plan["copy_bytes"] == 0 and plan["undoes"] == moved
    done = undo(lab, moved)
    assert done["state"] == "done" and done["kind"] == "vm.undo" and done["undoes"] == moved
    assert [s["name"] for s in done["steps"]] == ["check", "fence", "revive", "confirm", "commit", "settle", "retire"]
    assert done["transfers"] == []
    assert_back(lab, vm)
    after = known(lab, vm)
    assert (after["uuid"], after["disks"], after["autostart"]) == (before["uuid"], before["disks"], True)
    assert leftovers(lab, ONE) == [] and lab.drover("vm", "list", "--retired") == []
    assert lab.drover("job", "show", moved)["undone_by"] == done["id"]
    error = refusal(lab, moved)
    assert error.exit == 6 and error.error["message"] == f"job {moved} was taken back by job {done['id']}"


def test_what_ran_before_the_move_runs_again(lab, vm):
    lab.virsh(ONE, "start", vm)
    wait_for("it is known to run", 15, lambda: known(lab, vm)["state"] == "running")
    moved = move(lab, vm, "--stop", "--no-start")
    done = undo(lab, moved)
    assert [s["name"] for s in done["steps"]][-1] == "start"
    assert_back(lab, vm, "running")


def test_what_was_written_since_is_moved_back(lab, vm):
    moved = move(lab, vm)
    lab.exec(OTHER, "qemu-io", "-f", "qcow2", "-c", "write -P 9 1M 64k", known(lab, vm)["disks"][0]["path"])
    lab.virsh(OTHER, "start", vm)
    wait_for("it is known to run there", 15, lambda: known(lab, vm)["state"] == "running")
    error = refusal(lab, moved)
    assert error.exit == 7 and error.error["message"].endswith("it is running")
    done = undo(lab, moved, "--stop")
    assert done["kind"] == "vm.undo" and [t["disk"] for t in done["transfers"]] == ["vda"]
    assert_back(lab, vm, "running", kept=True)
    assert_pattern(lab, known(lab, vm), 9, "1M 64k")
    assert lab.drover("job", "show", moved)["undone_by"] == done["id"]


def test_what_was_purged_is_moved_back(lab, vm):
    moved = move(lab, vm, "--purge-source")
    plan = undo(lab, moved, "--plan")
    assert not plan["revives"] and plan["warnings"] == [f"its first copy at {ONE} has been purged: its images are carried back"]
    assert undo(lab, moved)["state"] == "done"
    assert_back(lab, vm, kept=True)


def test_a_vm_that_went_on_is_not_looked_for(lab, vm):
    moved = move(lab, vm)
    lab.drover("vm", "move", vm, ONE, "--as", f"{vm}-2")
    assert place(known(lab, f"{vm}-2")) == ONE
    error = refusal(lab, moved)
    assert error.exit == 6 and error.error["message"] == f"{vm} is no longer at {OTHER}, where job {moved} brought it"
    assert error.error["hints"] == [f"it is {ONE}/{vm}-2 now: undo the newer job first, or move it"]


def test_what_is_no_move_is_not_taken_back(lab, vm):
    started = lab.drover("vm", "start", vm)["id"]
    error = refusal(lab, started)
    assert error.exit == 6 and error.error["message"] == f"job {started} is a vm.start, and only a move can be taken back"


@pytest.mark.parametrize("step", ["check", "fence", "revive", "confirm", "commit"])
def test_fault_74_an_undo_that_is_cancelled_at_any_step_leaves_the_vm_where_it_is(lab, vm, step):
    moved = move(lab, vm)
    faults = Faults(lab, "controller")
    point = f"controller.{step}.{'before' if step == 'commit' else 'intent'}"
    faults.set(point, "hold")
    ident = undo(lab, moved, "--detach")["id"]
    wait_for(f"{step} reached", 30, lambda: faults.held(point))
    lab.drover("job", "cancel", ident)
    faults.clear()
    assert wait_job(lab, ident)["state"] == "cancelled"
    assert defined_on(lab, HOSTS, vm) == [OTHER] and leftovers(lab, OTHER) == []
    wait_for("the inventory", 15, lambda: place(known(lab, vm)) == OTHER and len(lab.drover("vm", "list", "--retired")) == 1)
    assert_pattern(lab, known(lab, vm))
    assert undo(lab, moved)["state"] == "done"  # and it can be asked for again, by either way
    assert_back(lab, vm, kept=True)
