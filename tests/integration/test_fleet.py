# SPDX-License-Identifier: LGPL-2.1-or-later
"""What runs where: the inventory, live, and everything that the command line shows and asks of it."""

import csv
import io
import json
import re
import shutil
import subprocess
import time
from datetime import datetime

import pytest

from fleet import POOL, Operator, define, disk_xml, domain_xml, find, known, new_image, undefine
from labclient import DroverError, wait_for

HERE, BESIDE, AWAY = "lyon/kvm1", "lyon/kvm2", "nantes/kvm1"
EVENT_SECONDS = 1      # from a change on a host until everybody sees it
ASKING_SECONDS = 0.1   # how long `drover vm list` takes on a machine that does nothing else
OFFLINE_SECONDS = 15
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")

# What CLI.md promises of each list.
FIELDS = {
    "site list": ["name", "hosts", "hosts_online", "vms"],
    "host list": ["site", "name", "uuid", "state", "agent_version", "libvirt_version", "cpus", "memory_bytes", "vms", "last_seen_at"],
    "vm list": ["site", "host", "name", "uuid", "state", "vcpus", "memory_bytes", "autostart", "disks", "interfaces", "owner_epoch"],
    "job list": ["id", "kind", "state", "vm", "created_at", "started_at", "finished_at", "error"],
    "user list": ["name", "role"],
    "audit list": [],
}
SHOWS = {"site show lyon": "site list", f"host show {HERE}": "host list", "vm show shown": "vm list"}
DISK_FIELDS = ["target", "bus", "format", "pool", "volume", "path", "capacity_bytes", "allocation_bytes"]
INTERFACE_FIELDS = ["mac", "type", "source", "model"]
STEP_FIELDS = ["name", "host", "state", "started_at", "finished_at", "error"]


@pytest.fixture(scope="module", autouse=True)
def shown(lab):
    """A VM that every list has something to say about."""
    lab.guest(HERE, "shown", "--off", disk="64M", disks="2", mac="52:54:00:00:10:01")
    return known(lab, "shown")


@pytest.fixture
def name(request):
    return request.node.name.removeprefix("test_").replace("_", "-")[:40].strip("-")


@pytest.fixture
def vm(lab, name):
    """A VM that is defined on the first host, off; gone afterwards."""
    define(lab, HERE, domain_xml(name))
    known(lab, name)
    yield name
    for host in (HERE, BESIDE, AWAY):
        undefine(lab, host, name)
    wait_for(f"{name} gone", 10, lambda: find(lab, name) is None)


def soon(what, condition):
    """Within a second on a machine that has time, where asking takes a tenth of one; so much later where asking takes longer."""
    begun, limit = time.monotonic(), EVENT_SECONDS
    while True:
        asked = time.monotonic()
        value = condition()
        now = time.monotonic()
        limit = max(limit, EVENT_SECONDS * (now - asked) / ASKING_SECONDS)
        if value:
            return value
        assert now - begun < limit, f"{what}: not within {limit:.1f} s"
        time.sleep(0.02)


def fails(call, *argv):
    with pytest.raises(DroverError) as caught:
        call(*argv)
    return caught.value


def host_of(lab, name):
    return lab.drover("host", "show", name)


def json_texts(text):
    """The JSON texts that stand one after another."""
    decoder, texts = json.JSONDecoder(), []
    while text := text.lstrip():
        value, end = decoder.raw_decode(text)
        texts.append(value)
        text = text[end:]
    return texts


def later(one, other):
    return datetime.fromisoformat(one.replace("Z", "+00:00")) >= datetime.fromisoformat(other.replace("Z", "+00:00"))


