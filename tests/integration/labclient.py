# SPDX-License-Identifier: LGPL-2.1-or-later
"""The lab, for tests: one object a lab, one method a command. See tests/lab/README.md for what a lab is."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT / "tests" / "lab"))

from labkit import cli, control, enter, guest, link, state  # noqa: E402
from labkit.shell import Failure  # noqa: E402

LAB = PROJECT / "tests" / "lab" / "lab"


class DroverError(Exception):
    """`drover` did not exit with 0. `error` is its JSON object ({} if there was none)."""

    def __init__(self, argv, done):
        self.exit = done.returncode
        self.stderr = done.stderr
        self.error = parse_error(done.stderr)
        self.code = self.error.get("code")
        super().__init__(f"{' '.join(argv)}: exit {done.returncode}: {done.stderr.strip()}")


def parse_error(text):
    for line in text.splitlines():
        try:
            return json.loads(line)["error"]
        except (ValueError, KeyError, TypeError):
            continue
    return {}


class Lab:
    """A lab, which ends with this process at the latest. Use it with `with`, or call up() and down()."""

    def __init__(self, name=None):
        self.name = name or f"test-{os.getpid()}"
        self.plan = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.down()

    # The lab itself

    def up(self, hosts=state.DEFAULT_HOSTS, agents=True, **env):
        """Make the lab, in place of one of the same name. `env` is for drover's processes: up(DROVER_FAULT_DIR="...")."""
        self._lab("up", "--hosts", hosts, "--owner", str(os.getpid()), *([] if agents else ["--no-agents"]),
                  *(f"--env={key}={value}" for key, value in env.items()))
        self.plan = state.Lab.load(self.name)
        return self

    def down(self):
        self._lab("down")

    @property
    def env(self):
        """What the shell lines of `lab up` set."""
        return {**os.environ, "DROVER_LAB": self.name, "DROVER_CONFIG": str(state.base_dir() / self.name / "operator"),
                "PATH": f"{enter.command_dir()}:{LAB.parent}:{os.environ['PATH']}"}

    def _lab(self, *argv, check=True):
        done = subprocess.run([LAB, *argv], env=self.env, text=True, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if check and done.returncode != 0:
            raise Failure(f"lab {' '.join(argv)}: exit {done.returncode}: {done.stderr.strip()}")
        return done

    def _here(self, *argv):
        """A command of a lab that is up, in this process: to start Python for each takes as long as what most of them do."""
        cli.perform(self.plan, *argv)

    # Nodes

    def exec(self, node, *argv, check=True, input=None, timeout=None):
        """Run a program on a node; a CompletedProcess with text output."""
        done = enter.attempt(self.plan.node(node), *argv, input=input, timeout=timeout)
        if check and done.returncode != 0:
            raise Failure(f"{node}: {' '.join(map(str, argv))}: exit {done.returncode}: {done.stderr.strip()}")
        return done

    def popen(self, node, *argv, **options):
        """Start a program on a node, as subprocess.Popen does."""
        return subprocess.Popen(enter.command(self.plan.node(node), *argv), env=enter.clean_env(), **options)

    def virsh(self, host, *argv):
        return self.exec(host, "virsh", "-q", *argv).stdout.strip()

    def kill(self, node, target=None, signal="KILL"):
        """target: agent (default), libvirtd, virtlogd, qemu:NAME, power; of "controller": controller."""
        default = "controller" if node == "controller" else "agent"
        self._here("kill", node, target or default, signal)

    def start(self, node, target=None):
        self._here("start", node, *([target] if target else []))

    def address(self, host):
        return self.plan.host(host).address

    def file(self, node, path):
        """Where a file of the node's private directories (/var/lib/libvirt, /var/lib/drover...) is on this machine."""
        return self.plan.root_dir(self.plan.node(node), path)

    def log(self, node, service=None):
        service = service or ("controller" if node == "controller" else "agent")
        return (self.plan.node_dir(self.plan.node(node)) / f"{service}.log").read_text(errors="replace")

    def set_env(self, node, **variables):
        """The environment that the node's agent (or the controller) gets from its next start on."""
        service = "controller" if node == "controller" else "agent"
        file = self.plan.node_dir(self.plan.node(node)) / f"{service}.env"
        file.write_text("".join(f"{key}={value}\n" for key, value in variables.items()))

    # Links

    def link(self, site, rate=None, latency=None, up=None, inbound=None):
        """Change what is not None; returns the line that describes the link."""
        flags = [*(["--rate", rate] if rate is not None else []), *(["--latency", str(latency)] if latency is not None else []),
                 *([] if up is None else ["--up" if up else "--down"]),
                 *([] if inbound is None else ["--inbound" if inbound else "--no-inbound"])]
        if flags:
            self._here("link", site, *flags)
        return link.describe(site, link.load(self.plan, site))

    def reset(self, site):
        """Reset every connection that crosses the site's link."""
        self._here("link", site, "--reset")

    # Pools

    def pool(self, host, name, **options):
        """Another pool on a file system of its own: pool("lyon/kvm1", "fast", kind="xfs", size="2G"). Its path on the host."""
        self._here("pool", host, name, *(f"--{key}={value}" for key, value in options.items()))
        return f"/var/lib/libvirt/{name}"

    def pool_fail(self, host, name, how):
        """how: read-only, gone, or read:VOLUME@BYTES."""
        self._here("pool", host, name, "--fail", how)

    def pool_remove(self, host, name):
        self._here("pool", host, name, "--remove")

    # Guests

    def guest(self, host, name, *flags, wait=True, **options):
        """Make a guest: guest("lyon/kvm1", "erp", "--off", disk="1G", format="raw"). Waits for its agent if it has one."""
        self._here("guest", host, name, *flags, *(f"--{key.replace('_', '-')}={value}" for key, value in options.items()))
        if wait and not {"--off", "--no-agent-channel"} & set(flags):
            self.guest_wait(host, name)

    def guest_wait(self, host, name, seconds=60):
        guest.wait_agent(self.plan.host(host), name, seconds)

    def guest_exec(self, host, name, *argv):
        """What a program in the guest prints; Failure if it does not exit with 0."""
        code, out, err = guest.execute(self.plan.host(host), name, argv)
        if code != 0:
            raise Failure(f"{host}: {name}: {' '.join(argv)}: exit {code}: {err.decode(errors='replace').strip()}")
        return out.decode().strip()

    def guest_agent(self, host, name, command, **arguments):
        """One command of qemu-ga's, and its `return`."""
        return guest.ask_agent(self.plan.host(host), name, command, **arguments)

    def payload_sha256(self, host, name, at="/data"):
        """The payload's digest, as the guest reads it."""
        self.guest_exec(host, name, "sh", "-c", "echo 3 >/proc/sys/vm/drop_caches")
        return self.guest_exec(host, name, "sha256sum", f"{at}/payload.bin").split()[0]

    @staticmethod
    def expected_sha256(name, target="vda"):
        """The digest of the payload that `lab guest` puts on a new disk."""
        return guest.payload_sha256(name, target)

    def state_of(self, host, name):
        return self.virsh(host, "domstate", name)

    def wait_state(self, host, name, wanted, seconds=30):
        wait_for(f"{host}: {name} {wanted}", seconds, lambda: self.state_of(host, name) == wanted)

    # drover

    def run_drover(self, *argv, timeout=120):
        """Run the operator's command as it stands; a CompletedProcess, whatever it gives."""
        return subprocess.run(["drover", *argv], env={**self.env, "NO_COLOR": "1"}, text=True, timeout=timeout,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def drover(self, *argv, timeout=120):
        """Run it with `-o json`: the answer as Python's objects (None if it printed nothing); DroverError otherwise."""
        done = self.run_drover(*argv, "-o", "json", timeout=timeout)
        if done.returncode != 0:
            raise DroverError(["drover", *argv], done)
        return json.loads(done.stdout) if done.stdout.strip() else None

    def wait_online(self):
        control.wait_online(self.plan)


def wait_for(what, seconds, condition, interval=0.1):
    """Wait for a true value and return it; AssertionError after the deadline. It asks every `interval` seconds, and more seldom the
    longer it has waited, up to twice a second: asking takes a part of the processor that what is waited for needs, too."""
    begun = time.monotonic()
    while True:
        value = condition()
        if value:
            return value
        waited = time.monotonic() - begun
        assert waited < seconds, f"{what}: not within {seconds} s"
        time.sleep(max(interval, min(waited / 10, 0.5)))
