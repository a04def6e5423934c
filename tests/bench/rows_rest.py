# SPDX-License-Identifier: LGPL-2.1-or-later
"""What drover takes while it does nothing, and how fast it answers."""

import subprocess
import time

from labclient import wait_for
from table import row


def resident_mib(lab, node, name):
    """Resident set of the node's process of that name, in MiB."""
    status = lab.exec(node, "sh", "-c", f"cat /proc/$(pgrep -x -o {name})/status").stdout
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS"))


def rest(lab, runs):
    wait_for("inventory", 30, lambda: all(h["libvirt_version"] for h in lab.drover("host", "list")))
    time.sleep(5)  # rest is what is measured
    agents, controllers = [], []
    for _ in range(runs):
        agents.append(max(resident_mib(lab, h, "drover-agent") for h in ("lyon/kvm1", "lyon/kvm2", "nantes/kvm1")))
        controllers.append(resident_mib(lab, "controller", "drover-controll"))
        time.sleep(0.5)
    return [row("agent at rest, resident", agents, "MiB", 16), row("controller with three hosts, resident", controllers, "MiB", 32)]


def answers(lab, runs):
    for name in ("web", "mail"):
        lab.guest("lyon/kvm2", name, "--off", disk="64M")
    wait_for("two VMs", 10, lambda: len(lab.drover("vm", "list")) >= 2)
    times = []
    for _ in range(max(runs, 5) * 4):
        begun = time.monotonic()
        subprocess.run(["drover", "vm", "list"], env=lab.env, check=True, stdout=subprocess.DEVNULL)
        times.append((time.monotonic() - begun) * 1000)
    return [row("drover vm list, program start included", times, "ms", 50)]
