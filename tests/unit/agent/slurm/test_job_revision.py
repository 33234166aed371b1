# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""herdctl job run: a whole job on this host, whose tier changes, or whose node has more models than the inventory."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.engine.models import models
from tests.unit.agent.slurm.whole_job import Job, jobs

LLAMA = next(model for model in models() if model.name == "llama")


@pytest.fixture(name="make")
def _make(herdctl: Path, tmp_path: Path) -> Iterator[Callable[..., Job]]:
    with jobs(herdctl, tmp_path) as make:
        yield make


@pytest.mark.skipif(os.getuid() != 0, reason="a client of another user takes root")
def test_outdated_job_requeues_itself_in_an_idle_window(make: Callable[..., Job]) -> None:
    job = make().start().ready()
    client = job.ask(3)
    job.send(signal.SIGUSR2)
    job.says("waiting for an idle window to requeue this job")
    assert job.ended() == 0
    assert client.communicate(timeout=30)[0].strip() == b'"answered"'
    assert "draining: the tier has changed, and no request runs" in job.text()
    assert "requeued" in job.text()


def test_router_offers_the_models_on_its_node(make: Callable[..., Job], tmp_path: Path) -> None:
    """The folder has a complete model, a truncated one, and excluded ones."""
    folder = tmp_path / "models"
    folder.mkdir()
    whole = LLAMA.write(folder / "found.gguf")
    (folder / "cut.gguf").write_bytes(whole.read_bytes()[:-4096])
    for name in ("not-this-one.gguf", "mmproj-x.gguf"):
        (folder / name).hardlink_to(whole)
    facts = {"address": "127.0.0.1", "fabric": "127.0.0.1", "memory_gib": 8}
    more = {"scan": True, "folder": str(folder), "exclude": ["not-this-one"], "rules": "0c1e57098"}
    job = make(more={**more, "nodes": {"n0": facts}}).start().ready()
    assert "warning: cut is not offered: expected a complete model at" in job.text()
    assert "offers one, two, found" in job.text()
    presets = (job.folder / "logs" / "77" / "models.ini").read_text(encoding="utf-8")
    assert re.findall(r"^\[(.*)\]$", presets, re.MULTILINE) == ["one", "two", "found"]
    assert f"model = {whole}" in presets


def test_model_is_registered_with_its_aliases(make: Callable[..., Job], tmp_path: Path) -> None:
    model = {"id": "one", "path": str(tmp_path / "one.gguf"), "layers": 8, "size": 100}
    job = make(more={"models": [{**model, "aliases": ["uno", "task:fix"]}]}).start().ready()
    assert '"models":["one","two","uno","task:fix"]' in (job.folder / "registry" / "fast-77.json").read_text("utf-8")
