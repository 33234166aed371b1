# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The text of metrics is what Prometheus' own client library reads, whatever the values are."""

from __future__ import annotations

import math

import pytest
from prometheus_client import parser

from ansible_collections.herd.inference.plugins.module_utils.core.supervision import metric_names, metrics_text
from ansible_collections.herd.inference.plugins.module_utils.core.supervision.metrics_text import MetricsText

Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def parsed(text: bytes) -> Series:
    return {
        (sample.name, tuple(sample.labels.items())): sample.value
        for family in parser.text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def test_every_metric_of_the_agent_is_read_with_type_and_help() -> None:
    metrics = [metric for metric in metric_names.METRICS.values() if metric.program == metric_names.AGENT]
    text = MetricsText()
    for number, metric in enumerate(metrics):
        text.add(metric.name, number + 0.5, *(f"the {label}" for label in metric.labels))
    families = {family.name: family for family in parser.text_string_to_metric_families(text.text().decode())}
    assert len(families) == len(metrics)
    for number, metric in enumerate(metrics):
        family = families[metric.name.removesuffix("_total") if metric.kind == "counter" else metric.name]
        assert (family.type, family.documentation) == (metric.kind, metric.help)
        (sample,) = family.samples
        assert (sample.name, sample.value) == (metric.name, number + 0.5)
        assert sample.labels == {label: f"the {label}" for label in metric.labels}


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ('a"b', 'a"b'),
        ("a\\", "a\\"),
        ("\\n", "\\n"),
        ('",unit="x"} 7\n# TYPE evil gauge\nevil 1\n', '",unit="x"} 7 # TYPE evil gauge evil 1 '),
        ("Grüße 模型", "Grüße 模型"),
        ("\ud800\x00\x85", "   "),
        ("x" * 5000, "x" * metrics_text.LONGEST),
        ('"' * 5000, '"' * metrics_text.LONGEST),
    ],
)
def test_hostile_label_is_one_label_of_one_series(value: str, read: str) -> None:
    text = MetricsText()
    text.add("herd_disk_free_bytes", 1, value)
    assert parsed(text.text()) == {("herd_disk_free_bytes", (("path", read),)): 1}


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf])
def test_unknown_value_has_no_series(value: float | None) -> None:
    text = MetricsText()
    text.add("herd_node_held", value)
    assert text.text() == b""


@pytest.mark.parametrize("value", [0, True, 2**53, 1e15, 1e300, 0.1, -3, 1.7e9, 123456789.25])
def test_number_keeps_its_value(value: float) -> None:
    text = MetricsText()
    text.add("herd_node_held", value)
    assert list(parsed(text.text()).values()) == [value]


def test_stateset_has_one_state() -> None:
    text = MetricsText()
    text.add_states("herd_disk_state", metric_names.DISK_STATES, "low", "/opt")
    assert {labels[1][1]: value for (_name, labels), value in parsed(text.text()).items()} == {
        "ok": 0,
        "low": 1,
        "full": 0,
        "silent": 0,
    }


def test_unknown_state_has_no_series() -> None:
    text = MetricsText()
    text.add_states("herd_disk_state", metric_names.DISK_STATES, "burning", "/opt")
    assert text.text() == b""


def test_series_of_one_metric_are_bounded() -> None:
    text = MetricsText()
    for number in range(10_000):
        text.add("herd_disk_free_bytes", number, f"/disk{number}")
    assert len(parsed(text.text())) == metrics_text.MOST_SERIES


def test_second_value_of_a_series_replaces_the_first() -> None:
    text = MetricsText()
    text.add("herd_disk_free_bytes", 1, "/opt")
    text.add("herd_disk_free_bytes", 2, "/opt")
    assert parsed(text.text()) == {("herd_disk_free_bytes", (("path", "/opt"),)): 2}


def test_answer_of_the_largest_size_is_bounded() -> None:
    text = MetricsText()
    for metric in metric_names.METRICS.values():
        for number in range(metrics_text.MOST_SERIES if metric.labels else 1):
            text.add(metric.name, number, *(f"{number}{'x' * 200}" for _label in metric.labels))
    written = text.text()
    assert len(written) <= metrics_text.LARGEST
    assert parsed(written)


def test_labels_must_be_those_of_the_table() -> None:
    with pytest.raises(ValueError, match="herd_disk_free_bytes has the labels path, not 0 values"):
        MetricsText().add("herd_disk_free_bytes", 1)
