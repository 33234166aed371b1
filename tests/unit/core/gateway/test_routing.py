# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The router's decisions: tiers, models, fallbacks and errors."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.engine.api_paths import (
    ALLOWED_PATHS,
    GENERATION_PATHS,
)
from ansible_collections.herd.inference.plugins.module_utils.core.gateway import user_keys
from ansible_collections.herd.inference.plugins.module_utils.core.gateway.http_message import Request, Response
from ansible_collections.herd.inference.plugins.module_utils.core.gateway.nginx_upstreams import upstreams_of
from ansible_collections.herd.inference.plugins.module_utils.core.gateway.rate_limit import RateLimits
from ansible_collections.herd.inference.plugins.module_utils.core.gateway.routing import (
    GatewayConfig,
    RouteDecision,
    Router,
)
from ansible_collections.herd.inference.plugins.module_utils.core.gateway.task_routing import Choice, TaskTable
from ansible_collections.herd.inference.plugins.module_utils.core.gateway.tiers import Tier, TierStatus

TASKS = {"fix": Choice("fast", "small", "quick"), "borrowing": Choice("reasoning", "large", "thinks")}
SITE = GatewayConfig(
    tiers={
        "fast": Tier("fast", ("small", "other"), rewrites=True),
        "reasoning": Tier("reasoning", ("large",), fallback="fast"),
    },
    limits={"default": RateLimits(60, 5, 8)},
    retry_after=5,
    choose=TASKS.get,
    tasks=list(TASKS),
)
FAST, REASONING = "10.0.0.42:8080", "10.0.0.41:8081"
NOW = {
    "fast": TierStatus("ready", "", 30, FAST, ("small", "found")),
    "reasoning": TierStatus("ready", "", 30, REASONING, ("large",)),
}
KNOWN = f"fast={FAST} reasoning={REASONING}"


def at_work(site: GatewayConfig) -> Router:
    made = Router(site)
    made.status = NOW
    keys = user_keys.parse(
        [
            {"id": "ann", "sha256": user_keys.sha256("a")},
            {"id": "fay", "sha256": user_keys.sha256("f"), "tiers": ["fast"]},
        ],
        {"default"},
        SITE.tiers,
    )
    made.keys = user_keys.UserKeys(keys)
    return made


@pytest.fixture
def router() -> Router:
    return at_work(SITE)


def decide(router: Router, request: Request, wall: float, now: float) -> Response | RouteDecision:
    """Run a request's pipeline to its verdict."""
    steps = router.pipeline(request, wall, now)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            verdict: Response | RouteDecision = end.value
            return verdict


def ask(
    router: Router,
    body: Any = None,
    target: str = "/v1/chat/completions",
    now: float = 0.0,
    key: str = "a",
    **headers: str,
) -> Response | RouteDecision:
    given = {"authorization": f"Bearer {key}", "x-herd-port-tier": "fast", "x-herd-upstreams": KNOWN}
    given.update({name.replace("_", "-"): value for name, value in headers.items()})
    data = json.dumps({} if body is None else body).encode()
    return decide(router, Request("POST", target, {n: [v] for n, v in given.items()}, data), 1000.0, now)


def forward(verdict: Response | RouteDecision) -> RouteDecision:
    assert isinstance(verdict, RouteDecision), verdict
    return verdict


def code(verdict: Response | RouteDecision) -> tuple[int, str]:
    assert isinstance(verdict, Response), verdict
    return verdict.status, json.loads(verdict.body)["error"]["code"]


