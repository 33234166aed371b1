"""What /status.json and /status say of the tiers."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
import re
import shlex
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.herd.inference.plugins.module_utils.core.gateway import tiers as gateway_tiers
from ansible_collections.herd.inference.plugins.module_utils.core.gateway.status import examples
from ansible_collections.herd.inference.plugins.module_utils.core.gateway.status import page as status_page
from ansible_collections.herd.inference.plugins.module_utils.core.gateway.status import report as status_report
from ansible_collections.herd.inference.plugins.module_utils.core.gateway.status.report import Measurements
from ansible_collections.herd.inference.plugins.module_utils.core.gateway.task_routing import Choice, TaskTable
from ansible_collections.herd.inference.plugins.module_utils.core.gateway.tiers import Tier, TierStatus
from ansible_collections.herd.inference.plugins.module_utils.core.slurm import endpoint_registry, tier_status
from ansible_collections.herd.inference.plugins.module_utils.core.slurm.endpoint_registry import Endpoint, Registry

WALL = 1795263642.0
TIERS = {
    "fast": Tier("fast", ("strand",), True, "", 8080),
    "reasoning": Tier("reasoning", ("OR1-Behemoth",), False, "fast", 8081),
}
ENTRY: dict[str, Any] = {
    "schema": 1,
    "tier": "fast",
    "job_id": "1234",
    "host": "vasp-02",
    "address": "10.0.0.42",
    "port": 8080,
    "models": ["strand", "other"],
    "state": "ready",
    "percent": 100,
    "context": 32768,
    "slots": 2,
    "release": "0c1e57098",
    "started": WALL - 3600,
    "heartbeat": WALL,
    "load": {
        "processing": 2,
        "waiting": 1,
        "tokens_per_s": 31.44,
        "prompt_tokens_per_s": 800,
        "gpus": [{"host": "vasp-02", "name": "V100S", "used_mib": 16384, "total_mib": 32768}],
    },
}
FAST = {"enabled": True, "state": "ready", "reason": "ready", "job_id": "1234", "endpoints": [ENTRY]}
PREEMPTED = {
    "enabled": True,
    "state": "preempted",
    "reason": "preempted by VASP job 88, pending: Priority",
    "retry_after_s": 30,
    "expected": WALL + 1500,
    "percent": None,
    "job_id": "1235",
    "pending_reason": "Priority",
    "endpoints": [],
}
COUNTERS = {"requests": 12, "errors": 1, "ttft_p50_s": 0.4123, "ttft_p95_s": 1.31, "in_flight": 3}
MEASURED = Measurements({"fast": COUNTERS}, {"fast": ["strand"]})
TASKS = TaskTable({"fix": Choice("fast", "strand", "It compiles.")}, Choice("reasoning", "OR1-Behemoth", "Knows most."))
ASSETS = status_page.Assets("p { margin: 0 }", "'use strict';")


Seen = dict[str, tier_status.TierReport]


def view(**tiers: Any) -> Seen:
    """Read the tiers as the gateway reads them from the tier manager's file."""
    return dict(tier_status.read(json.dumps({"schema": 1, "written": WALL, "tiers": tiers})).tiers)


def endpoint(**changes: Any) -> Endpoint:
    return replace(endpoint_registry.from_data(ENTRY), **changes)


def statuses(seen: Seen) -> dict[str, TierStatus]:
    return {name: gateway_tiers.status_of(tier) for name, tier in seen.items()}


def collect(seen: Seen, measurements: Measurements = MEASURED, **more: Any) -> dict[str, Any]:
    status = status_report.collect(TIERS, statuses(seen), seen, measurements, WALL, TASKS, **more)
    # As it goes to clients.
    found: dict[str, Any] = json.loads(json.dumps(status, allow_nan=False))
    return found


def page(status: dict[str, Any], address: str = "http://10.0.0.5:8080") -> str:
    return status_page.render(status, ASSETS, address).decode()


def words(text: str) -> str:
    plain = " ".join(html.unescape(re.sub(r"<[^>]*>", " ", text)).split())
    return re.sub(r" (?=[,.:;])", "", plain)


def test_a_ready_tier_has_all_fields() -> None:
    tier = collect(view(fast=FAST, reasoning=PREEMPTED))["tiers"][0]
    assert tier == {
        "name": "fast",
        "state": "ready",
        "ready": True,
        "enabled": True,
        "reason": "ready",
        "percent": None,
        "expected": None,
        "retry_after_s": None,
        "job_id": "1234",
        "pending_reason": None,
        "models": ["strand", "other"],
        "loaded": ["strand"],
        "port": 8080,
        "fallback": None,
        "context": 32768,
        "slots": 2,
        "host": "vasp-02",
        "release": "0c1e57098",
        "started": "2026-11-21T11:20:42Z",
        "load": {"running": 2, "waiting": 1, "tokens_per_s": 31.4, "prompt_tokens_per_s": 800.0},
        "measured": {
            "requests": 12,
            "errors": 1,
            "ttft_p50_s": 0.412,
            "ttft_p95_s": 1.31,
            "duration_p50_s": None,
        },
        "history": None,
        "gpus": [{"host": "vasp-02", "name": "V100S", "used_mib": 16384, "total_mib": 32768, "level": "below"}],
    }


