# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the tests of moves ask over and over: where a VM is, whether its data is whole, how a job ends."""

import hashlib
import json
import re
import subprocess
import tempfile
import time
from pathlib import Path

from labclient import DroverError, wait_for

POOL = "/var/lib/libvirt/images"
KERNEL = re.compile(r"\s*<(kernel|initrd|cmdline)>.*?</\1>", re.S)  # of a definition: without it, a VM gets as far as its firmware
ENDED = ("done", "failed", "cancelled", "needs-operator")


def find(lab, name):
    """The VM's row in the inventory, or None."""
    return next((vm for vm in lab.drover("vm", "list") if vm["name"] == name), None)


def known(lab, name, seconds=10):
    return wait_for(f"{name} in the inventory", seconds, lambda: find(lab, name))


def place(vm):
    return f"{vm['site']}/{vm['host']}"


def defined_on(lab, hosts, name):
    return [host for host in hosts if name in lab.virsh(host, "list", "--all", "--name").split()]


def start_move(lab, vm, target, *options):
    """Ask for the move and do not wait; the job's id."""
    return lab.drover("vm", "move", vm, target, "--detach", *options)["id"]


def job(lab, ident):
    """The job as shown, or None while the controller cannot be reached."""
    try:
        return lab.drover("job", "show", ident)
    except DroverError as error:
        if error.exit == 8:
            return None
        raise


def wait_job(lab, ident, seconds=60):
    """The job, when it has ended: followed as an operator does, whatever happens to the controller meanwhile."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        try:  # one that needs an operator is followed for as long as it does
            followed = lab.run_drover("job", "follow", ident, "-o", "json", timeout=min(left, 5)).stdout
        except subprocess.TimeoutExpired:
            followed = ""
        now = json.loads(followed) if followed.strip() else job(lab, ident)
        if now and now["state"] in ENDED:
            return now
    raise AssertionError(f"the end of job {ident}: not within {seconds} s: {job(lab, ident)}")


def payload_in_image(lab, host, volume, format):
    """SHA-256 of /payload.bin in a volume's file system, read without the guest's help."""
    image = lab.file(host, f"{POOL}/{volume}")
    with tempfile.TemporaryDirectory(dir=lab.plan.node_dir(lab.plan.node(host))) as work:
        raw = Path(image)
        if format != "raw":
            raw = Path(work) / "raw"
            subprocess.run(["qemu-img", "convert", "-U", "-f", format, "-O", "raw", image, raw], check=True)
        out = Path(work) / "payload"
        subprocess.run(["debugfs", "-R", f"dump /payload.bin {out}", raw], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return hashlib.sha256(out.read_bytes()).hexdigest()


def leftovers(lab, host):
    """Files that a job has left in the hidden directory of the host's pool."""
    hidden = Path(lab.file(host, f"{POOL}/.drover"))
    return sorted(p.name for p in hidden.iterdir()) if hidden.exists() else []


def images(lab, host, prefix=""):
    """Names of the image files in the host's pool that begin so."""
    return sorted(p.name for p in Path(lab.file(host, POOL)).iterdir() if p.is_file() and p.name.startswith(prefix))


def processes(lab, host, name):
    """How many QEMUs of that VM run on the host."""
    found = lab.exec(host, "pgrep", "-f", "-c", f"guest={name},", check=False).stdout.strip()
    return int(found or 0)


class Faults:
    """Fault points of one node's drover process, given as files (see common/fault.h). The lab was made with DIRECTORY in its environment."""

    DIRECTORY = "/var/lib/drover/faults"

    def __init__(self, lab, node):
        self.folder = Path(lab.file(node, self.DIRECTORY))
        self.folder.mkdir(parents=True, exist_ok=True)

    def set(self, point, what):
        temporary = self.folder / f".{point}"
        temporary.write_text(what + "\n")
        temporary.rename(self.folder / point)

    def held(self, point):
        return (self.folder / f"{point}.held").exists()

    def wait_held(self, point, lab, ident, seconds=30):
        """Until the point holds the process; that the job ends before is told soon."""
        asked = time.monotonic()

        def held():
            nonlocal asked
            if not self.held(point) and time.monotonic() - asked > 1:
                asked = time.monotonic()
                assert not (job(lab, ident) or {}).get("finished_at") or self.held(point), job(lab, ident)
            return self.held(point)

        wait_for(f"{point} reached", seconds, held, 0.02)

    def waiting(self, point):
        return (self.folder / point).exists()

    def clear(self):
        for file in self.folder.iterdir():
            file.unlink(missing_ok=True)


class Operator:
    """An operator with a configuration directory of their own. run() gives a CompletedProcess, calling it the answer's objects."""

    def __init__(self, lab, directory):
        self.lab = lab
        self.directory = Path(directory)

    def run(self, *argv, timeout=60):
        env = {**self.lab.env, "DROVER_CONFIG": str(self.directory), "NO_COLOR": "1"}
        return subprocess.run(["drover", *map(str, argv)], env=env, text=True, timeout=timeout, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def __call__(self, *argv):
        done = self.run(*argv, "-o", "json")
        if done.returncode != 0:
            raise DroverError(["drover", *map(str, argv)], done)
        return json.loads(done.stdout) if done.stdout.strip() else None


def domain_xml(name, devices="", extra="", kind="qemu", **text):
    """A small domain that never needs to boot. Keywords replace elements: uuid="..."."""
    return (f"<domain type='{kind}'><name>{name}</name>" + "".join(f"<{key}>{value}</{key}>" for key, value in text.items()) +
            "<memory unit='MiB'>16</memory><vcpu>1</vcpu><os><type arch='x86_64' machine='pc'>hvm</type></os><features><acpi/></features>"
            f"{extra}<devices>{devices}</devices></domain>")


def disk_xml(path, target="vda", format="qcow2", inside="", device="disk"):
    bus = "virtio" if target.startswith("vd") else "ide"
    return (f"<disk type='file' device='{device}'><driver name='qemu' type='{format}'/><source file='{path}'/>"
            f"<target dev='{target}' bus='{bus}'/>{inside}</disk>")


def define(lab, host, xml):
    """virsh define on a host."""
    path = lab.file(host, "/var/lib/drover/definition.xml")
    Path(path).write_text(xml)
    lab.virsh(host, "define", "/var/lib/drover/definition.xml")


def undefine(lab, host, *names):
    for name in names:
        for words in (("destroy", name), ("undefine", name, "--managed-save", "--snapshots-metadata", "--nvram")):
            lab.exec(host, "virsh", "-q", *words, check=False)


def new_image(lab, host, name, size="1M", format="qcow2", *options):
    """An empty image in the host's pool; its path there."""
    lab.exec(host, "qemu-img", "create", "-q", "-f", format, *options, f"{POOL}/{name}", size)
    return f"{POOL}/{name}"
