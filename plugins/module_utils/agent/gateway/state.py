# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the gateway's services know: their settings, the users' keys, and how the tiers are.

All of it comes from files that others write, and is read again when they changed. A file that cannot be read leaves
what was known before, but for the tiers: of those a service only believes what is new. Keys open nothing as long as
nothing was known before.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from ...core.errors import HerdError
from ...core.gateway import nginx_upstreams, task_routing, user_keys
from ...core.gateway.rate_limit import Limits
from ...core.gateway.routing import ENGINE_PATHS, Now, Site, Tier
from ...core.slurm import endpoint_registry
from ..common.atomic_files import read_registry
from ..common.config import read_config
from ..common.log import log

SCHEMA = 1
DEFAULT_PATH = "/etc/herd/gateway.json"
#: Seconds for which files are not looked at again.
FRESH_S = 0.05
#: Seconds for which a view that has not changed is not held against the clock again.
VIEW_AGAIN_S = 1.0
#: Seconds between two looks into the registry, and after which one is not believed any more.
REGISTRY_EVERY_S, REGISTRY_LIFE_S = 1.0, 5.0

Value = TypeVar("Value")


@dataclass(frozen=True)
class Settings:
    """Configuration of the services of the gateway."""

    site: Site
    raw: Mapping[str, Any]
    keys: Path
    revoked: Path
    view: Path
    registry: Path
    engine_key: Path
    nginx_root: Path
    test: Sequence[str]
    reload: Sequence[str]
    max_body: int = 8 << 20
    access_log: str = ""


def _site(data: Mapping[str, Any]) -> Site:
    tiers = {
        str(tier["name"]): Tier(
            name=str(tier["name"]),
            models=tuple(map(str, tier.get("models", ()))),
            rewrites=tier.get("kind") == "router",
            fallback=str(tier.get("fallback") or ""),
            port=int(tier["port"]),
            keys=tuple(map(str, tier.get("keys", ()))),
        )
        for tier in data["tiers"]
    }
    limits = {str(name): Limits(**values) for name, values in data.get("limits", {}).items()}
    tasks = task_routing.read(data["tasks"]) if data.get("tasks") else task_routing.EMPTY
    return Site(
        tiers=tiers,
        choose=tasks.choose,
        tasks=tasks.names,
        limits=limits,
        paths=frozenset(map(str, data.get("paths") or ENGINE_PATHS)),
        watch_streams=bool(data.get("watch_streams", True)),
        cors_origins=frozenset(map(str, data.get("cors_origins") or ())),
    )


def _parse(data: Any) -> Settings:
    nginx = data["nginx"]
    return Settings(
        site=_site(data),
        raw=data,
        keys=Path(data["keys"]),
        revoked=Path(data["revoked"]),
        view=Path(data["view"]),
        registry=Path(data["registry"]),
        engine_key=Path(data["engine_key"]),
        nginx_root=Path(nginx["root"]),
        test=tuple(map(str, nginx["test"])),
        reload=tuple(map(str, nginx["reload"])),
        max_body=int(data.get("max_body", Settings.max_body)),
        access_log=str(data.get("access_log") or ""),
    )


def read_settings(path: str) -> Settings:
    """Read the gateway's configuration."""
    return read_config(path, SCHEMA, _parse, "the gateway's configuration", "gateway")


class Watched(Generic[Value]):
    """A file that is read when it changed.

    :ivar is_known: whether its value is what the file says, or said before it could not be read any more.
    """

    def __init__(self, path: Path, read: Callable[[str], Value], value: Value) -> None:
        self.path, self._read = path, read
        self.value, self.is_known = value, False
        self._mark: tuple[int, ...] = ()
        self._trouble = ""

    def look(self) -> bool:
        """Read the file if it changed, and say whether it did."""
        try:
            facts = self.path.stat()
            mark = (facts.st_mtime_ns, facts.st_ino, facts.st_size)
            if mark == self._mark:
                return False
            self.value = self._read(self.path.read_text(encoding="utf-8"))
            self._mark, self._trouble, self.is_known = mark, "", True
            return True
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, HerdError) as error:
            so = "what it said before holds" if self.is_known else "and what it said before is not known"
            trouble = f"{self.path} cannot be read, {so}: {error}"
            if trouble != self._trouble:
                self._trouble = trouble
                log(trouble)
            return False

    def forget(self, value: Value) -> None:
        """Go by another value, since the file is gone."""
        self.value, self.is_known, self._mark = value, True, ()


