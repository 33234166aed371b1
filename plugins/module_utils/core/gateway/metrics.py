# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the gateway measured: from the lines of nginx's access log to histograms that Prometheus reads.

The engine has no histograms. nginx logs when an answer's head came and when its last byte went. The gateway, which
proxies streams, measures when the first token came.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..engine.throughput import RATES, EngineLoad
from .response_stream import Tokens

TTFT_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 180.0, 600.0)
DURATION_S = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)


@dataclass(frozen=True)
class Line:
    """A line of the access log, of a request that has ended.

    :ivar tier: the tier that answered; empty where none was asked.
    :ivar ttft: seconds until the first token of a stream; None for what was no stream, or gave none.
    :ivar complete: whether the client got all that there was.
    """

    tier: str
    status: int
    duration: float
    sent: int
    ttft: float | None
    complete: bool


def read_line(raw: bytes) -> dict[str, Any] | None:
    """Read a line as nginx sends it to syslog; None for what is none of ours."""
    try:
        data = json.loads(raw[max(0, raw.find(b"{")) :])
    except ValueError:
        return None
    return data if isinstance(data, dict) else None


def _number(text: str, kind: Callable[[str], float]) -> float | None:
    try:
        return kind(text)
    except ValueError:
        return None


def is_whole(data: Mapping[str, Any]) -> bool:
    """Whether a client got all that there was.

    nginx also calls a request complete whose engine has ended its answer too early. Where the answer's head had said
    how long it would be, that shows.
    """
    if data.get("complete") != "OK" or data.get("method") == "HEAD":
        return data.get("complete") == "OK"
    length, sent = (_number(str(data.get(name) or ""), int) for name in ("length", "sent"))
    return length is None or sent is None or sent >= length


def entry(data: Mapping[str, Any], tokens: Tokens) -> dict[str, Any]:
    """Write a line for the access log: with numbers as numbers, what is empty left out, and tokens where known."""
    line: dict[str, Any] = {}
    for name, value in data.items():
        text = str(value)
        if name in ("status", "sent", "received"):
            line[name] = _number(text, int)
        elif name == "duration":
            line[name] = _number(text, float)
        elif name == "ttft":
            # One value for each server that was asked, of which the engine is the last.
            is_stream = data.get("stream") == "1" and data.get("status") == "200"
            line[name] = _number(text.rsplit(" ", maxsplit=1)[-1], float) if is_stream else None
        elif name == "stream":
            line[name] = text == "1"
        elif name == "complete":
            line[name] = is_whole(data)
        elif name == "length":
            continue
        elif name == "engine":
            # Whoever was asked after the engine only said why it gave no answer.
            engines = [where for where in text.split(" ") if where not in ("", ":", ",") and "unix:" not in where]
            line[name] = engines[-1] if engines and data.get("tier") else ""
        else:
            line[name] = text
    line["prompt_tokens"], line["completion_tokens"] = tokens.prompt, tokens.completion
    return {name: value for name, value in line.items() if value not in ("", None)}


