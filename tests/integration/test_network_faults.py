# SPDX-License-Identifier: LGPL-2.1-or-later
"""Links that are cut, connections that are reset, agents that are killed in the middle of a copy, a relay that is an enemy: the copy
goes on from the last verified range, and what arrives is what was sent."""

import itertools
import re
import time

import pytest

import tamper
from conftest import lab_name
from fleet import POOL, Faults, defined_on, disk_xml, domain_xml, define, images, job, known, leftovers, start_move, undefine, wait_job
from labclient import Lab, wait_for

HERE, THERE = "lyon/kvm1", "nantes/kvm1"
HOSTS = (HERE, THERE)
SERIAL = itertools.count(1)  # no two VMs of one name: what is said of one is not said of the other
MIB = 1 << 20
LENGTH = 40  # MiB
RATE = "64mbit"  # so that a copy takes some seconds, and a cut falls into it


@pytest.fixture(scope="module")
def lab(request):
    with Lab(lab_name(request)) as made:
        made.up(hosts=",".join(HOSTS), DROVER_FAULT_DIR=Faults.DIRECTORY)
        made.link("nantes", rate=RATE)
        yield made


@pytest.fixture
def vm(lab, request):
    """A VM that is off, with random data; `vm.data` is its digest, `vm.first` the beginning of it."""
    class Vm(str):
        pass

    name = Vm(re.sub(r"[^a-z0-9-]", "-", request.node.name.removeprefix("test_").replace("_", "-"))[:36].strip("-") + f"-{next(SERIAL)}")
    path = f"{POOL}/{name}.raw"
    name.data = lab.exec(HERE, "sh", "-c", f"head -c {LENGTH}M /dev/urandom > {path} && sync {path} && sha256sum {path}").stdout.split()[0]
    with open(lab.file(HERE, path), "rb") as image:
        name.first = image.read(2 * MIB)
    lab.virsh(HERE, "pool-refresh", "default")
    define(lab, HERE, domain_xml(name, disk_xml(path, format="raw")))
    wait_for("its image is known", 20, lambda: known(lab, name)["disks"][0]["volume"])
    yield name
    for host in HOSTS:
        Faults(lab, host).clear()
        undefine(lab, host, name)
        lab.exec(host, "sh", "-c", f"rm -f {POOL}/{name}*", check=False)
    lab.run_drover("vm", "purge", "--all", "--yes")


def disk_of(shown):
    return next((t for t in (shown or {}).get("transfers") or [] if t["disk"] == "vda"), {})


def wait_copied(lab, ident, mebibytes):
    """Until so much of the disk is there."""
    wait_for(f"{mebibytes} MiB copied", 60, lambda: disk_of(job(lab, ident)).get("bytes_done", 0) >= mebibytes * MIB, 0.05)


def assert_arrived(lab, vm, ended):
    assert ended["state"] == "done", ended
    assert defined_on(lab, HOSTS, vm) == [THERE] and images(lab, THERE, vm) == [f"{vm}.raw"]
    assert lab.exec(THERE, "sha256sum", f"{POOL}/{vm}.raw").stdout.split()[0] == vm.data
    assert leftovers(lab, THERE) == []


def test_fault_01_a_line_that_is_dead_for_longer_than_tcp_waits_for_us(lab, vm):
    ident = start_move(lab, vm, THERE)
    wait_copied(lab, ident, 20)
    lab.link("nantes", up=False)
    try:
        wait_for("offline within 15 s", 16, lambda: any(h["site"] == "nantes" and h["state"] == "offline" for h in lab.drover("host", "list")))
        assert job(lab, ident)["state"] in ("waiting", "running")
    finally:
        lab.link("nantes", up=True)
    ended = wait_job(lab, ident, 90)
    assert_arrived(lab, vm, ended)


def assert_resumed(ended, cuts=1):
    """It went on: less than two seconds' worth was sent again for each cut."""
    disk = disk_of(ended)
    assert disk["resumed"] >= 1, disk
    assert disk["bytes_wire"] < (LENGTH + 2 * 8 * cuts) * MIB * 1.02, disk


@pytest.mark.parametrize("path", ["direct", "reverse", "relay"])
def test_fault_01_connections_reset_in_the_middle_of_a_frame(lab, vm, path):
    """Data flows all the time, so that each reset falls into a block."""
    ident = start_move(lab, vm, THERE, "--path", path)
    for mebibytes in (5, 14, 24):
        wait_copied(lab, ident, mebibytes)
        lab.reset("nantes")
    ended = wait_job(lab, ident, 90)
    assert_arrived(lab, vm, ended)
    assert_resumed(ended, 3)


@pytest.mark.parametrize("fault,host", [(9, HERE), (10, THERE)], ids=["source", "target"])
def test_fault_09_10_an_agent_is_killed_in_the_copy_and_it_goes_on(lab, vm, fault, host):
    ident = start_move(lab, vm, THERE)
    for mebibytes in (8, 20):
        wait_copied(lab, ident, mebibytes)
        lab.kill(host, "agent")
        time.sleep(0.2)
        lab.start(host, "agent")
    ended = wait_job(lab, ident, 90)
    assert_arrived(lab, vm, ended)
    assert_resumed(ended, 2)


# Where a cut finds the job: before the first byte, in the copy, when all is sent and not yet synced, and after it.
@pytest.mark.parametrize("node,point", [(HERE, "agent.step.transfer_send.intent"), (THERE, "agent.step.transfer_receive.intent"),
                                        (THERE, "agent.receive.before-sync"), (THERE, "agent.receive.after-sync"),
                                        (THERE, "agent.step.transfer_receive.acted"), (THERE, "agent.step.move_define.acted")])
def test_fault_01_a_cut_at_each_stage(lab, vm, node, point):
    faults = Faults(lab, node)
    faults.set(point, "hold")
    ident = start_move(lab, vm, THERE)
    wait_for(f"held at {point}", 30, lambda: faults.held(point))
    lab.reset("nantes")
    faults.clear()
    assert_arrived(lab, vm, wait_job(lab, ident, 90))


@pytest.mark.parametrize("how", [tamper.truncate, tamper.repeat, tamper.swap, tamper.flip], ids=lambda how: how.__name__)
def test_fault_06_a_relay_that_changes_what_it_carries(lab, vm, how):
    """Found by the agents, who have TLS between them: the attempt ends, the next one goes on, nothing wrong arrives; and nothing that
    passes is the image's plain text."""
    with tamper.Relay(lab, HERE, how) as relay:
        lab.kill(HERE, "agent")  # so that all its connections go this way
        lab.start(HERE, "agent")
        lab.wait_online()
        ended = wait_job(lab, start_move(lab, vm, THERE, "--path", "relay"), 90)
        assert relay.tampered == 1
        assert_arrived(lab, vm, ended)
        assert len(relay.seen) == 4 * MIB
        assert all(vm.first[at:at + 16] not in relay.seen for at in range(0, len(vm.first), 4096))
    lab.reset("lyon")
    lab.wait_online()
