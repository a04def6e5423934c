# SPDX-License-Identifier: LGPL-2.1-or-later
"""The lab keeps its promises: guests boot and obey, links do what they are told, and nothing stays behind."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from labclient import LAB, Lab, state, wait_for
from labkit.shell import Failure

SERVER = """
import socket, sys, threading
def serve(client):
    kind = client.recv(1)
    if kind == b"e":
        while data := client.recv(64): client.sendall(data)
    total = 0
    while data := client.recv(1 << 20): total += len(data)
    client.sendall(b"%d" % total)
    client.close()
server = socket.create_server(("0.0.0.0", 5000))
print("listening", flush=True)
while True:
    threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()
"""

CLIENT = """
import json, socket, statistics, sys, time
address, mebibytes = sys.argv[1], float(sys.argv[2])
peer = socket.create_connection((address, 5000), timeout=2)
peer.settimeout(60)
peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
if mebibytes:
    data = bytes(int(mebibytes * (1 << 20)))
    begin = time.monotonic()
    peer.sendall(b"d" + data)
    peer.shutdown(socket.SHUT_WR)
    assert int(peer.recv(32)) == len(data)
    print(len(data) * 8 / (time.monotonic() - begin) / 1e6)
else:
    peer.sendall(b"e")
    times = []
    for _ in range(9):
        begin = time.monotonic()
        peer.sendall(b"x")
        peer.recv(1)
        times.append(time.monotonic() - begin)
    print(statistics.median(times) * 1e3)
