# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""herdctl job run selects the data of its submission after a change of the tier. With the right data the command
continues to its next check, which fails here: it must run as the user of the jobs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.agent.conftest import run_herdctl


def data(fingerprint: str, user: str) -> dict[str, Any]:
    facts = {
        "schema": 1,
        "tier": "fast",
        "kind": "router",
        "user": user,
        "prefix": "/opt/llama.cpp",
        "registry": "/none",
        "logs": "/none",
        "key_file": "/none",
        "port": 8080,
        "worker_port": 50052,
        "ports": 8,
        "models": [],
        "split": {},
        "nodes": {},
    }
    return {**facts, "fingerprint": fingerprint}


@pytest.mark.parametrize(
    ("given", "there", "kept", "runs", "says"),
    [
        ("aa", "aa", "", "user-now", ""),
        # Requeued after a change of the tier: the submitted data.
        ("aa", "bb", "aa", "user-kept", ""),
        ("aa", None, "aa", "user-kept", ""),
        ("aa", "nonsense", "aa", "user-kept", ""),
        # The tier changed before the job ran for the first time.
        ("aa", "bb", "", "", "found bb"),
        ("aa", "bb", "cc", "", "found bb"),
        ("aa", None, "", "", "found none"),
    ],
)
def test_job_runs_with_the_data_that_it_was_submitted_with(
    herdctl: Path, tmp_path: Path, given: str, there: str | None, kept: str, runs: str, says: str
) -> None:
    path, keep = tmp_path / "run.slurm.json", tmp_path / "tier.json"
    if there is not None:
        path.write_text("{" if there == "nonsense" else json.dumps(data(there, "user-now")), encoding="utf-8")
    if kept:
        keep.write_text(json.dumps(data(kept, "user-kept")), encoding="utf-8")
    done = run_herdctl(herdctl, "job", "run", "--data", str(path), "--fingerprint", given, "--kept", str(keep))
    assert done.returncode == 2
    if runs:
        assert f"expected to run as {runs}, found" in done.stderr
    else:
        assert f"expected the tier's data {given} with which this job was submitted" in done.stderr
        assert says in done.stderr
    if given == there:
        assert json.loads(keep.read_text(encoding="utf-8"))["fingerprint"] == given
