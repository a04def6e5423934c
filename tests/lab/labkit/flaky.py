# SPDX-License-Identifier: LGPL-2.1-or-later
"""An agent whose disk fails a sync once and then says that all is well (flaky.c): the kernel reports a lost write one time only."""

import hashlib
import os
from pathlib import Path

from labkit import control, image, shell

SOURCE = Path(__file__).resolve().parent.parent / "flaky.c"
FOLDER = "/var/lib/drover/flaky"  # on the host


def library():
    """The shared library, compiled once into the cache."""
    digest = hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]
    made = image.cache_dir() / f"flaky-{digest}.so"
    if not made.exists():
        with image.build_dir() as work:
            shell.run("gcc", "-O2", "-std=gnu17", "-shared", "-fPIC", "-o", f"{work}/flaky.so", SOURCE)
            Path(f"{work}/flaky.so").rename(made)
    return made


def load(lab, node):
    """Restart the host's agent with it."""
    service = control.agent(lab, node)
    lab.root_dir(node, FOLDER).mkdir(exist_ok=True)
    lines = {**service.environment(), "LD_PRELOAD": str(library()), "LAB_FLAKY": FOLDER}
    # The sanitizers want to be loaded first, and do as well without.
    lines["ASAN_OPTIONS"] = ":".join(filter(None, [os.environ.get("ASAN_OPTIONS"), "verify_asan_link_order=0"]))
    service.file(".env").write_text("".join(f"{key}={value}\n" for key, value in lines.items()))
    service.kill("KILL")
    service.start()


def fail_next_sync(lab, node, path):
    """Of a file with this in its path."""
    (lab.root_dir(node, FOLDER) / "sync").write_text(f"{path}\n")


def has_failed(lab, node):
    return not (lab.root_dir(node, FOLDER) / "sync").exists()
