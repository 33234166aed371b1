# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Show the free memory while gpu_memory waits."""

from __future__ import annotations

from typing import Any

from ansible_collections.herd.inference.plugins.plugin_utils.long_running import LongRunningAction


class ActionModule(LongRunningAction):
    """Runs gpu_memory as a job if it must wait, and never reports a change."""

    MODULE = "herd.inference.gpu_memory"

    def _plan(self, task_vars: dict[str, Any]) -> dict[str, Any]:
        plan = super()._plan(task_vars)
        return {**plan, "changed": bool(plan.get("must_wait"))}

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the result of the module without a change."""
        answer = super().run(tmp, task_vars)
        answer.pop("progress_file", None)
        return {**answer, "changed": False}
