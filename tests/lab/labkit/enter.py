# SPDX-License-Identifier: LGPL-2.1-or-later
"""Running programs inside a node: to the end, in place of this process, or in the background."""

import os
import subprocess
import sys
import time

from labkit import shell
from labkit.shell import Failure
from labkit.state import PROJECT

NAMESPACES = ["--mount", "--uts", "--net", "--pid"]


def binary_dir():
    """Where drover's programs are: DROVER_BIN, else the release build, else the debug build."""
    if "DROVER_BIN" in os.environ:
        return os.path.abspath(os.environ["DROVER_BIN"])
    builds = [PROJECT / "build" / kind / "bin" for kind in ("release", "debug")]
    return str(next((b for b in builds if b.is_dir()), builds[0]))


def command_dir():
    """Where the operator's command is: DROVER_CLI may name another build of it."""
    return os.environ.get("DROVER_CLI") or binary_dir()


def search_path():
    return f"{binary_dir()}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def clean_env(extra=None):
    """What every program on a node gets; a sanitizer's options are for the programs under test."""
    kept = {key: os.environ[key] for key in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS") if key in os.environ}
    return {**kept, "PATH": search_path(), "HOME": "/root", "LANG": "C.UTF-8", "TERM": os.environ.get("TERM", "dumb"), **(extra or {})}


def command(node, *argv):
    if not node.init.alive():
        raise Failure(f"{node.name} is gone; 'lab down' removes what is left of this lab")
    return ["nsenter", "--target", str(node.init.pid), *NAMESPACES, "--", *map(str, argv)]


def run(node, *argv, input=None, env=None):
    """Run to the end and return the output; Failure otherwise."""
    return shell.run(*command(node, *argv), input=input, env=clean_env(env))


def attempt(node, *argv, input=None, timeout=None):
    """Run to the end, whatever it gives: a CompletedProcess."""
    return subprocess.run(command(node, *argv), input=input, env=clean_env(), text=True, timeout=timeout,
                          stdin=None if input is not None else subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def become(node, argv):
    """Replace this process by the program, which inherits the terminal and the caller's directory and environment."""
    env = {**os.environ, "PATH": f"{search_path()}:{os.environ.get('PATH', '')}"}
    here = [f"--wdns={os.getcwd()}"] if os.path.isdir(os.getcwd()) else []
    full = command(node, *argv)
    split = full.index("--")
    sys.stdout.flush()
    os.execvpe("nsenter", [*full[:split], *here, *full[split:]], env)


class Service:
    """A program kept running in a node. `<name>.pid` (as the node counts), `.log` and `.env` are in the node's directory."""

    def __init__(self, lab, node, name, argv):
        self.node = node
        self.name = name
        self.argv = argv
        self.base = lab.node_dir(node) / name

    def file(self, suffix):
        return self.base.with_name(self.name + suffix)

    def start(self):
        self.file(".pid").unlink(missing_ok=True)
        note_and_exec = 'echo $$ >"$0.new" && mv "$0.new" "$0" && exec "$@"'
        with open(self.file(".log"), "ab") as log:
            subprocess.run(command(self.node, "setsid", "--fork", "sh", "-c", note_and_exec, self.file(".pid"), *self.argv),
                           env=clean_env(self.environment()), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                           cwd="/", check=True)
        wait_for(f"{self.node.name}: {self.name}'s process", 5, self.pid, 0.005)

    def environment(self):
        try:
            lines = self.file(".env").read_text().splitlines()
        except FileNotFoundError:
            return {}
        return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))

    def pid(self):
        """The service's process as the node counts, or None."""
        try:
            return int(self.file(".pid").read_text())
        except (FileNotFoundError, ValueError):
            return None

    def alive(self):
        pid = self.pid()
        return pid is not None and attempt(self.node, "kill", "-0", pid).returncode == 0

    def kill(self, signal):
        pid = self.pid()
        if pid is None:
            raise Failure(f"{self.node.name}: {self.name} was never started")
        kill_in(self.node, pid, signal, f"{self.node.name}: {self.name}")

    def tail(self, lines=15):
        try:
            text = self.file(".log").read_text(errors="replace")
        except FileNotFoundError:
            return ""
        return "\n".join(text.splitlines()[-lines:])


def kill_in(node, pid, signal, what):
    """Send a signal, and after KILL wait until the process is gone."""
    script = 'kill -s "$1" "$2" || exit 1; [ "$1" != KILL ] || while kill -0 "$2" 2>/dev/null; do sleep 0.01; done'
    done = attempt(node, "timeout", "10", "sh", "-c", script, "sh", signal, pid)
    if done.returncode != 0:
        raise Failure(f"{what}: no signal {signal} to process {pid}: {done.stderr.strip()}")


def wait_for(what, seconds, condition, interval=0.05):
    """Wait until condition() is true; Failure after the deadline."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise Failure(f"{what}: not within {seconds} s")
        time.sleep(interval)
