# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of the tier manager: its configuration, the operators' stops, and the state of each tier."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...core.slurm import tier_state
from ...core.slurm.tier_state import Action, ManualStop, TierSpec, TierState
from ...core.text import plain
from ..common.atomic_files import write_whole
from ..common.config import read_config
from ..common.log import log

SCHEMA = 1
DEFAULT_PATH = "/etc/herd/tiers.json"
#: Largest number of seconds between two reads of Slurm's queue.
MOST_SLURM_S = 60.0


@dataclass(frozen=True)
class ManagerSettings:
    """The tier manager's configuration.

    :param view: file of the tier status.
    :param every: seconds between two reads of Slurm's queue.
    """

    user: str
    registry: Path
    logs: Path
    state: Path
    view: Path
    tiers: Sequence[TierSpec]
    every: float


def _parse(data: Any) -> ManagerSettings:
    every = float(data["every"])
    if not 0 < every <= MOST_SLURM_S:
        raise ValueError(f"every is {every:g} seconds; it must be above 0 and at most {MOST_SLURM_S:g}")
    tiers = [
        TierSpec(
            name=str(tier["name"]),
            job_name=str(tier["job_name"]),
            user=str(data["user"]),
            script=f"{data['scripts']}/{tier['script']}",
            enabled=bool(tier["enabled"]),
            preempted_by=tuple(str(one["name"]) for one in data["qos"] if tier["qos"] in one.get("preempts", ())),
            hosts=tuple(map(str, tier["hosts"] or data["nodes"])),
            fingerprint=str(tier.get("fingerprint") or ""),
            gpu_conflict=str(tier.get("gpu_conflict") or ""),
            backoff=tuple(map(float, data["backoff"])),
        )
        for tier in data["tiers"]
    ]
    return ManagerSettings(
        user=str(data["user"]),
        registry=Path(data["registry"]),
        logs=Path(data["logs"]),
        state=Path(data["state"]),
        view=Path(data["view"]),
        tiers=tuple(tiers),
        every=every,
    )


def read_settings(path: str) -> ManagerSettings:
    """Read the tier manager's configuration."""
    return read_config(path, SCHEMA, _parse, "the tier manager's configuration", "slurm_tiers on the controller")


class ManualStops:
    """Stops of operators, one file each. They hold until the tier is started, also across a reboot."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, name: str) -> Path:
        """Name the file of a tier's stop."""
        return self.folder / f"stop-{name}.json"

    def all(self, names: Sequence[str]) -> dict[str, ManualStop]:
        """Read the stops by tier. A file that cannot be read stops its tier, too."""
        found = {}
        for name in names:
            with suppress(FileNotFoundError):
                try:
                    data = json.loads(self.path(name).read_text(encoding="utf-8"))
                    found[name] = ManualStop(plain(str(data["reason"])), plain(str(data["by"])))
                except (ValueError, KeyError, TypeError, PermissionError):
                    found[name] = ManualStop("the reason cannot be read")
        return found


class TierStates:
    """The state of each tier. It is on disk before an action that depends on it."""

    def __init__(self, path: Path, names: Sequence[str]) -> None:
        self._path, self._lock, self._is_written = path, threading.Lock(), True
        data: Any = {}
        try:
            data = json.loads(path.read_text(encoding="utf-8"))["tiers"]
        except FileNotFoundError:
            log(f"no state of the tiers at {path}: starting without")
        except (OSError, ValueError, KeyError, TypeError) as error:
            log(f"state of the tiers at {path} cannot be read: starting without it: {error}")
        known = data if isinstance(data, dict) else {}
        self.of = {name: tier_state.state_from_data(known.get(name)) for name in names}

    def decide(self, name: str, rule: Callable[[TierState], tuple[TierState, list[Action]]]) -> list[Action]:
        """Apply a rule to a tier's state, save the new state, and return the actions. One rule runs at a time."""
        with self._lock:
            state, actions = rule(self.of[name])
            if self.of[name] != state:
                self.of = {**self.of, name: state}
                self._is_written = False
            # After a failed write, the next decision writes again.
            if not self._is_written:
                data = {"schema": SCHEMA, "tiers": {key: asdict(one) for key, one in self.of.items()}}
                write_whole(self._path, json.dumps(data, indent=2) + "\n", 0o600)
                self._is_written = True
        return actions

    def change(self, name: str, rule: Callable[[TierState], TierState]) -> None:
        """Change a tier's state."""
        self.decide(name, lambda state: (rule(state), []))
