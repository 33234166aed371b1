# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Search the best split of a model's layers over hosts.

Layers follow each other on devices in the engine's order. So a bound on what is left on every device is reached if, and
only if, it is reached when each host in turn takes as many layers as it can. That decides whether a model fits, without
trying splits. The best bound follows by bisection. Single moves then even out the rest, or save time for a token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import permutations
from typing import TYPE_CHECKING

from ..errors import InvalidInputError
from . import token_rate

if TYPE_CHECKING:
    from .planner import DevicePlan, Planner

_MIB = 1 << 20
# Moves of more than one layer shorten the way; single ones decide.
_STEPS = (16, 4, 1)
# Times for a token that differ by less are equal: parts in a million.
_TIME_PARTS = 1_000_000


def least_layers(planner: Planner) -> dict[str, int]:
    """Return the least layers of each host: one for each device."""
    hosts, layers = planner.group.holders, len(planner.metadata.layers)
    least = {host.name: len(host.devices) for host in hosts}
    if sum(least.values()) > layers:
        raise InvalidInputError(
            f"no more than {layers} devices, one for each layer of the model",
            f"{sum(least.values())}",
            "take hosts out of the group rpc_worker",
        )
    return least


def _parts(total: int, parts: int) -> list[int]:
    base, rest = divmod(total, parts)
    return [base + (1 if index < rest else 0) for index in range(parts)]


def leaving(planner: Planner, bound: int) -> dict[str, int] | None:
    """Find a split that leaves at least this many bytes on every device; None if there is none."""
    least = least_layers(planner)
    layers, hosts = len(planner.metadata.layers), planner.group.holders
    split: dict[str, int] = {}
    start, number = 0, 0
    for index, host in enumerate(hosts):
        after = sum(least[other.name] for other in hosts[index + 1 :])
        most = layers - start - after
        if index == len(hosts) - 1:
            found = most if _leaves(planner, host.name, number, start, most, bound) else 0
        else:
            found = _most(planner, host.name, number, start, (least[host.name], most), bound)
        if not found:
            return None
        split[host.name] = found
        start += found
        number += len(host.devices)
    return split


def _most(planner: Planner, name: str, number: int, start: int, span: tuple[int, int], bound: int) -> int:
    """Return the most layers that a host can take; 0 if it cannot take the least."""
    low, high = span
    if high < low or not _leaves(planner, name, number, start, low, bound):
        return 0
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if _leaves(planner, name, number, start, middle, bound) else (low, middle - 1)
    return low


def _leaves(planner: Planner, name: str, number: int, start: int, layers: int, bound: int) -> bool:
    """Return whether every device of a host is left that much with layers from a start on."""
    devices = next(len(host.devices) for host in planner.group.holders if host.name == name)
    for index, share in enumerate(_parts(layers, devices)):
        if planner.left(number + index, start, share) < bound:
            return False
        start += share
    return True


def shares(planner: Planner) -> dict[str, int]:
    """Divide the layers in proportion to free memory, at least one for each device of a host."""
    least, layers = least_layers(planner), len(planner.metadata.layers)
    hosts = planner.group.holders
    room = {host.name: max(1, sum(max(0, m.free - m.reserve) for m in host.devices)) for host in hosts}
    total = sum(room.values())
    split = {name: max(least[name], layers * share // total) for name, share in room.items()}
    while sum(split.values()) != layers:
        rest = layers - sum(split.values())
        name = (
            min(split, key=lambda n: split[n] * total / room[n])
            if rest > 0
            else max((n for n in split if split[n] > least[n]), key=lambda n: split[n] * total / room[n])
        )
        split[name] += 1 if rest > 0 else -1
    return split


def best(planner: Planner) -> dict[str, int]:
    """Find the best split.

    A split that fits is better than one that does not. Among those that fit, the one with the least time for a token is
    best, by the bandwidths of unequal devices. Among equal ones, and if none fits, that which leaves the fullest device
    the most memory.
    """
    split = shares(planner)
    low = min(device.left for device in planner.place(split))
    # No split leaves every device more than the mean.
    high = max(low, (planner.room - planner.least_total()) // len(planner.memories))
    while high - low > _MIB:
        middle = (low + high) // 2
        found = leaving(planner, middle)
        if found is None:
            high = middle
        else:
            low, split = middle, found
    return _moved(planner, split)


Rank = tuple[bool, int, Sequence[int]]


def _rank(planner: Planner, split: Mapping[str, int]) -> Rank:
    devices = planner.place(split)
    left = sorted(device.left for device in devices)
    fits = left[0] >= 0
    return fits, -_parts_of_time(planner, devices) if fits else 0, left


def _parts_of_time(planner: Planner, devices: Sequence[DevicePlan]) -> int:
    """Compute the time for a token, in parts of that of the fastest device with all layers; 0 with equal devices."""
    if len({memory.assumed_bandwidth for memory in planner.memories}) == 1:
        return 0
    fastest = max(memory.assumed_bandwidth for memory in planner.memories)
    metadata, cache = planner.metadata, planner.request.cache
    parts = [metadata.layers[device.first : device.first + device.layers] for device in devices]
    read = [
        token_rate.bytes_read(metadata, layers, device.has_output, cache, is_full=False)
        for layers, device in zip(parts, devices)
    ]
    seconds = sum(size / memory.assumed_bandwidth for size, memory in zip(read, planner.memories))
    return round(seconds * fastest / max(sum(read), 1) * _TIME_PARTS)


def _moved(planner: Planner, split: dict[str, int]) -> dict[str, int]:
    """Move layers between hosts as long as that helps."""
    least, rank = least_layers(planner), _rank(planner, split)
    while True:
        for step in _STEPS:
            moves = [
                {**split, giver: split[giver] - step, taker: split[taker] + step}
                for giver, taker in permutations(split, 2)
                if split[giver] - step >= least[giver]
            ]
            ranked = [(_rank(planner, move), move) for move in moves]
            better, move = max(ranked, key=lambda found: found[0], default=(rank, split))
            if better > rank:
                rank, split = better, move
                break
        else:
            return split
