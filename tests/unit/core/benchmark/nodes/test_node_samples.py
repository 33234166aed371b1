# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Recordings of nodes are read with care and summarised by GPU and by direction of the fabric."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.benchmark.nodes import node_samples
from ansible_collections.herd.inference.plugins.module_utils.core.errors import HerdError
from ansible_collections.herd.inference.plugins.module_utils.core.host import nvidia_smi
from ansible_collections.herd.inference.plugins.module_utils.core.host.hardware.traffic import Traffic

XML = (Path(__file__).parents[4] / "fixtures" / "nvidia_smi" / "v100s-460.xml").read_text(encoding="utf-8")
(V100S,) = nvidia_smi.parse(XML).gpus
GB = 10**9


def recorded(*used: int | None, rates: tuple[float, float] = (0, 0), header: node_samples.Header | None = None) -> str:
    """Return a recording of a node with one GPU: a sample each second, with its use in percent."""
    lines = [node_samples.header_line(header or node_samples.Header(1.0, "mlx5_0/1"))]
    for second, percent in enumerate(used):
        gpu = replace(
            V100S,
            utilisation_percent=percent,
            sm_clock_mhz=1300 + second,
            throttle_reasons=("sw_power_cap",) if second % 2 else (),
        )
        counted = Traffic(("mlx5_0/1",), round(5e15 + rates[0] * second), round(rates[1] * second))
        lines.append(node_samples.sample_line(1.7e9 + second, second, [gpu], counted))
    return "\n".join(lines) + "\n"


def summary(text: str) -> dict[str, Any]:
    found = node_samples.summarise(node_samples.parse(text))
    jsonschema.validate(found, dict(node_samples.SCHEMA), jsonschema.Draft202012Validator)
    return found


def test_summary_has_the_use_of_a_gpu_and_the_rates_of_the_fabric() -> None:
    found = summary(recorded(0, 40, 60, 100, rates=(3 * GB, 5 * GB)))
    (gpu,) = found["gpus"]
    assert (gpu["index"], gpu["name"]) == (0, "Tesla V100S-PCIE-32GB")
    assert gpu["utilisation_percent"] == {"mean": 50.0, "least": 0, "most": 100}
    assert gpu["working_percent"] == 50.0
    assert gpu["used_mib"] == {"mean": 31689, "least": 31689, "most": 31689}
    assert gpu["power_w"]["mean"] == 232.8
    assert gpu["temperature_c"]["most"] == 66
    assert gpu["sm_clock_mhz"] == {"mean": 1301.5, "least": 1300, "most": 1303}
    assert gpu["throttle_percent"] == {"sw_power_cap": 50.0}
    assert found["received_bytes_per_second"] == {"mean": 3 * GB, "most": 3 * GB}
    assert found["sent_bytes_per_second"] == {"mean": 5 * GB, "most": 5 * GB}
    assert (found["samples"], found["seconds"], found["damaged"]) == (4, 3, 0)
    assert found["series"]["utilisation_percent"]["0"] == [[0, 0], [1, 40], [2, 60], [3, 100]]


def test_targets_judge_the_least_used_and_the_fullest_gpu_and_the_fastest_direction() -> None:
    nodes = {
        "vllm-node1": summary(recorded(90, 90, rates=(1 * GB, 5 * GB))),
        "vllm-node2": summary(recorded(30, 50, rates=(2 * GB, 0))),
    }
    assert node_samples.target_values(nodes) == {
        "gpu_utilization_percent": 40,
        "gpu_memory_gb": 33.228,
        "network_gbps": 40,
    }
    assert set(node_samples.target_values({}).values()) == {None}


