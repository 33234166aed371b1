"""A head and a router behind one gateway, with requests from a host that is no node."""

from __future__ import annotations

import json

import pytest

from tests.scenarios.playbooks import Operator
from tests.scenarios.services import GATEWAY_HOST, MODELS, PORTS, TASKS, Services
from tests.scenarios.slurm import TESTER, until
from tests.scenarios.testing import ETHERNET, HEAD, WORKERS

FIRST = WORKERS[0]


@pytest.mark.parametrize("tier", MODELS)
def test_model_answers_by_name_and_by_task_at_every_port(site: Services, tier: str) -> None:
    for port in PORTS:
        for name in (MODELS[tier], f"task:{TASKS[tier]}"):
            answer = site.chat_with(name, port=port)
            assert answer.status == 200, answer.text
            assert answer.json()["usage"]["completion_tokens"] == 4

    def logged() -> bool:
        lines = site.sure(GATEWAY_HOST, "tail -n 8 /var/log/herd/gateway.log").splitlines()
        return (tier, TASKS[tier]) in [(one.get("tier"), one.get("task")) for one in map(json.loads, lines)]

    # The gateway writes the line after the answer.
    until("the request in the log", logged, 20)


def test_gateway_accepts_user_keys_only(site: Services) -> None:
    for tier, model in MODELS.items():
        assert site.chat_with(model, key="").status == 401
        assert site.chat_with(model, key=site.engine_key(tier)).status == 401
    # Nobody but the gateway and root may read the engines' keys.
    listed = site.sure(GATEWAY_HOST, "stat -c '%a %U %G' /etc/herd/gateway/engine-keys/*").splitlines()
    assert listed == ["640 root herd-gateway"] * 2


def test_every_view_shows_both_tiers(site: Services) -> None:
    models = {model["id"]: model for model in site.get("/v1/models")["data"]}
    assert {name: models[name]["herd"]["tier"] for name in MODELS.values()} == {
        model: tier for tier, model in MODELS.items()
    }
    tiers = {tier["name"]: tier for tier in site.get("/status.json")["tiers"]}
    assert {name: (tier["state"], tier["host"]) for name, tier in tiers.items()} == {
        "reasoning": ("ready", HEAD),
        "fast": ("ready", "vllm-node3"),
    }
    page = site.ask(site.url("/status"), "", host="mirror")
    assert page.status == 200
    assert all(model in page.text for model in MODELS.values())
    table = site.sure(GATEWAY_HOST, "herdctl tiers")
    assert f"{ETHERNET[HEAD]}:8000" in table or f"{HEAD}:8000" in table
    assert "router" in site.sure(GATEWAY_HOST, "herdctl status")
    chosen = site.sure(GATEWAY_HOST, "llama-model-selector borrowing")
    assert "Model: lab-llama\nTier:  reasoning: ready" in chosen


def test_worker_killed_under_load_ends_no_request_without_a_reason(site: Services) -> None:
    questions = site.questions()
    with site.load(questions) as results:
        site.sure(FIRST, "systemctl kill --kill-who=main --signal=KILL llama-rpc")
        until("the loss to show", lambda: site.tier("reasoning")["state"] != "ready", 60, 0.2)
        back = site.wait("reasoning", "ready", 120)
        assert back["endpoints"][0]["address"] == ETHERNET[HEAD]
        until("an answer through the gateway", lambda: site.chat_with("lab-llama").status == 200, 30, 1.0)
    ends = {tier: [one["what"] for one in results if one["address"].endswith(str(PORTS[tier]))] for tier in PORTS}
    assert set(ends["fast"]) == {"whole"}
    assert set(ends["reasoning"]) <= {"whole", "told", "refused"}
    assert ends["reasoning"].count("whole") >= 2


def test_head_that_waits_for_its_worker_is_named_with_a_time_to_try_again(site: Services) -> None:
    site.sure(FIRST, "systemctl stop llama-rpc")
    try:
        away = site.wait("reasoning", "pending", 60)
        until("the reason", lambda: FIRST in site.tier("reasoning")["reason"], 60)
        answer = site.ask(
            site.url("/v1/chat/completions"), TESTER, {"model": "lab-llama", "messages": []}, host="mirror"
        )
        assert answer.status == 503
        error = answer.json()["error"]
        assert error["code"] == "tier_unavailable"
        assert (error["herd"]["tier"], error["herd"]["state"]) == ("reasoning", "pending")
        headers = site.sure("mirror", f"curl -s -o /dev/null -D - {site.url('/health', 'reasoning')}").lower()
        assert f"retry-after: {away['retry_after_s']}" in headers
        assert site.chat_with("lab-small").status == 200
    finally:
        site.sure(FIRST, "systemctl start llama-rpc")
    site.wait("reasoning", "ready", 120)
    until("an answer through the gateway", lambda: site.chat_with("lab-llama").status == 200, 30, 1.0)


def test_unit_stopped_by_an_operator_is_reported_as_stopped(site: Services) -> None:
    site.sure(HEAD, "systemctl stop llama-head")
    try:
        assert site.wait("reasoning", "stopped", 60)["reason"] == f"llama-head.service is stopped on {HEAD}"
        assert site.chat_with("lab-llama").status == 503
        # Its operator stopped it, so the other tier is all that is expected.
        assert "stopped" in site.sure(GATEWAY_HOST, "herdctl tiers")
    finally:
        site.sure(HEAD, "systemctl start llama-head")
    site.wait("reasoning", "ready", 120)


def test_rotated_key_of_the_head_reaches_the_gateway(site: Services, operator: Operator) -> None:
    former = site.engine_key("reasoning")
    run = operator.play("playbooks/rotate_key.yml")
    assert run.rc == 0, run.output[-3000:]
    assert site.engine_key("reasoning") != former
    site.wait("reasoning", "ready", 120)
    copied = site.sure(GATEWAY_HOST, "cat /etc/herd/gateway/engine-keys/reasoning").strip()
    assert copied == site.engine_key("reasoning")
    until("an answer through the gateway", lambda: site.chat_with("lab-llama").status == 200, 30, 1.0)


def test_status_playbook_shows_the_tiers(operator: Operator) -> None:
    run = operator.play("playbooks/status.yml")
    assert run.rc == 0, run.output[-3000:]
    assert "reasoning" in run.output
    assert "lab-small" in run.output
