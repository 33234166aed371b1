# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""OpenAI's own client for Python."""

from __future__ import annotations

from typing import Any

import openai

from tests.gateway.clients.programs.scenarios import (
    CUT_MODEL,
    GATEWAY,
    KEY,
    LIMITED_KEY,
    MODEL,
    NO_MODEL,
    QUESTION,
    TOOL,
    TOOL_MODEL,
    WRONG_KEY,
    main,
    scenario,
)

HELLO: Any = [{"role": "user", "content": "hello"}]


def client(key: str = KEY, retries: int = 0) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{GATEWAY}/v1", api_key=key, max_retries=retries, timeout=60)


@scenario
def chat() -> Any:
    answer = client().chat.completions.create(model=MODEL, messages=HELLO, max_tokens=6)
    return [answer.choices[0].message.content, answer.usage.completion_tokens if answer.usage else None]


@scenario
def stream() -> Any:
    given: Any = {"stream_options": {"include_usage": True}}
    pieces, usage = [], None
    for piece in client().chat.completions.create(model=MODEL, messages=HELLO, max_tokens=20, stream=True, **given):
        pieces += [choice.delta.content for choice in piece.choices if choice.delta.content]
        usage = piece.usage or usage
    return [len(pieces), usage.completion_tokens if usage else None]


@scenario
def tools() -> Any:
    asked: Any = {"model": TOOL_MODEL, "messages": [{"role": "user", "content": QUESTION}], "tools": [TOOL]}
    answer = client().chat.completions.create(**asked)
    call: Any = (answer.choices[0].message.tool_calls or [None])[0]
    with client().chat.completions.stream(**asked) as events:
        final: Any = events.get_final_completion().choices[0].message
    last = final.tool_calls[0].function
    return [call.function.name, call.function.arguments, last.name, last.arguments]


@scenario
def responses() -> Any:
    answer = client().responses.create(model=MODEL, input="hello", max_output_tokens=5)
    with client().responses.create(model=MODEL, input="hello", max_output_tokens=5, stream=True) as events:
        kinds = [event.type for event in events]
    return [answer.output_text, answer.usage.output_tokens if answer.usage else None, kinds[0], kinds[-1]]


@scenario
def completions() -> Any:
    return client().completions.create(model=MODEL, prompt="hello", max_tokens=3).choices[0].text


@scenario
def models() -> Any:
    return [[model.id for model in client().models.list()], client().models.retrieve(MODEL).id]


@scenario
def model_missing() -> Any:
    return client().models.retrieve(NO_MODEL).id


@scenario
def key_wrong() -> Any:
    return client(WRONG_KEY).chat.completions.create(model=MODEL, messages=HELLO)


@scenario
def model_wrong() -> Any:
    return client().chat.completions.create(model=NO_MODEL, messages=HELLO)


@scenario
def prompt_too_long() -> Any:
    return client().chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "hello " * 12000}])


@scenario
def embeddings_of_a_chat_model() -> Any:
    return client().embeddings.create(model=MODEL, input="hello")


@scenario
def limit() -> Any:
    for _each in range(9):
        client(LIMITED_KEY).chat.completions.create(model=MODEL, messages=HELLO, max_tokens=1)


@scenario
def key_as_on_azure() -> Any:
    """With Azure's header C(api-key) and a query, and the key of another service in the place of OpenAI's."""
    azure = openai.OpenAI(
        base_url=f"{GATEWAY}/v1",
        api_key="sk-of-another-service",
        default_headers={"api-key": KEY},
        default_query={"api-version": "preview"},
        max_retries=0,
    )
    return azure.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=4).choices[0].message.content


@scenario
def tier_away() -> Any:
    return client(retries=3).chat.completions.create(model=MODEL, messages=HELLO)


@scenario
def stream_cut() -> Any:
    return [piece.id for piece in client().chat.completions.create(model=CUT_MODEL, messages=HELLO, stream=True)]


main()
