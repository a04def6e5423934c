# SPDX-License-Identifier: LGPL-2.1-or-later
"""Clones: on one host and across sites, one and many, of what is off and of what runs; the original stays as it was."""

import hashlib
import os
import time
from pathlib import Path

import pytest

from conftest import lab_name
from fleet import POOL, Faults, define, defined_on, disk_xml, domain_xml, find, images, job, known, leftovers, payload_in_image, place, undefine, wait_job
from labclient import DroverError, Lab, wait_for

ONE, OTHER = "lyon/kvm1", "nantes/kvm1"
HOSTS = (ONE, OTHER)
TEMPLATE = "erp"


@pytest.fixture(scope="module")
def lab(request):
    with Lab(lab_name(request)) as made:
        made.up(hosts=",".join(HOSTS), DROVER_FAULT_DIR=Faults.DIRECTORY)
        made.guest(ONE, TEMPLATE, "--off", disk="64M")
        known(made, TEMPLATE)
        yield made


@pytest.fixture
def name(lab, request):
    """A name for the test's clones, which are gone afterwards, as are their images."""
    prefix = request.node.name.split("[")[0].replace("test_", "").replace("_", "-")[:24].strip("-")
    yield prefix
    for host in HOSTS:
        Faults(lab, host).clear()
        undefine(lab, host, *[vm for vm in lab.virsh(host, "list", "--all", "--name").split() if vm.startswith(prefix)])
        lab.exec(host, "sh", "-c", f"rm -f {POOL}/{prefix}*", check=False)
    Faults(lab, "controller").clear()
    lab.exec(ONE, "sh", "-c", f"chattr -i {POOL}/{TEMPLATE}*", check=False)
    wait_for("the clones are forgotten", 15, lambda: not [vm for vm in lab.drover("vm", "list") if vm["name"].startswith(prefix)])


@pytest.fixture
def running(lab, name):
    """A VM that runs as far as its firmware: enough to be stopped and started."""
    path = f"{POOL}/{name}-o.qcow2"
    lab.exec(ONE, "qemu-img", "create", "-q", "-f", "qcow2", path, "8M")
    lab.exec(ONE, "qemu-io", "-f", "qcow2", "-c", "write -P 7 0 1M", path)
    define(lab, ONE, domain_xml(f"{name}-o", disk_xml(path)))
    lab.virsh(ONE, "start", f"{name}-o")
    wait_for("it is known to run", 15, lambda: known(lab, f"{name}-o")["state"] == "running")
    return f"{name}-o"


def sha256(lab, host, path):
    return hashlib.sha256(Path(lab.file(host, path)).read_bytes()).hexdigest()


def clone(lab, vm, target, *options):
    return lab.drover("vm", "clone", vm, target, *options)


def refusal(lab, *argv):
    with pytest.raises(DroverError) as caught:
        lab.drover("vm", "clone", *argv)
    return caught.value


def assert_of_its_own(original, made):
    assert made["uuid"] != original["uuid"]
    macs = [i["mac"] for i in made["interfaces"]]
    assert all(mac.startswith("02:00:00:") for mac in macs) and not set(macs) & {i["mac"] for i in original["interfaces"]}
    assert not made["autostart"] and made["owner_epoch"] > 0 and made["job"] is None


def assert_untouched(lab, before, host=ONE):
    now = known(lab, before["name"])
    assert place(now) == host and now["state"] == before["state"]
    assert (now["uuid"], now["interfaces"]) == (before["uuid"], before["interfaces"])
    assert leftovers(lab, host) == []


def assert_pattern(lab, vm):
    lab.exec(place(vm), "qemu-io", "-r", "-f", "qcow2", "-c", "read -P 7 0 1M", vm["disks"][0]["path"])


