# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read results of iperf3, and compare them with thresholds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import InvalidInputError, RemoteFailureError

#: Use of one processor, in percent, from which it limits the measured rate.
BUSY_PERCENT = 95.0


@dataclass(frozen=True)
class BandwidthLimits:
    """Thresholds in Gb/s."""

    good: float = 50
    acceptable: float = 30
    critical: float = 20

    def __post_init__(self) -> None:
        if not 0 <= self.critical <= self.acceptable <= self.good:
            raise InvalidInputError(
                "critical_gbps <= acceptable_gbps <= good_gbps",
                f"{self.critical:g}, {self.acceptable:g} and {self.good:g}",
                "put them in order",
            )


@dataclass(frozen=True)
class BandwidthMeasurement:
    """Result of a measurement: received payload in Gb/s, processor use on both sides in percent of one processor."""

    peer: str
    direction: str
    gbps: float
    seconds: float
    streams: int
    retransmits: int | None
    local_cpu_percent: float
    remote_cpu_percent: float
    level: str
    bound_by_cpu: bool


def level(gbps: float, limits: BandwidthLimits) -> str:
    if gbps > limits.good:
        return "good"
    if gbps > limits.acceptable:
        return "acceptable"
    return "critical" if gbps < limits.critical else "low"


def parse(text: str, peer: str, limits: BandwidthLimits) -> BandwidthMeasurement:
    """Read the client's output of C(iperf3 --json)."""
    try:
        data = json.loads(text)
    except ValueError:
        data = {"error": text.strip()[-200:] or "nothing"}
    if not isinstance(data, Mapping) or data.get("error") or "end" not in data:
        said = data.get("error") if isinstance(data, Mapping) else None
        raise RemoteFailureError(
            f"iperf3 to measure to {peer}",
            str(said or "no result"),
            "check that iperf3 --server runs there on that port, and that the firewall accepts this host",
        )
    end: Mapping[str, Any] = data["end"]
    received, sent = end["sum_received"], end.get("sum_sent", {})
    busy = end.get("cpu_utilization_percent", {})
    test = data.get("start", {}).get("test_start", {})
    local, remote = float(busy.get("host_total", 0)), float(busy.get("remote_total", 0))
    gbps = float(received["bits_per_second"]) / 1e9
    return BandwidthMeasurement(
        peer,
        "in" if test.get("reverse") else "out",
        round(gbps, 3),
        round(float(received["seconds"]), 2),
        int(test.get("num_streams", 1)),
        sent.get("retransmits"),
        round(local, 1),
        round(remote, 1),
        level(gbps, limits),
        max(local, remote) >= BUSY_PERCENT,
    )


def problem(measured: BandwidthMeasurement, limits: BandwidthLimits) -> str | None:
    """Return a sentence about a rate that is too low, or None."""
    if measured.level in ("good", "acceptable"):
        return None
    way = "to" if measured.direction == "out" else "from"
    remedy = (
        "one processor was the limit: measure with more streams, or with iperf3 3.16, which uses several"
        if measured.bound_by_cpu
        else "look at the link's rate and errors, and at what else uses it"
    )
    return (
        f"expected more than {limits.acceptable:g} Gb/s {way} {measured.peer} (the target is {limits.good:g}), found "
        f"{measured.gbps:g}: {remedy}."
    )
