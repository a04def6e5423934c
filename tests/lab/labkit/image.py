# SPDX-License-Identifier: LGPL-2.1-or-later
"""What every lab guest boots from: a Debian cloud kernel and an initramfs with busybox and qemu-ga.

Both are made once and kept in a cache (DROVER_LAB_CACHE, else /var/cache/drover-lab), the initramfs under a name that
changes with anything that went into it. Each is put in place by a rename, so that two labs can start at once.
"""

import hashlib
import os
import re
import shutil
import struct
import subprocess
import tempfile
import time
from pathlib import Path

from labkit import shell

GUEST_FILES = Path(__file__).resolve().parent.parent / "guest"

# In the order in which they must be loaded.
MODULES = """virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci virtio_blk failover net_failover
virtio_net virtio_console evdev button""".split()

PROGRAMS = {"/bin/busybox": "/usr/bin/busybox", "/bin/qemu-ga": "/usr/sbin/qemu-ga"}


def cache_dir():
    return Path(os.environ.get("DROVER_LAB_CACHE", "/var/cache/drover-lab"))


def boot_dir():
    """The directory with `vmlinuz`, `vmlinux` and `initrd`, made if it is missing."""
    package = kernel_package()
    boot = cache_dir() / f"boot-{recipe_digest(package)}"
    if not boot.exists():
        with build_dir() as work:
            build_boot(package, Path(work))
            put_in_place(Path(work), boot)
    return boot


def accelerator():
    """"kvm" if a guest has been seen to boot under it here, else "tcg"; the finding is kept in the cache."""
    chosen = os.environ.get("DROVER_LAB_ACCEL")
    if chosen:
        if chosen not in ("kvm", "tcg"):
            raise shell.Failure(f"DROVER_LAB_ACCEL={chosen!r}: it is 'kvm' or 'tcg'")
        return chosen
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg"
    machine = hashlib.sha256("".join([*os.uname()[2:4], cpu_model()]).encode()).hexdigest()[:16]
    finding = cache_dir() / f"accelerator-{machine}"
    if not finding.exists():
        shell.say("trying once whether a guest boots under KVM here")
        finding.write_text("kvm" if boots_under_kvm() else "tcg")
    return finding.read_text()


def cpu_model():
    found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return found.group(1) if found else ""


def boots_under_kvm(seconds=6):
    boot = boot_dir()
    qemu = subprocess.Popen(
        ["qemu-system-x86_64", "-nodefaults", "-display", "none", "-machine", "pc,accel=kvm", "-cpu", "host", "-m", "128",
         "-serial", "stdio", "-kernel", f"{boot}/vmlinux", "-initrd", f"{boot}/initrd", "-append", "console=ttyS0 quiet"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    said, deadline = b"", time.monotonic() + seconds
    os.set_blocking(qemu.stdout.fileno(), False)
    while b"lab-guest: up" not in said and time.monotonic() < deadline and qemu.poll() is None:
        said += qemu.stdout.read() or b""
        time.sleep(0.05)
    qemu.kill()
    qemu.wait()
    return b"lab-guest: up" in said


def kernel_package():
    """The unpacked kernel package: its newest copy in the cache, else fetched with apt."""
    unpacked = sorted(cache_dir().glob("linux-image-*"))
    return unpacked[-1] if unpacked else fetch_kernel()


def fetch_kernel():
    depends = shell.output("apt-cache", "depends", "linux-image-cloud-amd64")
    name = re.search(r"Depends: (linux-image-\S+)", depends).group(1)
    with build_dir() as work:
        shell.run("apt-get", "-q", "download", name, cwd=work)
        deb = next(Path(work).glob("*.deb"))
        shell.run("dpkg-deb", "-x", str(deb), f"{work}/tree")
        put_in_place(Path(work) / "tree", cache_dir() / name)
    return cache_dir() / name


def build_dir():
    cache_dir().mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(prefix=".build-", dir=cache_dir(), ignore_cleanup_errors=True)


def put_in_place(made, final):
    try:
        made.rename(final)
    except OSError:
        if not final.exists():
            raise


def recipe_digest(package):
    digest = hashlib.sha256(package.name.encode())
    for part in [Path(__file__), *sorted(GUEST_FILES.iterdir()), *(Path(p) for p in PROGRAMS.values())]:
        digest.update(part.read_bytes())
    return digest.hexdigest()[:16]


def build_boot(package, into):
    os.chmod(into, 0o755)
    vmlinuz = next((package / "boot").glob("vmlinuz-*"))
    shutil.copy(vmlinuz, into / "vmlinuz")
    extract_vmlinux(vmlinuz, into / "vmlinux")
    files = guest_tree(package)
    (into / "initrd").write_bytes(cpio(files))


def extract_vmlinux(vmlinuz, into):
    """The ELF image inside a bzImage: QEMU starts it at its PVH entry, which saves the guest the unpacking."""
    image = vmlinuz.read_bytes()
    setup_sectors = image[0x1F1] or 4
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = (setup_sectors + 1) * 512 + offset
    payload = image[start:start + length - 4]
    unpack = {b"\x02\x21\x4c\x18": "lz4", b"\xfd7zX": "xz", b"\x28\xb5\x2f\xfd": "zstd", b"\x1f\x8b\x08\x00": "gzip"}[payload[:4]]
    done = subprocess.run([unpack, "-dc"], input=payload, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    if not done.stdout.startswith(b"\x7fELF"):
        raise shell.Failure(f"{vmlinuz} does not hold an ELF image that {unpack} can unpack")
    into.write_bytes(done.stdout)


def guest_tree(package):
    """path in the guest -> (mode, content)"""
    files = {f"/{d}": (0o40755, b"") for d in "bin sbin dev proc sys run data modules etc".split()}
    for path, source in PROGRAMS.items():
        add_file(files, path, source)
        for library in libraries(source):
            add_file(files, library, library)
    for applet in shell.output("/usr/bin/busybox", "--list").split():
        files.setdefault(f"/bin/{applet}", (0o120777, b"busybox"))
    for module in MODULES:
        found = next((package / "lib/modules").rglob(f"{module}.ko"))
        add_file(files, f"/modules/{module}.ko", found)
    files["/modules/order"] = (0o100644, "".join(f"{m}\n" for m in MODULES).encode())
    add_file(files, "/init", GUEST_FILES / "init")
    add_file(files, "/sbin/shutdown", GUEST_FILES / "shutdown")
    return files


def add_file(files, path, source):
    for parent in reversed(Path(path).parents[:-1]):
        files.setdefault(str(parent), (0o40755, b""))
    files[path] = (0o100755, Path(source).read_bytes())


def libraries(program):
    listing = subprocess.run(["ldd", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    return re.findall(r"(/\S+) \(0x", listing)


def cpio(files):
    """The tree as a `newc` archive, not compressed: unpacking would cost an emulated processor more than reading."""
    archive = bytearray()
    for number, (path, (mode, content)) in enumerate(sorted(files.items()), start=1):
        archive += cpio_member(number, mode, path.lstrip("/"), content)
    return bytes(archive + cpio_member(0, 0, "TRAILER!!!", b""))


def cpio_member(number, mode, name, content):
    fields = [number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0]
    head = b"070701" + b"".join(b"%08X" % f for f in fields) + name.encode() + b"\0"
    return pad(head) + pad(content)


def pad(data):
    return data + b"\0" * (-len(data) % 4)
