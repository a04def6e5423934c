# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the tests of moves ask over and over: where a VM is, whether its data is whole, how a job ends."""

import hashlib
import subprocess
import tempfile
from pathlib import Path

from labclient import DroverError, wait_for

POOL = "/var/lib/libvirt/images"
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
    """The job, when it has ended."""
    def ended():
        now = job(lab, ident)
        return now if now and now["state"] in ENDED else None

    try:
        return wait_for(f"the end of job {ident}", seconds, ended)
    except AssertionError as error:
        raise AssertionError(f"{error}: {job(lab, ident)}") from None


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


def images(lab, host):
    """Names of the image files in the host's pool."""
    return sorted(p.name for p in Path(lab.file(host, POOL)).iterdir() if p.is_file())


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

    def waiting(self, point):
        return (self.folder / point).exists()

    def clear(self):
        for file in self.folder.iterdir():
            file.unlink(missing_ok=True)
