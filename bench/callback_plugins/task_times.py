# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the duration of each task of a run as JSON to the file that HERD_TASK_TIMES names."""

from __future__ import annotations

DOCUMENTATION = r"""
name: task_times
type: aggregate
short_description: Write the duration of each task of a run
description: For bench/run.py; a task's time is that from its start to the start of the next one.
"""

import json
import os
import time
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "task_times"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self.tasks: list[dict[str, Any]] = []

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        self.tasks.append({"name": task.get_name().strip(), "at": time.monotonic(), "ran": 0, "skipped": 0})

    def v2_runner_on_ok(self, result: Any) -> None:
        self.tasks[-1]["ran"] += 1

    def v2_runner_on_skipped(self, result: Any) -> None:
        self.tasks[-1]["skipped"] += 1

    def v2_playbook_on_stats(self, stats: Any) -> None:
        end = time.monotonic()
        starts = [task["at"] for task in self.tasks]
        for task, following in zip(self.tasks, [*starts[1:], end]):
            task["seconds"] = round(following - task.pop("at"), 3)
        summary = {host: stats.summarize(host) for host in stats.processed}
        Path(os.environ["HERD_TASK_TIMES"]).write_text(json.dumps({"tasks": self.tasks, "hosts": summary}, indent=1))
