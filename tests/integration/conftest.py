# SPDX-License-Identifier: LGPL-2.1-or-later
"""Fixtures of the integration tests. They need root; each test file has a lab of its own."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from labclient import Lab  # noqa: E402


def lab_name(request):
    return f"{request.module.__name__.removeprefix('test_').replace('_', '-')}-{os.getpid()}"


@pytest.fixture(scope="module")
def lab(request):
    """A complete lab: three hosts, agents online, a controller."""
    with Lab(lab_name(request)) as made:
        yield made.up()


@pytest.fixture(scope="module")
def bare_lab(request):
    """Three hosts with libvirt, and nothing of drover's running."""
    with Lab(f"{lab_name(request)}-bare") as made:
        yield made.up(agents=False)
