# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of metrics follows Prometheus' rules for names."""

from __future__ import annotations

import re

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.host import disk_space
from ansible_collections.herd.inference.plugins.module_utils.core.supervision import metric_names
from ansible_collections.herd.inference.plugins.module_utils.core.supervision.metric_names import Metric

SUFFIXES = {
    "seconds": "_seconds",
    "bytes": "_bytes",
    "bytes per second": "_bytes_per_second",
    "ratio": "_ratio",
    "watts": "_watts",
    "celsius": "_celsius",
    "hertz": "_hertz",
    "": "",
}
EVERY = [metric for metrics in metric_names.SECTIONS.values() for metric in metrics]


def test_each_name_stands_once_in_the_table() -> None:
    assert len(metric_names.METRICS) == len(EVERY)


@pytest.mark.parametrize("metric", EVERY, ids=lambda metric: metric.name)
def test_name_has_prefix_unit_and_the_suffix_of_its_type(metric: Metric) -> None:
    assert re.fullmatch(r"herd_[a-z0-9_]+", metric.name)
    base = metric.name[: -len("_total")] if metric.kind == metric_names.COUNTER else metric.name
    assert metric.name.endswith("_total") == (metric.kind == metric_names.COUNTER)
    assert base.endswith(SUFFIXES[metric.unit])
    assert all(re.fullmatch(r"[a-z][a-z_]*", label) for label in metric.labels)
    assert metric.help.endswith(".")
    assert metric.program in (metric_names.AGENT, metric_names.GATEWAY)


def test_states_of_a_disk_are_those_of_the_limits() -> None:
    assert set(metric_names.DISK_STATES) == {disk_space.OK, disk_space.LOW, disk_space.FULL, disk_space.SILENT}
