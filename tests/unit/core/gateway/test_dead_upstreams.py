# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which engines may have gone without a word."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.gateway import dead_upstreams
from ansible_collections.herd.inference.plugins.module_utils.core.gateway.dead_upstreams import Watch

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
    assert dead_upstreams.alive_in(given) == alive


def test_what_was_there_and_is_not_any_more_is_lost_until_somebody_has_looked() -> None:
    watch = dead_upstreams.followed(Watch(), {ONE, TWO})
    assert not watch.lost
    watch = dead_upstreams.followed(watch, {TWO})
    assert watch.lost == {ONE}
    # Still so at the next look.
    watch = dead_upstreams.followed(watch, {TWO})
    assert watch.lost == {ONE}
    watch, must_end = dead_upstreams.asked(watch, ONE, dead_upstreams.ANSWERS, 1.0)
    assert not watch.lost
    assert not must_end
    assert not dead_upstreams.followed(watch, {TWO}).lost


def test_what_comes_back_is_not_lost() -> None:
    watch = dead_upstreams.followed(Watch(frozenset({ONE})), set())
    assert watch.lost == {ONE}
    assert not dead_upstreams.followed(watch, {ONE}).lost


def lost(*silent: str, since: float = 100.0) -> Watch:
    return Watch(frozenset(), frozenset({ONE, TWO}), dict.fromkeys(silent, since))


@pytest.mark.parametrize(
    ("watch", "found", "now", "is_lost", "silent", "must_end"),
    [
        (lost(), "nobody", 100.0, {TWO}, {}, True),
        (lost(), "answers", 100.0, {TWO}, {}, False),
        (lost(ONE, TWO), "answers", 900.0, {TWO}, {TWO: 100.0}, False),
        # It may have much to do: it is asked again.
        (lost(), "silent", 100.0, {ONE, TWO}, {ONE: 100.0}, False),
        (lost(ONE), "silent", 159.0, {ONE, TWO}, {ONE: 100.0}, False),
        (lost(ONE), "silent", 160.0, {TWO}, {}, True),
        (lost(ONE), "nobody", 101.0, {TWO}, {}, True),
        # It has come back while it was asked.
        (Watch(frozenset({ONE}), frozenset(), {ONE: 1.0}), "nobody", 900.0, set(), {}, False),
    ],
)
def test_what_becomes_of_a_lost_engine(
    watch: Watch, found: str, now: float, is_lost: set[str], silent: dict[str, float], must_end: bool
) -> None:
    known, ends = dead_upstreams.asked(watch, ONE, found, now)
    assert (known.lost, dict(known.silent), ends) == (is_lost, silent, must_end)


def test_one_that_takes_connections_and_never_answers_is_given_up_after_a_while() -> None:
    watch, now = dead_upstreams.followed(Watch(frozenset({ONE})), set()), 100.0
    ends = False
    while not ends:
        watch, ends = dead_upstreams.asked(watch, ONE, dead_upstreams.SILENT, now)
        watch = dead_upstreams.followed(watch, set())
        now += 2.5
    assert dead_upstreams.FROZEN_S <= now - 100.0 < dead_upstreams.FROZEN_S + 6
    assert not watch.lost


@pytest.mark.parametrize(
    ("moved", "ready", "asked"),
    [
        ({}, set(), []),
        ({ONE: 100.0}, set(), [ONE]),
        # Something came just now, and of what is ready its job takes care.
        ({ONE: 100.5, TWO: 50.0}, set(), [TWO]),
        ({ONE: 100.0, TWO: 50.0}, {TWO}, [ONE]),
    ],
)
def test_who_is_asked_whether_it_is_frozen(moved: dict[str, float], ready: set[str], asked: list[str]) -> None:
    assert dead_upstreams.still(moved, ready, 100.0 + dead_upstreams.STILL_S) == asked
