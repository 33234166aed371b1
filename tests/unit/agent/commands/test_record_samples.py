# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""herdctl samples records GPUs and fabric at an interval, ends by itself, and works on a node without GPUs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ansible_collections.herd.inference.plugins.module_utils.agent import herdctl
from ansible_collections.herd.inference.plugins.module_utils.agent.commands import record_samples
from ansible_collections.herd.inference.plugins.module_utils.agent.common.sysfs import Sysfs
from ansible_collections.herd.inference.plugins.module_utils.core.benchmark.nodes import node_samples

XML = Path(__file__).parents[3] / "fixtures" / "nvidia_smi" / "v100s-460.xml"


class FakeTime:
    """A time that passes in pauses, and by C(cost) seconds for each sample."""

    def __init__(self, cost: float = 0.0) -> None:
        self.now, self.cost = 0.0, cost

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def wall(self) -> float:
        self.now += self.cost
        return 1.7e9 + self.now

    @property
    def clock(self) -> record_samples.Clock:
        return record_samples.Clock(self.wall, lambda: self.now, self.sleep)


@pytest.fixture(name="smi")
def _smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A nvidia-smi that prints a real description."""
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ncat {XML}\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    return program


def tree(tmp_path: Path) -> Sysfs:
    """A sysfs with an interface that counts."""
    for name, text in (("statistics/rx_bytes", "100"), ("statistics/tx_bytes", "200"), ("type", "1")):
        file = tmp_path / "sys" / "class" / "net" / "eth9" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n", encoding="ascii")
    return Sysfs(tmp_path / "sys")


def lines(recorder: record_samples.Recorder, seconds: float, interval: float, cost: float = 0.0) -> list[str]:
    found: list[str] = []
    count = record_samples.record(recorder, found.append, seconds, interval, FakeTime(cost).clock)
    assert count == len(found) - 1
    return found


def test_node_with_a_gpu_records_it_and_its_fabric(tmp_path: Path, smi: Path) -> None:
    found = lines(record_samples.Recorder("eth9", 2.0, tree(tmp_path)), 4, 2.0)
    recording = node_samples.parse("\n".join(found))
    assert recording.header == node_samples.Header(2.0, fabric="eth9")
    assert [sample.elapsed_s for sample in recording.samples] == [0, 2, 4]
    first = recording.samples[0]
    assert (first.received_bytes, first.sent_bytes, first.time_s) == (100, 200, 1.7e9)
    assert first.gpus[0].values["utilisation_percent"] == 97


def test_node_without_nvidia_smi_records_its_fabric_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    recording = node_samples.parse("\n".join(lines(record_samples.Recorder("eth9", 1.0, tree(tmp_path)), 1, 1.0)))
    assert "expected nvidia-smi on this node, found none" in recording.header.gpu_problem
    assert [(sample.gpus, sample.received_bytes) for sample in recording.samples] == [((), 100), ((), 100)]


@pytest.mark.parametrize(("interface", "words"), [("", "no interface was named"), ("ib7", "ib7 has no counters")])
def test_node_without_counters_records_its_gpus_and_says_so(
    tmp_path: Path, smi: Path, interface: str, words: str
) -> None:
    recorder = record_samples.Recorder(interface, 1.0, tree(tmp_path))
    assert words in recorder.header.fabric_problem
    recording = node_samples.parse("\n".join(lines(recorder, 0, 1.0)))
    assert recording.samples[0].gpus
    assert recording.samples[0].received_bytes is None


def test_gpu_that_does_not_answer_once_is_read_again(tmp_path: Path, smi: Path) -> None:
    flag = tmp_path / "count"
    smi.write_text(
        f"#!/bin/sh\necho x >> {flag}\n[ $(wc -l < {flag}) -ne 3 ] || {{ echo 'GPU is lost'; exit 15; }}\ncat {XML}\n",
        encoding="utf-8",
    )
    recording = node_samples.parse("\n".join(lines(record_samples.Recorder("eth9", 1.0, tree(tmp_path)), 2, 1.0)))
    assert [len(sample.gpus) for sample in recording.samples] == [1, 0, 1]


def test_slow_sample_delays_the_next_to_a_full_interval(tmp_path: Path, smi: Path) -> None:
    recorder = record_samples.Recorder("eth9", 1.0, tree(tmp_path))
    recording = node_samples.parse("\n".join(lines(recorder, 10, 1.0, cost=1.5)))
    assert [sample.elapsed_s for sample in recording.samples] == [0, 2, 4, 6, 8, 10]


def test_recording_ends_at_its_largest_size(tmp_path: Path, smi: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_samples, "MOST_BYTES", 1000)
    found = lines(record_samples.Recorder("eth9", 1.0, tree(tmp_path)), 1000, 1.0)
    assert sum(len(line) + 1 for line in found) <= 1000
    assert 1 < len(found) < 10


def test_command_writes_a_new_file_and_summarises_it(
    tmp_path: Path, smi: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(tmp_path / "samples.jsonl")
    argv = ["samples", "--seconds", "0.3", "--interval", "0.2", "--output", file]
    assert herdctl.main(argv) == 0
    capsys.readouterr()
    assert herdctl.main(["samples", "--summarise", file, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["gpus"][0]["utilisation_percent"]["mean"] == 97
    assert herdctl.main(["samples", "--summarise", file]) == 0
    assert "this node: GPU 0 was used 97 % of the time" in capsys.readouterr().out
    assert herdctl.main(argv) == 2
    assert "expected --output to name a new file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--seconds", "nan"], "expected --seconds from 0 to 86400, found nan"),
        (["--seconds=-1"], "expected --seconds from 0 to 86400"),
        (["--seconds", "1e9"], "expected --seconds from 0 to 86400"),
        (["--interval", "0"], "expected --interval from 0.2 to 60, found 0"),
        (["--seconds", "86400", "--interval", "0.2"], "expected at most 100000 samples, found 432000"),
        (["--output", "/nowhere/samples.jsonl"], "/nowhere/samples.jsonl, found No such file or directory"),
        (["--summarise", "/nowhere/samples.jsonl"], "/nowhere/samples.jsonl, found No such file or directory"),
        (["--summarise", "/dev/zero"], "is not a regular file"),
    ],
)
def test_bad_arguments_get_one_clear_error(
    argv: list[str], words: str, smi: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert herdctl.main(["samples", *argv]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
