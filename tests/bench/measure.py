# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is measured, and how: each function gives rows of {name, value, unit, peer, peer_value, ratio, at_most, reached}."""

import os
import statistics
import subprocess
import time
from pathlib import Path

import image
import nbdcopy
from labclient import Lab, wait_for

SOURCE, TARGET = "lyon/kvm1", "nantes/kvm1"
IMAGES = "/var/lib/libvirt/images"


def row(name, values, unit, at_most=None, peer=None, peer_values=None):
    """One line of the table; `at_most` bounds the ratio to the peer, or the value itself without one."""
    value = statistics.median(values)
    peer_value = statistics.median(peer_values) if peer_values else None
    # Runs were taken in turn, so the ratio is taken pair by pair: both of a pair met the same machine.
    ratio = statistics.median(v / p for v, p in zip(values, peer_values)) if peer_values else None
    judged = ratio if ratio is not None else value
    return {"name": name, "value": round(value, 4), "unit": unit, "runs": [round(v, 4) for v in values], "peer": peer,
            "peer_value": peer_value and round(peer_value, 4), "peer_runs": [round(v, 4) for v in peer_values or []],
            "ratio": ratio and round(ratio, 3), "at_most": at_most, "reached": at_most is None or judged <= at_most}


def drop_caches():
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3\n")


def resident_mib(lab, node, name):
    """Resident set of the node's process of that name, in MiB."""
    status = lab.exec(node, "sh", "-c", f"cat /proc/$(pgrep -x -o {name})/status").stdout
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS"))


def bench_rest(lab, runs):
    wait_for("inventory", 30, lambda: all(h["libvirt_version"] for h in lab.drover("host", "list")))
    time.sleep(5)  # rest is what is measured
    agents, controllers = [], []
    for _ in range(runs):
        agents.append(max(resident_mib(lab, h, "drover-agent") for h in ("lyon/kvm1", "lyon/kvm2", "nantes/kvm1")))
        controllers.append(resident_mib(lab, "controller", "drover-controll"))
        time.sleep(0.5)
    return [row("agent at rest, resident", agents, "MiB", 16), row("controller with three hosts, resident", controllers, "MiB", 32)]


def bench_list(lab, runs):
    for name in ("web", "mail"):
        lab.guest("lyon/kvm2", name, "--off", disk="64M")
    wait_for("two VMs", 10, lambda: len(lab.drover("vm", "list")) >= 2)
    times = []
    for _ in range(max(runs, 5) * 4):
        begun = time.monotonic()
        subprocess.run(["drover", "vm", "list"], env=lab.env, check=True, stdout=subprocess.DEVNULL)
        times.append((time.monotonic() - begun) * 1000)
    return [row("drover vm list, program start included", times, "ms", 50)]


def timed_move(lab, vm, target):
    drop_caches()
    begun = time.monotonic()
    lab.drover("vm", "move", vm, target, "--purge-source", timeout=600)
    return time.monotonic() - begun


def bench_move(lab, runs):
    picture = image.make()
    certificates = Path("/tmp") / f"drover-bench-pki-{os.getpid()}"
    nbdcopy.make_certificates(certificates, lab.address(SOURCE))
    lab.guest(SOURCE, "bench", "--off", image=str(picture))
    wait_for("the VM in the inventory", 10, lambda: any(v["name"] == "bench" for v in lab.drover("vm", "list")))
    ours, theirs, transfers = [], [], []
    try:
        for _ in range(runs):
            disk = lab.drover("vm", "show", "bench")["disks"][0]["path"]
            drop_caches()
            theirs.append(nbdcopy.copy(lab, SOURCE, disk, TARGET, f"{IMAGES}/nbdcopy.qcow2", certificates))
            ours.append(timed_move(lab, "bench", TARGET))
            job = lab.drover("job", "show", lab.drover("job", "list")[0]["id"])
            transfers.append(next(s["duration_seconds"] for s in job["steps"] if s["name"] == "receive-vda"))
            timed_move(lab, "bench", SOURCE)  # back, for the next run
    finally:
        subprocess.run(["rm", "-rf", certificates], check=False)
    return [row("whole job vm move, 2.4 of 10 GiB", ours, "s", 1.0, "nbdcopy over TLS, the copy alone", theirs),
            row("its transfer alone", transfers, "s", None, "nbdcopy over TLS", theirs)]


BENCHES = {"rest": bench_rest, "list": bench_list, "move": bench_move}


def run(wanted, runs):
    results = []
    with Lab(f"bench-{os.getpid()}") as lab:
        lab.up()
        for name in wanted:
            results += BENCHES[name](lab, runs)
    return results


def print_table(results):
    print(f"{'':42}{'drover':>12}  {'peer':>10}  {'ratio':>6}  {'at most':>7}")
    for r in results:
        peer = f"{r['peer_value']:.2f} {r['unit']}" if r["peer_value"] else ""
        ratio = f"{r['ratio']:.2f}" if r["ratio"] else ""
        bound = f"{r['at_most']}" if r["at_most"] is not None else ""
        mark = "" if r["reached"] else "   NOT REACHED"
        print(f"{r['name']:42}{r['value']:>9.2f} {r['unit']:<3} {peer:>10}  {ratio:>6}  {bound:>7}{mark}")
        if r["peer"]:
            print(f"    beside {r['peer']}")
