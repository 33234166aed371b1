# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check that the models of a router fit beside each other on one host, whichever ones clients request.

The router keeps up to models_max models in memory, each in a process with its own CUDA context. Its clients decide
which ones. So the largest models must fit together on every device and in the host's memory. An evicted model has
stopped before the next one is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..engine.arguments import LOAD_MODES
from ..errors import HerdError
from ..models.metadata import ModelMetadata
from . import from_inventory, host_memory, remedies
from .kv_cache import BYTES_PER_ELEMENT
from .planner import MIB, DeviceCapacity, PlacementGroup, PlacementHost, PlacementPlan, Planner, mib

_LOCKED = tuple(mode for mode in LOAD_MODES if mode != "mmap")
_SMALLEST_CONTEXT = 2048
_GIB = 1 << 30


@dataclass(frozen=True)
class RouterModel:
    """A model that the router may offer.

    :param metadata: None if it is unknown yet; then the model is not planned.
    :param settings: merged settings (engine.arguments).
    :param is_named: whether the inventory names it. A model that was only found is left out if it does not fit.
    """

    id: str
    metadata: ModelMetadata | None
    settings: Mapping[str, Any]
    is_named: bool = True


@dataclass(frozen=True)
class RouterHost:
    """The host of a router.

    :param gpus: as in herd_gpus; without any, the router runs on the CPU.
    :param free_mib: measured free MiB of each GPU; None if not measured.
    :param memory_max: memory limit of the service or job, such as 64G.
    :param booked_mib: MiB of each GPU that the layers of the head's model take.
    """

    name: str
    gpus: Sequence[Mapping[str, Any]] = ()
    memory_gib: float = 0.0
    free_mib: Sequence[float] | None = None
    reserve_mib: int = 0
    memory_max: str = ""
    booked_mib: Sequence[float] = ()

    def devices(self) -> tuple[DeviceCapacity, ...]:
        """List the devices, without the memory that is booked."""
        found = from_inventory.memories(self.name, self.gpus, self.free_mib, self.reserve_mib, self.memory_gib)
        return from_inventory.beside(found, self.booked_mib)


@dataclass(frozen=True)
class ModelNeed:
    """Bytes of a model on each device, and of its process on the host."""

    entry: RouterModel
    plan: PlacementPlan
    totals: tuple[int, ...]
    least: int
    comfortable: int


@dataclass(frozen=True)
class _Try:
    """A plan of all models on one host."""

    needs: tuple[ModelNeed, ...]
    memories: tuple[DeviceCapacity, ...]
    machine: RouterHost
    models_max: int

    def together(self, device: int) -> int:
        """Compute the bytes of the largest models on a device."""
        return sum(sorted((need.totals[device] for need in self.needs), reverse=True)[: self.models_max])

    def left(self, device: int) -> int:
        """Compute the bytes that stay free beside the reserve."""
        return self.memories[device].free - self.memories[device].reserve - self.together(device)

    def host(self, sizes: Sequence[int]) -> int:
        """Bytes of the largest processes together, and the router's own."""
        return host_memory.PROCESS + sum(sorted(sizes, reverse=True)[: self.models_max])

    @property
    def least(self) -> int:
        return self.host([need.least for need in self.needs])

    @property
    def comfortable(self) -> int:
        return self.host([need.comfortable for need in self.needs])

    def largest(self, device: int = 0) -> list[str]:
        """The models that are counted, largest first."""
        ranked = sorted(self.needs, key=lambda need: -need.totals[device])
        return [need.entry.id for need in ranked[: self.models_max]]

    @property
    def fits(self) -> bool:
        return all(self.left(device) >= 0 for device in range(len(self.memories))) and not list(self.host_problems())

    def device_problems(self) -> Iterator[str]:
        for number, memory in enumerate(self.memories):
            if self.left(number) >= 0:
                continue
            ids = self.largest(number)
            parts = {need.entry.id: need.totals[number] for need in self.needs}
            listed = " and ".join(f"{mib(parts[name])} for {name}" for name in ids)
            free = f"{mib(memory.free)} free"
            if memory.reserve:
                free += f", of which {mib(memory.reserve)} are reserved"
            if number < len(self.machine.booked_mib) and self.machine.booked_mib[number]:
                free += f", beside {self.machine.booked_mib[number]:.0f} MiB for the head's model"
            yield (
                f"device {number} of {self.machine.name}: expected room for the largest {len(ids)} of "
                f"{len(self.needs)} models at the same time ({listed}), found {free}: {mib(-self.left(number))} are "
                f"missing."
            )

    def host_problems(self) -> Iterator[str]:
        limit = from_inventory.limit_bytes(self.machine.memory_max)
        least, comfortable = self.least, self.comfortable
        if limit and limit < least:
            yield (
                f"the router's processes on {self.machine.name}: expected a memory limit of at least {mib(least)}, "
                f"found {mib(limit)}: raise it; {mib(comfortable)} lets the files' pages stay."
            )
        memory = int(self.machine.memory_gib * _GIB)
        if memory and memory < least:
            yield (
                f"host {self.machine.name}: expected at least {mib(least)} of memory for the router's processes, found "
                f"{mib(memory)}: choose a larger machine, fewer models in memory or load_mode mmap."
            )


