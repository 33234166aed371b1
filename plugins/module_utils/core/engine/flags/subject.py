# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The subject of the flag guard's rules, and the parts of a rule."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..command_line import CommandLine
from .attention_kernels import VOLTA, AttentionShape

ERROR, WARNING, INFORMATION = "error", "warning", "information"
HEAD, WORKER, BENCH = "head", "worker", "bench"
# llama-server in router mode, and the preset of one of its models.
ROUTER, PRESET = "router", "preset"


@dataclass(frozen=True)
class EngineBuild:
    """A build as its manifest describes it.

    :param accepted: flags that the program accepts.
    :param tls: whether it was built with OpenSSL.
    :param architectures: CUDA architectures of its code, such as C(70); empty without CUDA.
    """

    accepted: frozenset[str] = frozenset()
    cuda: bool = False
    architectures: tuple[str, ...] = ()
    dialect: Mapping[str, Any] = field(default_factory=dict)
    defects: tuple[Mapping[str, Any], ...] = ()
    tls: bool = False


def engine_of(manifest: Mapping[str, Any], program: str) -> EngineBuild:
    """Read the build from its manifest."""
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
    """A command line and its surroundings.

    :param program: C(head), C(worker), C(bench), C(router) or C(preset).
    :param capabilities: compute capabilities of its GPUs and of its workers' GPUs.
    :param context: wanted tokens of each slot; 0 if unknown.
    :param model_types: known types of the model's tensors.
    :param attention: known shapes of the model's attention.
    :param environment: variables of the unit; None if unknown.
    :param next_tokens: the model's blocks that predict further tokens; None if unknown.
    :param has_window: whether the model has windowed layers.
    :param vocabulary_difference: how the draft's vocabulary differs from the model's; empty if equal or unknown.
    :param link_layer: link layer of the fabric, such as C(InfiniBand) or C(Ethernet); empty if unknown.
    :param above: the router's command line, for a preset.
    """

    program: str
    line: CommandLine
    engine: EngineBuild = field(default_factory=EngineBuild)
    capabilities: tuple[str, ...] = ()
    context: int = 0
    model_types: tuple[str, ...] = ()
    environment: Mapping[str, str] | None = None
    above: CommandLine | None = None
    attention: tuple[AttentionShape, ...] = ()
    next_tokens: int | None = None
    has_window: bool = False
    vocabulary_difference: str = ""
    link_layer: str = ""

    @property
    def has_rpc(self) -> bool:
        """Return whether there are workers."""
        return self.line.has("--rpc")

    @property
    def has_volta(self) -> bool:
        """Return whether a GPU is a Volta."""
        return VOLTA in self.capabilities


@dataclass(frozen=True)
class Hit:
    """A match of a rule. It may override the rule's advice, consequence and severity."""

    found: str
    instead: str = ""
    severity: str = ""
    otherwise: str = ""


@dataclass(frozen=True)
class Rule:
    """A rule of the flag guard.

    :param severity: C(error) stops before anything changes, C(warning) is shown, C(information) is only returned.
    :param programs: programs to which it applies.
    :param text: the mistake, as a phrase.
    :param otherwise: the consequence.
    :param instead: what to write instead.
    :param source: the evidence.
    :param unshown: why no test of the engine shows it; empty if tests/engine does.
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
    """A broken rule on a command line, and the advice."""

    rule: str
    severity: str
    found: str
    otherwise: str
    instead: str
    source: str

    def __str__(self) -> str:
        return f"{self.found} [{self.rule}: {self.otherwise}]"


def named(severity: str, found: Sequence[Finding]) -> list[Finding]:
    """Format the findings of one severity."""
    return [finding for finding in found if finding.severity == severity]