def parse_line(data: Mapping[str, Any] | None) -> Line | None:
    """Say what is counted of a line."""
    if data is None:
        return None
    try:
        # One value for each server asked, of which the engine is the last.
        first = str(data.get("ttft", "")).rsplit(" ", maxsplit=1)[-1]
        tier = str(data["tier"])
        # The first byte of an error is no first token.
        is_measured = tier and data.get("stream") == "1" and data["status"] == "200" and first not in ("", "-")
        return Line(
            tier=tier,
            status=int(data["status"]),
            duration=float(data["duration"]),
            sent=int(data["sent"]),
            ttft=float(first) if is_measured else None,
            complete=is_whole(data),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


class Histogram:
    """Counts by upper bound."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        """Count a value."""
        place = next((index for index, bound in enumerate(self.bounds) if value <= bound), len(self.bounds))
        self.counts[place] += 1
        self.total += value

    @property
    def count(self) -> int:
        """All values."""
        return sum(self.counts)

    def quantile(self, share: float) -> float | None:
        """Estimate below what value this share of all lies: on the line between two bounds."""
        wanted, seen = share * self.count, 0
        if not self.count:
            return None
        lower = 0.0
        for bound, count in zip(self.bounds, self.counts):
            if count and seen + count >= wanted:
                return round(lower + (bound - lower) * (wanted - seen) / count, 4)
            seen, lower = seen + count, bound
        return self.bounds[-1]

    def lines(self, name: str, labels: str) -> Iterable[str]:
        """Write it as Prometheus reads it."""
        seen = 0
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self.counts):
            seen += count
            yield f'{name}_bucket{{{labels},le="{bound}"}} {seen}'
        yield f"{name}_sum{{{labels}}} {round(self.total, 6)}"
        yield f"{name}_count{{{labels}}} {self.count}"


@dataclass
class _Tier:
    ttft: Histogram = field(default_factory=lambda: Histogram(TTFT_S))
    duration: Histogram = field(default_factory=lambda: Histogram(DURATION_S))
    statuses: dict[int, int] = field(default_factory=dict)
    cut: int = 0
    sent: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    running: int = 0
    #: As an engine counts, of which the speed is made.
    counters: dict[str, float] = field(default_factory=dict)
    load: EngineLoad = field(default_factory=EngineLoad)


class Metrics:
    """Everything that is counted, by tier. Names of users are not part of it."""

    def __init__(self, tiers: Iterable[str]) -> None:
        self._tiers = {name: _Tier() for name in tiers}
        self._refused: dict[str, int] = {}
        self.relayed = 0
        self.unread = 0

    def add(self, line: Line | None) -> None:
        """Count a request that has ended."""
        if line is None:
            self.unread += 1
            return
        tier = self._tiers.get(line.tier)
        if tier is None:
            return
        tier.statuses[line.status] = tier.statuses.get(line.status, 0) + 1
        tier.duration.add(line.duration)
        tier.sent += line.sent
        tier.cut += not line.complete
        if line.ttft is not None:
            tier.ttft.add(line.ttft)

    def begin(self, tier: str) -> None:
        """Count an answer that is on its way."""
        found = self._tiers.get(tier)
        if found:
            found.running += 1

    def end(self, tier: str) -> None:
        """Count one less."""
        found = self._tiers.get(tier)
        if found:
            found.running -= 1

    def count_tokens(self, tier: str, tokens: Tokens) -> None:
        """Count the tokens of an answer."""
        found = self._tiers.get(tier)
        if not found:
            return
        found.prompt_tokens += tokens.prompt or 0
        found.completion_tokens += tokens.completion or 0
        for number, seconds, (count, time) in (
            (tokens.completion, tokens.written_s, RATES["tokens_per_s"]),
            (tokens.read, tokens.read_s, RATES["prompt_tokens_per_s"]),
        ):
            if number and seconds:
                found.counters[count] = found.counters.get(count, 0.0) + number
                found.counters[time] = found.counters.get(time, 0.0) + seconds
        found.load.add(found.counters)

    def refuse(self, code: str) -> None:
        """Count a request that was refused before any tier was asked."""
        self._refused[code] = self._refused.get(code, 0) + 1

    def summary(self) -> dict[str, dict[str, Any]]:
        """Say it in few numbers, for people."""
        return {
            name: {
                "requests": tier.duration.count,
                "errors": sum(count for status, count in tier.statuses.items() if status >= 500),
                "cut": tier.cut,
                "ttft_p50_s": tier.ttft.quantile(0.5),
                "ttft_p95_s": tier.ttft.quantile(0.95),
                "duration_p50_s": tier.duration.quantile(0.5),
                "prompt_tokens": tier.prompt_tokens,
                "completion_tokens": tier.completion_tokens,
                "in_flight": tier.running,
                **(tier.load.as_data({}) or {}),
            }
            for name, tier in self._tiers.items()
        }

    def text(self, states: Mapping[str, str]) -> str:
        """Write everything as Prometheus reads it.

        :param states: how each tier is.
        """
        blocks: list[tuple[str, str, str, list[str]]] = []

        def block(name: str, kind: str, text: str) -> list[str]:
            blocks.append((name, kind, text, []))
            return blocks[-1][3]

        up = block("herd_tier_ready", "gauge", "Whether the tier answers.")
        up += [f'herd_tier_ready{{tier="{name}"}} {int(state == "ready")}' for name, state in states.items()]
        state = block("herd_tier_state", "gauge", "The state that the tier is in.")
        state += [f'herd_tier_state{{tier="{name}",state="{value}"}} 1' for name, value in states.items()]
        requests = block("herd_gateway_requests_total", "counter", "Requests that a tier was asked, by status.")
        cut = block("herd_gateway_cut_total", "counter", "Answers that did not come to their end.")
        running = block("herd_gateway_in_flight", "gauge", "Answers on their way through the gateway.")
        sent = block("herd_gateway_sent_bytes_total", "counter", "Bytes of answers.")
        ttft = block("herd_gateway_ttft_seconds", "histogram", "Time to the first token of a stream.")
        duration = block("herd_gateway_duration_seconds", "histogram", "Time of a whole request.")
        tokens = block("herd_gateway_tokens_total", "counter", "Tokens of answers, as the engine counted them.")
        for name, tier in self._tiers.items():
            labels = f'tier="{name}"'
            requests += [
                f'herd_gateway_requests_total{{{labels},status="{status}"}} {count}'
                for status, count in sorted(tier.statuses.items())
            ]
            running.append(f"herd_gateway_in_flight{{{labels}}} {tier.running}")
            cut.append(f"herd_gateway_cut_total{{{labels}}} {tier.cut}")
            sent.append(f"herd_gateway_sent_bytes_total{{{labels}}} {tier.sent}")
            tokens.append(f'herd_gateway_tokens_total{{{labels},kind="prompt"}} {tier.prompt_tokens}')
            tokens.append(f'herd_gateway_tokens_total{{{labels},kind="completion"}} {tier.completion_tokens}')
            ttft += tier.ttft.lines("herd_gateway_ttft_seconds", labels)
            duration += tier.duration.lines("herd_gateway_duration_seconds", labels)
        refused = block("herd_gateway_refused_total", "counter", "Requests refused before any tier was asked, by code.")
        refused += [f'herd_gateway_refused_total{{code="{c}"}} {n}' for c, n in sorted(self._refused.items())]
        relayed = block("herd_gateway_relayed_total", "counter", "Requests that the gateway itself took to an engine.")
        relayed.append(f"herd_gateway_relayed_total {self.relayed}")
        lines = [
            line
            for name, kind, text, values in blocks
            for line in (f"# HELP {name} {text}", f"# TYPE {name} {kind}", *values)
        ]
        return "\n".join(lines) + "\n"
