# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the status page's examples of requests, with the reader's address and a model of each tier."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any


def curl(address: str, model: str) -> str:
    """Write a request as a curl command."""
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 500})
    return (
        f"curl {shlex.quote(address + '/v1/chat/completions')} \\\n"
        '  -H "Authorization: Bearer $HERD_API_KEY" \\\n'
        "  -H 'Content-Type: application/json' \\\n"
        f"  -d {shlex.quote(body)}"
    )


def openai(address: str, model: str) -> str:
    """Write a request as a Python program with OpenAI's package, which prints the stream."""
    return (
        "import os\n"
        "from openai import OpenAI\n"
        "\n"
        f"client = OpenAI(base_url={address + '/v1'!r}, api_key=os.environ['HERD_API_KEY'])\n"
        "stream = client.chat.completions.create(\n"
        f"    model={model!r},\n"
        "    messages=[{'role': 'user', 'content': 'Hello!'}],\n"
        "    max_tokens=500,\n"
        "    stream=True,\n"
        ")\n"
        "for chunk in stream:\n"
        "    for choice in chunk.choices:\n"
        "        print(choice.delta.content or '', end='', flush=True)\n"
        "print()"
    )


def anthropic(address: str, model: str) -> str:
    """Write a request as a Python program with Anthropic's package, which prints the stream."""
    return (
        "import os\n"
        "from anthropic import Anthropic\n"
        "\n"
        f"client = Anthropic(base_url={address!r}, api_key=os.environ['HERD_API_KEY'])\n"
        "with client.messages.stream(\n"
        f"    model={model!r},\n"
        "    messages=[{'role': 'user', 'content': 'Hello!'}],\n"
        "    max_tokens=500,\n"
        ") as stream:\n"
        "    for text in stream.text_stream:\n"
        "        print(text, end='', flush=True)\n"
        "print()"
    )


def _example(name: str, text: str) -> str:
    """Write an example. The element with the id C(h-NAME) is its title."""
    return (
        f'<div class="example"><pre id="{name}" tabindex="0" role="region" aria-labelledby="h-{name}">'
        f"<code>{escape(text)}</code></pre></div>"
    )


def _package(name: str, text: str) -> str:
    return folded(f'<span id="h-{name}">Python, package <code>{name}</code></span>', _example(name, text))


def folded(title: str, content: str) -> str:
    """Write a part of the page that its reader unfolds."""
    return f"<details><summary>{title}</summary>{content}</details>"


def section(tiers: Sequence[Mapping[str, Any]], address: str) -> str:
    """Write how to use the gateway: one example for each client, and for curl one for each tier."""
    models = [(str(tier["name"]), str(tier["models"][0])) for tier in tiers if tier["models"]]
    parts = [
        '<section aria-labelledby="h-use"><h2 id="h-use">Use it</h2>',
        "<p>Ask the operators for a key, and set it as <code>HERD_API_KEY</code>. The base URL is "
        f"<code>{escape(address)}/v1</code> for OpenAI's clients, <code>{escape(address)}</code> for Anthropic's.</p>",
    ]
    if models:
        commands = (
            f'<p id="h-curl-{escape(tier)}">curl, {escape(tier)} tier</p>'
            + _example(f"curl-{escape(tier)}", curl(address, model))
            for tier, model in models
        )
        first = models[0][1]
        parts.append(folded("curl", "".join(commands)))
        parts.append(_package("openai", openai(address, first)) + _package("anthropic", anthropic(address, first)))
    return "".join([*parts, "</section>"])
