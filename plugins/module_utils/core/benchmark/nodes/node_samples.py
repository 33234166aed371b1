# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write and read what C(herdctl samples) records of a node, and summarise it.

A recording has one JSON object a line: a header, then the samples. The last line may be cut.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import fmean
from typing import Any

from ...errors import InvalidInputError
from ...host.hardware.traffic import Traffic
from ...host.nvidia_smi import Gpu
from ...text import plain
from ...values import finite

FORMAT = "herd.inference samples 1"
MOST_SAMPLES, MOST_GPUS, MOST_POINTS = 100_000, 64, 240
MOST_BYTES = 64 << 20
LEAST_INTERVAL_S, MOST_INTERVAL_S, MOST_SECONDS = 0.2, 60.0, 86_400.0
#: A GPU works if it is used for more than this share of the time: document 002, "all 3 GPUs active".
WORKING_PERCENT = 50.0
_LARGEST_COUNT = float(1 << 66)
_REMEDY = "name a file that herdctl samples wrote"
#: Measured values of a GPU, and the largest that is credible.
_GPU_VALUES: Mapping[str, float] = {
    "utilisation_percent": 100,
    "used_mib": 1 << 24,
    "power_w": 1e5,
    "sm_clock_mhz": 1e5,
    "temperature_c": 1e3,
}


@dataclass(frozen=True)
class Header:
    """What a recording begins with.

    :ivar fabric: what counts the bytes; empty without counters.
    :ivar gpu_problem: why there are no values of GPUs; empty if there are. C(fabric_problem) likewise.
    """

    interval_s: float
    fabric: str = ""
    gpu_problem: str = ""
    fabric_problem: str = ""


@dataclass(frozen=True)
class GpuSample:
    """Values of one GPU at one moment; None for a value that the driver does not report."""

    index: int
    name: str
    values: Mapping[str, float | None]
    throttle_reasons: tuple[str, ...] | None


@dataclass(frozen=True)
class Sample:
    """Values of a node at one moment.

    :ivar time_s: UNIX time on the node's clock.
    :ivar elapsed_s: seconds since the start, on a clock that is never set.
    :ivar received_bytes: counter of the fabric; None without one. C(sent_bytes) likewise.
    """

    time_s: float
    elapsed_s: float
    gpus: tuple[GpuSample, ...] = ()
    received_bytes: float | None = None
    sent_bytes: float | None = None


@dataclass(frozen=True)
class Recording:
    """A header and its samples; C(damaged) counts the lines that are neither."""

    header: Header
    samples: tuple[Sample, ...] = field(default=())
    damaged: int = 0


def header_line(header: Header) -> str:
    """Return the first line of a recording, without a line end."""
    return json.dumps({"format": FORMAT, **asdict(header)})


def sample_line(time_s: float, elapsed_s: float, gpus: Iterable[Gpu], traffic: Traffic | None) -> str:
    """Return the line of one sample, without a line end."""
    rows = [
        {
            "index": gpu.index,
            "name": gpu.name,
            **{name: getattr(gpu, name) for name in _GPU_VALUES},
            "throttle_reasons": gpu.throttle_reasons,
        }
        for gpu in gpus
    ]
    counted = {"received_bytes": traffic.received_bytes, "sent_bytes": traffic.sent_bytes} if traffic else {}
    return json.dumps({"time_s": round(time_s, 3), "elapsed_s": round(elapsed_s, 3), "gpus": rows, **counted})


def _gpu(row: Any) -> GpuSample | None:
    index = finite(row.get("index"), 0, 4096) if isinstance(row, Mapping) else None
    if index is None:
        return None
    values = {name: finite(row.get(name), 0, most) for name, most in _GPU_VALUES.items()}
    given = row.get("throttle_reasons")
    reasons = None
    if isinstance(given, list):
        reasons = tuple(plain(str(reason))[:40] for reason in given[:16])
    return GpuSample(int(index), plain(str(row.get("name", "")))[:80], values, reasons)


def _sample(data: Any) -> Sample | None:
    if not isinstance(data, Mapping):
        return None
    time_s, elapsed_s = finite(data.get("time_s")), finite(data.get("elapsed_s"), 0, 10 * MOST_SECONDS)
    rows = data.get("gpus")
    if time_s is None or elapsed_s is None or not isinstance(rows, list):
        return None
    gpus = tuple(gpu for gpu in map(_gpu, rows[:MOST_GPUS]) if gpu is not None)
    received, sent = (finite(data.get(name), 0, _LARGEST_COUNT) for name in ("received_bytes", "sent_bytes"))
    return Sample(time_s, elapsed_s, gpus, received, sent)


