# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The requests of ranks to the port guard."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.errors import HerdError
from ansible_collections.herd.inference.plugins.module_utils.core.vllm.job import port_request

NODES = frozenset({"10.100.0.41", "10.100.0.42"})
REQUEST = {"own": "10.100.0.41", "ports": {"10.100.0.41": [29500, 40001], "10.100.0.42": [40007]}}


def test_written_request_is_read() -> None:
    found = port_request.parse(REQUEST, NODES)
    assert found.own_ports == (29500, 40001)
    assert port_request.parse(json.loads(port_request.write(found)), NODES) == found


@pytest.mark.parametrize(
    "change",
    [
        {"own": "10.100.0.42; flush ruleset"},
        {"own": None},
        {"own": "10.100.0.43"},
        {"ports": {}},
        {"ports": [29500]},
        {"ports": {"10.0.0.9": [40001], "10.100.0.41": []}},
        {"ports": {"10.100.0.41": [22]}},
        {"ports": {"10.100.0.41": [6818]}},
        {"ports": {"10.100.0.41": [65536]}},
        {"ports": {"10.100.0.41": ["40001"]}},
        {"ports": {"10.100.0.41": [True]}},
        {"ports": {"10.100.0.41": 40001}},
        {"ports": {"10.100.0.41": list(range(20000, 20257))}},
    ],
)
def test_request_with_a_wrong_value_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(HerdError):
        port_request.parse({**REQUEST, **change}, NODES)
