# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab's Slurm cluster whose tiers their manager keeps, as tests see it."""

from __future__ import annotations

import json
from typing import Any

from tests.lab.slurm import CONTROLLER, MANAGER, Slurm, until


class Kept(Slurm):
    """A cluster whose tiers the manager keeps."""

    def view(self) -> dict[str, Any]:
        """What the manager says."""
        found: dict[str, Any] = json.loads(self.sure(CONTROLLER, "cat /run/herd/tiers.json"))
        return found

    def tier(self, name: str) -> dict[str, Any]:
        """What it says of a tier."""
        found: dict[str, Any] = self.view()["tiers"][name]
        return found

    def wait(self, name: str, state: str, seconds: float) -> dict[str, Any]:
        """Wait until a tier is in a state."""

        def look() -> dict[str, Any] | None:
            tier = self.tier(name)
            return tier if tier["state"] == state else None

        found: dict[str, Any] = until(f"the tier {name} to be {state}", look, seconds)
        return found

    def said(self, since: str) -> str:
        """The manager's journal."""
        return self.sure(CONTROLLER, f"journalctl -u {MANAGER} -o cat --no-pager --since '@{since}'")

    def now(self) -> str:
        """The controller's clock."""
        return self.sure(CONTROLLER, "date +%s.%N").strip()