def test_an_unavailable_tier_has_reason_and_retry_time() -> None:
    tier = collect(view(fast=FAST, reasoning=PREEMPTED))["tiers"][1]
    assert (tier["ready"], tier["state"], tier["pending_reason"]) == (False, "preempted", "Priority")
    assert tier["reason"] == "preempted by VASP job 88, pending: Priority"
    assert (tier["expected"], tier["retry_after_s"]) == ("2026-11-21T12:45:42Z", 30)


def test_the_gateways_counters_replace_missing_load() -> None:
    """A router's engine is not asked for its counters."""
    counters: dict[str, dict[str, Any]] = {
        "fast": {"in_flight": 3, "tokens_per_s": 20.0, "prompt_tokens_per_s": 400.0},
        "reasoning": {"in_flight": 0},
    }
    seen = view(fast={**FAST, "endpoints": [{**ENTRY, "load": None}]})
    status = status_report.collect(TIERS, statuses(seen), seen, Measurements(counters), WALL)
    fast, reasoning = status["tiers"]
    assert fast["load"] == {"running": 2, "waiting": 1, "tokens_per_s": 20.0, "prompt_tokens_per_s": 400.0}
    assert reasoning["load"] == {"running": 0, "waiting": None, "tokens_per_s": None, "prompt_tokens_per_s": None}
    text = words(page(json.loads(json.dumps(status))))
    assert "20 tokens/s" in text


def test_the_status_has_no_address_and_no_key() -> None:
    text = json.dumps(collect(view(fast=FAST, reasoning=PREEMPTED)))
    assert "10.0.0.42" not in text
    assert "key" not in text


def test_without_a_status_file_all_tiers_are_unknown() -> None:
    status = collect({}, is_silent=True)
    assert [tier["state"] for tier in status["tiers"]] == ["unknown", "unknown"]
    assert "No tier answers." in page(status)
    assert "The tier manager is silent" in page(status)
    assert "Unknown Its state is not known." in words(page(status))


def test_registered_engines_have_details_while_the_manager_is_silent() -> None:
    seen = gateway_tiers.from_registry(Registry((endpoint(),)), list(TIERS))
    status = status_report.collect(TIERS, statuses(seen), seen, Measurements(), WALL, is_silent=True)
    fast, reasoning = status["tiers"]
    assert (fast["ready"], fast["job_id"], fast["host"], fast["context"]) == (True, "1234", "vasp-02", 32768)
    assert reasoning["state"] == "unknown"
    text = words(page(json.loads(json.dumps(status))))
    assert "1 of 2 tiers answer. Unavailable: reasoning. The tier manager is silent" in text


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*sorted(ENTRY), "gpus"]), inner),
    max_leaves=6,
)


@given(st.lists(st.dictionaries(st.sampled_from(sorted(ENTRY["load"])), JUNK), max_size=2), JUNK)
def test_no_load_that_a_job_reports_breaks_the_page(loads: list[dict[str, Any]], measured: Any) -> None:
    seen = {"fast": tier_status.TierReport(True, "ready", endpoints=tuple(endpoint(load=load) for load in loads))}
    status = status_report.collect(
        TIERS, statuses(seen), seen, Measurements({"fast": {"in_flight": measured}}), WALL, TASKS
    )
    page(json.loads(json.dumps(status, allow_nan=False)))


@pytest.mark.parametrize("value", [math.nan, math.inf, -1, True, "3", None])
def test_invalid_numbers_are_unknown(value: Any) -> None:
    load = {"tokens_per_s": value, "gpus": [{"used_mib": value, "total_mib": 1}]}
    seen = {"fast": tier_status.TierReport(True, "ready", endpoints=(endpoint(load=load),))}
    tier = status_report.collect(TIERS, statuses(seen), seen, Measurements(), WALL)["tiers"][0]
    assert (tier["load"]["tokens_per_s"], tier["gpus"]) == (None, [])


# The page


class Outline(HTMLParser):
    """What a browser would have to close by itself, and every id."""

    EMPTY = frozenset({"meta", "link", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.ids += [value for name, value in attrs if name == "id" and value]
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


STATES: list[dict[str, Any]] = [
    {"state": "ready"},
    {"state": "loading", "reason": "loading 43 %", "percent": 43, "expected": WALL + 40},
    {"state": "draining", "reason": "preempted by VASP job 88"},
    {"state": "pending", "reason": "pending: Resources"},
    {"state": "preempted", "reason": "preempted by VASP job 88, pending: Priority", "expected": WALL + 7200},
    {"state": "backing-off", "reason": "died 3 times within 60 s: out of memory; raise memory"},
    {"state": "stopped", "reason": "stopped by ann"},
]


@pytest.mark.parametrize("state", STATES, ids=lambda state: str(state["state"]))
def test_the_page_is_valid_html_in_each_state(state: dict[str, Any]) -> None:
    outline = Outline()
    outline.feed(page(collect(view(fast={**FAST, **state}, reasoning=PREEMPTED))))
    assert outline.open == []
    assert len(outline.ids) == len(set(outline.ids))


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (
            STATES[0],
            "Ready It answers requests. Models strand loaded other Context 32,768 tokens Requests 2 of 2 running,",
        ),
        (
            STATES[1],
            "Loading It loads its model. Loading 43 %. 43 % loaded Expected in about 40 seconds",
        ),
        (STATES[2], "Preempted by VASP job 88. Requests are refused with status 503; try again in 30 seconds."),
        (
            STATES[3],
            "Pending Its job waits in the cluster's queue. Pending: Resources. The time of its return is not known.",
        ),
        (STATES[4], "Expected in about 2 hours, at 14:20 UTC."),
        (
            STATES[5],
            "Failed It failed. It is started again later. Died 3 times within 60 s: out of memory; raise memory.",
        ),
        (STATES[6], "Stopped It is switched off. Stopped by ann. Models"),
    ],
)
def test_the_page_describes_each_state(state: dict[str, Any], said: str) -> None:
    assert said in words(page(collect(view(fast={**FAST, **state}, reasoning=PREEMPTED))))