"""


@pytest.fixture(scope="module")
def guest(bare_lab):
    bare_lab.guest("lyon/kvm1", "erp", format="raw")
    return "lyon/kvm1", "erp"


@pytest.fixture(scope="module")
def servers(bare_lab):
    """Something that listens on port 5000 of lyon/kvm1 and nantes/kvm1."""
    with contextlib.ExitStack() as stack:
        for host in ("lyon/kvm1", "nantes/kvm1"):
            server = bare_lab.popen(host, "python3", "-c", SERVER, stdout=subprocess.PIPE)
            stack.callback(server.wait)
            stack.callback(server.terminate)
            assert server.stdout.readline() == b"listening\n"
        yield


def probe(lab, source, target, mebibytes):
    done = lab.exec(source, "python3", "-c", CLIENT, lab.address(target), mebibytes, check=False)
    return float(done.stdout) if done.returncode == 0 else None


def round_trip_ms(lab, source, target):
    return probe(lab, source, target, 0)


def mbit_per_second(lab, source, target, mebibytes):
    return probe(lab, source, target, mebibytes)


def is_fast(lab, source, target):
    """Several times what a limit here allows. A line that is slow by itself is so each time."""
    return any(mbit_per_second(lab, source, target, 100) > 300 for _ in range(3))


class TestHosts:
    def test_each_is_a_machine_of_its_own(self, bare_lab):
        hosts = [n.name for n in bare_lab.plan.hosts]
        assert hosts == ["lyon/kvm1", "lyon/kvm2", "nantes/kvm1"]
        for question in (["cat", "/etc/machine-id"], ["sh", "-c", "virsh capabilities | grep -m1 '<uuid>'"],
                         ["readlink", "/proc/self/ns/net"]):
            assert len({bare_lab.exec(h, *question).stdout for h in hosts}) == 3
        assert [bare_lab.exec(h, "hostname").stdout for h in hosts] == ["kvm1\n", "kvm2\n", "kvm1\n"]

    def test_exec_passes_input_output_and_exit_code(self, bare_lab):
        done = bare_lab._lab("exec", "lyon/kvm2", "sh", "-c", "echo out; exit 7", check=False)
        assert (done.returncode, done.stdout) == (7, "out\n")
        assert bare_lab.exec("controller", "cat", input="in").stdout == "in"

    def test_an_unknown_host_is_named_with_the_known_ones(self, bare_lab):
        with pytest.raises(Failure, match="no node 'lyon/kvm9' in lab .*; there are lyon/kvm1, lyon/kvm2"):
            bare_lab.start("lyon/kvm9")

    def test_the_pool_is_active_and_starts_by_itself(self, bare_lab):
        assert bare_lab.virsh("nantes/kvm1", "pool-list", "--autostart").split() == ["default", "active", "yes"]

    def test_only_the_first_host_has_br1(self, bare_lab):
        with_br1 = [n.name for n in bare_lab.plan.hosts
                    if bare_lab.exec(n.name, "ip", "link", "show", "br1", check=False).returncode == 0]
        assert with_br1 == ["lyon/kvm1"]

    def test_all_reach_the_controller_and_so_does_this_machine(self, bare_lab):
        address = bare_lab.plan.controller_address
        listen = f"import socket; s=socket.create_server(('{address}', 7443)); print(flush=True)\nwhile 1: s.accept()"
        call = f"import socket; socket.create_connection(('{address}', 7443), 2)"
        server = bare_lab.popen("controller", "python3", "-c", listen, stdout=subprocess.PIPE)
        try:
            server.stdout.readline()
            for node in bare_lab.plan.hosts:
                bare_lab.exec(node.name, "python3", "-c", call)
            socket.create_connection((address, 7443), 2).close()
        finally:
            server.terminate()
            server.wait()

    def test_direct_io_works_on_a_host(self, bare_lab):
        bare_lab.exec("lyon/kvm2", "dd", "if=/dev/zero", "of=/var/lib/drover/direct", "bs=1M", "count=1", "oflag=direct")


class TestGuests:
    def test_boots_and_its_agent_answers(self, bare_lab, guest):
        assert bare_lab.state_of(*guest) == "running"
        assert bare_lab.guest_exec(*guest, "hostname") == "erp"

    def test_payload_is_what_was_put_there(self, bare_lab, guest):
        assert bare_lab.payload_sha256(*guest) == bare_lab.expected_sha256("erp")

    def test_appends_to_its_log_once_a_second(self, bare_lab, guest):
        def lines():
            return [int(line.split()[0]) for line in bare_lab.guest_exec(*guest, "cat", "/data/log").splitlines()]
        before = lines()
        wait_for("two more lines", 15, lambda: len(lines()) >= len(before) + 2)
        now = lines()
        assert now == list(range(1, len(now) + 1))

    def test_freezes_and_thaws(self, bare_lab, guest):
        assert "Froze 1" in bare_lab.exec(guest[0], "virsh", "domfsfreeze", guest[1]).stdout
        assert bare_lab.guest_agent(*guest, "guest-fsfreeze-status") == "frozen"
        assert "Thawed 1" in bare_lab.exec(guest[0], "virsh", "domfsthaw", guest[1]).stdout
        assert bare_lab.guest_agent(*guest, "guest-fsfreeze-status") == "thawed"

    def test_console_goes_to_a_log(self, bare_lab, guest):
        log = bare_lab.file(guest[0], "/var/log/libvirt/qemu/erp-console.log")
        assert "lab-guest: up after" in log.read_text()

    def test_reboots(self, bare_lab, guest):
        boot_id = bare_lab.guest_exec(*guest, "cat", "/proc/sys/kernel/random/boot_id")
        bare_lab.virsh(guest[0], "reboot", guest[1], "--mode", "agent")

        def rebooted():
            with contextlib.suppress(Failure):
                return bare_lab.guest_exec(*guest, "cat", "/proc/sys/kernel/random/boot_id") != boot_id
        wait_for("a new boot id", 30, rebooted)
        assert bare_lab.payload_sha256(*guest) == bare_lab.expected_sha256("erp")

    @pytest.mark.parametrize("kind,mode", [("qcow2", "acpi"), ("vmdk", "agent")])
    def test_disk_formats_and_more_disks_and_a_clean_shutdown(self, bare_lab, tmp_path, kind, mode):
        where, name = "lyon/kvm2", f"disks-{kind}"
        bare_lab.guest(where, name, format=kind, disks=2, disk="256M")
        image = f"/var/lib/libvirt/images/{name}.{kind}"
        info = json.loads(bare_lab.exec(where, "qemu-img", "info", "-U", "--output=json", image).stdout)
        assert (info["format"], info["virtual-size"]) == (kind, 256 << 20)
        assert bare_lab.payload_sha256(where, name, "/data-vdb") == bare_lab.expected_sha256(name, "vdb")
        assert bare_lab.expected_sha256(name, "vdb") != bare_lab.expected_sha256(name)
        bare_lab.virsh(where, "shutdown", name, "--mode", mode)
        bare_lab.wait_state(where, name, "shut off")
        raw = tmp_path / "raw"
        subprocess.run(["qemu-img", "convert", "-f", kind, "-O", "raw", bare_lab.file(where, image), raw], check=True)
        head = subprocess.run(["dumpe2fs", "-h", raw], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
        assert "needs_recovery" not in head and "Filesystem state:         clean" in head

    def test_off_with_a_given_image_and_identity(self, bare_lab, tmp_path):
        image = tmp_path / "given.raw"
        image.write_bytes(b"given" * 1000 + bytes(1 << 20))
        uuid = "5b0f1f8e-7a41-4a0e-9a4c-0b0f5f0b7e11"
        bare_lab.guest("lyon/kvm2", "given", "--off", "--no-agent-channel", image=image, uuid=uuid, mac="52:54:00:00:00:77")
        assert bare_lab.state_of("lyon/kvm2", "given") == "shut off"
        assert bare_lab.virsh("lyon/kvm2", "domuuid", "given") == uuid
        xml = bare_lab.virsh("lyon/kvm2", "dumpxml", "given")
        assert "52:54:00:00:00:77" in xml and "guest_agent" not in xml
        assert bare_lab.file("lyon/kvm2", "/var/lib/libvirt/images/given.raw").read_bytes() == image.read_bytes()


class TestProcesses:
    def test_guest_outlives_libvirtd(self, bare_lab, guest):
        pid = bare_lab.exec(guest[0], "cat", "/run/libvirt/qemu/erp.pid").stdout
        bare_lab.kill(guest[0], "libvirtd")
        assert bare_lab.exec(guest[0], "virsh", "list", check=False).returncode != 0
        bare_lab.start(guest[0], "libvirtd")
        assert bare_lab.state_of(*guest) == "running"
        assert bare_lab.exec(guest[0], "cat", "/run/libvirt/qemu/erp.pid").stdout == pid
        bare_lab.guest_wait(*guest)

    def test_libvirtd_stops_and_continues(self, bare_lab):
        bare_lab.kill("lyon/kvm2", "libvirtd", "STOP")
        with pytest.raises(subprocess.TimeoutExpired):
            bare_lab.exec("lyon/kvm2", "virsh", "list", timeout=1)
        bare_lab.kill("lyon/kvm2", "libvirtd", "CONT")
        assert bare_lab.virsh("lyon/kvm2", "uri") == "qemu:///system"

    def test_killed_guest_is_shut_off(self, bare_lab):
        bare_lab.guest("lyon/kvm2", "victim", wait=False)
        bare_lab.kill("lyon/kvm2", "qemu:victim")
        bare_lab.wait_state("lyon/kvm2", "victim", "shut off")

    def test_power_cut_ends_guests_and_keeps_disks(self, bare_lab):
        bare_lab.guest("lyon/kvm2", "dark", "--no-agent-channel")
        bare_lab.kill("lyon/kvm2", "power")
        assert bare_lab.exec("lyon/kvm2", "pgrep", "-c", "qemu|libvirtd", check=False).stdout == "0\n"
        bare_lab.start("lyon/kvm2", "libvirtd")
        assert bare_lab.state_of("lyon/kvm2", "dark") == "shut off"
        assert "dark.qcow2" in bare_lab.virsh("lyon/kvm2", "vol-list", "default")


@pytest.mark.usefixtures("servers")
class TestLinks:
    there = ("lyon/kvm1", "nantes/kvm1")
    back = ("nantes/kvm1", "lyon/kvm1")

    @pytest.fixture(autouse=True)
    def plain_link_afterwards(self, bare_lab):
        yield
        bare_lab.link("nantes", rate="none", latency=0, up=True, inbound=True)

    def test_plain_link_is_described_and_fast(self, bare_lab):
        assert bare_lab.link("nantes") == "nantes: up, rate no limit, latency 0 ms, inbound allowed"
        assert is_fast(bare_lab, *self.there)

    def test_rate_holds_both_ways_and_for_this_site_only(self, bare_lab):
        assert "rate 50mbit" in bare_lab.link("nantes", rate="50mbit")
        for way in (self.there, self.back):
            assert 40 < mbit_per_second(bare_lab, *way, 12) < 55
        assert is_fast(bare_lab, "lyon/kvm2", "lyon/kvm1")
        bare_lab.link("nantes", rate="none")
        assert is_fast(bare_lab, *self.there)

    def test_latency_is_added_to_a_round_trip(self, bare_lab):
        before = round_trip_ms(bare_lab, *self.there)
        bare_lab.link("nantes", latency=30)
        for way in (self.there, self.back):
            assert 30 <= round_trip_ms(bare_lab, *way) < 30 + before + 15
        bare_lab.link("nantes", latency=0)
        assert round_trip_ms(bare_lab, *self.there) < 15

    def test_rate_holds_with_latency(self, bare_lab):
        bare_lab.link("nantes", rate="50mbit", latency=20)
        assert 35 < mbit_per_second(bare_lab, *self.there, 12) < 55
        assert round_trip_ms(bare_lab, *self.there) >= 20

    @pytest.mark.parametrize("latency", [0, 10])
    def test_down_loses_everything_until_up(self, bare_lab, latency):
        bare_lab.link("nantes", latency=latency, up=False)
        assert round_trip_ms(bare_lab, *self.there) is None
        assert round_trip_ms(bare_lab, *self.back) is None
        assert round_trip_ms(bare_lab, "lyon/kvm2", "lyon/kvm1") is not None
        bare_lab.link("nantes", up=True)
        assert round_trip_ms(bare_lab, *self.there) is not None

    def test_a_connection_survives_a_short_cut(self, bare_lab):
        bare_lab.link("nantes", rate="50mbit")
        copy = bare_lab.popen("lyon/kvm1", "python3", "-c", CLIENT, bare_lab.address("nantes/kvm1"), "12",
                              stdout=subprocess.PIPE)
        bare_lab.link("nantes", up=False)
        bare_lab.link("nantes", up=True)
        assert float(copy.communicate(timeout=30)[0]) > 0

    @pytest.mark.parametrize("latency", [0, 10])
    def test_no_inbound_refuses_callers_and_lets_the_site_call(self, bare_lab, latency):
        assert "no inbound" in bare_lab.link("nantes", latency=latency, inbound=False)
        assert round_trip_ms(bare_lab, *self.there) is None
        assert round_trip_ms(bare_lab, *self.back) is not None
        bare_lab.link("nantes", inbound=True)
        assert round_trip_ms(bare_lab, *self.there) is not None

    def test_a_wrong_rate_or_site_is_refused(self, bare_lab):
        with pytest.raises(Failure, match="--rate 'fast': write it as '100mbit'"):
            bare_lab.link("nantes", rate="fast")
        with pytest.raises(Failure, match="no site 'paris' in lab .*; there are lyon, nantes"):
            bare_lab.link("paris", up=False)


def leftovers(name):
    """Processes, interfaces, mounts and files of a lab."""
    found = [str(state.base_dir() / name)] if (state.base_dir() / name).exists() else []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (process / "cmdline").read_bytes().split(b"\0")
            if b"labkit.keeper" in command and name.encode() in command:
                found.append(f"{process} keeper")
            elif f"/{name}/" in (process / "mountinfo").read_text():
                found.append(f"{process} {command}")
    return found


def machine(name):
    """What a lab of this name might leave on the machine itself: interfaces by their number, mounts, namespaces."""
    links = json.loads(subprocess.run(["ip", "-json", "link"], stdout=subprocess.PIPE, text=True, check=True).stdout)
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    spaces = os.listdir("/run/netns") if os.path.exists("/run/netns") else []
    return {link["ifindex"] for link in links if link["ifname"].startswith("drlab")} | {line for line in mounts if name in line} | set(spaces)


def of_others(name):
    """The interfaces of other labs, which come and go beside this one."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, KeyError, IndexError):
            command = (process / "cmdline").read_bytes().split(b"\0")
            if b"labkit.keeper" in command and name.encode() not in command:
                inner = ["nsenter", "--target", process.name, "--mount", "ip", "-n", "controller", "-json", "link", "show", "op"]
                yield json.loads(subprocess.run(inner, capture_output=True, text=True).stdout)[0]["link_index"]


