# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the lock of the gateway's packages (make gateway-lock): versions, and hashes of all wheels that hosts need.

    PYTHONPATH=collections python3 -m tools.gateway_lock

pip resolves roles/gateway/files/requirements.in for each supported Python and machine, as for a host of that kind, and
reports the wheels that it would install. It evaluates conditions of packages (C(python_version < "3.13")) for the
Python that runs it, so requirements.in names the packages of such conditions itself.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

FILES = Path(__file__).parents[1] / "roles" / "gateway" / "files"
PYTHONS = ("3.11", "3.12", "3.13")
MACHINES = ("x86_64", "aarch64")
#: Platforms of wheels that run on EL8, the oldest supported system (glibc 2.28).
PLATFORMS = ("manylinux_2_28", "manylinux_2_17", "manylinux2014")
HEAD = """\
# The gateway's packages with the hash of each wheel: Python 3.11 to 3.13 on x86_64 and aarch64.
# `make gateway-lock` writes this file from requirements.in; do not edit it.
"""


def target(python: str, machine: str) -> list[str]:
    """Return pip's options that select the wheels of a kind of host."""
    platforms = [word for name in PLATFORMS for word in ("--platform", f"{name}_{machine}")]
    return ["--only-binary", ":all:", "--implementation", "cp", "--python-version", python, *platforms]


def resolve(python: str, machine: str) -> Any:
    """Return pip's report of the wheels that it would install."""
    with tempfile.TemporaryDirectory() as scratch:
        options = ["--quiet", "--dry-run", "--ignore-installed", "--report", "-", "--target", scratch]
        command = [sys.executable, "-m", "pip", "install", *options, *target(python, machine)]
        done = subprocess.run(
            [*command, "--requirement", str(FILES / "requirements.in")], stdout=subprocess.PIPE, check=True
        )
    return json.loads(done.stdout)


def pinned(report: Mapping[str, Any]) -> dict[tuple[str, str], str]:
    """Return the SHA-256 of the wheel of each package and version."""
    return {
        (each["metadata"]["name"], each["metadata"]["version"]): each["download_info"]["archive_info"]["hashes"][
            "sha256"
        ]
        for each in report["install"]
    }


def lock(hashes: Mapping[tuple[str, str], set[str]]) -> str:
    """Return the text of the lock.

    :raises ValueError: if the kinds of hosts need different versions of a package.
    """
    names = [name for name, _version in hashes]
    if several := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"requirements.in must pin {', '.join(several)}: hosts need several versions")
    lines = [HEAD]
    for (name, version), found in sorted(hashes.items(), key=lambda item: item[0][0].lower()):
        lines.append(
            " \\\n".join([f"{name}=={version}", *(f"    --hash=sha256:{each}" for each in sorted(found))]) + "\n"
        )
    return "".join(lines)


def main() -> int:
    hashes: dict[tuple[str, str], set[str]] = {}
    for python, machine in product(PYTHONS, MACHINES):
        for package, digest in pinned(resolve(python, machine)).items():
            hashes.setdefault(package, set()).add(digest)
    (FILES / "requirements.txt").write_text(lock(hashes), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
