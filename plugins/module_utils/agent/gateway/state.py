# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the files that change while the gateway runs: the user keys, the engines' key, and the status of the tiers.

Other programs write these files, and each is read again when it changes. If a file becomes unreadable, its former value
stays valid; only the status of the tiers expires. Until the key files have been read once, all requests are rejected.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Generic, TypeVar

from ...core.engine import api_keys
from ...core.errors import HerdError
from ...core.gateway import tiers, user_keys
from ...core.gateway.routing import Router
from ...core.gateway.tiers import TierStatus
from ...core.slurm import endpoint_registry, tier_status
from ..common.log import log
from ..common.regular_files import read_regular
from ..slurm.registry_io import read_registry
from .settings import GatewaySettings

#: Seconds for which files are not checked again.
FRESH_S = 0.05
#: Seconds between two checks of the age of an unchanged status file.
AGE_EVERY_S = 1.0
#: Seconds between two reads of the registry, and for which one is valid.
REGISTRY_EVERY_S, REGISTRY_LIFE_S = 1.0, 5.0
#: Bytes of the largest file that is read.
LARGEST_FILE = 8 << 20

Value = TypeVar("Value")


class WatchedFile(Generic[Value]):
    """A file that is read again when it changes.

    :ivar value: what was read last.
    :ivar is_known: whether the file has been read.
    """

    def __init__(self, path: Path, read: Callable[[str], Value], value: Value) -> None:
        self.path, self._read = path, read
        self.value, self.is_known = value, False
        self._version: tuple[int, ...] = ()
        self._trouble = ""

    def refresh(self) -> bool:
        """Read the file if it changed, and return whether it did."""
        try:
            stat = self.path.stat()
            version = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
            if version == self._version:
                return False
            self.value = self._read(read_regular(self.path, LARGEST_FILE).decode())
            self._version, self._trouble, self.is_known = version, "", True
            return True
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, HerdError) as error:
            effect = "its former value stays valid" if self.is_known else "and has no former value"
            trouble = f"{self.path} cannot be read, {effect}: {error}"
            if trouble != self._trouble:
                self._trouble = trouble
                log(trouble)
            return False

    def forget(self, value: Value) -> None:
        """Replace the value, since the file was removed."""
        self.value, self.is_known, self._version = value, True, ()


class RegistryReader:
    """Read the endpoint registry in a thread while it is needed: a shared file system may hang."""

    def __init__(self, folder: Path, tier_names: Collection[str]) -> None:
        self._folder, self._tiers = folder, tier_names
        self._needed = threading.Event()
        self._found = (-REGISTRY_LIFE_S, endpoint_registry.Registry())
        self._tracker, self._trouble = endpoint_registry.HeartbeatTracker(), ""
        threading.Thread(target=self._follow, daemon=True).start()

    def _follow(self) -> None:
        while True:
            self._needed.wait()
            self._needed.clear()
            try:
                self._read()
                self._trouble = ""
            except Exception as error:
                # The next read may succeed, and no other thread reads.
                trouble = f"the registry {self._folder} cannot be read: {type(error).__name__}: {error}"
                if trouble != self._trouble:
                    self._trouble = trouble
                    log(trouble)
            time.sleep(REGISTRY_EVERY_S)

    def _read(self) -> None:
        files, _broken = read_registry(self._folder)
        wall, now = time.time(), time.monotonic()
        self._tracker = endpoint_registry.track(self._tracker, files, wall, now)
        found = endpoint_registry.read_all(files, wall, self._tiers, heartbeats=self._tracker.heartbeats, now=now)
        self._found = (now, found)

    def endpoints(self) -> endpoint_registry.Registry:
        """Return the latest read of the registry if it is still valid, and request another one."""
        self._needed.set()
        when, found = self._found
        return found if time.monotonic() - when <= REGISTRY_LIFE_S else endpoint_registry.Registry()


class TierStatusReader:
    """Read the status of the tiers: from their manager, or from the registry while the manager is silent.

    :ivar tiers: the latest status of each tier, as the manager writes it.
    :ivar is_silent: whether the manager's file is missing or too old.
    """

    def __init__(self, settings: GatewaySettings) -> None:
        self._names, self._hosts = list(settings.config.tiers), settings.engine_hosts
        self._file: WatchedFile[tier_status.StatusReport | None] = WatchedFile(
            settings.tier_status, tier_status.read, None
        )
        self._registry = RegistryReader(settings.registry, settings.config.tiers) if settings.registry else None
        self._checked, self._statuses = 0.0, dict[str, TierStatus]()
        self.tiers: Mapping[str, tier_status.TierReport] = {}
        self.is_silent = False

    @property
    def published(self) -> tier_status.StatusReport | None:
        """Return the status that the manager wrote last, of any age; None before the first one."""
        return self._file.value

    def refresh(self) -> dict[str, TierStatus]:
        """Return the present status of each tier."""
        wall = time.time()
        if not self._file.refresh() and 0 <= wall - self._checked < AGE_EVERY_S:
            return self._statuses
        report = self._file.value
        if report is None or abs(wall - report.written) > tier_status.LIFE_S / 2:
            # Start the thread early: its result must be there when the file is too old.
            self._endpoints()
        is_silent = report is None or bool(report.age_problem(wall))
        if is_silent != self.is_silent:
            self.is_silent = is_silent
            instead = ": using the registry" if self._registry is not None else ""
            log(f"the tier manager is silent{instead}" if is_silent else "the tier manager is back")
        if report is None or is_silent:
            self._checked = 0.0
            self.tiers = tiers.from_registry(self._endpoints(), self._names)
        else:
            self._checked = wall
            self.tiers = report.tiers
        self._statuses = {name: tiers.status_of(tier, self._hosts) for name, tier in self.tiers.items()}
        return self._statuses

    def _endpoints(self) -> endpoint_registry.Registry:
        """Return the content of the registry; empty where no job registers."""
        return self._registry.endpoints() if self._registry is not None else endpoint_registry.Registry()


