# SPDX-License-Identifier: LGPL-2.1-or-later
"""Cold moves of real guests between sites that share nothing."""

import json
import os
import time
from pathlib import Path

import pytest

from conftest import lab_name
from fleet import KERNEL, POOL, Faults, define, defined_on, find, images, job, known, leftovers, payload_in_image, place, processes, start_move, wait_job
from labclient import DroverError, Lab, wait_for

HOSTS = ("lyon/kvm1", "lyon/kvm2", "nantes/kvm1")


@pytest.fixture(scope="module")
def lab(request):
    with Lab(lab_name(request)) as made:
        yield made.up(hosts=",".join(HOSTS), DROVER_FAULT_DIR=Faults.DIRECTORY)


@pytest.fixture
def vm(lab, request):
    """A VM that is off, under a name of the test's own; gone afterwards."""
    name = request.node.name.replace("test_", "").replace("_", "-")[:40].strip("-")
    lab.guest("lyon/kvm1", name, "--off", disk="64M")
    known(lab, name)
    yield name
    for host in HOSTS:
        Faults(lab, host).clear()
        if name in lab.virsh(host, "list", "--all", "--name").split():
            lab.exec(host, "virsh", "destroy", name, check=False)
            lab.exec(host, "virsh", "undefine", name, "--nvram", "--managed-save", "--snapshots-metadata", check=False)
        lab.exec(host, "sh", "-c", f"rm -f {POOL}/{name}*", check=False)
    lab.run_drover("vm", "purge", "--all", "--yes")


def refusal(lab, *argv):
    with pytest.raises(DroverError) as caught:
        lab.drover("vm", "move", *argv)
    return caught.value


def test_a_running_guest_moves_with_its_data_and_the_source_is_retired(lab):
    lab.guest("lyon/kvm1", "erp", disk="256M", disks="2")
    before = known(lab, "erp")
    lines = int(lab.guest_exec("lyon/kvm1", "erp", "sh", "-c", "wc -l < /data/log"))
    done = lab.drover("vm", "move", "erp", "nantes/kvm1", "--shutdown")
    assert done["state"] == "done"
    after = known(lab, "erp")
    assert place(after) == "nantes/kvm1" and after["state"] == "running"
    assert (after["uuid"], [i["mac"] for i in after["interfaces"]]) == (before["uuid"], [i["mac"] for i in before["interfaces"]])
    assert after["owner_epoch"] > before["owner_epoch"]
    assert defined_on(lab, HOSTS, "erp") == ["nantes/kvm1"]
    lab.guest_wait("nantes/kvm1", "erp")
    assert lab.payload_sha256("nantes/kvm1", "erp") == lab.expected_sha256("erp")
    assert lab.payload_sha256("nantes/kvm1", "erp", "/data-vdb") == lab.expected_sha256("erp", "vdb")
    assert int(lab.guest_exec("nantes/kvm1", "erp", "sh", "-c", "wc -l < /data/log")) >= lines
    assert [t["disk"] for t in done["transfers"]] == ["vda", "vdb"]
    assert all(t["digest"].startswith("d2:") and t["path"] == "direct" and t["bytes_done"] == t["bytes_total"] for t in done["transfers"])
    retired = lab.drover("vm", "list", "--retired")
    assert [(r["host"], r["name"], r["disks"]) for r in retired] == [("kvm1", "erp", ["vda", "vdb"])]
    assert images(lab, "lyon/kvm1", "erp") == []
    lab.drover("vm", "purge", "erp", "--yes")
    assert lab.drover("vm", "list", "--retired") == []
    assert leftovers(lab, "lyon/kvm1") == []
    lab.drover("vm", "stop", "erp")


def test_a_guest_without_an_agent_is_shut_down_by_acpi(lab):
    lab.guest("lyon/kvm1", "acpi", "--no-agent-channel", disk="64M")
    wait_for("it has booted", 40, lambda: "booted" in lab.exec("lyon/kvm1", "sh", "-c", "cat /var/log/libvirt/qemu/acpi-console.log 2>/dev/null | tr -d '\\r'; echo", check=False).stdout or
             os.path.getsize(lab.file("lyon/kvm1", "/var/log/libvirt/qemu/acpi-console.log")) > 0)
    time.sleep(3)
    done = lab.drover("vm", "move", "acpi", "lyon/kvm2", "--shutdown", "--timeout", "60s", "--purge-source")
    assert done["state"] == "done"
    assert place(known(lab, "acpi")) == "lyon/kvm2"
    lab.drover("vm", "stop", "acpi")