class TestInventory:
    def test_three_hosts_in_two_sites_are_online(self, lab):
        hosts = lab.drover("host", "list")
        assert [(h["site"], h["name"], h["state"]) for h in hosts] == [("lyon", "kvm1", "online"), ("lyon", "kvm2", "online"), ("nantes", "kvm1", "online")]
        for host in hosts:
            assert UUID.fullmatch(host["uuid"]) and host["cpus"] > 0 and host["memory_bytes"] > 1 << 28
            assert re.match(r"\d+\.\d+", host["libvirt_version"]) and host["agent_version"]
            assert TIME.fullmatch(host["last_seen_at"])
        assert len({h["uuid"] for h in hosts}) == 3

    def test_only_the_hosts_of_a_site(self, lab):
        assert [h["name"] for h in lab.drover("host", "list", "--site", "nantes")] == ["kvm1"]

    def test_a_vm_with_its_disks_and_interfaces(self, lab, shown):
        assert (shown["site"], shown["host"], shown["state"], shown["vcpus"]) == ("lyon", "kvm1", "shut off", 1)
        assert shown["memory_bytes"] == 128 << 20 and shown["autostart"] is False
        assert shown["uuid"] == lab.virsh(HERE, "domuuid", "shown")
        assert [d["target"] for d in shown["disks"]] == ["vda", "vdb"]
        disk = shown["disks"][0]
        assert (disk["bus"], disk["format"], disk["pool"], disk["volume"]) == ("virtio", "qcow2", "default", "shown.qcow2")
        assert disk["path"] == f"{POOL}/shown.qcow2" and disk["capacity_bytes"] == 64 << 20
        taken = lab.file(HERE, disk["path"]).stat().st_blocks * 512
        assert disk["allocation_bytes"] == taken
        assert [[i[key] for key in INTERFACE_FIELDS] for i in shown["interfaces"]] == [["52:54:00:00:10:01", "bridge", "br0", "virtio"]]

    def test_backing_chains_and_snapshots_are_shown(self, lab, vm):
        base = new_image(lab, HERE, f"{vm}-base.qcow2")
        middle = new_image(lab, HERE, f"{vm}-middle.qcow2", "1M", "qcow2", "-F", "qcow2", "-b", base)
        top = new_image(lab, HERE, f"{vm}.qcow2", "1M", "qcow2", "-F", "qcow2", "-b", middle)
        define(lab, HERE, domain_xml(vm, disk_xml(top), uuid=lab.virsh(HERE, "domuuid", vm)))
        shown = wait_for("the chain", 3, lambda: (s := lab.drover("vm", "show", vm))["disks"] and s)
        assert shown["disks"][0]["backing_chain"] == [middle, base]
        lab.virsh(HERE, "snapshot-create-as", vm, "before")
        snapshots = soon("the snapshot", lambda: lab.drover("vm", "show", vm)["snapshots"])
        assert [s["name"] for s in snapshots] == ["before"]
        lab.virsh(HERE, "snapshot-delete", vm, "before")
        lab.exec(HERE, "sh", "-c", f"rm {POOL}/{vm}*")

    def test_pools_networks_and_bridges_of_a_host(self, lab):
        host = host_of(lab, HERE)
        assert {"br0", "br1"} <= set(host["bridges"])
        assert "br1" not in host_of(lab, BESIDE)["bridges"]
        pool = next(p for p in host["pools"] if p["name"] == "default")
        assert pool["active"] and pool["type"] == "dir" and 0 < pool["available_bytes"] <= pool["capacity_bytes"]

    def test_filters(self, lab, vm):
        define(lab, AWAY, domain_xml("elsewhere"))
        known(lab, "elsewhere")
        try:
            def names(*options):
                return [v["name"] for v in lab.drover("vm", "list", *options)]
            assert names("--site", "nantes") == ["elsewhere"]
            assert names("--host", HERE) == sorted(["shown", vm])
            assert names("--search", "elsew") == ["elsewhere"]
            assert names("--state", "running") == []
            assert set(names("--state", "shut off")) == {"shown", "elsewhere", vm}
            lab.virsh(AWAY, "start", "elsewhere")
            soon("running", lambda: names("--state", "running") == ["elsewhere"])
            assert fails(lab.drover, "vm", "list", "--site", "paris").exit == 5
            assert fails(lab.drover, "vm", "list", "--host", "lyon/kvm9").exit == 5
        finally:
            undefine(lab, AWAY, "elsewhere")
            wait_for("gone", 10, lambda: find(lab, "elsewhere") is None)

    def test_xml_is_what_libvirt_gives(self, lab, vm):
        done = lab.run_drover("vm", "xml", vm)
        assert done.returncode == 0 and done.stdout.strip() == lab.virsh(HERE, "dumpxml", vm)

    def test_counts_of_sites_and_hosts_add_up(self, lab):
        sites, hosts, vms = (lab.drover(noun, "list") for noun in ("site", "host", "vm"))
        for site in sites:
            mine = [h for h in hosts if h["site"] == site["name"]]
            assert (site["hosts"], site["hosts_online"]) == (len(mine), len([h for h in mine if h["state"] == "online"]))
            assert site["vms"] == sum(h["vms"] for h in mine) == len([v for v in vms if v["site"] == site["name"]])


