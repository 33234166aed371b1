# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""systemd reads the words of a unit as they were given."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.host import unit_syntax


@pytest.mark.parametrize(
    ("argument", "text"),
    [
        ("--ctx-size", "--ctx-size"),
        ("vllm-node2:50052,vllm-node3:50052", "vllm-node2:50052,vllm-node3:50052"),
        ("", '""'),
        ("my model", '"my model"'),
        ('{"a": 1}', r'"{\"a\": 1}"'),
        ("it's", '"it\'s"'),
        ("100%", '"100%%"'),
        ("$HOME", '"$$HOME"'),
        ("C:\\x", r'"C:\\x"'),
        ("a;b", '"a;b"'),
        (";", '";"'),
        ("two\nlines\t", r'"two\x0alines\x09"'),
        ("größe", '"größe"'),
    ],
)
def test_argument_is_quoted_where_systemd_would_change_it(argument: str, text: str) -> None:
    assert unit_syntax.quote_argument(argument) == text


def test_dollar_stays_outside_of_command_lines() -> None:
    assert unit_syntax.quote_word("PRICE=5 $") == '"PRICE=5 $"'


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze on this machine")
@pytest.mark.parametrize("name", ["a b", "100%n", "semi;colon", "größe"])
def test_systemd_finds_a_program_by_its_quoted_path(tmp_path: Path, name: str) -> None:
    # systemd accepts quotes and backslashes in arguments, and not in the name of a program.
    program = tmp_path / name
    program.write_text("#!/bin/sh\n", encoding="utf-8")
    program.chmod(0o755)
    unit = tmp_path / "herd-quoted.service"
    unit.write_text(f"[Service]\nExecStart={unit_syntax.quote_argument(str(program))}\n", encoding="utf-8")
    command = ["systemd-analyze", "verify", "--man=no", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert unit.name not in done.stderr, done.stderr
    unit.write_text(f"[Service]\nExecStart={program}x\n", encoding="utf-8")
    assert unit.name in subprocess.run(command, capture_output=True, text=True, check=False).stderr
