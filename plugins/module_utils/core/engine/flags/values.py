# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check values of the flags that the collection sets or an operator is likely to write."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

_LARGEST = 2**31 - 1
CACHE_TYPES = ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1")
_ON_OFF = ("on", "off", "enabled", "disabled", "true", "false", "1", "0")
OFF = ("off", "disabled", "false", "0")
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")


def _between(lowest: int, highest: int = _LARGEST) -> Callable[[str], str]:
    def check(value: str) -> str:
        if _INTEGER.fullmatch(value) and lowest <= int(value) <= highest:
            return ""
        return f"a whole number from {lowest}" + (f" to {highest}" if highest < _LARGEST else "")

    return check


def _one_of(*choices: str) -> Callable[[str], str]:
    return lambda value: "" if value in choices else f"one of {', '.join(choices)}"


def _above_zero_or_default(value: str) -> str:
    return "" if value == "-1" else _between(1)(value)


def _layers(value: str) -> str:
    return "" if value in ("auto", "all") or _INTEGER.fullmatch(value) else "a whole number, auto or all"


def _shares(value: str) -> str:
    """Check shares: numbers, at least one above zero. Otherwise the engine would split by free memory."""
    try:
        shares = [float(part) for part in re.split(r"[,/]", value)]
    except ValueError:
        shares = []
    if shares and all(0 <= share < float("inf") for share in shares) and sum(shares) > 0:
        return ""
    return "numbers between commas, none negative and not all of them 0"


# A context of 0 is that of the model; a batch of 0 aborts the engine.
HEAD: Mapping[str, Callable[[str], str]] = {
    "--batch-size": _between(1),
    "--cache-ram": _between(-1),
    "--cache-type-k": _one_of(*CACHE_TYPES),
    "--cache-type-v": _one_of(*CACHE_TYPES),
    "--ctx-size": _between(0),
    "--fit": _one_of(*_ON_OFF),
    "--flash-attn": _one_of("on", "off", "auto"),
    "--load-mode": _one_of("auto", "none", "mmap", "mlock", "mmap+mlock", "dio"),
    "--log-verbosity": _between(-1),
    "--main-gpu": _between(0),
    "--models-max": _between(0),
    "--n-gpu-layers": _layers,
    "--numa": _one_of("distribute", "isolate", "numactl"),
    "--parallel": _above_zero_or_default,
    "--port": _between(1, 65535),
    "--sleep-idle-seconds": _above_zero_or_default,
    "--split-mode": _one_of("none", "layer", "row", "tensor"),
    "--stop-timeout": _between(1),
    "--tensor-split": _shares,
    "--threads": _between(-1),
    "--threads-batch": _between(-1),
    "--timeout": _between(1),
    "--ubatch-size": _between(1),
}
WORKER: Mapping[str, Callable[[str], str]] = {"--port": _between(1, 65535), "--threads": _between(1)}
