# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a machine needs before anything can be put on it: a Python, and room for the first release.

A bare EL8 has only platform-python 3.6, a minimal Debian may have no Python: both are found out, and
mended, with nothing but a shell. The probe (role C(node), vars) prints /etc/os-release, then a line
C(herd-python 3.12) for each interpreter in the places where Ansible looks for one, and, where no release is
installed yet, C(herd-free 20480 /opt/llama.cpp): the MiB that are free for one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .platforms import EL8_CORE, el8_core_problem, is_el8

#: The oldest Python that everything on a node runs with.
FLOOR = (3, 9)


@dataclass(frozen=True)
class Bootstrap:
    """C(problem): why this host cannot be a node, or ''. C(command): what to run first, or ''."""

    problem: str
    command: str


def plan(host: str, probe: str, ansible_version: str, package: str, release_mib: int = 0) -> Bootstrap:
    """What to do with a host, from what the probe printed there.

    :param package: the Python package for EL8, such as C(python3.12).
    :param release_mib: MiB that the first release takes, with its tarball.
    """
    running = tuple(int(part) for part in re.findall(r"[0-9]+", ansible_version)[:2])
    el8 = is_el8(probe)
    if el8 and running < EL8_CORE:
        return Bootstrap(el8_core_problem(host, ansible_version), "")
    free = re.search(r"^herd-free (\d+) (/.*?)\r?$", probe, re.MULTILINE)
    if free and int(free[1]) < release_mib:
        return Bootstrap(
            f"host {host}: expected {release_mib} MiB free under {free[2]} for the release, found {free[1]} MiB: "
            f"free some space there, or put herd_prefix on a larger disk.",
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
