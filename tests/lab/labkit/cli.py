# SPDX-License-Identifier: LGPL-2.1-or-later
"""The command line of `lab`: one function a command. Only data goes to standard output.

main() is the program. perform() does one command in the process that asks, for tests that ask often.
"""

import argparse
import os
import shlex
import sys

from labkit import control, enter, guest, host, image, link, pool, raise_lab, state
from labkit.shell import Failure, say


def lab_of(options):
    return options.lab or state.Lab.load()


def up(options):
    lab = raise_lab.up(state.lab_name(), options.hosts, not options.no_agents, options.owner, options.env)
    exports = {
        "DROVER_LAB": lab.name,
        "DROVER_CONFIG": str(control.operator_dir(lab)),
        "PATH": f"{enter.binary_dir()}:{state.PROJECT}/tests/lab:{os.environ.get('PATH', '')}",
    }
    if "DROVER_LAB_STATE" in os.environ:
        exports["DROVER_LAB_STATE"] = os.environ["DROVER_LAB_STATE"]
    for name, value in exports.items():
        print(f"export {name}={shlex.quote(value)}")


def down(_options):
    if not state.tear_down(state.lab_name()):
        say(f"there is no lab '{state.lab_name()}'")


def reap(_options):
    for name in state.reap():
        say(f"removed '{name}'")


def execute(options):
    enter.become(lab_of(options).node(options.node), options.command)


def make_guest(options):
    lab = lab_of(options)
    guest.create(lab, lab.host(options.host), options.name, options)


def guest_exec(options):
    node = lab_of(options).host(options.host)
    code, out, err = guest.execute(node, options.name, options.command, options.timeout)
    sys.stdout.buffer.write(out)
    sys.stderr.buffer.write(err)
    return code


def guest_wait(options):
    guest.wait_agent(lab_of(options).host(options.host), options.name, options.timeout)


def make_pool(options):
    lab = lab_of(options)
    if options.remove:
        pool.remove(lab, lab.host(options.host), options.name)
    elif options.fail:
        pool.fail(lab.host(options.host), options.name, options.fail)
    else:
        pool.create(lab, lab.host(options.host), options.name, options.kind, options.size, options.store)


def set_link(options):
    lab = lab_of(options)
    if options.reset:
        link.reset(lab, options.site)
        return
    names = ("rate", "latency_ms", "up", "inbound")
    wanted = {n: getattr(options, n) for n in names if getattr(options, n) is not None}
    now = link.change(lab, options.site, **wanted) if wanted else link.load(lab, options.site)
    if not wanted:
        print(link.describe(options.site, now))


def kill(options):
    lab = lab_of(options)
    node = lab.node(options.node)
    target = options.target or ("agent" if node.is_host else "controller")
    number = options.signal.upper().removeprefix("SIG")
    if target.startswith("qemu:") and node.is_host:
        name = target.removeprefix("qemu:")
        enter.kill_in(node, host.qemu_pid(node, name), number, f"{node.name}: guest {name}")
    elif target == "power" and node.is_host:
        host.cut_power(node)
    else:
        service(lab, node, target).kill(number)


def start(options):
    lab = lab_of(options)
    node = lab.node(options.node)
    target = options.target or ("agent" if node.is_host else "controller")
    if target in ("libvirtd", "power") and node.is_host:
        host.start_libvirt(lab, node)
    if target == "power" and lab.agents or target == "agent":
        service(lab, node, "agent")
        control.start_agent(lab, node)
    elif target == "controller":
        control.start_controller(lab)


def service(lab, node, target):
    known = {"agent": control.agent, "libvirtd": host.libvirtd, "virtlogd": host.virtlogd} if node.is_host else {}
    if target in known:
        return known[target](lab, node)
    if node.name == "controller" and target == "controller":
        return control.controller(lab)
    raise Failure(f"{node.name} has no '{target}'; a host has agent, libvirtd, virtlogd, power and qemu:NAME")


