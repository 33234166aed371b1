# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compute the memory of a model on each device of a group, and the best split of its layers.

Weights, caches, states and layers of each device equal the engine's own numbers. Compute buffers are upper bounds, and
the overhead of CUDA is modelled. So a device's total is never less than what the engine allocates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ..engine.device_order import (
    LayerHost,
    PlacedDevice,
    check_split,
    devices_in_engine_order,
    engine_split,
    predict_layers,
    require_holders,
)
from ..models.metadata import CUDA_PADDING, PADDING, LayerMetadata, ModelMetadata
from . import (
    compute_buffer,
    cuda_memory,
    engine_limits,
    further_files,
    host_memory,
    speculation,
    split_search,
    token_rate,
)
from .compute_buffer import NEW, OLD, ComputeBufferRules
from .further_files import FurtherFiles
from .graph.architectures import LAYERS
from .graph.device_graph import GraphPart
from .kv_cache import CacheSettings, cache_bytes, state_bytes, with_windows_of
from .speculation import Speculation

MIB = 1 << 20
# Layers on either side that decide which work of its neighbours a device computes.
_NEIGHBOURS = 4


@dataclass(frozen=True)
class DeviceCapacity:
    """The memory of one device.

    :param free: free bytes, without the memory of other processes.
    :param total: all bytes of the device.
    :param reserve: bytes that the plan leaves free.
    :param bandwidth: bytes per second; 0 if unknown.
    """

    free: int
    total: int
    is_cuda: bool
    reserve: int = 0
    bandwidth: float = 0.0
    name: str = ""

    @property
    def assumed_bandwidth(self) -> float:
        """The bandwidth, or a usual one if it is unknown."""
        return self.bandwidth or token_rate.usual_bandwidth(self.is_cuda)


@dataclass(frozen=True)
class PlacementHost:
    """A host of the group with its devices in order.

    :param endpoint: endpoint of its RPC worker; empty for the head.
    :param memory: bytes of RAM; 0 if unknown.
    :param limit: memory limit of its service in bytes; 0 for none.
    """

    name: str
    devices: tuple[DeviceCapacity, ...]
    endpoint: str = ""
    memory: int = 0
    limit: int = 0

    @property
    def holder(self) -> LayerHost:
        return LayerHost(self.name, len(self.devices), self.endpoint)


@dataclass(frozen=True)
class PlacementGroup:
    """Workers in the engine's order, and the head, whose own devices come last."""

    workers: tuple[PlacementHost, ...]
    head: PlacementHost

    @property
    def holders(self) -> list[PlacementHost]:
        return [*self.workers, *([self.head] if self.head.devices else [])]


@dataclass(frozen=True)
class PlacementRequest:
    """Settings of a placement: the caches, and how the head loads and computes."""

    cache: CacheSettings
    flash: bool = True
    load_mode: str = "mmap"
    cache_ram_mib: int = 0
    further: FurtherFiles = field(default_factory=FurtherFiles)
    speculation: Speculation = field(default_factory=Speculation)


@dataclass(frozen=True)
class DevicePlan:
    """Bytes on one device.

    :param further: bytes of projector, adapters and speculation.
    :param left: bytes that stay free beside the reserve; negative if the layers do not fit.
    """

    name: str
    host: str
    endpoint: str
    layers: int
    first: int
    has_output: bool
    weights: int
    cache: int
    state: int
    compute: int
    overhead: int
    further: int
    total: int
    free: int
    reserve: int
    left: int
    modelled: bool


@dataclass(frozen=True)
class PlacementPlan:
    """A placement of the model, and its problems."""

    devices: tuple[DevicePlan, ...]
    split: Mapping[str, int]
    tensor_split: tuple[int, ...]
    head: host_memory.HostNeed
    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    rate_empty: float
    rate_full: float

    @property
    def fits(self) -> bool:
        return not self.problems

    def to_data(self) -> dict[str, Any]:
        """Convert the plan to plain data."""
        data = {**asdict(self), "tensor_split": list(self.tensor_split), "fits": self.fits}
        data["head"].update(least=self.head.least, comfortable=self.head.comfortable)
        return data


def rules_of(release: str) -> ComputeBufferRules:
    """Return the allocation rules of a release. Older tags follow the rules measured for b7836."""
    return replace(OLD if compute_buffer.is_older(release) else NEW, release=release)


