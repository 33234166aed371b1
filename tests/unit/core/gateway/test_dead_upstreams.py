# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Engines that ended without closing their connections."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.gateway import dead_upstreams
from ansible_collections.herd.inference.plugins.module_utils.core.gateway.dead_upstreams import Watch
from ansible_collections.herd.inference.plugins.module_utils.core.slurm.tier_status import TierReport
from tests.unit.core.slurm.test_endpoint_registry import FAST

ONE, TWO = "10.0.0.42:8080", "10.0.0.41:8081"


def tiers(*wheres: str, state: str = "ready") -> dict[str, TierReport]:
    pairs = [where.split(":") for where in wheres]
    return {"fast": TierReport(True, state, endpoints=tuple(replace(FAST, address=h, port=int(p)) for h, p in pairs))}


@pytest.mark.parametrize(
    ("given", "alive"),
    [
        (tiers(ONE, TWO), {ONE, TWO}),
        # It still finishes its responses.
        (tiers(ONE, state="draining"), {ONE}),
        (tiers(), set()),
        ({}, set()),
    ],
)
def test_every_endpoint_of_a_tier_counts(given: dict[str, TierReport], alive: set[str]) -> None:
    assert dead_upstreams.endpoints_of(given) == alive


def test_an_engine_that_leaves_the_registry_counts_as_dead_until_it_is_checked() -> None:
    watch = dead_upstreams.followed(Watch(), {ONE, TWO})
    assert not watch.dead
    watch = dead_upstreams.followed(watch, {TWO})
    assert watch.dead == {ONE}
    # Still so at the next look.
    watch = dead_upstreams.followed(watch, {TWO})
    assert watch.dead == {ONE}
    watch, must_end = dead_upstreams.asked(watch, ONE, dead_upstreams.ANSWERS, 1.0)
    assert not watch.dead
    assert not must_end
    assert not dead_upstreams.followed(watch, {TWO}).dead


def test_an_engine_that_comes_back_is_not_dead() -> None:
    watch = dead_upstreams.followed(Watch(frozenset({ONE})), set())
    assert watch.dead == {ONE}
    assert not dead_upstreams.followed(watch, {ONE}).dead


def dead_engines(*silent: str, since: float = 100.0) -> Watch:
    return Watch(frozenset(), frozenset({ONE, TWO}), dict.fromkeys(silent, since))


@pytest.mark.parametrize(
    ("watch", "found", "now", "dead", "silent", "must_end"),
    [
        (dead_engines(), "unreachable", 100.0, {TWO}, {}, True),
        (dead_engines(), "answers", 100.0, {TWO}, {}, False),
        (dead_engines(ONE, TWO), "answers", 900.0, {TWO}, {TWO: 100.0}, False),
        # It may have much to do: it is asked again.
        (dead_engines(), "silent", 100.0, {ONE, TWO}, {ONE: 100.0}, False),
        (dead_engines(ONE), "silent", 159.0, {ONE, TWO}, {ONE: 100.0}, False),
        (dead_engines(ONE), "silent", 160.0, {TWO}, {}, True),
        (dead_engines(ONE), "unreachable", 101.0, {TWO}, {}, True),
        # It has come back while it was asked.
        (Watch(frozenset({ONE}), frozenset(), {ONE: 1.0}), "unreachable", 900.0, set(), {}, False),
    ],
)
def test_connections_to_a_dead_engine_are_ended(
    watch: Watch, found: str, now: float, dead: set[str], silent: dict[str, float], must_end: bool
) -> None:
    known, ends = dead_upstreams.asked(watch, ONE, found, now)
    assert (known.dead, dict(known.silent), ends) == (dead, silent, must_end)


def test_an_engine_that_accepts_connections_but_never_answers_is_given_up() -> None:
    watch, now = dead_upstreams.followed(Watch(frozenset({ONE})), set()), 100.0
    ends = False
    while not ends:
        watch, ends = dead_upstreams.asked(watch, ONE, dead_upstreams.SILENT, now)
        watch = dead_upstreams.followed(watch, set())
        now += 2.5
    assert dead_upstreams.STALLED_S <= now - 100.0 < dead_upstreams.STALLED_S + 6
    assert not watch.dead


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
def test_silent_engines_that_are_not_ready_are_checked(
    moved: dict[str, float], ready: set[str], asked: list[str]
) -> None:
    assert dead_upstreams.silent_endpoints(moved, ready, 100.0 + dead_upstreams.STILL_S) == asked
