# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan a model of the configuration: its settings, what fits, and what would fit instead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...errors import InvalidInputError
from .. import catalogue, gpu_support, memory_plan
from ..config import Config, check_tensor_parallel
from ..memory_plan import EngineMemorySettings, GpuKind, MemoryPlan
from . import remedies
from .checkpoint import Checkpoint

#: Arguments of C(vllm serve) that decide memory, with the type of their value; None for a flag.
_ARGUMENTS: Mapping[str, type | None] = {
    "--dtype": str,
    "--gpu-memory-utilization": float,
    "--kv-cache-dtype": str,
    "--max-model-len": int,
    "--max-num-batched-tokens": int,
    "--max-num-seqs": int,
    "--quantization": str,
    "--enforce-eager": None,
    "--disable-hybrid-kv-cache-manager": None,
}
_FIELDS = {"--disable-hybrid-kv-cache-manager": ("hybrid_kv_cache", False), "--enforce-eager": ("enforce_eager", True)}
_SUFFIXES = {"k": 10**3, "m": 10**6, "g": 10**9, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


@dataclass(frozen=True)
class EntryPlan:
    """The plan of a configured model.

    :ivar problems: sentences about GPUs that cannot serve the model at all.
    :ivar remedies: sentences about changes with which it fits; empty if it fits.
    :ivar notes: sentences about what works otherwise than its name says.
    """

    key: str
    source: str
    plan: MemoryPlan
    problems: tuple[str, ...]
    remedies: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def fits(self) -> bool:
        """Return whether vLLM can start."""
        return self.plan.fits and not self.problems

    def lines(self) -> list[str]:
        """Say everything, a sentence a line."""
        return [*self.problems, self.plan.sentence(), *self.remedies, *self.notes]

    def as_dict(self) -> dict[str, Any]:
        """Return all values for JSON."""
        return {
            "model": self.key,
            "source": self.source,
            "fits": self.fits,
            "problems": list(self.problems),
            "sentence": self.plan.sentence(),
            "remedies": list(self.remedies),
            "notes": list(self.notes),
            "plan": self.plan.as_dict(),
        }


def plan_entry(config: Config, key: str, gpus: GpuKind, checkpoint: Checkpoint | None = None) -> EntryPlan:
    """Plan a configured model on its GPUs.

    :param checkpoint: facts from its files; without them, those of the catalogue.
    :raises InvalidInputError: if the model is in no catalogue and has no facts, or if a value is out of range.
    """
    entry = config.model(key)
    published = catalogue.by_id(entry.huggingface_id)
    if checkpoint is not None:
        shape, weights, source = checkpoint.shape, checkpoint.weights, checkpoint.name
    elif published is not None:
        shape, weights, source = published.shape, published.weights, f"catalogue: {published.huggingface_id}"
    else:
        raise InvalidInputError(
            f"facts about {entry.source}",
            "a model that is not in the catalogue",
            "download it, set its path, or plan with the facts of the Hub (herdctl vllm plan --hub)",
        )
    check_tensor_parallel(config, key, shape.heads, shape.split_heads)
    settings = settings_of(config, key)
    method = gpu_support.quantization_argument(shape, entry.engine_quantization)
    served = replace(shape, quantization=method) if method else shape
    settings = replace(settings, quantization=method or "")
    capability = gpus.compute_capability
    notes = gpu_support.notes(served, capability, settings.dtype)
    if shape.vision is not None and shape.vision.heads % entry.gpus:
        notes.append(
            f"{entry.gpus} GPUs do not divide the {shape.vision.heads} heads of the image encoder: add "
            "--mm-encoder-tp-mode data to extra_arguments, so that each GPU has a whole encoder."
        )
    problems = gpu_support.problems(served, capability, settings.dtype, settings.kv_cache_dtype)
    found = memory_plan.plan(shape, weights, gpus, entry.gpus, settings)
    smaller = published.smaller if published is not None else None
    return EntryPlan(
        key=key,
        source=source,
        plan=found,
        problems=tuple(f"{str(problem)[0].upper()}{str(problem)[1:]}" for problem in problems),
        remedies=tuple(remedies.find(shape, weights, gpus, entry.gpus, settings, smaller)),
        notes=tuple(notes),
    )


def settings_of(config: Config, key: str) -> EngineMemorySettings:
    """Collect the settings that decide memory. Further arguments win over keys, as vLLM takes the last value."""
    entry, engine = config.model(key), config.vllm
    settings = EngineMemorySettings(
        max_model_len=entry.max_model_len,
        max_num_seqs=engine.max_num_seqs,
        gpu_memory_utilization=engine.gpu_memory_utilization,
        dtype=engine.dtype,
        quantization=entry.engine_quantization,
    )
    return with_arguments(settings, [*engine.extra_arguments, *entry.extra_arguments])


def with_arguments(settings: EngineMemorySettings, words: Sequence[str]) -> EngineMemorySettings:
    """Apply the arguments of C(vllm serve) that decide memory, as C(--name value) or C(--name=value).

    :raises InvalidInputError: if a number is none.
    """
    found: dict[str, Any] = {}
    for place, word in enumerate(words):
        name, joined, value = word.partition("=")
        name = name.replace("_", "-")
        if name not in _ARGUMENTS:
            continue
        kind = _ARGUMENTS[name]
        if kind is None:
            field, constant = _FIELDS[name]
            found[field] = constant
            continue
        text = value if joined else (words[place + 1] if place + 1 < len(words) else "")
        found[name[2:].replace("-", "_")] = _value(name, text, kind)
    return replace(settings, **found)


def _value(name: str, text: str, kind: type) -> Any:
    """Read a value; whole numbers may have a suffix, as vLLM accepts it (C(32k), C(1M))."""
    try:
        if kind is int and text[-1:] in _SUFFIXES:
            return int(float(text[:-1]) * _SUFFIXES[text[-1]])
        return kind(text)
    except (ValueError, OverflowError):
        raise InvalidInputError(
            f"a number after {name}", repr(text)[:40], "correct extra_arguments of the configuration"
        ) from None
