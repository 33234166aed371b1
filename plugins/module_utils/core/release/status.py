# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find problems and advisories of the releases on a host."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class RunningProgram:
    """A running program of a release. C(unit) is empty if no unit started it."""

    release: str
    pid: int
    name: str
    unit: str = ""


def unit_of(control_group: str) -> str:
    """Return the service of a process, or empty, from C(/proc/PID/cgroup)."""
    for line in control_group.splitlines():
        for part in reversed(line.rpartition(":")[2].split("/")):
            if part.endswith(".service"):
                return part
    return ""


def advisories(releases: Iterable[Mapping[str, Any]], used: Iterable[str]) -> list[dict[str, Any]]:
    """Return the known vulnerabilities in the manifests of used releases, each once with its releases."""
    wanted = set(used)
    found: dict[str, dict[str, Any]] = {}
    for manifest in releases:
        if manifest.get("id") not in wanted:
            continue
        for advisory in manifest.get("advisories") or []:
            entry = found.setdefault(str(advisory["id"]), {**advisory, "releases": []})
            entry["releases"].append(manifest["id"])
    return list(found.values())


def problems(
    current: str,
    installed: Mapping[str, Mapping[str, Any] | None],
    running: Sequence[RunningProgram],
    leftovers: int,
    changing: Mapping[str, str] | None = None,
) -> list[str]:
    """Return the problems of the releases on a host, one sentence each.

    :param installed: manifests by id; None for an unreadable manifest.
    :param leftovers: number of paths that killed installations have left.
    :param changing: record of an unfinished switch, if there is one.
    """
    found = []
    if current and current not in installed:
        found.append(f"The link current points to release {current}, which is not installed: run site.yml.")
    found += [
        f"The manifest of release {name} cannot be read: run site.yml, which installs the release again."
        for name, manifest in installed.items()
        if manifest is None
    ]
    services = [program for program in running if program.unit]
    found += [
        f"expected {program.unit} to run from the current release {current}, found {program.release}: head and workers "
        f"must run the same release; run playbooks/upgrade.yml or rollback.yml to the end."
        for program in services
        if current and program.release != current
    ]
    protocols = {
        str((installed.get(program.release) or {}).get("rpc_protocol", "")): program.release for program in services
    }
    if len([protocol for protocol in protocols if protocol]) > 1:
        listed = ", ".join(f"{protocol} ({release})" for protocol, release in sorted(protocols.items()) if protocol)
        found.append(f"expected one RPC protocol, found {listed}: a head aborts with workers of another protocol.")
    if changing:
        found.append(
            f"The switch to release {changing['to']} is unfinished: unless it is still running, run "
            f"playbooks/upgrade.yml or rollback.yml again."
        )
    if leftovers:
        found.append(
            f"expected no partial installation of a release, found {leftovers}: run site.yml, which removes what a "
            f"killed installation has left."
        )
    return found
