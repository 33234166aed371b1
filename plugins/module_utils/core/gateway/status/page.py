# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the page at C(/status), which shows C(/status.json) to people.

The page is complete without its script, which only fetches it again and replaces what has changed. All values are
escaped, and the page's content security policy allows its own script only.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

from .. import timefmt

#: The name of each state, and what it means for users.
STATES: Mapping[str, tuple[str, str]] = {
    "ready": ("Ready", "It answers requests."),
    "loading": ("Loading", "It loads its model."),
    "draining": ("Draining", "It finishes running requests and takes no new ones."),
    "pending": ("Pending", "Its job waits in the cluster's queue."),
    "preempted": ("Preempted", "A job of higher priority uses its GPUs. It comes back by itself."),
    "backing-off": ("Failed", "It failed. It is started again later."),
    "stopped": ("Stopped", "It is switched off."),
}
_UNKNOWN = ("Unknown", "Its state is not known.")
_HOST = re.compile(r"(?=.{1,255}$)([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?")
_NONE = "not known"


@dataclass(frozen=True)
class Assets:
    """The page's style and script, which have their own files.

    :ivar style: CSS.
    :ivar script: JavaScript.
    """

    style: str
    script: str


def origin(host: str, proto: str) -> str:
    """Return the gateway's address as the page's reader sees it; a placeholder for an invalid host.

    :param host: header C(Host), as the client sent it.
    :param proto: C(http) or C(https).
    """
    scheme = "https" if proto.strip().lower() == "https" else "http"
    return f"{scheme}://{host}" if _HOST.fullmatch(host) else f"{scheme}://GATEWAY"


