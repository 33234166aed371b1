# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The status of the cluster, from the nodes' heartbeats."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..host import disk_space
from .heartbeat import Gpu, Head, Heartbeat, Worker
from .observations import PeerObservation

NODE_COLUMNS = (
    "node",
    "role",
    "state",
    "pid",
    "release",
    "connections",
    "gpu_percent",
    "memory_mib",
    "temperature",
    "note",
)
# States of supervision without a problem.
CALM = ("watching", "held")
# An older answer of systemd is noted; the agent asks it every second.
OLD_S = 5.0


def _gpus(gpus: tuple[Gpu, ...]) -> dict[str, Any]:
    if not gpus:
        return {}
    used = sum(max(0, gpu.memory_used_mib) for gpu in gpus)
    total = sum(max(0, gpu.memory_total_mib) for gpu in gpus)
    return {
        "gpu_percent": "/".join(str(gpu.utilization_percent) for gpu in gpus),
        "memory_mib": f"{used}/{total}",
        "temperature": "/".join(str(gpu.temperature_c) for gpu in gpus),
    }


def _worker_note(worker: Worker) -> str:
    if worker.state == "T":
        return "its process is stopped"
    if worker.active != "active":
        return f"systemd: {worker.sub}"
    if not worker.listening:
        return "does not listen"
    return f"{worker.restarts} restarts" if worker.restarts else ""


def _head_note(head: Head) -> str:
    notes = []
    if head.supervision not in CALM or head.reason:
        notes.append(f"{head.supervision}: {head.reason}" if head.reason else head.supervision)
    if head.draining and head.supervision != "draining":
        notes.append("draining")
    if head.supervision == "held" and head.lost:
        notes.append(f"no connection to {', '.join(head.lost)}")
    if head.restarts:
        notes.append(f"{head.restarts} restarts")
    return "; ".join(notes)


def _head_row(role: str, head: Head) -> dict[str, Any]:
    return {
        "role": role,
        "state": head.health if head.active == "active" and head.health else head.active,
        "pid": head.pid or None,
        "release": head.release,
        "note": _head_note(head),
    }


def _rows_of(name: str, heartbeat: Heartbeat) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    worker = heartbeat.worker
    age = max((service.unit_age_s for service in heartbeat.services), default=0.0)
    if heartbeat.head is not None:
        links = f"{len(heartbeat.head.workers) - len(heartbeat.head.lost)}/{len(heartbeat.head.workers)}"
        rows.append({**_head_row("head", heartbeat.head), "connections": links})
    if worker is not None:
        rows.append(
            {
                "role": "worker",
                "state": worker.active,
                "pid": worker.pid or None,
                "release": worker.release,
                "connections": len(worker.clients),
                "note": _worker_note(worker),
            }
        )
    if heartbeat.router is not None:
        rows.append(_head_row("router", heartbeat.router))
    if not rows:
        rows.append({"role": "-", "state": "up"})
    notes = [
        rows[0].get("note", ""),
        f"held for {heartbeat.hold.seconds:.0f} s: {heartbeat.hold.reason}" if heartbeat.hold is not None else "",
        *(disk_space.describe(disk, disk.state) for disk in heartbeat.disks),
        *(f"{gpu.name} is lost: {gpu.reason}" for gpu in heartbeat.lost_gpus),
        *(f"{one.unit} is not bound to one NUMA node ({one.where})" for one in heartbeat.bindings if not one.bound),
        f"systemd has not answered for {age:.0f} s" if age > OLD_S else "",
    ]
    rows[0].update(_gpus(heartbeat.gpus), note="; ".join(filter(None, notes)))
    return [{"node": name, **row} for row in rows]


def as_rows(observations: Mapping[str, PeerObservation]) -> list[dict[str, Any]]:
    """Return one row for each service of each node, and for each node without a heartbeat."""
    rows: list[dict[str, Any]] = []
    for name, seen in observations.items():
        if seen.heartbeat is None:
            state = {"refused": "no agent", "bad": "no sense"}.get(seen.kind, "unreachable")
            rows.append({"node": name, "state": state, "note": seen.detail})
        else:
            rows += _rows_of(name, seen.heartbeat)
    return rows


def _heartbeat_is_well(heartbeat: Heartbeat) -> bool:
    worker = heartbeat.worker
    if any(disk.state in (disk_space.FULL, disk_space.SILENT) for disk in heartbeat.disks):
        return False
    for head in heartbeat.heads:
        if head.active != "active" or head.health != "ok" or head.supervision not in CALM:
            return False
        # During a hold the agent does not restore lost connections.
        if head.supervision == "held" and head.lost:
            return False
    return worker is None or (worker.active == "active" and worker.listening and worker.state != "T")


def is_well(observations: Mapping[str, PeerObservation]) -> bool:
    """Return whether every node answers, its services are well, and all run one release."""
    heartbeats = [seen.heartbeat for seen in observations.values()]
    known = [heartbeat for heartbeat in heartbeats if heartbeat is not None]
    releases = {service.release for heartbeat in known for service in heartbeat.services if service.release}
    return len(known) == len(heartbeats) and len(releases) <= 1 and all(map(_heartbeat_is_well, known))


def _count(value: int) -> str:
    return "?" if value < 0 else str(value)


def summary(observations: Mapping[str, PeerObservation]) -> str:
    """Return one line on the throughput and load of the service."""
    heartbeats = [seen.heartbeat for seen in observations.values() if seen.heartbeat is not None]
    for head in (*(heartbeat.head for heartbeat in heartbeats), *(heartbeat.router for heartbeat in heartbeats)):
        if head is not None:
            return (
                f"{head.api or 'no API'}: {head.tokens_per_second:g} tokens/s, {_count(head.busy)} of "
                f"{_count(head.slots)} slots busy, {_count(head.waiting)} waiting, {head.recoveries} recoveries"
            )
    return "no head has answered"
