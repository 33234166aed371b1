"""Results and failures of programs reach the caller."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.errors import HerdError
from ansible_collections.herd.inference.plugins.module_utils.ports import commands


def test_run_returns_exit_status_and_output_in_the_c_locale() -> None:
    answer = commands.run([sys.executable, "-c", "import os, sys; print(os.environ['LANG']); sys.exit(3)"])
    assert (answer.rc, answer.out) == (3, "C.UTF-8\n")


def test_run_names_a_missing_program() -> None:
    with pytest.raises(HerdError, match="no-such-program"):
        commands.run(["no-such-program"])


def test_run_stops_a_program_after_the_timeout() -> None:
    with pytest.raises(HerdError, match="did not end within"):
        commands.run([sys.executable, "-c", "import time; time.sleep(30)"], timeout=0.2)


def test_run_logged_quotes_the_last_lines_of_a_failure(tmp_path: Path) -> None:
    script = "import sys\nfor i in range(100): print('line', i)\nsys.exit(2)"
    seen: list[str] = []
    with pytest.raises(HerdError) as error:
        commands.run_logged([sys.executable, "-c", script], tmp_path / "log", on_line=seen.append)
    message = str(error.value)
    assert "exit status 2" in message
    assert str(tmp_path / "log") in message
    assert "line 99" in message
    assert "line 70" in message
    assert "line 69\n" not in message
    assert len(seen) == 100
    assert "line 0\n" in (tmp_path / "log").read_text(encoding="utf-8")
