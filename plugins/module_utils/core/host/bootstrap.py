# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan the bootstrap of a host: Python, and disk space for the first release.

On EL8 the library requests is installed for one Python only. So the modules run with that Python there, whatever other
ones are installed.

EL8 only has platform-python 3.6, and a minimal Debian may have no Python, so the probe (role C(node), vars) is a shell
script. It prints /etc/os-release, then a line C(herd-python 3.12 /usr/bin/python3.12) for each interpreter that Ansible
can find. On a host without a release, it also prints the free MiB, C(herd-free 20480 /opt/llama.cpp). The line
C(herd-user-namespaces 0) is the limit of user namespaces.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from .platforms import el8_core_problem, is_el8

#: Oldest supported Python on a node.
FLOOR = (3, 9)


@dataclass(frozen=True)
class Bootstrap:
    """Result of a plan.

    :ivar problem: what prevents the bootstrap; empty for nothing.
    :ivar command: what to run first; empty for nothing.
    :ivar interpreter: the Python of the modules; empty if Ansible may choose one.
    """

    problem: str
    command: str
    interpreter: str = ""


def package_version(package: str) -> tuple[int, int] | None:
    """Return the version of a Python package of EL8, such as C(python3.12) or C(python39)."""
    found = re.fullmatch(r"python([0-9])\.?([0-9]+)", package)
    return (int(found[1]), int(found[2])) if found else None


def namespaces_problem(host: str, probe: str, units: Sequence[str]) -> str:
    """Return the sentence about a kernel without user namespaces; empty if there is none.

    :param units: the units of the host that have C(PrivateUsers=yes).
    """
    if not units or not re.search(r"^herd-user-namespaces 0\r?$", probe, re.MULTILINE):
        return ""
    return (
        f"host {host}: expected user.max_user_namespaces above 0 for PrivateUsers=yes of {', '.join(units)}, found 0: "
        "systemd would end each start with 217/USER; write user.max_user_namespaces = 64 to a file in /etc/sysctl.d, "
        "and run sysctl --system."
    )


def plan(
    host: str, probe: str, ansible_version: str, package: str, release_mib: int = 0, private_users: Sequence[str] = ()
) -> Bootstrap:
    """Plan the bootstrap of a host from the output of the probe.

    :param package: the Python package for EL8, such as C(python3.12).
    :param release_mib: MiB of the first release and its tarball.
    :param private_users: the units of the host that have C(PrivateUsers=yes).
    """
    el8 = is_el8(probe)
    if el8 and (problem := el8_core_problem(host, ansible_version)):
        return Bootstrap(problem, "")
    if problem := namespaces_problem(host, probe, private_users):
        return Bootstrap(problem, "")
    free = re.search(r"^herd-free (\d+) (/.*?)\r?$", probe, re.MULTILINE)
    if free and int(free[1]) < release_mib:
        return Bootstrap(
            f"host {host}: expected {release_mib} MiB free under {free[2]} for the release, found {free[1]} MiB: "
            f"free space there, or move herd_prefix to a larger disk.",
            "",
        )
    found = re.findall(r"^herd-python (\d+)\.(\d+) (\S+)\r?$", probe, re.MULTILINE)
    usable = {path for major, minor, path in found if (int(major), int(minor)) >= FLOOR}
    floor = ".".join(map(str, FLOOR))
    if el8:
        wanted = package_version(package)
        if wanted is None or wanted < FLOOR:
            return Bootstrap(
                f"host {host}: expected node_python_package to name a Python of EL8 from {floor} on, such as "
                f"python3.12, found {package!r}: correct it.",
                "",
            )
        # Another Python lacks the library requests.
        interpreter = f"/usr/bin/python{wanted[0]}.{wanted[1]}"
        return Bootstrap("", "" if interpreter in usable else f"dnf -y install {package}", interpreter)
    if usable:
        return Bootstrap("", "")
    if re.search(r'^ID(_LIKE)?="?[^"\n]*(rhel|centos|fedora)', probe, re.MULTILINE):
        return Bootstrap("", "dnf -y install python3")
    if re.search(r'^ID(_LIKE)?="?[^"\n]*debian', probe, re.MULTILINE):
        return Bootstrap("", "apt-get update && DEBIAN_FRONTEND=noninteractive apt-get -y install python3")
    return Bootstrap(
        f"host {host}: expected Python {floor} or newer in /usr/bin, found none, on a system whose package manager "
        f"is not known: install Python there by hand.",
        "",
    )