def test_verdict_names_the_node_whose_gpu_hardly_works() -> None:
    nodes = {
        "vllm-node1": summary(recorded(51, 51)),
        "vllm-node2": summary(recorded(50, 50)),
        "vllm-node3": summary(recorded(None, None)),
        "head": summary(recorded(header=node_samples.Header(1.0, gpu_problem="expected nvidia-smi, found none"))),
    }
    rows = {row["node"]: row for row in node_samples.gpu_verdicts(nodes)}
    assert {node: row["works"] for node, row in rows.items()} == {
        "vllm-node1": True,
        "vllm-node2": False,
        "vllm-node3": None,
        "head": None,
    }
    assert rows["vllm-node2"]["text"] == (
        "vllm-node2: GPU 0 was used 50 % of the time, and more than 50 % is expected of each GPU"
    )
    assert "found none" in rows["head"]["text"]


def test_counter_that_was_reset_gives_no_rate() -> None:
    lines = recorded(1, 1, 1, rates=(1000, 1000)).splitlines()
    last = {**json.loads(lines[3]), "received_bytes": 5, "sent_bytes": None}
    found = summary("\n".join([*lines[:3], json.dumps(last)]))
    assert found["received_bytes_per_second"] == {"mean": 1000, "most": 1000}
    assert found["sent_bytes_per_second"] == {"mean": 1000, "most": 1000}


def test_recording_that_was_cut_keeps_its_whole_lines() -> None:
    text = recorded(10, 20, 30)
    found = summary(text[: text.rindex('"gpus"')])
    assert (found["samples"], found["damaged"]) == (2, 1)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "null",
        "[]",
        "5",
        "NaN",
        '{"time_s": 1}',
        '{"time_s": 1e400, "elapsed_s": 1, "gpus": []}',
        '{"time_s": 1, "elapsed_s": -1, "gpus": []}',
        '{"time_s": 1, "elapsed_s": 1, "gpus": {}}',
        '{"time_s": true, "elapsed_s": 1, "gpus": []}',
        "[" * 100_000,
        "9" * 5000,
    ],
)
def test_line_that_is_no_sample_is_counted_and_skipped(line: str) -> None:
    assert summary(recorded(10) + line + "\n")["samples"] == 1
    assert summary(recorded(10) + line + "\n")["damaged"] == 1


@pytest.mark.parametrize(
    "gpu",
    [None, {}, {"index": -1}, {"index": "0"}, {"index": 0.0, "power_w": 1e9, "utilisation_percent": 101}],
)
def test_values_out_of_range_are_unknown(gpu: Any) -> None:
    line = json.dumps({"time_s": 1, "elapsed_s": 1, "gpus": [gpu], "received_bytes": -1, "sent_bytes": "x"})
    found = summary(node_samples.header_line(node_samples.Header(1.0)) + f"\n{line}\n")
    assert [row["power_w"] for row in found["gpus"]] in ([], [None])
    assert [row["utilisation_percent"] for row in found["gpus"]] in ([], [None])


@pytest.mark.parametrize("text", ["", "\n", "{}", "[]", "null", '{"format": "other", "interval_s": 1}'])
def test_file_that_is_no_recording_is_refused(text: str) -> None:
    with pytest.raises(HerdError, match="expected a recording of format"):
        node_samples.parse(text)


def test_window_cuts_the_samples_before_and_after_the_measurement() -> None:
    recording = node_samples.parse(recorded(0, 80, 90, 0))
    cut = node_samples.summarise(node_samples.within(recording, 1.7e9 + 1, 1.7e9 + 2))
    assert cut["gpus"][0]["utilisation_percent"]["mean"] == 85
    assert node_samples.within(recording, None, None) == recording


def test_long_recording_has_few_points() -> None:
    found = summary(recorded(*([10, 30] * 1000)))
    points = found["series"]["utilisation_percent"]["0"]
    assert len(points) <= node_samples.MOST_POINTS
    assert points[-1][0] == 1999
    assert {value for _second, value in points} <= {10, 17.778, 18.889, 20, 21.111, 22.222, 30}


def test_empty_recording_has_a_summary() -> None:
    found = summary(recorded())
    assert (found["samples"], found["gpus"], found["started"]) == (0, [], None)
