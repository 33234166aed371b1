# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the rules of the flag guard look at, and what they are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..command_line import CommandLine

ERROR, WARNING = "error", "warning"
HEAD, WORKER, BENCH = "head", "worker", "bench"
# llama-server in router mode, and what it is told of one of its models.
ROUTER, PRESET = "router", "preset"


@dataclass(frozen=True)
class EngineBuild:
    """What a release says of itself in its manifest.

    :param accepted: flags of the program in question.
    :param tls: whether it was built with OpenSSL.
    :param architectures: for which CUDA code was compiled, C(70) and the like; empty without CUDA.
    """

    accepted: frozenset[str] = frozenset()
    cuda: bool = False
    architectures: tuple[str, ...] = ()
    dialect: Mapping[str, Any] = field(default_factory=dict)
    defects: tuple[Mapping[str, Any], ...] = ()
    tls: bool = False


def engine_of(manifest: Mapping[str, Any], program: str) -> EngineBuild:
    """Take what the rules need out of a manifest."""
    cuda = manifest.get("cuda") or {}
    return EngineBuild(
        frozenset(manifest["flags"].get(program, ())),
        bool(cuda),
        tuple(str(found) for found in cuda.get("architectures", ())),
        dict(manifest.get("dialect") or {}),
        tuple(manifest.get("defects") or ()),
        (manifest.get("cmake") or {}).get("LLAMA_OPENSSL") == "ON",
    )


@dataclass(frozen=True)
class Subject:
    """One command line and what is known of where it will run.

    :param program: C(head), C(worker), C(bench), C(router) or C(preset).
    :param capabilities: compute capabilities of the GPUs that it will use, its workers' included.
    :param context: tokens that each slot was asked to hold; 0 if nobody said.
    :param model_types: types of the model's tensors, as far as they are known.
    :param environment: variables of the process beside the host's own; None if they are not known.
    :param above: of a preset, its router's command line.
    """

    program: str
    line: CommandLine
    engine: EngineBuild = field(default_factory=EngineBuild)
    capabilities: tuple[str, ...] = ()
    context: int = 0
    model_types: tuple[str, ...] = ()
    environment: Mapping[str, str] | None = None
    above: CommandLine | None = None

    @property
    def has_rpc(self) -> bool:
        """Whether there are workers."""
        return self.line.has("--rpc")

    @property
    def has_volta(self) -> bool:
        """Whether a V100 or the like is among the GPUs."""
        return "7.0" in self.capabilities


@dataclass(frozen=True)
class Hit:
    """What a rule met on a command line; it may say better than the rule what to write, and weigh it otherwise."""

    found: str
    instead: str = ""
    severity: str = ""
    otherwise: str = ""


@dataclass(frozen=True)
class Rule:
    """A trap.

    :param severity: C(error) stops before anything changes, C(warning) is shown.
    :param programs: whose command lines are looked at.
    :param text: the trap, as a phrase.
    :param otherwise: what happens if nobody looks.
    :param instead: what to write.
    :param source: where it is known from.
    :param unshown: why no test of the engine itself shows it; empty if tests/engine does.
    """

    id: str
    severity: str
    programs: tuple[str, ...]
    text: str
    otherwise: str
    instead: str
    source: str
    check: Callable[[Subject], Iterable[Hit]]
    unshown: str = ""


@dataclass(frozen=True)
class Finding:
    """A rule that a command line breaks, and what to write instead."""

    rule: str
    severity: str
    found: str
    otherwise: str
    instead: str
    source: str

    def __str__(self) -> str:
        return f"{self.found} [{self.rule}: {self.otherwise}]"


def named(severity: str, found: Sequence[Finding]) -> list[Finding]:
    """Findings of one severity."""
    return [finding for finding in found if finding.severity == severity]
