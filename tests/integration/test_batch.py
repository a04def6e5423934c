# SPDX-License-Identifier: LGPL-2.1-or-later
"""Several VMs moved at once: planned together, run within bounds, partial success, cancelled and tried again as a whole."""

import json

import pytest

from conftest import lab_name
from fleet import POOL, defined_on, known
from labclient import DroverError, Lab, wait_for

HOSTS = ("lyon/kvm1", "nantes/kvm1")


@pytest.fixture(scope="module")
def lab(request):
    with Lab(lab_name(request)) as made:
        yield made.up(hosts=",".join(HOSTS))


@pytest.fixture
def vms(lab, request):
    """Three VMs that are off, gone afterwards."""
    stem = request.node.name.removeprefix("test_")[:12].replace("_", "-").strip("-")
    names = [f"{stem}-{i}" for i in range(3)]
    for name in names:
        lab.guest("lyon/kvm1", name, "--off", "--no-agent-channel", disk="64M")
    for name in names:
        known(lab, name)
    yield names
    for host in HOSTS:
        for name in set(names) & set(lab.virsh(host, "list", "--all", "--name").split()):
            lab.exec(host, "virsh", "destroy", name, check=False)
            lab.exec(host, "virsh", "undefine", name, "--nvram", check=False)
        lab.exec(host, "sh", "-c", f"rm -f {POOL}/{stem}*", check=False)
    lab.run_drover("vm", "purge", "--all", "--yes")


def pattern(vms):
    return f"lyon/kvm1/{vms[0][:-1]}*"


def show(lab, job):
    return lab.drover("job", "show", job)


def states(lab, job):
    return [part["state"] for part in show(lab, job)["parts"]]


def test_all_that_fit_are_moved_as_one_job(lab, vms):
    plan = lab.drover("vm", "move", pattern(vms), "nantes/kvm1", "--plan")
    assert (plan["waves"], [p["wave"] for p in plan["plans"]], [p["refusals"] for p in plan["plans"]]) == (2, [1, 1, 2], [[], [], []])
    done = lab.drover("vm", "move", pattern(vms), "nantes/kvm1")
    assert (done["kind"], done["state"], done["vm"], done["note"]) == ("vm.move", "done", pattern(vms), None)
    assert [(p["vm"], p["state"]) for p in done["parts"]] == [(f"lyon/kvm1/{name}", "done") for name in vms]
    assert all(p["bytes_done"] == p["bytes_total"] > 0 for p in done["parts"])
    assert all(defined_on(lab, HOSTS, name) == ["nantes/kvm1"] for name in vms)
    listed = {j["id"]: j for j in lab.drover("job", "list")}
    assert all(listed[p["id"]]["batch"] == done["id"] for p in done["parts"])
    assert lab.run_drover("vm", "move", pattern(vms), "nantes/kvm1").returncode == 5  # nothing is left there that fits


def test_partly_done_is_exit_code_3_and_can_be_tried_again(lab, vms):
    clash = vms[1]
    xml = f"<domain type='qemu'><name>{clash}</name><memory>65536</memory><os><type>hvm</type></os></domain>"
    lab.exec("nantes/kvm1", "virsh", "define", "/dev/stdin", input=xml)
    wait_for("the clash is known", 10, lambda: any(v["host"] == "kvm1" and v["site"] == "nantes" and v["name"] == clash for v in lab.drover("vm", "list")))
    plan = lab.run_drover("vm", "move", *[f"lyon/kvm1/{v}" for v in vms], "nantes/kvm1", "--plan")
    assert plan.returncode == 3 and f"a VM named {clash} exists at nantes/kvm1" in plan.stdout
    done = lab.run_drover("vm", "move", *[f"lyon/kvm1/{v}" for v in vms], "nantes/kvm1")
    assert done.returncode == 3 and "2 of 3 VMs were moved" in done.stderr
    assert f"{clash}  " in done.stderr and "refused" in done.stderr
    batch = next(j["id"] for j in lab.drover("job", "list") if not j["batch"] and "2 of 3" in (j["error"] or {}).get("message", ""))
    assert states(lab, batch) == ["done", "done", "refused"]
    assert lab.run_drover("job", "follow", batch).returncode == 3
    lab.virsh("nantes/kvm1", "undefine", clash)
    wait_for("the clash is gone", 10, lambda: not any(v["site"] == "nantes" and v["name"] == clash for v in lab.drover("vm", "list")))
    again = lab.drover("job", "retry", batch)
    assert again["id"] != batch
    assert lab.drover("job", "follow", again["id"])["state"] == "done"
    assert all(defined_on(lab, HOSTS, name) == ["nantes/kvm1"] for name in vms)
    with pytest.raises(DroverError) as caught:
        lab.drover("job", "retry", again["id"])
    assert "has nothing left to move" in str(caught.value)