@pytest.mark.parametrize(
    ("body", "target", "headers", "tier", "rewritten", "task"),
    [
        ({"model": "small"}, "/v1/chat/completions", {}, "fast", "", ""),
        ({"model": "found"}, "/v1/chat/completions", {}, "fast", "", ""),
        ({}, "/v1/chat/completions", {}, "fast", "small", ""),
        ({}, "/v1/chat/completions", {"x_herd_port_tier": "reasoning"}, "reasoning", "", ""),
        ({"model": "large"}, "/v1/chat/completions", {}, "reasoning", "", ""),
        ({"model": "small"}, "/v1/chat/completions", {"x_herd_port_tier": "reasoning"}, "fast", "", ""),
        ({"model": "task:fix"}, "/v1/chat/completions", {}, "fast", "small", "fix"),
        ({"model": "task:borrowing"}, "/v1/chat/completions", {}, "reasoning", "", "borrowing"),
        ({"model": "small"}, "/v1/completions", {"task": "fix"}, "fast", "", "fix"),
        ({"model": "other"}, "/v1/completions", {"task": "fix"}, "fast", "small", "fix"),
        ({"model": "small"}, "/task/borrowing/v1/embeddings", {"task": "fix"}, "reasoning", "", "borrowing"),
        ({"model": "large"}, "/reasoning/v1/messages", {}, "reasoning", "", ""),
    ],
)
def test_tier_and_model(
    router: Router, body: Any, target: str, headers: dict[str, str], tier: str, rewritten: str, task: str
) -> None:
    found = forward(ask(router, body, target, **headers))
    assert (found.tier, found.model, found.task) == (tier, rewritten, task)
    assert found.path in ALLOWED_PATHS
    assert found.is_proxied is (bool(rewritten) or found.path in GENERATION_PATHS)
    assert found.headers()["X-Accel-Redirect"] == ("@herd_proxy" if found.is_proxied else f"@tier_{tier}")


@pytest.mark.parametrize(
    ("body", "known", "is_proxied"),
    [
        ({"model": "large"}, KNOWN, False),
        ({"model": "large", "stream": True}, KNOWN, True),
        ({"model": "large", "stream": "yes"}, KNOWN, False),
        ({"model": "large"}, f"fast={FAST} reasoning=-", True),
        ({"model": "large"}, f"fast={FAST} reasoning=10.0.0.43:8081", True),
        ({"model": "large"}, "", True),
    ],
)
def test_gateway_proxies_requests_that_nginx_cannot_proxy(
    router: Router, body: Any, known: str, is_proxied: bool
) -> None:
    found = forward(ask(router, body, "/v1/embeddings", x_herd_upstreams=known))
    assert found.is_proxied is is_proxied
    assert found.endpoint == REASONING
    assert found.headers().get("X-Herd-Proxy", "") == (REASONING if is_proxied else "")


@pytest.mark.parametrize("path", sorted(ALLOWED_PATHS))
def test_the_gateway_proxies_requests_that_generate_text(router: Router, path: str) -> None:
    told = path in GENERATION_PATHS
    assert forward(ask(router, {"model": "large"}, path, x_herd_upstreams=KNOWN)).is_proxied is told
    router.config = replace(SITE, watch_streams=False)
    assert forward(ask(router, {"model": "large", "stream": True}, path, x_herd_upstreams=KNOWN)).is_proxied is False


@pytest.mark.parametrize(
    ("headers", "tier", "of"),
    [
        ({}, "fast", "reasoning"),
        ({"x_herd_fallback": "allow"}, "fast", "reasoning"),
        ({"x_herd_fallback": "fast"}, "fast", "reasoning"),
        ({"x_herd_fallback": "none"}, "", ""),
    ],
)
def test_a_fallback_is_chosen(router: Router, headers: dict[str, str], tier: str, of: str) -> None:
    router.status = {**NOW, "reasoning": TierStatus("preempted", "preempted by job 88", 60)}
    verdict = ask(router, {"model": "large"}, **headers)
    if not tier:
        assert code(verdict) == (503, "tier_unavailable")
        return
    found = forward(verdict)
    assert (found.tier, found.fallback_from, found.model) == (tier, of, "small")


DEFAULTED = replace(SITE, choose=TaskTable(TASKS, TASKS["fix"]).choose)