def test_a_clone_across_sites_has_the_data_and_an_identity_of_its_own(lab, name):
    before, image = known(lab, TEMPLATE), sha256(lab, ONE, f"{POOL}/{TEMPLATE}.qcow2")
    done = clone(lab, TEMPLATE, f"{OTHER}/{name}")
    assert done["state"] == "done" and done["kind"] == "vm.clone" and done["clone"] == f"{OTHER}/{name}"
    made = known(lab, name)
    assert place(made) == OTHER and made["state"] == "shut off" and made["uuid"] == done["clone_uuid"]
    assert_of_its_own(before, made)
    assert made["disks"][0]["volume"] == f"{name}.qcow2"
    assert payload_in_image(lab, OTHER, f"{name}.qcow2", "qcow2") == lab.expected_sha256(TEMPLATE)
    assert_untouched(lab, before)
    assert sha256(lab, ONE, f"{POOL}/{TEMPLATE}.qcow2") == image
    assert leftovers(lab, OTHER) == [] and lab.drover("vm", "list", "--retired") == []


def test_a_clone_on_one_host_is_a_copy(lab, name):
    before = known(lab, TEMPLATE)
    done = clone(lab, TEMPLATE, f"{ONE}/{name}", "--verify", "read-back")
    assert [s["name"] for s in done["steps"]] == ["check", "reserve", "hold", "copy-vda", "define", "verify", "confirm", "commit", "settle"]
    assert_of_its_own(before, known(lab, name))
    assert payload_in_image(lab, ONE, known(lab, name)["disks"][0]["volume"], "qcow2") == lab.expected_sha256(TEMPLATE)
    assert_untouched(lab, before)


def test_a_started_clone_boots_beside_its_original(lab, name):
    clone(lab, TEMPLATE, f"{OTHER}/{name}", "--start")
    lab.guest_wait(OTHER, name)
    assert known(lab, name)["state"] == "running"
    assert lab.payload_sha256(OTHER, name) == lab.expected_sha256(TEMPLATE)


def test_the_plan_shows_the_identity_and_does_nothing(lab, name):
    plan = clone(lab, TEMPLATE, f"{OTHER}/{name}", "--plan")
    assert plan["clone"] and plan["refusals"] == [] and plan["new_name"] == name
    assert plan["identity"]["uuid"] != known(lab, TEMPLATE)["uuid"] and plan["identity"]["macs"][0]["to"].startswith("02:00:00:")
    text = lab.run_drover("vm", "clone", TEMPLATE, f"{OTHER}/{name}", "--plan")
    assert text.returncode == 0 and text.stdout.startswith(f"clone {TEMPLATE} -> {OTHER}/{name}, new UUID ")
    assert find(lab, name) is None


def test_a_linked_clone_lies_over_its_original_which_may_not_run_any_more(lab, name):
    done = clone(lab, TEMPLATE, f"{ONE}/{name}", "--linked")
    assert done["transfers"][0]["choice"].startswith("linked: ") and done["duration_seconds"] < 5
    made = lab.drover("vm", "show", name)
    assert made["disks"][0]["backing_chain"] == [f"{POOL}/{TEMPLATE}.qcow2"]
    assert lab.drover("vm", "show", TEMPLATE)["disks"][0]["is_backing"]
    assert made["disks"][0]["allocation_bytes"] < 1 << 20
    lab.exec(ONE, "qemu-img", "convert", "-f", "qcow2", "-O", "raw", f"{POOL}/{name}.qcow2", f"{POOL}/{name}-flat.raw")
    assert payload_in_image(lab, ONE, f"{name}-flat.raw", "raw") == lab.expected_sha256(TEMPLATE)
    with pytest.raises(DroverError) as caught:
        lab.drover("vm", "start", TEMPLATE)
    assert caught.value.exit == 7 and "linked clones lie over its disk vda" in caught.value.error["message"]
    second = clone(lab, TEMPLATE, f"{ONE}/{name}-2", "--linked")  # but more clones of it can be made
    assert second["state"] == "done"
    assert clone(lab, TEMPLATE, f"{OTHER}/{name}-3")["state"] == "done"


def seconds_of(job, name):
    return next(step["duration_seconds"] for step in job["steps"] if step["name"] == name)


