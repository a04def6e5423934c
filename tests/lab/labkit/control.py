# SPDX-License-Identifier: LGPL-2.1-or-later
"""drover's own processes in the lab: the controller in its node, an agent on every host."""

import json
import os
import socket
import subprocess
import time

from labkit import enter
from labkit.enter import Service, wait_for
from labkit.shell import Failure

PORT = 7443
ONLINE_SECONDS = 30


def controller(lab):
    return Service(lab, lab.nodes["controller"], "controller", ["drover-controller", "run"])


def agent(lab, node):
    return Service(lab, node, "agent", ["drover-agent", "run"])


def operator_dir(lab):
    return lab.dir / "operator"


def create_controller(lab):
    operator_dir(lab).mkdir(mode=0o700, exist_ok=True)
    enter.run(lab.nodes["controller"], "drover-controller", "init", "--name", "lab", "--listen", f"0.0.0.0:{PORT}",
              "--address", f"{lab.controller_address}:{PORT}",
              env={**controller(lab).environment(), "DROVER_CONFIG": str(operator_dir(lab))})
    start_controller(lab)


def start_controller(lab):
    service = controller(lab)
    if not service.alive():
        service.start()
    try:
        wait_for("the controller's port", 15, lambda: answers(lab.controller_address, PORT))
    except Failure as failure:
        raise Failure(f"{failure}\n{service.tail()}") from None


def answers(address, port):
    try:
        socket.create_connection((address, port), timeout=1).close()
        return True
    except OSError:
        return False


def drover(lab, *arguments):
    """Ask the controller as the operator, from this machine; the answer's JSON."""
    env = enter.clean_env({"DROVER_CONFIG": str(operator_dir(lab))})
    done = subprocess.run([f"{enter.command_dir()}/drover", *arguments, "-o", "json"], env=env, text=True, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if done.returncode != 0:
        raise Failure(f"drover {' '.join(arguments)}: exit {done.returncode}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def join(lab, node):
    """Invite a host and start its agent with the token."""
    token = drover(lab, "host", "invite", node.name)["token"]
    enter.run(node, "drover-agent", "join", token, env=agent(lab, node).environment())
    start_agent(lab, node)


def start_agent(lab, node):
    service = agent(lab, node)
    if not service.alive():
        service.start()


def wait_online(lab):
    deadline = time.monotonic() + ONLINE_SECONDS
    while True:
        hosts = {f"{h['site']}/{h['name']}": h["state"] for h in drover(lab, "host", "list")}
        missing = [n.name for n in lab.hosts if hosts.get(n.name) != "online"]
        if not missing:
            return
        if time.monotonic() > deadline:
            raise Failure(f"not online after {ONLINE_SECONDS} s: {', '.join(missing)}\n{all_tails(lab)}")
        time.sleep(0.1)


def all_services(lab):
    return [controller(lab), *(agent(lab, n) for n in lab.hosts)]


def all_tails(lab):
    return "\n".join(f"--- {s.node.name} {s.name}.log\n{s.tail()}" for s in all_services(lab))


def require_programs():
    missing = [p for p in ("drover", "drover-agent", "drover-controller") if not os.access(f"{enter.binary_dir()}/{p}", os.X_OK)]
    if missing:
        raise Failure(f"no {', '.join(missing)} in {enter.binary_dir()}; build them, set DROVER_BIN, or use --no-agents")
