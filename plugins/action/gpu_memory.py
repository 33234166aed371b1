# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shows how much is free while gpu_memory waits for more."""

from __future__ import annotations

from typing import Any

from ansible_collections.herd.inference.plugins.plugin_utils.long_running import LongRunningAction


class ActionModule(LongRunningAction):
    """Waits in the background only where there is something to wait for, and never says changed."""

    MODULE = "herd.inference.gpu_memory"

    def _plan(self, task_vars: dict[str, Any]) -> dict[str, Any]:
        plan = super()._plan(task_vars)
        return {**plan, "changed": bool(plan.get("must_wait"))}

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The module's answer, which changed nothing."""
        answer = super().run(tmp, task_vars)
        answer.pop("progress_file", None)
        return {**answer, "changed": False}
