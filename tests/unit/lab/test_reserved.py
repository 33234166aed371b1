# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One run at a time uses a lab: the second would remove the hosts of the first."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.lab import cli
from tests.lab.lab import Manager
from tests.lab.naming import Places
from tests.lab.process import LabError

ROOT = Path(__file__).parents[3]


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


@pytest.mark.parametrize("program", [("demo", "up"), ("demo", "down"), ("bench",)])
def test_program_of_a_reserved_lab_is_refused(program: tuple[str, ...]) -> None:
    """The programs use the labs of this machine, so the name is one that no other run has."""
    name = f"r{os.getpid()}"
    with Manager(Places.of(os.environ)).reserved(name):
        done = subprocess.run(
            [str(ROOT / "tools" / program[0]), *program[1:]],
            env={**os.environ, "HERD_LAB": name},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert f"Another run uses lab {name} (process {os.getpid()}): wait until it has ended" in done.stderr + done.stdout
    assert "Three hosts" not in done.stdout
