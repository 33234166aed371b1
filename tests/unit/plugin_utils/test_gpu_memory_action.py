# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action gpu_memory starts a job only to wait, and reports no change."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.action.gpu_memory import ActionModule
from ansible_collections.herd.inference.plugins.plugin_utils.long_running import LongRunningAction


@pytest.mark.parametrize(
    ("plan", "check", "worked"),
    [
        ({"must_wait": False}, False, False),
        ({"must_wait": True}, False, True),
        # Check mode never waits, and a failed module is the result.
        ({"must_wait": True}, True, False),
        ({"failed": True, "msg": "no driver"}, False, False),
    ],
)
def test_job_runs_only_to_wait(
    monkeypatch: pytest.MonkeyPatch, plan: dict[str, Any], check: bool, worked: bool
) -> None:
    action = ActionModule.__new__(ActionModule)
    action._task = SimpleNamespace(check_mode=check, args={}, async_val=0)
    done: list[str] = []

    def work(_self: object, _variables: object, progress_file: str) -> dict[str, Any]:
        done.append(progress_file)
        return {"must_wait": False, "changed": False, "progress_file": progress_file}

    monkeypatch.setattr(LongRunningAction.__mro__[1], "run", lambda *_arguments: {})
    monkeypatch.setattr(LongRunningAction, "_work", work)
    monkeypatch.setattr(
        LongRunningAction, "_plan", lambda *_arguments: {"changed": False, "progress_file": "/run/p", **plan}
    )
    answer = action.run(None, {})
    assert done == (["/run/p"] if worked else [])
    assert answer["changed"] is False
    assert "progress_file" not in answer
    assert answer.get("msg") == plan.get("msg")
