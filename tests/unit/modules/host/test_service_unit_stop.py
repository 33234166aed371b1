# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""service_unit and a service that goes on serving what it had begun, after it was told to stop."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.ports import systemd
from ansible_collections.herd.inference.plugins.module_utils.ports.host import processes
from ansible_collections.herd.inference.plugins.module_utils.ports.systemd import UnitState
from tests.unit.modules.host.service_unit_run import run as run_module


class Systemd:
    """A systemd with one unit, a double: it takes so many looks to end; a job for it while it ends is an error."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.state, self.looks_to_end, self.told = "inactive", 0, [""]
        self.now = 0.0
        monkeypatch.setattr(systemd, "UNIT_DIRECTORY", folder)
        monkeypatch.setattr(systemd, "show", self.show)
        monkeypatch.setattr(systemd, "version", lambda: 257)
        monkeypatch.setattr(systemd, "_systemctl", self.systemctl)
        monkeypatch.setattr(systemd, "verify", lambda _unit, _text: None)
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(time, "sleep", self.sleep)
        monkeypatch.setattr(processes, "environment_of", lambda _pid: {"HERD_UNIT": "older"})

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def show(self, _unit: str) -> UnitState:
        if self.state == "deactivating":
            self.looks_to_end -= 1
            self.state = "deactivating" if self.looks_to_end > 0 else "inactive"
        return UnitState(self.state, pid=7 if self.state == "active" else 0)

    def systemctl(self, *words: str, timeout: float = 60) -> None:
        self.told.append(words[0])
        assert self.state != "deactivating" or words[0] == "daemon-reload"
        self.state = {"stop": "deactivating", "start": "active"}.get(words[0], self.state)


@pytest.fixture
def systemd_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Systemd:
    return Systemd(tmp_path, monkeypatch)


def run(capsys: pytest.CaptureFixture[str], check: bool = False) -> dict[str, Any]:
    content = "[Service]\nEnvironment=HERD_UNIT=@HERD_UNIT@\n"
    return run_module(capsys, check, name="herd-queue.service", content=content, enabled=False, stop_timeout=60)


@pytest.mark.parametrize(("state", "action"), [("deactivating", "start"), ("active", "restart")])
@pytest.mark.parametrize("looks", [1, 100])
def test_an_end_in_time_is_waited_for(
    systemd_of: Systemd, capsys: pytest.CaptureFixture[str], state: str, action: str, looks: int
) -> None:
    systemd_of.state, systemd_of.looks_to_end = state, looks
    found = run(capsys)
    assert found["action"] == action, found
    assert systemd_of.told[-1] == "start"
    assert systemd_of.state == "active"
    assert "restart" not in systemd_of.told


@pytest.mark.parametrize("state", ["deactivating", "active"])
def test_late_stop_is_reported(systemd_of: Systemd, capsys: pytest.CaptureFixture[str], state: str) -> None:
    systemd_of.state, systemd_of.looks_to_end = state, 10_000
    found = run(capsys)
    assert found["failed"]
    assert "herd-queue.service to stop within 60 seconds" in found["msg"]
    assert 60 <= systemd_of.now < 62
    # No pending start remains that would start the unit later.
    assert "start" not in systemd_of.told


def test_a_dry_run_does_not_wait(systemd_of: Systemd, capsys: pytest.CaptureFixture[str]) -> None:
    systemd_of.state, systemd_of.looks_to_end = "deactivating", 10_000
    assert run(capsys, check=True)["action"] == "start"
    assert (systemd_of.now, systemd_of.told) == (0.0, [""])