class UserKeyReader:
    """Read the user keys. Until both files are known, no key is accepted."""

    def __init__(self, settings: GatewaySettings) -> None:
        classes, names = set(settings.config.limits), set(settings.config.tiers)

        def parse(text: str) -> tuple[user_keys.UserKey, ...]:
            return user_keys.parse(json.loads(text)["keys"], classes, names)

        def parse_revoked(text: str) -> frozenset[str]:
            return user_keys.parse_revoked(json.loads(text))

        self._keys: WatchedFile[tuple[user_keys.UserKey, ...]] = WatchedFile(settings.keys, parse, ())
        self._revoked: WatchedFile[frozenset[str]] = WatchedFile(settings.revoked, parse_revoked, frozenset())

    def refresh(self) -> user_keys.UserKeys | None:
        """Return the user keys; None until they are known."""
        changed = [self._keys.refresh(), self._refresh_revoked()]
        if any(changed):
            log(f"{len(self._keys.value)} keys, {len(self._revoked.value)} revoked on this host")
        if not self._keys.is_known or not self._revoked.is_known:
            return None
        return user_keys.UserKeys(self._keys.value, self._revoked.value)

    def _refresh_revoked(self) -> bool:
        """Read the file of revoked keys. A missing file means none; a file that cannot be examined exists."""
        try:
            self._revoked.path.stat()
        except FileNotFoundError:
            self._revoked.forget(frozenset())
            return False
        except OSError:
            pass
        return self._revoked.refresh()


class GatewayState:
    """All that the gateway reads, and the router that uses it.

    :ivar keys: the user keys; None until they are known.
    """

    def __init__(self, settings: GatewaySettings) -> None:
        self.settings = settings
        self.router = Router(settings.config)
        self.keys: user_keys.UserKeys | None = None
        self._keys = UserKeyReader(settings)
        self._tiers = TierStatusReader(settings)
        self._key_files: dict[Path, WatchedFile[str]] = {
            path: WatchedFile(path, _engine_key, "") for path in settings.engine_keys.values()
        }
        self._tier_of: dict[str, str] = {}
        self._refreshed = -FRESH_S

    @property
    def reports(self) -> Mapping[str, tier_status.TierReport]:
        """Return the latest report of each tier."""
        return self._tiers.tiers

    @property
    def published(self) -> tier_status.StatusReport | None:
        """Return the status that the tier manager wrote last, of any age; None before the first one."""
        return self._tiers.published

    @property
    def is_silent(self) -> bool:
        """Return whether the tier manager is silent."""
        return self._tiers.is_silent

    def engine_key(self, endpoint: str) -> str:
        """Return the key that the engine of an endpoint accepts; empty for an endpoint that was never ready."""
        path = self.settings.engine_keys.get(self._tier_of.get(endpoint, ""))
        return self._key_files[path].value if path is not None else ""

    def all_engine_keys(self) -> list[str]:
        """Return the keys of all engines."""
        return [file.value for file in self._key_files.values()]

    def slots_of(self, endpoint: str) -> int:
        """Return the slots of an engine; 0 if they are unknown."""
        for report in self.reports.values():
            for found in report.endpoints:
                if found.where == endpoint:
                    return found.slots
        return 0

    def ready_endpoints(self) -> set[str]:
        """Return the endpoints of all tiers that are ready."""
        return {status.endpoint for status in self.router.status.values() if status.is_ready}

    def refresh(self, at_once: bool = False) -> None:
        """Read the files that changed.

        :param at_once: also if they were checked just before.
        """
        now = time.monotonic()
        if now - self._refreshed < FRESH_S and not at_once:
            return
        self._refreshed = now
        self.keys = self._keys.refresh()
        for file in self._key_files.values():
            file.refresh()
        before = {name: (tier.state, tier.endpoint) for name, tier in self.router.status.items()}
        self.router.status = self._tiers.refresh()
        # An engine keeps its key while its last responses end, so endpoints of the inventory's hosts are not forgotten.
        self._tier_of.update({tier.endpoint: name for name, tier in self.router.status.items() if tier.endpoint})
        for name, tier in self.router.status.items():
            if before and before.get(name) != (tier.state, tier.endpoint):
                log(f"tier {name}: {tier.state} {tier.endpoint} {'' if tier.is_ready else tier.reason}".rstrip())


def _engine_key(text: str) -> str:
    """Read the first key of an engine's key file."""
    key = api_keys.in_use(text, "its first line", "run site.yml, which writes the file")
    if not key:
        raise ValueError("it has no key")
    return key
