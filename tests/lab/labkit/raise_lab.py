# SPDX-License-Identifier: LGPL-2.1-or-later
"""`lab up`: from nothing to a complete lab, or back to nothing."""

import json
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from labkit import control, host, image, state
from labkit.shell import Failure, say
from labkit.state import Lab, Process


def up(name, hosts, agents, owner, env):
    """Make a lab in place of one of the same name. `env` is for drover's processes: KEY=VALUE each."""
    plan = {"name": name, "hosts": hosts, "agents": agents, "accelerator": image.accelerator()}
    lab = Lab.plan(**plan)
    if agents:
        control.require_programs()
    boot = image.boot_dir()
    if state.tear_down(name):
        say(f"removed an earlier lab '{name}'")
    prepare_files(lab, env)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, interrupt)
    keeper = start_keeper(lab, {"plan": plan, "boot": str(boot), "owner": owner})
    try:
        start_everything(lab)
        keeper.stdin.write("complete\n")
        keeper.stdin.close()
        return lab
    except BaseException:
        keeper.terminate()
        keeper.wait()
        raise


def interrupt(*_):
    raise KeyboardInterrupt


def prepare_files(lab, env):
    for node in lab.nodes.values():
        lab.node_dir(node).mkdir(parents=True)
        host.prepare(lab, node)
    if env:
        for service in control.all_services(lab):
            service.file(".env").write_text("".join(f"{line}\n" for line in env))


def start_keeper(lab, order):
    """Start the process that holds the lab, and learn from it where the nodes are."""
    with open(lab.dir / "keeper.log", "a+b") as log:
        keeper = subprocess.Popen([sys.executable, "-X", f"pycache_prefix={sys.pycache_prefix}", "-m", "labkit.keeper", lab.name],
                                  start_new_session=True, text=True, cwd=Path(__file__).resolve().parent.parent,
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
        try:
            keeper.stdin.write(json.dumps(order) + "\n")
            keeper.stdin.flush()
            answer = keeper.stdout.readline()
        except BaseException:
            keeper.terminate()
            keeper.wait()
            raise
        if not answer:
            keeper.wait()
            log.seek(0)
            raise Failure(f"the lab's keeper failed:\n{log.read().decode(errors='replace')}")
    made = json.loads(answer)
    lab.number = made["number"]
    for node, init in zip(lab.nodes.values(), made["inits"]):
        node.init = Process(**init)
    lab.save()
    return keeper


def start_everything(lab):
    """Everything that does not need another thing starts at once."""
    with ThreadPoolExecutor(len(lab.nodes)) as pool:
        started = [pool.submit(host.start_libvirt, lab, node) for node in lab.hosts]
        if lab.agents:
            control.create_controller(lab)
        for future in started:
            future.result()
        if lab.agents:
            list(pool.map(lambda node: control.join(lab, node), lab.hosts))
            control.wait_online(lab)