class TestLive:
    """Each change on a host is seen within a second."""

    def test_define_and_undefine(self, lab, name):
        define(lab, AWAY, domain_xml(name))
        vm = soon("defined", lambda: find(lab, name))
        assert (vm["site"], vm["host"], vm["state"]) == ("nantes", "kvm1", "shut off")
        lab.virsh(AWAY, "undefine", name)
        soon("undefined", lambda: find(lab, name) is None)

    def test_start_suspend_resume_and_stop(self, lab, vm):
        for command, state in (("start", "running"), ("suspend", "paused"), ("resume", "running"), ("destroy", "shut off")):
            lab.virsh(HERE, command, vm)
            soon(state, lambda: find(lab, vm)["state"] == state)

    def test_a_qemu_that_is_killed(self, lab, vm):
        lab.virsh(HERE, "start", vm)
        soon("running", lambda: find(lab, vm)["state"] == "running")
        lab.kill(HERE, f"qemu:{vm}")
        lab.wait_state(HERE, vm, "shut off")
        soon("shut off", lambda: find(lab, vm)["state"] == "shut off")

    def test_a_vm_that_exists_only_while_it_runs(self, lab, name):
        lab.file(HERE, "/var/lib/drover/transient.xml").write_text(domain_xml(name))
        lab.virsh(HERE, "create", "/var/lib/drover/transient.xml")
        assert soon("there", lambda: find(lab, name))["persistent"] is False
        lab.virsh(HERE, "destroy", name)
        soon("gone", lambda: find(lab, name) is None)

    def test_autostart_memory_and_a_new_name(self, lab, vm):
        lab.virsh(HERE, "setmaxmem", vm, "32M", "--config")
        soon("memory", lambda: find(lab, vm)["memory_bytes"] == 32 << 20)
        uuid = find(lab, vm)["uuid"]
        lab.virsh(HERE, "domrename", vm, f"{vm}-2")
        soon("renamed", lambda: (found := find(lab, f"{vm}-2")) and found["uuid"] == uuid and find(lab, vm) is None)
        lab.virsh(HERE, "domrename", f"{vm}-2", vm)
        soon("renamed back", lambda: find(lab, vm))

    def test_disks_come_and_go_while_it_runs(self, lab, vm):
        image = new_image(lab, HERE, f"{vm}.raw", "3M", "raw")
        lab.virsh(HERE, "start", vm)
        lab.virsh(HERE, "attach-disk", vm, image, "vdq", "--targetbus", "virtio", "--subdriver", "raw", "--persistent")
        disk = soon("attached", lambda: next(iter(find(lab, vm)["disks"]), None))
        assert (disk["target"], disk["format"], disk["capacity_bytes"]) == ("vdq", "raw", 3 << 20)
        lab.virsh(HERE, "destroy", vm)
        lab.virsh(HERE, "detach-disk", vm, "vdq", "--config")
        soon("detached", lambda: find(lab, vm)["disks"] == [])
        lab.file(HERE, image).unlink()

    def test_interfaces_are_attached(self, lab, vm):
        lab.virsh(HERE, "attach-interface", vm, "bridge", "br0", "--model", "virtio", "--mac", "52:54:00:00:10:02", "--config")
        soon("attached", lambda: [(i["mac"], i["source"]) for i in find(lab, vm)["interfaces"]] == [("52:54:00:00:10:02", "br0")])

    def test_pools(self, lab):
        def pool():
            return next((p for p in host_of(lab, AWAY)["pools"] if p["name"] == "extra"), None)
        lab.exec(AWAY, "mkdir", "-p", "/var/lib/libvirt/extra")
        lab.virsh(AWAY, "pool-define-as", "extra", "dir", "--target", "/var/lib/libvirt/extra")
        assert soon("defined", pool)["active"] is False
        lab.virsh(AWAY, "pool-start", "extra")
        soon("active", lambda: pool()["active"])
        lab.virsh(AWAY, "vol-create-as", "extra", "one", "1M")
        lab.virsh(AWAY, "pool-refresh", "extra")
        soon("a volume", lambda: pool()["volumes"] == 1)
        lab.virsh(AWAY, "pool-destroy", "extra")
        soon("inactive", lambda: pool()["active"] is False)
        lab.virsh(AWAY, "pool-undefine", "extra")
        soon("undefined", lambda: pool() is None)

    def test_networks(self, lab):
        def network():
            return next((n for n in host_of(lab, AWAY)["networks"] if n["name"] == "inner"), None)
        lab.file(AWAY, "/var/lib/drover/net.xml").write_text("<network><name>inner</name><bridge name='virbr7'/></network>")
        lab.virsh(AWAY, "net-define", "/var/lib/drover/net.xml")
        assert soon("defined", network)["active"] is False
        lab.virsh(AWAY, "net-start", "inner")
        assert soon("active", lambda: (n := network())["active"] and n)["bridge"] == "virbr7"
        lab.virsh(AWAY, "net-destroy", "inner")
        lab.virsh(AWAY, "net-undefine", "inner")
        soon("undefined", lambda: network() is None)


class TestAway:
    """Hosts, agents and libvirt that go away and come back."""

    def test_a_host_that_cannot_be_reached_is_offline_with_what_was_known(self, lab):
        define(lab, AWAY, domain_xml("remembered"))
        known(lab, "remembered")
        before = host_of(lab, AWAY)
        lab.link("nantes", up=False)
        try:
            gone = wait_for("offline", OFFLINE_SECONDS, lambda: (h := host_of(lab, AWAY))["state"] == "offline" and h)
            assert later(gone["last_seen_at"], before["last_seen_at"]) and TIME.fullmatch(gone["offline_since_at"])
            for key in ("uuid", "cpus", "memory_bytes", "libvirt_version", "pools", "vms"):
                assert gone[key] == before[key]
            vm = find(lab, "remembered")
            assert vm["state"] == "shut off" and vm["host_online"] is False and TIME.fullmatch(vm["last_seen_at"])
            assert lab.drover("site", "show", "nantes")["hosts_online"] == 0
            error = fails(lab.drover, "vm", "start", "remembered")
            assert error.exit in (7, 8) and AWAY in error.error["message"]
            status = lab.run_drover("status").stdout
            assert AWAY in status.splitlines()[0] and "offline" in status.splitlines()[0]
            problems = lab.drover("status")["problems"]
            assert any(AWAY in p["object"] and p["hint"] for p in problems)
            lab.virsh(AWAY, "undefine", "remembered")
            assert find(lab, "remembered")
        finally:
            lab.link("nantes", up=True)
        wait_for("online", 45, lambda: host_of(lab, AWAY)["state"] == "online")
        assert host_of(lab, AWAY)["offline_since_at"] is None
        wait_for("up to date", EVENT_SECONDS, lambda: find(lab, "remembered") is None)

    def test_an_agent_that_is_killed_and_one_that_comes_back(self, lab, vm):
        lab.kill(HERE, "agent")
        wait_for("offline", OFFLINE_SECONDS, lambda: host_of(lab, HERE)["state"] == "offline")
        lab.virsh(HERE, "undefine", vm)
        define(lab, HERE, domain_xml(f"{vm}-new"))
        assert find(lab, vm)["host_online"] is False and find(lab, f"{vm}-new") is None
        lab.start(HERE, "agent")
        wait_for("online", 10, lambda: host_of(lab, HERE)["state"] == "online")
        wait_for("the whole picture", 5, lambda: find(lab, f"{vm}-new") and find(lab, vm) is None)
        undefine(lab, HERE, f"{vm}-new")
        soon("live again", lambda: find(lab, f"{vm}-new") is None)

    def test_libvirtd_that_is_killed_and_started_again(self, lab, vm):
        lab.virsh(HERE, "start", vm)
        soon("running", lambda: find(lab, vm)["state"] == "running")
        lab.kill(HERE, "libvirtd")
        gone = wait_for("without libvirt", 10, lambda: (h := host_of(lab, HERE))["libvirt_connected"] is False and h)
        assert gone["state"] == "online" and find(lab, vm)["state"] == "running"
        assert "libvirt" in lab.run_drover("status").stdout.splitlines()[0]
        ident = lab.drover("vm", "suspend", vm, "--detach")["id"]
        waiting = wait_for("it waits", 10, lambda: (j := lab.drover("job", "show", ident))["state"] == "waiting" and j)
        assert "libvirt" in waiting["note"]
        lab.start(HERE, "libvirtd")
        wait_for("connected", 40, lambda: host_of(lab, HERE)["libvirt_connected"])
        wait_for("it goes on", 20, lambda: lab.drover("job", "show", ident)["state"] == "done")
        soon("paused", lambda: find(lab, vm)["state"] == "paused")
        lab.virsh(HERE, "destroy", vm)
        soon("live again", lambda: find(lab, vm)["state"] == "shut off")

    def test_a_controller_that_is_killed_remembers_and_learns_again(self, lab, vm):
        hosts = {h["uuid"] for h in lab.drover("host", "list")}
        lab.kill("controller")
        assert fails(lab.drover, "vm", "list").exit == 8
        lab.virsh(HERE, "undefine", vm)
        lab.start("controller")
        assert {h["uuid"] for h in lab.drover("host", "list")} == hosts
        lab.wait_online()
        wait_for("up to date", 5, lambda: find(lab, vm) is None)


