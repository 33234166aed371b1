# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What run_module makes of a result and of an error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.herd.inference.plugins.module_utils.core.errors import NotFoundError
from ansible_collections.herd.inference.plugins.module_utils.herd_module import HerdModule, run_module


def run(result: Callable[[HerdModule], dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    with patch_module_args({"path": "/nothing"}), pytest.raises(SystemExit):
        run_module(result, path={"type": "path", "required": True})
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def fails_with(error: Exception) -> Callable[[HerdModule], dict[str, Any]]:
    def result(module: HerdModule) -> dict[str, Any]:
        raise error

    return result


def test_a_result_changes_nothing_unless_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    found = run(lambda module: {"path": module.params["path"]}, capsys)
    assert (found["changed"], found["path"]) == (False, "/nothing")
    assert run(lambda module: {"changed": True}, capsys)["changed"]


def test_an_error_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    found = run(fails_with(NotFoundError("a model", "none", "fetch it")), capsys)
    assert (found["failed"], found["msg"]) == (True, "expected a model, found none: fetch it.")


def test_an_error_of_the_system_names_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    found = run(lambda module: {"text": Path(module.params["path"]).read_text(encoding="utf-8")}, capsys)
    assert found["msg"].startswith("/nothing cannot be read or written (No such file or directory): free space")
    assert "(broken)" in run(fails_with(OSError("broken")), capsys)["msg"]


def test_an_error_without_a_file_does_not_blame_one(capsys: pytest.CaptureFixture[str]) -> None:
    found = run(fails_with(ConnectionRefusedError(111, "Connection refused")), capsys)
    assert found["msg"] == (
        "The system refused a step of this task (Connection refused): correct that, and run it again."
    )
