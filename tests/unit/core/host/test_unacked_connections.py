# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connections whose peer is unavailable."""

from __future__ import annotations

from ansible_collections.herd.inference.plugins.module_utils.core.host.unacked_connections import UnackedConnections


def test_a_long_silence_is_reported() -> None:
    rule = UnackedConnections(20.0)
    assert rule.step(100.0, ["vasp-02"]) == ""
    assert rule.step(119.5, ["vasp-02", "vasp-03"]) == ""
    found = rule.step(120.0, ["vasp-02", "vasp-03"])
    assert found == "vasp-02 has acknowledged nothing for 20 seconds: its host or the fabric is unavailable"


def test_an_acknowledgement_restarts_the_time() -> None:
    rule = UnackedConnections(20.0)
    for now in range(0, 200, 10):
        assert rule.step(float(now), ["vasp-02"] if now % 20 else []) == ""
