# SPDX-License-Identifier: LGPL-2.1-or-later
"""Guests: VMs that boot the lab's own kernel and initramfs, with data disks and a guest agent to ask about them."""

import base64
import functools
import hashlib
import html
import json
import random
import shutil
import tempfile
import time
import uuid
from pathlib import Path

from labkit import enter, host, shell
from labkit.furnish import BOOT
from labkit.shell import Failure

PAYLOAD_BYTES = 8 << 20
MEMORY_MIB = {"bios": 128, "uefi": 256}
FIRMWARE = Path("/usr/share/OVMF/OVMF_CODE_4M.fd")
FIRMWARE_VARS = Path("/usr/share/OVMF/OVMF_VARS_4M.fd")


def create(lab, node, name, options):
    """Define a guest on a host and start it, unless it is to stay off. `options` as on the command line."""
    disks = [create_disk(lab, node, name, f"vd{chr(ord('a') + n)}", options) for n in range(options.disks)]
    xml = domain_xml(lab, node, name, disks, options)
    with tempfile.NamedTemporaryFile("w", suffix=".xml", dir=lab.node_dir(node)) as file:
        file.write(xml)
        file.flush()
        steps = ["pool-refresh default", f"define {file.name}", *([] if options.off else [f"start {name}"])]
        enter.run(node, "virsh", "-q", "; ".join(steps))
    host.keep_capabilities(lab, node)


def create_disk(lab, node, name, target, options):
    """Make a volume in the host's pool; returns (target, path on the host, format)."""
    kind = options.format or (image_format(options.image) if options.image else "qcow2")
    volume = f"{name}.{kind}" if target == "vda" else f"{name}-{target}.{kind}"
    final = lab.root_dir(node, host.POOL) / volume
    if final.exists():
        raise Failure(f"{node.name}: there is a volume '{volume}' already")
    with tempfile.TemporaryDirectory(dir=lab.node_dir(node), prefix=".disk-") as work:
        made = Path(work) / volume
        if options.image and target == "vda":
            copy_image(options.image, made, kind)
        else:
            new_file_system(f"{name} {target}", Path(work), made, options.disk, kind)
        made.rename(final)
    return target, f"{host.POOL}/{volume}", kind


def image_format(path):
    return json.loads(shell.run("qemu-img", "info", "-U", "--output=json", path))["format"]


def copy_image(source, into, kind):
    if image_format(source) == kind:
        shell.run("cp", "--sparse=always", "--reflink=auto", source, into)
    else:
        shell.run("qemu-img", "convert", "-f", image_format(source), "-O", kind, source, into)


def new_file_system(seed, work, into, size, kind):
    """An ext4 file system with /payload.bin in it, whose bytes follow from the seed."""
    content = work / "content"
    content.mkdir()
    (content / "payload.bin").write_bytes(payload(seed))
    raw = work / "file-system"
    shell.run("mke2fs", "-q", "-F", "-t", "ext4", "-E", "lazy_itable_init=1", "-d", content, raw, size)
    shutil.rmtree(content)
    if kind == "raw":
        raw.rename(into)
    else:
        shell.run("qemu-img", "convert", "-f", "raw", "-O", kind, raw, into)
        raw.unlink()


def payload(seed):
    return random.Random(seed).randbytes(PAYLOAD_BYTES)


@functools.lru_cache
def payload_sha256(name, target="vda"):
    """What sha256sum says in the guest about a new disk's payload.bin."""
    return hashlib.sha256(payload(f"{name} {target}")).hexdigest()


def domain_xml(lab, node, name, disks, options):
    firmware = "uefi" if options.uefi else "bios"
    return f"""\
<domain type='{'kvm' if lab.accelerator == 'kvm' else 'qemu'}'>
  <name>{html.escape(name)}</name>
  <uuid>{options.uuid or uuid.uuid4()}</uuid>
  <memory unit='MiB'>{options.memory or MEMORY_MIB[firmware]}</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='{'q35' if options.uefi else 'pc'}'>hvm</type>
    {firmware_xml(name) if options.uefi else ''}
    <kernel>{BOOT}/{'vmlinuz' if options.uefi else 'vmlinux'}</kernel>
    <initrd>{BOOT}/initrd</initrd>
    <cmdline>console=ttyS0 quiet panic=1 mitigations=off cryptomgr.notests init_on_alloc=0 lab.name={html.escape(name)}</cmdline>
  </os>
  <features><acpi/></features>
  <clock offset='utc'/>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
    {''.join(disk_xml(*d) for d in disks)}
    <interface type='bridge'>
      <mac address="{html.escape(options.mac or default_mac(lab, node, name))}"/>
      <source bridge="{html.escape(options.bridge)}"/>
      <model type='virtio'/>
    </interface>
    <serial type='pty'>
      <log file='/var/log/libvirt/qemu/{html.escape(name)}-console.log' append='on'/>
    </serial>
    {'' if options.no_agent_channel else AGENT_CHANNEL_XML}
    <memballoon model='none'/>
  </devices>
</domain>
"""


AGENT_CHANNEL_XML = """<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>"""


def firmware_xml(name):
    if not FIRMWARE.exists():
        raise Failure(f"--uefi: no {FIRMWARE}; it is in the package ovmf")
    return f"""<loader readonly='yes' type='pflash'>{FIRMWARE}</loader>
    <nvram template='{FIRMWARE_VARS}'>/var/lib/libvirt/qemu/nvram/{html.escape(name)}_VARS.fd</nvram>"""


def disk_xml(target, path, kind):
    return f"""<disk type='file' device='disk'>
      <driver name='qemu' type='{kind}'/>
      <source file="{html.escape(path)}"/>
      <target dev='{target}' bus='virtio'/>
    </disk>
    """


def default_mac(lab, node, name):
    tail = hashlib.sha256(f"{lab.name} {node.name} {name}".encode()).digest()[:3]
    return "52:54:00:" + ":".join(f"{byte:02x}" for byte in tail)


def ask_agent(node, name, execute, **arguments):
    """One command of qemu-ga's; its `return`."""
    request = {"execute": execute, **({"arguments": arguments} if arguments else {})}
    answer = enter.run(node, "virsh", "-q", "qemu-agent-command", "--timeout", "10", name, json.dumps(request))
    return json.loads(answer)["return"]


def wait_agent(node, name, seconds):
    deadline = time.monotonic() + seconds
    while True:
        try:
            return ask_agent(node, name, "guest-ping")
        except Failure as failure:
            if time.monotonic() > deadline:
                raise Failure(f"{node.name}: {name}'s agent did not answer within {seconds:g} s: {failure}") from None
        time.sleep(0.2)


def execute(node, name, argv, seconds=60):
    """Run a program in the guest: (exit code, output, error output), as bytes."""
    started = ask_agent(node, name, "guest-exec", **{"path": argv[0], "arg": argv[1:], "capture-output": True})
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        status = ask_agent(node, name, "guest-exec-status", pid=started["pid"])
        if status["exited"]:
            out, err = (base64.b64decode(status.get(key, "")) for key in ("out-data", "err-data"))
            return status.get("exitcode", 128 + status.get("signal", 0)), out, err
        time.sleep(0.05)
    raise Failure(f"{node.name}: {name}: {' '.join(argv)} did not end within {seconds} s")
