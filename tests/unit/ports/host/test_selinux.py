# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files get their labels where SELinux is on, and nothing is called where it is off.

No SELinux kernel is at hand here: restorecon is a double that writes down what it was asked.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.errors import HerdError
from ansible_collections.herd.inference.plugins.module_utils.ports import agent_install
from ansible_collections.herd.inference.plugins.module_utils.ports.host import selinux


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The double's notes; SELinux is off until a test makes the kernel's file."""
    notes = tmp_path / "asked"
    double = tmp_path / "restorecon"
    refuse = f"[ ! -e {tmp_path}/refuse ] || {{ echo no policy >&2; exit 1; }}"
    double.write_text(f'#!/bin/sh\necho "$@" >>{notes}\n{refuse}\n')
    double.chmod(0o755)
    monkeypatch.setattr(selinux, "RESTORECON", str(double))
    monkeypatch.setattr(selinux, "STATE", tmp_path / "enforce")
    return notes


def test_nothing_is_labelled_without_selinux(tmp_path: Path, asked: Path) -> None:
    selinux.relabel(tmp_path)
    assert not asked.exists()


@pytest.mark.parametrize("state", ["0", "1"])
def test_a_tree_is_labelled_with_selinux(tmp_path: Path, asked: Path, state: str) -> None:
    (tmp_path / "enforce").write_text(state)
    selinux.relabel(tmp_path / "release")
    assert asked.read_text() == f"-R {tmp_path}/release\n"


def test_a_failed_labelling_is_an_error(tmp_path: Path, asked: Path) -> None:
    (tmp_path / "enforce").write_text("1")
    (tmp_path / "refuse").touch()
    with pytest.raises(HerdError, match="no policy"):
        selinux.relabel(tmp_path / "release")


def test_the_agent_is_labelled_before_its_link_changes(tmp_path: Path, asked: Path) -> None:
    files = {"bin/herdctl": "#!/usr/bin/python3\n"}
    (tmp_path / "enforce").write_text("1")
    (tmp_path / "refuse").touch()
    with pytest.raises(HerdError, match="no policy"):
        agent_install.install(tmp_path / "herd", files, ("bin/herdctl",))
    assert not (tmp_path / "herd" / "current").exists()
    (tmp_path / "refuse").unlink()
    version = agent_install.install(tmp_path / "herd", files, ("bin/herdctl",))
    assert asked.read_text().splitlines()[-1].startswith(f"-R {tmp_path}/herd/versions/.new.")
    assert (tmp_path / "herd" / "current").resolve().name == version
