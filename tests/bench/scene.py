# SPDX-License-Identifier: LGPL-2.1-or-later
"""Where the benches of moves happen: a laboratory with two hosts in one place and one in another, one VM that travels, the peers,
and what is measured once and used by several rows."""

import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import disk
import image
from fleet import define, disk_xml, domain_xml, find, known, place, undefine
from labclient import Lab, wait_for
from peers import nbdcopy
from peers.bare import Bare
from peers.ssh import Ssh

HERE, BESIDE, FAR = "lyon/kvm1", "lyon/kvm2", "nantes/kvm1"  # the first two share a switch
HOSTS = (HERE, BESIDE, FAR)
POOL = "/var/lib/libvirt/images"
VM = "bench"
SLOW = "100mbit"


def drop_caches():
    """What is dirty goes to the disk first, so that nobody pays for the one before."""
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3\n")


@dataclass
class Move:
    seconds: float   # of the command, from its start to its end
    transfer: float  # of the copy, verified and synced
    job: dict

    @property
    def disk(self):
        return next(t for t in self.job["transfers"] if t["disk"] == "vda")


def told(moves):
    """What the job says about each of the moves."""
    keys = ("choice", "bytes_wire", "bytes_reused", "bytes_resent", "resumed")
    return [{key: m.disk.get(key) for key in keys} | {"transfer": round(m.transfer, 2)} for m in moves]


class Scene:
    def __init__(self, lab, runs, quick):
        self.lab = lab
        self.runs = runs
        self.quick = quick
        self.work = Path(tempfile.mkdtemp(prefix="drover-bench-"))
        self.work.chmod(0o755)
        self.image = image.make(quick)
        self.certificates = {}
        for host in HOSTS:
            self.certificates[host] = self.work / host.replace("/", "-")
            nbdcopy.make_certificates(self.certificates[host], lab.address(host))
        self.ssh = Ssh(lab, self.work)
        self.bare = Bare(lab, self.work, self.certificates)
        self.resident = []  # MiB, the larger agent of each move
        self.shared = {}    # measured once
        self.cached = False # the image lies in the page cache when a copy begins
        lab.guest(HERE, VM, "--off", image=str(self.image))
        known(lab, VM)

    def close(self):
        self.ssh.stop()
        shutil.rmtree(self.work, ignore_errors=True)

    def once(self, measure):
        """measure(self), or what it gave before."""
        if measure not in self.shared:
            self.shared[measure] = measure(self)
        return self.shared[measure]

    def line(self, rate):
        """The line between the two places."""
        self.lab.link("nantes", rate=rate)

    def where(self):
        return place(known(self.lab, VM))

    def disk(self, vm=VM):
        return self.lab.drover("vm", "show", vm)["disks"][0]["path"]

    def file(self, vm=VM):
        """The VM's image, as a path of this machine."""
        return self.lab.file(place(known(self.lab, vm)), self.disk(vm))

    def purge(self):
        if self.lab.drover("vm", "list", "--retired"):
            self.lab.drover("vm", "purge", "--all", "--yes", timeout=600)

    def bring(self, host, purge=True):
        """The VM to a host, as fast as it goes; nothing of it stays elsewhere."""
        self.line("none")
        if self.where() != host:
            self.lab.drover("vm", "move", VM, host, timeout=1200)
        if purge:
            self.purge()

    def agent(self, host):
        """/proc of the host's agent."""
        lab_pid = self.lab.exec(host, "pgrep", "-x", "-o", "drover-agent").stdout.strip()
        return f"/proc/{self.lab.plan.node(host).init.pid}/root/proc/{lab_pid}"

    def ready(self):
        """As every copy finds the machine: nothing cached; or, when asked for, the image and nothing else."""
        drop_caches()
        if self.cached:
            with open(self.file(), "rb", buffering=0) as file:
                while file.read(1 << 20):
                    pass

    def move(self, target, *options, vm=VM, meanwhile=None):
        """A timed `vm move`; `meanwhile` is called once the command has begun."""
        seconds, job, resident = self.timed(place(known(self.lab, vm)), target, "vm", "move", vm, target, *options, meanwhile=meanwhile)
        self.resident.append(resident)
        return Move(seconds, received(job)["vda"], job)

    def timed(self, source, target, *command, meanwhile=None):
        """Of a command that copies from host to host: its seconds, its job, and the MiB that the larger of both agents had at most."""
        agents = [self.agent(source), self.agent(target)]
        for agent in agents:
            Path(f"{agent}/clear_refs").write_text("5\n")  # the highest mark of resident memory begins anew
        self.ready()
        begun = time.monotonic()
        if meanwhile:
            meanwhile()
        job = self.lab.drover(*command, timeout=3600)
        seconds = time.monotonic() - begun
        return seconds, self.lab.drover("job", "show", job["id"]), max(map(high_mark_mib, agents))

    def peer(self, name, source, target):
        """Seconds that the peer takes for the VM's image."""
        file, aside = self.disk(), f"{POOL}/peer.qcow2"
        if name == "bare":
            return self.bare.copy(source, file, target, aside, self.ready)
        self.ready()
        if name == "nbdcopy":
            return nbdcopy.copy(self.lab, source, file, target, aside, self.certificates[source])
        return getattr(self.ssh, name)(source, file, target, aside)

    def disk_alone(self, likely):
        """Seconds that the disk takes for a copy of the VM's image beside a likely one that is at the target."""
        self.ready()
        return disk.seconds(self.file(), likely, f"{likely}.aside")

    def define(self, host, name, *paths, format="qcow2"):
        """A VM that is off, of images that are there: vda, vdb..."""
        disks = "".join(disk_xml(path, f"vd{letter}", format) for path, letter in zip(paths, "abcd"))
        define(self.lab, host, domain_xml(name, disks))
        known(self.lab, name)

    def forget(self, host, name, *files):
        undefine(self.lab, host, name)
        self.lab.exec(host, "rm", "-f", *files)
        wait_for(f"{name} is gone", 10, lambda: find(self.lab, name) is None)


def received(job):
    """Seconds of each disk's copy, verified and synced."""
    return {s["name"].removeprefix("receive-"): s["duration_seconds"] for s in job["steps"] if s["name"].startswith("receive-")}


def high_mark_mib(agent):
    status = Path(f"{agent}/status").read_text()
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM"))


def new_lab(pid):
    return Lab(f"bench-{pid}").up(",".join(HOSTS))
