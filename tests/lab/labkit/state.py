# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is known about a lab: its name, its nodes, where its files are, and who is alive.

A lab lives in <DROVER_LAB_STATE, else /var/lib/drover-lab>/<name>/. `keeper.json` there names the process that holds
the lab's namespaces; `lab.json` names its nodes. A process is remembered as its id and its start time, because ids are
used again.
"""

import json
import os
import re
import select
import shutil
import signal
import subprocess
import time
import uuid
from dataclasses import asdict, dataclass, field
from pathlib import Path

from labkit.shell import Failure

PROJECT = Path(__file__).resolve().parents[3]
DEFAULT_HOSTS = "lyon/kvm1,lyon/kvm2,nantes/kvm1"
UUID_SPACE = uuid.UUID("6f1d3c5e-5d0e-4a39-9a5c-d70be21ab000")


def base_dir():
    return Path(os.environ.get("DROVER_LAB_STATE", "/var/lib/drover-lab")).absolute()


def lab_name():
    name = os.environ.get("DROVER_LAB", "lab")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,40}", name):
        raise Failure(f"DROVER_LAB={name!r}: a lab's name is made of letters, digits, '.', '_' and '-'")
    return name


@dataclass
class Process:
    """A process that is still the same one: ids alone are reused."""
    pid: int
    started: str

    @classmethod
    def of(cls, pid):
        return cls(pid, start_time(pid))

    def alive(self):
        return self.started != "" and start_time(self.pid) == self.started

    def signal(self, number):
        if self.alive():
            os.kill(self.pid, number)

    def wait_gone(self, seconds):
        """True once it is gone; for a process that is not our child."""
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return True
        try:
            if not self.alive():
                return True
            return bool(select.select([handle], [], [], seconds)[0])
        finally:
            os.close(handle)


def start_time(pid):
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    fields = stat[stat.rindex(")") + 2:].split()
    return "" if fields[0] in "ZX" else fields[19]


@dataclass
class Node:
    """A machine of the lab: a host, the controller ("controller"), or the network between them ("backbone")."""
    name: str
    hostname: str
    netns: str
    site: str = ""
    site_number: int = 0
    host_number: int = 0
    init: Process = None

    @property
    def is_host(self):
        return self.site != ""

    @property
    def files(self):
        """The name of the node's directory in the lab's."""
        return self.name.replace("/", "-")

    @property
    def address(self):
        return f"10.78.{self.site_number}.{10 + self.host_number}"

    @property
    def gateway(self):
        return f"10.78.{self.site_number}.1"


@dataclass
class Lab:
    name: str
    nodes: dict = field(default_factory=dict)
    number: int = 0
    agents: bool = False
    accelerator: str = "tcg"

    @classmethod
    def plan(cls, name, hosts, agents, accelerator):
        """A lab that does not exist yet, with every site and host numbered in the order given."""
        lab = cls(name, agents=agents, accelerator=accelerator)
        sites = {}
        for spec in hosts.split(","):
            if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,30}/[a-z0-9][a-z0-9-]{0,30}", spec) or spec in lab.nodes:
                raise Failure(f"--hosts: {spec!r} is not a SITE/HOST, or stands there twice")
            site, host = spec.split("/")
            members = sites.setdefault(site, [])
            members.append(host)
            lab.nodes[spec] = Node(spec, host, spec.replace("/", "."), site, len(sites), len(members))
        lab.nodes["controller"] = Node("controller", "controller", "controller")
        lab.nodes["backbone"] = Node("backbone", "backbone", "backbone")
        return lab

    @classmethod
    def load(cls, name=None):
        name = name or lab_name()
        try:
            raw = json.loads((base_dir() / name / "lab.json").read_text())
        except FileNotFoundError:
            raise Failure(f"lab '{name}' is not up; 'lab up' makes it") from None
        nodes = {n["name"]: Node(**{**n, "init": Process(**n["init"])}) for n in raw.pop("nodes")}
        return cls(nodes=nodes, **raw)

    def save(self):
        raw = {**asdict(self), "nodes": [asdict(n) for n in self.nodes.values()]}
        write_whole(self.dir / "lab.json", json.dumps(raw, indent=1))

    @property
    def dir(self):
        return base_dir() / self.name

    @property
    def hosts(self):
        return [n for n in self.nodes.values() if n.is_host]

    @property
    def sites(self):
        return {n.site: n.site_number for n in self.hosts}

    @property
    def controller_address(self):
        return f"10.77.{self.number}.2"

    def node(self, name):
        node = self.nodes.get(name)
        if node is None:
            raise Failure(f"no node '{name}' in lab '{self.name}'; there are {', '.join(self.nodes)}")
        return node

    def host(self, name):
        node = self.node(name)
        if not node.is_host:
            raise Failure(f"'{name}' is not a host")
        return node

    def node_dir(self, node):
        return self.dir / node.files

    def root_dir(self, node, path):
        """Where the node's private `path` is kept on this machine."""
        return self.node_dir(node) / "root" / path.lstrip("/")

    def uuid_of(self, thing):
        return uuid.uuid5(UUID_SPACE, f"{self.name}/{thing}")


def write_whole(path, text):
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text)
    temporary.rename(path)


def keeper_of(name):
    """(the keeper, the first processes of its nodes) as far as they were written down."""
    try:
        raw = json.loads((base_dir() / name / "keeper.json").read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None, []
    return Process(**raw["keeper"]), [Process(**p) for p in raw["inits"]]


def tear_down(name):
    """End a lab, whatever is left of it. True if there was anything."""
    directory = base_dir() / name
    if not directory.exists():
        return False
    keeper, inits = keeper_of(name)
    if keeper:
        keeper.signal(signal.SIGTERM)
        if not keeper.wait_gone(20):
            keeper.signal(signal.SIGKILL)
            keeper.wait_gone(5)
    for init in inits:
        init.signal(signal.SIGKILL)
        init.wait_gone(10)
    remove_tree(directory)
    return True


def remove_tree(directory):
    """Remove a lab's files and, with the last lab, the directory of all labs."""
    deadline = time.monotonic() + 5
    # What linked clones lie over is immutable.
    subprocess.run(["chattr", "-R", "-f", "-i", directory], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    while directory.exists():
        shutil.rmtree(directory, ignore_errors=time.monotonic() < deadline)
    try:
        directory.parent.rmdir()
    except OSError:
        pass


def reap():
    """Remove what labs left behind whose keeper was killed. Returns their names."""
    found = sorted(p for p in base_dir().glob("*") if p.is_dir())
    dead = []
    for directory in found:
        keeper, _ = keeper_of(directory.name)
        if keeper and not keeper.alive():
            tear_down(directory.name)
            dead.append(directory.name)
    return dead
