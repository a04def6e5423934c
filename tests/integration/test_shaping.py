# SPDX-License-Identifier: LGPL-2.1-or-later
"""Lines that are kept free: rates of sites and jobs on transfers under way, and control traffic beside them."""

import json
import re
import time

import pytest

from conftest import lab_name
from fleet import POOL, Faults, defined_on, known, start_move, wait_job
from labclient import DroverError, Lab, wait_for

HOSTS = ("lyon/kvm1", "nantes/kvm1")


@pytest.fixture(scope="module")
def lab(request):
    with Lab(lab_name(request)) as made:
        yield made.up(hosts=",".join(HOSTS), DROVER_FAULT_DIR=Faults.DIRECTORY)


@pytest.fixture
def vm(lab, request):
    """A VM that is off, with 8 MiB in its disk that nothing makes smaller."""
    name = request.node.name.replace("test_", "").replace("_", "-")[:24].strip("-")
    lab.guest("lyon/kvm1", name, "--off", "--no-agent-channel", disk="64M", format="raw")
    with open(lab.file("lyon/kvm1", image(lab, name)), "r+b") as disk:
        disk.seek(32 << 20)
        disk.write(random_bytes(8 << 20))
    known(lab, name)
    yield name
    lab.link("nantes", rate="none", latency=0, up=True)
    for job in lab.drover("job", "list"):
        if job["state"] in ("running", "waiting", "queued"):
            lab.run_drover("job", "cancel", job["id"])
            wait_job(lab, job["id"])
    for site in ("lyon", "nantes"):
        lab.drover("site", "set", site, "--rate", "full")
    for host in HOSTS:
        lab.exec(host, "virsh", "undefine", name, check=False)
        lab.exec(host, "sh", "-c", f"rm -f {POOL}/{name}*", check=False)
    lab.run_drover("vm", "purge", "--all", "--yes")


def random_bytes(n):
    with open("/dev/urandom", "rb") as source:
        return source.read(n)


def image(lab, name):
    return lab.exec("lyon/kvm1", "virsh", "domblklist", name, "--details").stdout.split("disk")[1].split()[1]


def transfer(lab, job):
    found = lab.drover("job", "show", job)["transfers"]
    return found[0] if found else None


def copying(lab, job):
    return wait_for("it copies", 30, lambda: (t := transfer(lab, job)) and t["bytes_wire"] and t)


def speed(lab, job, seconds):
    """Bytes a second on the wire, over so long."""
    before, began = transfer(lab, job)["bytes_wire"], time.monotonic()
    time.sleep(seconds)
    return (transfer(lab, job)["bytes_wire"] - before) / (time.monotonic() - began)


def test_fault_04_a_slow_line_starves_nothing_and_rates_change_on_the_way(lab, vm):
    lab.link("nantes", rate="2mbit", latency=600)
    job = start_move(lab, vm, "nantes/kvm1", "--path", "direct")
    copying(lab, job)
    asked = []
    for _ in range(4):  # the line is full of image by now
        began = time.monotonic()
        hosts = lab.drover("host", "list")
        assert all(h["state"] == "online" for h in hosts)
        lab.drover("vm", "list")
        asked.append(time.monotonic() - began)
        time.sleep(1)
    assert max(asked) < 3, asked
    lab.drover("site", "set", "nantes", "--rate", "400kbit")
    wait_for("the rate is known", 5, lambda: transfer(lab, job)["rate_bytes_per_second"] == 50000)
    time.sleep(4)  # what was under way arrives
    assert speed(lab, job, 5) < 70000
    lab.drover("job", "set", job, "--rate", "100kbit")
    wait_for("its own rate is known", 5, lambda: transfer(lab, job)["rate_bytes_per_second"] == 12500)
    assert lab.drover("job", "show", job)["rate_bytes_per_second"] == 12500
    lab.link("nantes", rate="none", latency=0)
    lab.drover("job", "set", job, "--rate", "full")
    lab.drover("site", "set", "nantes", "--rate", "full")
    assert wait_job(lab, job)["state"] == "done"
    assert defined_on(lab, HOSTS, vm) == ["nantes/kvm1"]


def received(lab, host):
    """Bytes that have come to this host, headers and all, as its interface counts them."""
    return json.loads(lab.exec(host, "ip", "-json", "-statistics", "link", "show", "eth0").stdout)[0]["stats64"]["rx"]["bytes"]


