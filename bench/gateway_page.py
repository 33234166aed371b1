"""Write the measured latency of the gateway as a page of the reference."""

from __future__ import annotations

from typing import Any

TITLES = {"metronome": "a metronome as engine", "engine": "the real engine with a tiny model"}
NOTES = {"metronome": ["It sends a piece every 20 ms, with the time at which it was sent.", ""]}
#: Milliseconds, medians.
GOALS = {"ttft": 3.0, "piece": 1.0, "total": 1.0}


def missed(figures: dict[str, Any]) -> str:
    """Return the rows that miss the goals."""
    late = [
        f"{title}, {what}: {found[part]['added_ms']:+} ms"
        for name, title in TITLES.items()
        for what, found in figures[name].items()
        for part in ("ttft", "piece", "total")
        # A whole stream is delayed at least as long as its first piece.
        if part in found and not (part == "total" and "ttft" in found) and found[part]["added_ms"] > GOALS[part]
    ]
    return f"Missed by: {'; '.join(late)}." if late else "All are met."


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
        f"Goals: at most {GOALS['ttft']:g} ms for the first piece of a stream, and at most"
        f" {GOALS['piece']:g} ms for each other piece and for a whole response. {missed(figures)}",
    ]
    for name, title in TITLES.items():
        lines += ["", f"## {title[0].upper()}{title[1:]}", "", *NOTES.get(name, [])]
        lines += ["| clients | requests | failed | whole request | first piece | each piece |"]
        lines += ["|---|---|---|---|---|---|"]
        for what, found in figures[name].items():
            cells = [
                f"{found[part]['added_ms']:+} ({found[part]['direct_ms']}) / {found['bare_nginx'][part]['added_ms']:+}"
                if part in found
                else ""
                for part in ("total", "ttft", "piece")
            ]
            row = [what, str(sum(found["requests"])), str(sum(found["failed"])), *cells]
            lines.append(f"| {' | '.join(row)} |")
    joined = [found["piece"] for found in figures["metronome"].values() if "piece" in found]
    pieces = sum(found["pieces"][1] for found in joined)
    change, flat_ = figures["changes"], figures["memory"]
    lines += [
        "",
        "Pieces that arrived joined to another one through the gateway:"
        f" {sum(found['joined'][1] for found in joined)} of {pieces};"
        f" directly: {sum(found['joined'][0] for found in joined)}.",
        "",
        f"Engines changed {change['changes']} times under load: {change['requests']} requests,"
        f" {change['failed']} failed; nginx was updated within {change['longest_change_s']} s.",
        "",
        f"Memory growth over {flat_['mib'][-1]['requests']} requests, after the first thousand: gateway"
        f" {flat_['grown_after_first_thousand_mib']['gateway']:+} MiB of {flat_['mib'][-1]['gateway']},"
        f" a process of nginx {flat_['grown_after_first_thousand_mib']['nginx']:+} MiB of {flat_['mib'][-1]['nginx']}.",
        "",
    ]
    return "\n".join(lines)
