# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The job of every model in both ways, compared with recorded ones, and what may not stand in a script."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.errors import InvalidInputError
from ansible_collections.herd.inference.plugins.module_utils.core.vllm.job import script
from ansible_collections.herd.inference.plugins.module_utils.core.vllm.job import spec as job_spec
from tests.vllm import golden_jobs, two_ranks

TEXTS = golden_jobs.texts()


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_job_is_as_recorded(name: str) -> None:
    recorded = (golden_jobs.FOLDER / name).read_text(encoding="utf-8")
    assert TEXTS[name] == recorded, "run python -m tests.vllm.golden_jobs and read the difference"


def test_every_recorded_job_has_a_model() -> None:
    assert sorted(path.name for path in golden_jobs.FOLDER.glob("*")) == sorted(TEXTS)
    assert len(TEXTS) == 18


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_script_is_correct_bash(name: str) -> None:
    text = TEXTS[name].partition("\n# rank 0 of job")[0]
    for checker in (["bash", "-n"], ["shellcheck", "-"]):
        if shutil.which(checker[0]):
            done = subprocess.run(checker, input=text, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def spec(tmp_path: Any) -> job_spec.JobSpec:
    return two_ranks.make_spec(tmp_path, tmp_path / "herdctl")


def test_specification_survives_its_file(spec: job_spec.JobSpec) -> None:
    full = replace(spec, hosts={"n1": job_spec.HostFacts("10.0.0.1", "10.1.0.1", "ib0")}, arguments=("--a", "b c"))
    assert job_spec.read(job_spec.write(full)) == full


def test_fingerprint_follows_every_value(spec: job_spec.JobSpec) -> None:
    assert replace(spec, context=8).fingerprint != spec.fingerprint
    assert replace(spec, environment={"A": "1"}).fingerprint != spec.fingerprint


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("account", "a\n#SBATCH --uid=root"),
        ("partition", "x; touch /tmp/x"),
        ("account", "a b"),
        ("work_dir", "/home/a b"),
        ("work_dir", "/home/$(id)"),
        ("work_dir", "/home/%u"),
        ("work_dir", "relative"),
        ("vllm", "/opt/`id`"),
        ("time_limit", "1 day"),
        ("memory", "lots"),
        ("model", "../x"),
        ("tier", "Upper"),
        ("nodelist", ("n1", "n 2")),
        ("nodelist", ("n1", "n2", "n3")),
        ("environment", {"VLLM_API_KEY": "secret"}),
        ("environment", {"A B": "1"}),
        ("arguments", ("--api-key=secret",)),
        ("arguments", ("--api-key", "secret")),
        ("port", 80),
        ("nodes", 0),
        ("device", "tpu"),
    ],
)
def test_value_without_a_place_in_a_script_is_refused(spec: job_spec.JobSpec, name: str, value: Any) -> None:
    with pytest.raises(InvalidInputError):
        job_spec.check(replace(spec, **{name: value}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("nodes", "2"),
        ("nodes", True),
        ("nodes", 65),
        ("nodes", -1),
        ("port", 70000),
        ("names", "one"),
        ("names", [1]),
        ("names", ["a\nb"]),
        ("environment", {"A": 1}),
        ("hosts", {"n1": {"address": 1}}),
        ("hosts", {"n1": {"unknown": "x"}}),
        ("timing", {"drain": -1}),
        ("is_renewed", 1),
        ("unknown", 1),
    ],
)
def test_file_with_a_wrong_value_is_refused(spec: job_spec.JobSpec, name: str, value: Any) -> None:
    data = {**json.loads(job_spec.write(spec)), name: value}
    with pytest.raises(InvalidInputError):
        job_spec.read(json.dumps(data))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 2}', "[" * 100000, '{"schema": 1}'])
def test_file_that_is_no_specification_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError):
        job_spec.read(text)


@pytest.mark.parametrize(
    ("name", "is_preempted", "is_renewed", "order"),
    [
        ("USR1", True, False, "preempted"),
        ("USR1", None, True, "preempted"),
        ("USR1", False, True, "renewal"),
        ("USR1", False, False, "time limit"),
        ("USR2", None, False, "outdated"),
        ("HUP", None, False, "stop"),
    ],
)
def test_signal_is_an_order(name: str, is_preempted: bool | None, is_renewed: bool, order: str) -> None:
    assert script.order_of(name, is_preempted, is_renewed) == order
