# SPDX-License-Identifier: LGPL-2.1-or-later
"""A short soak; the long one is tests/soak by itself. What failed can be repeated with the seed that the report begins with."""

import os
import subprocess
from pathlib import Path

SOAK = Path(__file__).resolve().parents[1] / "soak"


def test_random_moves_while_everything_is_cut_and_killed():
    done = subprocess.run([SOAK, "--moves", os.environ.get("DROVER_SOAK_MOVES", "8"), "--budget", "40"], text=True, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600)
    assert done.returncode == 0, done.stdout
