# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The logs of Slurm jobs in a support bundle, on real files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.operations import uninstall as uninstall_rules
from ansible_collections.herd.inference.plugins.module_utils.ports.operations import bundle
from ansible_collections.herd.inference.plugins.modules import support_bundle

IS_LOG = uninstall_rules.SHARED_ENTRIES["ai/logs"].fullmatch


@pytest.fixture(name="logs")
def _logs(tmp_path: Path) -> Path:
    for number, name in enumerate(("slurm-1.out", "12/head.log", "12/rpc-vasp-02.log", "notes.txt", "theirs/head.log")):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"text of {name}", encoding="utf-8")
        os.utime(path, (1000 + number, 1000 + number))
    (tmp_path / "12/link.log").symlink_to("/etc/shadow")
    return tmp_path


def test_logs_of_jobs_are_collected_newest_first(logs: Path) -> None:
    found = [str(path.relative_to(logs)) for path in bundle.newest_logs(logs, IS_LOG)]
    assert found == ["12/rpc-vasp-02.log", "12/head.log", "slurm-1.out"]
    assert support_bundle.job_logs(str(logs))["jobs/12/head.log"] == "text of 12/head.log"


def test_missing_folder_has_no_logs(tmp_path: Path) -> None:
    assert bundle.newest_logs(tmp_path / "none", IS_LOG) == []
    assert support_bundle.job_logs("") == {}


def test_number_and_size_of_logs_are_limited(logs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "MOST_LOGS", 1)
    monkeypatch.setattr(bundle, "LARGEST_LOG", 5)
    (path,) = bundle.newest_logs(logs, IS_LOG)
    assert bundle.read_end(path) == "2.log"
    assert bundle.read_end(logs / "gone") is None