@pytest.mark.parametrize(
    ("states", "said"),
    [
        (("ready", "ready"), "All tiers answer."),
        (("ready", "pending"), "1 of 2 tiers answer. Unavailable: reasoning."),
        (("pending", "pending"), "No tier answers."),
    ],
)
def test_the_summary_covers_all_tiers(states: tuple[str, str], said: str) -> None:
    tiers = {name: {**FAST, "state": state} for name, state in zip(TIERS, states)}
    assert said in words(page(collect(view(**tiers))))


def test_a_disabled_tier_is_not_counted() -> None:
    status = collect(view(fast=FAST, reasoning={**PREEMPTED, "state": "stopped", "enabled": False}))
    assert "The tier answers." in words(page(status))


EVIL = "<script>alert(1)</script>\"'&</style>"


def test_external_texts_are_escaped() -> None:
    load = {**ENTRY["load"], "gpus": [{"host": EVIL, "used_mib": 1, "total_mib": 2}]}
    engine = endpoint(models=(EVIL,), host=EVIL, release=EVIL, load=load)
    status = collect(
        {
            "fast": tier_status.TierReport(True, "ready", job_id=EVIL, endpoints=(engine,)),
            "reasoning": tier_status.TierReport(True, "preempted", reason=EVIL, pending_reason=EVIL),
        }
    )
    outline = Outline()
    outline.feed(page(status))
    assert outline.tags.count("script") == 1
    assert outline.open == []


def test_the_policy_allows_only_the_pages_own_style_and_script() -> None:
    headers = status_page.headers(ASSETS)
    for kind, text in (("style", ASSETS.style), ("script", ASSETS.script)):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in headers["Content-Security-Policy"]
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert all("\n" not in value for value in headers.values())


@pytest.mark.parametrize(
    ("host", "proto", "expected"),
    [
        ("10.0.0.5:8080", "http", "http://10.0.0.5:8080"),
        ("slurm-ctl.tailc46cd0.ts.net", "https", "https://slurm-ctl.tailc46cd0.ts.net"),
        ("[fd7a:115c::1]:8080", "", "http://[fd7a:115c::1]:8080"),
        ("x", "HTTPS", "https://x"),
        ("", "http", "http://GATEWAY"),
        ("a b", "http", "http://GATEWAY"),
        ("x'$(reboot)", "http", "http://GATEWAY"),
        ("x\nX-Evil: 1", "http", "http://GATEWAY"),
        ("a" * 300, "http", "http://GATEWAY"),
        ("x:123456", "http", "http://GATEWAY"),
    ],
)
def test_examples_use_the_readers_address(host: str, proto: str, expected: str) -> None:
    assert status_page.origin(host, proto) == expected


def test_the_curl_example_is_valid_shell() -> None:
    argv = shlex.split(examples.curl("http://10.0.0.5:8080", "it's").replace("\\\n", ""))
    assert argv[:2] == ["curl", "http://10.0.0.5:8080/v1/chat/completions"]
    assert json.loads(argv[argv.index("-d") + 1])["model"] == "it's"


@pytest.mark.parametrize("example", [examples.openai, examples.anthropic])
def test_the_python_examples_are_valid(example: Callable[[str, str], str]) -> None:
    text = example("http://10.0.0.5:8080", "it's")
    compile(text, "example", "exec")
    assert 'model="it\'s"' in text


def test_the_page_has_an_example_for_each_client() -> None:
    text = html.unescape(page(collect(view(fast=FAST))))
    assert "curl http://10.0.0.5:8080/v1/chat/completions" in text
    assert "OpenAI(base_url='http://10.0.0.5:8080/v1'" in text
    assert "Anthropic(base_url='http://10.0.0.5:8080'" in text


def test_the_task_table_ends_with_the_default() -> None:
    text = words(page(collect(view(fast=FAST))))
    assert "fix strand, fast tier. It compiles. any other OR1-Behemoth, reasoning tier. Knows most." in text
    without = status_report.collect(TIERS, {}, {}, Measurements(), WALL)
    assert "Models by task" not in page(json.loads(json.dumps(without)))
