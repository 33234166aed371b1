# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Turn the lines of nginx's access log into metrics in the Prometheus text format.

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
class LoggedRequest:
    """A request that has ended, as nginx logs it.

    :ivar tier: the tier that answered; empty if no tier was asked.
    :ivar ttft: seconds until the first token of a stream; None for other requests, and without a token.
    :ivar complete: whether the client received the whole response.
    """

    tier: str
    status: int
    duration: float
    sent: int
    ttft: float | None
    complete: bool


def parse_line(raw: bytes) -> dict[str, Any] | None:
    """Parse a line that nginx sends in syslog format; None for anything else."""
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
    """Return whether the client received the whole response.

    nginx also logs a request as complete if the engine ended its response early. The length in the head reveals that.
    """
    if data.get("complete") != "OK" or data.get("method") == "HEAD":
        return data.get("complete") == "OK"
    length, sent = (_number(str(data.get(name) or ""), int) for name in ("length", "sent"))
    return length is None or sent is None or sent >= length


def log_entry(data: Mapping[str, Any], tokens: Tokens) -> dict[str, Any]:
    """Convert a line of nginx to an entry of the access log: typed values, no empty ones, and token counts."""
    line: dict[str, Any] = {}
    for name, value in data.items():
        text = str(value)
        if name in ("status", "sent", "received"):
            line[name] = _number(text, int)
        elif name == "duration":
            line[name] = _number(text, float)
        elif name == "ttft":
            # nginx logs a value for each upstream. The engine is the last.
            is_stream = data.get("stream") == "1" and data.get("status") == "200"
            line[name] = _number(text.rsplit(" ", maxsplit=1)[-1], float) if is_stream else None
        elif name == "stream":
            line[name] = text == "1"
        elif name == "complete":
            line[name] = is_whole(data)
        elif name == "length":
            continue
        elif name == "engine":
            # Later upstreams only produced the error page.
            engines = [where for where in text.split(" ") if where not in ("", ":", ",") and "unix:" not in where]
            line[name] = engines[-1] if engines and data.get("tier") else ""
        else:
            line[name] = text
    line["prompt_tokens"], line["completion_tokens"] = tokens.prompt, tokens.completion
    return {name: value for name, value in line.items() if value not in ("", None)}


def logged_request(data: Mapping[str, Any] | None) -> LoggedRequest | None:
    """Read the values that are counted; None for an incomplete line."""
    if data is None:
        return None
    try:
        # nginx logs a value for each upstream. The engine is the last.
        first = str(data.get("ttft", "")).rsplit(" ", maxsplit=1)[-1]
        tier = str(data["tier"])
        # The first byte of an error is not a token.
        is_measured = tier and data.get("stream") == "1" and data["status"] == "200" and first not in ("", "-")
        return LoggedRequest(
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
    """A histogram with fixed upper bounds."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        """Add a value."""
        place = next((index for index, bound in enumerate(self.bounds) if value <= bound), len(self.bounds))
        self.counts[place] += 1
        self.total += value

    @property
    def count(self) -> int:
        """Return the number of values."""
        return sum(self.counts)

    def quantile(self, share: float) -> float | None:
        """Estimate a quantile by linear interpolation between two bounds."""
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
        """Write it in the Prometheus text format."""
        seen = 0
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self.counts):
            seen += count
            yield f'{name}_bucket{{{labels},le="{bound}"}} {seen}'
        yield f"{name}_sum{{{labels}}} {round(self.total, 6)}"
        yield f"{name}_count{{{labels}}} {self.count}"


@dataclass
class _TierMetrics:
    ttft: Histogram = field(default_factory=lambda: Histogram(TTFT_S))
    duration: Histogram = field(default_factory=lambda: Histogram(DURATION_S))
    statuses: dict[int, int] = field(default_factory=dict)
    cut: int = 0
    sent: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    running: int = 0
    #: Counters like the engine's own, from which the speed is computed.
    counters: dict[str, float] = field(default_factory=dict)
    load: EngineLoad = field(default_factory=EngineLoad)


class GatewayMetrics:
    """All counters of the gateway, by tier. They name no user.

    :ivar proxied: requests that the gateway itself proxied.
    :ivar unread: log lines that could not be read.
    """

    def __init__(self, tiers: Iterable[str]) -> None:
        self._tiers = {name: _TierMetrics() for name in tiers}
        self._refused: dict[str, int] = {}
        self.proxied = 0
        self.unread = 0

    def add(self, line: LoggedRequest | None) -> None:
        """Count a request that has ended; None counts as unread."""
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
        """Count a proxied response that starts."""
        found = self._tiers.get(tier)
        if found:
            found.running += 1

    def end(self, tier: str) -> None:
        """Count a proxied response that has ended."""
        found = self._tiers.get(tier)
        if found:
            found.running -= 1

    def count_tokens(self, tier: str, tokens: Tokens) -> None:
        """Count the tokens of a response."""
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
        """Count a request that was refused before any tier was asked, by its error code."""
        self._refused[code] = self._refused.get(code, 0) + 1

    def summary(self) -> dict[str, dict[str, Any]]:
        """Summarise the counters of each tier for the status page."""
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
        """Write all metrics in the Prometheus text format.

        :param states: the present state of each tier.
        """
        blocks: list[tuple[str, str, str, list[str]]] = []

        def block(name: str, kind: str, text: str) -> list[str]:
            blocks.append((name, kind, text, []))
            return blocks[-1][3]

        up = block("herd_tier_ready", "gauge", "Whether the tier is ready.")
        up += [f'herd_tier_ready{{tier="{name}"}} {int(state == "ready")}' for name, state in states.items()]
        state = block("herd_tier_state", "gauge", "The state that the tier is in.")
        state += [f'herd_tier_state{{tier="{name}",state="{value}"}} 1' for name, value in states.items()]
        requests = block("herd_gateway_requests_total", "counter", "Requests to a tier, by status.")
        cut = block("herd_gateway_cut_total", "counter", "Responses that ended early.")
        running = block("herd_gateway_in_flight", "gauge", "Responses that the gateway proxies at present.")
        sent = block("herd_gateway_sent_bytes_total", "counter", "Bytes of response bodies.")
        ttft = block("herd_gateway_ttft_seconds", "histogram", "Time to the first token of a stream.")
        duration = block("herd_gateway_duration_seconds", "histogram", "Time of a whole request.")
        tokens = block("herd_gateway_tokens_total", "counter", "Tokens, as the engine counts them.")
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
        proxied = block("herd_gateway_proxied_total", "counter", "Requests that the gateway itself proxied.")
        proxied.append(f"herd_gateway_proxied_total {self.proxied}")
        lines = [
            line
            for name, kind, text, values in blocks
            for line in (f"# HELP {name} {text}", f"# TYPE {name} {kind}", *values)
        ]
        return "\n".join(lines) + "\n"
