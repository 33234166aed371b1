# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Apply the guard's rule about attention kernels to a plan, before any build is at hand.

The rule depends on the build only by its generation: releases with --load-mode have more kernels.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ..command_line import CommandLine
from . import guard as flag_guard
from .attention_kernels import AttentionShape
from .subject import ERROR, HEAD, WARNING, EngineBuild, Finding, Subject, named

_RULE = "attention-without-kernel"


def problems_and_warnings(
    shapes: Sequence[AttentionShape],
    settings: Mapping[str, Any],
    capabilities: Collection[str],
    is_newer: bool,
    has_workers: bool,
) -> tuple[list[str], list[str]]:
    """List what CUDA lacks for a model on planned GPUs, as errors and as warnings.

    :param settings: merged settings (engine.arguments).
    :param capabilities: compute capabilities of the GPUs.
    :param is_newer: whether the release has --load-mode.
    :param has_workers: whether RPC workers hold layers.
    """
    words = ["--flash-attn", str(settings["flash_attention"])]
    words += ["--rpc", "worker:1"] if has_workers else []
    build = EngineBuild(frozenset({"--load-mode"} if is_newer else ()), cuda=True)
    subject = Subject(HEAD, CommandLine(words), build, tuple(capabilities), attention=tuple(shapes))
    found = flag_guard.inspect_rule(subject, _RULE)
    return _sentences(named(ERROR, found)), _sentences(named(WARNING, found))


def _sentences(found: Sequence[Finding]) -> list[str]:
    return [
        f"expected attention that CUDA's flash attention has a kernel for, found {finding.found}: "
        f"{finding.otherwise}. {finding.instead[0].upper()}{finding.instead[1:]} ({finding.rule})."
        for finding in found
    ]
