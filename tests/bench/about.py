# SPDX-License-Identifier: LGPL-2.1-or-later
"""What has to be known beside the figures to believe or repeat them: when, on what machine, with which versions, asked for how."""

import os
import re
import shutil
import subprocess
from datetime import datetime, timezone
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
PROGRAMS = {  # each says its version in its first line, some of them on standard error
    "nbdcopy": ("nbdcopy", "--version"), "qemu-nbd": ("qemu-nbd", "--version"), "scp": ("ssh", "-V"), "rsync": ("rsync", "--version"),
    "bare's gcc": ("gcc", "--version"), "bare's openssl": ("openssl", "version"),
    "libvirtd": ("libvirtd", "--version"), "qemu": ("qemu-system-x86_64", "--version")}


def about(options):
    """Of a run that begins now; finished() is added to it when it has ended."""
    drover = Path(os.environ["DROVER_BIN"])
    return {"begun_at": now(), "ended_at": None, "machine": machine(), "load": [os.getloadavg()[0]],
            "versions": {"drover": first_line(drover / "drover", "--version"), "drover's tree": tree(), "drover's build": build(drover),
                         **{name: first_line(*argv) for name, argv in PROGRAMS.items()}},
            "asked": {"benches": options.what, "rows": list(options.rows), "runs": options.runs, "quick": options.quick}}


def finished(facts):
    facts["ended_at"] = now()
    facts["load"].append(os.getloadavg()[0])


def now():
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def first_line(*argv):
    done = subprocess.run(argv, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True)
    return done.stdout.splitlines()[0].strip()


def tree():
    """The commit that is checked out. A build that DROVER_BIN names may be of another one."""
    if not shutil.which("git"):
        return None

    def git(*argv):
        done = subprocess.run(["git", *argv], cwd=PROJECT, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
        return done.stdout.strip()
    changed = ", changed" if git("status", "--porcelain", "--untracked-files=no") else ""
    commit = git("rev-parse", "--short=12", "HEAD")
    return commit + changed if commit else None


def build(binaries):
    """CMake's type of the build that the programs lie in; nothing where that is not told."""
    try:
        return re.search(r"^CMAKE_BUILD_TYPE:\w+=(.*)$", (binaries.parent / "CMakeCache.txt").read_text(), re.M)[1]
    except (FileNotFoundError, TypeError):
        return None


def machine():
    cpu, memory, system = (Path(path).read_text() for path in ("/proc/cpuinfo", "/proc/meminfo", "/etc/os-release"))
    model = re.search(r"^model name\s*: (.*)$", cpu, re.M)
    state = Path(os.environ.get("DROVER_LAB_STATE", "/var/lib/drover-lab"))
    state.mkdir(parents=True, exist_ok=True)
    mount = subprocess.run(["findmnt", "-n", "-o", "SOURCE,FSTYPE", "--target", state], text=True, stdout=subprocess.PIPE, check=True)
    device, kind = mount.stdout.split()
    return {"processor": model[1] if model else os.uname().machine, "processors": os.cpu_count(),
            "memory_mib": int(re.search(r"^MemTotal:\s+(\d+)", memory, re.M)[1]) // 1024, "kernel": os.uname().release,
            "system": re.search(r'^PRETTY_NAME="?(.*?)"?$', system, re.M)[1], "images_on": f"{kind} on {device}"}


def in_words(facts):
    """The lines over the table: of versions what is said in a word."""
    m, asked = facts["machine"], facts["asked"]
    small = ", --quick" if asked["quick"] else ""
    versions = (f"{name} {short(text)}" for name, text in facts["versions"].items() if text)
    on = f"{m['processors']} x {m['processor']}, {m['memory_mib'] / 1024:.0f} GiB, {m['images_on']}, Linux {m['kernel']}"
    return f"{facts['begun_at']}, medians of {asked['runs']}{small}; {on}\n{', '.join(versions)}"


def short(text):
    """The first that looks like a version's number."""
    found = re.search(r"\d+\.\d+[.\dp]*", text)
    return found[0] if found else text
