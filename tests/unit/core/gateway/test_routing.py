# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The router's decisions: tiers, models, fallbacks and errors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.gateway.api_errors import ApiError
from ansible_collections.herd.inference.plugins.module_utils.core.gateway.rate_limit import RateLimits
from ansible_collections.herd.inference.plugins.module_utils.core.gateway.routing import (
    GatewayConfig,
    Place,
    Route,
    Router,
)
from ansible_collections.herd.inference.plugins.module_utils.core.gateway.task_routing import Choice, TaskTable
from ansible_collections.herd.inference.plugins.module_utils.core.gateway.tiers import Tier, TierStatus
from ansible_collections.herd.inference.plugins.module_utils.core.gateway.user_keys import UserKey

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
ANN, FAY = UserKey("ann", "ann", "0" * 64), UserKey("fay", "fay", "1" * 64, tiers=("fast",))
PREEMPTED = TierStatus("preempted", "preempted by job 88", 60)


def at_work(site: GatewayConfig) -> Router:
    made = Router(site)
    made.status = NOW
    return made


@pytest.fixture
def router() -> Router:
    return at_work(SITE)


def ask(
    router: Router,
    model: Any = None,
    path: str = "/v1/chat/completions",
    port: str = "fast",
    task: str = "",
    fallback: str = "",
    key: UserKey = ANN,
) -> Route:
    return router.route(key, router.place(path, port), model, task, fallback, 1000.0)


def refused(router: Router, *arguments: Any, **more: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        ask(router, *arguments, **more)
    return caught.value


@pytest.mark.parametrize(
    ("model", "target", "headers", "tier", "rewritten", "task"),
    [
        ("small", "/v1/chat/completions", {}, "fast", "", ""),
        ("found", "/v1/chat/completions", {}, "fast", "", ""),
        (None, "/v1/chat/completions", {}, "fast", "small", ""),
        (None, "/v1/chat/completions", {"port": "reasoning"}, "reasoning", "", ""),
        ("large", "/v1/chat/completions", {}, "reasoning", "", ""),
        ("small", "/v1/chat/completions", {"port": "reasoning"}, "fast", "", ""),
        ("task:fix", "/v1/chat/completions", {}, "fast", "small", "fix"),
        ("task:borrowing", "/v1/chat/completions", {}, "reasoning", "", "borrowing"),
        ("small", "/v1/completions", {"task": "fix"}, "fast", "", "fix"),
        ("other", "/v1/completions", {"task": "fix"}, "fast", "small", "fix"),
        ("small", "/task/borrowing/v1/embeddings", {"task": "fix"}, "reasoning", "", "borrowing"),
        ("large", "/reasoning/v1/messages", {}, "reasoning", "", ""),
    ],
)
def test_tier_and_model(
    router: Router, model: Any, target: str, headers: dict[str, Any], tier: str, rewritten: str, task: str
) -> None:
    found = ask(router, model, target, **headers)
    assert (found.tier, found.model if found.is_rewritten else "", found.task) == (tier, rewritten, task)
    assert found.endpoint == (FAST if tier == "fast" else REASONING)


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("/v1/chat/completions", Place("", "fast", "/v1/chat/completions")),
        ("/reasoning/v1/tokenize", Place("", "reasoning", "/v1/tokenize")),
        ("/task/fix/v1/messages", Place("fix", "fast", "/v1/messages")),
        ("/task/fix", Place("", "fast", "/task/fix")),
        ("/other/v1/messages", Place("", "fast", "/other/v1/messages")),
        ("/", Place("", "fast", "/")),
    ],
)
def test_paths_are_split(router: Router, path: str, wanted: Place) -> None:
    assert router.place(path, "fast") == wanted


@pytest.mark.parametrize(
    ("path", "right"),
    [
        ("/v1/v1/chat/completions", "/v1/chat/completions"),
        ("/v1/chat/completions/", "/v1/chat/completions"),
        ("/fast//v1/messages", "/fast/v1/messages"),
        ("/task/fix/v1/v1/completions", "/task/fix/v1/completions"),
        ("/v1/models/", "/v1/models"),
    ],
)
def test_unknown_path_names_the_right_one(router: Router, path: str, right: str) -> None:
    found = router.nothing_at(path, "fast")
    assert (found.status, found.code) == (404, "not_found")
    assert f"Use {right}." in found.message


def test_unknown_path_without_a_right_one(router: Router) -> None:
    assert router.nothing_at("/slots", "fast").message == "There is nothing at /slots."
    assert len(router.nothing_at("/" + "x" * 9000, "fast").message) < 300