def test_ten_gibibytes_are_cloned_within_a_second_where_blocks_can_be_shared(lab, name):
    path = lab.pool(ONE, "shared", kind="xfs", size="24G")
    try:
        lab.exec(ONE, "fallocate", "-l", "10G", f"{path}/{name}-o.raw")
        define(lab, ONE, domain_xml(f"{name}-o", disk_xml(f"{path}/{name}-o.raw", format="raw")))
        wait_for("it is known with its pool", 30, lambda: known(lab, f"{name}-o")["disks"][0]["pool"] == "shared")
        done = clone(lab, f"{name}-o", f"{ONE}/{name}")
        assert done["transfers"][0]["choice"].startswith("reflink: ") and done["transfers"][0]["bytes_total"] == 10 << 30
        assert seconds_of(done, "copy-vda") < 3, done  # a copy would take longer; the bench holds the whole job to a second
        shared = lab.exec(ONE, "filefrag", "-v", f"{path}/{name}.raw").stdout
        assert "shared" in shared
    finally:
        undefine(lab, ONE, name, f"{name}-o")
        lab.pool_remove(ONE, "shared")


def test_nvram_is_cloned_with_a_uefi_guest(lab, name):
    lab.guest(ONE, f"{name}-o", "--uefi", "--off", disk="64M")
    lab.virsh(ONE, "start", f"{name}-o")  # it is made then
    lab.virsh(ONE, "destroy", f"{name}-o")
    nvram = Path(lab.file(ONE, f"/var/lib/libvirt/qemu/nvram/{name}-o_VARS.fd"))
    wait_for("it is known to be off", 15, lambda: known(lab, f"{name}-o")["state"] == "shut off")
    done = clone(lab, f"{name}-o", f"{OTHER}/{name}")
    assert [t["disk"] for t in done["transfers"]] == ["vda", "nvram"]
    there = lab.virsh(OTHER, "dumpxml", name).split("<nvram")[1].split(">")[1].split("<")[0]
    assert Path(there).name.startswith(name) and f"{name}-o_" not in there
    assert Path(lab.file(OTHER, there)).read_bytes() == nvram.read_bytes()


def test_eight_clones_of_one_template_at_once(lab, name):
    before = known(lab, TEMPLATE)
    began = [lab.drover("vm", "clone", TEMPLATE, f"{OTHER}/{name}-{i}", "--detach")["id"] for i in range(8)]
    ended = [wait_job(lab, ident) for ident in began]
    assert [e["state"] for e in ended] == ["done"] * 8
    made = [known(lab, f"{name}-{i}") for i in range(8)]
    assert len({vm["uuid"] for vm in made}) == 8 and len({vm["interfaces"][0]["mac"] for vm in made}) == 8
    spans = sorted((e["started_at"], e["finished_at"]) for e in ended)
    assert spans[1][0] <= spans[0][1]  # nobody waited for the first one's end
    for vm in made:
        assert payload_in_image(lab, OTHER, vm["disks"][0]["volume"], "qcow2") == lab.expected_sha256(TEMPLATE)
    assert_untouched(lab, before)


def test_fault_70_a_name_that_exists_is_refused(lab, name):
    error = refusal(lab, TEMPLATE, f"{ONE}/{TEMPLATE}")
    assert error.exit == 7 and error.error["message"] == f"cannot clone {TEMPLATE} to {ONE}: a VM named {TEMPLATE} exists at {ONE}"
    error = refusal(lab, TEMPLATE, name)
    assert error.exit == 2 and "written SITE/HOST/NAME" in error.error["message"]


def test_fault_73_a_missing_pool_is_refused_with_the_nearest(lab, name):
    error = refusal(lab, TEMPLATE, f"{OTHER}/{name}", "--pool", "defualt")
    assert error.exit == 7 and "did you mean default?" in error.error["hints"][0]


def test_fault_72_a_running_original_is_refused_or_stopped_and_started_again(lab, name, running):
    error = refusal(lab, running, f"{OTHER}/{name}")
    assert error.exit == 7 and error.error["message"].endswith("it is running")
    error = refusal(lab, running, f"{ONE}/{name}", "--linked", "--stop")
    assert error.exit == 7 and "may not run while linked clones lie over its images" in error.error["message"]
    done = clone(lab, running, f"{OTHER}/{name}", "--stop")
    assert [s["name"] for s in done["steps"]][-2:] == ["settle", "restart"]
    lab.wait_state(ONE, running, "running")
    assert known(lab, name)["state"] == "shut off"
    assert_pattern(lab, known(lab, name))


