# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sample files for the metrics in threads, because a disk or a driver may hang."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ...core.download import parts, progress_record
from ...core.engine.command_line import value_of
from ...core.errors import HerdError
from ...core.host import certificate
from ...core.host.hardware import port_counters
from ...core.supervision import node_metrics
from ...core.supervision.metrics_text import MetricsText
from ..common import sysfs
from ..common.regular_files import read_regular
from .supervised_engine import ObservedProcess

#: Seconds between two readings of the fabric's counters, and of the other files.
FABRIC_S, FILES_S = 5.0, 15.0
#: Older samples of files are left out: the thread hangs.
OLDEST_S = 60.0
#: Most names of the models' folder that are read, and downloads that are reported.
MOST_NAMES, MOST_DOWNLOADS = 4096, 16
#: Most bytes of a certificate, and of a download's progress record.
MOST_CERTIFICATE, MOST_RECORD = 1 << 20, 1 << 20
_SIOCGIFADDR = 0x8915


@dataclass(frozen=True)
class Download:
    """An unfinished download: bytes so far, None if unknown, and its last write in seconds since 1970."""

    model: str
    size: int | None
    written: float


@dataclass(frozen=True)
class ApiFiles:
    """When the certificate of a unit's API expires, and when its key file was changed. None is unknown."""

    unit: str
    expires: float | None
    key_changed: float | None


def interface_of(address: str) -> str:
    """Return the interface with an IPv4 address; empty without one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as query:
        for _index, name in socket.if_nameindex():
            with suppress(OSError):
                answer = fcntl.ioctl(query.fileno(), _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
                if socket.inet_ntoa(answer[20:24]) == address:
                    return name
    return ""


def downloads(folder: str) -> tuple[Download, ...]:
    """Return the unfinished downloads in a folder of models, the one written last first."""
    found = []
    with suppress(OSError), os.scandir(folder) as entries:
        for _number, entry in zip(range(MOST_NAMES), entries):
            match = parts.HIDDEN.fullmatch(entry.name)
            if match is not None and match["suffix"] == parts.WRITTEN and not match["scratch"]:
                with suppress(OSError):
                    record = read_regular(Path(entry.path), MOST_RECORD, follow=False)
                    size, written = progress_record.written_bytes(record), entry.stat(follow_symlinks=False).st_mtime
                    found.append(Download(match["name"], size, written))
    return tuple(sorted(found, key=lambda each: -each.written)[:MOST_DOWNLOADS])


def api_files(observed: ObservedProcess) -> ApiFiles | None:
    """Read the certificate and the key file of a running engine; None without a process."""
    arguments = observed.process.arguments
    if not arguments:
        return None
    expires = changed = None
    if file := value_of(arguments, "--ssl-cert-file"):
        with suppress(OSError, HerdError):
            expires = certificate.expiry(read_regular(Path(file), MOST_CERTIFICATE).decode(errors="replace"))
    if file := value_of(arguments, "--api-key-file"):
        with suppress(OSError):
            changed = Path(file).stat().st_mtime
    return ApiFiles(observed.name, expires, changed)


class SampledFiles:
    """The last samples. Each has the time at which it was complete; 0 before."""

    def __init__(self, address: str, models_dir: str, observed: Sequence[ObservedProcess]) -> None:
        self.address, self.models_dir, self.observed = address, models_dir, observed
        self._sysfs = sysfs.Sysfs()
        self.fabric: tuple[float, port_counters.FabricInterface | None] = (0.0, None)
        self.files: tuple[float, tuple[Download, ...], tuple[ApiFiles, ...]] = (0.0, (), ())

    def start(self) -> None:
        """Sample again and again, in threads."""
        for work, every_s in ((self.sample_fabric, FABRIC_S), (self.sample_files, FILES_S)):
            threading.Thread(target=self._repeat, args=(work, every_s), daemon=True).start()

    @staticmethod
    def _repeat(work: Callable[[], None], every_s: float) -> None:
        while True:
            # The next turn may succeed. Meanwhile the age of the sample grows.
            with suppress(OSError, ValueError):
                work()
            time.sleep(every_s)

    def sample_fabric(self) -> None:
        """Read the counters of the interface with the fabric address."""
        found = port_counters.read(interface_of(self.address), self._sysfs)
        self.fabric = time.monotonic(), found

    def sample_files(self) -> None:
        """Read the downloads, certificates and key files."""
        found = tuple(filter(None, map(api_files, self.observed)))
        self.files = time.monotonic(), downloads(self.models_dir) if self.models_dir else (), found

    def add(self, text: MetricsText, now: float, wall: float) -> None:
        """Add the last samples to the metrics."""
        sampled_at, interface = self.fabric
        if interface is not None:
            node_metrics.add_fabric(text, interface)
            text.add("herd_fabric_sample_age_seconds", max(0.0, now - sampled_at))
        sampled_at, unfinished, files = self.files
        if now - sampled_at > OLDEST_S:
            return
        for each in unfinished:
            text.add("herd_download_written_bytes", each.size, each.model)
            text.add("herd_download_write_age_seconds", max(0.0, wall - each.written), each.model)
        for one in files:
            text.add("herd_certificate_expiry_time_seconds", one.expires, one.unit)
            text.add("herd_api_key_change_time_seconds", one.key_changed, one.unit)
