# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan a placement from the inventory alone: hosts, GPUs, the model's entry and the head's settings.

No host is contacted. If a GPU's free memory is not given, the plan assumes an unused GPU.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..engine import arguments as engine_arguments
from ..engine.speculation import settings as speculation_settings
from ..errors import InvalidInputError
from ..models.metadata import ModelMetadata, from_data
from ..text import bytes_of
from . import cuda_memory, host_memory, remedies, speculation, token_rate
from .context_search import largest_context
from .further_files import FurtherFiles
from .kv_cache import CacheSettings
from .planner import (
    MIB,
    DeviceCapacity,
    PlacementGroup,
    PlacementHost,
    PlacementPlan,
    PlacementRequest,
    Planner,
    mib,
    rules_of,
)

_GIB = 1 << 30
#: Share of a host's memory that is available to a worker on its CPU.
_HOST_SHARE = 0.9
#: Approximate latency of one hop over the network, in milliseconds.
HOP_MS = 0.5


def metadata_in(entry: Mapping[str, Any]) -> ModelMetadata | None:
    """Return the metadata in a model's entry of herd_models; None if it has none."""
    data = entry.get("metadata")
    if not data:
        return None
    metadata = from_data(data)
    layers = entry.get("layers")
    if layers and str(layers) != str(len(metadata.layers)):
        raise InvalidInputError(
            f"the {len(metadata.layers)} layers of the file in the entry {entry.get('name', 'of herd_models')}",
            f"layers: {layers}",
            "correct the entry, or write it anew with playbooks/lock_models.yml",
        )
    return metadata


def memories(
    host: str, gpus: Sequence[Mapping[str, Any]], free_mib: Sequence[float] | None, reserve_mib: int, memory_gib: float
) -> tuple[DeviceCapacity, ...]:
    """List the devices of a host: its GPUs, or its CPU if it has none. Without known memory it is an error.

    :param free_mib: measured free MiB of each GPU; None if not measured.
    :param reserve_mib: MiB that stay free on each GPU without a reserved_mib of its own.
    """
    if not gpus and not memory_gib:
        raise InvalidInputError(
            f"herd_gpus or herd_memory_gib for {host}, which is to hold layers",
            "neither",
            "describe the machine in the inventory",
        )
    if not gpus:
        total = int(memory_gib * _GIB)
        return (DeviceCapacity(int(total * _HOST_SHARE), total, is_cuda=False, name="CPU"),)
    found = []
    for number, gpu in enumerate(gpus):
        total = int(float(gpu["memory_mib"]) * MIB)
        free = int(total * cuda_memory.FREE_SHARE)
        if free_mib is not None and number < len(free_mib):
            free = int(float(free_mib[number]) * MIB)
        elif gpu.get("free_mib") is not None:
            free = int(float(gpu["free_mib"]) * MIB)
        name = str(gpu.get("name", ""))
        bandwidth = float(gpu.get("bandwidth_gbs") or 0) * 1e9 or token_rate.bandwidth_of(name)
        reserve = int(gpu.get("reserved_mib", reserve_mib)) * MIB
        found.append(DeviceCapacity(free, total, True, reserve, bandwidth, name))
    return tuple(found)


def beside(devices: Sequence[DeviceCapacity], booked_mib: Sequence[float]) -> tuple[DeviceCapacity, ...]:
    """Take the memory that another service of the inventory books from devices in their order."""
    booked = [*booked_mib, *[0.0] * (len(devices) - len(booked_mib))]
    return tuple(replace(device, free=device.free - int(size * MIB)) for device, size in zip(devices, booked))


def limit_bytes(text: Any) -> int:
    """Parse a memory limit of systemd, such as 200G, to bytes; 0 for none."""
    word = str(text or "").strip()
    if not word or word.lower() == "infinity":
        return 0
    size = bytes_of(word)
    if size is None:
        raise InvalidInputError("a limit such as 200G", repr(word), "write a number with K, M, G or T")
    return size


def planner_of(
    metadata: ModelMetadata,
    settings: Mapping[str, Any],
    group: PlacementGroup,
    release: str,
    models: Mapping[str, Mapping[str, Any]] | None = None,
) -> Planner:
    """Prepare the plan of a model by merged settings.

    :param models: entries of herd_models, among them that of a draft.
    """
    engine_arguments.require_offload(settings, len(metadata.layers))
    rules = rules_of(release)
    if settings["speculation"] and rules.float_masks:
        raise InvalidInputError(
            "a release whose memory for speculation is planned",
            f"{release}, which does not know the setting speculation",
            f"remove speculation from the settings, or use {speculation_settings.NEEDED_RELEASE}",
        )
    request = request_of(settings, models or {})
    speculation.require_known(metadata, request.speculation)
    return Planner(metadata, request, group, rules)


