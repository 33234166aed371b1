# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page of a benchmark is whole in itself, escapes every value, and shows what the document has."""

from __future__ import annotations

import math
import re
from functools import cache
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.benchmark.document import FORMAT
from ansible_collections.herd.inference.plugins.module_utils.core.benchmark.page import plots, report_page
from ansible_collections.herd.inference.plugins.module_utils.core.errors import HerdError
from tests.unit.core.benchmark.nodes.test_node_samples import recorded, summary

VOID = {"meta", "br", "circle", "line", "path", "rect"}


def spread(middle: float) -> dict[str, float]:
    """Return the summary of made-up samples around a median."""
    factors = {"mean": 1.2, "p50": 1, "p95": 2, "p99": 2.6, "least": 0.6, "most": 3.1}
    return {"count": 40, **{name: middle * factor for name, factor in factors.items()}}


def case(kind: str, clients: int) -> dict[str, Any]:
    """Return a case of made-up figures."""
    slower = (1 + clients / 8) * (1.4 if kind == "sized" else 1)
    metrics = {"ttft_ms": spread(350 * slower), "itl_ms": spread(66 * slower)}
    errors = {"HTTP 503": 1} if clients == 8 else {}
    means = {
        "ttft_ms": 420 * slower,
        "itl_ms": 79 * slower,
        "total_output_tokens_per_second": 14 * clients**0.6 / slower,
    }
    return {
        "label": f"{'sized-512' if kind == 'sized' else kind} c{clients}",
        "kind": kind,
        "prompt_tokens": 512 if kind == "sized" else 0,
        "depth": 0,
        "clients": clients,
        "output_tokens": 128,
        "repetitions": [{"requests": 40, "seconds": 30.0, "errors": errors, "metrics": metrics, "totals": {}}] * 3,
        "means": {name: {"count": 3, "mean": mean, "half_width": mean / 20} for name, mean in means.items()},
    }


@cache
def made_up() -> dict[str, Any]:
    """Return the document of a benchmark of three nodes."""
    rows = (
        ("output_tokens_per_second", "short c1", 12.7, "tokens/s", "acceptable"),
        ("time_to_first_token_s", "short c1", 0.4, "s", "target"),
        ("gpu_utilization_percent", "", 31.0, "%", "critical"),
        ("network_gbps", "", None, "Gbit/s", "unknown"),
    )
    waves = {
        f"vllm-node{node}": summary(
            recorded(
                *(max(0, round(60 / node + 30 * math.sin(second / 9))) for second in range(300)),
                rates=(3e8, 1e8 * node),
            )
        )
        for node in (1, 2, 3)
    }
    return {
        "format": FORMAT,
        "started": "2026-11-30T13:00:00Z",
        "endpoint": {"url": "http://10.0.0.31:8000", "model": "qwen2.5-72b-instruct-q8_0", "kind": "head"},
        "conditions": {"release": "0c1e57098-cuda70", "driver": {"vllm-node1": "535.183.01"}, "flags": ["-c", "4096"]},
        "latency_ms": 21.4,
        "cases": [case(kind, clients) for kind in ("short", "sized") for clients in (1, 2, 4, 8)],
        "verdicts": [dict(zip(("metric", "case", "value", "unit", "level"), row)) for row in rows],
        "nodes": waves,
        "engine_alone": [{"test": "pp512", "tokens_per_second": 812.5, "deviation": 3.2, "repetitions": 3}],
    }


