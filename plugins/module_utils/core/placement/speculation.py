# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compute the memory of speculative decoding: a draft, blocks that predict further tokens, and tables of n-grams.

A draft is a second model on one device, with a cache of its own over the whole context. Blocks that predict further
tokens (draft-mtp) lie with the last layers. They get a context of their own on the devices of blocks and output. The
rows of logits are in the model's own compute buffer (C(CacheSettings.drafted)).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..engine.speculation import settings as speculation_settings
from ..errors import InvalidInputError
from ..models.metadata import CUDA_PADDING, PADDING, ModelMetadata
from . import compute_buffer, cuda_memory, host_memory
from .kv_cache import CacheSettings, cache_bytes, state_bytes

if TYPE_CHECKING:
    from .planner import DeviceCapacity, DevicePlan, Planner

_FLOAT = 4
#: The table of ngram-mod, which slots and requests share (common/ngram-mod.cpp).
TABLE = 16 << 20
#: Larger differences of vocabularies turn speculation off (common/speculative.cpp).
VOCABULARY_DIFFERENCE = 128


@dataclass(frozen=True)
class Speculation:
    """What speculates, as the plan needs it.

    :param draft: the model that proposes tokens; None for none.
    :param device: its wanted device; empty for the head's last GPU or its processor.
    :param type_k: type of the keys in the cache of the draft or of the predicting blocks.
    :param predicts: whether the model's own blocks predict further tokens.
    :param has_table: whether there is a table of n-grams.
    """

    draft: ModelMetadata | None = None
    device: str = ""
    type_k: str = "f16"
    type_v: str = "f16"
    predicts: bool = False
    has_table: bool = False


@dataclass(frozen=True)
class PlacedDraft:
    """A draft on a device.

    :param number: number of the device; -1 for the head's processor.
    """

    number: int
    name: str
    plan: DevicePlan


def of_settings(given: Mapping[str, Any] | None, draft: ModelMetadata | None) -> Speculation:
    """Read what speculates from the checked setting.

    :param draft: the model of its file.
    """
    if not given:
        return Speculation()
    return Speculation(
        draft,
        given.get("device", ""),
        given.get("cache_type_k", "f16"),
        given.get("cache_type_v", "f16"),
        predicts=speculation_settings.has_next_tokens(given),
        has_table=speculation_settings.MOD in given["types"],
    )


def cache_of(cache: CacheSettings, speculation: Speculation) -> CacheSettings:
    """Return the settings of the draft's cache: types of its own, and the model's whole context."""
    return replace(cache, type_k=speculation.type_k, type_v=speculation.type_v, drafted=0, rollbacks=0)


def context_bytes(metadata: ModelMetadata, speculation: Speculation, cache: CacheSettings) -> int:
    """Compute the bytes of the whole context that speculation keeps. The engine copies it with a prompt that it keeps.

    :param metadata: the model, whose blocks may predict.
    """
    own, draft = cache_of(cache, speculation), speculation.draft
    found = sum(cache_bytes(metadata, block, own) for block in metadata.predictors) if speculation.predicts else 0
    return found + (sum(cache_bytes(draft, x, own) + state_bytes(x, own) for x in draft.layers) if draft else 0)


def require_known(metadata: ModelMetadata, speculation: Speculation) -> None:
    """Reject what the engine would refuse, or would turn off without an error."""
    if speculation.predicts and not metadata.predictors:
        raise InvalidInputError(
            "blocks that predict further tokens (nextn_predict_layers) in the model's metadata, for draft-mtp",
            f"none in that of {metadata.name or metadata.architecture}",
            "remove draft-mtp from speculation, or write metadata of such a model again with playbooks/lock_models.yml",
        )
    draft = speculation.draft
    if draft and abs(draft.vocabulary - metadata.vocabulary) > VOCABULARY_DIFFERENCE:
        raise InvalidInputError(
            f"a draft with a vocabulary of {metadata.vocabulary} tokens, give or take {VOCABULARY_DIFFERENCE}",
            f"{draft.vocabulary} tokens in {draft.name or draft.architecture}",
            "choose a draft of the same family; the engine would serve without speculation",
        )


def place(planner: Planner) -> PlacedDraft | None:
    """Place the draft on its device; None without one."""
    draft = planner.request.speculation.draft
    if draft is None:
        return None
    hosts = planner.group.holders
    devices = planner.order({host.name: len(host.devices) for host in hosts})
    name = speculation_settings.draft_device(devices, planner.request.speculation.device)
    names = [device.name for device in devices]
    number = names.index(name) if name in names else -1
    alone = _alone(planner, draft, planner.memories[number] if number >= 0 else None)
    return PlacedDraft(number, name, alone.place({planner.group.head.name: len(draft.layers)})[0])


def _alone(planner: Planner, draft: ModelMetadata, memory: DeviceCapacity | None) -> Planner:
    """Plan the draft as the only model of the head, on one device; None is its processor."""
    cache = cache_of(planner.request.cache, planner.request.speculation)
    return planner.alone(draft, cache, memory or replace(planner.memories[0], free=0, total=0, is_cuda=False))