class Registry:
    """Looks at the registry in a thread of its own while it is needed: a shared file system may hang."""

    def __init__(self, folder: Path, tiers: Collection[str]) -> None:
        self._folder, self._tiers = folder, tiers
        self._needed = threading.Event()
        self._found: tuple[float, list[Mapping[str, Any]]] = (-REGISTRY_LIFE_S, [])
        self._watch, self._trouble = endpoint_registry.Watch(), ""
        threading.Thread(target=self._follow, daemon=True).start()

    def _follow(self) -> None:
        while True:
            self._needed.wait()
            self._needed.clear()
            try:
                self._read()
                self._trouble = ""
            except Exception as error:
                # Whatever it is, the next look may go well, and nobody else looks.
                trouble = f"the registry {self._folder} cannot be read: {type(error).__name__}: {error}"
                if trouble != self._trouble:
                    self._trouble = trouble
                    log(trouble)
            time.sleep(REGISTRY_EVERY_S)

    def _read(self) -> None:
        files, _broken = read_registry(self._folder)
        wall, now = time.time(), time.monotonic()
        self._watch = endpoint_registry.watch(self._watch, files, wall, now)
        found = endpoint_registry.look(files, wall, self._tiers, signs=self._watch.signs, now=now)
        self._found = (now, [endpoint_registry.as_data(entry) for entry in found.alive])

    def entries(self) -> list[Mapping[str, Any]]:
        """Give what was found last, if that is not long ago, and have it looked at again."""
        self._needed.set()
        when, found = self._found
        return found if time.monotonic() - when <= REGISTRY_LIFE_S else []


class Tiers:
    """How the tiers are: by the manager's view, or by the registry while the manager is silent."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._view: Watched[dict[str, Any]] = Watched(settings.view, json.loads, {})
        self._registry = Registry(settings.registry, settings.site.tiers)
        self._spoken: tuple[float, dict[str, Now]] = (0.0, {})
        self.is_silent = False
        #: For people: the manager's view, or what the registry has of it.
        self.view: Mapping[str, Any] = {}

    def look(self) -> dict[str, Now]:
        """Say how they are now."""
        wall = time.time()
        if not self._view.look() and 0 <= wall - self._spoken[0] < VIEW_AGAIN_S:
            return self._spoken[1]
        self.view = self._view.value
        found = nginx_upstreams.from_view(self.view, wall)
        if nginx_upstreams.is_late(self.view, wall):
            # In a thread of its own: what it finds must be there when the view is not believed any more.
            self._registry.entries()
        self._spoken = (wall, found) if found is not None else (0.0, {})
        if (found is None) != self.is_silent:
            self.is_silent = found is None
            log("the manager of the tiers is silent: going by the registry" if self.is_silent else "the manager speaks")
        if found is None:
            names, entries = list(self.settings.site.tiers), self._registry.entries()
            # What engines say of themselves is as new as ever.
            own = {name: {"endpoints": [entry for entry in entries if entry.get("tier") == name]} for name in names}
            self.view = {"tiers": own}
            return nginx_upstreams.from_registry(entries, names)
        return found


class Keys:
    """The users' keys. As long as it is not known which there are, or which were revoked, none opens anything."""

    def __init__(self, settings: Settings) -> None:
        site = settings.site
        classes = set(site.limits) | {"default"}

        def parse(text: str) -> tuple[user_keys.Key, ...]:
            return user_keys.parse(json.loads(text)["keys"], classes, set(site.tiers))

        def parse_revoked(text: str) -> frozenset[str]:
            return user_keys.parse_revoked(json.loads(text))

        self._keys: Watched[tuple[user_keys.Key, ...]] = Watched(settings.keys, parse, ())
        self._revoked: Watched[frozenset[str]] = Watched(settings.revoked, parse_revoked, frozenset())

    def look(self) -> user_keys.Admitted | None:
        """Give the keys and the ids of those that were revoked on this host; None where that is not known."""
        changed = [self._keys.look(), self._look_revoked()]
        if any(changed):
            log(f"{len(self._keys.value)} keys, {len(self._revoked.value)} revoked on this host")
        if not self._keys.is_known or not self._revoked.is_known:
            return None
        return user_keys.Admitted(self._keys.value, self._revoked.value)

    def _look_revoked(self) -> bool:
        """Without the file nothing is revoked; a file that cannot be looked at is there."""
        try:
            self._revoked.path.stat()
        except FileNotFoundError:
            self._revoked.forget(frozenset())
            return False
        except OSError:
            pass
        return self._revoked.look()
