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
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

from ... import timefmt
from . import examples
from .chart import charts
from .text import UNKNOWN, amount, moment, number, quantity, span

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
_UNKNOWN_STATE = ("Unknown", "Its state is not known.")
_HOST = re.compile(r"(?=.{1,255}$)([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?")
#: What a GPU's level means, where it needs attention.
LEVELS: Mapping[str, str] = {"acceptable": "above target", "critical": "critical"}


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


def _gib(mib: float) -> str:
    return f"{mib / 1024:.1f}"


def _models(tier: Mapping[str, Any]) -> str:
    """List a tier's models, and mark those that a router has loaded."""
    loaded = tier["loaded"] or ()
    marked = (
        f'<div class="row"><code>{escape(name)}</code>'
        + (' <span class="loaded">loaded</span></div>' if name in loaded else "</div>")
        for name in tier["models"]
    )
    return "".join(marked) or escape(UNKNOWN)


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
    lines = []
    reason = str(tier["reason"])
    if reason and not tier["ready"] and reason != tier["state"]:
        lines.append(f'<p class="reason">{escape(reason[:1].upper() + reason[1:])}.</p>')
    if tier["percent"] is not None:
        done = quantity(str(tier["percent"]), "%")
        meter = f'<progress value="{tier["percent"]}" max="100" aria-label="Loading the model"></progress>'
        lines.append(f"<p>{meter} {done} loaded</p>")
    if not tier["ready"]:
        back = timefmt.unix(tier["expected"])
        if back is not None and back > now:
            lines.append(f"<p>Expected in about {span(back - now)}, at {moment(tier['expected'], now)}.</p>")
        elif tier["state"] not in ("stopped", "draining"):
            lines.append("<p>The time of its return is not known.</p>")
        if tier["state"] != "stopped":
            lines.append(f"<p>Requests are refused with status 503; try again in {span(tier['retry_after_s'])}.</p>")
        if tier["fallback"]:
            lines.append(f"<p>The tier {escape(str(tier['fallback']))} answers in its place.</p>")
    return "".join(lines)


def _head(tier: Mapping[str, Any]) -> str:
    name, (word, meaning) = str(tier["name"]), STATES.get(str(tier["state"]), _UNKNOWN_STATE)
    return (
        f'<div class="head"><h2 id="h-{escape(name)}">{escape(_title(name))}</h2>'
        f'<p class="state" data-state="{escape(str(tier["state"]))}">{escape(word)}</p><p>{escape(meaning)}</p></div>'
    )


def _queue(tier: Mapping[str, Any]) -> str:
    load, slots = tier["load"], tier["slots"]
    if load["running"] is None:
        return escape(UNKNOWN)
    text = quantity(f"{load['running']} of {slots}" if slots else str(load["running"]), "running")
    return text if load["waiting"] is None else f"{text}, {quantity(str(load['waiting']), 'waiting')}"


def _speed(tier: Mapping[str, Any]) -> str:
    load = tier["load"]
    text = amount(load["tokens_per_s"], "tokens/s")
    prompt = load["prompt_tokens_per_s"]
    return text if prompt is None else f"{text}, prompt {amount(prompt, 'tokens/s')}"


def _first_token(tier: Mapping[str, Any]) -> str:
    half, most = tier["measured"]["ttft_p50_s"], tier["measured"]["ttft_p95_s"]
    if half is None:
        return escape(UNKNOWN)
    text = f"{amount(half, 's')} (median)"
    return text if most is None else f"{text}, {amount(most, 's')} ({quantity('95', '%')})"


def _gpu(gpu: Mapping[str, Any]) -> str:
    """Write a GPU's name and memory. Its level is a color and, where it needs attention, words."""
    level = escape(str(gpu["level"]))
    name = ", ".join(filter(None, (str(gpu["name"]), str(gpu["host"])))) or "GPU"
    used = f"{_gib(gpu['used_mib'])} of {_gib(gpu['total_mib'])}"
    words = f', <span class="level" data-level="{level}">{escape(LEVELS[level])}</span>' if level in LEVELS else ""
    return (
        f'<div class="row">{escape(name)}<br><meter value="{gpu["used_mib"]}" max="{gpu["total_mib"]}" '
        f'data-level="{level}" aria-label="{escape(f"Memory of {name}: {used} GiB")}"></meter> '
        f"{quantity(used, 'GiB')}{words}</div>"
    )


def _requests(tier: Mapping[str, Any]) -> str:
    count, failed = tier["measured"]["requests"], tier["measured"]["errors"]
    if not count:
        return escape(UNKNOWN) if count is None else "none"
    if failed:
        return f"{number(failed)} of {quantity(number(count), 'requests')} failed"
    return f"{quantity(number(count), 'requests')}, none failed"


def _runs_as(tier: Mapping[str, Any], now: float) -> str:
    parts = [f"job {tier['job_id']}" if tier["job_id"] else "", f"on {tier['host']}" if tier["host"] else ""]
    where = escape(" ".join(filter(None, parts)))
    since = f"since {moment(tier['started'], now)}" if tier["ready"] and tier["started"] else ""
    return ", ".join(filter(None, (where, since)))


def _tier(tier: Mapping[str, Any], now: float) -> str:
    name = escape(str(tier["name"]))
    context = quantity(number(tier["context"]), "tokens") if tier["context"] else escape(UNKNOWN)
    facts = [
        ("Models", _models(tier)),
        ("Context", context if tier["ready"] or tier["context"] else ""),
        ("Requests", _queue(tier) if tier["ready"] else ""),
        ("Speed", _speed(tier) if tier["ready"] else ""),
        ("First token", _first_token(tier) if tier["ready"] else ""),
        ("GPU memory", ("".join(map(_gpu, tier["gpus"])) or escape(UNKNOWN)) if tier["ready"] else ""),
        ("So far", _requests(tier)),
        ("Runs as", _runs_as(tier, now)),
    ]
    return (
        f'<section class="tier" id="tier-{name}" aria-labelledby="h-{name}" data-live>{_head(tier)}'
        f"{_state(tier, now)}{_facts(pair for pair in facts if pair[1])}{charts(tier['history'])}</section>"
    )


def _tasks(status: Mapping[str, Any]) -> str:
    if not status["tasks"]:
        return ""
    rows = dict(status["tasks"])
    if status["default_task"]:
        rows["any other"] = status["default_task"]
    facts = _facts(
        (name, f"<code>{escape(row['model'])}</code>, {escape(row['tier'])} tier. {escape(row['why'])}")
        for name, row in rows.items()
    )
    usage = (
        "<p>A request may name its task instead of a model: as the model <code>task:fix</code>, in the header "
        "<code>X-Herd-Task: fix</code>, or in the path <code>/task/fix/v1/chat/completions</code>.</p>"
    )
    title = f'<h2 id="h-tasks">Models by task</h2> <span>({len(status["tasks"])})</span>'
    return f'<section aria-labelledby="h-tasks">{examples.folded(title, usage + facts)}</section>'


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
        f'<div class="tiers">{tiers}</div>{examples.section(status["tiers"], address)}{_tasks(status)}</main>'
        f'<footer><p>As of <span id="generated" data-live>{moment(status["generated"], now)}</span>. '
        '<a href="status">Refresh</a> · <a href="status.json">As JSON</a> · <a href="metrics">Metrics</a></p>'
        f'<p id="connection" role="status"></p></footer><script>{assets.script}</script></body></html>\n'
    ).encode()
