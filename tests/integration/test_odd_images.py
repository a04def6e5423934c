# SPDX-License-Identifier: LGPL-2.1-or-later
"""Images of every kind that qemu-img makes, and what looks like an image and is none: each arrives as it was, is made anew with the
same content, or is refused with the reason; all of them asked for at once."""

import hashlib
import subprocess
from pathlib import Path

import pytest

from conftest import lab_name
from fleet import POOL, defined_on, disk_xml, domain_xml, known, leftovers
from labclient import Lab, wait_for

HERE, THERE = "lyon/kvm1", "nantes/kvm1"

IMAGES = {  # volume: the shell lines that make it
    "clusters-2m.qcow2": "qemu-img create -q -f qcow2 -o cluster_size=2M $1 64M; write $1 5M 3M",
    "clusters-512.qcow2": "qemu-img create -q -f qcow2 -o cluster_size=512 $1 16M; write $1 5M 3M",
    "subclusters.qcow2": "qemu-img create -q -f qcow2 -o extended_l2=on,cluster_size=16k $1 64M; write $1 5M 3k; write $1 17000000 1M",
    "version-2.qcow2": "qemu-img create -q -f qcow2 -o compat=0.10 $1 64M; write $1 5M 3M",
    "compressed.qcow2": "head -c 2M /usr/bin/qemu-img > s; truncate -s 4M s; qemu-img convert -f raw -O qcow2 -c s $1; rm s",
    "zstd.qcow2": "head -c 2M /usr/bin/qemu-img > s; qemu-img convert -f raw -O qcow2 -o compression_type=zstd -c s $1; rm s",
    "lazy.qcow2": "qemu-img create -q -f qcow2 -o lazy_refcounts=on $1 64M; write $1 5M 3M",
    "preallocated.qcow2": "qemu-img create -q -f qcow2 -o preallocation=full $1 32M; write $1 5M 3M",
    "bitmap.qcow2": "qemu-img create -q -f qcow2 $1 64M; qemu-img bitmap --add -f qcow2 $1 b; write $1 5M 3M",
    "snapshot.qcow2": "qemu-img create -q -f qcow2 $1 64M; write $1 5M 3M; qemu-img snapshot -q -c s $1; write $1 6M 3M",
    "no-sector.raw": "head -c 1000001 /dev/urandom > $1",
    "less-than-a-sector.raw": "printf x > $1",
    "no-bytes.raw": ": > $1",
    "looks-like-qcow2.raw": "qemu-img create -q -f qcow2 $1 64M; write $1 5M 3M",
    "read-only.raw": "head -c 1M /dev/urandom > $1; chmod 444 $1",
    "with a blank été.raw": "head -c 1M /dev/urandom > \"$1\"",
}
STREAM = {
    "stream.vmdk": "head -c 2M /usr/bin/qemu-img > s; qemu-img convert -f raw -O vmdk -o subformat=streamOptimized s $1; rm s",
    "sparse.vmdk": "head -c 2M /usr/bin/qemu-img > s; qemu-img convert -f raw -O vmdk s $1; rm s",
}
REFUSED = {  # and why
    "flat.vmdk": ("qemu-img create -q -f vmdk -o subformat=monolithicFlat $1 4M", "is not a VMDK image of one file"),
    "disk.vdi": ("qemu-img create -q -f vdi $1 4M", "an image of format vdi does not travel as it is"),
    "luks.qcow2": ("qemu-img create -q -f qcow2 --object secret,id=s,data=abc -o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10 $1 4M",
                   "its image is encrypted with a key of this host"),
    "elsewhere.qcow2": ("qemu-img create -q -f qcow2 -o data_file=$1.data,data_file_raw=on $1 4M", "its data lies in another file than its image"),
    "link.raw": ("head -c 1M /dev/urandom > ../somewhere.raw; ln -s ../somewhere.raw $1", "is a symbolic link"),
    "pipe.raw": ("mkfifo $1", "is not a regular file"),
    "garbage.qcow2": ("head -c 1M /dev/urandom > $1", "is not a qcow2 image, although the definition says so"),
}
WRITE = "write() { qemu-io -f qcow2 -c \"write -P 7 $2 $3\" $1 > /dev/null; }; "