def new_since(before, name):
    """What is on the machine now and was not, and belongs to no other lab."""
    return machine(name) - before - set(of_others(name))


def wait_clean(before, name):
    wait_for("nothing left on the machine", 5, lambda: not new_since(before, name))  # another lab may end while it is looked at


def inits(name):
    return [p for p in state.keeper_of(name)[1]]


class TestDown:
    @pytest.fixture
    def other(self):
        with Lab(f"down-{os.getpid()}") as other:
            yield other

    def test_leaves_nothing(self, other):
        before = machine(other.name)
        other.up("paris/one,rome/two", agents=False)
        other.guest("paris/one", "erp", wait=False)
        other.link("paris", rate="1mbit", latency=10, inbound=False)
        assert leftovers(other.name) and new_since(before, other.name)
        spaces = {os.readlink(f"/proc/{p.pid}/ns/{kind}") for p in inits(other.name) for kind in ("net", "mnt", "pid")}
        other.down()
        assert leftovers(other.name) == []
        wait_clean(before, other.name)
        assert not spaces & set(namespaces_in_use())

    def test_twice_is_no_error(self, other):
        other.up("paris/one", agents=False)
        other.down()
        other.down()

    def test_two_labs_do_not_meet(self, bare_lab, other):
        other.up("lyon/kvm1", agents=False)
        assert other.plan.controller_address != bare_lab.plan.controller_address
        assert other.virsh("lyon/kvm1", "list", "--all", "--name") == ""
        other.down()
        assert bare_lab.virsh("lyon/kvm1", "uri") == "qemu:///system"

    def test_after_its_keeper_was_killed(self, other):
        other.up("paris/one", agents=False)
        keeper, first = state.keeper_of(other.name)[0], inits(other.name)
        keeper.signal(signal.SIGKILL)
        for process in [keeper, *first]:
            assert process.wait_gone(10)
        other.down()
        assert leftovers(other.name) == []

    @pytest.mark.parametrize("moment", ["keeper.json", "lab.json", "paris-one/libvirtd.pid"])
    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
    def test_after_up_was_stopped_midway(self, other, moment, number):
        before = machine(other.name)
        up = subprocess.Popen([LAB, "up", "--no-agents", "--hosts", "paris/one,paris/two"], env=other.env,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        wait_for(moment, 10, (state.base_dir() / other.name / moment).exists, interval=0.001)
        os.kill(up.pid, number)
        assert up.wait(10) != 0
        other.down()
        assert leftovers(other.name) == []
        wait_clean(before, other.name)

    def test_by_itself_when_the_owner_is_gone(self, other):
        owner = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        subprocess.run([LAB, "up", "--no-agents", "--hosts", "paris/one", "--owner", str(owner.pid)], env=other.env,
                       check=True, stdout=subprocess.DEVNULL)
        assert leftovers(other.name)
        owner.kill()
        owner.wait()
        wait_for("the lab's end", 10, lambda: leftovers(other.name) == [])

    def test_up_prints_only_shell_lines(self, other):
        done = other._lab("up", "--no-agents", "--hosts", "paris/one")
        assert [line.split("=")[0] for line in done.stdout.splitlines() if not line.startswith("export ")] == []
        assert f"export DROVER_LAB={other.name}" in done.stdout

    def test_up_is_quick(self, other):
        def up_seconds():
            begin = time.monotonic()
            other.up(agents=False)
            return time.monotonic() - begin
        assert any(up_seconds() < 8 for _ in range(3))  # one that is slow by itself is so each time


def namespaces_in_use():
    for process in Path("/proc").glob("[0-9]*"):
        for kind in ("net", "mnt", "pid"):
            with contextlib.suppress(OSError):
                yield os.readlink(process / "ns" / kind)