class TestOwnWrites:
    """What a job did is in the inventory when it has ended: each command meets what the one before it has done, without any wait."""

    TIMES = 6
    ROUND = """
        drover vm start "$VM" && drover vm stop "$VM" && drover vm move "$VM" "$TARGET" && drover vm show "$VM" -o json >&3 &&
        drover vm list --retired -o json >&3 && drover vm purge --all --yes && drover vm list --retired -o json >&3"""

    @pytest.fixture
    def disk(self, lab, vm):
        define(lab, HERE, domain_xml(vm, disk_xml(new_image(lab, HERE, f"{vm}.qcow2")), uuid=lab.virsh(HERE, "domuuid", vm)))
        soon("its disk", lambda: lab.drover("vm", "show", vm)["disks"])
        yield f"{vm}.qcow2"
        for host in (HERE, AWAY):
            undefine(lab, host, vm)
            lab.exec(host, "rm", "-f", f"{POOL}/{vm}.qcow2")

    def test_stop_move_show_and_purge_in_one_line(self, lab, vm, disk):
        for turn in range(self.TIMES):
            target = HERE if turn % 2 else AWAY
            done = subprocess.run(["bash", "-c", f"{{ {self.ROUND}; }} 3>&1 >/dev/null"], env={**lab.env, "VM": vm, "TARGET": target},
                                  text=True, timeout=60, stdin=subprocess.DEVNULL, capture_output=True)
            assert done.returncode == 0, (turn, done.stderr)
            shown, retired, left = json_texts(done.stdout)
            assert (f"{shown['site']}/{shown['host']}", shown["state"]) == (target, "shut off"), turn
            assert [d["volume"] for d in shown["disks"]] == [disk], turn
            assert [r["name"] for r in retired] == [vm], turn
            assert left == [], turn


