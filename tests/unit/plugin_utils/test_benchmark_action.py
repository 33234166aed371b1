# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action benchmark always starts a job, and check mode never does."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.action.benchmark import ActionModule
from ansible_collections.herd.inference.plugins.plugin_utils.long_running import LongRunningAction


@pytest.mark.parametrize(
    ("plan", "check", "worked"),
    [({}, False, True), ({}, True, False), ({"failed": True, "msg": "no aiohttp"}, False, False)],
)
def test_job_runs_unless_checked_or_failed(
    monkeypatch: pytest.MonkeyPatch, plan: dict[str, Any], check: bool, worked: bool
) -> None:
    action = ActionModule.__new__(ActionModule)
    action._task = SimpleNamespace(check_mode=check, args={}, async_val=0)
    done: list[str] = []

    def work(_self: object, _variables: object, progress_file: str) -> dict[str, Any]:
        done.append(progress_file)
        return {"changed": False, "measured": {}}

    monkeypatch.setattr(LongRunningAction.__mro__[1], "run", lambda *_arguments: {})
    monkeypatch.setattr(LongRunningAction, "_work", work)
    monkeypatch.setattr(
        LongRunningAction, "_plan", lambda *_arguments: {"changed": False, "progress_file": "/p", **plan}
    )
    answer = action.run(None, {})
    assert done == (["/p"] if worked else [])
    assert answer["changed"] is False
    assert answer.get("msg") == plan.get("msg")