@pytest.mark.parametrize("fails", [False, True], ids=["done", "failed"])
def test_a_running_original_is_started_again_beside_its_clone(lab, name, fails):
    path = lab.pool(ONE, "shared", kind="xfs", size="1G")
    try:
        lab.exec(ONE, "qemu-img", "create", "-q", "-f", "raw", f"{path}/{name}-o.raw", "8M")
        define(lab, ONE, domain_xml(f"{name}-o", disk_xml(f"{path}/{name}-o.raw", format="raw")))
        lab.virsh(ONE, "start", f"{name}-o")
        wait_for("it is known to run", 30, lambda: known(lab, f"{name}-o")["state"] == "running" and known(lab, f"{name}-o")["disks"][0]["pool"] == "shared")
        if fails:
            Faults(lab, ONE).set("agent.define.before-publish", "fail io")
        ident = lab.drover("vm", "clone", f"{name}-o", f"{ONE}/{name}", "--stop", "--detach")["id"]
        assert wait_job(lab, ident)["state"] == ("failed" if fails else "done")
        lab.wait_state(ONE, f"{name}-o", "running")
        assert defined_on(lab, HOSTS, name) == ([] if fails else [ONE])
        assert lab.exec(ONE, "ls", "-A", f"{path}/.drover", check=False).stdout == ""
    finally:
        undefine(lab, ONE, name, f"{name}-o")
        lab.pool_remove(ONE, "shared")


@pytest.mark.parametrize("why", ["io", "refused"])
def test_a_clone_that_fails_leaves_its_original_running(lab, name, running, why):
    Faults(lab, OTHER).set("agent.define.before-publish", f"fail {why}")
    error = refusal(lab, running, f"{OTHER}/{name}", "--stop")
    assert error.exit == 1 and error.code == why  # 7 is for what is refused before anything is begun
    lab.wait_state(ONE, running, "running")
    assert images(lab, OTHER, name) == [] and leftovers(lab, OTHER) == [] and defined_on(lab, HOSTS, name) == []


def test_fault_31_an_original_that_is_started_meanwhile_ends_the_clone(lab, name, running):
    lab.virsh(ONE, "destroy", running)
    wait_for("it is known to be off", 15, lambda: known(lab, running)["state"] == "shut off")
    faults = Faults(lab, "controller")
    faults.set("controller.confirm.before", "hold")
    ident = lab.drover("vm", "clone", running, f"{OTHER}/{name}", "--detach")["id"]
    wait_for("confirm reached", 30, lambda: faults.held("controller.confirm.before"))
    with pytest.raises(DroverError) as caught:
        lab.drover("vm", "start", running)
    assert caught.value.exit == 6 and f"is being cloned by job {ident}" in caught.value.error["message"]
    lab.virsh(ONE, "start", running)
    faults.clear()
    ended = wait_job(lab, ident)
    assert ended["state"] == "failed", ended
    assert lab.state_of(ONE, running) == "running"
    assert images(lab, OTHER, name) == [] and leftovers(lab, OTHER) == [] and defined_on(lab, HOSTS, name) == []


@pytest.fixture
def opens_no_guests(lab):
    """The other host has no virt-sysprep that could be run, until the test is done."""
    program, other = "/usr/bin/virt-sysprep", "/var/lib/drover/no-program"
    masked = lab.exec(OTHER, "test", "-e", program, check=False).returncode == 0
    if masked:
        lab.exec(OTHER, "sh", "-c", f"touch {other} && mount --bind {other} {program}")
    start_again(lab, OTHER)
    yield
    if masked:
        lab.exec(OTHER, "umount", program)
    start_again(lab, OTHER)


def start_again(lab, host):
    """What a host is able to do is looked at when its agent starts, and then each minute."""
    lab.kill(host)
    wait_for("it is known to be away", 20, lambda: lab.drover("host", "show", host)["state"] == "offline")
    lab.start(host)
    wait_for("it is back", 20, lambda: lab.drover("host", "show", host)["state"] == "online")


