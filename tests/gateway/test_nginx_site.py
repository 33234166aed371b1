# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""nginx_site as Ansible runs it, with the real nginx; systemd, which this machine need not have, is a double."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.herd.inference.plugins.module_utils.ports import systemd
from ansible_collections.herd.inference.plugins.module_utils.ports.gateway import nginx
from ansible_collections.herd.inference.plugins.modules import nginx_site
from tests.gateway.harness import nginx_program

GOOD = "server {{ listen 127.0.0.1:{}; location / {{ return 200; }} }}\n"


class Systemd:
    """A double of systemd that only remembers what it was told, and runs nothing."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.active, self.enabled = "inactive", False

    def show(self, _unit: str) -> systemd.UnitState:
        return systemd.UnitState(
            active_state=self.active, enabled=self.enabled, pid=1 if self.active == "active" else 0
        )

    def start(self, _unit: str) -> None:
        self.told.append("start")
        self.active = "active"

    def enable(self, _unit: str) -> None:
        self.told.append("enable")
        self.enabled = True

    def reload_unit(self, _unit: str) -> None:
        self.told.append("reload")


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Systemd:
    made = Systemd()
    for name in ("show", "start", "enable", "reload_unit"):
        monkeypatch.setattr(systemd, name, getattr(made, name))
    # Its processes have always just begun.
    monkeypatch.setattr(nginx, "read_at", lambda _pid: 9e12)
    monkeypatch.setenv("PATH", str(Path(nginx_program()).parent), prepend=":")
    root = tmp_path / "etc"
    (root / "conf.d").mkdir(parents=True)
    paths = "".join(f"{name}_temp_path {tmp_path}/{name};" for name in ("proxy", "fastcgi", "uwsgi", "scgi"))
    text = (
        f"error_log {tmp_path}/error.log; pid {tmp_path}/pid; events {{}} http {{ client_body_temp_path {tmp_path}/b;"
    )
    (root / "nginx.conf").write_text(f"{text} access_log off; {paths} include {root}/conf.d/*.conf; }}\n")
    return made


def run(capsys: pytest.CaptureFixture[str], root: Path, text: str, check: bool = False) -> Any:
    given = {"root": str(root), "files": {"conf.d/a.conf": text}, "_ansible_check_mode": check}
    capsys.readouterr()
    with patch_module_args({**given, "_ansible_diff": True}), pytest.raises(SystemExit):
        nginx_site.main()
    return json.loads(capsys.readouterr().out)


def test_files_are_installed_once(double: Systemd, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "etc"
    foreseen = run(capsys, root, GOOD.format(1801), check=True)
    assert (foreseen["changed"], foreseen["action"], double.told) == (True, "start", [])
    assert not (root / "conf.d" / "a.conf").exists()
    first = run(capsys, root, GOOD.format(1801))
    assert first["diff"] == foreseen["diff"]
    assert double.told == ["enable", "start"]
    second = run(capsys, root, GOOD.format(1801))
    assert (second["changed"], second["action"]) == (False, "none")
    third = run(capsys, root, GOOD.format(1802))
    assert (third["action"], double.told[-1]) == ("reload", "reload")


def test_a_configuration_that_nginx_rejects_changes_nothing(
    double: Systemd, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "etc"
    run(capsys, root, GOOD.format(1801))
    told = list(double.told)
    for check in (True, False):
        found = run(capsys, root, "server { no_such_thing; }", check=check)
        assert found["failed"]
        assert 'unknown directive "no_such_thing"' in found["msg"]
        # It names the file where it would be, not the copy.
        assert f"{root}/conf.d/a.conf" in found["msg"]
    assert (root / "conf.d" / "a.conf").read_text(encoding="utf-8") == GOOD.format(1801)
    assert double.told == told


def test_a_reload_missed_by_an_interrupted_run_is_made(
    double: Systemd, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "etc"
    run(capsys, root, GOOD.format(1801))
    monkeypatch.setattr(nginx, "read_at", lambda _pid: 1.0)
    assert run(capsys, root, GOOD.format(1801))["action"] == "reload"