def _hash(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


def headers(assets: Assets) -> dict[str, str]:
    """Return the headers of the page."""
    policy = [
        "default-src 'none'",
        f"style-src {_hash(assets.style)}",
        f"script-src {_hash(assets.script)}",
        "connect-src 'self'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
    return {
        "Content-Security-Policy": "; ".join(policy),
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }


# Pieces


def _time(moment: str | None, now: float) -> str:
    """Write a time that the page's script converts to the reader's time zone."""
    seconds = timefmt.unix(moment)
    if moment is None or seconds is None:
        return escape(_NONE)
    return f'<time datetime="{escape(moment)}">{escape(timefmt.clock(seconds, now))}</time>'


def _gib(mib: float) -> str:
    return f"{mib / 1024:.1f}"


def _amount(value: float | None, unit: str) -> str:
    return escape(_NONE) if value is None else f"{value:g} {unit}".strip()


def _bar(tag: str, value: float, most: float, label: str) -> str:
    return f'<{tag} value="{value:g}" max="{most:g}" aria-label="{escape(label)}">{escape(label)}</{tag}>'


def _codes(names: Iterable[str]) -> str:
    return ", ".join(f"<code>{escape(name)}</code>" for name in names) or escape(_NONE)


def _facts(pairs: Iterable[tuple[str, str]]) -> str:
    return "<dl>" + "".join(f"<div><dt>{escape(name)}</dt><dd>{value}</dd></div>" for name, value in pairs) + "</dl>"


def _title(name: str) -> str:
    return f"{name[:1].upper()}{name[1:].replace('-', ' ')} tier"


def _summary(tiers: Iterable[Mapping[str, Any]]) -> tuple[str, str]:
    """Summarise all tiers in one sentence, with a level for its color."""
    all_of_them = [tier for tier in tiers if tier["enabled"]]
    ready = [tier for tier in all_of_them if tier["ready"]]
    if all_of_them and len(ready) == len(all_of_them):
        return ("All tiers answer." if len(ready) > 1 else "The tier answers."), "ready"
    if ready:
        others = ", ".join(str(tier["name"]) for tier in all_of_them if not tier["ready"])
        return f"{len(ready)} of {len(all_of_them)} tiers answer. Unavailable: {others}.", "partly"
    return "No tier answers.", "unavailable"


def _state(tier: Mapping[str, Any], now: float) -> str:
    word, meaning = STATES.get(str(tier["state"]), _UNKNOWN)
    lines = [f"<p>{escape(meaning)}</p>"]
    reason = str(tier["reason"])
    if reason and not tier["ready"] and reason != tier["state"]:
        lines.append(f'<p class="reason">{escape(reason[:1].upper() + reason[1:])}.</p>')
    if tier["percent"] is not None:
        label = f"{tier['percent']} % loaded"
        lines.append(f"<p>{_bar('progress', tier['percent'], 100, label)} {escape(label)}</p>")
    if not tier["ready"]:
        back = timefmt.unix(tier["expected"])
        if back is not None and back > now:
            lines.append(f"<p>Expected in about {timefmt.span(back - now)}, at {_time(tier['expected'], now)}.</p>")
        elif tier["state"] not in ("stopped", "draining"):
            lines.append("<p>The time of its return is not known.</p>")
        if tier["state"] != "stopped":
            lines.append(
                f"<p>Requests are refused with status 503; try again in {timefmt.span(tier['retry_after_s'])}.</p>"
            )
        if tier["fallback"]:
            lines.append(f"<p>The tier {escape(str(tier['fallback']))} answers in its place.</p>")
    badge = f'<p class="state" data-state="{escape(str(tier["state"]))}">{escape(word)}</p>'
    return badge + "".join(lines)


def _queue(tier: Mapping[str, Any]) -> str:
    load, slots = tier["load"], tier["slots"]
    if load["running"] is None:
        return escape(_NONE)
    text = f"{load['running']} of {slots} running" if slots else f"{load['running']} running"
    return text if load["waiting"] is None else f"{text}, {load['waiting']} waiting"


def _speed(tier: Mapping[str, Any]) -> str:
    load = tier["load"]
    text = _amount(load["tokens_per_s"], "tokens/s")
    prompt = load["prompt_tokens_per_s"]
    return text if prompt is None else f"{text} written, {prompt:g} tokens/s read"


def _first_token(tier: Mapping[str, Any]) -> str:
    half, most = tier["measured"]["ttft_p50_s"], tier["measured"]["ttft_p95_s"]
    if half is None:
        return escape(_NONE)
    return f"{half:.2g} s (median)" + ("" if most is None else f", {most:.2g} s (95 %)")


def _memory(tier: Mapping[str, Any]) -> str:
    found = []
    for gpu in tier["gpus"]:
        label = f"{gpu['host']} {_gib(gpu['used_mib'])} of {_gib(gpu['total_mib'])} GiB".strip()
        found.append(f"{_bar('meter', gpu['used_mib'], gpu['total_mib'], label)} {escape(label)}")
    return "<br>".join(found) or escape(_NONE)


def _tier(tier: Mapping[str, Any], now: float) -> str:
    name = str(tier["name"])
    measured = tier["measured"]
    served = (
        escape(_NONE) if measured["requests"] is None else f"{measured['requests']}, {measured['errors'] or 0} failed"
    )
    facts = [("Models", _codes(tier["models"]))]
    if tier["ready"] or tier["context"]:
        facts.append(("Context", escape(_NONE) if not tier["context"] else f"{tier['context']:,} tokens"))
    if tier["ready"]:
        facts += [
            ("Requests now", _queue(tier)),
            ("Speed", _speed(tier)),
            ("First token after", _first_token(tier)),
            ("GPU memory", _memory(tier)),
            ("Since", _time(tier["started"], now)),
        ]
    facts.append(("Requests so far", served))
    where = [f"job {tier['job_id']}" if tier["job_id"] else "", f"on {tier['host']}" if tier["host"] else ""]
    if any(where):
        facts.append(("Runs as", escape(" ".join(filter(None, where)))))
    return (
        f'<section class="tier" id="tier-{escape(name)}" aria-labelledby="h-{escape(name)}" data-live>'
        f'<h2 id="h-{escape(name)}">{escape(_title(name))}</h2>{_state(tier, now)}{_facts(facts)}</section>'
    )


def curl_example(address: str, model: str) -> str:
    """Write a request as a curl command."""
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 500})
    return (
        f"curl {shlex.quote(address + '/v1/chat/completions')} \\\n"
        '  -H "Authorization: Bearer $HERD_API_KEY" \\\n'
        "  -H 'Content-Type: application/json' \\\n"
        f"  -d {shlex.quote(body)}"
    )


