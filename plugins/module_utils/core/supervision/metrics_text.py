# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write metrics in the Prometheus text format, version 0.0.4.

Nodes have only Python's standard library. The format: prometheus.io/docs/instrumenting/exposition_formats.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from ..text import plain
from . import metric_names

PATH = "/metrics"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
#: Limits of an answer: series of one metric, characters of a label's value, and bytes. A node has a tenth of that.
MOST_SERIES, LONGEST, LARGEST = 256, 128, 1 << 20


def _escaped(value: str) -> str:
    """Escape a label's value. Control characters, line ends among them, become spaces."""
    return plain(value)[:LONGEST].replace("\\", "\\\\").replace('"', '\\"')


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))


class MetricsText:
    """Collect the values of metrics, and write them.

    Of two values of one series the last one is written. Values beyond a limit are left out.
    """

    def __init__(self) -> None:
        self._values: dict[str, dict[tuple[str, ...], float]] = {}

    def add(self, name: str, value: float | None, *labels: str) -> None:
        """Add the value of a series; None and what is no finite number are unknown, and have no series.

        :param labels: the values of the metric's labels, in the order of the table.
        :raises ValueError: for another number of labels.
        """
        metric = metric_names.METRICS[name]
        if len(labels) != len(metric.labels):
            raise ValueError(f"{name} has the labels {', '.join(metric.labels) or 'none'}, not {len(labels)} values")
        if value is None or not math.isfinite(value):
            return
        series = self._values.setdefault(name, {})
        key = tuple(map(_escaped, labels))
        if key in series or len(series) < MOST_SERIES:
            series[key] = value

    def add_states(self, name: str, states: Iterable[str], present: str, *labels: str) -> None:
        """Add a stateset: a series for each state, which is the last label. An unknown state has no series."""
        known = tuple(states)
        for state in known if present in known else ():
            self.add(name, state == present, *labels, state)

    def _lines(self, metric: metric_names.Metric) -> list[str]:
        lines = [f"# HELP {metric.name} {metric.help}", f"# TYPE {metric.name} {metric.kind}"]
        for key, value in self._values[metric.name].items():
            labels = ",".join(f'{label}="{word}"' for label, word in zip(metric.labels, key))
            lines.append(f"{metric.name}{f'{{{labels}}}' if labels else ''} {_number(value)}")
        return lines

    def text(self) -> bytes:
        """Write all values, in the order of the table."""
        found = bytearray()
        for name, metric in metric_names.METRICS.items():
            if name in self._values:
                part = ("\n".join(self._lines(metric)) + "\n").encode()
                if len(found) + len(part) <= LARGEST:
                    found += part
        return bytes(found)
