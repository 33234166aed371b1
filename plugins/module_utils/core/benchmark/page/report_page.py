# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the result of a benchmark as one HTML page: plots and tables, without a script and without a network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from ...errors import InvalidInputError
from ...text import plain
from ...values import finite
from ..definitions import REQUEST_METRICS, RUN_METRICS
from ..document import FORMAT
from ..nodes import node_samples
from . import plots, style

MOST_LINES, MOST_ROWS, MOST_NODES, MOST_CONDITIONS = 6, 40, 64, 200
_SHOWN = {
    "total_output_tokens_per_second": "Output, all clients (tokens/s)",
    "output_tokens_per_second": "Output, one client (tokens/s)",
    "prompt_tokens_per_second": "Prompt (tokens/s)",
    "ttft_ms": "First token (ms)",
    "ttfot_ms": "First token of the answer (ms)",
    "itl_ms": "Between tokens (ms)",
    "goodput": "Goodput (requests/s)",
}

_TARGETS = {
    "output_tokens_per_second": "Output of one client",
    "time_to_first_token_s": "Time to first token",
    "gpu_utilization_percent": "Use of the least used GPU",
    "gpu_memory_gb": "Memory of the fullest GPU",
    "network_gbps": "Fabric, fastest direction",
}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any, most: int = MOST_ROWS) -> list[Any]:
    return list(value[:most]) if isinstance(value, (list, tuple)) else []


def _word(value: Any) -> str:
    return plain(str("" if value is None else value))


def _number(value: Any) -> str:
    found = finite(value)
    return "—" if found is None else plots.number(found)


