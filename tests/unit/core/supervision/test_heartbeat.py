# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Heartbeats: the round trip, and the errors of invalid ones."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.errors import RemoteFailureError
from ansible_collections.herd.inference.plugins.module_utils.core.supervision import heartbeat
from ansible_collections.herd.inference.plugins.module_utils.core.text import plain

WORKER = heartbeat.Worker(
    unit="llama-rpc.service",
    active="active",
    sub="running",
    job=False,
    pid=101,
    started=5000,
    state="S",
    restarts=0,
    release="0c1e57098-cpu-1a2b3c4d",
    protocol="7.0.0",
    listening=True,
    clients=("10.100.0.31:40112",),
    stale=0,
    unit_age_s=0.0,
)
HEAD = heartbeat.Head(
    unit="llama-head.service",
    active="active",
    sub="running",
    job=False,
    pid=77,
    started=6000,
    restarts=0,
    release="0c1e57098-cpu-1a2b3c4d",
    api="10.0.0.31:8000",
    health="ok",
    workers=("vllm-node2", "vllm-node3"),
    lost=(),
    slots=2,
    busy=1,
    waiting=0,
    tokens_total=12,
    tokens_per_second=9.5,
    supervision="watching",
    reason="",
    recoveries=0,
    draining=False,
    unit_age_s=0.0,
)
GPU = heartbeat.Gpu(0, "Tesla V100S-PCIE-32GB", 30123, 32768, 54, 97)
BEAT = heartbeat.Heartbeat(
    node="vllm-node2",
    agent="a1",
    sequence=7,
    boot_id="8f6e",
    uptime_s=12.5,
    hold=heartbeat.Hold("by hand", 30.0),
    worker=WORKER,
    head=HEAD,
    gpus=(GPU,),
    disks=(heartbeat.Disk("/opt/models", 163840, 953344, "ok"), heartbeat.Disk("/mnt/shared", -1, -1, "silent")),
)


@pytest.mark.parametrize("beat", [BEAT, heartbeat.Heartbeat("vllm-node2", "a1", 1, "8f6e", 0.0)])
def test_heartbeat_survives_a_round_trip(beat: heartbeat.Heartbeat) -> None:
    assert heartbeat.read(heartbeat.write(beat), "vllm-node2") == beat


def changed(path: str, value: Any) -> bytes:
    data = json.loads(heartbeat.write(BEAT))
    *folders, name = path.split(".")
    place = data
    for folder in folders:
        place = place[int(folder) if folder.isdigit() else folder]
    if value is KeyError:
        del place[name]
    else:
        place[name] = value
    return json.dumps(data).encode()


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        (b"", "Expecting value"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "Expecting value"),
        (b"\xff\xfe\x00", "decode"),
        (b"[]", "not an object"),
        (b"{}", "no schema"),
        (heartbeat.write(BEAT)[:-40], "line 1 column"),
        (b" " * 70000, "more than 65536 bytes"),
        (b"[" * 60000, ""),
        (changed("schema", 2), "schema 2"),
        (changed("schema", "1"), "whole number"),
        (changed("node", "vllm-node3"), "the node vllm-node3"),
        (changed("sequence", -1), "whole number"),
        (changed("sequence", True), "whole number"),
        (changed("sequence", 2**60), "whole number"),
        (changed("uptime_s", float("nan")), "no number"),
        (changed("uptime_s", float("inf")), "no number"),
        (changed("uptime_s", 10**400), "no number"),
        (changed("sequence", 10**400), "whole number"),
        (changed("hold.seconds", 1e300), "no number"),
        (changed("boot_id", KeyError), "no boot_id"),
        (changed("agent", "x" * 301), "plain text"),
        (changed("hold.reason", "\x1b]0;owned\x07"), "plain text"),
        (changed("hold.reason", "half of \ud800 a character"), "plain text"),
        (changed("boot_id", "\udfff"), "plain text"),
        (changed("head.workers", ["\ud83d"]), "plain text"),
        (changed("hold.seconds", None), "no number"),
        (changed("worker", "active"), "not an object"),
        (changed("worker.pid", KeyError), "no pid"),
        (changed("worker.clients", ["10.100.0.31:40112"] * 513), "no list"),
        (changed("worker.clients", ["localhost"]), "address:port"),
        (changed("worker.clients", [7]), "plain text"),
        (changed("worker.unit_age_s", "old"), "no number"),
        (changed("worker.job", 1), "neither true nor false"),
        (changed("head.workers", "vllm-node2"), "no list"),
        (changed("head.tokens_per_second", -1), "no number"),
        (changed("gpus", {}), "no list"),
        (changed("gpus.0.temperature_c", "hot"), "whole number"),
        (changed("disks", "/"), "no list"),
        (changed("disks", ["/"]), "not an object"),
        (changed("disks.1.free_mib", -2), "whole number"),
        (changed("disks.0.path", "/\n"), "plain text"),
    ],
)
def test_invalid_heartbeat_is_rejected(raw: bytes, found: str) -> None:
    with pytest.raises(RemoteFailureError) as caught:
        heartbeat.read(raw, "vllm-node2")
    assert found in caught.value.found
    assert len(caught.value.found) <= 300


def test_sanitized_text_survives_a_round_trip() -> None:
    text = plain("\x1b[2J \ud800 \u8a9e \U0001f600")
    assert text.encode().decode() == text == " [2J   \u8a9e \U0001f600"
    beat = replace(BEAT, hold=heartbeat.Hold(text, 1.0))
    assert heartbeat.read(heartbeat.write(beat)) == beat


def test_unknown_fields_are_ignored() -> None:
    assert heartbeat.read(changed("worker.color", "blue")) == BEAT
