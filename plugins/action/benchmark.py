# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Show the progress of the module benchmark."""

from __future__ import annotations

from typing import Any

from ansible_collections.herd.inference.plugins.plugin_utils.long_running import LongRunningAction


class ActionModule(LongRunningAction):
    """Runs benchmark as a job."""

    MODULE = "herd.inference.benchmark"

    def _plan(self, task_vars: dict[str, Any]) -> dict[str, Any]:
        # The module changes nothing, and always has work.
        plan = super()._plan(task_vars)
        return plan if self._task.check_mode or plan.get("failed") else {**plan, "changed": True}
