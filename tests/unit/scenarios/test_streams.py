# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Streams of the scenarios, with a shell in place of curl."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.scenarios import streams


def event(delta: dict[str, str]) -> str:
    return f"data: {json.dumps({'choices': [{'delta': delta}]})}\n\n"


def test_stream_runs_when_its_first_token_has_arrived(tmp_path: Path) -> None:
    go_on = tmp_path / "go-on"
    first = event({"role": "assistant"}) + event({"content": "one"})
    script = f"printf '%s' '{first}'; until [ -e {go_on} ]; do sleep 0.02; done; printf 'data: [DONE]\\n\\n\\n200'"
    with streams.running_stream(["sh", "-c", script]) as running:
        running.wait_for_token(60)
        go_on.touch()
        found = running.answer()
    assert (found.status, found.is_whole) == (200, True)
    assert found.text.rstrip().endswith("data: [DONE]")


def test_refused_stream_is_shown_instead_of_a_token() -> None:
    with (
        streams.running_stream(["sh", "-c", 'printf \'{"error": "loading"}\\n503\'; exit 3']) as running,
        pytest.raises(AssertionError, match=r"status=503.*loading.*rc=3"),
    ):
        running.wait_for_token(60)


def test_running_command_ends_with_the_block() -> None:
    with streams.running_stream(["sleep", "1000"]) as running:
        pass
    assert running.answer().rc == -9
