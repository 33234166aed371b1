# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The status of the cluster: its rows, and what counts as well."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.supervision.cluster_status import (
    as_rows,
    is_well,
    summary,
)
from ansible_collections.herd.inference.plugins.module_utils.core.supervision.heartbeat import Disk, Heartbeat, Hold
from ansible_collections.herd.inference.plugins.module_utils.core.supervision.observations import PeerObservation
from tests.unit.core.supervision.test_heartbeat import GPU, HEAD, WORKER


def seen(node: str, **parts: Any) -> PeerObservation:
    return PeerObservation("heartbeat", Heartbeat(node, "a", 1, "b", 1.0, **parts))


WELL = {
    "vllm-node1": seen("vllm-node1", head=HEAD),
    "vllm-node2": seen("vllm-node2", worker=WORKER, gpus=(GPU, GPU)),
    "vllm-node3": seen("vllm-node3"),
}


def test_each_service_has_a_row() -> None:
    rows = as_rows(WELL)
    assert [(row["node"], row["role"], row["state"]) for row in rows] == [
        ("vllm-node1", "head", "ok"),
        ("vllm-node2", "worker", "active"),
        ("vllm-node3", "-", "up"),
    ]
    assert rows[0]["connections"] == "2/2"
    assert (rows[1]["memory_mib"], rows[1]["temperature"], rows[1]["gpu_percent"]) == ("60246/65536", "54/54", "97/97")
    assert summary(WELL) == "10.0.0.31:8000: 9.5 tokens/s, 1 of 2 slots busy, 0 waiting, 0 recoveries"
    assert is_well(WELL)


def test_router_has_its_own_row() -> None:
    router = replace(HEAD, unit="llama-router.service", workers=(), api="10.0.0.32:8080")
    nodes = {"vllm-node2": seen("vllm-node2", worker=WORKER, router=router)}
    rows = as_rows(nodes)
    assert [(row["role"], row["state"], row.get("connections")) for row in rows] == [
        ("worker", "active", 1),
        ("router", "ok", None),
    ]
    assert summary(nodes).startswith("10.0.0.32:8080: ")
    assert summary({**WELL, **nodes}).startswith("10.0.0.31:8000: ")
    assert is_well(nodes)
    assert not is_well({"vllm-node2": seen("vllm-node2", router=replace(router, health="silent"))})


@pytest.mark.parametrize(
    ("change", "note"),
    [
        (PeerObservation("silent", detail="timed out"), "timed out"),
        (PeerObservation("refused", detail="connection refused"), "connection refused"),
        (seen("vllm-node2", worker=replace(WORKER, state="T")), "its process is stopped"),
        (seen("vllm-node2", worker=replace(WORKER, active="activating", sub="auto-restart")), "systemd: auto-restart"),
        (seen("vllm-node2", worker=replace(WORKER, listening=False)), "does not listen"),
        (seen("vllm-node2", worker=replace(WORKER, release="b7836-cpu-5f1c20ab")), ""),
        (seen("vllm-node2", head=replace(HEAD, supervision="waiting", reason="lost")), "waiting: lost"),
        (
            seen("vllm-node2", head=replace(HEAD, supervision="held", lost=("vllm-node3",))),
            "no connection to vllm-node3",
        ),
        (seen("vllm-node2", head=replace(HEAD, health="loading", supervision="loading")), "loading"),
        (seen("vllm-node2", head=replace(HEAD, active="inactive", health="")), ""),
    ],
)
def test_problem_is_not_well(change: PeerObservation, note: str) -> None:
    nodes = {**WELL, "vllm-node2": change}
    assert not is_well(nodes)
    assert note in str(as_rows(nodes)[1].get("note", ""))


@pytest.mark.parametrize(
    ("parts", "note"),
    [
        ({"worker": replace(WORKER, restarts=3)}, "3 restarts"),
        ({"worker": WORKER, "hold": Hold("a new cable", 61.0)}, "held for 61 s: a new cable"),
        ({"head": replace(HEAD, draining=True)}, "draining"),
        ({"worker": replace(WORKER, unit_age_s=12.3)}, "systemd has not answered for 12 s"),
    ],
)
def test_harmless_state_has_a_note(parts: dict[str, Any], note: str) -> None:
    nodes = {**WELL, "vllm-node2": seen("vllm-node2", **parts)}
    assert is_well(nodes)
    assert as_rows(nodes)[1]["note"] == note


def test_missing_head_is_reported() -> None:
    assert summary({"vllm-node2": PeerObservation("silent")}) == "no head has answered"


@pytest.mark.parametrize(
    ("disk", "note", "well"),
    [
        (Disk("/opt/models", 900_000, 953_344, "ok"), "", True),
        (Disk("/opt/models", 9000, 953_344, "low"), "disk of /opt/models is low: 9000 of 953344 MiB free", True),
        (Disk("/var/log", 12, 8192, "full"), "disk of /var/log is full: 12 of 8192 MiB free", False),
        (Disk("/mnt/shared", -1, -1, "silent"), "disk of /mnt/shared does not answer", False),
    ],
)
def test_full_disk_is_not_well(disk: Disk, note: str, well: bool) -> None:
    nodes = {**WELL, "vllm-node2": seen("vllm-node2", worker=WORKER, disks=(disk,))}
    assert is_well(nodes) is well
    assert (as_rows(nodes)[1].get("note") or "") == note
    both = seen("vllm-node2", worker=WORKER, hold=Hold("by hand", 30.0), disks=(disk,))
    said = str(as_rows({**nodes, "vllm-node2": both})[1]["note"])
    assert said == ("held for 30 s: by hand" + (f"; {note}" if note else ""))