@pytest.mark.parametrize(
    ("task", "logged"),
    [
        ("borrowing", "borrowing"),
        (" Borrowing", "borrowing"),
        ("polish", "default"),
        ("a-z_0", "default"),
        ("x" * 32, "default"),
    ],
)
def test_only_known_task_types_are_logged(task: str, logged: str) -> None:
    router = at_work(DEFAULTED)
    for found in (
        forward(ask(router, {"model": f"task:{task}"})),
        forward(ask(router, {}, x_herd_task=task)),
        forward(ask(router, {}, f"/task/{task}/v1/chat/completions")),
    ):
        assert found.headers()["X-Herd-Task"] == logged


@pytest.mark.parametrize(
    "task", ["please rewrite my secret code", "x" * 33, "x" * 9000, "caf\u00e9", "a:b", "-", "%20"]
)
def test_a_text_that_cannot_be_a_type_has_no_default(task: str) -> None:
    router = at_work(DEFAULTED)
    assert code(ask(router, {"model": f"task:{task}"})) == (400, "unknown_task")
    assert code(ask(router, {}, task=task)) == (400, "unknown_task")
    assert code(ask(router, {}, f"/task/{task}/v1/chat/completions")) == (400, "unknown_task")


def test_all_requests_are_rejected_until_the_keys_are_known(router: Router) -> None:
    router.keys = None
    verdict = ask(router, {"model": "large"})
    assert code(verdict) == (503, "gateway_unavailable")
    assert isinstance(verdict, Response)
    assert int(verdict.headers["Retry-After"]) > 0


def test_no_fallback_without_a_request_or_a_policy(router: Router) -> None:
    router.status = {**NOW, "fast": TierStatus("loading", "loading 43 %", 12, percent=43.0)}
    verdict = ask(router, {"model": "small"})
    assert code(verdict) == (503, "tier_unavailable")
    assert isinstance(verdict, Response)
    assert verdict.headers["Retry-After"] == "12"
    assert "loading 43 %" in json.loads(verdict.body)["error"]["message"]
    # Not even then where the key does not open it.
    assert code(ask(router, {"model": "small"}, key="f", x_herd_fallback="any")) == (503, "tier_unavailable")
    assert forward(ask(router, {"model": "small"}, x_herd_fallback="any")).tier == "reasoning"


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ({"key": "b"}, (401, "invalid_api_key")),
        ({"authorization": ""}, (401, "invalid_api_key")),
        ({"authorization": "Basic a"}, (401, "invalid_api_key")),
        ({"x_api_key": "f"}, (401, "invalid_api_key")),
        ({"body": {"model": "large"}, "key": "f"}, (403, "tier_not_allowed")),
        ({"target": "/slots"}, (404, "not_found")),
        ({"target": "/v1/chat/completions/"}, (404, "not_found")),
        ({"target": "/v1/models"}, (405, "method_not_allowed")),
        ({"body": []}, (400, "invalid_json")),
        ({"body": {"model": "none"}}, (404, "model_not_found")),
        ({"body": {"model": 1}}, (400, "invalid_model")),
        ({"body": {"model": "task:x"}}, (400, "unknown_task")),
        ({"x_herd_port_tier": "none"}, (404, "not_found")),
    ],
)
def test_refusals(router: Router, arguments: dict[str, Any], wanted: tuple[int, str]) -> None:
    assert code(ask(router, **arguments)) == wanted


def test_each_key_has_its_own_rate(router: Router) -> None:
    assert all(isinstance(ask(router, {"model": "small"}), RouteDecision) for _each in range(5))
    verdict = ask(router, {"model": "small"})
    assert code(verdict) == (429, "rate_limit_exceeded")
    assert isinstance(verdict, Response)
    assert verdict.headers["X-Herd-Key"] == "ann"
    assert isinstance(ask(router, {"model": "small"}, key="f"), RouteDecision)
    assert isinstance(ask(router, {"model": "small"}, now=2.0), RouteDecision)