def _json(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _header(line: str) -> Header:
    data = _json(line)
    interval = finite(data.get("interval_s"), 0, MOST_INTERVAL_S) if isinstance(data, Mapping) else None
    if interval is None or data.get("format") != FORMAT:
        raise InvalidInputError(f"a recording of format {FORMAT!r}", repr(line[:80]), _REMEDY)
    words = {name: plain(str(data.get(name, ""))) for name in ("fabric", "gpu_problem", "fabric_problem")}
    return Header(interval, **words)


def parse(text: str) -> Recording:
    """Read a recording.

    :raises InvalidInputError: if it is too large, or begins with no header.
    """
    if len(text) > MOST_BYTES + (1 << 20):
        raise InvalidInputError(f"a recording of at most {MOST_BYTES} bytes", f"{len(text)} characters", _REMEDY)
    lines = text.splitlines()
    header = _header(lines[0] if lines else "")
    rows = lines[1 : MOST_SAMPLES + 1]
    samples = tuple(found for found in (_sample(_json(line)) for line in rows) if found is not None)
    return Recording(header, samples, len(lines) - 1 - len(samples))


def within(recording: Recording, since: float | None, until: float | None) -> Recording:
    """Return the part of a recording between two UNIX times; None leaves an end open."""
    kept = tuple(
        sample
        for sample in recording.samples
        if (since is None or sample.time_s >= since) and (until is None or sample.time_s <= until)
    )
    return Recording(recording.header, kept, recording.damaged)


def _spread(values: Sequence[float]) -> dict[str, float] | None:
    if not values:
        return None
    return {"mean": round(fmean(values), 3), "least": round(min(values), 3), "most": round(max(values), 3)}


def _gpu_summary(samples: Sequence[GpuSample]) -> dict[str, Any]:
    found: dict[str, Any] = {"index": samples[0].index, "name": samples[-1].name, "samples": len(samples)}
    for name in _GPU_VALUES:
        found[name] = _spread([value for gpu in samples if (value := gpu.values[name]) is not None])
    used = [value for gpu in samples if (value := gpu.values["utilisation_percent"]) is not None]
    found["working_percent"] = _percent(used, lambda value: value > WORKING_PERCENT)
    known = [gpu.throttle_reasons for gpu in samples if gpu.throttle_reasons is not None]
    names = sorted({reason for reasons in known for reason in reasons})[:16]
    found["throttle_percent"] = {
        name: round(sum(name in reasons for reasons in known) * 100 / len(known), 1) for name in names
    }
    return found


def _percent(values: Sequence[float], is_so: Callable[[float], bool]) -> float | None:
    return round(sum(map(is_so, values)) * 100 / len(values), 1) if values else None


def _rates(samples: Sequence[Sample], name: str) -> list[tuple[float, float]]:
    """Return pairs of elapsed seconds and bytes per second; a counter that was reset gives no rate."""
    found = []
    for before, after in zip(samples, samples[1:]):
        first, last, seconds = getattr(before, name), getattr(after, name), after.elapsed_s - before.elapsed_s
        if first is not None and last is not None and last >= first and seconds > 0:
            found.append((after.elapsed_s, (last - first) / seconds))
    return found


def _mean_rate(samples: Sequence[Sample], name: str) -> dict[str, float] | None:
    found = _spread([rate for _moment, rate in _rates(samples, name)])
    return found and {"mean": found["mean"], "most": found["most"]}


def _points(pairs: Sequence[tuple[float, float]], start: float) -> list[list[float]]:
    """Return at most MOST_POINTS pairs of seconds and values, each the mean of its neighbours."""
    size = -(-len(pairs) // MOST_POINTS) or 1
    groups = [pairs[index : index + size] for index in range(0, len(pairs), size)]
    return [[round(group[-1][0] - start, 2), round(fmean(value for _moment, value in group), 3)] for group in groups]


def _gpu_series(samples: Sequence[Sample], index: int) -> list[tuple[float, float]]:
    return [
        (sample.elapsed_s, value)
        for sample in samples
        for gpu in sample.gpus
        if gpu.index == index and (value := gpu.values["utilisation_percent"]) is not None
    ]


def summarise(recording: Recording) -> dict[str, Any]:
    """Summarise a recording; the result follows SCHEMA."""
    samples, header = recording.samples, recording.header
    start = samples[0].elapsed_s if samples else 0.0
    by_index: dict[int, list[GpuSample]] = {}
    for sample in samples:
        for gpu in sample.gpus:
            by_index.setdefault(gpu.index, []).append(gpu)
    indexes = sorted(by_index)[:MOST_GPUS]
    directions = ("received_bytes", "sent_bytes")
    return {
        "samples": len(samples),
        "seconds": round(samples[-1].elapsed_s - start, 2) if samples else 0.0,
        "started": samples[0].time_s if samples else None,
        "interval_s": header.interval_s,
        "damaged": recording.damaged,
        "gpus": [_gpu_summary(by_index[index]) for index in indexes],
        "gpu_problem": header.gpu_problem,
        "fabric": header.fabric,
        "fabric_problem": header.fabric_problem,
        **{f"{name}_per_second": _mean_rate(samples, name) for name in directions},
        "series": {
            "utilisation_percent": {str(index): _points(_gpu_series(samples, index), start) for index in indexes},
            **{f"{name}_per_second": _points(_rates(samples, name), start) for name in directions},
        },
    }


def _gpus(summary: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the GPUs of a summary, which may come from a file."""
    given = summary.get("gpus")
    return [gpu for gpu in given[:MOST_GPUS] if isinstance(gpu, Mapping)] if isinstance(given, list) else []


def _value(data: Mapping[str, Any], name: str, key: str) -> float | None:
    found = data.get(name)
    return finite(found.get(key)) if isinstance(found, Mapping) else None


def gpu_verdicts(nodes: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Judge the GPUs of all nodes: each must be used for more than WORKING_PERCENT of the time.

    :param nodes: summary by host.
    :returns: C(node), C(gpu), C(percent) and C(works), which is None where nothing is known, and a sentence as C(text).
    """
    rows = []
    for node, summary in nodes.items():
        gpus = _gpus(summary)
        if not gpus and summary.get("gpu_problem"):
            rows.append(_verdict(node, None, None, plain(str(summary["gpu_problem"]))))
        for gpu in gpus:
            used = _value(gpu, "utilisation_percent", "mean")
            rows.append(_verdict(node, gpu.get("index"), used, "the driver does not report its use"))
    return rows


def _verdict(node: str, index: Any, percent: float | None, problem: str) -> dict[str, Any]:
    name = f"{node}: GPU {index}" if index is not None else f"{node}: GPUs"
    if percent is None:
        text = f"{name} unknown ({problem})"
        return {"node": node, "gpu": index, "percent": None, "works": None, "text": text}
    works = percent > WORKING_PERCENT
    text = f"{name} was used {percent:.0f} % of the time"
    if not works:
        text += f", and more than {WORKING_PERCENT:.0f} % is expected of each GPU"
    return {"node": node, "gpu": index, "percent": percent, "works": works, "text": text}


def target_values(nodes: Mapping[str, Mapping[str, Any]]) -> dict[str, float | None]:
    """Return the values that the targets of GPUs and fabric judge: of the least used and of the fullest GPU.

    :returns: C(gpu_utilization_percent), C(gpu_memory_gb) and C(network_gbps), the highest rate of a node in one
        direction. A value is None where no node reports it. Units are decimal.
    """
    gpus = [gpu for summary in nodes.values() for gpu in _gpus(summary)]
    used = [value for gpu in gpus if (value := _value(gpu, "utilisation_percent", "mean")) is not None]
    memory = [value for gpu in gpus if (value := _value(gpu, "used_mib", "most")) is not None]
    directions = ("received_bytes_per_second", "sent_bytes_per_second")
    found = [_value(summary, name, "most") for summary in nodes.values() for name in directions]
    rates = [rate for rate in found if rate is not None]
    return {
        "gpu_utilization_percent": min(used, default=None),
        "gpu_memory_gb": round(max(memory) * (1 << 20) / 1e9, 3) if memory else None,
        "network_gbps": round(max(rates) * 8 / 1e9, 3) if rates else None,
    }


_NUMBER: Mapping[str, Any] = {"type": "number", "minimum": 0}
_POINTS: Mapping[str, Any] = {
    "type": "array",
    "maxItems": MOST_POINTS,
    "items": {"type": "array", "items": _NUMBER, "minItems": 2, "maxItems": 2},
}


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def _or_null(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {"anyOf": [_object(properties), {"type": "null"}]}


_SPREAD = _or_null(dict.fromkeys(("mean", "least", "most"), _NUMBER))
_RATE = _or_null(dict.fromkeys(("mean", "most"), _NUMBER))
_TEXT, _COUNT = {"type": "string"}, {"type": "integer", "minimum": 0}
_PERCENT = {"type": ["number", "null"], "minimum": 0, "maximum": 100}
_GPU = _object(
    {
        "index": _COUNT,
        "name": _TEXT,
        "samples": _COUNT,
        **dict.fromkeys(_GPU_VALUES, _SPREAD),
        "working_percent": _PERCENT,
        "throttle_percent": {"type": "object", "additionalProperties": _NUMBER},
    }
)
#: JSON schema of the summary of one node.
SCHEMA: Mapping[str, Any] = _object(
    {
        "samples": _COUNT,
        "seconds": _NUMBER,
        "started": {"type": ["number", "null"]},
        "interval_s": _NUMBER,
        "damaged": _COUNT,
        "gpus": {"type": "array", "maxItems": MOST_GPUS, "items": _GPU},
        "gpu_problem": _TEXT,
        "fabric": _TEXT,
        "fabric_problem": _TEXT,
        "received_bytes_per_second": _RATE,
        "sent_bytes_per_second": _RATE,
        "series": _object(
            {
                "utilisation_percent": {"type": "object", "additionalProperties": _POINTS},
                "received_bytes_per_second": _POINTS,
                "sent_bytes_per_second": _POINTS,
            }
        ),
    }
)