class Planner:
    """Plans a model on a group of hosts."""

    def __init__(
        self, metadata: ModelMetadata, request: PlacementRequest, group: PlacementGroup, rules: ComputeBufferRules
    ) -> None:
        require_holders(group.holders)
        self.metadata = metadata = with_windows_of(metadata, compute_buffer.is_older(rules.release))
        self.request = request
        self.group = group
        self.rules = rules
        self.memories = [memory for host in group.holders for memory in host.devices]
        self.room = sum(max(0, memory.free - memory.reserve) for memory in self.memories)
        self.copies = rules.copies if len(self.memories) > 1 else 1
        self._known: dict[tuple[int, int, int], DevicePlan] = {}
        self._left: dict[tuple[int, int, int], int] = {}
        #: Compute buffers by what decides them. Equal parts of a model are followed once.
        self.buffers: dict[tuple[Any, ...], int] = {}
        numbers: dict[LayerMetadata, int] = {}
        self._kinds = [numbers.setdefault(layer, len(numbers)) for layer in metadata.layers]
        self.drafted = speculation.place(self)

    def with_cache(self, **settings: Any) -> Planner:
        """Plan the same with other settings of the caches."""
        request = replace(self.request, cache=replace(self.request.cache, **settings))
        return Planner(self.metadata, request, self.group, self.rules)

    def order(self, split: Mapping[str, int]) -> list[PlacedDevice]:
        """List the devices in the engine's order, by the engine's names."""
        head = self.group.head
        workers = [worker.holder for worker in self.group.workers]
        backend = "CUDA" if any(memory.is_cuda for memory in head.devices) else "CPU"
        return devices_in_engine_order(workers, head.holder if head.devices else None, split, backend)

    def place(self, split: Mapping[str, int]) -> list[DevicePlan]:
        """Compute the bytes on each device for a split by host."""
        devices = self.order(split)
        return self._place(devices, engine_split(devices))

    def place_by(self, shares: Sequence[float]) -> list[DevicePlan]:
        """Compute the bytes on each device for a literal C(--tensor-split)."""
        return self._place(self.order({host.name: len(host.devices) for host in self.group.holders}), shares)

    def _place(self, devices: Sequence[PlacedDevice], shares: Sequence[float]) -> list[DevicePlan]:
        placed = predict_layers(shares, len(self.metadata.layers))
        return [self._device(number, device, placed) for number, device in enumerate(devices)]

    def _device(self, number: int, device: PlacedDevice, placed: Sequence[int]) -> DevicePlan:
        slots = [slot for slot, holder in enumerate(placed) if holder == number]
        key = (number, slots[0] if slots else 0, len(slots))
        if key not in self._known:
            self._known[key] = self._compute(device, self.memories[number], placed, number)
        return self._known[key]

    def _begins(self, placed: Sequence[int], number: int) -> frozenset[bool]:
        """Return the kinds of mask whose first layer is on this device."""
        first: dict[bool, int] = {}
        for layer, facts in enumerate(self.metadata.layers):
            if facts.kv_heads:
                first.setdefault(facts.window, placed[layer])
        return frozenset(window for window, device in first.items() if device == number)

    def _compute(self, device: PlacedDevice, memory: DeviceCapacity, placed: Sequence[int], number: int) -> DevicePlan:
        metadata, cache = self.metadata, self.request.cache
        everything = metadata.layers
        numbers = [layer for layer in range(len(everything)) if placed[layer] == number]
        layers = [everything[layer] for layer in numbers]
        has_output = placed[-1] == number
        trunk = [layer for layer, facts in enumerate(everything) if facts.loaded]
        first, last = (numbers[0], numbers[-1]) if numbers else (len(everything), len(everything))
        place = GraphPart(
            layers,
            has_output,
            has_last_layer=placed[trunk[-1]] == number,
            begins=self._begins(placed, number),
            first=sum(layer < first for layer in trunk),
            before=[everything[layer] for layer in trunk if layer < first][-_NEIGHBOURS:],
            after=[everything[layer] for layer in trunk if layer > last][:_NEIGHBOURS],
        )
        cuda = memory.is_cuda
        weights = sum(layer.weights_cuda if cuda else layer.weights for layer in layers)
        weights += (metadata.shared_cuda if cuda else metadata.shared) if layers else 0
        weights += (metadata.output_cuda if cuda else metadata.output) if has_output else 0
        kept = sum(cache_bytes(metadata, layer, cache, self.rules.hybrid_bug) for layer in layers)
        state = sum(state_bytes(layer, cache) for layer in layers)
        compute = self._buffer(place, [self._kinds[layer] for layer in numbers], cuda)
        overhead = cuda_memory.overhead_bytes(metadata, layers, cache) if cuda else 0
        further = self._further(number) + speculation.device_bytes(self, number, placed)
        total = weights + kept + state + compute + overhead + further
        return DevicePlan(
            name=device.name,
            host=device.host,
            endpoint=device.endpoint,
            layers=len(layers),
            first=numbers[0] if numbers else len(everything),
            has_output=has_output,
            weights=weights,
            cache=kept,
            state=state,
            compute=compute,
            overhead=overhead,
            further=further,
            total=total,
            free=memory.free,
            reserve=memory.reserve,
            left=memory.free - memory.reserve - total,
            modelled=cuda,
        )

    def _buffer(self, place: GraphPart, kinds: Sequence[int], cuda: bool) -> int:
        """Compute the compute buffer of a part of the graph, once for equal parts."""
        # The engine tells only the first layers by their number.
        first = min(place.first, 2 * _NEIGHBOURS + self.metadata.detail("deepstack"))
        sides = tuple(place.before), tuple(place.after)
        key = (tuple(kinds), place.has_output, place.has_last_layer, place.begins, first, sides, cuda)
        if key not in self.buffers:
            cache, flash, padding = self.request.cache, self.request.flash, CUDA_PADDING if cuda else PADDING
            self.buffers[key] = compute_buffer.device_bytes(
                self.metadata, place, cache, self.rules, self.copies, flash, padding
            )
        return self.buffers[key]

    def _further(self, number: int) -> int:
        """Compute the bytes of projector and adapters on a device."""
        files = self.request.further
        found = further_files.adapter_bytes(self.metadata, self.request.cache, files)
        return found + (files.projector if number == 0 else 0)

    def alone(self, metadata: ModelMetadata, cache: CacheSettings, memory: DeviceCapacity) -> Planner:
        """Plan another model by the same rules, on one device of the head."""
        request = replace(self.request, cache=cache, further=FurtherFiles(), speculation=Speculation())
        group = PlacementGroup((), replace(self.group.head, devices=(memory,)))
        return Planner(metadata, request, group, self.rules)

    def head_need(self) -> host_memory.HostNeed:
        """Compute the memory of the head's process."""
        need = host_memory.head_need(
            self.metadata,
            self.request.cache,
            self.rules,
            self.copies,
            self.request.load_mode,
            self.request.cache_ram_mib,
            gpus=len(self.group.head.devices),
            state=self.window_state(),
        )
        return speculation.head_need(self, need)

    def best_split(self) -> dict[str, int]:
        """Find the best split (C(split_search))."""
        return split_search.best(self)

    def left(self, number: int, start: int, layers: int) -> int:
        """Compute the bytes that some layers from a start on leave on a device."""
        total = len(self.metadata.layers)
        placed = [number - 1] * start + [number] * layers + [number + 1] * (total - start - layers)
        placed.append(number if number == len(self.memories) - 1 else number + 1)
        key = (number, start, layers)
        if key not in self._left:
            device = PlacedDevice("", "", "", layers)
            self._left[key] = self._compute(device, self.memories[number], placed, number).left
        return self._left[key]

    def least_total(self) -> int:
        """Compute the bytes that all devices together need at least: weights, caches and states."""
        metadata, cache = self.metadata, self.request.cache
        kept = (cache_bytes(metadata, layer, cache, self.rules.hybrid_bug) for layer in metadata.layers)
        return metadata.output + sum(kept) + sum(layer.weights + state_bytes(layer, cache) for layer in metadata.layers)

    def fits(self, split: Mapping[str, int] | None = None) -> bool:
        """Return whether devices and hosts hold the model, by a split or by any."""
        if list(self._host_problems(self.head_need())):
            return False
        if self.least_total() > self.room:
            return False
        if split:
            return all(device.left >= 0 for device in self.place(split))
        return split_search.leaving(self, 0) is not None

    def window_state(self) -> int:
        """Compute the bytes of one slot's windows and recurrent states, which cannot be rolled back."""
        cache = replace(self.request.cache, slots=1, rollbacks=0)
        return sum(
            state_bytes(layer, cache)
            + (cache_bytes(self.metadata, layer, cache) if layer.window and not cache.full_window else 0)
            for layer in self.metadata.layers
        )

    def plan(self, split: Mapping[str, int] | None = None) -> PlacementPlan:
        """Place the model by an explicit split, or by the best one."""
        if split:
            check_split(split, [host.holder for host in self.group.holders], len(self.metadata.layers))
        chosen = dict(split) if split else self.best_split()
        devices = self.place(chosen)
        head = self.head_need()
        refused = engine_limits.refusals(self.metadata, self.request.cache, self.request.flash, self.rules.release)
        return PlacementPlan(
            devices=tuple(devices),
            split=chosen,
            tensor_split=tuple(engine_split(self.order(chosen))),
            head=head,
            problems=(*refused, *_device_problems(devices), *self._host_problems(head)),
            warnings=tuple(self._warnings()),
            rate_empty=self._rate(devices, is_full=False),
            rate_full=self._rate(devices, is_full=True),
        )

    def _rate(self, devices: Sequence[DevicePlan], is_full: bool) -> float:
        """Compute the upper bound on tokens per second; 0 if a bandwidth is unknown."""
        seconds = []
        for device, memory in zip(devices, self.memories):
            layers = self.metadata.layers[device.first : device.first + device.layers]
            if not memory.bandwidth and (layers or device.has_output):
                return 0.0
            if layers or device.has_output:
                read = token_rate.bytes_read(self.metadata, layers, device.has_output, self.request.cache, is_full)
                seconds.append(read / memory.bandwidth)
        return 1 / sum(seconds)

    def _host_problems(self, head: host_memory.HostNeed) -> list[str]:
        host = self.group.head
        found = []
        if host.limit and host.limit < head.least:
            found.append(
                f"the head's process on {host.name}: expected a memory limit of at least {mib(head.least)}, found "
                f"{mib(host.limit)}: raise head_server_memory_max; {mib(head.comfortable)} lets the file's pages stay."
            )
        if host.memory and host.memory < head.least:
            found.append(
                f"host {host.name}: expected at least {mib(head.least)} of memory for the head's process, found "
                f"{mib(host.memory)}: choose a larger machine, fewer slots or a smaller prompt cache."
            )
        return found

    def _warnings(self) -> list[str]:
        metadata, found = self.metadata, []
        if metadata.architecture not in LAYERS:
            found.append(
                f"architecture {metadata.architecture} was not measured: weights are exact, caches and compute buffers "
                f"are upper bounds; compare them with what the head prints at its first start."
            )
        if metadata.context and self.request.cache.context > metadata.context:
            found.append(
                f"a context of {self.request.cache.context} is longer than the {metadata.context} tokens that the "
                f"model was trained with: it is allocated in full, and answers beyond them may be worthless."
            )
        if self.rules.hybrid_bug and metadata.recurrent and self.request.cache.slots > 1:
            found.append(
                f"this release allocates the cache of hybrid models {self.request.cache.slots} times over with "
                f"{self.request.cache.slots} slots: use one slot or a newer release."
            )
        return found


def mib(size: float) -> str:
    """Format bytes as MiB."""
    return f"{size / MIB:.0f} MiB"


def _device_problems(devices: Sequence[DevicePlan]) -> list[str]:
    return [
        f"device {device.name} on {device.host}: expected room for {mib(device.total)} ({device.layers} layers: "
        f"weights {mib(device.weights)}, cache {mib(device.cache + device.state)}, compute {mib(device.compute)}"
        f"{f', CUDA {mib(device.overhead)}' if device.overhead else ''}"
        f"{f', projector, adapters and speculation {mib(device.further)}' if device.further else ''}), "
        f"found {mib(device.free)} free"
        f"{f', of which {mib(device.reserve)} are reserved' if device.reserve else ''}: "
        f"{mib(-device.left)} are missing."
        for device in devices
        if device.left < 0
    ]
