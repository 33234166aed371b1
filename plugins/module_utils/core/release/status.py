# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the releases on a host mean together: what runs, what is known against it, what does not fit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class RunningProgram:
    """A running program of a release; unit is empty where no service started it."""

    release: str
    pid: int
    name: str
    unit: str = ""


def unit_of(control_group: str) -> str:
    """The service that a process belongs to, from C(/proc/PID/cgroup); empty where there is none."""
    for line in control_group.splitlines():
        for part in reversed(line.rpartition(":")[2].split("/")):
            if part.endswith(".service"):
                return part
    return ""


def advisories(releases: Iterable[Mapping[str, Any]], used: Iterable[str]) -> list[dict[str, Any]]:
    """Known vulnerabilities of the releases that run, each once.

    :param releases: manifests.
    :param used: ids of releases that programs run from, and of the current one.
    """
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
    """What is wrong with the releases of a host, a sentence each.

    :param current: the release that the link names; empty where there is none.
    :param installed: manifests by id; None where one cannot be read.
    :param leftovers: what installations that were killed have left.
    :param changing: the change of release that is not proved yet, if there is one.
    """
    found = []
    if current and current not in installed:
        found.append(
            f"expected the release {current}, which the link current names, found none of that name: run site.yml."
        )
    found += [
        f"expected a manifest of release {name}, found none that can be read: run site.yml, which brings it anew."
        for name, manifest in installed.items()
        if manifest is None
    ]
    services = [program for program in running if program.unit]
    found += [
        f"expected {program.unit} to run from the current release {current}, found {program.release}: head and workers "
        f"must be of one release; run playbooks/upgrade.yml or rollback.yml to the end."
        for program in services
        if current and program.release != current
    ]
    protocols = {
        str((installed.get(program.release) or {}).get("rpc_protocol", "")): program.release for program in services
    }
    if len([protocol for protocol in protocols if protocol]) > 1:
        listed = ", ".join(f"{protocol} ({release})" for protocol, release in sorted(protocols.items()) if protocol)
        found.append(f"expected one RPC protocol, found {listed}: a head of one aborts with workers of the other.")
    if changing:
        found.append(
            f"expected a service that has answered since the last change of release, found one to {changing['to']} "
            f"that has not come to its end: if none is under way, run playbooks/upgrade.yml or rollback.yml again."
        )
    if leftovers:
        found.append(
            f"expected no half-installed release, found {leftovers}: the next run of site.yml removes what a killed "
            f"one has left."
        )
    return found
