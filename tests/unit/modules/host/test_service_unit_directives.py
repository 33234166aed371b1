# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""service_unit writes no directive that the host's systemd does not know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.ports import systemd
from ansible_collections.herd.inference.plugins.module_utils.ports.host import processes
from tests.unit.modules.host.service_unit_run import run, run_gateway

NEWER = "ProtectClock=yes\n"


class Host:
    """A double of a host: its service runs, with the unit that was installed last, once it was started."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.version, self.verified = folder, 239, [""]
        self.environment = {"HERD_UNIT": ""}
        monkeypatch.setattr(systemd, "UNIT_DIRECTORY", folder)
        monkeypatch.setattr(systemd, "version", lambda: self.version)
        monkeypatch.setattr(systemd, "show", self.show)
        monkeypatch.setattr(systemd, "verify", lambda _unit, text: self.verified.append(text))
        monkeypatch.setattr(systemd, "_systemctl", self.systemctl)
        monkeypatch.setattr(processes, "environment_of", lambda _pid: self.environment)

    def show(self, _unit: str) -> systemd.UnitState:
        runs = self.environment["HERD_UNIT"] != ""
        return systemd.UnitState("active" if runs else "inactive", enabled=runs, pid=7 if runs else 0)

    def systemctl(self, *words: str, timeout: float = 60) -> None:
        if words[0] in ("start", "restart"):
            self.environment = {"HERD_UNIT": self.text("a.service").partition("HERD_UNIT=")[2].split("\n", 1)[0]}

    def text(self, name: str) -> str:
        path = self.folder / name
        return path.read_text(encoding="utf-8") if path.exists() else ""


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, monkeypatch)


def install(host: Host, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    return run(
        capsys,
        False,
        name="a.service",
        content=f"[Service]\nEnvironment=HERD_UNIT=@HERD_UNIT@\n{NEWER}",
        files={str(host.folder / "gpu.service"): f"[Service]\n{NEWER}", str(host.folder / "etc" / "a.conf"): NEWER},
    )


def test_units_lose_the_directive_and_other_files_keep_it(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    (host.folder / "etc").mkdir()
    assert install(host, capsys)["action"] == "start"
    assert NEWER not in host.text("a.service")
    assert NEWER not in "".join(host.verified)
    assert host.text("gpu.service") == "[Service]\n"
    assert host.text("etc/a.conf") == NEWER
    assert not install(host, capsys)["changed"]


def test_upgraded_systemd_gets_the_directive_and_the_service_restarts(
    host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    (host.folder / "etc").mkdir()
    install(host, capsys)
    host.version = 252
    found = install(host, capsys)
    assert (found["action"], found["reason"]) == ("restart", "it runs with an older unit")
    assert NEWER in host.text("a.service")
    assert not install(host, capsys)["changed"]


def test_socket_loses_the_directive_too(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    run_gateway(capsys, "/bin/true", True, socket=f"[Socket]\n{NEWER}ListenStream=/run/x\n")
    found = run_gateway(capsys, "/bin/true", True, socket=f"[Socket]\n{NEWER}ListenStream=/run/x\n")
    (diff,) = [diff for diff in found["diff"] if "herd-gateway.socket" in diff.get("after_header", "")]
    assert diff["after"] == "[Socket]\nListenStream=/run/x\n"
