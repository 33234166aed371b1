# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""service_unit with two instances of a template unit: one takes over from the other."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.errors import RemoteFailureError
from ansible_collections.herd.inference.plugins.module_utils.ports import systemd
from ansible_collections.herd.inference.plugins.module_utils.ports.host import processes
from ansible_collections.herd.inference.plugins.module_utils.ports.systemd import UnitState
from tests.unit.modules.host.service_unit_run import Killed, digest_in, run_gateway

A, B = "herd-gateway@a.service", "herd-gateway@b.service"


class Systemd:
    """A double of systemd with two instances.

    :ivar states: state of each instance, and C(texts) the digest that its process was started with.
    :ivar kill_before: number of the command before which the module's process is killed.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.told = folder, list[str]()
        self.states, self.texts, self.enabled = {A: "inactive", B: "inactive"}, {A: "", B: ""}, {A: False, B: False}
        self.fails, self.kill_before, self.now = False, -1, 0.0
        self.looks_to_end = 0
        monkeypatch.setattr(systemd, "UNIT_DIRECTORY", folder)
        monkeypatch.setattr(systemd, "show", self.show)
        monkeypatch.setattr(systemd, "version", lambda: 257)
        monkeypatch.setattr(systemd, "_systemctl", self.systemctl)
        monkeypatch.setattr(systemd, "verify", lambda _unit, _text: None)
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(time, "sleep", self.sleep)
        monkeypatch.setattr(processes, "environment_of", lambda pid: {"HERD_UNIT": self.texts[(A, B)[pid - 1]]})

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def show(self, unit: str) -> UnitState:
        if self.states[unit] == "deactivating":
            self.looks_to_end -= 1
            if self.looks_to_end <= 0:
                self.states[unit] = "inactive"
        has_process = self.states[unit] in ("active", "deactivating")
        return UnitState(
            self.states[unit], enabled=self.enabled[unit], pid=(A, B).index(unit) + 1 if has_process else 0
        )

    def systemctl(self, *words: str, timeout: float = 60) -> None:
        if len(self.told) == self.kill_before:
            raise Killed
        unit = words[-1]
        self.told.append(f"{words[0]} {unit}")
        if words[0] == "start":
            assert self.states[unit] != "deactivating"
            if self.fails:
                self.states[unit] = "activating"
                raise RemoteFailureError("systemctl start to succeed", "status 1", "fix the cause")
            self.states[unit], self.texts[unit] = "active", digest_in(self.folder)
        elif words[0] == "stop" and self.states[unit] in ("active", "activating"):
            self.states[unit] = "deactivating"
        elif words[0] in ("enable", "disable"):
            self.enabled[unit] = words[0] == "enable"

    def serving(self) -> list[str]:
        return [unit for unit, state in self.states.items() if state == "active"]


@pytest.fixture
def double(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Systemd:
    return Systemd(tmp_path, monkeypatch)


def run(capsys: pytest.CaptureFixture[str], text: str, check: bool = False) -> dict[str, Any]:
    return run_gateway(capsys, text, check)


def test_first_instance_starts_and_is_enabled(double: Systemd, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "one", check=True)["action"] == "start"
    assert double.told == []
    found = run(capsys, "one")
    assert (found["changed"], found["action"]) == (True, "start")
    assert (double.serving(), double.enabled) == ([A], {A: True, B: False})
    for check in (True, False):
        assert not run(capsys, "one", check)["changed"]


def test_other_instance_starts_before_the_former_stops(double: Systemd, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "one")
    for text, former, successor in (("two", A, B), ("three", B, A)):
        double.told.clear()
        double.looks_to_end = 1
        assert run(capsys, text, check=True)["action"] == "restart"
        found = run(capsys, text)
        assert (found["action"], found["reason"]) == ("restart", "it runs with an older unit")
        assert double.told[-2:] == [f"start {successor}", f"stop {former}"]
        assert double.serving() == [successor]
        # Which instance serves does not matter for a boot.
        assert double.enabled == {A: True, B: False}
        assert not run(capsys, text)["changed"]


def test_killed_deployment_is_completed_by_the_next(double: Systemd, capsys: pytest.CaptureFixture[str]) -> None:
    for commands in range(12):
        run(capsys, f"old {commands}")
        double.looks_to_end = 1
        double.told.clear()
        double.kill_before = commands
        try:
            run(capsys, f"new {commands}")
        except Killed:
            # Requests are served all the time.
            assert double.serving()
        double.kill_before = -1
        run(capsys, f"new {commands}")
        (serving,) = double.serving()
        assert double.texts[serving] == digest_in(double.folder)
        assert double.enabled == {A: True, B: False}
        assert not run(capsys, f"new {commands}")["changed"]


def test_former_instance_stays_if_the_new_one_does_not_start(
    double: Systemd, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "one")
    double.fails = True
    found = run(capsys, "two")
    assert found["failed"]
    assert double.serving() == [A]
    assert double.states[B] != "activating"
    double.fails = False
    run(capsys, "three")
    assert double.serving() == [B]


def test_deployment_waits_for_an_instance_that_finishes_its_responses(
    double: Systemd, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "one")
    run(capsys, "two")
    assert (double.states[A], double.serving()) == ("deactivating", [B])
    double.looks_to_end = 50
    run(capsys, "three")
    assert double.serving() == [A]
    double.looks_to_end = 10_000
    found = run(capsys, "four")
    assert "herd-gateway@b.service to stop within 60 seconds" in found["msg"]
    # The one that serves goes on.
    assert double.serving() == [A]


def test_second_instance_that_serves_is_stopped(double: Systemd, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "one")
    double.systemctl("start", B)
    double.enabled[B] = True
    assert run(capsys, "one", check=True)["action"] == "stop"
    found = run(capsys, "one")
    assert (found["action"], found["reason"]) == ("stop", "two instances run")
    assert (double.serving(), double.enabled) == ([A], {A: True, B: False})
    double.states[B] = "active"
    # Both are older: one of them serves until the other one has started anew.
    double.looks_to_end = 1
    assert run(capsys, "two")["action"] == "restart"
    assert len(double.serving()) == 1