class Checker(HTMLParser):
    """Checks that every element is closed, and collects attributes and text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert tag in VOID or self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_page_shows_plots_and_tables_of_a_whole_benchmark() -> None:
    page = report_page.page(made_up())
    found = Checker(page)
    assert found.open == []
    headings = re.findall(r"<h2>(.*?)</h2>", page)
    assert headings == [
        "Verdict",
        "Throughput by concurrency",
        "Time to first token",
        "Time between tokens",
        "GPUs and fabric",
        "Cases",
        "The engine alone",
        "Conditions",
    ]
    # One of throughput, two of distributions, one for each node.
    assert found.tags.count("svg") == 6
    idle = re.findall(r"<li>(\S+): GPU 0 was used [0-9]+ % of the time, and more than 50 % is expected", page)
    assert idle == ["vllm-node2", "vllm-node3"]
    assert "812 ± 3.20" in page
    assert "535.183.01" in page


def test_page_uses_no_network_and_no_script() -> None:
    page = report_page.page(made_up())
    assert not {"script", "link", "img", "iframe", "object"} & set(Checker(page).tags)
    assert not [name for name, _value in Checker(page).attributes if name in ("src", "href", "style")]
    assert "url(" not in page
    assert "@import" not in page
    assert "prefers-color-scheme: dark" in page


def test_plots_are_well_formed_and_their_coordinates_are_numbers() -> None:
    for svg in re.findall(r"<svg.*?</svg>", report_page.page(made_up()), re.DOTALL):
        root = ElementTree.fromstring(svg)
        box = [float(part) for part in root.attrib["viewBox"].split()]
        for element in root.iter():
            for name, value in element.attrib.items():
                if name in ("x", "x1", "x2", "cx"):
                    assert 0 <= float(value) <= box[2]
                if name in ("y", "y1", "y2", "cy"):
                    assert 0 <= float(value) <= box[3]


@pytest.mark.parametrize("evil", ['"><script>alert(1)</script>', "</style><img src=x>", "a\x00\x1b[31mb", "&lt;"])
def test_every_value_is_escaped(evil: str) -> None:
    def poisoned(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: poisoned(inner) for name, inner in value.items()} | {evil: evil}
        if isinstance(value, list):
            return [poisoned(inner) for inner in value]
        return evil if isinstance(value, str) else value

    plain = set(Checker(report_page.page(made_up())).tags)
    page = report_page.page({**poisoned(made_up()), "format": made_up()["format"]})
    found = Checker(page)
    assert found.open == []
    assert set(found.tags) <= plain
    assert "\x00" not in page
    assert "\x1b" not in page


@pytest.mark.parametrize("odd", [None, 5, "x", [], {}, [None], {"a": None}, True, 1e308, [[[]]]])
def test_odd_values_of_a_document_do_not_break_the_page(odd: Any) -> None:
    whole = made_up()
    for name in ("cases", "verdicts", "nodes", "engine_alone", "conditions", "endpoint", "started", "latency_ms"):
        assert Checker(report_page.page({**whole, name: odd})).open == []
    for name in ("means", "repetitions", "clients", "label", "kind", "depth", "prompt_tokens"):
        cases = [{**case, name: odd} for case in whole["cases"]]
        assert Checker(report_page.page({**whole, "cases": cases})).open == []
    for name in ("gpus", "series", "gpu_problem", "received_bytes_per_second", "fabric_problem"):
        nodes = {host: {**node, name: odd} for host, node in whole["nodes"].items()}
        assert Checker(report_page.page({**whole, "nodes": nodes})).open == []


@pytest.mark.parametrize("given", [None, [], {}, {"format": "other"}, "text"])
def test_other_documents_are_refused(given: Any) -> None:
    with pytest.raises(HerdError, match="expected a result of format"):
        report_page.page(given)


@pytest.mark.parametrize(
    ("most", "marks"),
    [(0, [0, 1]), (1, [0, 0.25, 0.5, 0.75, 1]), (7, [0, 2, 4, 6, 8]), (100, [0, 25, 50, 75, 100]), (math.inf, [0, 1])],
)
def test_ticks_are_round_and_cover_the_values(most: float, marks: list[float]) -> None:
    assert plots.ticks(most) == pytest.approx(marks)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.1234, "0.123"), (1.234, "1.23"), (12.34, "12.3"), (1234.5, "1,234"), (math.inf, "—")],
)
def test_numbers_have_three_significant_digits(value: float, text: str) -> None:
    assert plots.number(value) == text