def _planner(entry: RouterModel, metadata: ModelMetadata, machine: RouterHost, release: str) -> Planner:
    host = PlacementHost(machine.name, machine.devices(), "", int(machine.memory_gib * _GIB))
    return from_inventory.planner_of(metadata, entry.settings, PlacementGroup((), host), release)


def _need(entry: RouterModel, planner: Planner) -> ModelNeed:
    plan = planner.plan()
    totals = tuple(device.total for device in plan.devices)
    least, comfortable = plan.head.least, plan.head.comfortable
    if not any(memory.is_cuda for memory in planner.memories):
        # On a CPU the buffers are private memory of the process, and mapped weights are pages of the file.
        weights = sum(device.weights for device in plan.devices)
        buffers = sum(totals) - weights
        locked = str(entry.settings["load_mode"]) in _LOCKED
        least += buffers + (weights if locked else 0)
        comfortable += buffers + (0 if plan.head.mapped else weights)
    return ModelNeed(entry, plan, totals, least, comfortable)


def _tried(entries: Sequence[RouterModel], machine: RouterHost, models_max: int, release: str) -> _Try:
    needs = [_need(entry, _planner(entry, entry.metadata, machine, release)) for entry in entries if entry.metadata]
    return _Try(tuple(needs), machine.devices(), machine, models_max)


def _with(entry: RouterModel, **settings: Any) -> RouterModel:
    return replace(entry, settings={**entry.settings, **settings})


def _remedies(entries: Sequence[RouterModel], machine: RouterHost, models_max: int, release: str) -> Iterator[str]:
    """List changes with which all models fit; each is tried."""

    def fits(others: Sequence[RouterModel], count: int = models_max) -> bool:
        return bool(others) and _tried(others, machine, count, release).fits

    for count in range(models_max - 1, 0, -1):
        if fits(entries, count):
            yield f"{count} in memory at the same time (models_max) fits; others are loaded on demand."
            break
    yield from _smaller_context(entries, fits)
    yield from _smaller_caches(entries, fits)
    yield from _without_largest(entries, fits)


def _smaller_context(entries: Sequence[RouterModel], fits: Callable[[Sequence[RouterModel]], bool]) -> Iterator[str]:
    context = max(int(entry.settings["context"]) for entry in entries)
    while context > _SMALLEST_CONTEXT:
        context //= 2
        if fits([_with(entry, context=min(context, int(entry.settings["context"]))) for entry in entries]):
            yield f"A context of at most {context} for each slot of every model fits."
            return


def _smaller_caches(entries: Sequence[RouterModel], fits: Callable[[Sequence[RouterModel]], bool]) -> Iterator[str]:
    if any(str(entry.settings["flash_attention"]) == "off" for entry in entries):
        return
    for name in ("q8_0", "q4_0"):
        if all(BYTES_PER_ELEMENT[name] >= BYTES_PER_ELEMENT[str(e.settings["cache_type_k"])] for e in entries):
            continue
        if fits([_with(entry, cache_type_k=name, cache_type_v=name) for entry in entries]):
            yield f"Cache types {name} for keys and values of every model (cache_type_k, cache_type_v) fit."
            return


def _without_largest(entries: Sequence[RouterModel], fits: Callable[[Sequence[RouterModel]], bool]) -> Iterator[str]:
    ranked = sorted((e for e in entries if e.metadata), key=lambda e: -(e.metadata.file_size if e.metadata else 0))
    for count in range(1, len(ranked)):
        if fits([entry for entry in entries if entry not in ranked[:count]]):
            yield f"Without {' and '.join(entry.id for entry in ranked[:count])} the others fit."
            return


def booked_mib(entries: Sequence[RouterModel], machine: RouterHost, models_max: int, release: str) -> list[float]:
    """Compute the MiB of each GPU that the largest models of a router take."""
    tried = _tried(entries, machine, models_max, release)
    return [tried.together(number) / MIB for number in range(len(machine.gpus))] if tried.needs else []