def device_bytes(planner: Planner, number: int, placed: Sequence[int]) -> int:
    """Compute the bytes of speculation on a device, beside the rows of logits.

    :param placed: the device of each layer and of the output.
    """
    found = 0
    draft = planner.drafted
    if draft and draft.number == number:
        # It shares the CUDA context of the process that serves the device.
        found += draft.plan.total - (cuda_memory.CONTEXT if draft.plan.modelled else 0)
    if planner.request.speculation.predicts and planner.metadata.predictors:
        found += _predicting(planner, number, placed)
    return found


def _predicting(planner: Planner, number: int, placed: Sequence[int]) -> int:
    """Compute the bytes of the predicting blocks on a device, and of their compute buffer."""
    metadata, cuda = planner.metadata, planner.memories[number].is_cuda
    cache = cache_of(planner.request.cache, planner.request.speculation)
    blocks = [layer for layer, facts in enumerate(metadata.layers) if not facts.loaded]
    own = [block for layer, block in zip(blocks, metadata.predictors) if placed[layer] == number]
    found = sum((block.weights_cuda if cuda else block.weights) + cache_bytes(metadata, block, cache) for block in own)
    has_block, has_output = placed[blocks[0]] == number, placed[-1] == number
    if not has_block and not has_output:
        return found
    key = ("predictor", has_block, has_output, cuda)
    if key not in planner.buffers:
        planner.buffers[key] = compute_buffer.predictor_bytes(
            metadata, cache, planner.rules, planner.copies, planner.request.flash,
            CUDA_PADDING if cuda else PADDING, has_block, has_output,
        )  # fmt: skip
    return found + planner.buffers[key]


def head_need(planner: Planner, need: host_memory.HostNeed) -> host_memory.HostNeed:
    """Add what speculation takes in the head's process: the draft's embeddings and inputs, or all of it, and tables."""
    speculation, cache = planner.request.speculation, planner.request.cache
    own, mapped = need.own + (TABLE if speculation.has_table else 0), need.mapped
    if speculation.predicts and planner.metadata.predictors:
        own += _predictor_host(planner.metadata, cache_of(cache, speculation), planner)
    if planner.drafted and speculation.draft:
        more = _draft_host(planner, speculation.draft, planner.drafted)
        own, mapped = own + more.own, mapped + more.mapped
    return replace(need, own=own, mapped=mapped)


def _draft_host(planner: Planner, metadata: ModelMetadata, draft: PlacedDraft) -> host_memory.HostNeed:
    """Compute what a draft adds to the head's process, wherever it computes."""
    cache = cache_of(planner.request.cache, planner.request.speculation)
    rules, load_mode = planner.rules, planner.request.load_mode
    need = host_memory.head_need(metadata, cache, rules, 1, load_mode)
    own = need.own - host_memory.PROCESS
    if draft.number < 0:
        # One buffer holds inputs, embeddings and results.
        own -= compute_buffer.head_bytes(metadata, cache, rules, 1)
        own += metadata.width * cache.tokens * _FLOAT
        own += draft.plan.cache + draft.plan.state + draft.plan.compute
        own += draft.plan.weights if load_mode != "mmap" or rules.copies_local else 0
    return replace(need, own=own)


def _predictor_host(metadata: ModelMetadata, cache: CacheSettings, planner: Planner) -> int:
    """Compute the bytes of a context for blocks that predict: inputs with the last states, rows of both outputs."""
    alone = replace(metadata, layers=metadata.predictors[:1])
    found = compute_buffer.head_bytes(alone, cache, planner.rules, planner.copies, planner.request.flash)
    found += planner.copies * metadata.width * cache.tokens * _FLOAT
    # The model's context keeps the state of every token of a batch, the other one those of its rows.
    return found + (metadata.vocabulary * cache.slots + metadata.width * (cache.batch + cache.slots)) * _FLOAT


def described(planner: Planner) -> list[str]:
    """Say in lines what speculation takes and where."""
    speculation, cache, found = planner.request.speculation, planner.request.cache, []
    draft = planner.drafted
    if draft and speculation.draft:
        where = "the head's processor" if draft.number < 0 else draft.name
        sizes = draft.plan
        found.append(
            f"draft {speculation.draft.name or speculation.draft.architecture} on {where}: "
            f"weights {_mib(sizes.weights)}, cache {_mib(sizes.cache + sizes.state)} over the whole context "
            f"({speculation.type_k}/{speculation.type_v}), compute {_mib(sizes.compute)}"
        )
    if speculation.predicts and planner.metadata.predictors:
        blocks, own = planner.metadata.predictors, cache_of(cache, speculation)
        found.append(
            f"draft-mtp on the device of the last layers: weights {_mib(sum(block.weights for block in blocks))}, "
            f"cache {_mib(sum(cache_bytes(planner.metadata, block, own) for block in blocks))} over the whole context "
            f"({own.type_k}/{own.type_v}), and a compute buffer of its own"
        )
    if speculation.has_table:
        found.append(f"ngram-mod: a table of {_mib(TABLE)} in the head's memory")
    if cache.drafted:
        rows = planner.metadata.vocabulary * cache.outputs * _FLOAT
        found.append(
            f"speculation: {cache.outputs} rows of logits, {_mib(rows)}, in the compute buffer of the last device"
        )
    return found


def _mib(size: float) -> str:
    return f"{size / (1 << 20):.2f} MiB"
