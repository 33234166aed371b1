# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the page of decision records and of measurements on a cluster.

The page only contains figures that were measured on this cluster. They belong to one release and command line of the
head, and stay until one of these changes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ..engine.command_line import CommandLine
from ..engine.server_log import DeviceShare
from ..errors import InvalidInputError

_HEADING = re.compile(r"^(#+) ", re.MULTILINE)
_RECORD_LINK = re.compile(r"\]\((\d{4})-[^)#]*\)")
_OTHER_LINK = re.compile(r"\[([^\]]+)\]\((?!https?:|#)[^)]*\)")
#: Largest number of shown rows of a result file.
MOST_ROWS = 200


@dataclass(frozen=True)
class HeadMeasurements:
    """Measurements of a head.

    :ivar key: fingerprint of the head's command line.
    :ivar devices: memory of each device in MiB, from the engine's log.
    :ivar first_piece_s: seconds until the first token.
    :ivar pieces: number of tokens in the answer.
    """

    key: str
    when: str
    release: str
    model: str
    context: str
    devices: list[dict[str, Any]] = field(default_factory=list)
    first_piece_s: float = 0.0
    pieces: int = 0
    pieces_per_second: float = 0.0


def command_line_key(arguments: Sequence[str]) -> str:
    """Return the fingerprint of a command line, which includes the path of its release. Empty without a head."""
    return hashlib.sha256("\0".join(arguments).encode()).hexdigest()[:16] if arguments else ""


def stored(data: Mapping[str, Any], key: str) -> HeadMeasurements | None:
    """Return the stored measurements, if they belong to the same command line."""
    try:
        figures = HeadMeasurements(**data)
    except TypeError:
        return None
    return figures if not key or figures.key == key else None


def measured(
    arguments: Sequence[str], release: str, devices: Sequence[DeviceShare], answer: Mapping[str, Any], when: str
) -> HeadMeasurements:
    """Build measurements from the head's command line, its log and an answer."""
    line = CommandLine(arguments[1:])
    return HeadMeasurements(
        key=command_line_key(arguments),
        when=when,
        release=release,
        model=line.value("--alias") or line.value("--model").rpartition("/")[2],
        context=line.value("--ctx-size"),
        devices=[asdict(device) for device in devices],
        first_piece_s=float(answer["first_piece_s"]),
        pieces=int(answer["pieces"]),
        pieces_per_second=float(answer["pieces_per_second"]),
    )


def rows_of(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield each figure of a result file with its path in the file."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from rows_of(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list):
        if all(not isinstance(inner, (Mapping, list)) for inner in value):
            yield name, ", ".join(str(inner) for inner in value)
        else:
            for index, inner in enumerate(value):
                yield from rows_of(inner, f"{name}[{index}]")
    elif value is not None and name:
        yield name, str(value)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _of_head(figures: HeadMeasurements) -> str:
    rows = [
        ("model", figures.model),
        ("release", figures.release),
        ("context, tokens", figures.context or "the model's own"),
        (f"first token of an answer of {figures.pieces}", f"{figures.first_piece_s:.2f} s"),
        ("tokens after that", f"{figures.pieces_per_second:g} per second"),
    ]
    parts = [
        f"Measured on {figures.when} with one request, beside those of clients.",
        _table(("what", "measured"), rows),
    ]
    devices = [
        (
            str(device["device"]),
            str(device["endpoint"] or "the head"),
            "?" if device["layers"] is None else str(device["layers"]),
            *(f"{float(device[name]):.1f}" for name in ("model_mib", "kv_mib", "compute_mib")),
        )
        for device in figures.devices
    ]
    if devices:
        parts.append("Memory of each device, from the engine's log:")
        parts.append(_table(("device", "where", "layers", "weights, MiB", "cache, MiB", "compute, MiB"), devices))
    return "\n\n".join(parts)


def _measurements(figures: HeadMeasurements | None, results: Mapping[str, Any]) -> str:
    parts = ["## Measurements on this cluster"]
    if figures is None and not results:
        parts.append("None yet: no head has answered on this host.")
    if figures is not None:
        parts.append(_of_head(figures))
    for name, value in results.items():
        rows = list(rows_of(value))
        parts.append(f"### {name}")
        parts.append(_table(("what", "measured"), rows[:MOST_ROWS]))
        if len(rows) > MOST_ROWS:
            parts.append(f"The file contains {len(rows) - MOST_ROWS} more.")
    return "\n\n".join(parts)


def _record(name: str, text: str) -> str:
    """Return a record with deeper headings, its number in the title, and links within the page."""
    number = name[:4]
    body = _HEADING.sub(r"#\1 ", text.strip())
    body = _RECORD_LINK.sub(r"](#\1)", body)
    body = _OTHER_LINK.sub(r"\1", body)
    title, newline, rest = body.partition("\n")
    return f'<a id="{number}"></a>\n\n## {number} {title.lstrip("# ")}{newline}{rest}'


def page(records: Mapping[str, str], figures: HeadMeasurements | None, results: Mapping[str, Any]) -> str:
    """Return the page of these records, texts by file name, and results, contents by file name."""
    if not records:
        raise InvalidInputError.plain("There are no records of decisions", "pass the texts of docs/decisions")
    parts = [
        "# Decisions of this cluster",
        "Written by Ansible (herd.inference, role decision_log). Changes made here are lost.",
        _measurements(figures, results),
        *(_record(name, text) for name, text in sorted(records.items())),
    ]
    return "\n\n".join(parts) + "\n"
