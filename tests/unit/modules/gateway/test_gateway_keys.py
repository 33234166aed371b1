# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""gateway_keys as Ansible runs it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.herd.inference.plugins.module_utils.ports import files
from ansible_collections.herd.inference.plugins.modules import gateway_keys

ANN = {"id": "ann", "sha256": "a" * 64, "project": "weather"}


@pytest.fixture(autouse=True)
def own_group(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only root may change the owner of a file."""
    monkeypatch.setattr(os, "chown", lambda *_arguments: None)
    monkeypatch.setattr(os, "fchown", lambda *_arguments: None)
    monkeypatch.setattr(files, "required_group_id", lambda _name, **_options: 0)


def run(capsys: pytest.CaptureFixture[str], path: Path, keys: list[dict[str, Any]], check: bool = False) -> Any:
    given = {"path": str(path), "keys": keys, "tiers": ["fast"], "group": "herd-gateway", "_ansible_check_mode": check}
    capsys.readouterr()
    with patch_module_args({**given, "_ansible_diff": True}), pytest.raises(SystemExit):
        gateway_keys.main()
    return json.loads(capsys.readouterr().out)


def test_a_second_run_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "gateway" / "keys.json"
    foreseen = run(capsys, path, [ANN], check=True)
    assert foreseen["changed"]
    assert not path.exists()
    written = run(capsys, path, [ANN])
    assert written["diff"] == foreseen["diff"]
    assert (written["changed"], written["active"]) == (True, 1)
    assert path.stat().st_mode & 0o777 == 0o640
    # Of a hash only its beginning is shown.
    assert "a" * 64 not in json.dumps(written["diff"])
    path.chmod(0o644)
    assert run(capsys, path, [ANN])["changed"]
    again = run(capsys, path, [ANN])
    # chown is not ours here; where the tests are root's, nothing is left to do.
    assert again["changed"] is (path.stat().st_uid != 0)
    revoked = run(capsys, path, [{**ANN, "state": "revoked"}])
    assert (revoked["changed"], revoked["active"]) == (True, 0)


def test_an_invalid_entry_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "keys.json"
    path.write_text("before", encoding="utf-8")
    found = run(capsys, path, [ANN, ANN])
    assert found["failed"]
    assert "each id once" in found["msg"]
    assert path.read_text(encoding="utf-8") == "before"
