# SPDX-License-Identifier: LGPL-2.1-or-later
"""Running other programs: short wrappers that fail with one line that says what failed and why."""

import subprocess
import sys


class Failure(Exception):
    """Something the lab cannot do; the text goes to the person who typed the command."""


def run(*argv, input=None, cwd=None, env=None):
    """Run to the end; the output is returned, and becomes part of the error if it fails."""
    done = subprocess.run([str(a) for a in argv], input=input, cwd=cwd, env=env, text=True,
                          stdin=None if input is not None else subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip()).replace("\n", "; ")
        raise Failure(f"{' '.join(str(a) for a in argv)}: exit {done.returncode}: {said}")
    return done.stdout


output = run


def say(text):
    print(f"lab: {text}", file=sys.stderr, flush=True)