def plan(entries: Sequence[RouterModel], machine: RouterHost, models_max: int, release: str) -> dict[str, Any]:
    """Plan all models of a router as plain data.

    :returns: known (whether all metadata was there), fits, problems, remedies, warnings, left_out (reasons by id),
        models (id, devices, split, bytes), together (bytes on each device), memory (least and comfortable, bytes),
        table.
    """
    left_out: dict[str, str] = {}
    problems: list[str] = []
    remedies_found: list[str] = []
    chosen: list[RouterModel] = []
    for entry in entries:
        if entry.metadata is None:
            continue
        try:
            planner = _planner(entry, entry.metadata, machine, release)
            alone = planner.plan()
        except HerdError as error:
            if entry.is_named:
                raise
            left_out[entry.id] = str(error)
            continue
        if alone.fits:
            chosen.append(entry)
        elif entry.is_named:
            problems += [f"model {entry.id}: {text}" for text in alone.problems]
            # More hosts do not help a router.
            remedies_found += [f"model {entry.id}: {text}" for text in remedies.find_alone(planner)]
        else:
            left_out[entry.id] = alone.problems[0]
    tried = _tried(chosen, machine, models_max, release)
    together = [*tried.device_problems(), *tried.host_problems()]
    if together and chosen:
        remedies_found += list(_remedies(chosen, machine, models_max, release))
    unknown = [entry.id for entry in entries if entry.metadata is None]
    warnings = [f"{need.entry.id}: {text}" for need in tried.needs for text in need.plan.warnings]
    warnings += [f"{name}: nothing is known of it, neither its file nor metadata in herd_models." for name in unknown]
    data = {
        "known": not unknown,
        "fits": not problems and not together,
        "problems": problems + together,
        "remedies": remedies_found,
        "warnings": warnings,
        "left_out": left_out,
        "models_max": models_max,
        "models": [_model(need) for need in tried.needs],
        "largest": tried.largest(),
        "together": [tried.together(number) for number in range(len(tried.memories))],
        "free": [memory.free - memory.reserve for memory in tried.memories],
        "memory": {"least": tried.least, "comfortable": tried.comfortable},
    }
    return {**data, "table": _table(data, tried)}


def _model(need: ModelNeed) -> dict[str, Any]:
    # Without a GPU there is no --device, because the engine does not list its CPU as a device.
    on_gpu = [device for device in need.plan.devices if device.modelled]
    return {
        "id": need.entry.id,
        "devices": [device.name for device in on_gpu],
        "split": list(need.plan.tensor_split) if len(on_gpu) > 1 else [],
        "totals": list(need.totals),
        "least": need.least,
        "comfortable": need.comfortable,
        "mapped": need.plan.head.mapped,
        "context": sum(device.cache + device.state for device in need.plan.devices),
        "file_size": need.entry.metadata.file_size if need.entry.metadata else 0,
        "rate_empty": round(need.plan.rate_empty, 1),
    }


def _table(data: Mapping[str, Any], tried: _Try) -> str:
    rows: list[tuple[str, ...]] = [
        ("model", "context", "slots", "weights", "cache", "compute", "CUDA", "total", "process")
    ]
    for need in sorted(tried.needs, key=lambda n: -sum(n.totals)):
        devices, settings = need.plan.devices, need.entry.settings
        sums = (
            sum(device.weights for device in devices),
            sum(device.cache + device.state for device in devices),
            sum(device.compute for device in devices),
            sum(device.overhead for device in devices),
            sum(need.totals),
            need.least,
        )
        rows.append(
            (need.entry.id, str(settings["context"]), str(settings["slots"]), *(f"{n / MIB:.0f}" for n in sums))
        )
    width = max(len(row[0]) for row in rows)
    count = min(int(data["models_max"]), len(tried.needs))
    lines = [f"router on {tried.machine.name}, {count} of {len(tried.needs)} models in memory", ""]
    lines += ["  ".join([row[0].ljust(width), *(cell.rjust(8) for cell in row[1:])]) for row in rows]
    lines += ["", "in MiB; weights and cache are exact, compute is an upper bound, CUDA is modelled"]
    for number, total in enumerate(data["together"] if tried.needs else ()):
        name = tried.memories[number].name or f"device {number}"
        lines.append(
            f"{name}: the largest {len(tried.largest(number))} together ({', '.join(tried.largest(number))}) take "
            f"{mib(total)} of {mib(data['free'][number])}, {mib(tried.left(number))} are left"
        )
    memory = data["memory"]
    lines.append(
        f"processes: at least {mib(memory['least'])} of memory, {mib(memory['comfortable'])} if files are to stay "
        f"cached"
    )
    lines += [f"left out: {name}: {reason}" for name, reason in data["left_out"].items()]
    lines += [f"warning: {text}" for text in data["warnings"]]
    lines += [f"does not fit: {text}" for text in data["problems"]]
    lines += [f"remedy: {text}" for text in data["remedies"]]
    return "\n".join(lines)
