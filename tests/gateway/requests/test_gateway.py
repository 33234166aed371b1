# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gateway's decisions as a client sees them: keys, limits, unavailable tiers, tasks and models."""

from __future__ import annotations

import json
import subprocess
import time

import pytest

from tests.engine.flag_runs import free_port
from tests.gateway.conftest import Client, chat, settle
from tests.gateway.harness import FAST_MODEL, REASONING_MODEL, USERS, Engine, Gateway, wait_for


def test_an_unavailable_tier_gives_reason_and_retry_time(
    client: Client, made: Gateway, engines: dict[str, Engine]
) -> None:
    made.unavailable("fast", "loading", "loading 43 %", 12, percent=43)
    wait_for(lambda: client.ask(path="/health").status == 503, "the gateway knows")
    for body in (chat(model=FAST_MODEL), chat(stream=True)):
        answer = client.ask(body)
        assert answer.status == 503
        assert answer.headers["retry-after"] == "12"
        assert "loading 43 %" in answer.error["message"]
        assert answer.error["code"] == "tier_unavailable"
        assert answer.error["herd"] == {"tier": "fast", "state": "loading", "percent": 43.0}
    made.unavailable("fast", "preempted", "preempted by VASP job 88, pending: Priority", 120)
    wait_for(lambda: "VASP job 88" in client.ask(chat()).error["message"], "the gateway knows")


@pytest.mark.parametrize(
    ("key", "said"),
    [
        (None, "did not provide"),
        ("", "did not provide"),
        ("herd-key-of-nobody", "unknown"),
        ("herd-key-of-eve", "revoked"),
        ("herd-key-of-old", "expired"),
        ("herd-key-of-ann ", "unknown"),
        ("x" * 4000, "unknown"),
    ],
)
def test_only_valid_keys_are_accepted(client: Client, engines: dict[str, Engine], key: str | None, said: str) -> None:
    answer = client.ask(chat(), key=key)
    if key == "herd-key-of-ann ":
        # Blanks around a header's value are not part of it.
        assert answer.status == 200
        return
    assert answer.status == 401
    assert said in answer.error["message"]
    assert answer.error["code"] == "invalid_api_key"
    assert answer.headers["www-authenticate"] == "Bearer"


def test_anthropics_key_header_is_accepted(client: Client, engines: dict[str, Engine]) -> None:
    ask = {"model": REASONING_MODEL, "max_tokens": 2, "messages": [{"role": "user", "content": "hello"}]}
    good = client.ask(ask, path="/v1/messages", key=None, headers={"x-api-key": "herd-key-of-ann"})
    assert good.status == 200, good.body


def test_a_revoked_key_is_rejected_at_once(client: Client, made: Gateway, engines: dict[str, Engine]) -> None:
    files = ["--keys", f"{made.root}/keys.json", "--revoked", f"{made.root}/revoked.json"]

    def key(*words: str) -> str:
        done = subprocess.run([*made.program()[:-2], "key", *files, *words], capture_output=True, text=True, check=True)
        return done.stdout

    assert client.ask(chat(), key="herd-key-of-fay").status == 200
    key("revoke", "fay")
    wait_for(lambda: client.ask(chat(), key="herd-key-of-fay").status == 401, "revoked", 1)
    assert "revoked here" in key("list")
    key("restore", "fay")
    wait_for(lambda: client.ask(chat(), key="herd-key-of-fay").status == 200, "restored", 1)


def test_a_key_is_replaced_without_a_gap(client: Client, made: Gateway, engines: dict[str, Engine]) -> None:
    made.write_keys({**USERS, "ann-2": {"key": "herd-key-of-ann-2", "user": "ann"}})
    wait_for(lambda: client.ask(chat(), key="herd-key-of-ann-2").status == 200, "the new key", 1)
    assert client.ask(chat()).status == 200
    made.write_keys({name: user for name, user in USERS.items() if name != "ann"})
    wait_for(lambda: client.ask(chat()).status == 401, "the former key", 1)
    made.write_keys()
    wait_for(lambda: client.ask(chat()).status == 200, "the key", 1)


def test_a_damaged_key_file_changes_nothing(client: Client, made: Gateway, engines: dict[str, Engine]) -> None:
    (made.root / "keys.json").write_text('{"schema": 1, "keys": [{"id": ', encoding="utf-8")
    time.sleep(0.3)
    assert client.ask(chat()).status == 200
    made.write_keys()


