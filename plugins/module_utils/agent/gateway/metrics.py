# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gateway's counters, for Prometheus and for the status page. They name projects, but no user."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, cast

from ...core.engine.throughput import RATES, EngineLoad
from ...core.gateway.event_stream import Tokens
from ...core.gateway.quantile import quantile
from ...core.gateway.status.history import TierHistory
from ...core.gateway.tiers import TierStatus
from ...core.gateway.usage.counts import Usage
from ...core.slurm.tier_status import LOADING, STATES, StatusReport, TierReport
from .exchange import Exchange

with suppress(ImportError):
    # Only the gateway's own environment has it.
    import prometheus_client
    from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

TTFT_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 180.0, 600.0)
DURATION_S = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)
#: Projects that are counted by name, and the names for further ones and for keys without one.
MOST_PROJECTS = 100
OTHER_PROJECTS, NO_PROJECT = "(other)", "(none)"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def _buckets(histogram: Histogram, tier: str) -> list[tuple[float, float]]:
    """Return the upper bounds of a tier's histogram, each with the number of values up to it."""
    return [
        (float(sample.labels["le"]), sample.value)
        for metric in histogram.collect()
        for sample in metric.samples
        if sample.name.endswith("_bucket") and sample.labels["tier"] == tier
    ]


class GatewayMetrics:
    """All counters, by tier."""

    def __init__(self, tiers: Iterable[str]) -> None:
        self._tiers = list(tiers)
        cast(Callable[[], None], prometheus_client.disable_created_metrics)()
        self._registry = CollectorRegistry()
        self._ready = self._gauge("herd_tier_ready", "Whether the tier is ready.", "tier")
        self._state = self._gauge("herd_tier_state", "Whether the tier is in this state.", "tier", "state")
        self._since = self._gauge(
            "herd_tier_state_since_time_seconds", "When this gateway first saw the tier in its state.", "tier"
        )
        self._endpoints = self._gauge("herd_tier_endpoints", "Live engines of the tier.", "tier")
        self._loaded = self._gauge("herd_tier_loaded_ratio", "Loaded part of the model, while it loads.", "tier")
        self._expected = self._gauge(
            "herd_tier_expected_time_seconds", "When the tier is expected to serve again.", "tier"
        )
        #: Age and problems of the status of all tiers. A gauge without labels has a value from its start.
        self._published: tuple[Gauge, Gauge] | None = None
        self._seen: dict[str, tuple[str, float]] = {}
        self._in_flight = self._gauge("herd_gateway_in_flight", "Requests at an engine or in its queue.", "tier")
        self._held = self._gauge("herd_gateway_held_bytes", "Bytes of request bodies that the gateway holds.")
        self._requests = self._counter("herd_gateway_requests", "Requests to a tier, by status.", "tier", "status")
        self._cut = self._counter("herd_gateway_cut", "Responses that ended early.", "tier")
        self._sent = self._counter("herd_gateway_sent_bytes", "Bytes of response bodies.", "tier")
        self._tokens = self._counter("herd_gateway_tokens", "Tokens, as the engine counts them.", "tier", "kind")
        self._refused = self._counter(
            "herd_gateway_refused", "Requests refused before any tier was asked, by code.", "code"
        )
        self._project_requests = self._counter(
            "herd_gateway_project_requests", "Requests to a tier, by the project of their key.", "project"
        )
        self._project_tokens = self._counter(
            "herd_gateway_project_tokens",
            "Tokens by project, as usage counts them.",
            "project",
            "kind",
        )
        self._projects: set[str] = set()
        self._ttft = self._histogram("herd_gateway_ttft_seconds", "Time to the first token of a stream.", TTFT_S)
        self._duration = self._histogram("herd_gateway_duration_seconds", "Time of a whole request.", DURATION_S)
        self._running = dict.fromkeys(self._tiers, 0)
        self._statuses: dict[str, dict[int, int]] = {name: {} for name in self._tiers}
        #: Counters like the engine's own, from which the speed is computed.
        self._speed_counters: dict[str, dict[str, float]] = {name: {} for name in self._tiers}
        self._loads = {name: EngineLoad() for name in self._tiers}
        self._history = {name: TierHistory(time.monotonic()) for name in self._tiers}
        for name in self._tiers:
            self._in_flight.labels(name).set(0)
            for counter in (self._cut, self._sent, self._ttft, self._duration):
                counter.labels(name)
            for kind in ("prompt", "completion"):
                self._tokens.labels(name, kind)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, registry=self._registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self._registry)

    def _histogram(self, name: str, text: str, bounds: Iterable[float]) -> Histogram:
        return Histogram(name, text, ["tier"], buckets=tuple(bounds), registry=self._registry)

    @contextmanager
    def running(self, tier: str) -> Iterator[None]:
        """Count a request as in flight while the block runs."""
        self._running[tier] += 1
        try:
            yield
        finally:
            self._running[tier] -= 1

    def add(self, exchange: Exchange) -> None:
        """Count a request that has ended."""
        tier = exchange.tier
        if not tier:
            if exchange.refused:
                self._refused.labels(exchange.refused).inc()
            return
        statuses = self._statuses[tier]
        statuses[exchange.status] = statuses.get(exchange.status, 0) + 1
        self._requests.labels(tier, str(exchange.status)).inc()
        self._duration.labels(tier).observe(exchange.seconds)
        self._sent.labels(tier).inc(exchange.sent)
        if not exchange.is_complete:
            self._cut.labels(tier).inc()
        if exchange.ttft is not None:
            self._ttft.labels(tier).observe(exchange.ttft)
        tokens = exchange.tokens
        self._add_tokens(tier, tokens)
        written_s = min(tokens.written_s or 0.0, exchange.seconds)
        self._history[tier].add(time.monotonic(), tokens.completion or 0, written_s, exchange.ttft)

    def add_usage(self, project: str, usage: Usage) -> None:
        """Count what a request to a tier used for its project. The number of names is bounded."""
        name = project or NO_PROJECT
        if len(self._projects) < MOST_PROJECTS:
            self._projects.add(name)
        elif name not in self._projects:
            name = OTHER_PROJECTS
        self._project_requests.labels(name).inc(usage.requests)
        tokens = {"prompt": usage.prompt_tokens, "completion": usage.completion_tokens}
        for kind, count in {**tokens, "estimated": usage.estimated_tokens}.items():
            self._project_tokens.labels(name, kind).inc(count)

    def _add_tokens(self, tier: str, tokens: Tokens) -> None:
        self._tokens.labels(tier, "prompt").inc(tokens.prompt or 0)
        self._tokens.labels(tier, "completion").inc(tokens.completion or 0)
        counters = self._speed_counters[tier]
        for number, seconds, names in (
            (tokens.completion, tokens.written_s, RATES["tokens_per_s"]),
            (tokens.read, tokens.read_s, RATES["prompt_tokens_per_s"]),
        ):
            if number and seconds:
                for name, value in zip(names, (number, seconds)):
                    counters[name] = counters.get(name, 0.0) + value
        self._loads[tier].add(counters)

    def summary(self) -> dict[str, dict[str, Any]]:
        """Summarise the counters of each tier for the status page."""
        found, now, wall = {}, time.monotonic(), time.time()
        for name in self._tiers:
            statuses, ttft = self._statuses[name], _buckets(self._ttft, name)
            found[name] = {
                "requests": sum(statuses.values()),
                "errors": sum(count for status, count in statuses.items() if status >= 500),
                "ttft_p50_s": quantile(ttft, 0.5),
                "ttft_p95_s": quantile(ttft, 0.95),
                "duration_p50_s": quantile(_buckets(self._duration, name), 0.5),
                "in_flight": self._running[name],
                "history": self._history[name].as_data(now, wall),
                **(self._loads[name].as_data({}) or {}),
            }
        return found

    def text(
        self,
        statuses: Mapping[str, TierStatus],
        reports: Mapping[str, TierReport],
        published: StatusReport | None,
        held_bytes: int,
    ) -> bytes:
        """Write all metrics in the Prometheus text format.

        :param statuses: the present status of each tier.
        :param reports: what the tiers' manager, or the registry, says of each.
        :param published: the status that the manager wrote last, of any age; None before the first one.
        """
        self._held.set(held_bytes)
        for gauge in (self._endpoints, self._loaded, self._expected):
            gauge.clear()
        if published is not None:
            self._set_published(published)
        for name, status in statuses.items():
            self._ready.labels(name).set(status.state == "ready")
            self._in_flight.labels(name).set(self._running[name])
            for each in STATES:
                self._state.labels(name, each).set(each == status.state)
            self._set_details(name, status, reports.get(name))
        return prometheus_client.generate_latest(self._registry)

    def _set_published(self, published: StatusReport) -> None:
        if self._published is None:
            text = "Age of the status of all tiers. Above 10 its writer is silent."
            self._published = (
                self._gauge("herd_tiers_status_age_seconds", text),
                self._gauge("herd_tiers_problems", "Problems beyond one tier, such as a silent Slurm."),
            )
        age, problems = self._published
        age.set(max(0.0, time.time() - published.written))
        problems.set(len(published.problems))

    def _set_details(self, name: str, status: TierStatus, report: TierReport | None) -> None:
        """Set what is known of a tier; the rest has no series."""
        if self._seen.get(name, ("", 0.0))[0] != status.state:
            self._seen[name] = (status.state, time.time())
        self._since.labels(name).set(self._seen[name][1])
        if report is not None:
            self._endpoints.labels(name).set(len(report.endpoints))
        if status.percent is not None and status.state == LOADING:
            self._loaded.labels(name).set(status.percent / 100)
        if status.expected is not None and not status.is_ready:
            self._expected.labels(name).set(status.expected)
