# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Anthropic's own client for Python."""

from __future__ import annotations

from typing import Any

import anthropic

from tests.gateway.clients.programs.scenarios import (
    CUT_MODEL,
    GATEWAY,
    KEY,
    MODEL,
    NO_MODEL,
    PARAMETERS,
    QUESTION,
    TOOL_MODEL,
    TOOL_NAME,
    WRONG_KEY,
    main,
    scenario,
)

HELLO: Any = [{"role": "user", "content": "hello"}]


def client(key: str = KEY, retries: int = 0) -> Any:
    return anthropic.Anthropic(base_url=GATEWAY, api_key=key, max_retries=retries, timeout=60)


@scenario
def chat() -> Any:
    answer = client().messages.create(model=MODEL, messages=HELLO, max_tokens=6)
    return [answer.content[0].text, answer.usage.output_tokens]


@scenario
def stream() -> Any:
    with client().messages.stream(model=MODEL, messages=HELLO, max_tokens=20) as events:
        pieces = list(events.text_stream)
        return [len(pieces), events.get_final_message().usage.output_tokens]


@scenario
def tools() -> Any:
    tool = {"name": TOOL_NAME, "description": "The weather.", "input_schema": PARAMETERS}
    asked: Any = {"model": TOOL_MODEL, "messages": [{"role": "user", "content": QUESTION}], "max_tokens": 50}
    answer = client().messages.create(**asked, tools=[tool])
    with client().messages.stream(**asked, tools=[tool]) as events:
        final = events.get_final_message()
    calls = [block for message in (answer, final) for block in message.content if block.type == "tool_use"]
    return [[call.name, call.input] for call in calls]


@scenario
def token_by_header() -> Any:
    """With C(auth_token) the client sends C(Authorization) instead of C(x-api-key)."""
    other = anthropic.Anthropic(base_url=GATEWAY, auth_token=KEY, max_retries=0)
    return other.messages.create(model=MODEL, messages=HELLO, max_tokens=4).content[0].text


@scenario
def count() -> Any:
    return client().messages.count_tokens(model=MODEL, messages=HELLO).input_tokens


@scenario
def models() -> Any:
    return [[model.id for model in client().models.list()], client().models.retrieve(MODEL).id]


@scenario
def model_missing() -> Any:
    return client().models.retrieve(NO_MODEL).id


@scenario
def key_wrong() -> Any:
    return client(WRONG_KEY).messages.create(model=MODEL, messages=HELLO, max_tokens=4)


@scenario
def model_wrong() -> Any:
    return client().messages.create(model=NO_MODEL, messages=HELLO, max_tokens=4)


@scenario
def tier_away() -> Any:
    return client(retries=3).messages.create(model=MODEL, messages=HELLO, max_tokens=4)


@scenario
def stream_cut() -> Any:
    with client().messages.stream(model=CUT_MODEL, messages=HELLO, max_tokens=20) as events:
        return list(events.text_stream)


main()
