# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs that the agent runs."""

from __future__ import annotations

import time
from pathlib import Path

from ansible_collections.herd.inference.plugins.module_utils.agent.common.command import (
    NOT_STARTED,
    TIMED_OUT,
    capture,
    run,
)


def test_output_and_error_are_kept_apart(tmp_path: Path) -> None:
    done = capture(["sh", "-c", "echo $GREETING; pwd; echo no >&2; exit 3"], cwd=str(tmp_path), env={"GREETING": "hi"})
    assert (done.status, done.raw, done.err) == (3, f"hi\n{tmp_path}\n".encode(), "no\n")
    assert (done.out, done.error) == (f"hi\n{tmp_path}\n", "no")


def test_command_is_killed_after_its_time_limit(tmp_path: Path) -> None:
    sign = tmp_path / "sign"
    began = time.monotonic()
    status, text = run(["sh", "-c", f"exec >&- 2>&-; sleep 3; touch {sign}"], timeout_s=0.3)
    assert status == TIMED_OUT
    assert text == "sh did not end within 0.3 seconds"
    assert time.monotonic() - began < 2
    time.sleep(3)
    assert not sign.exists()


def test_error_names_a_missing_program() -> None:
    assert run(["/no/such/program"]) == (NOT_STARTED, "/no/such/program: No such file or directory")


def test_invalid_utf8_in_output_is_replaced() -> None:
    assert run(["printf", r"\377ok"]) == (0, "\ufffdok")