def test_the_plan_names_the_steps_and_does_nothing(lab, vm):
    plan = lab.drover("vm", "move", vm, "nantes/kvm1", "--plan")
    assert [s["name"] for s in plan["steps"]] == ["check", "reserve", "fence", "copy", "define", "verify", "confirm", "commit", "retire", "settle"]
    assert plan["refusals"] == [] and plan["copy_bytes"] > 8 << 20
    assert defined_on(lab, HOSTS, vm) == ["lyon/kvm1"]
    text = lab.run_drover("vm", "move", vm, "nantes/kvm1", "--plan")
    assert text.returncode == 0 and "to copy" in text.stdout and text.stderr == ""


def test_without_a_terminal_a_line_a_step_is_printed(lab, vm):
    done = lab.run_drover("vm", "move", vm, "nantes/kvm1")
    assert done.returncode == 0, done.stderr
    steps = [line.split()[0] for line in done.stderr.splitlines() if line.startswith("  ")]
    assert steps[:4] == ["check", "reserve", "stop", "fence"] and steps[-3:] == ["commit", "retire", "settle"]
    assert done.stdout == "" and "\033" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith(f"vm.move lyon/kvm1/{vm}: done in ")


def test_events_are_streamed_as_json_lines(lab, vm):
    done = lab.run_drover("vm", "move", vm, "nantes/kvm1", "-o", "jsonl")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0 and events[-1]["state"] == "done" and len(events) >= 2


def test_it_gets_another_name_bridge_and_pool_there(lab, vm):
    lab.exec("nantes/kvm1", "sh", "-ec", "mkdir -p /var/lib/libvirt/fast; virsh -q pool-define-as fast dir --target /var/lib/libvirt/fast; virsh -q pool-start fast")
    lab.exec("nantes/kvm1", "ip", "link", "add", "br-dmz", "type", "bridge")
    lab.kill("nantes/kvm1")  # one that starts looks at its host at once, and otherwise once a minute
    lab.start("nantes/kvm1")
    wait_for("pool and bridge in the inventory", 70, lambda: {"fast", "br-dmz"} <= {p["name"] for p in lab.drover("host", "show", "nantes/kvm1")["pools"]} | set(lab.drover("host", "show", "nantes/kvm1")["bridges"]))
    lab.drover("vm", "move", vm, "nantes/kvm1", "--as", f"{vm}-2", "--bridge", "br0=br-dmz", "--pool", "fast", "--start", "--purge-source")
    moved = known(lab, f"{vm}-2")
    assert moved["state"] == "running" and moved["interfaces"][0]["source"] == "br-dmz" and moved["disks"][0]["pool"] == "fast"
    assert moved["disks"][0]["path"].startswith("/var/lib/libvirt/fast/")
    assert defined_on(lab, HOSTS, vm) == [] and find(lab, vm) is None
    lab.exec("nantes/kvm1", "virsh", "destroy", f"{vm}-2")
    lab.exec("nantes/kvm1", "virsh", "undefine", f"{vm}-2")


def test_nvram_moves_with_a_uefi_guest(lab, request):
    lab.guest("lyon/kvm1", "uefi", "--uefi", disk="64M")
    known(lab, "uefi")
    assert lab.guest_exec("lyon/kvm1", "uefi", "ls", "/sys/firmware/efi/runtime")
    nvram = lab.file("lyon/kvm1", "/var/lib/libvirt/qemu/nvram/uefi_VARS.fd")
    lab.drover("vm", "stop", "uefi")
    before = Path(nvram).read_bytes()
    done = lab.drover("vm", "move", "uefi", "nantes/kvm1", "--no-start")
    assert "nvram" in [t["disk"] for t in done["transfers"]]
    there = lab.exec("nantes/kvm1", "virsh", "dumpxml", "uefi").stdout.split("<nvram")[1].split(">")[1].split("<")[0]
    assert before and Path(lab.file("nantes/kvm1", there)).read_bytes() == before
    assert not os.path.exists(nvram)
    lab.drover("vm", "start", "uefi")
    lab.guest_wait("nantes/kvm1", "uefi")
    assert lab.payload_sha256("nantes/kvm1", "uefi") == lab.expected_sha256("uefi")
    lab.drover("vm", "stop", "uefi")


