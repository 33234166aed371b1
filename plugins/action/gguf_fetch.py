# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Show the progress of the module gguf_fetch."""

from __future__ import annotations

from typing import Any

from ansible_collections.herd.inference.plugins.plugin_utils.long_running import LongRunningAction


class ActionModule(LongRunningAction):
    """Runs gguf_fetch as a job on the node."""

    MODULE = "herd.inference.gguf_fetch"

    def _plan(self, task_vars: dict[str, Any]) -> dict[str, Any]:
        if self._task.check_mode:
            return super()._plan(task_vars)
        # The job reads large files, with visible progress. The plan does not read them.
        asked = self._task.args
        self._task.args = {**asked, "estimate": True}
        try:
            return super()._plan(task_vars)
        finally:
            self._task.args = asked
