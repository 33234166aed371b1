# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One run at a time uses a lab: the second would remove the hosts of the first."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.lab import cli
from tests.lab.lab import Manager
from tests.lab.naming import Places
from tests.lab.process import LabError


@pytest.fixture
def manager(tmp_path: Path) -> Manager:
    return Manager(Places(tmp_path / "cache", tmp_path / "data", tmp_path / "run"))


def test_second_run_is_refused_with_the_first_ones_process(manager: Manager) -> None:
    with manager.reserved("router"):
        with (
            pytest.raises(LabError, match=rf"Another run uses lab router \(process {os.getpid()}\): wait"),
            manager.reserved("router"),
        ):
            pytest.fail("two runs have the same lab")
        with manager.reserved("cluster"):
            pass
        assert (manager.places.run / ".router.reserved").exists()
    assert list(manager.places.run.iterdir()) == []
    with manager.reserved("router"):
        pass


def test_reservation_ends_with_its_command(manager: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "Manager", lambda _places: manager)
    reserve = ["--name", "router", "reserve", "--", "sh", "-c"]
    assert cli.main([*reserve, f"test -s {manager.places.run}/.router.reserved || exit 9; exit 3"]) == 3
    assert list(manager.places.run.iterdir()) == []
    with manager.reserved("router"):
        assert cli.main([*reserve, "exit 0"]) == 1
    assert cli.main(["--name", "router", "reserve"]) == 1


def test_killed_run_reserves_nothing(manager: Manager) -> None:
    manager.places.run.mkdir()
    (manager.places.run / ".router.reserved").write_text("4711", encoding="ascii")
    with manager.reserved("router"):
        assert (manager.places.run / ".router.reserved").read_text(encoding="ascii") == str(os.getpid())