@pytest.mark.parametrize(
    ("origins", "method", "origin", "is_answered"),
    [
        ((), "OPTIONS", "https://a.example", False),
        (("https://a.example",), "OPTIONS", "https://a.example", True),
        (("https://a.example",), "OPTIONS", "https://b.example", False),
        (("https://a.example",), "POST", "https://a.example", False),
        (("*",), "OPTIONS", "https://b.example", True),
        (("*",), "OPTIONS", "", False),
    ],
)
def test_preflight_requests_of_allowed_origins_are_answered(
    origins: tuple[str, ...], method: str, origin: str, is_answered: bool
) -> None:
    router = at_work(replace(SITE, cors_origins=origins))
    headers = {"origin": [origin], "access-control-request-headers": ["authorization"]}
    answer = router.preflight(Request(method, "/v1/models", headers))
    assert (answer is not None) is is_answered
    if answer is not None:
        assert answer.headers["Access-Control-Allow-Headers"] == "authorization"


def failed(router: Router, **headers: str) -> Response | RouteDecision:
    given = {
        "x-herd-failed-tier": "reasoning",
        "x-herd-failed-status": "200 : 502",
        "x-herd-failed-connect-time": "0.000 : 0.001",
        "x-herd-upstreams": KNOWN,
        "x-herd-path": "/v1/chat/completions",
        "x-herd-key": "ann",
    }
    given.update({name.replace("_", "-"): value for name, value in headers.items()})
    return router.upstream_failed(Request("POST", "/", {name: [value] for name, value in given.items()}))


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("200 : 502", "ended before it answered"),
        ("200 : 504", "did not answer in time"),
        ("200 : 401", "does not accept the gateway's key"),
        ("200 : 503", "is loading a model"),
    ],
)
def test_an_engines_failure_has_a_reason(router: Router, status: str, words: str) -> None:
    verdict = failed(router, x_herd_failed_status=status)
    assert code(verdict) == (503, "tier_unavailable")
    assert isinstance(verdict, Response)
    assert words in json.loads(verdict.body)["error"]["message"]


def test_a_request_that_was_not_sent_goes_to_the_present_engine(router: Router) -> None:
    old = f"fast={FAST} reasoning=10.0.0.43:8081"
    found = forward(failed(router, x_herd_failed_connect_time="0.000 : -", x_herd_upstreams=old))
    assert (found.endpoint, found.is_proxied, found.key) == (REASONING, True, "ann")
    # What was sent may have been heard: never twice.
    assert isinstance(failed(router, x_herd_upstreams=old), Response)
    # And there is no second engine to try.
    assert isinstance(failed(router, x_herd_failed_connect_time="0.000 : -"), Response)


CONNECT_FAILED = {"x_herd_failed_connect_time": "0.000 : -"}
PROXY_CONNECT_FAILED = {
    "x_herd_failed_connect_time": "0.000 : 0.001",
    "x_herd_connect_failed": "1",
    "x_herd_failed_proxy": REASONING,
}


@pytest.mark.parametrize("met", [CONNECT_FAILED, PROXY_CONNECT_FAILED], ids=["nginx", "gateway"])
def test_a_fallback_answers_if_the_connection_to_an_engine_fails(router: Router, met: dict[str, str]) -> None:
    asked = {"x_herd_fallbacks": "none fast", "x_herd_model": "large", "x_herd_stream": "1"}
    found = forward(failed(router, **met, **asked))
    assert (found.tier, found.endpoint, found.fallback_from, found.fallbacks) == ("fast", FAST, "reasoning", ())
    assert (found.model, found.shown_model, found.is_proxied, found.stream) == ("small", "small", True, True)
    # No fallback if it is not allowed or not ready, or if the request was sent.
    assert isinstance(failed(router, **met, x_herd_model="large"), Response)
    assert isinstance(failed(router, **asked), Response)
    router.status = {**NOW, "fast": TierStatus("loading", "loading", 5)}
    assert isinstance(failed(router, **met, **asked), Response)