def test_a_slow_rate_is_kept_on_the_wire_and_what_is_shown_is_true(lab, vm):
    job = start_move(lab, vm, "nantes/kvm1", "--rate", "64kbit", "--path", "direct")
    copying(lab, job)
    before, began = received(lab, "nantes/kvm1"), time.monotonic()
    time.sleep(12)
    rate = (received(lab, "nantes/kvm1") - before) / (time.monotonic() - began)
    assert 7200 < rate < 8800 and transfer(lab, job)["rate_bytes_per_second"] == 8000, rate
    for argv in (("vm", "move", vm, "nantes/kvm1", "--rate", "8kbit"), ("site", "set", "lyon", "--rate", "8kbit")):
        with pytest.raises(DroverError) as caught:
            lab.drover(*argv)
        assert caught.value.exit == 2 and "a rate of 1.0 kB/s is too slow: the least is 16kbit" in caught.value.error["message"]


def test_two_moves_share_a_line(lab, vm):
    other = f"{vm}-2"
    definition = lab.virsh("lyon/kvm1", "dumpxml", vm).replace(vm, other)
    definition = re.sub(r"<uuid>.*?</uuid>|<mac address=[^>]*/>", "", definition)
    lab.exec("lyon/kvm1", "cp", image(lab, vm), image(lab, vm).replace(vm, other))
    lab.exec("lyon/kvm1", "virsh", "define", "/dev/stdin", input=definition)
    known(lab, other)
    lab.drover("site", "set", "lyon", "--rate", "4Mbit")
    one = start_move(lab, vm, "nantes/kvm1")
    copying(lab, one)
    assert transfer(lab, one)["rate_bytes_per_second"] == 500000
    two = start_move(lab, other, "nantes/kvm1", "--rate", "800kbit")
    copying(lab, two)
    wait_for("it has what the other leaves", 5, lambda: transfer(lab, one)["rate_bytes_per_second"] == 400000)
    assert transfer(lab, two)["rate_bytes_per_second"] == 100000
    lab.drover("job", "cancel", two)
    wait_job(lab, two)
    wait_for("it has all of it again", 5, lambda: transfer(lab, one)["rate_bytes_per_second"] == 500000)
    lab.virsh("lyon/kvm1", "undefine", other)


def test_a_timetable_is_checked_and_shown(lab):
    def fails(*argv):
        with pytest.raises(DroverError) as caught:
            lab.drover("site", "set", "lyon", *argv)
        return caught.value
    assert "no such time zone: Europe/Pariss" in str(fails("--timezone", "Europe/Pariss")) and fails("--timezone", "Europe/Pariss").error["hints"] == ["did you mean Europe/Paris?"]
    assert fails("--rate", "20Mbit@mon..fri:8-25").exit == 2
    lab.drover("site", "set", "lyon", "--timezone", "Europe/Paris", "--rate", "20Mbit@mon..fri:8:30-18", "--rate", "50Mbit@22-6", "--rate", "full")
    assert lab.drover("site", "show", "lyon")["rates"] == ["20Mbit@mon..fri:8:30-18", "50Mbit@22-6", "full"]
    lab.drover("site", "set", "lyon", "--timezone", "UTC", "--rate", "full")


def test_what_is_said_has_a_class_above_what_is_carried(lab):
    seen = lab.exec("controller", "ss", "-tnH", "--tos", "state", "established").stdout
    assert seen.count("tos:0x48") >= len(HOSTS)


def test_fault_02_a_site_that_is_cut_off_is_waited_for(lab, vm):
    lab.drover("site", "set", "nantes", "--rate", "1Mbit")
    job = start_move(lab, vm, "nantes/kvm1")
    copying(lab, job)
    lab.link("nantes", up=False)
    wait_for("it says what it waits for", 40, lambda: "nantes/kvm1 is offline" in (lab.drover("job", "show", job)["note"] or ""))
    lab.link("nantes", up=True)
    lab.drover("site", "set", "nantes", "--rate", "full")
    assert wait_job(lab, job)["state"] == "done"


