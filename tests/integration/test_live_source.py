# SPDX-License-Identifier: LGPL-2.1-or-later
"""Disks of running VMs as they were at one moment: full, with what has changed since, frozen and not, and what becomes of checkpoints."""

import contextlib
import os
import secrets
import subprocess
import time
from pathlib import Path

import pytest

from conftest import lab_name
from labclient import Lab, wait_for
from labkit import enter

HOST = "lyon/kvm1"
DIRECTORY = "/var/lib/libvirt/drover-backup"
IMAGES = "/var/lib/libvirt/images"


class Driver:
    """live_source on the host: the modules under test, a line at a time."""

    def __init__(self, lab, vm, journal):
        self.process = lab.popen(HOST, Path(enter.binary_dir()) / "live_source", journal, DIRECTORY, vm,
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        self.events, self.disks = [], {}

    def tell(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")

    def hear(self):
        """(True, what was said), or (False, code and message)."""
        for line in self.process.stdout:
            kind, _, rest = line.rstrip("\n").partition(" ")
            if kind == "event":
                self.events.append(rest)
            elif kind == "disk":
                target, how, checkpoint, why = rest.split(" ", 3)
                self.disks[target] = (how, checkpoint == "checkpoint", why)
            else:
                return kind == "ok", rest
        raise AssertionError("live_source ended")

    def ask(self, *words):
        self.tell(*words)
        done, said = self.hear()
        assert done, said
        return said

    def fails(self, *words):
        self.tell(*words)
        done, said = self.hear()
        assert not done, said
        return said

    def begin(self, base="-"):
        """The checkpoint, whether the guest's agent has frozen it, and why not."""
        self.events, self.disks = [], {}
        name, consistency, milliseconds, why = self.ask("begin", secrets.token_hex(16), base).split(" ", 3)
        return name, consistency == "guest", why, int(milliseconds)

    def read(self, target, into):
        """Bytes of data, of zeros, and of what is the same."""
        return tuple(map(int, self.ask("read", target, into).split()))

    def close(self):
        self.process.stdin.close()
        assert self.process.wait() == 0


@pytest.fixture(scope="module")
def host(request):
    with Lab(lab_name(request)) as lab:
        lab.up(hosts=HOST, agents=False)
        lab.guest(HOST, "erp", disk="256M")
        yield lab


@pytest.fixture
def drive(host, tmp_path):
    with contextlib.ExitStack() as stack:
        def make(vm="erp"):
            driver = Driver(host, vm, tmp_path / "journal")
            stack.callback(lambda: driver.process.poll() is None and driver.close())
            return driver
        yield make


def checkpoints(lab, vm="erp"):
    return lab.virsh(HOST, "checkpoint-list", vm, "--name").split()


def nothing_is_left(lab):
    assert os.listdir(lab.file(HOST, DIRECTORY)) == []


def content(lab, file):
    """The digests of what is in the copy's file system, as it is after its log has been read, and whether it is sound."""
    done = subprocess.run(["e2fsck", "-fn", file], text=True, capture_output=True)
    return done.returncode, done.stdout


def dump(image, path):
    return subprocess.run(["debugfs", "-R", f"cat {path}", image], capture_output=True, check=True).stdout


def write_on(lab, name, seconds=20):
    """The guest writes and overwrites for a while, and counts."""
    lab.guest_exec(HOST, "erp", "sh", "-c",
                   f"(n=0; while [ $n -lt {seconds * 10} ]; do n=$((n + 1)); head -c 300000 /dev/urandom >/data/{name}.new; "
                   f"mv /data/{name}.new /data/{name}; sleep 0.1; done) >/dev/null 2>&1 &")


def test_full_then_what_changed_while_the_guest_writes(host, drive, tmp_path):
    driver, copy = drive(), tmp_path / "vda.raw"
    write_on(host, "busy")
    host.guest_exec(HOST, "erp", "sh", "-c", "echo first >/data/marker; sync")
    first, frozen, why, milliseconds = driver.begin()
    assert frozen and why == "", why
    assert milliseconds < 5000
    assert driver.disks == {"vda": ("full", True, "")}
    host.guest_exec(HOST, "erp", "sh", "-c", "echo second >/data/marker; sync")  # not in this one: it came later
    data, zero, same = driver.read("vda", copy)
    assert data + zero == 256 << 20 and same == 0
    driver.ask("check")
    driver.ask("end")
    nothing_is_left(host)
    # Frozen file systems have nothing in their log: they are sound as they stand.
    code, said = content(host, copy)
    assert code == 0, said
    assert dump(copy, "/marker") == b"first\n"

    second, frozen, why, _ = driver.begin(first)
    assert frozen, why
    assert driver.disks == {"vda": ("incremental", True, "")}
    assert checkpoints(host) == [first, second]  # both stay until the restore point counts
    # What one reader sees twice is what there was at that moment, while the guest goes on writing.
    again = tmp_path / "again.raw"
    again.write_bytes(copy.read_bytes())
    data, zero, same = driver.read("vda", copy)
    assert data + zero + same == 256 << 20 and same > 200 << 20 and data > 0
    host.guest_exec(HOST, "erp", "sh", "-c", "echo third >/data/marker; sync")
    assert driver.read("vda", again) == (data, zero, same)
    assert copy.read_bytes() == again.read_bytes()
    driver.ask("check")
    driver.ask("end")
    driver.ask("settle", second)
    assert checkpoints(host) == [second]
    code, said = content(host, copy)
    assert code == 0, said
    assert dump(copy, "/marker") == b"second\n"
    assert driver.events == []


def test_an_incremental_is_what_a_paused_disk_holds(host, drive, tmp_path):
    """The VM is paused for the moment, so that the image itself can be compared: block by block, full and incremental."""
    driver, copy, whole = drive(), tmp_path / "vda.raw", tmp_path / "whole.raw"
    host.guest_exec(HOST, "erp", "sh", "-c", "pkill sh; sleep 0.2; head -c 3000000 /dev/urandom >/data/one; sync; fstrim /data || true")
    first, *_ = driver.begin()
    driver.read("vda", copy)
    driver.ask("end")
    host.guest_exec(HOST, "erp", "sh", "-c", "rm /data/one; head -c 2000000 /dev/urandom >/data/two; sync")
    host.virsh(HOST, "suspend", "erp")
    try:
        second, frozen, why, _ = driver.begin(first)
        assert not frozen and why == "the VM does not run"
        driver.read("vda", copy)
        driver.ask("check")
        driver.ask("end")
        third, *_ = driver.begin()
        driver.read("vda", whole)
        driver.ask("end")
        assert copy.read_bytes() == whole.read_bytes()
    finally:
        host.virsh(HOST, "resume", "erp")
    driver.ask("settle", third)
    assert checkpoints(host) == [third]


def monitor(lab, command, **arguments):
    node = "libvirt-1-format"
    words = ",".join(f'"{key}":{value}' for key, value in {"node": f'"{node}"', **arguments}.items())
    lab.virsh(HOST, "qemu-monitor-command", "erp", "--cmd", f'{{"execute":"{command}","arguments":{{{words}}}}}')


def test_fault_29_checkpoints_and_bitmaps_that_lost_each_other_are_repaired(host, drive, tmp_path):
    driver, copy = drive(), tmp_path / "vda.raw"
    foreign = tmp_path / "foreign.xml"
    foreign.write_text("<domaincheckpoint><name>drover-of-others</name><disks><disk name='vda' checkpoint='bitmap'/></disks></domaincheckpoint>")
    host.virsh(HOST, "checkpoint-create", "erp", foreign)
    first, *_ = driver.begin()
    driver.ask("end")

    # Made when the clock was a day ahead: the next one comes after it all the same, so that its name is known here.
    number = (int(time.time()) + 86400) * 1000
    driver.ask("settle", f"drover-{number}")
    ahead = tmp_path / "ahead.xml"
    ahead.write_text(f"<domaincheckpoint><name>drover-{number}</name><disks><disk name='vda' checkpoint='bitmap'/></disks></domaincheckpoint>")
    host.virsh(HOST, "checkpoint-create", "erp", ahead)
    first = f"drover-{number}"
    monitor(host, "block-dirty-bitmap-remove", name=f'"{first}"')  # the record is there, the bitmap is not
    following = f"drover-{number + 1}"
    monitor(host, "block-dirty-bitmap-add", name=f'"{following}"', persistent="true")  # and the other way round
    second, *_ = driver.begin(first)
    assert driver.disks["vda"] == ("full", True, f"read in full: its record of what changed since {first} is not usable")
    assert second == following
    assert driver.events == [
        f"vda is read in full: its record of what changed since {first} is not usable",
        f"the checkpoint {first} had lost its bitmap and was removed",
        f"a bitmap {following} without a checkpoint was removed",
    ]
    data, zero, same = driver.read("vda", copy)
    assert same == 0 and data + zero == 256 << 20
    driver.ask("end")
    driver.ask("settle", second)
    assert set(checkpoints(host)) == {"drover-of-others", second}  # others' are not touched
    host.virsh(HOST, "checkpoint-delete", "erp", "drover-of-others")
    host.virsh(HOST, "checkpoint-delete", "erp", second)  # with the clock that was ahead


def test_a_name_does_not_come_again(host, drive):
    driver = drive()
    first, *_ = driver.begin()
    driver.ask("end")
    host.virsh(HOST, "checkpoint-delete", "erp", first)
    second, *_ = driver.begin(first)
    assert driver.disks["vda"][0] == "full"
    driver.ask("end")
    host.virsh(HOST, "checkpoint-delete", "erp", second)
    third, *_ = driver.begin()  # nobody remembers one
    driver.ask("end")
    assert first < second < third


TWO = """<domain type='qemu'><name>two</name><uuid>6f0c0a8e-2f6b-4c1d-9a35-0d6b7c1e2f30</uuid><memory unit='MiB'>32</memory><os><type arch='x86_64'>hvm</type></os><devices>
<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{images}/{vda}.qcow2'/><target dev='vda' bus='virtio'/></disk>
<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{images}/{vdb}.qcow2'/><target dev='vdb' bus='virtio'/></disk>
</devices></domain>"""


def test_disks_that_were_exchanged_are_read_in_full(host, drive, tmp_path):
    """Each image has a bitmap of the base's name, which says what has changed in the other disk of the restore point."""
    define = tmp_path / "two.xml"
    for name, byte in (("one", 1), ("other", 2)):
        host.exec(HOST, "qemu-img", "create", "-q", "-f", "qcow2", f"{IMAGES}/{name}.qcow2", "4M")
        host.exec(HOST, "qemu-io", "-f", "qcow2", "-c", f"write -q -P {byte} 0 4M", f"{IMAGES}/{name}.qcow2")
    bases = {}
    try:
        for vda, vdb, how in (("one", "other", "full"), ("other", "one", "full"), ("other", "one", "incremental")):
            define.write_text(TWO.format(images=IMAGES, vda=vda, vdb=vdb))
            host.virsh(HOST, "define", define)
            host.virsh(HOST, "start", "two")
            driver = drive("two")
            name, *_ = driver.begin(bases.get("base", "-"))
            assert {target: disk[0] for target, disk in driver.disks.items()} == {"vda": how, "vdb": how}
            if vda == "other" and how == "full":
                assert f"the checkpoint {bases['base']} was of other disks and was removed" in driver.events
            for target, image in (("vda", vda), ("vdb", vdb)):
                copy = tmp_path / target
                driver.read(target, copy)
                assert copy.read_bytes() == bytes([1 if image == "one" else 2]) * (4 << 20)
            driver.ask("check")
            driver.ask("end")
            driver.ask("settle", name)
            driver.close()
            bases["base"] = name
            host.virsh(HOST, "destroy", "two", "--graceful")
    finally:
        host.exec(HOST, "virsh", "-q", "destroy", "two", check=False)
        host.virsh(HOST, "undefine", "two", "--checkpoints-metadata")


def test_fault_32_another_job_is_waited_for(host, drive, tmp_path):
    driver, job = drive(), tmp_path / "job.xml"
    job.write_text("<domainbackup mode='pull'><server transport='unix' socket='/var/lib/libvirt/other'/></domainbackup>")
    host.virsh(HOST, "backup-begin", "erp", job)
    said = driver.fails("begin", secrets.token_hex(16), "-")
    assert said == "busy another job on the VM did not end within 2 s"
    driver.tell("begin", secrets.token_hex(16), "-")
    host.virsh(HOST, "domjobabort", "erp")
    done, said = driver.hear()
    assert done, said
    driver.ask("end")


def test_an_agent_that_was_killed_leaves_nothing(host, drive, tmp_path):
    driver = drive()
    driver.begin()
    driver.process.kill()
    driver.process.wait()
    assert "Backup" in host.virsh(HOST, "domjobinfo", "erp")
    after = drive()
    assert after.ask("recover") == "0 1"
    wait_for("the job ends", 10, lambda: "None" in host.virsh(HOST, "domjobinfo", "erp"))
    nothing_is_left(host)


def thawed(lab):
    return lab.guest_agent(HOST, "erp", "guest-fsfreeze-status") == "thawed"


def test_fault_33_a_guest_is_thawed_after_a_limit_and_after_a_kill(host, drive):
    driver = drive()
    driver.ask("freeze", "a" * 32, 600)
    wait_for("the guest is thawed", 10, lambda: thawed(host))
    assert driver.fails("thaw") == "timeout the guest was thawed after 600 ms, before the checkpoint was made"

    driver.ask("freeze", "b" * 32, 60000)
    assert not thawed(host)
    driver.process.kill()
    driver.process.wait()
    after = drive()
    assert after.ask("recover").split()[0] == "1"
    assert thawed(host)
    assert after.ask("recover").split()[0] == "0"


def test_a_vm_with_snapshots_is_read_in_full(host, drive, tmp_path):
    driver = drive()
    first, *_ = driver.begin()
    driver.ask("end")
    driver.ask("settle", first)
    host.exec(HOST, "virsh", "-q", "snapshot-create-as", "erp", "before")
    name, frozen, why, _ = driver.begin(first)
    assert name == "-" and frozen, why
    assert driver.events == [f"the checkpoint {first} was removed, so that the VM can go back to its snapshots"]
    assert driver.disks == {"vda": ("full", False, "read in full: a checkpoint would keep the VM from going back to its snapshots")}
    data, zero, same = driver.read("vda", tmp_path / "vda.raw")
    assert same == 0 and data + zero == 256 << 20
    driver.ask("check")
    driver.ask("end")
    assert checkpoints(host) == []
    host.virsh(HOST, "snapshot-revert", "erp", "before")
    assert host.state_of(HOST, "erp") == "running"
    host.virsh(HOST, "snapshot-delete", "erp", "before")


def test_a_job_that_was_left_is_ended_by_the_next(host, drive):
    driver = drive()
    driver.begin()
    driver.process.kill()
    driver.process.wait()
    after = drive()
    after.begin()
    assert after.events == ["a backup of the VM that was left was ended"]
    after.ask("check")
    after.ask("end")


def test_fault_30_another_disk_ends_it(host, drive):
    driver = drive()
    driver.begin()
    host.exec(HOST, "qemu-img", "create", "-q", "-f", "raw", f"{IMAGES}/more.raw", "8M")
    host.virsh(HOST, "attach-disk", "erp", f"{IMAGES}/more.raw", "vdb", "--subdriver", "raw", "--live")
    assert driver.fails("check") == "conflict the VM got other disks during the backup"
    driver.ask("end")
    driver.begin()  # a raw disk has no place for a bitmap
    assert driver.disks["vdb"] == ("full", False, "read in full: an image of format raw keeps no record of what changes")
    driver.ask("end")


def test_fault_30_a_job_that_was_ended_ends_it(host, drive, tmp_path):
    driver = drive()
    driver.begin()
    host.virsh(HOST, "domjobabort", "erp")
    assert driver.fails("check").startswith("conflict the backup job was ended by somebody else")  # at once
    driver.ask("end")
    nothing_is_left(host)


def test_fault_30_another_size_is_refused_meanwhile(host, drive):
    """By QEMU itself, so that nothing comes of it; should it do so one day, the check compares the sizes."""
    driver = drive()
    driver.begin()
    resized = host.exec(HOST, "virsh", "-q", "blockresize", "erp", "vda", "264M", check=False)
    assert resized.returncode != 0 and "is in use" in resized.stderr
    driver.ask("check")
    driver.ask("end")


def test_fault_27_28_a_vm_that_was_killed_is_read_in_full(host, drive, tmp_path):
    driver, copy = drive(), tmp_path / "vda.raw"
    first, *_ = driver.begin()
    driver.ask("end")
    driver.begin(first)
    host.kill(HOST, "qemu:erp")
    host.wait_state(HOST, "erp", "shut off")
    assert driver.fails("read", "vda", copy).startswith("io open the disk")
    assert driver.fails("check") == "conflict the VM ended during the backup"
    driver.ask("end")
    nothing_is_left(host)
    host.virsh(HOST, "start", "erp")
    name, frozen, why, _ = driver.begin(first)
    assert not frozen and why == "no guest agent is connected"
    assert driver.disks["vda"][0] == "full"
    assert f"the checkpoint {first} had lost its bitmap and was removed" in driver.events
    data, zero, same = driver.read("vda", copy)
    assert same == 0 and data + zero == 256 << 20
    driver.ask("check")
    driver.ask("end")
    driver.ask("settle", name)
    assert checkpoints(host) == [name]