@pytest.fixture(scope="module")
def lab(request):
    with Lab(lab_name(request)) as made:
        made.up(hosts=f"{HERE},{THERE}")
        every = {**IMAGES, **STREAM, **{volume: lines for volume, (lines, _) in REFUSED.items()}}
        made.exec(HERE, "sh", "-ec", WRITE + "".join(f"cd {POOL}; set -- '{volume}'; {lines}\n" for volume, lines in every.items()))
        folder = Path(made.file(HERE, "/var/lib/drover"))
        for number, volume in enumerate(every):
            (folder / f"{number}.xml").write_text(domain_xml(vm_of(volume), disk_xml(f"{POOL}/{volume}", format=format_of(volume))))
        made.virsh(HERE, "; ".join(f"define /var/lib/drover/{number}.xml" for number in range(len(every))))
        made.virsh(HERE, "pool-refresh", "default")
        known(made, vm_of("garbage.qcow2"))
        wait_for("all volumes are known", 20, lambda: all(vm["disks"][0]["volume"] for vm in made.drover("vm", "list")
                                                          if not vm["name"].startswith(("link", "pipe"))))
        yield made


def vm_of(volume):
    return volume.rsplit(".", 1)[0]


def format_of(volume):
    return volume.rsplit(".", 1)[1]


def file_digest(lab, host, path):
    return hashlib.sha256(Path(lab.file(host, path)).read_bytes()).hexdigest()


def content(lab, host, path, format):
    """Digest of what a guest sees, up to whole sectors."""
    raw = Path(lab.plan.node_dir(lab.plan.node(host))) / "content.raw"
    subprocess.run(["qemu-img", "convert", "-U", "-f", format, "-O", "raw", lab.file(host, path), raw], check=True)
    data = raw.read_bytes()
    raw.unlink()
    return hashlib.sha256(data + bytes(-len(data) % 512)).hexdigest()


def move_all(lab, source, target, *options):
    """The whole host at once: {VM: why it was refused, or None}, and the exit code."""
    done = lab.run_drover("vm", "move", f"{source}/*", target, "--verify", "read-back", *options, "-o", "json")
    newest = next(j for j in lab.drover("job", "list") if j["vm"] == f"{source}/*")
    parts = lab.drover("job", "show", newest["id"])["parts"]
    return {part["vm"].rsplit("/", 1)[1]: part["error"] for part in parts}, done.returncode


def test_odd_images_arrive_as_they_were_or_are_refused_with_the_reason(lab):
    before = {volume: file_digest(lab, HERE, f"{POOL}/{volume}") for volume in IMAGES}
    seen = {volume: content(lab, HERE, f"{POOL}/{volume}", format_of(volume)) for volume in {**IMAGES, **STREAM} if volume != "no-bytes.raw"}
    refused = {vm_of(volume): why for volume, (_, why) in REFUSED.items()} | {vm_of(volume): "format vmdk does not travel" for volume in STREAM}

    said, code = move_all(lab, HERE, THERE)
    assert code == 3
    assert {vm for vm, error in said.items() if error} == set(refused)
    assert all(why in said[vm] for vm, why in refused.items()), said
    assert {volume: file_digest(lab, THERE, f"{POOL}/{volume}") for volume in IMAGES} == before

    for volume in STREAM:
        lab.drover("vm", "move", vm_of(volume), THERE, "--format", "qcow2")
    said, code = move_all(lab, THERE, HERE, "--format", "raw")
    assert code == 3
    assert {vm: error for vm, error in said.items() if error} == {
        "snapshot": f"vda: {POOL}/snapshot.qcow2 holds 1 snapshot, which would be lost in another format"}
    seen.pop("snapshot.qcow2")
    for volume, digest in seen.items():
        disk = known(lab, vm_of(volume))["disks"][0]
        assert disk["format"] == "raw" and content(lab, HERE, disk["path"], "raw") == digest, volume
    assert leftovers(lab, THERE) != [] and all(name.endswith(".held") for name in leftovers(lab, THERE))  # what moves leave, and no more
    for volume in STREAM:
        assert defined_on(lab, (HERE, THERE), vm_of(volume)) == [HERE]
