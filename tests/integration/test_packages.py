# SPDX-License-Identifier: LGPL-2.1-or-later
"""The Debian packages: they build, install, start, say who they are, and leave nothing behind when they are purged."""

import os
import pwd
import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
PACKAGES = ["drover", "drover-agent", "drover-controller"]
FILES = {
    "drover": ["/usr/bin/drover", "/usr/share/man/man1/drover.1.gz", "/usr/share/bash-completion/completions/drover"],
    "drover-agent": [
        "/usr/bin/drover-agent",
        "/lib/systemd/system/drover-agent.service",
        "/lib/systemd/system/drover-agent.path",
        "/usr/share/man/man8/drover-agent.8.gz",
        "/usr/share/man/man5/drover-agent.yaml.5.gz",
    ],
    "drover-controller": [
        "/usr/bin/drover-controller",
        "/lib/systemd/system/drover-controller.service",
        "/lib/systemd/system/drover-controller.path",
        "/usr/share/man/man8/drover-controller.8.gz",
        "/usr/share/man/man5/drover-controller.yaml.5.gz",
    ],
}
CONFFILES = {"drover-agent": ["/etc/drover/agent.yaml"], "drover-controller": ["/etc/drover/controller.yaml"]}
TRACES = ["/etc/drover", "/var/lib/drover", "/usr/bin/drover", "/usr/bin/drover-agent", "/usr/bin/drover-controller"]
LINKS = "/etc/systemd/system"


def run(*command, **options):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=300, **options)
    assert done.returncode == 0, f"{command}: {done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def has_user():
    try:
        return bool(pwd.getpwnam("drover"))
    except KeyError:
        return False


def traces():
    found = [path for path in TRACES if os.path.lexists(path)]
    found += [str(path) for path in Path(LINKS).rglob("drover*")] if os.path.isdir(LINKS) else []
    return found + (["user drover"] if has_user() else [])


def purge():
    subprocess.run(["dpkg", "--purge", *PACKAGES], capture_output=True, timeout=120)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    out = tmp_path_factory.mktemp("packages")
    env = dict(os.environ, DEB_BUILD_OPTIONS="noopt noautodbgsym nocheck", DEB_CFLAGS_APPEND="-g0")  # quick
    run(PROJECT / "deploy/build-packages", out, env=env)
    return sorted(out.glob("*.deb"))


@pytest.fixture(scope="module")
def installed(built):
    if traces():
        pytest.skip(f"drover is installed on this machine: {', '.join(traces())}")
    try:
        run("dpkg", "--install", *built, env=dict(os.environ, DEBIAN_FRONTEND="noninteractive"))
        yield
    finally:
        purge()


def test_there_is_a_package_for_each_program(built):
    assert sorted(path.name.split("_")[0] for path in built) == PACKAGES


def test_what_a_package_holds_is_there(installed):
    for package in PACKAGES:
        listed = run("dpkg", "--listfiles", package).splitlines()
        for path in FILES[package] + CONFFILES.get(package, []):
            assert path in listed and os.path.exists(path), f"{package}: {path}"


def test_settings_are_conffiles_and_all_of_them_are_commented_defaults(installed):
    for package, paths in CONFFILES.items():
        conffiles = run("dpkg-query", "--show", "--showformat=${Conffiles}", package)
        for path in paths:
            assert f"{path} " in conffiles
            assert all(line.startswith("#") or not line.strip() for line in Path(path).read_text().splitlines())


def test_each_program_says_its_version(installed):
    version = run("dpkg-query", "--show", "--showformat=${Version}", "drover")
    for program in PACKAGES:
        assert run(program, "--version") == f"{program} {version}\n"


def test_a_fresh_host_says_what_to_type(installed):
    done = subprocess.run(["drover-agent", "run"], capture_output=True, text=True, timeout=20)
    assert done.returncode == 2 and "drover-agent join" in done.stderr
    done = subprocess.run(["drover-controller", "run"], capture_output=True, text=True, timeout=20)
    assert done.returncode != 0 and "drover-controller init" in done.stderr


def test_systemd_finds_no_fault_with_the_units(installed):
    units = [path for package in PACKAGES for path in FILES[package] if "/systemd/" in path]
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "drover" not in done.stderr, done.stderr


@pytest.mark.parametrize("unit, most", [("drover-agent", 2.8), ("drover-controller", 1.5)])
def test_the_units_are_closed_as_far_as_the_documents_say(installed, unit, most):
    text = run("systemd-analyze", "security", "--offline=true", f"/lib/systemd/system/{unit}.service")
    level = float(text.split("Overall exposure level for")[1].split(":")[1].split()[0])
    assert level <= most


def test_the_service_has_a_user_of_its_own(installed):
    user = pwd.getpwnam("drover")
    assert user.pw_uid < 1000 and user.pw_shell.endswith("nologin")


def test_removing_keeps_settings_and_state_and_purging_leaves_nothing(installed):
    os.makedirs("/var/lib/drover/agent", mode=0o700)
    os.makedirs("/var/lib/drover/controller", mode=0o700)
    for path in ("/var/lib/drover/agent/agent.db", "/var/lib/drover/controller/ca.key"):
        Path(path).write_text("kept")
    run("dpkg", "--remove", *PACKAGES)
    for path in ("/var/lib/drover/agent/agent.db", "/var/lib/drover/controller/ca.key", "/etc/drover/agent.yaml"):
        assert os.path.exists(path)
    run("dpkg", "--purge", *PACKAGES)
    assert traces() == []
