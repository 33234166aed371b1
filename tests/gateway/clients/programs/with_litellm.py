# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""LiteLLM as a library, with the gateway as an OpenAI-compatible service."""

from __future__ import annotations

import os
from typing import Any

# It would fetch a table of prices from the internet.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import litellm

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

HELLO: Any = [{"role": "user", "content": "hello"}]


def ask(model: str = MODEL, key: str = KEY, **more: Any) -> Any:
    given: dict[str, Any] = {"messages": HELLO, "max_tokens": 6, "num_retries": 0, "max_retries": 0, **more}
    return litellm.completion(model=f"openai/{model}", api_base=f"{GATEWAY}/v1", api_key=key, **given)


@scenario
def chat() -> Any:
    answer = ask()
    return [answer.choices[0].message.content, answer.usage.completion_tokens]


@scenario
def stream() -> Any:
    pieces = [piece.choices[0].delta.content for piece in ask(stream=True, max_tokens=20) if piece.choices]
    return [len([piece for piece in pieces if piece]), None]


@scenario
def tools() -> Any:
    asked: Any = {"model": TOOL_MODEL, "messages": [{"role": "user", "content": QUESTION}], "tools": [TOOL]}
    call = ask(**asked).choices[0].message.tool_calls[0].function
    chunks = list(ask(**asked, stream=True))
    built: Any = litellm.stream_chunk_builder(chunks)
    final = built.choices[0].message.tool_calls[0].function
    return [call.name, call.arguments, final.name, final.arguments]


@scenario
def responses() -> Any:
    answer: Any = litellm.responses(
        model=f"openai/{MODEL}", input="hello", api_base=f"{GATEWAY}/v1", api_key=KEY, max_output_tokens=5
    )
    return answer.output[0].content[0].text


@scenario
def key_wrong() -> Any:
    return str(ask(key=WRONG_KEY))


@scenario
def model_wrong() -> Any:
    return str(ask(model=NO_MODEL))


@scenario
def tier_away() -> Any:
    return str(ask(max_retries=3))


@scenario
def stream_cut() -> Any:
    return [str(piece) for piece in ask(CUT_MODEL, stream=True)]


main()