class TestPower:
    @pytest.fixture(scope="class")
    def guest(self, lab):
        lab.guest(BESIDE, "power", disk="64M")
        known(lab, "power")
        return "power"

    def test_suspend_and_resume(self, lab, guest):
        lab.drover("vm", "suspend", guest)
        assert lab.state_of(BESIDE, guest) == "paused"
        assert find(lab, guest)["state"] == "paused"
        lab.drover("vm", "resume", guest)
        assert lab.state_of(BESIDE, guest) == "running"
        assert find(lab, guest)["state"] == "running"

    def test_reboot(self, lab, guest):
        def boot_id():
            return lab.guest_exec(BESIDE, guest, "cat", "/proc/sys/kernel/random/boot_id")
        before = boot_id()
        assert lab.drover("vm", "reboot", guest)["state"] == "done"
        lab.guest_wait(BESIDE, guest)
        wait_for("another boot", 30, lambda: boot_id() != before)

    def test_shutdown_waits_until_it_has(self, lab, guest):
        done = lab.drover("vm", "shutdown", guest)
        assert done["state"] == "done" and lab.state_of(BESIDE, guest) == "shut off"
        assert find(lab, guest)["state"] == "shut off"

    def test_start_and_the_hard_stop(self, lab, vm):
        assert lab.drover("vm", "start", vm)["state"] == "done"
        assert lab.state_of(HERE, vm) == "running"
        assert find(lab, vm)["state"] == "running"
        assert lab.drover("vm", "stop", vm)["state"] == "done"
        assert lab.state_of(HERE, vm) == "shut off"

    def test_a_guest_that_ignores_the_shutdown(self, lab, vm):
        lab.drover("vm", "start", vm)
        error = fails(lab.drover, "vm", "shutdown", vm, "--timeout", "1s")
        assert error.exit == 1 and error.code == "timeout" and any("stop" in hint for hint in error.error["hints"])
        assert lab.state_of(HERE, vm) == "running"

    def test_autostart(self, lab, vm):
        lab.drover("vm", "autostart", vm)
        assert "enable" in lab.virsh(HERE, "dominfo", vm).split("Autostart:")[1].split()[0]
        assert find(lab, vm)["autostart"] is True
        lab.drover("vm", "autostart", vm, "--disable")
        assert find(lab, vm)["autostart"] is False

    def test_a_vm_that_cannot_start_says_why(self, lab, vm):
        missing = f"{POOL}/{vm}.qcow2"
        define(lab, HERE, domain_xml(vm, disk_xml(missing), uuid=lab.virsh(HERE, "domuuid", vm)))
        error = fails(lab.drover, "vm", "start", vm)
        assert error.exit == 1 and missing in error.error["message"]

    def test_several_at_once_of_which_one_fails(self, lab, vm):
        done = lab.run_drover("vm", "start", vm, "missing-one")
        assert done.returncode == 3 and "missing-one" in done.stderr
        assert lab.state_of(HERE, vm) == "running"
        done = lab.run_drover("vm", "stop", vm, "missing-one", "-o", "json")
        assert done.returncode == 3 and [(job["kind"], job["state"]) for job in json.loads(done.stdout)] == [("vm.stop", "done")]

    def test_a_line_a_step_without_a_terminal(self, lab, vm):
        done = lab.run_drover("vm", "start", vm)
        assert done.returncode == 0 and done.stdout == "" and "\033" not in done.stderr
        assert len(done.stderr.splitlines()) >= 2 and "done" in done.stderr.splitlines()[-1]

    def test_events_as_json_lines(self, lab, vm):
        done = lab.run_drover("vm", "start", vm, "-o", "jsonl")
        events = [json.loads(line) for line in done.stdout.splitlines()]
        assert events[-1]["state"] == "done" and events[-1]["vm"].endswith(vm)


class TestJobs:
    def test_detach_prints_the_id_and_follow_waits(self, lab, vm):
        done = lab.run_drover("vm", "start", vm, "--detach")
        assert done.returncode == 0, done.stderr
        ident = done.stdout.strip()
        followed = lab.run_drover("job", "follow", ident)
        assert followed.returncode == 0 and "done" in followed.stderr
        shown = lab.drover("job", "show", ident)
        assert shown["state"] == "done" and shown["id"] == ident and shown["vm"].endswith(vm) and shown["error"] is None
        assert later(shown["finished_at"], shown["started_at"]) and later(shown["started_at"], shown["created_at"])
        assert shown["steps"] and all(set(STEP_FIELDS) <= set(step) for step in shown["steps"])
        assert shown["steps"][-1]["state"] == "done" and "transfers" in shown

    def test_list_has_the_newest_first_and_filters(self, lab, vm):
        first = lab.drover("vm", "start", vm, "--detach")["id"]
        wait_for("done", 10, lambda: lab.drover("job", "show", first)["state"] == "done")
        second = lab.drover("vm", "stop", vm, "--detach")["id"]
        wait_for("done", 10, lambda: lab.drover("job", "show", second)["state"] == "done")
        assert [j["id"] for j in lab.drover("job", "list")][:2] == [second, first]
        assert [j["id"] for j in lab.drover("job", "list", "--limit", "1")] == [second]
        assert first in [j["id"] for j in lab.drover("job", "list", "--state", "done")]
        assert lab.drover("job", "list", "--state", "running") == []
        kinds = {j["id"]: j["kind"] for j in lab.drover("job", "list")}
        assert (kinds[first], kinds[second]) == ("vm.start", "vm.stop")

    def test_a_failed_job_keeps_its_error(self, lab, vm):
        define(lab, HERE, domain_xml(vm, disk_xml("/nowhere.qcow2"), uuid=lab.virsh(HERE, "domuuid", vm)))
        ident = lab.drover("vm", "start", vm, "--detach")["id"]
        followed = lab.run_drover("job", "follow", ident, "-o", "json")
        assert followed.returncode == 1
        failed = lab.drover("job", "show", ident)
        assert failed["state"] == "failed" and "/nowhere.qcow2" in failed["error"]["message"]
        assert ident in [j["id"] for j in lab.drover("job", "list", "--state", "failed")]

    def test_an_unknown_job(self, lab):
        for verb in ("show", "follow", "cancel", "retry"):
            assert fails(lab.drover, "job", verb, "zzzzzzzz").exit == 5

    def test_a_job_that_has_ended_cannot_be_cancelled(self, lab, vm):
        ident = lab.drover("vm", "start", vm)["id"]
        assert fails(lab.drover, "job", "cancel", ident).exit == 6
        assert fails(lab.drover, "job", "retry", ident).exit == 6

    def test_it_survives_the_controller(self, lab, vm):
        ident = lab.drover("vm", "start", vm)["id"]
        lab.kill("controller")
        lab.start("controller")
        assert lab.drover("job", "show", ident)["state"] == "done"
        lab.wait_online()