def test_internal_snapshots_move_with_the_vm(lab, vm):
    lab.virsh("lyon/kvm1", "snapshot-create-as", vm, "first")
    lab.virsh("lyon/kvm1", "snapshot-create-as", vm, "second")
    lab.drover("vm", "move", vm, "nantes/kvm1")
    assert lab.virsh("nantes/kvm1", "snapshot-list", vm, "--name").split() == ["first", "second"]
    assert lab.virsh("nantes/kvm1", "snapshot-current", vm, "--name") == "second"
    lab.virsh("nantes/kvm1", "snapshot-revert", vm, "first")


def test_a_target_behind_a_firewall_is_reached_in_reverse_and_two_by_relay(lab, vm):
    try:
        lab.link("nantes", inbound=False)
        done = lab.drover("vm", "move", vm, "nantes/kvm1", "--purge-source")
        assert done["transfers"][0]["path"] == "reverse"
        lab.link("lyon", inbound=False)
        done = lab.drover("vm", "move", vm, "lyon/kvm1", "--purge-source")
        assert done["transfers"][0]["path"] == "relay"
    finally:
        lab.link("nantes", inbound=True)
        lab.link("lyon", inbound=True)
    for path in ("direct", "reverse", "relay"):
        target = "nantes/kvm1" if place(known(lab, vm)) == "lyon/kvm1" else "lyon/kvm1"
        done = lab.drover("vm", "move", vm, target, "--path", path, "--purge-source")
        assert done["transfers"][0]["path"] == path
    assert payload_in_image(lab, place(known(lab, vm)), f"{vm}.qcow2", "qcow2") == lab.expected_sha256(vm)


def test_fault_24_read_back_finds_what_the_disk_changed(lab, vm):
    done = lab.drover("vm", "move", vm, "nantes/kvm1", "--verify", "read-back", "--purge-source")
    assert done["state"] == "done"
    faults = Faults(lab, "lyon/kvm1")
    faults.set("agent.define.done", "hold")
    ident = start_move(lab, vm, "lyon/kvm1", "--verify", "read-back")
    wait_for("defined", 20, lambda: faults.held("agent.define.done"))
    with open(lab.file("lyon/kvm1", f"{POOL}/{vm}.qcow2"), "r+b") as image:
        image.seek(1 << 20)
        byte = image.read(1)
        image.seek(1 << 20)
        image.write(bytes([byte[0] ^ 1]))
    faults.clear()
    ended = wait_job(lab, ident)
    assert ended["state"] == "failed" and ended["error"]["code"] == "corrupt", ended
    assert defined_on(lab, HOSTS, vm) == ["nantes/kvm1"] and images(lab, "lyon/kvm1", vm) == []


def test_if_the_start_at_the_target_fails_the_source_runs_again(lab, vm):
    lab.drover("vm", "start", vm)
    Faults(lab, "nantes/kvm1").set("agent.start.before", "fail libvirt")
    ended = wait_job(lab, start_move(lab, vm, "nantes/kvm1", "--stop"))
    assert ended["state"] == "failed" and ended["error"]["message"].endswith("fault point agent.start.before"), ended
    assert defined_on(lab, HOSTS, vm) == ["lyon/kvm1"]
    lab.wait_state("lyon/kvm1", vm, "running")
    assert images(lab, "nantes/kvm1", vm) == [] and leftovers(lab, "nantes/kvm1") == []
    assert payload_in_image(lab, "lyon/kvm1", f"{vm}.qcow2", "qcow2") == lab.expected_sha256(vm)


def test_a_shutdown_that_the_guest_ignores_times_out_and_leaves_it_running(lab, vm):
    lab.drover("vm", "start", vm)
    lab.virsh("lyon/kvm1", "suspend", vm)
    wait_for("paused in the inventory", 5, lambda: find(lab, vm)["state"] == "paused")
    error = refusal(lab, vm, "nantes/kvm1", "--shutdown")
    assert error.exit == 7
    lab.virsh("lyon/kvm1", "resume", vm)  # still in its firmware or kernel: nobody listens yet
    wait_for("running in the inventory", 5, lambda: find(lab, vm)["state"] == "running")
    ended = wait_job(lab, start_move(lab, vm, "nantes/kvm1", "--shutdown", "--timeout", "1s"))
    assert ended["state"] == "failed" and ended["error"]["code"] == "timeout", ended
    assert lab.state_of("lyon/kvm1", vm) == "running"
    assert any("--stop" in hint for hint in ended["error"]["hints"])


