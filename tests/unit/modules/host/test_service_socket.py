# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""service_unit with two instances that share a socket: a changed socket is started anew while one of them serves."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.errors import RemoteFailureError
from ansible_collections.herd.inference.plugins.module_utils.ports import files, systemd
from ansible_collections.herd.inference.plugins.module_utils.ports.host import processes
from ansible_collections.herd.inference.plugins.module_utils.ports.systemd import UnitState
from tests.unit.modules.host.service_unit_run import Killed, digest_in, run_gateway

A, B, SOCKET = "herd-gateway@a.service", "herd-gateway@b.service", "herd-gateway.socket"


class Systemd:
    """A double of systemd with a socket and two instances that are its services.

    It behaves as systemd does: a socket is not started while its own service (the first instance) runs, an instance
    accepts the requests of the socket that was there when it started, and a stopping one needs some time.

    :ivar now: seconds of the clock. Each command takes one.
    :ivar bound: text of the running socket, and C(held) that of the socket that an instance has.
    :ivar refused: commands during which nothing accepted requests of the running socket.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.now, self.commands, self.kill_before = folder, 1000.0, 0, -1
        self.states, self.since = dict.fromkeys((A, B, SOCKET), "inactive"), dict.fromkeys((A, B, SOCKET), 0.0)
        self.texts, self.held = {A: "", B: ""}, {A: 0.0, B: 0.0}
        self.enabled = dict.fromkeys((A, B, SOCKET), False)
        self.bound, self.refused, self.fails = "", list[str](), False
        monkeypatch.setattr(systemd, "UNIT_DIRECTORY", folder)
        monkeypatch.setattr(systemd, "show", self.show)
        monkeypatch.setattr(systemd, "version", lambda: 257)
        monkeypatch.setattr(systemd, "_systemctl", self.systemctl)
        monkeypatch.setattr(systemd, "verify", lambda _unit, _text: None)
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(time, "time", lambda: self.now)
        monkeypatch.setattr(time, "sleep", self.sleep)
        monkeypatch.setattr(processes, "environment_of", lambda pid: {"HERD_UNIT": self.texts[(A, B)[pid - 1]]})
        write = files.atomic_write

        def write_now(path: Path, text: str) -> None:
            write(path, text)
            self.now += 1
            os.utime(path, (self.now, self.now))
            self.now += 1

        monkeypatch.setattr(files, "atomic_write", write_now)

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def show(self, unit: str) -> UnitState:
        state = self.states[unit]
        if state == "deactivating":
            self.states[unit] = "inactive"
        pid = (A, B).index(unit) + 1 if unit != SOCKET and state in ("active", "deactivating") else 0
        return UnitState(state, enabled=self.enabled[unit], pid=pid, since_monotonic=self.since[unit])

    def text_of(self, name: str) -> str:
        return (self.folder / name).read_text(encoding="utf-8")

    def start(self, unit: str) -> None:
        if unit == SOCKET:
            assert self.states[A] == "inactive", "Socket service already active, refusing."
            self.bound = self.text_of(SOCKET)
        else:
            assert self.states[unit] != "deactivating"
            if self.fails:
                self.states[unit] = "activating"
                raise RemoteFailureError("systemctl start to succeed", "status 1", "fix the cause")
            if self.states[SOCKET] != "active":
                self.start(SOCKET)
            self.texts[unit] = digest_in(self.folder)
            self.held[unit] = self.since[SOCKET]
        self.states[unit], self.since[unit] = "active", self.now

    def systemctl(self, *words: str, timeout: float = 60) -> None:
        if self.commands == self.kill_before:
            raise Killed
        self.commands += 1
        self.now += 1
        if words[0] in ("start", "restart"):
            # systemd carries out one call as one transaction.
            for unit in words[1:]:
                if words[0] == "restart" and self.states[unit] == "active":
                    self.states[unit] = "inactive"
                self.start(unit)
                self.now += 1
        elif words[0] == "stop" and self.states[words[-1]] in ("active", "activating"):
            self.states[words[-1]] = "deactivating"
        elif words[0] in ("enable", "disable"):
            self.enabled[words[-1]] = words[0] == "enable"
        if not self.accepting():
            self.refused.append(" ".join(words))

    def accepting(self) -> list[str]:
        """Return the instances that accept requests of the running socket."""
        return [unit for unit in (A, B) if self.states[unit] == "active" and self.held[unit] == self.since[SOCKET]]


@pytest.fixture
def double(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Systemd:
    return Systemd(tmp_path, monkeypatch)


def run(capsys: pytest.CaptureFixture[str], text: str, socket: str, check: bool = False) -> dict[str, Any]:
    socket_text = f"[Socket]\nListenStream={socket}\nService=herd-gateway@a.service\n"
    return run_gateway(capsys, text, check, socket=socket_text)


def is_applied(double: Systemd, socket: str) -> bool:
    """Whether one instance serves, with the new text and from the new socket."""
    (serving,) = double.accepting()
    wanted = digest_in(double.folder)
    return f"ListenStream={socket}\n" in double.bound and double.texts[serving] == wanted


def test_socket_and_first_instance_start_and_are_enabled(double: Systemd, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "one", "/run/1", check=True)["action"] == "start"
    assert double.commands == 0
    found = run(capsys, "one", "/run/1")
    assert (found["changed"], found["action"]) == (True, "start")
    assert (double.accepting(), double.enabled) == ([A], {A: True, B: False, SOCKET: True})
    for check in (True, False):
        assert not run(capsys, "one", "/run/1", check)["changed"]


@pytest.mark.parametrize("serving", [A, B])
@pytest.mark.parametrize("text", ["one", "another"])
def test_changed_socket_is_started_anew_without_a_refused_request(
    double: Systemd, capsys: pytest.CaptureFixture[str], serving: str, text: str
) -> None:
    run(capsys, "former", "/run/1")
    if serving == B:
        run(capsys, "one", "/run/1")
    else:
        run(capsys, "between", "/run/1")
        run(capsys, "one", "/run/1")
    assert double.accepting() == [serving]
    double.refused.clear()
    assert run(capsys, text, "/run/2", check=True)["reason"] == "its socket has an older unit"
    found = run(capsys, text, "/run/2")
    assert (found["action"], found["reason"]) == ("restart", "its socket has an older unit")
    assert is_applied(double, "/run/2")
    assert double.refused == []
    for check in (True, False):
        assert not run(capsys, text, "/run/2", check)["changed"]


def test_killed_change_of_the_socket_is_completed_by_the_next(
    double: Systemd, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(24):
        run(capsys, f"old {number}", f"/run/old{number}")
        double.refused.clear()
        double.kill_before = double.commands + number
        try:
            run(capsys, f"new {number}", f"/run/new{number}")
        except Killed:
            assert double.accepting()
        double.kill_before = -1
        run(capsys, f"new {number}", f"/run/new{number}")
        assert is_applied(double, f"/run/new{number}")
        assert double.refused == []
        assert not run(capsys, f"new {number}", f"/run/new{number}")["changed"]


def test_stopped_socket_is_started(double: Systemd, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "one", "/run/1")
    double.states[SOCKET] = "inactive"
    assert run(capsys, "one", "/run/1", check=True)["reason"] == "its socket is inactive"
    run(capsys, "one", "/run/1")
    assert is_applied(double, "/run/1")


def test_instance_of_a_former_socket_is_replaced(double: Systemd, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "one", "/run/1")
    run(capsys, "two", "/run/1")
    assert double.accepting() == [B]
    double.show(A)
    # Somebody restarts the socket: the second instance goes on with the former one.
    double.systemctl("restart", SOCKET)
    assert double.accepting() == []
    assert run(capsys, "two", "/run/1")["action"] == "restart"
    assert double.accepting() == [A]


def test_former_socket_stays_if_the_new_text_does_not_start(
    double: Systemd, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "one", "/run/1")
    double.fails = True
    assert run(capsys, "two", "/run/2")["failed"]
    assert (double.accepting(), "/run/1" in double.bound) == ([A], True)
    double.fails = False
    run(capsys, "three", "/run/2")
    assert is_applied(double, "/run/2")
