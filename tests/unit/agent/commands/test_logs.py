# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The arguments with which herdctl logs runs journalctl, and the command that it names for all nodes."""

from __future__ import annotations

import os

import pytest

from ansible_collections.herd.inference.plugins.module_utils.agent import herdctl


class _ReplacedError(Exception):
    """The process would be another program now."""


@pytest.fixture(name="argv")
def _argv(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []

    def execvp(_program: str, arguments: list[str]) -> None:
        found.extend(arguments)
        raise _ReplacedError

    monkeypatch.setattr(os, "execvp", execvp)
    return found


@pytest.mark.parametrize(
    ("words", "units"),
    [
        (["head"], ["llama-head.service"]),
        (["gateway"], ["herd-gateway@*.service"]),
        ([], [*(f"llama-{name}.service" for name in ("head", "rpc", "router")), "herd-agent.service"]),
    ],
)
def test_journal_of_the_named_units_is_shown(argv: list[str], words: list[str], units: list[str]) -> None:
    with pytest.raises(_ReplacedError):
        herdctl.main(["logs", *words])
    shown = [word.removeprefix("--unit=") for word in argv if word.startswith("--unit=")]
    assert shown[: len(units)] == units
    assert "nginx.service" not in shown
    assert not [word for word in argv if word.startswith(("--since", "--until"))]


def test_window_of_time_is_passed_on(argv: list[str]) -> None:
    with pytest.raises(_ReplacedError):
        herdctl.main(["logs", "head", "--since=-1h", "--until", "2026-11-30 10:05"])
    assert {"--since=-1h", "--until=2026-11-30 10:05"} <= set(argv)


def test_command_for_all_nodes_is_named(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert herdctl.main(["logs", "--all"]) == 2
    assert "run on the controller: ansible-playbook playbooks/logs.yml" in capsys.readouterr().err
    assert argv == []