def test_fault_07_with_the_controller_gone_nothing_is_started_or_retired(lab, vm):
    faults = Faults(lab, "nantes/kvm1")
    faults.set("agent.receive.block", "nth 3 hold")
    ident = start_move(lab, vm, "nantes/kvm1", "--start")
    wait_for("in the middle of the copy", 20, lambda: faults.held("agent.receive.block"))
    lab.kill("controller")
    faults.clear()
    time.sleep(2)  # the copy may finish; nothing else may happen
    assert vm not in lab.virsh("nantes/kvm1", "list", "--all", "--name").split()
    lab.start("controller")
    assert wait_job(lab, ident)["state"] == "done"
    assert find(lab, vm)["state"] == "running"
    lab.drover("vm", "stop", vm)


def test_fault_14_an_agent_that_slept_through_the_undoing_is_refused_its_old_step(lab, vm):
    faults = Faults(lab, "nantes/kvm1")
    faults.set("agent.step.move_define.intent", "hold")
    ident = start_move(lab, vm, "nantes/kvm1")
    wait_for("define is at hand", 20, lambda: faults.held("agent.step.move_define.intent"))
    lab.kill("nantes/kvm1", "agent", "STOP")
    lab.drover("job", "cancel", ident)
    wait_for("it waits", 20, lambda: job(lab, ident)["state"] == "waiting")
    lab.kill("nantes/kvm1", "agent", "CONT")
    faults.clear()
    assert wait_job(lab, ident)["state"] == "cancelled"
    assert defined_on(lab, HOSTS, vm) == ["lyon/kvm1"] and images(lab, "nantes/kvm1", vm) == [] and leftovers(lab, "nantes/kvm1") == []


def test_fault_19_no_space_at_the_target_fails_and_leaves_nothing(lab, vm):
    lab.exec("nantes/kvm1", "sh", "-ec", "mkdir -p /var/lib/libvirt/small; mount -t tmpfs -o size=400m none /var/lib/libvirt/small; "
             "virsh -q pool-define-as small dir --target /var/lib/libvirt/small; virsh -q pool-start small")
    try:
        wait_for("pool in the inventory", 70, lambda: any(p["name"] == "small" for p in lab.drover("host", "show", "nantes/kvm1")["pools"]))
        faults = Faults(lab, "nantes/kvm1")
        faults.set("agent.receive.block", "nth 2 hold")
        ident = start_move(lab, vm, "nantes/kvm1", "--pool", "small")
        wait_for("in the middle of the copy", 20, lambda: faults.held("agent.receive.block"))
        lab.exec("nantes/kvm1", "sh", "-c", "cat /dev/zero > /var/lib/libvirt/small/full", check=False)
        faults.clear()
        ended = wait_job(lab, ident)
        assert ended["state"] == "failed" and ended["error"]["code"] == "no-space", ended
        assert defined_on(lab, HOSTS, vm) == ["lyon/kvm1"]
        left = [p.name for p in Path(lab.file("nantes/kvm1", "/var/lib/libvirt")).glob("small/*.qcow2")]
        assert left == []
    finally:
        lab.exec("nantes/kvm1", "sh", "-c", "virsh pool-destroy small; virsh pool-undefine small; umount -l /var/lib/libvirt/small", check=False)


def test_fault_31_a_vm_that_is_started_at_the_source_in_the_middle_cannot_be(lab, vm):
    faults = Faults(lab, "nantes/kvm1")
    faults.set("agent.receive.block", "nth 3 hold")
    ident = start_move(lab, vm, "nantes/kvm1")
    wait_for("in the middle of the copy", 20, lambda: faults.held("agent.receive.block"))
    started = lab.exec("lyon/kvm1", "virsh", "start", vm, check=False)
    assert started.returncode != 0
    lab.kill("lyon/kvm1", "libvirtd")
    lab.start("lyon/kvm1", "libvirtd")
    assert processes(lab, "lyon/kvm1", vm) == 0
    faults.clear()
    assert wait_job(lab, ident)["state"] == "done"


