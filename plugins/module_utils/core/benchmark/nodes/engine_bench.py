# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Derive the command line of llama-bench from that of the head, and read its results.

llama-bench measures the engine without the server: no HTTP, no slots, no sampling. It needs the workers for itself, so
the head must be stopped.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ...engine.command_line import CommandLine
from ...errors import InvalidInputError, NotFoundError, RemoteFailureError
from ...text import plain
from ...values import finite

PROGRAM = "llama-bench"
MOST_TOKENS, MOST_DEPTHS, MOST_REPETITIONS, MOST_ROWS = 1 << 20, 16, 100, 200
_REMEDY = "correct the variables that begin with benchmark_engine_"
# Flags that mean the same to both programs, with the value as it is.
_SAME = {
    "--model": "-m",
    "--rpc": "--rpc",
    "--n-gpu-layers": "-ngl",
    "--batch-size": "-b",
    "--ubatch-size": "-ub",
    "--threads": "-t",
    "--cache-type-k": "-ctk",
    "--cache-type-v": "-ctv",
    "--split-mode": "-sm",
    "--main-gpu": "-mg",
}
_COUNT, _RATE = {"type": "integer", "minimum": 0}, {"type": "number", "minimum": 0}
_ROW = {
    "test": {"type": "string"},
    **dict.fromkeys(("prompt_tokens", "output_tokens", "depth", "repetitions"), _COUNT),
    **dict.fromkeys(("tokens_per_second", "deviation"), _RATE),
}
#: JSON schema of a row of results.
SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": _ROW,
    "required": list(_ROW),
    "additionalProperties": False,
}
# llama-bench takes a comma as the next test, and a slash between the parts of one value.
_LISTS = {"--device": "-dev", "--tensor-split": "-ts"}
# Older releases take 0 and 1 only, and have no auto.
_FLASH_ATTENTION = {"on": "1", "1": "1", "off": "0", "0": "0"}


def _whole(settings: Mapping[str, Any], name: str, least: int, most: int) -> int:
    value = settings.get(name)
    if finite(value, least, most) is None or not isinstance(value, int):
        raise InvalidInputError(
            f"a whole number from {least} to {most} as benchmark_engine_{name}", repr(value)[:80], _REMEDY
        )
    return value


def _depths(settings: Mapping[str, Any]) -> list[int]:
    given = settings.get("depths")
    if not isinstance(given, Sequence) or isinstance(given, str) or not 0 < len(given) <= MOST_DEPTHS:
        raise InvalidInputError(
            f"a list of 1 to {MOST_DEPTHS} numbers as benchmark_engine_depths", repr(given)[:80], _REMEDY
        )
    return [_whole({"depths": depth}, "depths", 0, MOST_TOKENS) for depth in given]


def command(head: Sequence[str], settings: Mapping[str, Any]) -> list[str]:
    """Return the command line of llama-bench for the devices, the split and the batches of a head.

    :param head: command line of the running head.
    :param settings: C(prompt_tokens), C(output_tokens), C(depths) and C(repetitions).
    :raises NotFoundError: if the command line is not that of a head with a model.
    :raises InvalidInputError: for a setting of the wrong type or outside its range.
    """
    line = CommandLine(head)
    if not line.value("--model") or "/" not in line.words[0]:
        raise NotFoundError(
            "the command line of a running head", repr(" ".join(head)[:80]), "run playbooks/start.yml first"
        )
    made = [f"{line.words[0].rpartition('/')[0]}/{PROGRAM}"]
    for name, flag in _SAME.items():
        if line.has(name):
            made += [flag, line.value(name)]
    for name, flag in _LISTS.items():
        if line.has(name):
            made += [flag, line.value(name).replace(",", "/")]
    flash = _FLASH_ATTENTION.get(line.value("--flash-attn"))
    made += ["-fa", flash] if flash else []
    depths = ",".join(map(str, _depths(settings)))
    made += ["-p", str(_whole(settings, "prompt_tokens", 1, MOST_TOKENS))]
    made += ["-n", str(_whole(settings, "output_tokens", 1, MOST_TOKENS)), "-d", depths]
    return [*made, "-r", str(_whole(settings, "repetitions", 1, MOST_REPETITIONS)), "-o", "json"]


def _row(data: Any) -> dict[str, Any] | None:
    if not isinstance(data, Mapping):
        return None
    counts = [finite(data.get(name), 0, MOST_TOKENS) for name in ("n_prompt", "n_gen", "n_depth")]
    rate, deviation = finite(data.get("avg_ts"), 0, 1e9), finite(data.get("stddev_ts"), 0, 1e9)
    samples = data.get("samples_ts")
    if None in counts or rate is None or deviation is None or not isinstance(samples, list):
        return None
    prompt, output, depth = (int(count or 0) for count in counts)
    parts = [f"pp{prompt}" if prompt else "", f"tg{output}" if output else ""]
    label = "+".join(part for part in parts if part) + (f" @ d{depth}" if depth else "")
    return {
        "test": label,
        "prompt_tokens": prompt,
        "output_tokens": output,
        "depth": depth,
        "tokens_per_second": rate,
        "deviation": deviation,
        "repetitions": len(samples),
    }


def rows(output: str) -> list[dict[str, Any]]:
    """Read the results of C(llama-bench -o json).

    :returns: C(test) as llama-bench names it (C(pp512 @ d4096)), C(prompt_tokens), C(output_tokens), C(depth),
        C(tokens_per_second), its standard C(deviation) and the number of C(repetitions).
    :raises RemoteFailureError: if the output has no results.
    """
    try:
        data = json.loads(output[output.index("[") :])
    except (ValueError, RecursionError):
        data = None
    found = [row for row in map(_row, data[:MOST_ROWS]) if row is not None] if isinstance(data, list) else []
    if not found:
        raise RemoteFailureError(
            f"results of {PROGRAM}",
            repr(plain(output.strip())[-200:]),
            "look at journalctl -u herd-engine-bench on the head, and run the benchmark again",
        )
    return found
