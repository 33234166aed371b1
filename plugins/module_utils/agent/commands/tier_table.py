# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Show the status of the tiers that their manager publishes on this host: the tier manager of Slurm, or the agent."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.errors import InvalidInputError, NotFoundError
from ...core.slurm import tier_status
from ..slurm import manager_state
from ..supervisor import settings as agent_settings
from ..supervisor.tier_publisher import FILE


@dataclass(frozen=True)
class TierTable:
    """The status of the tiers, as data and as text.

    :ivar is_ready: whether every enabled tier is ready, and the status is not too old.
    """

    data: dict[str, Any]
    text: str
    is_ready: bool


def status_file(tiers_config: str, agent_config: str = agent_settings.DEFAULT_PATH) -> tuple[Path, str]:
    """Return the status file of this host's tiers, and the unit that writes it.

    :raises InvalidInputError: if no program of this host publishes one.
    """
    if not Path(tiers_config).exists() and Path(agent_config).exists():
        agent = agent_settings.read_settings(agent_config)
        if agent.tiers:
            return agent.run_dir / FILE, "herd-agent"
        raise InvalidInputError(
            "a host whose agent publishes the status of the tiers",
            "an agent of a host that is no gateway",
            "run this on the gateway's host; herdctl status shows heads, routers and workers",
        )
    return manager_state.read_settings(tiers_config).view, "herd-tiers"


def read(path: Path, unit: str) -> TierTable:
    """Read the status file."""
    try:
        view = tier_status.read(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise NotFoundError(
            f"the status of the tiers at {path}",
            error.strerror or str(error),
            f"see that {unit}.service runs on this host (journalctl -u {unit})",
        ) from error
    wall = time.time()
    age_problem = view.age_problem(wall)
    is_ready = all(tier.state == tier_status.READY for tier in view.tiers.values() if tier.enabled)
    return TierTable(
        {**tier_status.as_data(view), "is_old": bool(age_problem)},
        tier_status.table(view, wall, unit),
        is_ready and not age_problem,
    )
