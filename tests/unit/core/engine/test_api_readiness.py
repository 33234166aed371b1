# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When waiting for a head ends, as a table of what was seen."""

from __future__ import annotations

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.engine import api_answers, api_readiness
from ansible_collections.herd.inference.plugins.module_utils.core.engine.api_readiness import (
    ApiProbe,
    ReadinessWait,
)
from ansible_collections.herd.inference.plugins.module_utils.core.errors import InvalidInputError, MismatchError

UNIT = "llama-head.service"


def follow(looks: list[ApiProbe], limit_s: float = 600) -> tuple[ReadinessWait, str]:
    """Take a look each second; the waiting, and the error that ended it."""
    waiting = ReadinessWait(limit_s, UNIT)
    for second, look in enumerate(looks):
        error = waiting.see(look, float(second))
        if error is not None:
            assert second == len(looks) - 1, f"it ended after {second} seconds already: {error}"
            return waiting, str(error)
    return waiting, ""


@pytest.mark.parametrize(
    ("looks", "states"),
    [
        (
            [
                ApiProbe("refused"),
                ApiProbe("refused"),
                ApiProbe("loading"),
                ApiProbe("loading"),
                ApiProbe("ready"),
            ],
            ["refused", "loading", "ready"],
        ),
        # Its start waits for the workers, and a worker that comes late costs it a start.
        (
            [
                ApiProbe("refused", "activating"),
                ApiProbe("refused", "activating", 1),
                ApiProbe("ready", "active", 1),
            ],
            ["refused", "ready"],
        ),
        (
            [ApiProbe("silent", "active", 7), ApiProbe("ready", "active", 7)],
            ["silent", "ready"],
        ),
        # Connections of the release before hold its port for a minute.
        (
            [ApiProbe("refused", "activating", n, (), n > 0) for n in range(7)]
            + [
                ApiProbe("refused", "active", 6),
                ApiProbe("loading", "active", 6),
                ApiProbe("ready", "active", 6),
            ],
            ["refused", "loading", "ready"],
        ),
        # The agent stops and starts it in order.
        ([ApiProbe("ready", "active")], ["ready"]),
        (
            [
                ApiProbe("refused", "deactivating"),
                ApiProbe("refused", "activating"),
                ApiProbe("ready", "active"),
            ],
            ["refused", "ready"],
        ),
    ],
)
def test_wait_continues_while_recovery_is_possible(looks: list[ApiProbe], states: list[str]) -> None:
    waiting, error = follow(looks)
    assert (waiting.states, error, waiting.is_over()) == (states, "", True)


@pytest.mark.parametrize(
    ("looks", "part"),
    [
        (
            [ApiProbe("refused", "activating"), ApiProbe("refused", "failed")],
            f"{UNIT} to run while its model loads, found failed",
        ),
        ([ApiProbe("refused", "inactive")], "found inactive after 0 s (refused)"),
        (
            [ApiProbe("refused", "activating", restarts) for restarts in (4, 5, 6, 7)],
            "found 3 restarts in 3 s (refused): mend what journalctl",
        ),
        (
            [ApiProbe("refused", "activating", n, (), n > 0) for n in range(92)]
            + [ApiProbe("refused", "activating", 92, (), True)],
            "found 3 restarts in 92 s (refused): mend what journalctl",
        ),
        (
            [
                ApiProbe("refused", "activating"),
                ApiProbe("refused", "activating", 1, ("python3 (99)",), True),
            ],
            f"only {UNIT} to listen at its port, found python3 (99) too",
        ),
        ([ApiProbe("status 404")], "found status 404: see what listens at that port"),
        ([ApiProbe("loading"), ApiProbe("status 502")], "found loading \u2192 status 502"),
        (
            [ApiProbe("insecure (certificate verify failed)")],
            "found insecure (certificate verify failed): run site.yml",
        ),
        (
            [ApiProbe("ready", "active", 0, ("python3 (99)",))],
            f"only {UNIT} to listen at its port, found python3 (99) too",
        ),
    ],
)
def test_wait_ends_at_once_if_useless(looks: list[ApiProbe], part: str) -> None:
    waiting, error = follow(looks)
    assert part in error
    assert not waiting.is_over() or looks[-1].strangers


@pytest.mark.parametrize(
    ("state", "remedy"),
    [("loading", "give it more time"), ("silent", "its process hangs"), ("refused", "start it, and see")],
)
def test_timeout_error_names_last_state(state: str, remedy: str) -> None:
    _waiting, error = follow([ApiProbe(state)] * 6, limit_s=5)
    assert error.startswith(f"expected the head to be ready within 5 seconds, found {state}: {remedy}")


@pytest.mark.parametrize(
    ("timeout", "size", "rate", "seconds"),
    [(600, 0, 100, 600.0), (300, 77257181088, 100, 1036.8), (300, 713281210368, 1000, 980.2), (0, 1048576, 1, 1.0)],
)
def test_larger_model_extends_limit(timeout: float, size: int, rate: float, seconds: float) -> None:
    assert api_readiness.limit(timeout, size, rate) == seconds


def test_zero_rate_is_rejected() -> None:
    with pytest.raises(InvalidInputError, match="load_mib_per_s above 0, found 0"):
        api_readiness.limit(600, 1, 0)


@pytest.mark.parametrize(("wanted", "total"), [(0, 4), (2, 2), (2, None)])
def test_matching_slots_are_accepted(wanted: int, total: int | None) -> None:
    api_readiness.check_slots(wanted, total)


@pytest.mark.parametrize(
    ("wanted", "reasoning", "found"),
    [
        (None, "hm", ""),
        (True, "hm", ""),
        (False, "", ""),
        (True, "", "found an answer without"),
        (False, "hm", "found 2 of 9 characters of it"),
    ],
)
def test_reasoning_is_checked_against_setting(wanted: bool | None, reasoning: str, found: str) -> None:
    if not found:
        api_readiness.check_reasoning(wanted, reasoning, "hm, hello")
        return
    with pytest.raises(MismatchError, match=found):
        api_readiness.check_reasoning(wanted, reasoning, "hm, hello")


@pytest.mark.parametrize(
    ("wanted", "speculative", "says"),
    [
        (False, False, ""),
        (False, None, ""),
        (True, True, ""),
        (True, False, "found speculation is silently off: look for the draft in journalctl -u llama-head"),
        (True, None, "found an answer without it: remove --no-slots"),
    ],
)
def test_head_that_silently_does_not_speculate_is_rejected(wanted: bool, speculative: bool | None, says: str) -> None:
    if not says:
        api_readiness.check_speculation(wanted, speculative)
        return
    with pytest.raises(MismatchError, match=says):
        api_readiness.check_speculation(wanted, speculative)


@pytest.mark.parametrize(
    ("listed", "speculative"),
    [
        ([{"speculative": True}, {"speculative": True}], True),
        ([{"speculative": True}, {"speculative": False}], False),
        ([{"speculative": True}, {}], None),
        ([{"speculative": "yes"}], None),
        ([], None),
    ],
)
def test_slots_speculate_together(listed: list[dict[str, object]], speculative: bool | None) -> None:
    assert api_answers.slot_counts(listed).speculative is speculative