@pytest.mark.parametrize("name", ["revoked", "keys"])
def test_all_requests_are_rejected_until_the_key_files_are_read(
    client: Client, made: Gateway, engines: dict[str, Engine], name: str
) -> None:
    path = made.root / f"{name}.json"
    try:
        path.write_text('{"revoked": "fay", "keys": [{"id":', encoding="utf-8")
        made.restart_gateway()
        wait_for(lambda: all(client.ask(chat()).status == 503 for _each in range(8)), "the new process", 10)
        for key in ("herd-key-of-fay", "herd-key-of-ann"):
            answer = client.ask(chat(), key=key)
            assert (answer.status, answer.error["code"]) == (503, "gateway_unavailable")
        # The public pages still answer.
        assert client.ask(path="/health", key=None).status == 200
    finally:
        (made.root / "revoked.json").unlink(missing_ok=True)
        made.write_keys()
    wait_for(lambda: client.ask(chat()).status == 200, "the gateway knows again", 2)


def test_the_rate_limit_gives_retry_after(client: Client, engines: dict[str, Engine]) -> None:
    answers = [client.ask(path="/v1/models", key="herd-key-of-rob") for _each in range(5)]
    assert [answer.status for answer in answers] == [200, 200, 200, 429, 429]
    assert answers[-1].error["code"] == "rate_limit_exceeded"
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 20
    # Other keys are not affected.
    assert client.ask(path="/v1/models").status == 200


def test_the_concurrency_limit_is_enforced(client: Client, engines: dict[str, Engine]) -> None:
    ask = chat(200, model=REASONING_MODEL, stream=True)
    connection, answer = client.open(ask, key="herd-key-of-meg")
    assert answer.status == 200
    answer.read(10)
    second = client.ask(chat(model=REASONING_MODEL), key="herd-key-of-meg")
    assert second.status == 429
    assert second.error["code"] == "concurrency_exceeded"
    assert int(second.headers["retry-after"]) > 0
    connection.close()
    wait_for(lambda: client.ask(chat(model=REASONING_MODEL), key="herd-key-of-meg").status == 200, "a free place", 5)


def test_the_models_of_both_tiers_are_one_list(client: Client, engines: dict[str, Engine]) -> None:
    for tier in ("fast", "reasoning"):
        listed = client.ask(tier=tier, path="/v1/models").data
        assert listed["object"] == "list"
        assert [entry["id"] for entry in listed["data"]] == [FAST_MODEL, "small-two", REASONING_MODEL]
        assert all(entry["object"] == "model" for entry in listed["data"])
    assert client.ask(path=f"/v1/models/{REASONING_MODEL}").data["herd"]["tier"] == "reasoning"
    assert client.ask(path="/v1/models/none").error["code"] == "model_not_found"


@pytest.mark.parametrize(
    ("ask", "path", "headers", "tier", "model"),
    [
        ({}, "/v1/chat/completions", {}, "fast", FAST_MODEL),
        ({"model": "small-two"}, "/v1/chat/completions", {}, "fast", "small-two"),
        ({"model": REASONING_MODEL}, "/v1/chat/completions", {}, "reasoning", REASONING_MODEL),
        ({"model": "task:borrowing"}, "/v1/chat/completions", {}, "reasoning", REASONING_MODEL),
        ({"model": "task:fix"}, "/v1/chat/completions", {}, "fast", FAST_MODEL),
        ({"model": "small-two"}, "/v1/chat/completions", {"X-Herd-Task": "fix"}, "fast", FAST_MODEL),
        ({"model": "anything"}, "/v1/chat/completions", {"Task": "borrowing"}, "reasoning", REASONING_MODEL),
        ({"model": FAST_MODEL}, "/task/borrowing/v1/chat/completions", {}, "reasoning", REASONING_MODEL),
        ({"model": "x"}, "/task/fix/v1/chat/completions", {"X-Herd-Task": "borrowing"}, "fast", FAST_MODEL),
        ({}, "/reasoning/v1/chat/completions", {}, "reasoning", REASONING_MODEL),
    ],
)
@pytest.mark.parametrize("is_stream", [False, True])
def test_tier_and_model_are_chosen(
    client: Client,
    engines: dict[str, Engine],
    ask: dict[str, str],
    path: str,
    headers: dict[str, str],
    tier: str,
    model: str,
    is_stream: bool,
) -> None:
    answer = client.ask(chat(**ask, stream=is_stream), path=path, headers=headers)
    assert answer.status == 200, answer.body
    assert (answer.headers["x-herd-tier"], answer.headers["x-herd-model"]) == (tier, model)
    if tier == "fast":
        # The router itself says which of its models it was.
        assert f'"model":"{model}"'.encode() in answer.body


@pytest.mark.parametrize(
    ("ask", "path", "status", "code"),
    [
        ({"model": "none"}, "/v1/chat/completions", 404, "model_not_found"),
        ({"model": 7}, "/v1/chat/completions", 400, "invalid_model"),
        ({"model": "task:nothing"}, "/v1/chat/completions", 400, "unknown_task"),
        ({}, "/task/nothing/v1/chat/completions", 400, "unknown_task"),
    ],
)
def test_unknown_models_and_tasks_are_refused(
    client: Client, engines: dict[str, Engine], ask: dict[str, object], path: str, status: int, code: str
) -> None:
    answer = client.ask(chat(**ask), path=path)
    assert (answer.status, answer.error["code"]) == (status, code)


