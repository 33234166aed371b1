# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the virtual environments of the tests: the newest clients of users, and LiteLLM's proxy for the benchmark.

    .venv/bin/python -m tests.gateway.environments clients    make one, and print the path of its Python

They lie in $HERD_CACHE/environments under names that depend on the requirements and on Python. The gateway's own is in
tests/gateway/venv.py.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.lab.naming import Places
from tests.lab.process import say

ROOT = Path(__file__).parents[2]
#: Requirements of each environment.
REQUIREMENTS = {
    "clients": ROOT / "tests" / "gateway" / "clients" / "requirements.txt",
    "litellm": ROOT / "bench" / "litellm.txt",
}


def python_of(name: str) -> str:
    """Return the Python of an environment, and make the environment if it is not there."""
    requirements = REQUIREMENTS[name]
    inputs = (requirements.read_bytes(), sys.version.encode(), os.path.realpath(sys.executable).encode())
    key = hashlib.sha256(b"\0".join(inputs)).hexdigest()[:12]
    place = Places.of(os.environ).cache / "environments" / f"{name}-{key}"
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.with_suffix(".lock").open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / ".complete").exists():
            say(f"making the environment {place} (about a minute)")
            shutil.rmtree(place, ignore_errors=True)
            subprocess.run([os.path.realpath(sys.executable), "-m", "venv", str(place)], check=True)
            # Only wheels: this machine need not have a compiler.
            pip = [str(place / "bin" / "python"), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
            subprocess.run([*pip, "--only-binary", ":all:", "--requirement", str(requirements)], check=True)
            (place / ".complete").touch()
    return str(place / "bin" / "python")


if __name__ == "__main__":
    print(python_of(sys.argv[1]))
