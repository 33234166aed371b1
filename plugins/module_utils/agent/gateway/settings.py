# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gateway's configuration, which the role gateway writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core import values
from ...core.gateway import task_routing, tiers
from ...core.gateway.rate_limit import RateLimits
from ...core.gateway.routing import GatewayConfig
from ...core.host.nvidia_smi import GpuMemoryLimits
from ..common.config import read_config

SCHEMA = 1
_REMEDY = "correct the variables of the role gateway"
_GPU_MEMORY_LIMITS = ("target_from_gib", "target_to_gib", "critical_gib")


@dataclass(frozen=True)
class GatewaySettings:
    """The settings of the gateway.

    :ivar tier_status: file of the tier manager's status.
    :ivar registry: folder of the endpoint registry; None where no job registers.
    :ivar engine_keys: file with the key of a tier's engine, by tier.
    :ivar engine_hosts: addresses of the inventory's nodes. Requests are sent to no other.
    :ivar max_body: bytes of the largest request body.
    :ivar body_memory: bytes of all request bodies that are held at the same time.
    :ivar connect_timeout: seconds for a connection to an engine.
    :ivar read_timeout: seconds between two parts of an engine's response.
    :ivar queue_timeout: seconds that a request waits for a free slot of its engine.
    :ivar drain_timeout: seconds for which running responses may go on after SIGTERM.
    :ivar access_log: file of the access log; empty for none.
    :ivar usage: database of usage; None for none.
    :ivar usage_days: days after which its rows are deleted.
    :ivar gpu_memory: thresholds by which the status page colors a GPU's memory in use.
    """

    config: GatewayConfig
    tasks: task_routing.TaskTable
    keys: Path
    revoked: Path
    tier_status: Path
    registry: Path | None
    engine_keys: Mapping[str, Path]
    engine_hosts: frozenset[str]
    max_body: int
    body_memory: int
    connect_timeout: float
    read_timeout: float
    queue_timeout: float
    drain_timeout: float
    access_log: str
    usage: Path | None
    usage_days: int
    gpu_memory: GpuMemoryLimits


def _tier(data: Mapping[str, Any]) -> tiers.Tier:
    return tiers.Tier(
        name=str(data["name"]),
        models=tuple(map(str, data["models"])),
        rewrites=data["kind"] == "router",
        fallback=str(data["fallback"]),
        port=int(data["port"]),
        keys=tuple(map(str, data["keys"])),
    )


def _limits(given: Mapping[str, Any]) -> RateLimits:
    data = {"tokens_per_minute": 0, "tokens_per_month": 0, "queue_timeout": 0, **given}
    return RateLimits(
        requests_per_minute=values.number(data, "requests_per_minute", 0, 1e6, _REMEDY),
        burst=int(values.number(data, "burst", 0, 1e6, _REMEDY)),
        concurrency=int(values.number(data, "concurrency", 0, 1e6, _REMEDY)),
        tokens_per_minute=values.number(data, "tokens_per_minute", 0, 1e9, _REMEDY),
        tokens_per_month=int(values.number(data, "tokens_per_month", 0, 1e15, _REMEDY)),
        queue_timeout=values.number(data, "queue_timeout", 0, 3600, _REMEDY),
    )


def _parse(data: Any) -> GatewaySettings:
    tasks = task_routing.read(data["tasks"])
    config = GatewayConfig(
        tiers={str(tier["name"]): _tier(tier) for tier in data["tiers"]},
        limits={str(name): _limits(limits) for name, limits in data["limits"].items()},
        retry_after=values.whole(data, "retry_after", 0, 3600, _REMEDY),
        choose=tasks.choose,
        tasks=tasks.names,
    )
    return GatewaySettings(
        config=config,
        tasks=tasks,
        keys=Path(data["keys"]),
        revoked=Path(data["revoked"]),
        tier_status=Path(data["tier_status"]),
        registry=Path(data["registry"]) if data["registry"] else None,
        engine_keys={str(tier["name"]): Path(tier["engine_key"]) for tier in data["tiers"]},
        engine_hosts=frozenset(map(str, data["engine_hosts"])),
        max_body=values.whole(data, "max_body", 1, 1 << 40, _REMEDY),
        body_memory=values.whole(data, "body_memory", 1, 1 << 40, _REMEDY),
        connect_timeout=values.number(data, "connect_timeout", 0.1, 600, _REMEDY),
        read_timeout=values.number(data, "read_timeout", 1, 1e6, _REMEDY),
        queue_timeout=values.number(data, "queue_timeout", 1, 1e6, _REMEDY),
        drain_timeout=values.number(data, "drain_timeout", 0, 1e6, _REMEDY),
        access_log=str(data["access_log"]),
        usage=Path(data["usage"]) if data.get("usage") else None,
        usage_days=values.whole({"usage_days": 400, **data}, "usage_days", 1, 36500, _REMEDY),
        gpu_memory=GpuMemoryLimits(
            *(values.number(data["gpu_memory"], name, 0, 1e6, _REMEDY) for name in _GPU_MEMORY_LIMITS)
        ),
    )


def read_settings(path: str) -> GatewaySettings:
    """Read the gateway's configuration."""
    return read_config(path, SCHEMA, _parse, "the gateway's configuration", "gateway")
