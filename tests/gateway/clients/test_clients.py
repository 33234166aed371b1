# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The clients that users use: OpenAI's own for Python, and curl."""

from __future__ import annotations

import json
import subprocess
import threading
from typing import Any

import openai
import pytest

from tests.gateway.conftest import Client, settle
from tests.gateway.harness import FAST_MODEL, REASONING_MODEL, Engine, Gateway, wait_for

HELLO: list[openai.types.chat.ChatCompletionMessageParam] = [{"role": "user", "content": "hello"}]


def sdk(made: Gateway, key: str = "herd-key-of-ann", tier: str = "fast", path: str = "/v1") -> openai.OpenAI:
    return openai.OpenAI(base_url=made.url(tier, path), api_key=key, max_retries=0, timeout=60)


def test_chat(made: Gateway, engines: dict[str, Engine]) -> None:
    for model in (FAST_MODEL, REASONING_MODEL):
        answer = sdk(made).chat.completions.create(model=model, messages=HELLO, max_tokens=6)
        assert answer.choices[0].message.content
        assert answer.usage is not None
        assert answer.usage.completion_tokens == 6


def test_streaming(made: Gateway, engines: dict[str, Engine]) -> None:
    for model in (FAST_MODEL, REASONING_MODEL):
        with sdk(made).chat.completions.create(model=model, messages=HELLO, max_tokens=20, stream=True) as stream:
            pieces = [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
        assert len([piece for piece in pieces if piece]) >= 15
        # The same words as in one piece: nothing is lost, doubled or joined.
    asked: dict[str, Any] = {
        "model": REASONING_MODEL,
        "messages": HELLO,
        "max_tokens": 20,
        "temperature": 0.0,
        "seed": 1,
    }
    whole = sdk(made).chat.completions.create(**asked)
    with sdk(made).chat.completions.create(**asked, stream=True) as stream:
        text = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
    assert text == whole.choices[0].message.content


def test_models_and_completions(made: Gateway, engines: dict[str, Engine]) -> None:
    ids = [model.id for model in sdk(made).models.list()]
    assert ids == [FAST_MODEL, "small-two", REASONING_MODEL]
    assert sdk(made).models.retrieve(FAST_MODEL).id == FAST_MODEL
    assert sdk(made).completions.create(model=REASONING_MODEL, prompt="hello", max_tokens=3).choices[0].text
    with pytest.raises(openai.NotFoundError, match="none"):
        sdk(made).models.retrieve("none")


def test_a_task_can_be_a_base_url_or_a_model(made: Gateway, engines: dict[str, Engine]) -> None:
    for path, model in (("/task/borrowing/v1", "any"), ("/v1", "task:borrowing"), ("/reasoning/v1", REASONING_MODEL)):
        raw = sdk(made, path=path).chat.completions.with_raw_response.create(model=model, messages=HELLO, max_tokens=2)
        assert raw.headers["x-herd-tier"] == "reasoning"
        assert raw.parse().choices[0].message.content


def test_errors_raise_openais_exceptions(made: Gateway, engines: dict[str, Engine]) -> None:
    def ask(model: str = REASONING_MODEL, key: str = "herd-key-of-ann", text: str = "hello", tokens: int = 2) -> None:
        sdk(made, key).chat.completions.create(
            model=model, messages=[{"role": "user", "content": text}], max_tokens=tokens
        )

    with pytest.raises(openai.AuthenticationError, match="unknown"):
        ask(key="herd-key-of-nobody")
    with pytest.raises(openai.NotFoundError, match="There is no model"):
        ask(model="none")
    with pytest.raises(openai.PermissionDeniedError, match="does not allow the tier"):
        ask(key="herd-key-of-fay")
    with pytest.raises(openai.RateLimitError, match="per minute") as limited:
        for _each in range(9):
            ask(key="herd-key-of-bob")
    assert limited.value.code == "rate_limit_exceeded"
    # The engine's own words come through.
    with pytest.raises(openai.BadRequestError, match="context"):
        ask(text="hello " * 12000)
    with pytest.raises(openai.APIStatusError, match="32 MiB") as large:
        ask(text="x" * (33 << 20))
    assert large.value.status_code == 413


def test_an_unavailable_tier_raises_a_server_error(made: Gateway, engines: dict[str, Engine], client: Client) -> None:
    made.unavailable("reasoning", "preempted", "preempted by VASP job 88, pending: Priority", 1)
    wait_for(lambda: client.ask(tier="reasoning", path="/health").status == 503, "the gateway knows")
    with pytest.raises(openai.InternalServerError, match="VASP job 88") as unavailable:
        sdk(made).chat.completions.create(model=REASONING_MODEL, messages=HELLO)
    assert unavailable.value.status_code == 503
    assert unavailable.value.code == "tier_unavailable"
    assert unavailable.value.response.headers["retry-after"] == "1"
    settle(made, engines)


def test_openais_client_retries_after_the_given_time(made: Gateway, engines: dict[str, Engine], client: Client) -> None:
    made.unavailable("reasoning", "loading", "loading 99 %", 1)
    wait_for(lambda: client.ask(tier="reasoning", path="/health").status == 503, "the gateway knows")
    patient = openai.OpenAI(base_url=made.url(), api_key="herd-key-of-ann", max_retries=3, timeout=60)
    before = len(made.access())
    # The tier comes back while the client waits.
    timer = threading.Timer(0.7, settle, (made, engines))
    timer.start()
    answer = patient.chat.completions.create(model=REASONING_MODEL, messages=HELLO, max_tokens=2)
    timer.join()
    assert answer.choices[0].message.content
    wait_for(lambda: len(made.access()) > before + 1, "the lines of both")


def curl(made: Gateway, *words: str, tier: str = "fast", path: str = "/v1/chat/completions") -> str:
    command = ["curl", "-sS", *words, made.url(tier, path)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def test_the_documented_curl_command_works(made: Gateway, engines: dict[str, Engine]) -> None:
    words = ["-f", "-H", "Content-Type: application/json", "-H", "Authorization: Bearer herd-key-of-ann"]
    ask = json.dumps({"model": REASONING_MODEL, "messages": HELLO, "max_tokens": 4})
    answer = json.loads(curl(made, *words, "-d", ask))
    assert answer["choices"][0]["message"]["content"]
    listed = json.loads(curl(made, *words, path="/v1/models"))
    assert [entry["id"] for entry in listed["data"]] == [FAST_MODEL, "small-two", REASONING_MODEL]
    assert json.loads(curl(made, "-f", path="/health")) == {"status": "ok"}
    # Larger than a kilobyte: curl would ask whether it may.
    long = json.dumps(
        {"model": REASONING_MODEL, "messages": [{"role": "user", "content": "hi " * 900}], "max_tokens": 2}
    )
    assert json.loads(curl(made, *words, "-H", "Expect: 100-continue", "-d", long))["choices"]


def test_curl_receives_a_stream_as_it_comes(made: Gateway, engines: dict[str, Engine]) -> None:
    ask = json.dumps({"model": REASONING_MODEL, "messages": HELLO, "max_tokens": 30, "stream": True})
    text = curl(made, "-N", "-H", "Authorization: Bearer herd-key-of-ann", "-d", ask)
    events = [line for line in text.splitlines() if line]
    assert all(line.startswith("data: ") for line in events)
    assert events[-1] == "data: [DONE]"
    assert len(events) >= 30