def test_fault_11_74_a_batch_survives_a_restart_and_is_cancelled_as_a_whole(lab, vms):
    batch = lab.drover("vm", "move", *vms, "nantes/kvm1", "--rate", "40kbit", "--detach")["id"]
    wait_for("two of them copy", 20, lambda: states(lab, batch).count("running") == 2 and all(t for p in show(lab, batch)["parts"][:2] for t in show(lab, p["id"])["transfers"]))
    lab.kill("controller")
    lab.start("controller")
    wait_for("it is back", 20, lambda: lab.run_drover("job", "show", batch).returncode == 0)
    now = states(lab, batch)
    assert set(now[:2]) <= {"running", "waiting"} and now[2] == "queued", now
    lab.drover("job", "cancel", batch)
    ended = lab.run_drover("job", "follow", batch, "-o", "json")
    assert ended.returncode == 1 and json.loads(ended.stdout)["state"] == "cancelled"
    assert states(lab, batch) == ["cancelled"] * 3
    assert all(defined_on(lab, HOSTS, name) == ["lyon/kvm1"] for name in vms)


def test_a_purge_of_all_is_followed_at_each_host(lab, vms):
    lab.drover("vm", "move", vms[0], "nantes/kvm1")
    lab.drover("vm", "move", vms[1], "nantes/kvm1")
    lab.drover("vm", "move", vms[1], "lyon/kvm1")
    assert [job["state"] for job in lab.drover("vm", "purge", "--all", "--yes")] == ["done", "done"]
    assert not lab.drover("vm", "list", "--retired")
    lab.drover("vm", "move", vms[1], "nantes/kvm1")
    lab.drover("vm", "move", vms[1], "lyon/kvm1")
    wait_for("retired copies at both", 10, lambda: {row["site"] for row in lab.drover("vm", "list", "--retired")} == {"lyon", "nantes"})
    for options in (["--site", "nantes"], ["--host", "nantes/kvm1"], ["--site", "nantes", "--search", vms[1].upper()]):
        assert [row["site"] for row in lab.drover("vm", "list", "--retired", *options)] == ["nantes"], options
    assert lab.drover("vm", "list", "--retired", "--search", "nobody") == []
    done = lab.run_drover("vm", "purge", "--all", "--yes")
    assert done.returncode == 0
    for host in HOSTS:
        assert f"vm.purge {host}/all: done in " in done.stderr, done.stderr
    wait_for("nothing retired", 10, lambda: not lab.drover("vm", "list", "--retired"))


def test_what_cannot_be_asked_is_refused_before_anything(lab, vms):
    def fails(*argv):
        with pytest.raises(DroverError) as caught:
            lab.drover("vm", "move", *argv)
        return caught.value
    assert fails("lyon/kvm1/none*", "nantes/kvm1").exit == 5
    assert fails(vms[0], "nobody", "nantes/kvm1").exit == 5
    assert fails("*", "nantes/kvm1", "--as", "x").exit == 2
    assert fails("a/b/c/*", "nantes/kvm1").exit == 2
    assert all(defined_on(lab, HOSTS, name) == ["lyon/kvm1"] for name in vms)
