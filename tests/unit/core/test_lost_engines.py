# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which engines may have gone without a word."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core import lost_engines
from ansible_collections.herd.inference.plugins.module_utils.core.lost_engines import Watch

ONE, TWO = "10.0.0.42:8080", "10.0.0.41:8081"


def view(*wheres: str, state: str = "ready") -> dict[str, Any]:
    entries = [
        {"address": host, "port": int(port), "state": state}
        for host, _colon, port in (w.partition(":") for w in wheres)
    ]
    return {"schema": 1, "tiers": {"fast": {"endpoints": entries}}}


@pytest.mark.parametrize(
    ("given", "alive"),
    [
        (view(ONE, TWO), {ONE, TWO}),
        # It still answers what it has begun.
        (view(ONE, state="draining"), {ONE}),
        (view(), set()),
        ({}, set()),
        ({"tiers": None}, set()),
        ({"tiers": {"fast": None, "reasoning": {"endpoints": [None, {"address": "x; flush", "port": 1}]}}}, set()),
    ],
)
def test_every_endpoint_of_a_view_counts(given: dict[str, Any], alive: set[str]) -> None:
    assert lost_engines.alive_in(given) == alive


def test_what_was_there_and_is_not_any_more_is_lost_until_somebody_has_looked() -> None:
    watch = lost_engines.followed(Watch(), {ONE, TWO})
    assert not watch.lost
    watch = lost_engines.followed(watch, {TWO})
    assert watch.lost == {ONE}
    # Still so at the next look.
    watch = lost_engines.followed(watch, {TWO})
    assert watch.lost == {ONE}
    watch = lost_engines.seen(watch, ONE)
    assert not watch.lost
    assert not lost_engines.followed(watch, {TWO}).lost


def test_what_comes_back_is_not_lost() -> None:
    watch = lost_engines.followed(Watch(frozenset({ONE})), set())
    assert watch.lost == {ONE}
    assert not lost_engines.followed(watch, {ONE}).lost
