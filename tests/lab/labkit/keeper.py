# SPDX-License-Identifier: LGPL-2.1-or-later
"""The one process that holds a lab: when it goes, for whatever reason, so does everything else.

Every node is a set of namespaces around a first process that is a child of the keeper's and asks the kernel to be
killed with it. The first process of a process namespace takes all others there along; mounts, network namespaces and
the interfaces in them go with their last process. So not even SIGKILL leaves more than files, which `lab down` removes.

`lab up` starts the keeper, reads one line from it once the nodes stand, and writes one line to it when the lab is
complete. If `lab up` dies in between, or later the owner named on the command line, the keeper ends the lab.
"""

import fcntl
import json
import os
import selectors
import signal
import sys
from dataclasses import asdict
from pathlib import Path

from labkit import furnish, network, space, state


class Stop(Exception):
    """The reason to end the lab."""


class Keeper:
    def __init__(self, lab, boot, owner):
        self.lab = lab
        self.boot = boot
        self.owner = owner
        self.inits = []
        self.lock = os.open(lab.dir, os.O_RDONLY | os.O_DIRECTORY)

    def run(self):
        signal.signal(signal.SIGTERM, on_signal)
        signal.signal(signal.SIGINT, on_signal)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            self.write_down()
            self.build()
            self.watch()
        except Stop as reason:
            print(f"keeper: ending the lab: {reason}", file=sys.stderr, flush=True)
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            self.end()

    def build(self):
        space.unshare(space.CLONE_NEWNS)
        space.mount(None, "/", flags=space.MS_PRIVATE | space.MS_REC)
        space.mount("tmpfs", "/run", "tmpfs", options="mode=755")
        network.build(self.lab)
        for node in self.lab.nodes.values():
            self.start_node(node)
        self.write_down()
        print(json.dumps({"number": self.lab.number, "inits": [asdict(i) for i in self.inits]}), flush=True)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)

    def start_node(self, node):
        """Fork the node's first process, and wait until it has furnished its namespaces."""
        ready, done = os.pipe()
        home = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        space.unshare(space.CLONE_NEWPID)
        pid = os.fork()
        if pid == 0:
            be_init(self.lab, node, self.boot, done)
        space.setns(home, space.CLONE_NEWPID)
        os.close(home)
        os.close(done)
        self.inits.append(state.Process.of(pid))
        with open(ready, "rb") as answer:
            if answer.read() != b"ready":
                raise Stop(f"{node.name} did not come up")

    def write_down(self):
        record = {"keeper": asdict(state.Process.of(os.getpid())), "inits": [asdict(i) for i in self.inits]}
        state.write_whole(self.lab.dir / "keeper.json", json.dumps(record))

    def watch(self):
        """Wait for a reason to end: this only ever raises Stop."""
        selector = selectors.DefaultSelector()
        selector.register(0, selectors.EVENT_READ, self.on_starter)
        if self.owner:
            selector.register(open_owner(self.owner), selectors.EVENT_READ, self.on_owner_gone)
        for init in self.inits:
            selector.register(os.pidfd_open(init.pid), selectors.EVENT_READ, self.on_node_gone)
        while True:
            for key, _ in selector.select():
                if key.data():
                    selector.unregister(key.fileobj)

    def on_starter(self):
        if os.read(0, 64) != b"complete\n":
            raise Stop("'lab up' did not finish")
        return True

    def on_owner_gone(self):
        raise Stop(f"its owner, process {self.owner}, is gone")

    def on_node_gone(self):
        raise Stop("a node's first process died")

    def end(self):
        for init in self.inits:
            os.kill(init.pid, signal.SIGKILL)
        for init in self.inits:
            os.waitpid(init.pid, 0)
        if self.lab.number:
            network.release_number(self.lab.number)
        state.remove_tree(self.lab.dir)


def on_signal(number, _frame):
    raise Stop(signal.Signals(number).name)


def open_owner(pid):
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        raise Stop(f"its owner, process {pid}, is gone") from None


def be_init(lab, node, boot, done):
    """The first process of a node: step into its namespaces, furnish them, then only bury the dead."""
    try:
        space.prctl(space.PR_SET_PDEATHSIG, signal.SIGKILL)
        space.prctl(space.PR_SET_NAME, f"lab:{node.name}"[:15].encode())
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, 0)
        os.dup2(nothing, 1)
        space.enter(f"/run/netns/{node.netns}", space.CLONE_NEWNET)
        space.unshare(space.CLONE_NEWNS | space.CLONE_NEWUTS)
        furnish.furnish(lab, node, boot)
        os.chdir("/")
        os.write(done, b"ready")
        os.close(done)
        bury_the_dead()
    except BaseException as problem:
        print(f"keeper: {node.name}: {problem!r}", file=sys.stderr, flush=True)
    finally:
        os._exit(1)


def bury_the_dead():
    while True:
        signal.sigwait({signal.SIGCHLD})
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass


def main():
    order = json.loads(sys.stdin.readline())
    lab = state.Lab.plan(**order["plan"])
    Keeper(lab, Path(order["boot"]), order["owner"]).run()


if __name__ == "__main__":
    main()