class TestNames:
    @pytest.fixture(scope="class", autouse=True)
    def twins(self, lab):
        for host in (HERE, BESIDE, AWAY):
            define(lab, host, domain_xml("twin"))
        define(lab, AWAY, domain_xml("single"))
        wait_for("twins", 10, lambda: [v["name"] for v in lab.drover("vm", "list")].count("twin") == 3 and find(lab, "single"))
        yield
        for host in (HERE, BESIDE, AWAY):
            undefine(lab, host, "twin", "single")

    @pytest.mark.parametrize("ending", ["single", "kvm1/single", "nantes/kvm1/single"])
    def test_any_unique_ending(self, lab, ending):
        vm = lab.drover("vm", "show", ending)
        assert (vm["site"], vm["host"], vm["name"]) == ("nantes", "kvm1", "single")

    def test_a_uuid(self, lab):
        vm = find(lab, "single")
        assert lab.drover("vm", "show", vm["uuid"])["name"] == "single"

    @pytest.mark.parametrize("ending, candidates", [
        ("twin", ["lyon/kvm1/twin", "lyon/kvm2/twin", "nantes/kvm1/twin"]),
        ("kvm1/twin", ["lyon/kvm1/twin", "nantes/kvm1/twin"])])
    def test_an_ambiguous_ending_lists_the_candidates(self, lab, ending, candidates):
        error = fails(lab.drover, "vm", "show", ending)
        assert error.exit in (2, 6)
        said = " ".join([error.error["message"], *error.error["hints"]])
        assert re.findall(r"[a-z]+/kvm\d/twin", said) == candidates
        assert fails(lab.drover, "vm", "start", ending).exit == error.exit

    def test_the_shortest_ending_that_is_unique(self, lab):
        vm = lab.drover("vm", "show", "kvm2/twin")
        assert (vm["site"], vm["host"]) == ("lyon", "kvm2")

    @pytest.mark.parametrize("unknown", ["singel", "kvm9/single", "paris/kvm1/single", "in", "00000000-0000-4000-8000-000000000000"])
    def test_an_unknown_name(self, lab, unknown):
        for verb in ("show", "xml", "start"):
            error = fails(lab.drover, "vm", verb, unknown)
            assert error.exit == 5 and error.code == "not-found" and unknown in error.error["message"]

    def test_the_nearest_name_is_suggested(self, lab):
        assert any("single" in hint for hint in fails(lab.drover, "vm", "show", "singel").error["hints"])
        assert any("lyon/kvm2" in hint for hint in fails(lab.drover, "host", "show", "lyon/kvn2").error["hints"])

    @pytest.mark.parametrize("bad", ["../etc", "a/b/c/d", "-x", "a\nb", "a\x01b", "x" * 4096, ".hidden", "lyon/../kvm1"])
    def test_fault_48_bad_names_are_refused_where_they_are_decoded(self, lab, bad):
        assert fails(lab.drover, "vm", "show", "--", bad).exit in (2, 5)
        assert fails(lab.drover, "host", "invite", "--", f"lyon/{bad}").exit == 2
        assert fails(lab.drover, "site", "create", "--", bad).exit == 2
        assert fails(lab.drover, "user", "invite", "--role", "viewer", "--", bad).exit == 2
        assert fails(lab.drover, "vm", "move", "single", HERE, f"--as={bad}").exit in (2, 7)


class TestSites:
    def test_create_set_show_and_remove(self, lab):
        lab.drover("site", "create", "brest", "--timezone", "Europe/Paris", "--rate", "20Mbit@mon..fri:8-18")
        site = lab.drover("site", "show", "brest")
        assert (site["name"], site["hosts"], site["vms"], site["timezone"]) == ("brest", 0, 0, "Europe/Paris")
        assert "brest" in [s["name"] for s in lab.drover("site", "list")]
        lab.drover("site", "set", "brest", "--timezone", "UTC")
        assert lab.drover("site", "show", "brest")["timezone"] == "UTC"
        lab.drover("site", "rm", "brest", "--yes")
        assert fails(lab.drover, "site", "show", "brest").exit == 5

    def test_what_cannot_be(self, lab):
        assert fails(lab.drover, "site", "create", "lyon").exit == 6
        assert fails(lab.drover, "site", "rm", "lyon", "--yes").exit in (6, 7)
        assert fails(lab.drover, "site", "create", "Lyon 2").exit == 2
        assert fails(lab.drover, "site", "set", "nowhere", "--timezone", "UTC").exit == 5
        assert fails(lab.drover, "site", "create", "brest", "--rate", "fast").exit == 2
        assert [s["name"] for s in lab.drover("site", "list")] == ["lyon", "nantes"]

    def test_an_invited_host_is_shown(self, lab):
        lab.drover("host", "invite", "lyon/kvm8", "--ttl", "2s")
        host = next(h for h in lab.drover("host", "list") if h["name"] == "kvm8")
        assert host["state"] == "invited" and host["cpus"] is None and host["last_seen_at"] is None
        wait_for("it is over", 5, lambda: "kvm8" not in [h["name"] for h in lab.drover("host", "list")])


