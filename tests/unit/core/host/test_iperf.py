# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What iperf3 measured; its output was captured between two lab hosts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.errors import InvalidInputError, RemoteFailureError
from ansible_collections.herd.inference.plugins.module_utils.core.host import iperf
from ansible_collections.herd.inference.plugins.module_utils.core.host.iperf import BandwidthLimits

FIXTURES = Path(__file__).parents[3] / "fixtures/fabric"
PEER = "10.100.0.32"


def said(name: str) -> str:
    return (FIXTURES / f"iperf3-3.12-{name}.json").read_text(encoding="ascii")


def at(gbps: float, cpu: float = 10.0) -> str:
    """The captured output with another rate."""
    data: dict[str, Any] = json.loads(said("out"))
    data["end"]["sum_received"]["bits_per_second"] = gbps * 1e9
    data["end"]["cpu_utilization_percent"]["remote_total"] = cpu
    return json.dumps(data)


@pytest.mark.parametrize(
    ("name", "gbps", "direction", "retransmits"), [("out", 4.435, "out", 219), ("in", 3.047, "in", 134)]
)
def test_the_received_rate_is_read(name: str, gbps: float, direction: str, retransmits: int) -> None:
    found = iperf.parse(said(name), PEER, BandwidthLimits())
    assert (found.gbps, found.direction, found.streams, found.retransmits) == (gbps, direction, 2, retransmits)
    assert found.level == "critical"
    assert not found.bound_by_cpu


@pytest.mark.parametrize(
    ("gbps", "level", "is_problem"),
    [
        (96.1, "good", False),
        (50.1, "good", False),
        (50, "acceptable", False),
        (30.1, "acceptable", False),
        (30, "low", True),
        (20, "low", True),
        (19.9, "critical", True),
    ],
)
def test_the_thresholds_of_the_documents(gbps: float, level: str, is_problem: bool) -> None:
    found = iperf.parse(at(gbps), PEER, BandwidthLimits())
    assert found.level == level
    assert (iperf.problem(found, BandwidthLimits()) is not None) is is_problem


@pytest.mark.parametrize(
    ("cpu", "remedy"), [(20.0, "look at the link's rate and errors"), (99.5, "one processor was the limit")]
)
def test_a_busy_processor_has_another_remedy_than_a_slow_link(cpu: float, remedy: str) -> None:
    found = iperf.parse(at(12, cpu), PEER, BandwidthLimits())
    sentence = iperf.problem(found, BandwidthLimits())
    assert sentence is not None
    assert sentence.startswith(f"expected more than 30 Gb/s to {PEER} (the target is 50), found 12: {remedy}")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (said("refused"), "unable to connect to server: Connection refused"),
        ("", "nothing"),
        ("iperf3: error - unable to start", "unable to start"),
        ("{}", "no result"),
        ("[]", "no result"),
    ],
)
def test_no_measurement_is_an_error(text: str, found: str) -> None:
    with pytest.raises(RemoteFailureError, match=found):
        iperf.parse(text, PEER, BandwidthLimits())


def test_thresholds_out_of_order_are_rejected() -> None:
    with pytest.raises(InvalidInputError, match="20, 60 and 50"):
        BandwidthLimits(50, 60, 20)