def _draft_of(file: str, models: Mapping[str, Mapping[str, Any]]) -> ModelMetadata | None:
    """Find the metadata of a draft by its file."""
    if not file:
        return None
    name = file.rsplit("/", 1)[-1]
    for model in models.values():
        if str(model.get("file", "")).rsplit("/", 1)[-1] == name:
            metadata = metadata_in(model)
            if metadata is not None:
                return metadata
    raise InvalidInputError(
        f"an entry of herd_models with the file {name} of the draft and with metadata, so that its memory is known",
        "none",
        "describe the draft in herd_models, and run playbooks/lock_models.yml; a router takes no draft",
    )


def _further_files_of(settings: Mapping[str, Any]) -> FurtherFiles:
    """Read the files beside a model from merged settings."""
    projector = settings["projector"]
    return FurtherFiles(
        (projector["mib"] + projector["compute_mib"]) * MIB if projector else 0,
        tuple(adapter["mib"] * MIB for adapter in settings["adapters"]),
    )


def request_of(settings: Mapping[str, Any], models: Mapping[str, Mapping[str, Any]]) -> PlacementRequest:
    """Translate merged settings into a request for a plan."""
    draft = _draft_of((settings["speculation"] or {}).get("file", ""), models)
    cache = CacheSettings(
        context=settings["context"],
        slots=settings["slots"],
        type_k=str(settings["cache_type_k"]),
        type_v=str(settings["cache_type_v"]),
        ubatch=settings["ubatch"],
        batch=settings["batch"],
        unified=settings["unified_cache"],
        full_window=settings["full_window"],
        drafted=speculation_settings.most_tokens(settings["speculation"]),
        rollbacks=speculation_settings.rollbacks(settings["speculation"]),
    )
    return PlacementRequest(
        cache,
        str(settings["flash_attention"]) != "off",
        str(settings["load_mode"]),
        settings["cache_ram_mib"] or 0,
        _further_files_of(settings),
        speculation.of_settings(settings["speculation"], draft),
    )


@dataclass(frozen=True)
class InventoryGroup:
    """The hosts of a plan as the inventory describes them.

    :param workers: names of the workers in the engine's order.
    :param facts: by host name: gpus, free_mib, memory_gib, address and port of a worker, and of the host's router
        booked_mib (of each GPU by named models) and router_scan_max (models in memory, if it offers found files, too).
    :param memory_max: memory limit of the head's service, such as 200G.
    """

    workers: Sequence[str]
    head: str
    facts: Mapping[str, Mapping[str, Any]]
    use_head_gpus: bool = True
    reserve_mib: int = 0
    memory_max: str = ""

    def group(self) -> PlacementGroup:
        """Describe the same hosts with their devices."""
        # A head that is also a worker offers its GPUs as a worker only.
        has_own = self.use_head_gpus and self.head not in self.workers and bool(self._facts(self.head).get("gpus"))
        own = self._devices(self.head) if has_own else ()
        head = PlacementHost(self.head, own, "", self._memory(self.head), limit_bytes(self.memory_max))
        return PlacementGroup(
            tuple(PlacementHost(n, self._devices(n), self._endpoint(n), self._memory(n)) for n in self.workers), head
        )

    def _endpoint(self, name: str) -> str:
        given = self._facts(name)
        return f"{given.get('address', name)}:{given['port']}" if given.get("port") else str(given.get("address", name))

    def _facts(self, name: str) -> Mapping[str, Any]:
        return self.facts.get(name, {})

    def _memory(self, name: str) -> int:
        return int(float(self._facts(name).get("memory_gib") or 0) * _GIB)

    def _devices(self, name: str) -> tuple[DeviceCapacity, ...]:
        given = self._facts(name)
        memory_gib = float(given.get("memory_gib") or 0)
        found = memories(name, given.get("gpus") or (), given.get("free_mib"), self.reserve_mib, memory_gib)
        # Measured memory is without that of a running router.
        return found if given.get("free_mib") else beside(found, given.get("booked_mib") or ())