def python_example(address: str, model: str) -> str:
    """Write a request as a Python program that prints the stream."""
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


def _example(name: str, title: str, text: str) -> str:
    return (
        f'<h3 id="h-{name}">{escape(title)}</h3><div class="example">'
        f'<pre id="{name}" tabindex="0" role="region" aria-labelledby="h-{name}">'
        f"<code>{escape(text)}</code></pre></div>"
    )


def _examples(status: Mapping[str, Any], address: str) -> str:
    pairs = [(str(tier["name"]), str(model)) for tier in status["tiers"] for model in tier["models"][:1]]
    parts = [
        '<section aria-labelledby="h-use"><h2 id="h-use">Use it</h2>',
        "<p>The gateway has OpenAI's API. Ask the operators for a key, and set it as the environment variable ",
        f"<code>HERD_API_KEY</code>. The base URL is <code>{escape(address)}/v1</code>, for every model.</p>",
    ]
    for tier, model in pairs:
        parts.append(_example(f"curl-{escape(tier)}", f"curl, {_title(tier).lower()}", curl_example(address, model)))
    if pairs:
        title = "Python, with the package openai"
        parts.append(_example("python", title, python_example(address, pairs[0][1])))
    return "".join([*parts, "</section>"])


def _tasks(status: Mapping[str, Any]) -> str:
    if not status["tasks"]:
        return ""
    rows = dict(status["tasks"])
    if status["default_task"]:
        rows["any other"] = status["default_task"]
    lines = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(row["tier"])}</td>'
        f"<td><code>{escape(row['model'])}</code></td><td>{escape(row['why'])}</td></tr>"
        for name, row in rows.items()
    )
    return (
        '<section aria-labelledby="h-tasks"><h2 id="h-tasks">Models by task</h2>'
        "<p>A request may name its task instead of a model: as the model <code>task:fix</code>, in the header "
        "<code>X-Herd-Task: fix</code>, or in the path <code>/task/fix/v1/chat/completions</code>.</p>"
        '<div class="wide" tabindex="0" role="region" aria-label="Table of tasks"><table><thead><tr>'
        '<th scope="col">Task</th><th scope="col">Tier</th><th scope="col">Model</th><th scope="col">Why</th>'
        f"</tr></thead><tbody>{lines}</tbody></table></div></section>"
    )


def render(status: Mapping[str, Any], assets: Assets, address: str) -> bytes:
    """Write the page.

    :param status: the result of C(status.collect).
    :param address: the gateway's address for the reader; see C(origin).
    """
    now = timefmt.unix(status["generated"]) or 0.0
    sentence, level = _summary(status["tiers"])
    silent = (
        '<p class="reason">The tier manager is silent, so reasons are not known.</p>'
        if status["manager_silent"]
        else ""
    )
    tiers = "".join(_tier(tier, now) for tier in status["tiers"])
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Inference status</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">'
        f"<style>{assets.style}</style></head><body><header><h1>Inference status</h1>"
        f'<div id="summary" role="status" data-live><p class="summary" data-level="{level}">{escape(sentence)}</p>'
        f"{silent}</div></header><main>"
        f'<div class="tiers">{tiers}</div>{_examples(status, address)}{_tasks(status)}</main>'
        f'<footer><p>As of <span id="generated" data-live>{_time(status["generated"], now)}</span>. '
        '<a href="status">Refresh</a> · <a href="status.json">As JSON</a> · <a href="metrics">Metrics</a></p>'
        f'<p id="connection" role="status"></p></footer><script>{assets.script}</script></body></html>\n'
    ).encode()
