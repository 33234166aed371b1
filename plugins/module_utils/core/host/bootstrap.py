# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan the bootstrap of a host: Python, and disk space for the first release.

EL8 only has platform-python 3.6, and a minimal Debian may have no Python, so the probe (role C(node), vars) is a shell
script. It prints /etc/os-release, then a line C(herd-python 3.12) for each interpreter that Ansible can find. On a host
without a release, it also prints the free MiB, C(herd-free 20480 /opt/llama.cpp).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .platforms import el8_core_problem, is_el8

#: Oldest supported Python on a node.
FLOOR = (3, 9)


@dataclass(frozen=True)
class Bootstrap:
    """Result of a plan: a problem that prevents the bootstrap, or a command to run first. Both may be empty."""

    problem: str
    command: str


def plan(host: str, probe: str, ansible_version: str, package: str, release_mib: int = 0) -> Bootstrap:
    """Plan the bootstrap of a host from the output of the probe.

    :param package: the Python package for EL8, such as C(python3.12).
    :param release_mib: MiB of the first release and its tarball.
    """
    el8 = is_el8(probe)
    if el8 and (problem := el8_core_problem(host, ansible_version)):
        return Bootstrap(problem, "")
    free = re.search(r"^herd-free (\d+) (/.*?)\r?$", probe, re.MULTILINE)
    if free and int(free[1]) < release_mib:
        return Bootstrap(
            f"host {host}: expected {release_mib} MiB free under {free[2]} for the release, found {free[1]} MiB: "
            f"free space there, or move herd_prefix to a larger disk.",
            "",
        )
    versions = [
        (int(major), int(minor)) for major, minor in re.findall(r"^herd-python (\d+)\.(\d+)\r?$", probe, re.MULTILINE)
    ]
    if any(version >= FLOOR for version in versions):
        return Bootstrap("", "")
    if el8:
        return Bootstrap("", f"dnf -y install {package}")
    if re.search(r'^ID(_LIKE)?="?[^"\n]*(rhel|centos|fedora)', probe, re.MULTILINE):
        return Bootstrap("", "dnf -y install python3")
    if re.search(r'^ID(_LIKE)?="?[^"\n]*debian', probe, re.MULTILINE):
        return Bootstrap("", "apt-get update && DEBIAN_FRONTEND=noninteractive apt-get -y install python3")
    floor = ".".join(map(str, FLOOR))
    return Bootstrap(
        f"host {host}: expected Python {floor} or newer in /usr/bin, found none, on a system whose package manager "
        f"is not known: install Python there by hand.",
        "",
    )
