# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every argument held against what this very build accepts, and against traps that are known.

A flag that the engine does not know, or a pair that makes it crash after minutes of loading, is refused
before a unit changes. Findings were made by running the engine or reading its source; each rule says
what would happen otherwise.
"""

from __future__ import annotations

import difflib
import ipaddress
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from .errors import InvalidInputError

_SYNONYMS = {
    "-fa": "--flash-attn",
    "-ctk": "--cache-type-k",
    "-ctv": "--cache-type-v",
    "-dev": "--device",
    "-ts": "--tensor-split",
    "-np": "--parallel",
    "-c": "--ctx-size",
}
_CUDA_CACHE_TYPES = ("f16", "q8_0", "q4_0")


@dataclass(frozen=True)
class Finding:
    """A rule that a command line breaks, and what to write instead."""

    rule: str
    found: str
    otherwise: str
    remedy: str


@dataclass(frozen=True)
class Argument:
    """A flag with the value behind it, None for a bare one."""

    flag: str
    value: str | None


def _is_flag(word: str) -> bool:
    return word.startswith("-") and len(word) > 1 and not word[1].isdigit()


def split_arguments(argv: Sequence[str]) -> list[Argument]:
    """Pair flags with their values, in the order of the command line."""
    found: list[Argument] = []
    for word in argv:
        if _is_flag(word):
            found.append(Argument(word, None))
        elif found and found[-1].value is None:
            found[-1] = Argument(found[-1].flag, word)
        else:
            found.append(Argument("", word))
    return found


def _unknown(arguments: Sequence[Argument], accepted: Collection[str]) -> list[Finding]:
    findings: list[Finding] = []
    for argument in arguments:
        if not argument.flag:
            findings.append(
                Finding("stray-word", repr(argument.value), "the engine exits with a usage error", "remove it")
            )
        elif argument.flag not in accepted:
            near = difflib.get_close_matches(argument.flag, sorted(accepted), n=1, cutoff=0.5)
            findings.append(
                Finding(
                    "unknown-flag",
                    argument.flag,
                    "the engine exits at once",
                    f"write {near[0]}, the nearest that this build accepts" if near else "remove it",
                )
            )
    return findings


def _value(arguments: Sequence[Argument], flag: str, default: str) -> str:
    values = [a.value for a in arguments if _SYNONYMS.get(a.flag, a.flag) == flag and a.value is not None]
    return values[-1] if values else default


def _position(arguments: Sequence[Argument], flag: str) -> int:
    return next((i for i, a in enumerate(arguments) if _SYNONYMS.get(a.flag, a.flag) == flag), -1)


def _attention(arguments: Sequence[Argument], has_cuda: bool) -> list[Finding]:
    findings: list[Finding] = []
    position = _position(arguments, "--flash-attn")
    if position >= 0 and arguments[position].value is None:
        findings.append(
            Finding("bare-flash-attention", "--flash-attn without a value", "a usage error", "write on, off or auto")
        )
    attention = _value(arguments, "--flash-attn", "auto")
    k_type, v_type = _value(arguments, "--cache-type-k", "f16"), _value(arguments, "--cache-type-v", "f16")
    if attention == "off" and v_type not in ("f16", "f32", "bf16"):
        findings.append(
            Finding(
                "quantised-v-without-flash-attention",
                f"a V cache of {v_type} with flash attention off",
                "the engine crashes after all weights were sent",
                "set flash_attention to on, or cache_type_v to f16",
            )
        )
    if attention != "off" and k_type != v_type:
        findings.append(
            Finding(
                "unequal-cache-types",
                f"K cache {k_type} and V cache {v_type} with flash attention {attention}",
                "RPC claims to support the pair, and the CUDA worker crashes and takes the head down",
                "make cache_type_k and cache_type_v equal",
            )
        )
    if has_cuda and attention != "off" and k_type not in _CUDA_CACHE_TYPES:
        findings.append(
            Finding(
                "cache-type-without-kernel",
                f"a cache of {k_type} on CUDA",
                "flash attention has no kernel for it there",
                f"use one of {', '.join(_CUDA_CACHE_TYPES)}",
            )
        )
    return findings


def _devices(arguments: Sequence[Argument]) -> list[Finding]:
    findings: list[Finding] = []
    rpc, device = _position(arguments, "--rpc"), _position(arguments, "--device")
    if rpc >= 0 and device < 0:
        findings.append(
            Finding(
                "no-device-list",
                "--rpc without --device",
                "a missing worker is ignored in silence by some releases",
                "name every device after --rpc",
            )
        )
    elif rpc > device >= 0:
        findings.append(
            Finding(
                "device-before-rpc",
                "--device before --rpc",
                "the engine does not know the RPC devices yet and exits",
                "put --device after --rpc",
            )
        )
    split = _value(arguments, "--tensor-split", "")
    names = _value(arguments, "--device", "")
    if split and names and len(split.split(",")) != len(names.split(",")):
        findings.append(
            Finding(
                "split-and-devices-differ",
                f"{len(split.split(','))} shares for {len(names.split(','))} devices",
                "devices without a share stay empty, or the engine exits",
                "give each device one share",
            )
        )
    return findings


def _numbers(arguments: Sequence[Argument], wanted_context: int) -> list[Finding]:
    total = int(_value(arguments, "--ctx-size", "0"))
    slots = int(_value(arguments, "--parallel", "1"))
    if wanted_context and total and slots > 0 and total // slots < wanted_context:
        return [
            Finding(
                "slots-divide-context",
                f"{total} cells over {slots} slots, {total // slots} each",
                f"a request longer than that fails, though {wanted_context} were asked for",
                f"give --ctx-size {wanted_context * slots}",
            )
        ]
    return []


def _prompt_cache(arguments: Sequence[Argument], accepted: Collection[str]) -> list[Finding]:
    if _position(arguments, "--rpc") < 0 or "--cache-ram" not in accepted:
        return []
    if _value(arguments, "--cache-ram", "8192") == "0":
        return []
    return [
        Finding(
            "prompt-cache-with-rpc",
            "a prompt cache in RAM together with RPC",
            "saving a slot's prompt can abort the head",
            "set cache_ram_mib to 0",
        )
    ]


def findings(
    argv: Sequence[str], accepted: Collection[str], has_cuda: bool = False, wanted_context: int = 0
) -> list[Finding]:
    """Look at the head's command line with every rule."""
    arguments = split_arguments(argv)
    return [
        *_unknown(arguments, accepted),
        *_attention(arguments, has_cuda),
        *_devices(arguments),
        *_numbers(arguments, wanted_context),
        *_prompt_cache(arguments, accepted),
    ]


def worker_findings(argv: Sequence[str], accepted: Collection[str]) -> list[Finding]:
    """Look at the worker's command line, which it never complains about by its exit status."""
    arguments = split_arguments(argv)
    found = _unknown(arguments, accepted)
    host = _value(arguments, "-H", "")
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        found.append(
            Finding(
                "worker-host-not-ipv4",
                f"-H {host}",
                "the worker exits with status 0 and is never up",
                "give the fabric address as an IPv4 literal",
            )
        )
    return found


def require_clean(found: Sequence[Finding], program: str) -> None:
    """Stop with all findings in one error."""
    if not found:
        return
    raise InvalidInputError(
        f"arguments that this build of {program} takes and survives",
        "; ".join(f"{f.found} [{f.rule}: {f.otherwise}]" for f in found),
        "; ".join(f.remedy for f in found),
    )