class TestOutput:
    @pytest.fixture(scope="class", autouse=True)
    def a_job(self, lab):
        lab.drover("vm", "autostart", "shown", "--disable")

    @pytest.mark.parametrize("command", FIELDS)
    def test_every_list_in_every_format(self, lab, command):
        def run(kind):
            done = lab.run_drover(*command.split(), "-o", kind)
            assert done.returncode == 0 and done.stderr == "", done.stderr
            return done.stdout
        rows = json.loads(run("json"))
        assert rows and all(set(FIELDS[command]) <= set(row) for row in rows)
        check_values(rows)
        lines = [json.loads(line) for line in run("jsonl").splitlines()]
        assert [set(line) for line in lines[:len(rows)]] == [set(row) for row in rows]
        table, wide = run("table").splitlines(), run("wide").splitlines()
        assert len(table) == len(wide) == len(rows) + 1 or command == "audit list"
        assert set(re.split(r"\s{2,}", table[0])) <= set(re.split(r"\s{2,}", wide[0])) and table[0] == table[0].upper()
        # Both tell how long ago things were, so they are the same only when asked within one second.
        assert command == "audit list" or any(run("table") == lab.run_drover(*command.split()).stdout for _ in range(20))
        sheet = list(csv.DictReader(io.StringIO(run("csv"))))
        assert len(sheet) >= len(rows) and set(sheet[0]) <= set(rows[0])
        if "name" in rows[0]:
            assert [line.rsplit("/", 1)[-1] for line in run("name").splitlines()] == [row["name"] for row in rows]

    @pytest.mark.parametrize("command", SHOWS)
    def test_every_show_in_every_format(self, lab, command):
        shown = lab.drover(*command.split())
        assert set(FIELDS[SHOWS[command]]) <= set(shown)
        check_values([shown])
        for kind in ("table", "wide", "jsonl", "csv", "name"):
            done = lab.run_drover(*command.split(), "-o", kind)
            assert done.returncode == 0 and shown["name"] in done.stdout and done.stderr == ""
        assert json.loads(lab.run_drover(*command.split(), "-o", "jsonl").stdout).keys() == shown.keys()
        sheet = list(csv.DictReader(io.StringIO(lab.run_drover(*command.split(), "-o", "csv").stdout)))
        assert len(sheet) == 1 and sheet[0]["name"] == shown["name"]

    def test_the_parts_of_a_vm(self, lab, shown):
        assert all(set(DISK_FIELDS) <= set(disk) for disk in shown["disks"])
        assert all(set(INTERFACE_FIELDS) <= set(interface) for interface in shown["interfaces"])

    def test_names_can_be_typed_back(self, lab):
        for noun in ("site", "host", "vm"):
            for line in lab.run_drover(noun, "list", "-o", "name").stdout.splitlines():
                assert lab.run_drover(noun, "show", line).returncode == 0, (noun, line)
        for line in lab.run_drover("job", "list", "-o", "name").stdout.splitlines():
            assert lab.run_drover("job", "show", line).returncode == 0

    def test_status_in_ten_lines(self, lab):
        lines = lab.run_drover("status").stdout.splitlines()
        assert 3 <= len(lines) <= 12
        status = lab.drover("status")
        assert (status["sites"], status["hosts"], status["hosts_online"]) == (2, 3, 3)
        assert status["vms"] == len(lab.drover("vm", "list"))

    def test_no_colour_without_a_terminal(self, lab):
        env = {key: value for key, value in lab.env.items() if key != "NO_COLOR"}
        for argv in (["vm", "list"], ["status"], ["vm", "show", "missing"]):
            done = subprocess.run(["drover", *argv], env={**env, "TERM": "xterm"}, stdin=subprocess.DEVNULL, capture_output=True)
            assert b"\033" not in done.stdout + done.stderr

    def test_an_empty_list_is_an_empty_array(self, lab):
        assert lab.drover("vm", "list", "--search", "no such vm") == []
        done = lab.run_drover("vm", "list", "--search", "no such vm")
        assert done.returncode == 0 and done.stdout == ""


class TestErrors:
    def test_an_object_on_standard_error(self, lab):
        done = lab.run_drover("vm", "show", "missing", "-o", "json")
        assert done.returncode == 5 and done.stdout == ""
        error = json.loads(done.stderr)["error"]
        assert list(error) == ["code", "message", "hints"] and error["code"] == "not-found"

    def test_one_line_and_hints(self, lab):
        done = lab.run_drover("vm", "show", "missing")
        first, *hints = done.stderr.splitlines()
        assert done.stdout == "" and first.startswith("drover: ") and "missing" in first
        assert all(line.startswith("hint: ") for line in hints)

    @pytest.mark.parametrize("argv", [
        ["vn", "list"], ["vm", "lst"], ["vm"], ["vm", "show"], ["vm", "show", "a", "b"], ["vm", "list", "--sit", "lyon"],
        ["vm", "list", "-o", "xml"], ["vm", "list", "--site"], ["job", "list", "--state", "doing"], ["job", "list", "--limit", "x"],
        ["host", "invite", "kvm1"], ["host", "invite", "lyon/kvm7", "--ttl", "soon"], ["vm", "shutdown", "shown", "--timeout", "1"],
        ["user", "invite", "ann", "--role", "king"]], ids=" ".join)
    def test_usage_is_exit_2(self, lab, argv):
        done = lab.run_drover(*argv)
        assert (done.returncode, done.stdout) == (2, ""), done.stderr
        assert done.stderr.startswith("drover: ")

    @pytest.mark.parametrize("argv, meant", [(["hots", "list"], "host"), (["vm", "lst"], "list"), (["vm", "list", "--sit", "x"], "--site")])
    def test_what_was_meant_is_suggested(self, lab, argv, meant):
        assert meant in lab.run_drover(*argv).stderr.split("hint:", 1)[1]

    def test_nothing_is_asked_without_a_terminal(self, lab):
        for argv in (["host", "rm", HERE], ["user", "rm", "somebody"], ["vm", "purge", "--all"]):
            done = lab.run_drover(*argv, timeout=10)
            assert done.returncode == 2 and "--yes" in done.stderr

    def test_a_controller_that_is_not_there_is_exit_8(self, lab, tmp_path):
        shutil.copytree(lab.env["DROVER_CONFIG"], tmp_path / "config")
        config = tmp_path / "config" / "config.yaml"
        config.write_text(config.read_text().replace(":7443", ":7439"))
        error = fails(Operator(lab, tmp_path / "config"), "vm", "list")
        assert error.exit == 8 and ":7439" in error.error["message"]

    def test_without_credentials_the_hint_says_how_to_get_some(self, lab, tmp_path):
        error = fails(Operator(lab, tmp_path), "vm", "list")
        assert error.exit in (2, 4) and any("drover login" in hint for hint in error.error["hints"])