def test_a_key_is_limited_to_its_tiers(client: Client, engines: dict[str, Engine]) -> None:
    answer = client.ask(chat(model=REASONING_MODEL), key="herd-key-of-fay")
    assert (answer.status, answer.error["code"]) == (403, "tier_not_allowed")
    assert client.ask(chat(), tier="reasoning", key="herd-key-of-fay").status == 403


def test_a_fallback_answers_on_request(client: Client, made: Gateway, engines: dict[str, Engine]) -> None:
    made.unavailable("reasoning", "preempted", "preempted by VASP job 88")
    wait_for(lambda: client.ask(tier="reasoning", path="/health").status == 503, "the gateway knows")
    ask = chat(model=REASONING_MODEL)
    assert client.ask(ask).status == 503
    for word in ("allow", "fast"):
        answer = client.ask(ask, headers={"X-Herd-Fallback": word})
        assert answer.status == 200
        assert answer.headers["x-herd-tier"] == "fast"
        assert answer.headers["x-herd-fallback-from"] == "reasoning"
        assert f'"model":"{FAST_MODEL}"'.encode() in answer.body
    settle(made, engines)


@pytest.mark.parametrize("is_stream", [False, True])
def test_a_fallback_answers_if_the_connection_to_an_engine_fails(
    client: Client, made: Gateway, engines: dict[str, Engine], is_stream: bool
) -> None:
    port = free_port()
    made.ready("reasoning", port, [REASONING_MODEL], job="77")
    ask = chat(model=REASONING_MODEL, stream=is_stream)
    answer = client.ask(ask, headers={"X-Herd-Fallback": "allow"})
    assert answer.status == 200, answer.body
    assert (answer.headers["x-herd-tier"], answer.headers["x-herd-fallback-from"]) == ("fast", "reasoning")
    assert f'"model":"{FAST_MODEL}"'.encode() in answer.body
    refused = client.ask(ask)
    assert (refused.status, refused.error["herd"]["state"]) == (503, "failing")
    assert refused.error["herd"]["tier"] == "reasoning"
    settle(made, engines)


def test_logs_contain_no_prompts_and_no_keys(client: Client, made: Gateway) -> None:
    secret = "a-word-that-nobody-else-says"
    client.ask(chat(model=REASONING_MODEL) | {"messages": [{"role": "user", "content": secret}]})
    client.ask(chat(), path=f"/v1/models?key={secret}", method="GET")
    time.sleep(0.5)
    texts = [path.read_text(errors="replace") for path in made.root.glob("*.log")]
    assert any('"key": "ann"' in text for text in texts)
    for text in texts:
        assert secret not in text
        assert "herd-key-of" not in text
        assert "engine-key-of" not in text


def test_the_log_describes_each_request(client: Client, made: Gateway, engines: dict[str, Engine]) -> None:
    answer = client.ask(chat(6, model=REASONING_MODEL, stream=True))
    identity = answer.headers["x-request-id"]
    wait_for(lambda: any(line["id"] == identity for line in made.access()), "the line", 3)
    line = next(line for line in made.access() if line["id"] == identity)
    assert line["key"] == "ann"
    assert line["tier"] == "reasoning"
    assert line["completion_tokens"] == 6
    assert line["prompt_tokens"] > 0
    assert 0 < line["ttft"] <= line["duration"]
    assert line["complete"] is True
    assert line["engine"] == f"127.0.0.1:{engines['reasoning'].port}"
    text = client.ask(path="/metrics", key=None).body.decode()
    assert 'herd_gateway_ttft_seconds_count{tier="reasoning"}' in text
    assert 'herd_gateway_tokens_total{kind="completion",tier="reasoning"}' in text
    assert 'herd_tier_ready{tier="fast"} 1.0' in text


def test_a_key_made_by_the_command_is_accepted(client: Client, made: Gateway, engines: dict[str, Engine]) -> None:
    command = [*made.program()[:-2], "key", "new", "zoe-2026", "--user", "zoe", "--limits", "roomy"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    entry = json.loads(done.stderr.splitlines()[-1].strip().removeprefix("- "))
    entries = json.loads((made.root / "keys.json").read_text(encoding="utf-8"))["keys"]
    scratch = made.root / "keys.json.new"
    scratch.write_text(json.dumps({"schema": 1, "keys": [*entries, entry]}), encoding="utf-8")
    scratch.replace(made.root / "keys.json")
    wait_for(lambda: client.ask(chat(), key=done.stdout.strip()).status == 200, "the key opens", 2)
    made.write_keys()
