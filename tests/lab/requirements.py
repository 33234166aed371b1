# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packages and kernel features that tests need on this machine.

    python3 -m tests.lab.requirements FILE...     install the packages of these lists that are missing

`check` names all missing requirements of a lab at once, with the remedy.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import cgroups
from .naming import Places
from .process import LabError, run, say

REQUIREMENTS = Path(__file__).with_name("requirements.apt")
# Required MiB for root file systems and packages, and for data of hosts.
_CACHE_MIB = 4096
_DATA_MIB = 1024
_PYTHON = (3, 11)
PROBE_PREFIX = ".probe-"


@dataclass(frozen=True)
class Requirement:
    package: str
    probe: str


def parse_requirements(text: str) -> list[Requirement]:
    found = []
    for line in text.splitlines():
        words = line.split("#", 1)[0].strip()
        if words:
            package, _colon, probe = words.partition(":")
            found.append(Requirement(package.strip(), probe.strip() or package.strip()))
    return found


def missing_packages(requirements: Iterable[Requirement]) -> list[str]:
    return [item.package for item in requirements if not any(map(_is_there, item.probe.split()))]


def _is_there(probe: str) -> bool:
    """Return whether a file exists, or a program is on the search path or in root's folders."""
    if probe.startswith("/"):
        return Path(probe).exists()
    return shutil.which(probe, path=f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin") is not None


def install_argv(packages: list[str]) -> list[str]:
    return ["apt-get", "install", "-y", "--no-install-recommends", *packages]


def _probe_kernel() -> list[str]:
    """Test the kernel features that hosts need, in a temporary namespace."""
    found = []
    probes = {
        "network namespaces with veth pairs (module veth)": [
            "ip",
            "link",
            "add",
            "h0",
            "type",
            "veth",
            "peer",
            "h1",
        ],
        "network bridges (module bridge)": ["ip", "link", "add", "h2", "type", "bridge"],
    }
    for what, argv in probes.items():
        if subprocess.run(["unshare", "--net", *argv], capture_output=True, check=False).returncode != 0:
            found.append(f"The kernel, or this container, does not allow {what}; try modprobe on the machine itself.")
    return found


def _probe_overlay(data: Path) -> list[str]:
    try:
        data.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=PROBE_PREFIX, dir=data) as name:
            for part in ("lower", "upper", "work", "root"):
                (Path(name) / part).mkdir()
            options = f"lowerdir={name}/lower,upperdir={name}/upper,workdir={name}/work"
            argv = ["unshare", "--mount", "mount", "-t", "overlay", "overlay", "-o", options, f"{name}/root"]
            done = subprocess.run(argv, capture_output=True, text=True, check=False)
    except OSError as error:
        return [f"{data} cannot be written ({error.strerror}); set HERD_LAB_DATA to a folder that can."]
    if done.returncode != 0:
        return [f"{data} cannot hold an overlay ({done.stderr.strip()}); set HERD_LAB_DATA to a folder on ext4 or xfs."]
    return []


def check(places: Places) -> list[str]:
    """Return a sentence for each missing requirement."""
    found = []
    if sys.version_info < _PYTHON:
        found.append(f"The lab needs Python 3.11 or newer; this is {sys.version.split()[0]}.")
    if sys.platform != "linux":
        return [*found, f"The lab needs Linux; this is {sys.platform}."]
    packages = missing_packages(parse_requirements(REQUIREMENTS.read_text(encoding="utf-8")))
    if packages:
        found.append(f"Packages are missing; as root: {' '.join(install_argv(packages))}")
    if os.geteuid() != 0:
        return [*found, "The lab makes namespaces, mounts and cgroups; run it as root."]
    try:
        cgroups.current_trees()
    except LabError as error:
        found.append(str(error))
    if "iproute2" not in packages:
        found += _probe_kernel()
    found += _probe_overlay(places.data)
    places.cache.mkdir(parents=True, exist_ok=True)
    for folder, wanted in ((places.cache, _CACHE_MIB), (places.data, _DATA_MIB)):
        free = shutil.disk_usage(folder).free // 2**20 if folder.exists() else wanted
        if free < wanted:
            found.append(f"{folder} has {free} MiB free; the lab wants {wanted} MiB.")
    return found


def install(lists: Sequence[Path] = (REQUIREMENTS,)) -> None:
    """Install the missing packages of these lists with the machine's apt."""
    wanted = [item for path in lists for item in parse_requirements(path.read_text(encoding="utf-8"))]
    packages = missing_packages(wanted)
    if not packages:
        return
    if not shutil.which("apt-get") or os.geteuid() != 0:
        raise LabError(f"Packages are missing; as root: {' '.join(install_argv(packages))}")
    say(f"installing {', '.join(packages)}")
    # RUNLEVEL: a package must not start its server.
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    run(["apt-get", "-q", "update"], env=environment)
    run(install_argv(packages), env=environment)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python3 -m tests.lab.requirements", description="Install missing packages.")
    parser.add_argument("list", type=Path, nargs="+", help="a file as tests/lab/requirements.apt")
    try:
        install(parser.parse_args(argv).list)
    except LabError as error:
        print(f"requirements: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