def _heads(names: Sequence[str], words: Sequence[str] = ()) -> str:
    """Return the headings of columns; those of words begin at the left."""
    kinds = {name: ' class="text"' if name in words else "" for name in names}
    return "".join(f'<th scope="col"{kinds[name]}>{escape(name)}</th>' for name in names)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of cells that are not escaped yet. The first column heads its row."""
    top = _heads(heads)
    body = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>' + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:]) + "</tr>"
        for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def _section(title: str, *parts: str) -> str:
    shown = "".join(part for part in parts if part)
    return f"<section><h2>{escape(title)}</h2>{shown}</section>" if shown else ""


def _scroll(plot: str) -> str:
    return f'<div class="scroll">{plot}</div>'


def _note(text: str) -> str:
    return f'<p class="note">{escape(text)}</p>'


def _verdicts(document: Mapping[str, Any]) -> str:
    rows = ""
    for row in map(_mapping, _list(document.get("verdicts"))):
        metric, level = _word(row.get("metric")), _word(row.get("level"))
        value = f"{_number(row.get('value'))} {_word(row.get('unit'))}"
        rows += (
            f'<tr><th scope="row">{escape(_TARGETS.get(metric, metric))}</th><td>{escape(value)}</td>'
            f'<td class="text"><span class="level" data-level="{escape(level)}">{escape(level)}</span></td>'
            f'<td class="text">{escape(_word(row.get("case")))}</td></tr>'
        )
    if not rows:
        return ""
    heads = _heads(("Target", "Measured", "Level", "Case"), words=("Level", "Case"))
    return _section(
        "Verdict", f'<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _mean(case: Mapping[str, Any], name: str) -> tuple[float, float] | None:
    """Return the mean of a metric over the repetitions, and half the width of its interval (0 if unknown)."""
    found = _mapping(_mapping(case.get("means")).get(name))
    mean = finite(found.get("mean"))
    return None if mean is None else (mean, finite(found.get("half_width")) or 0.0)


def _kind(case: Mapping[str, Any]) -> str:
    """Name the curve of a case: its prompt and depth, without the number of clients."""
    kind, tokens, depth = _word(case.get("kind")), case.get("prompt_tokens"), case.get("depth")
    words = f"{kind} of {_number(tokens)} tokens" if tokens else kind
    return f"{words} after {_number(depth)}" if depth else words


def _curves(cases: Sequence[Mapping[str, Any]], name: str) -> list[plots.Series]:
    made: dict[str, list[plots.Point]] = {}
    for case in cases:
        clients, found = finite(case.get("clients"), 1), _mean(case, name)
        if clients is not None and found is not None:
            made.setdefault(_kind(case), []).append(plots.Point(clients, *found))
    return [
        plots.Series(kind, sorted(points, key=lambda point: point.x))
        for kind, points in list(made.items())[:MOST_LINES]
    ]


def _throughput(cases: Sequence[Mapping[str, Any]]) -> str:
    name = "total_output_tokens_per_second"
    curves = _curves(cases, name)
    if not curves:
        return ""
    plot = plots.lines(curves, "Output of all clients by their number", "clients at once", "tokens/s")
    note = _note("Vertical bars are 95 % confidence intervals of the mean over the repetitions.")
    return _section("Throughput by concurrency", _scroll(plot), plots.legend([one.name for one in curves]), note)


def _range(case: Mapping[str, Any], metric: str) -> plots.Range | None:
    """Return the distribution of a metric: of all requests, or else the mean percentiles of the repetitions."""
    pooled = _mapping(_mapping(case.get("metrics")).get(metric))
    runs = [_mapping(_mapping(run).get("metrics")) for run in _list(case.get("repetitions"), 100)]
    runs = [{metric: pooled}] if pooled else runs
    found = [_mapping(run.get(metric)) for run in runs]
    values = {
        name: [value for one in found if (value := finite(one.get(name))) is not None]
        for name in ("least", "p50", "p95", "p99", "most")
    }
    if not all(values.values()):
        return None
    middle = {name: sum(values[name]) / len(values[name]) for name in ("p50", "p95", "p99")}
    return plots.Range(_word(case.get("label")), min(values["least"]), **middle, most=max(values["most"]))


def _distribution(cases: Sequence[Mapping[str, Any]], metric: str, title: str) -> str:
    rows = [row for row in (_range(case, metric) for case in cases) if row is not None]
    if not rows:
        return ""
    note = _note(
        "The bar goes from the median to the 95th percentile, the short mark is the 99th, the thin line has all values."
    )
    return _section(title, _scroll(plots.ranges(rows, title, "milliseconds")), note)


def _cases(cases: Sequence[Mapping[str, Any]]) -> str:
    heads = ["Case", *_SHOWN.values(), "Errors"]
    rows = []
    for case in cases:
        errors = [_mapping(_mapping(run).get("errors")) for run in _list(case.get("repetitions"), 100)]
        failed = sum(int(finite(count) or 0) for one in errors for count in one.values())
        cells = []
        for name in _SHOWN:
            found = _mean(case, name)
            spread = f" ± {plots.number(found[1])}" if found and found[1] else ""
            cells.append(f"{plots.number(found[0])}{spread}" if found else "—")
        rows.append([_word(case.get("label")), *cells, str(failed)])
    if not rows:
        return ""
    meanings = {metric.name: metric.meaning for metric in (*REQUEST_METRICS, *RUN_METRICS)}
    listed = "".join(f"<dt>{escape(title)}</dt><dd>{escape(meanings[name])}</dd>" for name, title in _SHOWN.items())
    return _section(
        "Cases", _table(heads, rows), f"<details><summary>What the columns mean</summary><dl>{listed}</dl></details>"
    )


def _pairs(value: Any) -> list[plots.Point]:
    made = []
    for pair in _list(value, node_samples.MOST_POINTS):
        numbers = [finite(one) for one in _list(pair, 3)]
        if len(numbers) == 2 and None not in numbers:
            made.append(plots.Point(numbers[0] or 0.0, numbers[1] or 0.0))
    return made


def _node_plot(name: str, node: Mapping[str, Any]) -> str:
    used = _mapping(_mapping(node.get("series")).get("utilisation_percent"))
    series = [plots.Series(f"GPU {_word(index)}", _pairs(pairs)) for index, pairs in list(used.items())[:MOST_LINES]]
    series = [one for one in series if one.points]
    if not series:
        return ""
    plot = plots.lines(
        series, f"Use of the GPUs of {name}", "seconds", "% in use", limit=node_samples.WORKING_PERCENT, most=100
    )
    names = plots.legend([one.name for one in series]) if len(series) > 1 else ""
    return f"<figure><figcaption>{escape(name)}</figcaption>{plot}{names}</figure>"


def _rate(node: Mapping[str, Any], name: str) -> str:
    found = _mapping(node.get(f"{name}_per_second"))
    mean, most = finite(found.get("mean")), finite(found.get("most"))
    return "—" if mean is None or most is None else f"{plots.number(mean * 8e-9)} / {plots.number(most * 8e-9)}"


def _spread(gpu: Mapping[str, Any], name: str) -> str:
    found = _mapping(gpu.get(name))
    return f"{_number(found.get('mean'))} / {_number(found.get('most'))}" if found else "—"


def _gpu_rows(nodes: Mapping[str, Mapping[str, Any]]) -> Iterator[list[str]]:
    for name, node in nodes.items():
        rates = [_rate(node, "received_bytes"), _rate(node, "sent_bytes")]
        gpus = [_mapping(gpu) for gpu in _list(node.get("gpus"), node_samples.MOST_GPUS)]
        for gpu in gpus:
            reasons = _mapping(gpu.get("throttle_percent"))
            throttled = ", ".join(
                f"{_word(reason).replace('_', ' ')} {_number(share)} %" for reason, share in list(reasons.items())[:16]
            )
            values = [_spread(gpu, key) for key in ("utilisation_percent", "used_mib", "power_w", "sm_clock_mhz")]
            temperature = _spread(gpu, "temperature_c")
            yield [f"{name}: GPU {_word(gpu.get('index'))}", *values, temperature, throttled or "—", *rates]
        if not gpus:
            yield [name, *["—"] * 6, *rates]


def _nodes(document: Mapping[str, Any]) -> str:
    given = _mapping(document.get("nodes"))
    nodes = {_word(name): _mapping(node) for name, node in list(given.items())[:MOST_NODES]}
    if not nodes:
        return ""
    idle = [row["text"] for row in node_samples.gpu_verdicts(nodes) if not row["works"]]
    problems = idle + [
        f"{name}: fabric unknown ({_word(node.get('fabric_problem'))})"
        for name, node in nodes.items()
        if node.get("fabric_problem")
    ]
    listed = "".join(f"<li>{escape(_word(text))}</li>" for text in problems)
    figures = "".join(_node_plot(name, node) for name, node in nodes.items())
    note = _note("The dashed line is the use that each GPU should exceed on average.") if figures else ""
    heads = [
        "Node", "Use (%)", "Memory (MiB)", "Power (W)", "Clock (MHz)", "Temperature (°C)", "Throttled",
        "Received (Gbit/s)", "Sent (Gbit/s)",
    ]  # fmt: skip
    return _section(
        "GPUs and fabric",
        f'<ul class="problems">{listed}</ul>' if listed else "",
        f'<div class="figures">{figures}</div>' if figures else "",
        note,
        _table(heads, list(_gpu_rows(nodes))),
        _note("Two values are the mean and the largest."),
    )


def _engine(document: Mapping[str, Any]) -> str:
    rows = [
        [
            _word(row.get("test")),
            f"{_number(row.get('tokens_per_second'))} ± {_number(row.get('deviation'))}",
            _number(row.get("repetitions")),
        ]
        for row in map(_mapping, _list(document.get("engine_alone")))
    ]
    if not rows:
        return ""
    note = _note("llama-bench without the server: pp reads a prompt, tg generates, d is the depth of the context.")
    return _section("The engine alone", _table(["Test", "Tokens/s", "Repetitions"], rows), note)


def _flat(value: Any, path: str = "") -> Iterator[list[str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{path}.{_word(key)}" if path else _word(key))
    else:
        shown = " ".join(map(_word, value)) if isinstance(value, (list, tuple)) else _word(value)
        yield [path, plain(shown)]


def _conditions(document: Mapping[str, Any]) -> str:
    rows = list(_flat(_mapping(document.get("conditions"))))[:MOST_CONDITIONS]
    return _section("Conditions", f'<div class="words">{_table(["Condition", "Value"], rows)}</div>') if rows else ""


def page(document: Any) -> str:
    """Return the page of a result.

    :raises InvalidInputError: if the document is of another format.
    """
    if not isinstance(document, Mapping) or document.get("format") != FORMAT:
        found = document.get("format") if isinstance(document, Mapping) else type(document).__name__
        raise InvalidInputError(
            f"a result of format {FORMAT!r}", repr(found)[:80], "name a file that playbooks/benchmark.yml wrote"
        )
    cases = [_mapping(case) for case in _list(document.get("cases"))]
    endpoint = _mapping(document.get("endpoint"))
    model, url = _word(endpoint.get("model")), _word(endpoint.get("url"))
    body = "".join(
        (
            _verdicts(document),
            _throughput(cases),
            _distribution(cases, "ttft_ms", "Time to first token"),
            _distribution(cases, "itl_ms", "Time between tokens"),
            _nodes(document),
            _cases(cases),
            _engine(document),
            _conditions(document),
        )
    )
    title = f"Benchmark of {model}"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style.CSS}</style></head><body>"
        f"<header><h1>{escape(title)}</h1><p>{escape(url)} · {escape(_word(document.get('started')))} · "
        f"latency of an empty request {escape(_number(document.get('latency_ms')))} ms</p></header>"
        f"<main>{body or _note('The result has no cases.')}</main></body></html>\n"
    )