@pytest.mark.parametrize(
    ("fallback", "tier", "of"),
    [("", "fast", "reasoning"), ("allow", "fast", "reasoning"), ("fast", "fast", "reasoning"), ("none", "", "")],
)
def test_a_fallback_is_chosen(router: Router, fallback: str, tier: str, of: str) -> None:
    router.status = {**NOW, "reasoning": PREEMPTED}
    if not tier:
        assert refused(router, "large", fallback=fallback).code == "tier_unavailable"
        return
    found = ask(router, "large", fallback=fallback)
    assert (found.tier, found.fallback_from, found.model, found.is_rewritten) == (tier, of, "small", True)


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
        ask(router, f"task:{task}"),
        ask(router, task=task),
        ask(router, None, f"/task/{task}/v1/completions"),
    ):
        assert found.task == logged


@pytest.mark.parametrize(
    "task", ["please rewrite my secret code", "x" * 33, "x" * 9000, "caf\u00e9", "a:b", "-", "%20"]
)
def test_a_text_that_cannot_be_a_type_has_no_default(task: str) -> None:
    router = at_work(DEFAULTED)
    for found in (
        refused(router, f"task:{task}"),
        refused(router, task=task),
        refused(router, None, f"/task/{task}/v1/completions"),
    ):
        assert (found.status, found.code) == (400, "unknown_task")


def test_no_fallback_without_a_request_or_a_policy(router: Router) -> None:
    router.status = {**NOW, "fast": TierStatus("loading", "loading 43 %", 12, percent=43.0)}
    found = refused(router, "small")
    assert (found.status, found.code, found.headers["Retry-After"]) == (503, "tier_unavailable", "12")
    assert "loading 43 %" in found.message
    # Not even then where the key does not open it.
    assert refused(router, "small", key=FAY, fallback="any").code == "tier_unavailable"
    assert ask(router, "small", fallback="any").tier == "reasoning"


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ({"model": "large", "key": FAY}, (403, "tier_not_allowed")),
        ({"model": "none"}, (404, "model_not_found")),
        ({"model": 1}, (400, "invalid_model")),
        ({"model": "task:x"}, (400, "unknown_task")),
        ({"port": "none"}, (404, "not_found")),
    ],
)
def test_refusals(router: Router, arguments: dict[str, Any], wanted: tuple[int, str]) -> None:
    found = refused(router, **arguments)
    assert (found.status, found.code) == wanted


def test_a_model_needs_no_tier_of_a_port(router: Router) -> None:
    assert ask(router, "large", port="").tier == "reasoning"


def test_a_model_of_two_tiers_is_taken_from_the_one_that_the_key_opens() -> None:
    both = replace(SITE, tiers={name: Tier(name, ("same",)) for name in ("fast", "reasoning")})
    for path, port in (("/v1/embeddings", ""), ("/v1/embeddings", "reasoning"), ("/reasoning/v1/embeddings", "")):
        assert ask(at_work(both), "same", path, port, key=FAY).tier == "fast"
        only = UserKey("guy", "guy", "2" * 64, tiers=("reasoning",))
        assert ask(at_work(both), "same", path, port, key=only).tier == "reasoning"
    assert ask(at_work(both), "same", port="reasoning").tier == "reasoning"


def test_unknown_model_names_only_models_that_the_key_opens(router: Router) -> None:
    assert "large" in refused(router, "none").message
    assert "large" not in refused(router, "none", key=FAY).message


def test_a_request_that_was_not_sent_goes_to_the_present_engine(router: Router) -> None:
    old = replace(ask(router, "large"), endpoint="10.0.0.43:8081")
    found = router.after_connect_failure(old)
    assert found is not None
    assert (found.tier, found.endpoint, found.fallback_from) == ("reasoning", REASONING, "")
    # There is no second engine to try, and no fallback is allowed.
    assert router.after_connect_failure(ask(router, "large", fallback="no")) is None


def test_a_fallback_answers_if_the_connection_to_an_engine_fails(router: Router) -> None:
    found = router.after_connect_failure(ask(router, "large"))
    assert found is not None
    assert (found.tier, found.endpoint, found.fallback_from, found.fallbacks) == ("fast", FAST, "reasoning", ())
    assert (found.model, found.is_rewritten) == ("small", True)
    assert router.after_connect_failure(found) is None
    router.status = {**NOW, "fast": TierStatus("loading", "loading", 5)}
    assert router.after_connect_failure(ask(router, "large")) is None


@pytest.mark.parametrize(
    ("fallback", "wanted"),
    [("", ("fast",)), ("no", ()), ("allow", ("fast", "third")), ("third", ("third",)), ("reasoning", ())],
)
def test_a_request_carries_its_fallbacks(fallback: str, wanted: tuple[str, ...]) -> None:
    router = at_work(replace(SITE, tiers={**SITE.tiers, "third": Tier("third", ("large",))}))
    assert ask(router, "large", fallback=fallback).fallbacks == wanted


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
    router.status = {"reasoning": PREEMPTED, "third": TierStatus("ready", "", 30, "10.0.0.45:8082", ("first",))}
    found = ask(router, asked)
    assert (found.tier, found.model, found.is_rewritten) == ("third", model, third.rewrites)