def plan_for(
    entry: Mapping[str, Any],
    group: InventoryGroup,
    settings: Mapping[str, Any],
    release: str,
    split: Mapping[str, int],
    models: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """Plan an entry of herd_models. Without metadata there is no plan, only a note.

    :param settings: merged settings of the head.
    :param split: layers by host; empty for the best split.
    :param models: all entries of herd_models.
    """
    metadata = metadata_in(entry)
    if metadata is None:
        name = entry.get("name", "the model")
        return {
            "known": False,
            "fits": True,
            "split": dict(split),
            "table": f"{name} has no metadata in herd_models; playbooks/lock_models.yml writes it.",
        }
    others = {
        key: other
        for key, other in ((key, metadata_in(model)) for key, model in models.items())
        if other is not None and (other.architecture, other.width, len(other.layers)) == _kin(metadata)
    }
    planner = planner_of(metadata, settings, group.group(), release, models)
    note = _of_another_model(split, planner)
    plan = planner.plan({} if note else split)
    notes = [*([note] if note else []), *_bookings(group, plan)]
    plan = replace(plan, warnings=(*notes, *plan.warnings))
    written_for = [key for key, model in models.items() if int(model.get("layers") or 0) == sum(split.values())]
    split_is = {"split_replaced": bool(note), "split_models": written_for if note else []}
    return {"known": True, **split_is, **describe(planner, plan, others)}


def _bookings(group: InventoryGroup, plan: PlacementPlan) -> list[str]:
    """List what routers take on the hosts of the group."""
    found = []
    for name, facts in group.facts.items():
        if facts.get("booked_mib") and not facts.get("free_mib"):
            left = [device.left for device in plan.devices if device.host == name and device.modelled]
            found.append(_booking(name, facts, left))
    return found


def _booking(name: str, facts: Mapping[str, Any], left: Sequence[int]) -> str:
    """Say what a router takes of its host's GPUs.

    Files that only its folder has are unknown here. Their bound is what this plan leaves: the router counts the head's
    model and its named ones, and leaves out found files until its largest models fit.
    """
    booked = ", ".join(f"{size:.0f}" for size in facts["booked_mib"])
    text = f"the router on {name} books {booked} MiB of its GPUs for the models that it names; the plan uses the rest."
    if not facts.get("router_scan_max"):
        return text
    rooms = ", ".join(f"{max(0, size) / MIB:.0f}" for size in left) or "0"
    return (
        f"{text} Its largest {facts['router_scan_max']} models, with files of its folder that are not named, take at "
        f"most {rooms} MiB more, which this plan leaves: the router leaves out what does not fit."
    )


def _of_another_model(split: Mapping[str, int], planner: Planner) -> str:
    """Return a sentence if a split over these hosts has another number of layers than the model; otherwise nothing."""
    layers = len(planner.metadata.layers)
    if not split or set(split) != {host.name for host in planner.group.holders} or sum(split.values()) == layers:
        return ""
    return (
        f"the given split has {sum(split.values())} layers and this model has {layers}: it was written for another "
        f"model, and this one is planned anew."
    )


def _kin(metadata: ModelMetadata) -> tuple[str, int, int]:
    return metadata.architecture, metadata.width, len(metadata.layers)


def describe(planner: Planner, plan: PlacementPlan, others: Mapping[str, ModelMetadata]) -> dict[str, Any]:
    """Convert a plan to plain data with its texts."""
    data = plan.to_data()
    metadata, cache = planner.metadata, planner.request.cache
    data["model"] = {
        "name": metadata.name,
        "architecture": metadata.architecture,
        "quantisation": metadata.quantisation,
        "bits_per_weight": round(metadata.bits_per_weight, 2),
        "layers": len(metadata.layers),
        "file_size": metadata.file_size,
    }
    data["settings"] = {
        "context": cache.context,
        "slots": cache.slots,
        "cache_type_k": cache.type_k,
        "cache_type_v": cache.type_v,
        "ubatch": cache.tokens,
    }
    needs, has = sum(device.total for device in plan.devices), planner.room
    count = len(plan.devices)
    data["summary"] = (
        f"{'fits' if plan.fits else 'does not fit'}: needs {needs / _GIB:.1f} GiB on {count} "
        f"device{'s' if count > 1 else ''}, has {has / _GIB:.1f} GiB"
    )
    data["booked_mib"] = {
        host: [device.total / MIB for device in plan.devices if device.host == host and device.modelled]
        for host in plan.split
    }
    data["memory_max"] = _head_limit(planner, plan)
    data["largest_context"] = largest_context(planner, plan.split)
    data["remedies"] = [] if plan.fits else remedies.find(planner, others)
    data["comparison"] = compare(planner, others) if len(others) > 1 else []
    data["hops"] = len({device.host for device in plan.devices})
    data["table"] = table(planner, plan, data)
    return data


def _head_limit(planner: Planner, plan: PlacementPlan) -> str:
    """Write the memory limit of the head's service as systemd takes it, such as 95G."""
    head, host = plan.head, planner.group.head
    context = sum(device.cache + device.state + device.further for device in plan.devices)
    need = host_memory.with_files(head.comfortable, head.mapped, planner.metadata.file_size, context)
    return f"{host_memory.service_limit_gib(need, head.least, host.memory)}G"


def table(planner: Planner, plan: PlacementPlan, data: Mapping[str, Any]) -> str:
    """Format the plan as text."""
    metadata, cache = planner.metadata, planner.request.cache
    head = plan.head
    lines = [
        data["summary"],
        "",
        f"{metadata.name or metadata.architecture}, {metadata.bits_per_weight:.2f} bits a weight, "
        f"{len(metadata.layers)} layers; "
        f"context {cache.context} x {cache.slots}, cache {cache.type_k}/{cache.type_v}, micro-batch {cache.tokens}",
        "",
        _row("device", "host", "layers", "weights", "cache", "compute", "CUDA", "total", "free", "left"),
    ]
    for device in plan.devices:
        numbers = (device.weights, device.cache + device.state, device.compute, device.overhead, device.total)
        lines.append(
            _row(
                device.name,
                device.host,
                f"{device.layers}{'+output' if device.has_output else ''}",
                *(f"{number / MIB:.0f}" for number in (*numbers, device.free, device.left)),
            )
        )
    lines += [
        "",
        "in MiB; weights, cache and layers are exact, compute is an upper bound"
        + (", CUDA is modelled and not measured" if any(device.modelled for device in plan.devices) else ""),
        f"largest context that fits this split: {data['largest_context']}",
        f"head process: at least {mib(head.least)} of memory, {mib(head.comfortable)} if the file is to stay cached",
    ]
    if plan.rate_empty:
        lines.append(
            f"at most {plan.rate_empty:.1f} tokens/s with an empty context and {plan.rate_full:.1f} with a full one "
            f"(bytes moved over memory bandwidth; each of {data['hops']} hops adds its latency, about {HOP_MS} ms on a "
            f"fast network); only a benchmark says what is reached"
        )
    lines += [
        f"{device.name}: {mib(device.further)} of the total for projector, adapters and speculation"
        for device in plan.devices
        if device.further
    ]
    lines += speculation.described(planner)
    lines += [_compared(other) for other in data["comparison"]]
    lines += [f"warning: {text}" for text in plan.warnings]
    lines += [f"does not fit: {text}" for text in plan.problems]
    lines += [f"remedy: {text}" for text in data["remedies"]]
    return "\n".join(lines)


def _compared(other: Mapping[str, Any]) -> str:
    fits = "fits" if other["fits"] else "does not fit"
    return (
        f"{other['model']}: {other['bits_per_weight']} bits a weight, {other['bytes_per_token'] / 1e9:.1f} GB moved "
        f"for each token, at most {other['tokens_per_second_at_most']} tokens/s, {fits}"
    )


def _row(*cells: str) -> str:
    widths = (7, 14, 10, 8, 8, 8, 7, 8, 8, 8)
    first = 3
    return "  ".join(
        cell.ljust(width) if number < first else cell.rjust(width)
        for number, (cell, width) in enumerate(zip(cells, widths))
    ).rstrip()


def compare(planner: Planner, others: Mapping[str, ModelMetadata]) -> list[dict[str, Any]]:
    """Compare other entries of the same model: bytes read for a token, and the highest rate."""
    found = []
    for key, metadata in others.items():
        if len(metadata.layers) < sum(len(host.devices) for host in planner.group.holders):
            continue
        is_same = metadata == planner.metadata
        plan = (planner if is_same else Planner(metadata, planner.request, planner.group, planner.rules)).plan()
        moved = sum(token_rate.active_bytes(metadata, layer) for layer in metadata.layers) + metadata.output
        found.append(
            {
                "model": key,
                "bits_per_weight": round(metadata.bits_per_weight, 2),
                "fits": plan.fits,
                "bytes_per_token": moved,
                "tokens_per_second_at_most": round(plan.rate_empty, 1),
                "tokens_per_second_at_most_full": round(plan.rate_full, 1),
            }
        )
    return found
