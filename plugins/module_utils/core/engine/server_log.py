# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What llama-server says in its own log about devices, layers and memory.

The engine names a worker's buffers by endpoint (C(RPC0[10.100.0.32:50052])); the device of a local GPU
stands for itself (C(CUDA0)). Layers per device are printed one by one only at debug level, at which the
log would hold prompts too. At the level that the service runs with, the key-value cache of a device and
the whole cache with its number of layers are printed, and the former is a whole share of the latter.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

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
    """What one device holds; memory in MiB as the engine prints it, layers None where it cannot tell."""

    device: str
    endpoint: str = ""
    description: str = ""
    layers: int | None = None
    model_mib: float = 0.0
    kv_mib: float = 0.0
    compute_mib: float = 0.0


@dataclass
class ServerLog:
    """The part of the log that says what was placed where."""

    devices: list[DeviceShare] = field(default_factory=list)
    layers: int = 0
    slots: int = 0
    offloaded: int = 0
    ready: bool = False
    #: Whether the log reaches back to the start; journald may have given up older lines of a long run.
    begun: bool = False

    def complete(self) -> bool:
        """Say whether every device that the engine uses holds weights and the cache of some layers."""
        return bool(self.devices) and all(d.model_mib > 0 and d.kv_mib > 0 for d in self.devices)


def is_ready_line(line: str) -> bool:
    """Say whether the head had loaded everything when it wrote this."""
    return any(word in line for word in READY_WORDS)


def _share_of(log: ServerLog, name: str, index: str, endpoint: str) -> DeviceShare | None:
    if not endpoint:
        return next((share for share in log.devices if share.device == name + index), None)
    # Within brackets the number counts the devices of that one worker, not of the whole group.
    of_worker = [share for share in log.devices if share.endpoint == endpoint]
    return of_worker[int(index)] if int(index) < len(of_worker) else None


def parse(text: str) -> ServerLog:
    """Read the log of one run of the head, from its start."""
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


def _count_layers(log: ServerLog, kv_total: float) -> None:
    """Turn shares of the cache into layers, unless its layers are of unequal size and do not add up."""
    if kv_total <= 0 or log.layers == 0:
        return
    counts = [round(share.kv_mib / kv_total * log.layers) for share in log.devices]
    if sum(counts) == log.layers:
        for share, count in zip(log.devices, counts):
            share.layers = count
