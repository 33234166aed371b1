# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Order devices as the engine does, and translate a split by host name to that order.

llama.cpp cuts n_layer + 1 slots (the layers, then the output head) over the devices. Slot i goes to the
first device whose cumulative normalised share is greater than i / (n_layer + 1), in float32
(src/llama-model.cpp, get_layer_buft_list). Whole numbers that add up to n_layer + 1 hit every boundary
exactly, since both sides of the comparison are then the same division of the same two integers.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from ..errors import InvalidInputError


@dataclass(frozen=True)
class LayerHost:
    """A host that holds layers.

    :param devices: number of its devices; 1 for a worker on its CPU.
    :param endpoint: C(address:port) of its RPC worker, empty for the head's own GPUs.
    """

    name: str
    devices: int
    endpoint: str = ""


@dataclass(frozen=True)
class PlacedDevice:
    """A device by its name in the engine (C(RPC0), C(CUDA0)), and its number of layers."""

    name: str
    host: str
    endpoint: str
    layers: int


def _even_parts(total: int, parts: int) -> list[int]:
    base, rest = divmod(total, parts)
    return [base + (1 if index < rest else 0) for index in range(parts)]


def require_holders(holders: Sequence[object]) -> None:
    """Reject a group without a host that holds layers."""
    if not holders:
        raise InvalidInputError(
            "at least one device to hold layers",
            "no RPC worker and no GPU on the head",
            "put a host into the group rpc_worker or describe the head's GPU in herd_gpus",
        )


def even_split(holders: Sequence[LayerHost], layers: int) -> dict[str, int]:
    """Spread the layers evenly over the devices. The first devices take the remainder."""
    devices = [holder.name for holder in holders for _index in range(holder.devices)]
    split = {holder.name: 0 for holder in holders}
    require_holders(devices)
    for name, share in zip(devices, _even_parts(layers, len(devices))):
        split[name] += share
    return split


def check_split(split: Mapping[str, int], holders: Sequence[LayerHost], layers: int) -> None:
    """Reject a split that the engine would silently change."""
    names = [holder.name for holder in holders]
    unknown = [name for name in split if name not in names]
    if unknown:
        raise InvalidInputError(
            f"a tensor split over the hosts that hold layers ({', '.join(names)})",
            f"the host {unknown[0]}",
            "remove it from the split, or put it into the group rpc_worker",
        )
    missing = [name for name in names if name not in split]
    if missing:
        raise InvalidInputError(
            f"a number of layers for each host that holds layers ({', '.join(names)})",
            f"none for {missing[0]}",
            "add it to the split, or take the host out of the group rpc_worker",
        )
    for holder in holders:
        share = split[holder.name]
        if share < holder.devices:
            raise InvalidInputError(
                f"at least {holder.devices} layers for {holder.name}, one for each of its devices",
                f"{share}",
                "raise its share in the tensor split, or take the host out of the group",
            )
    total = sum(split.values())
    if total != layers:
        raise InvalidInputError(
            f"a tensor split that adds up to the model's {layers} layers",
            f"{total} ({' + '.join(str(split[name]) for name in names)})",
            f"{'add' if total < layers else 'remove'} {abs(layers - total)}",
        )


def devices_in_engine_order(
    workers: Sequence[LayerHost], local: LayerHost | None, split: Mapping[str, int], local_backend: str = "CUDA"
) -> list[PlacedDevice]:
    """Name every device as the engine does: RPC0, RPC1, … over all workers, then the head's own GPUs."""
    found: list[PlacedDevice] = []
    for worker in workers:
        for share in _even_parts(split[worker.name], worker.devices):
            found.append(PlacedDevice(f"RPC{len(found)}", worker.name, worker.endpoint, share))
    if local is not None:
        for index, share in enumerate(_even_parts(split[local.name], local.devices)):
            found.append(PlacedDevice(f"{local_backend}{index}", local.name, "", share))
    return found


def placed(
    workers: Sequence[LayerHost], local: LayerHost | None, layers: int, split: Mapping[str, int]
) -> list[PlacedDevice]:
    """Assign the layers of a model to the devices of a group.

    :param local: the head's own GPUs.
    :param split: layers by host name. An empty one spreads the layers evenly.
    """
    holders = [*workers, *([local] if local else [])]
    chosen = split or even_split(holders, layers)
    check_split(chosen, holders, layers)
    return devices_in_engine_order(workers, local, chosen)


def engine_split(devices: Sequence[PlacedDevice]) -> list[int]:
    """Translate layers per device to C(--tensor-split). The output head is one more slot on the last device."""
    shares = [device.layers for device in devices]
    shares[-1] += 1
    return shares


def _float32(value: float) -> float:
    return float(struct.unpack("<f", struct.pack("<f", value))[0])


def predict_layers(split: Sequence[float], layers: int) -> list[int]:
    """Predict the device of each slot with the engine's own arithmetic.

    :returns: the device's index for each of the layers, and then for the output head.
    """
    cumulative = list(accumulate(map(_float32, split), lambda total, share: _float32(total + share)))
    bounds = [_float32(value / cumulative[-1]) for value in cumulative]
    slots = layers + 1
    # The first device whose bound is above the slot's position.
    return [bisect_right(bounds, _float32(slot / slots)) for slot in range(slots)]