def test_fault_30_a_definition_that_changed_since_the_plan_stops_the_move(lab, vm):
    faults = Faults(lab, "lyon/kvm1")
    faults.set("agent.step.move_fence.intent", "hold")
    ident = start_move(lab, vm, "nantes/kvm1")
    wait_for("before the fence", 20, lambda: faults.held("agent.step.move_fence.intent"))
    lab.virsh("lyon/kvm1", "setmaxmem", vm, "256M", "--config")
    faults.clear()
    ended = wait_job(lab, ident)
    assert ended["state"] == "failed" and ended["error"]["code"] == "stale", ended
    assert defined_on(lab, HOSTS, vm) == ["lyon/kvm1"]


def test_fault_49_an_image_that_is_a_symbolic_link_is_not_followed(lab, vm):
    image = Path(lab.file("lyon/kvm1", f"{POOL}/{vm}.qcow2"))
    faults = Faults(lab, "lyon/kvm1")
    faults.set("agent.step.move_fence.intent", "hold")
    ident = start_move(lab, vm, "nantes/kvm1")
    wait_for("before the fence", 20, lambda: faults.held("agent.step.move_fence.intent"))
    aside = image.with_name(f"{vm}-aside.qcow2")
    image.rename(aside)
    image.symlink_to("/etc/shadow")
    faults.clear()
    ended = wait_job(lab, ident)
    assert ended["state"] == "failed" and ended["error"]["code"] in ("refused", "stale"), ended
    assert image.is_symlink() and images(lab, "nantes/kvm1", vm) == []
    image.unlink()
    aside.rename(image)


CANCEL_AT = ["check", "reserve", "stop", "fence", "receive-vda", "define", "verify", "confirm", "start", "commit"]


@pytest.mark.parametrize("step", CANCEL_AT)
def test_fault_74_cancel_is_as_before(lab, step):
    name = "cancelled"
    if find(lab, name) is None:  # running, as far as its firmware: it is started again in each case
        lab.guest("lyon/kvm1", name, "--off", disk="64M")
        define(lab, "lyon/kvm1", KERNEL.sub("", lab.virsh("lyon/kvm1", "dumpxml", name)))
        lab.virsh("lyon/kvm1", "start", name)
        wait_for("it is known to run", 15, lambda: known(lab, name)["state"] == "running")
    faults = Faults(lab, "controller")
    point = f"controller.{step}.{'before' if step == 'commit' else 'intent'}"
    faults.set(point, "hold")
    ident = start_move(lab, name, "nantes/kvm1", "--stop")
    wait_for(f"held at {step}", 30, lambda: faults.held(point))
    lab.drover("job", "cancel", ident)
    faults.clear()
    ended = wait_job(lab, ident)
    assert ended["state"] == "cancelled" and ended["error"]["code"] == "cancelled", ended
    assert defined_on(lab, HOSTS, name) == ["lyon/kvm1"]
    lab.wait_state("lyon/kvm1", name, "running")
    assert images(lab, "nantes/kvm1", name) == [] and leftovers(lab, "nantes/kvm1") == [] and leftovers(lab, "lyon/kvm1") == []
    assert payload_in_image(lab, "lyon/kvm1", f"{name}.qcow2", "qcow2") == lab.expected_sha256(name)


def test_a_rate_is_kept(lab, vm):
    begun = time.monotonic()
    done = lab.drover("vm", "move", vm, "nantes/kvm1", "--rate", "3M", "--purge-source")
    copy = next(s["duration_seconds"] for s in done["steps"] if s["name"] == "receive-vda")
    sent = done["transfers"][0]["bytes_wire"]
    assert copy >= sent / (3 << 20) * 0.8, (copy, sent, time.monotonic() - begun)


def test_a_link_that_is_cut_in_the_middle_is_waited_for(lab, vm):
    faults = Faults(lab, "nantes/kvm1")
    faults.set("agent.receive.block", "nth 3 hold")
    ident = start_move(lab, vm, "nantes/kvm1")
    wait_for("in the middle of the copy", 20, lambda: faults.held("agent.receive.block"))
    lab.link("nantes", up=False)
    faults.clear()
    try:
        wait_for("offline within 15 s", 15, lambda: any(h["name"] == "kvm1" and h["site"] == "nantes" and h["state"] == "offline" for h in lab.drover("host", "list")))
        assert job(lab, ident)["state"] in ("waiting", "running")
    finally:
        lab.link("nantes", up=True)
    assert wait_job(lab, ident, 90)["state"] == "done"
    assert payload_in_image(lab, "nantes/kvm1", f"{vm}.qcow2", "qcow2") == lab.expected_sha256(vm)
