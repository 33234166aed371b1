# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read devices, layers and memory from llama-server's log.

The engine names a worker's buffers by endpoint (C(RPC0[10.100.0.32:50052])), and a local GPU by its device (C(CUDA0)).
It prints the layers of each device only at debug level, which would log prompts too. At the level of the service it
prints the key-value cache of each device and of the whole model, so layers follow from the device's share.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..errors import MismatchError

_BUFFER = re.compile(
    r"(?P<name>[A-Za-z_]+)(?P<index>\d*)(?:\[(?P<endpoint>[^\]]+)\])?\s+"
    r"(?P<kind>model|KV|RS|compute|output) buffer size\s*=\s*(?P<mib>[\d.]+) MiB"
)
_KV_SIZE = re.compile(r"llama_kv_cache\w*: size\s*=\s*(?P<mib>[\d.]+) MiB \(.*?(?P<layers>\d+) layers")
_USING = re.compile(r"using device (?P<device>\w+) \((?P<description>[^)]*)\).*?- (?P<mib>\d+) MiB free")
_OFFLOADED = re.compile(r"offloaded (?P<done>\d+)/(?P<slots>\d+) layers to GPU")
# The last line of the worker readiness check, and the first lines of each release: all precede those on placement.
_BEGIN = re.compile(r"ready at \S+:\d+, RPC \d|^build: \d|llama_server: initializing")
# Nothing about placement follows a line with one of these.
READY_WORDS = ("server is listening on", "llama_server: listening on", "all slots are idle")


@dataclass
class DeviceShare:
    """Buffers of one device in MiB, as the engine prints them. C(layers) is None if unknown."""

    device: str
    endpoint: str = ""
    description: str = ""
    layers: int | None = None
    model_mib: float = 0.0
    kv_mib: float = 0.0
    compute_mib: float = 0.0


@dataclass
class ServerLog:
    """The placement as the log reports it."""

    devices: list[DeviceShare] = field(default_factory=list)
    layers: int = 0
    slots: int = 0
    offloaded: int = 0
    ready: bool = False
    #: Whether the log reaches back to the start. journald may have dropped the first lines of a long run.
    begun: bool = False

    def complete(self) -> bool:
        """Return whether every used device holds weights and the cache of some layers."""
        return bool(self.devices) and all(d.model_mib > 0 and d.kv_mib > 0 for d in self.devices)


def is_ready_line(line: str) -> bool:
    """Return whether a line says that the model is loaded."""
    return any(word in line for word in READY_WORDS)


def _share_of(log: ServerLog, name: str, index: str, endpoint: str) -> DeviceShare | None:
    if not endpoint:
        return next((share for share in log.devices if share.device == name + index), None)
    # The number in brackets counts the devices of that worker only.
    of_worker = [share for share in log.devices if share.endpoint == endpoint]
    return of_worker[int(index)] if int(index) < len(of_worker) else None


def parse(text: str) -> ServerLog:
    """Parse the log of one run of the head."""
    log = ServerLog()
    kv_total = 0.0
    for line in text.splitlines():
        log.ready = log.ready or is_ready_line(line)
        log.begun = log.begun or bool(_BEGIN.search(line))
        if using := _USING.search(line):
            device, description = using["device"], using["description"]
            log.devices.append(DeviceShare(device, description if device.startswith("RPC") else "", description))
        elif offloaded := _OFFLOADED.search(line):
            log.offloaded, log.slots = int(offloaded["done"]), int(offloaded["slots"])
        elif size := _KV_SIZE.search(line):
            kv_total += float(size["mib"])
            log.layers += int(size["layers"])
        elif buffer := _BUFFER.search(line):
            _add(log, buffer)
    _count_layers(log, kv_total)
    return log


def _add(log: ServerLog, buffer: re.Match[str]) -> None:
    share = _share_of(log, buffer["name"], buffer["index"], buffer["endpoint"] or "")
    if share is None:
        return
    mib = float(buffer["mib"])
    if buffer["kind"] == "model":
        share.model_mib += mib
    elif buffer["kind"] in ("KV", "RS"):
        share.kv_mib += mib
    else:
        share.compute_mib += mib


def require_planned(log: ServerLog, planned: Mapping[str, int]) -> None:
    """Reject a placement that differs from the plan.

    :param planned: layers by device; empty for no comparison.
    """
    if not planned:
        return
    layers = sum(planned.values())
    if log.slots and (log.offloaded, log.slots) != (layers + 1, layers + 1):
        raise MismatchError(
            f"{layers + 1} of {layers + 1} layers offloaded, with the output, by the head's own log",
            f"{log.offloaded} of {log.slots}",
            "compare the model's file with its entry in herd_models, and run site.yml",
        )
    # Layers without a cache are in no share, so only a full count can be compared.
    found = {share.device: share.layers for share in log.devices}
    if log.layers != layers or None in found.values():
        return
    wrong = {name: found.get(name) for name, count in planned.items() if found.get(name) != count}
    if wrong:
        raise MismatchError(
            f"layers on devices as planned ({', '.join(f'{name} {planned[name]}' for name in wrong)})",
            ", ".join(f"{name} {count if count is not None else 'none'}" for name, count in wrong.items()),
            "restart llama-head; if they still differ, compare --tensor-split in its unit with the plan",
        )


def _count_layers(log: ServerLog, kv_total: float) -> None:
    """Compute layers from shares of the cache. Layers of unequal size do not add up, and stay unknown."""
    if kv_total <= 0 or log.layers == 0:
        return
    counts = [round(share.kv_mib / kv_total * log.layers) for share in log.devices]
    if sum(counts) == log.layers:
        for share, count in zip(log.devices, counts):
            share.layers = count
