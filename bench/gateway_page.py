"""Write the measured latency of the gateway as a page of the reference."""

from __future__ import annotations

from typing import Any

TITLES = {"metronome": "a metronome as engine", "engine": "the real engine with a tiny model"}
NOTES = {"metronome": ["It sends a piece every 20 ms, with the time at which it was sent.", ""]}
#: Added milliseconds, medians: of the first piece for any number of streams, of each other piece at 32 streams.
GOAL_FIRST, GOAL_PIECE = 5.0, 1.0


def missed(figures: dict[str, Any]) -> str:
    """Return the goals that are missed."""
    late = []
    for name, title in TITLES.items():
        for what, found in figures[name].items():
            for part, goal in (("ttft", GOAL_FIRST), ("piece", GOAL_PIECE)):
                if part in found and found[part]["added_ms"] > goal:
                    late.append(f"{title}, {what}: {found[part]['added_ms']:+} ms")
    loss = figures["without_loss"]["gateway"]
    if loss["lost_pieces"] or loss["cut_streams"]:
        late.append(f"{loss['lost_pieces']} pieces lost")
    return f"Missed by: {'; '.join(late)}." if late else "All are met."


def table(rows: dict[str, Any]) -> list[str]:
    """Write the added latency of one engine as a table."""
    lines = ["| clients | requests | failed | whole request | first piece | each piece |", "|---|---|---|---|---|---|"]
    for what, found in rows.items():
        cells = [
            f"{found[part]['added_ms']:+} ({found[part]['direct_ms']}) / {found['bare_nginx'][part]['added_ms']:+}"
            if part in found
            else ""
            for part in ("total", "ttft", "piece")
        ]
        row = [what, str(sum(found["requests"])), str(sum(found["failed"])), *cells]
        lines.append(f"| {' | '.join(row)} |")
    return lines


def litellm(figures: dict[str, Any]) -> list[str]:
    """Write the comparison with LiteLLM's proxy."""
    lines = [
        "",
        "## LiteLLM's proxy, 32 streams",
        "",
        "Each client asks the metronome directly, through the gateway and through the proxy, in turn.",
        "",
        "| through | requests | failed | whole request | first piece | each piece | 99 % of pieces |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, title in (("gateway", "the gateway"), ("litellm", "LiteLLM's proxy")):
        found = figures[name]
        cells = [f"{found[part]['added_ms']:+}" if part in found else "" for part in ("total", "ttft", "piece")]
        p99 = f"{found['piece']['added_p99_ms']:+}" if "piece" in found else ""
        row = [title, str(found["requests"][1]), str(found["failed"][1]), *cells, p99]
        lines.append(f"| {' | '.join(row)} |")
    return lines


def page(figures: dict[str, Any]) -> str:
    """Write the figures as a page."""
    lines = [
        "# The gateway's latency",
        "",
        "`make bench-gateway` writes this page; the figures are in `bench/results/gateway.json`. Each client asks the",
        "engine directly, through the gateway, and through a plain nginx, in turn and in one run. Values are added",
        "milliseconds (median), in brackets the engine asked directly, after the bar the plain nginx.",
        f"Machine: {figures['machine']['cores']} cores, shared by engine, gateway and clients;"
        f" {figures['machine']['nginx']}.",
        "",
        f"Goals: at most {GOAL_FIRST:g} ms for the first piece of a stream, at most {GOAL_PIECE:g} ms for each other"
        f" piece, and 128 streams of 50 pieces a second without loss. {missed(figures)}",
    ]
    for name, title in TITLES.items():
        lines += ["", f"## {title[0].upper()}{title[1:]}", "", *NOTES.get(name, []), *table(figures[name])]
    loss, change, flat, large = (figures[name] for name in ("without_loss", "changes", "memory", "large_bodies"))
    answers = ", ".join(f"{count} {what}" for what, count in sorted(large["answers"].items()))
    lines += [
        *litellm(figures["litellm"]),
        "",
        "## Under load",
        "",
        f"- {loss['streams']} streams of {loss['pieces_each']} pieces at once: {loss['gateway']['lost_pieces']} pieces"
        f" lost, {loss['gateway']['cut_streams']} streams cut. Delay of a piece: {loss['gateway']['delay_p50_ms']} ms"
        f" (median), {loss['gateway']['delay_p99_ms']} ms (99 %); directly {loss['direct']['delay_p50_ms']} ms and"
        f" {loss['direct']['delay_p99_ms']} ms.",
        f"- Engines changed {change['changes']} times: {change['requests']} requests, {change['failed']} failed.",
        f"- Memory growth over {flat['mib'][-1]['requests']} requests, after the first thousand: gateway"
        f" {flat['grown_after_first_thousand_mib']['gateway']:+} MiB of {flat['mib'][-1]['gateway']}, a process of"
        f" nginx {flat['grown_after_first_thousand_mib']['nginx']:+} MiB of {flat['mib'][-1]['nginx']}.",
        f"- {large['bodies']} bodies of 8 MiB for an engine that takes none: the gateway grew from"
        f" {large['before_mib']} to {large['most_mib']} MiB at most; answers: {answers}.",
        "",
    ]
    return "\n".join(lines)
