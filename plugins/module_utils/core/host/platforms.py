# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The supported platforms, and the ansible-core that supports EL8."""

from __future__ import annotations

import re

#: Supported major versions by distribution, as Ansible names it.
PLATFORMS = {
    "AlmaLinux": ("8", "9"),
    "CentOS": ("9",),
    "Debian": ("12", "13"),
    "OracleLinux": ("8", "9"),
    "RedHat": ("8", "9"),
    "Rocky": ("8", "9"),
    "Ubuntu": ("22", "24"),
}

#: On EL8, dnf's Python bindings only exist for platform-python 3.6. ansible-core 2.17 dropped that Python; 2.21 again
#: uses it for the part of the dnf module that needs the bindings.
EL8_CORE = (2, 21)


def el8_core_problem(host: str, ansible_version: str) -> str:
    """Return the sentence about an ansible-core that does not support dnf on EL8; empty for one that does."""
    if tuple(int(part) for part in re.findall(r"[0-9]+", ansible_version)[:2]) >= EL8_CORE:
        return ""
    wanted = ".".join(map(str, EL8_CORE))
    return (
        f"host {host}: expected ansible-core {wanted} or newer for an EL8 node, found {ansible_version}: "
        f"dnf's bindings on EL8 exist only for Python 3.6, which releases 2.17 to 2.20 cannot use; "
        f"install ansible-core {wanted} on the controller (it needs Python 3.12 there)."
    )


def is_el8(os_release: str) -> bool:
    """Return whether the text of /etc/os-release is that of an EL8 distribution."""
    # Output of raw comes from a terminal, which adds carriage returns.
    fields = dict(re.findall(r'^([A-Z_]+)="?([^"\r\n]*)"?\r?$', os_release, re.MULTILINE))
    ids = {fields.get("ID", ""), *fields.get("ID_LIKE", "").split()}
    return bool(ids & {"rhel", "centos", "rocky", "almalinux"}) and fields.get("VERSION_ID", "").split(".")[0] == "8"