def test_a_proxied_request_does_not_go_to_the_same_engine_again(router: Router) -> None:
    """The nginx process may know yet another engine."""
    old = f"fast={FAST} reasoning=10.0.0.43:8081"
    assert isinstance(failed(router, **PROXY_CONNECT_FAILED, x_herd_upstreams=old), Response)
    other = {**PROXY_CONNECT_FAILED, "x_herd_failed_proxy": "10.0.0.43:8081 large"}
    assert forward(failed(router, **other, x_herd_upstreams=KNOWN)).endpoint == REASONING


def test_the_model_is_replaced_again_for_a_router(router: Router) -> None:
    old = f"fast=10.0.0.43:8080 reasoning={REASONING}"
    found = forward(
        failed(router, **CONNECT_FAILED, x_herd_failed_tier="fast", x_herd_model="other", x_herd_upstreams=old)
    )
    assert (found.tier, found.endpoint, found.model) == ("fast", FAST, "other")


@pytest.mark.parametrize(
    ("header", "key", "wanted"),
    [
        ({}, "a", ("fast",)),
        ({"x_herd_fallback": "no"}, "a", ()),
        ({"x_herd_fallback": "allow"}, "a", ("fast", "third")),
        ({"x_herd_fallback": "third"}, "a", ("third",)),
        ({"x_herd_fallback": "reasoning"}, "a", ()),
    ],
)
def test_a_request_carries_its_fallbacks(header: dict[str, str], key: str, wanted: tuple[str, ...]) -> None:
    router = at_work(replace(SITE, tiers={**SITE.tiers, "third": Tier("third", ("large",))}))
    found = forward(ask(router, {"model": "large"}, key=key, **header))
    assert found.fallbacks == wanted
    assert found.headers().get("X-Herd-Fallbacks", "") == " ".join(wanted)


@pytest.mark.parametrize(
    ("third", "asked", "model"),
    [
        (Tier("third", ("first", "large"), rewrites=True), "large", "large"),
        (Tier("third", ("first", "big-q4"), rewrites=True, keys=("one", "big")), "large", "big-q4"),
        (Tier("third", ("first", "big-q4"), keys=("one", "big")), "large", "big-q4"),
        (Tier("third", ("first", "big-q4"), rewrites=True, keys=("one", "two")), "large", "first"),
        (Tier("third", ("first",), rewrites=True), "large", "first"),
    ],
)
def test_a_fallback_uses_the_requested_model_if_it_has_it(third: Tier, asked: str, model: str) -> None:
    reasoning = Tier("reasoning", ("large",), keys=("big",), fallback="third")
    router = at_work(replace(SITE, tiers={"fast": SITE.tiers["fast"], "reasoning": reasoning, "third": third}))
    unavailable = TierStatus("preempted", "preempted by job 88", 60)
    router.status = {"reasoning": unavailable, "third": TierStatus("ready", "", 30, "10.0.0.45:8082", ("first",))}
    found = forward(ask(router, {"model": asked}))
    assert (found.tier, found.shown_model, found.model) == ("third", model, model if third.rewrites else "")


def test_a_tier_that_became_unavailable_gives_its_own_reason(router: Router) -> None:
    router.status = {**NOW, "reasoning": TierStatus("preempted", "preempted by job 88", 60)}
    verdict = failed(router)
    assert isinstance(verdict, Response)
    assert "preempted by job 88" in json.loads(verdict.body)["error"]["message"]
    assert verdict.headers["Retry-After"] == "60"


def test_the_upstreams_of_an_nginx_process_are_parsed() -> None:
    assert upstreams_of("fast=10.0.0.42:8080 reasoning=-") == {"fast": "10.0.0.42:8080", "reasoning": ""}
    assert upstreams_of("") == {}
