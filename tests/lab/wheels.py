# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fetch the wheels of the locks of the gateway and of herdctl vllm with pip, for all their versions of Python.

    python3 -m tests.lab.wheels

Hosts of the lab have no route outside; they find the wheels in /srv/wheels. The folder may also have the wheels of
former locks: pip takes those with the hash of the lock.
"""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from pathlib import Path

from tools.wheel_locks import GATEWAY, LOCKS, target

from .naming import Places
from .process import LabError, run, say

LOCK = GATEWAY.path
FETCHED = (GATEWAY, LOCKS["herdctl"])


def lock_key() -> str:
    """Return the digest of the locks."""
    return hashlib.sha256(b"".join(lock.path.read_bytes() for lock in FETCHED)).hexdigest()[:12]


def wheels() -> Path:
    """Return the folder of the wheels. The first call fetches them."""
    folder = Places.of(os.environ).cache / "gateway-wheels"
    complete = folder / f".complete-{lock_key()}"
    if not complete.exists():
        folder.mkdir(parents=True, exist_ok=True)
        say("fetching the wheels of the lab with pip")
        for lock, version in [(each, version) for each in FETCHED for version in each.pythons]:
            options = ["--quiet", "--require-hashes", "--no-deps", "--dest", str(folder)]
            words = [*options, *target(version, platform.machine()), "--requirement", str(lock.path)]
            run([sys.executable, "-m", "pip", "download", *words])
        complete.touch()
    return folder


def main() -> int:
    try:
        print(wheels())
    except LabError as error:
        print(f"wheels: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
