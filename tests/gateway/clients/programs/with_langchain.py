# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""LangChain's model for OpenAI's API."""

from __future__ import annotations

from typing import Any

from langchain_openai import ChatOpenAI

from tests.gateway.clients.programs.scenarios import (
    CUT_MODEL,
    GATEWAY,
    KEY,
    MODEL,
    NO_MODEL,
    QUESTION,
    TOOL,
    TOOL_MODEL,
    WRONG_KEY,
    main,
    scenario,
)


def model(name: str = MODEL, key: str = KEY, tokens: int = 6, retries: int = 0, **more: Any) -> Any:
    given: Any = {"model": name, "base_url": f"{GATEWAY}/v1", "api_key": key, "max_retries": retries}
    return ChatOpenAI(max_tokens=tokens, timeout=60, **given, **more)


@scenario
def chat() -> Any:
    answer = model().invoke("hello")
    return [answer.content, answer.usage_metadata["output_tokens"]]


@scenario
def stream() -> Any:
    pieces = [piece.content for piece in model(tokens=20, stream_usage=True).stream("hello")]
    return [len([piece for piece in pieces if piece]), None]


@scenario
def tools() -> Any:
    bound = model(TOOL_MODEL).bind_tools([TOOL])
    call = bound.invoke(QUESTION).tool_calls[0]
    total: Any = None
    for piece in bound.stream(QUESTION):
        total = piece if total is None else total + piece
    final = total.tool_calls[0]
    return [[call["name"], call["args"]], [final["name"], final["args"]]]


@scenario
def responses() -> Any:
    return model(use_responses_api=True).invoke("hello").text


@scenario
def key_wrong() -> Any:
    return model(key=WRONG_KEY).invoke("hello")


@scenario
def model_wrong() -> Any:
    return model(NO_MODEL).invoke("hello")


@scenario
def tier_away() -> Any:
    return model(retries=3).invoke("hello")


@scenario
def stream_cut() -> Any:
    return [str(piece) for piece in model(CUT_MODEL, tokens=20).stream("hello")]


main()