def test_fault_02_a_path_that_swallows_everything_is_left_for_another(lab, vm):
    lab.drover("site", "set", "nantes", "--rate", "1Mbit")
    job = start_move(lab, vm, "nantes/kvm1")
    assert copying(lab, job)["path"] == "direct"
    rules = "table inet hole { chain input { type filter hook input priority 0; tcp dport 7444 drop; tcp sport 7444 drop; }; }"
    for host in HOSTS:  # the controller can be reached all the time
        lab.exec(host, "nft", "-f", "-", input=rules)
    try:
        wait_for("it goes through the controller", 90, lambda: transfer(lab, job)["path"] == "relay" and transfer(lab, job)["bytes_wire"])
    finally:
        for host in HOSTS:
            lab.exec(host, "nft", "delete", "table", "inet", "hole")
    lab.drover("site", "set", "nantes", "--rate", "full")
    assert wait_job(lab, job)["state"] == "done"


@pytest.fixture(scope="module")
def impatient(lab):
    """From here to the end of this file a transfer that stands still says so after a second, and not after a minute."""
    lab.kill("controller")
    lab.file("controller", "/etc/drover/controller.yaml").write_text("stall_seconds: 1\n")
    lab.start("controller")
    lab.wait_online()


@pytest.fixture
def standing(lab, impatient):
    """The source's sending stands still, with everybody alive, until this is called."""
    faults = Faults(lab, HOSTS[0])
    faults.set("agent.send.block", "nth 3 hold")
    yield faults.clear
    faults.clear()


def test_fault_02_a_transfer_that_stands_still_says_so_and_takes_another_path(lab, vm, standing):
    job = start_move(lab, vm, HOSTS[1])
    wait_for("it says so", 10, lambda: "vda: no progress for 1 s over the direct path; if that goes on, another path is tried" in
             (lab.drover("job", "show", job)["note"] or ""), 0.05)
    wait_for("the attempt is ended", 10, lambda: "transfer stands still; ending this attempt" in lab.log("controller"))
    standing()
    done = wait_job(lab, job)
    assert done["state"] == "done" and done["note"] is None
    assert (done["transfers"][0]["path"], done["transfers"][0]["attempt"]) == ("reverse", 2)


def test_fault_02_over_a_forced_path_it_says_so_and_waits(lab, vm, standing):
    job = start_move(lab, vm, HOSTS[1], "--path", "relay")
    wait_for("it says so", 10, lambda: "no progress for 2 s over the relay; it waits, for the path is a forced one" in
             (lab.drover("job", "show", job)["note"] or ""), 0.05)
    standing()
    done = wait_job(lab, job)
    assert done["state"] == "done" and (done["transfers"][0]["path"], done["transfers"][0]["attempt"]) == ("relay", 1)


COUNTERS = """
table inet marks {
    counter bulk { }
    counter bulk_otherwise { }
    counter control { }
    counter control_otherwise { }
    chain comes {
        type filter hook prerouting priority filter;
        meta length < 100 return
        tcp dport 7444 ip dscp 1 counter name bulk
        tcp dport 7444 ip dscp != 1 counter name bulk_otherwise
        tcp sport 7443 ip dscp 18 counter name control
        tcp sport 7443 ip dscp != 18 counter name control_otherwise
    }
    chain goes {
        type filter hook output priority filter;
        meta length < 100 return
        tcp dport 7443 ip dscp 18 counter name control
        tcp dport 7443 ip dscp != 18 counter name control_otherwise
    }
}
"""


def test_packets_say_what_may_wait(lab, vm):
    """Of all that is more than a bare acknowledgement: an image's bytes are marked as lower effort (LE), the rest as AF21."""
    there = "nantes/kvm1"
    lab.exec(there, "nft", "-f", "-", input=COUNTERS)
    try:
        lab.drover("vm", "move", vm, there, "--path", "direct")
        lists = json.loads(lab.exec(there, "nft", "-j", "list", "counters").stdout)["nftables"]
    finally:
        lab.exec(there, "nft", "delete", "table", "inet", "marks")
    counted = {c["counter"]["name"]: c["counter"] for c in lists if "counter" in c}
    assert counted["bulk"]["bytes"] > 8 << 20 and counted["control"]["packets"] > 4, counted
    assert counted["bulk_otherwise"]["packets"] == 0 and counted["control_otherwise"]["packets"] == 0, counted