def test_a_host_that_opens_no_guests_is_refused_in_the_plan(lab, name, opens_no_guests):
    why = "guests cannot be opened here: /usr/bin/virt-sysprep is not installed"
    wait_for("it is told", 10, lambda: lab.drover("host", "show", OTHER)["identity_reset_refusal"] == why)
    assert lab.drover("host", "show", OTHER)["identity_reset"] is False
    jobs = len(lab.drover("job", "list"))
    error = refusal(lab, TEMPLATE, f"{OTHER}/{name}", "--reset-identity")
    assert error.exit == 7 and error.error["message"] == f"cannot clone {TEMPLATE} to {OTHER}: --reset-identity at {OTHER}: {why}"
    assert error.error["hints"] == ["on the host: apt install libguestfs-tools; or leave out --reset-identity"]
    assert len(lab.drover("job", "list")) == jobs and images(lab, OTHER, name) == []
    assert clone(lab, TEMPLATE, f"{OTHER}/{name}", "--plan")["refusals"] == []


@pytest.mark.parametrize("target,step", [(OTHER, s) for s in ("check", "reserve", "hold", "receive-vda", "define", "verify", "confirm", "commit")] +
                         [(ONE, "copy-vda")], ids=lambda value: value.split("/")[0])
def test_fault_74_a_clone_that_is_cancelled_at_any_step_leaves_nothing(lab, name, target, step):
    faults = Faults(lab, "controller")
    point = f"controller.{step}.{'before' if step == 'commit' else 'intent'}"
    before = known(lab, TEMPLATE)
    faults.set(point, "hold")
    ident = lab.drover("vm", "clone", TEMPLATE, f"{target}/{name}", "--detach")["id"]
    wait_for(f"{step} reached", 30, lambda: faults.held(point))
    lab.drover("job", "cancel", ident)
    faults.clear()
    ended = wait_job(lab, ident)
    assert ended["state"] == "cancelled" and ended["error"]["code"] == "cancelled", ended
    assert images(lab, target, name) == [] and leftovers(lab, target) == [] and defined_on(lab, HOSTS, name) == []
    assert_untouched(lab, before)


def test_fault_71_a_clone_is_counted_by_what_it_can_grow_to(lab, name):
    lab.exec(ONE, "qemu-img", "create", "-q", "-f", "qcow2", f"{POOL}/{name}-o.qcow2", "100T")
    define(lab, ONE, domain_xml(f"{name}-o", disk_xml(f"{POOL}/{name}-o.qcow2")))
    known(lab, f"{name}-o")
    for host in HOSTS:
        error = refusal(lab, f"{name}-o", f"{host}/{name}")
        assert error.exit == 7 and f"its disks can grow to 100.0 TiB and pool default at {host} has " in error.error["message"]
    undefine(lab, ONE, f"{name}-o")


def test_snapshots_that_a_clone_can_go_back_to_come_along_and_the_others_are_named(lab, name, running):
    lab.virsh(ONE, "snapshot-create-as", running, "live")
    lab.virsh(ONE, "destroy", running)
    lab.virsh(ONE, "snapshot-create-as", running, "clean")
    wait_for("both are known", 15, lambda: known(lab, running)["state"] == "shut off" and len(lab.drover("vm", "show", running)["snapshots"]) == 2)
    plan = clone(lab, running, f"{OTHER}/{name}", "--plan")
    assert plan["warnings"] == [f"1 snapshot of {running} stays with it: taken while it ran, they would wake up with its addresses"]
    done = clone(lab, running, f"{OTHER}/{name}")
    said = ["the clone does not know the snapshot live: it holds memory of the VM that was cloned, with that one's addresses"]
    assert done["warnings"] == said
    lab.kill("controller")
    lab.start("controller")
    lab.wait_online()
    assert job(lab, done["id"])["warnings"] == said
    assert lab.virsh(OTHER, "snapshot-list", name, "--name").split() == ["clean"]
    lab.virsh(OTHER, "snapshot-revert", name, "clean")
    linked = clone(lab, running, f"{ONE}/{name}-l", "--linked")
    assert len(linked["warnings"]) == 2 and all(w.endswith(": its images do not hold it") for w in linked["warnings"])
    for host, vm in ((ONE, running), (OTHER, name)):
        lab.exec(host, "virsh", "undefine", vm, "--snapshots-metadata", check=False)
    lab.exec(ONE, "sh", "-c", f"virsh undefine {name}-l; chattr -i {POOL}/{name}*", check=False)