class TestHelp:
    def test_overview_names_every_command(self, lab):
        done = lab.run_drover("help")
        assert done.returncode == 0 and done.stderr == ""
        for command in ("status", "site create", "site set", "host invite", "host list", "host show", "host rm", "vm list", "vm show", "vm xml", "vm start",
                        "vm shutdown", "vm stop", "vm reboot", "vm suspend", "vm resume", "vm autostart", "vm move", "vm purge", "job list",
                        "job show", "job follow", "job cancel", "user invite", "user list", "user rm", "login", "audit list"):
            assert re.search(rf"^ +{command}\b", done.stdout, re.M), command
        assert lab.run_drover().stdout == lab.run_drover("--help").stdout == done.stdout

    @pytest.mark.parametrize("noun", ["site", "host", "vm", "job", "user", "audit"])
    def test_noun(self, lab, noun):
        done = lab.run_drover(noun, "--help")
        assert done.returncode == 0 and re.search(r"^ +list\b", done.stdout, re.M) and f"drover {noun}" in done.stdout
        assert lab.run_drover("help", noun).stdout == done.stdout
        assert max(map(len, done.stdout.splitlines())) <= 80

    def test_command_with_its_options(self, lab):
        done = lab.run_drover("vm", "move", "--help")
        assert done.returncode == 0
        for option in ("--as", "--shutdown", "--stop", "--start", "--no-start", "--pool", "--format", "--bridge", "--rate", "--path", "--verify", "--purge-source", "--plan"):
            assert re.search(rf"^ +{option}\b", done.stdout, re.M), option
        assert max(map(len, done.stdout.splitlines())) <= 80

    def test_what_there_is_no_help_for_is_named(self, lab):
        for argv, nearest in ((["vmm"], "vm"), (["vm", "mvoe"], "vm move")):
            done = lab.run_drover("help", *argv)
            assert (done.returncode, done.stdout) == (2, "")
            assert done.stderr.splitlines()[:2] == [f"drover: {' '.join(argv)}: no such command", f"hint: did you mean drover {nearest}?"]

    @pytest.mark.parametrize("command", [["vm", "purge"], ["host", "rm"], ["user", "rm"]])
    def test_what_asks_first_says_how_to_answer(self, lab, command):
        assert re.search(r"^ +--yes\b", lab.run_drover(*command, "--help").stdout, re.M)

    def test_completion_for_bash(self, lab):
        script = """
            source <(drover completion bash)
            try() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}; COMPREPLY=()
                    f=$(complete -p drover | sed 's/.*-F \\([^ ]*\\).*/\\1/'); $f drover "${@: -1}" "${@: -2:1}"; echo "${COMPREPLY[@]}"; }
            try drover v; try drover vm su; try drover vm move --purge; try drover vm show sho
            try drover vm list --site na; try drover vm move shown nantes/; try drover vm list -o js; try drover vm move shown nantes/kvm1 --path re; try drover help vm cl
        """
        done = subprocess.run(["bash", "-ec", script], env=lab.env, text=True, capture_output=True)
        assert done.returncode == 0, done.stderr
        noun, verb, option, vm, *values = done.stdout.splitlines()
        assert values == ["nantes", "nantes/kvm1", "json jsonl", "reverse relay", "clone"]
        assert "vm" in noun.split() and verb.split() == ["suspend"] and option.split() == ["--purge-source"]
        assert "shown" in vm

    def test_completion_for_zsh_is_given(self, lab):
        done = lab.run_drover("completion", "zsh")
        assert done.returncode == 0 and "drover" in done.stdout
        assert lab.run_drover("completion", "fish").returncode == 2


def check_values(rows):
    """The rules for keys and values that CLI.md states."""
    for row in rows:
        for key, value in row.items():
            assert re.fullmatch(r"[a-z0-9_]+", key), key
            if isinstance(value, list) and value and isinstance(value[0], dict):
                check_values(value)
            elif isinstance(value, dict):
                check_values([value])
            elif value is not None and key.endswith("_bytes"):
                assert isinstance(value, int), key
            elif value is not None and key.endswith("_at"):
                assert TIME.fullmatch(value), key
            assert value != "", key