def parser():
    root = argparse.ArgumentParser(prog="lab", description="Real KVM hosts on one machine. DROVER_LAB names the lab.")
    root.set_defaults(lab=None)
    commands = root.add_subparsers(required=True, metavar="COMMAND")

    def command(name, function, text):
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(function=function)
        return sub

    sub = command("up", up, "make a lab (in place of one of the same name) and print shell lines to eval")
    sub.add_argument("--hosts", default=state.DEFAULT_HOSTS, metavar="SITE/HOST,...")
    sub.add_argument("--no-agents", action="store_true", help="only libvirt, without drover's own processes")
    sub.add_argument("--owner", type=int, metavar="PID", help="end the lab when this process is gone")
    sub.add_argument("--env", action="append", default=[], metavar="KEY=VALUE", help="for drover's processes, from the start")

    command("down", down, "remove the lab, whatever is left of it")
    command("reap", reap, "remove what was left by labs whose keeper was killed")

    sub = command("exec", execute, "run a program on a node")
    sub.add_argument("node", metavar="SITE/HOST|controller|backbone")
    sub.add_argument("command", nargs=argparse.REMAINDER, metavar="CMD ...")

    sub = command("guest", make_guest, "make a VM that boots, and start it")
    add_guest_arguments(sub)

    sub = command("guest-exec", guest_exec, "run a program in a guest, through its agent")
    sub.add_argument("--timeout", type=float, default=60, metavar="SECONDS")
    sub.add_argument("host", metavar="SITE/HOST")
    sub.add_argument("name")
    sub.add_argument("command", nargs=argparse.REMAINDER, metavar="CMD ...")

    sub = command("guest-wait", guest_wait, "wait until a guest's agent answers")
    sub.add_argument("host", metavar="SITE/HOST")
    sub.add_argument("name")
    sub.add_argument("--timeout", type=float, default=60, metavar="SECONDS")

    sub = command("link", set_link, "change a site's link to the others, or show it")
    add_link_arguments(sub)

    sub = command("pool", make_pool, "make another pool on a file system of its own, or have its device fail")
    add_pool_arguments(sub)

    for name, function, text in (("kill", kill, "send a signal to a process of a node"),
                                 ("start", start, "start a process of a node again")):
        sub = command(name, function, text)
        sub.add_argument("node", metavar="SITE/HOST|controller")
        sub.add_argument("target", nargs="?", metavar="agent|libvirtd|virtlogd|power" + ("|qemu:NAME" if name == "kill" else ""))
        if name == "kill":
            sub.add_argument("signal", nargs="?", default="KILL")
    return root


def add_guest_arguments(sub):
    sub.add_argument("host", metavar="SITE/HOST")
    sub.add_argument("name")
    sub.add_argument("--disk", default="512M", metavar="SIZE")
    sub.add_argument("--disks", type=int, default=1, metavar="N", help="data disks: vda, vdb, ...")
    sub.add_argument("--format", choices=["qcow2", "raw", "vmdk"])
    sub.add_argument("--image", metavar="FILE", help="vda is a copy of this")
    sub.add_argument("--off", action="store_true", help="define it only")
    sub.add_argument("--uefi", action="store_true", help="OVMF, with a file for its variables")
    sub.add_argument("--no-agent-channel", action="store_true", help="no guest agent")
    sub.add_argument("--bridge", default="br0")
    sub.add_argument("--memory", type=int, metavar="MIB")
    sub.add_argument("--mac")
    sub.add_argument("--uuid")


def add_pool_arguments(sub):
    sub.add_argument("host", metavar="SITE/HOST")
    sub.add_argument("name")
    sub.add_argument("--kind", choices=sorted(pool.KINDS), default="ext4")
    sub.add_argument("--size", default="2G", help="of its device, which is a sparse file")
    sub.add_argument("--store", metavar="SIZE", help="what the device can really keep; writing more is an error")
    sub.add_argument("--fail", metavar="read-only|gone|read:VOLUME@BYTES", help="of a pool that was made so")
    sub.add_argument("--remove", action="store_true")


def add_link_arguments(sub):
    sub.add_argument("site")
    sub.add_argument("--rate", metavar="100mbit|none")
    sub.add_argument("--latency", dest="latency_ms", type=float, metavar="MS", help="added to a round trip; 0 removes it")
    sub.add_argument("--reset", action="store_true", help="reset every connection that crosses it, once")
    sub.add_argument("--down", dest="up", action="store_false", default=None)
    sub.add_argument("--up", dest="up", action="store_true", default=None)
    sub.add_argument("--no-inbound", dest="inbound", action="store_false", default=None)
    sub.add_argument("--inbound", dest="inbound", action="store_true", default=None)


def perform(lab, *argv):
    """One command, in this process; Failure instead of an exit code."""
    options = parser().parse_args([str(word) for word in argv])
    options.lab = lab
    options.function(options)


def main():
    options = parser().parse_args()
    if os.geteuid() != 0:
        say("this needs root")
        return 1
    try:
        return options.function(options) or 0
    except Failure as failure:
        say(str(failure))
        return 1
    except KeyboardInterrupt:
        return 130
