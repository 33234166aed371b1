# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A user's work space with an environment, a model in its cache, and doubles of Slurm's programs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.agent import herdctl
from ansible_collections.herd.inference.plugins.module_utils.agent.vllm.control import launcher, user_site
from ansible_collections.herd.inference.plugins.module_utils.core.vllm.job_status import JobStatus
from tests.unit.agent.vllm.slurm_double import SlurmDouble

MODEL, ID = "gpt-oss-20b", "openai/gpt-oss-20b"
CONFIG = f"""\
active_model: {MODEL}
slurm:
  account: p_project
  partition: capella
models:
  {MODEL}:
    huggingface_id: {ID}
    port: 8006
    gpus: 1
    nodes: 1
    quantization: mxfp4
  other-model:
    huggingface_id: openai/gpt-oss-120b
    port: 8007
    gpus: 1
    nodes: 1
    quantization: mxfp4
"""


@dataclass
class WorkSpace:
    """A work space, the cluster's doubles, and a way to call the program."""

    path: Path
    slurm: SlurmDouble
    capsys: pytest.CaptureFixture[str]

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """Run C(herdctl vllm …); return the status, the output and the errors."""
        try:
            status = herdctl.main(["vllm", *arguments])
        except SystemExit as ended:
            status = int(ended.code or 0)
        found = self.capsys.readouterr()
        return status, found.out, found.err

    def json(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        """Run a command with C(--json); standard output must be one document."""
        status, out, _err = self.run(*arguments, "--json")
        data = json.loads(out)
        assert isinstance(data, dict)
        return status, data

    def status(self, phase: str, **more: Any) -> JobStatus:
        """Make what the job's status file says."""
        values: dict[str, Any] = {
            "job_id": "4711", "model": MODEL, "phase": phase, "host": "c1", "address": "127.0.0.1", "port": 8006,
            "served_name": MODEL, "key_file": str(self.path / "api-key"), "updated": time.time() + 60, **more,
        }  # fmt: skip
        return JobStatus(**values)

    def log(self, text: str, job_id: str = "4711", model: str = MODEL) -> Path:
        """Write a job's log."""
        path = self.path / "logs" / f"{model.replace('-', '_')}_{job_id}.out"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home of an ordinary user."""
    path = tmp_path / "home" / "user"
    path.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(path))
    for name in ("HF_HOME", "XDG_CACHE_HOME", "VIRTUAL_ENV", "HERD_VLLM_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    return path


@pytest.fixture
def work(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> WorkSpace:
    """A work space in which everything is installed, and a queue without jobs."""
    path = tmp_path / "ws" / "vllm"
    for folder in ("venv/current/bin", "herdctl/bin"):
        (path / folder).mkdir(parents=True)
    for program in ("venv/current/bin/vllm", "herdctl/bin/herdctl"):
        (path / program).write_text("#!/bin/sh\n", encoding="utf-8")
    snapshot = home / ".cache/huggingface/hub/models--openai--gpt-oss-20b/snapshots/abc"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}", encoding="utf-8")
    (snapshot / "pytorch_model.bin").write_bytes(b"")
    (path / "config.yaml").write_text(CONFIG, encoding="utf-8")
    slurm = SlurmDouble(tmp_path / "bin", path)
    monkeypatch.setenv("PATH", f"{slurm.bin}:/usr/bin:/bin")
    monkeypatch.chdir(path)
    monkeypatch.setattr(user_site, "INSTALLATION", path / "herdctl")
    for name in ("LOOK_S", "QUEUE_S"):
        monkeypatch.setattr(launcher, name, 0.0)
    return WorkSpace(path, slurm, capsys)


@pytest.fixture
def change_config(work: WorkSpace) -> Callable[[str, str], None]:
    """Return a function that changes a text of the configuration."""

    def change(before: str, after: str) -> None:
        path = work.path / "config.yaml"
        text = path.read_text(encoding="utf-8")
        assert before in text
        path.write_text(text.replace(before, after), encoding="utf-8")

    return change
