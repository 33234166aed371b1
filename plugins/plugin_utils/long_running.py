# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Base of action plugins that show the progress of long-running modules.

Usage for a module C(foo):

1. In check mode, the module predicts C(changed) without the work, and returns C(progress_file), the path of its
   progress file on the node. While it works, it writes this file with ports.progress.ProgressFile::

       {"percent": 45.0, "done": 120, "total": 266, "unit": "steps", "what": "compiling",
        "seconds_left": 118, "finished": false}

   C(percent) is null while the total is unknown. C(finished) is true shortly before the module ends, so that the
   controller stops sleeping.
2. C(plugins/action/foo.py) names the module, as C(plugins/action/llama_build.py) does.

The module runs in check mode first. If it predicts no change, if it fails, or if the playbook runs in check mode, this
is the result. Otherwise the module runs as an asynchronous job on the node, which survives a lost connection or a
killed controller. The plugin shows one line every ten seconds or five percent, and returns the result of the job.
"""

from __future__ import annotations

import json
import shlex
import time
from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.herd.inference.plugins.module_utils.core import timefmt

display = Display()

POLL_FIRST = 0.5
POLL_SLOWEST = 3.0
STATUS_EVERY = 15.0
SHOW_EVERY_SECONDS = 10.0
SHOW_EVERY_PERCENT = 5.0
LOST_CONNECTION_PATIENCE = 120.0
JOB_KEYS = ("ansible_job_id", "started", "finished", "results_file", "stdout_lines", "stderr_lines")


def amount(done: float, total: float | None, unit: str) -> str:
    """Format the amount of finished work in its unit."""
    if unit == "bytes":
        gib = 1024.0**3
        known = f" of {total / gib:.2f}" if total else ""
        return f"{done / gib:.2f}{known} GiB"
    return f"{done:.0f}/{total:.0f}" if total else f"{done:.0f} {unit}"


def progress_line(action: str, host: str, progress: dict[str, Any]) -> str:
    """Format one line, such as C(llama_build: vllm-node1: compiling 45 % (120/266), 2 minutes left)."""
    words = [str(progress.get("what") or "working")]
    percent, done = progress.get("percent"), progress.get("done")
    if percent is not None:
        words.append(f"{float(percent):.0f} %")
    if done or progress.get("total"):
        words.append(f"({amount(float(done or 0), progress.get('total'), str(progress.get('unit', '')))})")
    line = f"{action}: {host}: {' '.join(words)}"
    rate = progress.get("bytes_per_second")
    if rate:
        line += f", {float(rate) / 1e6:.1f} MB/s"
    left = progress.get("seconds_left")
    return line if left is None else f"{line}, {timefmt.span(float(left))} left"


def killed_result(action: str, host: str) -> dict[str, Any]:
    """Return the result of a job that was killed before it wrote one."""
    return {
        "failed": True,
        "changed": False,
        "msg": f"The job {action} on {host} was killed: find the cause in that host's journal (a reboot, the "
        "out-of-memory killer, a user), then run the playbook again, which continues the work.",
    }


class ProgressReporter:
    """Selects the states of a job to show."""

    def __init__(self) -> None:
        self._shown_at = float("-inf")
        self._percent = 0.0
        self._what: str | None = None

    def is_due(self, progress: dict[str, Any], now: float) -> bool:
        """Return whether ten seconds, five percent or a new phase have passed since the last line."""
        percent = float(progress.get("percent") or 0.0)
        what = progress.get("what")
        due = (
            now - self._shown_at >= SHOW_EVERY_SECONDS
            or percent - self._percent >= SHOW_EVERY_PERCENT
            or what != self._what
        )
        if due:
            self._shown_at, self._percent, self._what = now, percent, what
        return due


class LongRunningAction(ActionBase):
    """Runs MODULE in check mode, then as a job with visible progress."""

    MODULE = ""
    #: Seconds after which the node ends a job.
    TIME_LIMIT_SECONDS = 24 * 3600
    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the result of check mode if nothing is to be done, otherwise the result of the job."""
        result = super().run(tmp, task_vars)
        task_vars = task_vars or {}
        plan = self._plan(task_vars)
        if plan.get("failed") or not plan.get("changed") or self._task.check_mode:
            return {**result, **plan}
        return {**result, **self._work(task_vars, str(plan.get("progress_file") or ""))}

    def _plan(self, task_vars: dict[str, Any]) -> dict[str, Any]:
        asked = self._task.check_mode
        self._task.check_mode = True
        try:
            return self._execute_module(module_name=self.MODULE, module_args=dict(self._task.args), task_vars=task_vars)
        finally:
            self._task.check_mode = asked

    def _work(self, task_vars: dict[str, Any], progress_file: str) -> dict[str, Any]:
        self._task.async_val = self.TIME_LIMIT_SECONDS
        try:
            started = self._execute_module(
                module_name=self.MODULE,
                module_args=dict(self._task.args),
                task_vars=task_vars,
                wrap_async=True,
            )
        finally:
            # Otherwise the executor would also wait for the job.
            self._task.async_val = 0
        job = started.get("ansible_job_id")
        if not job:
            return started
        finished = self._follow(str(job), progress_file, task_vars)
        self._job(str(job), "cleanup", task_vars)
        for internal in JOB_KEYS:
            finished.pop(internal, None)
        for empty in ("stdout", "stderr"):
            if not finished.get(empty):
                finished.pop(empty, None)
        return finished

    def _follow(self, job: str, progress_file: str, task_vars: dict[str, Any]) -> dict[str, Any]:
        name = self.MODULE.rsplit(".", 1)[-1]
        host = str(task_vars.get("inventory_hostname", "localhost"))
        reporter = ProgressReporter()
        pause = POLL_FIRST
        asked_at = answered_at = time.monotonic()
        while True:
            time.sleep(pause)
            pause = min(pause * 1.5, POLL_SLOWEST)
            now = time.monotonic()
            try:
                progress = self._read_progress(progress_file)
                if progress and not progress.get("finished") and reporter.is_due(progress, now):
                    display.display(progress_line(name, host, progress))
                if progress.get("finished") or not progress_file or now - asked_at >= STATUS_EVERY:
                    asked_at = now
                    status = self._job(job, "status", task_vars)
                    if status.get("finished") or status.get("failed"):
                        return status
                    if not self._alive(job):
                        status = self._job(job, "status", task_vars)
                        return status if status.get("finished") else killed_result(name, host)
                answered_at = now
            except AnsibleConnectionFailure:
                # The job continues on the node without the connection.
                if now - answered_at > LOST_CONNECTION_PATIENCE:
                    raise
                display.vv(f"{name}: {host}: connection lost, trying again")

    def _read_progress(self, path: str) -> dict[str, Any]:
        if not path:
            return {}
        answer = self._low_level_execute_command(f"cat {shlex.quote(path)} 2>/dev/null || true")
        try:
            progress = json.loads(answer.get("stdout", ""))
        except ValueError:
            return {}
        return progress if isinstance(progress, dict) else {}

    def _alive(self, job: str) -> bool:
        """Return whether the job's wrapper still runs, since the file of a killed job never changes."""
        # The id is the wrapper's argument, a dot and its process id.
        started_as = job.partition(".")[0]
        # The brackets prevent that the shell or grep matches itself.
        pattern = f"[{started_as[0]}]{started_as[1:]}"
        command = f"grep -qs {shlex.quote(pattern)} /proc/[0-9]*/cmdline && echo alive || echo gone"
        return "gone" not in self._low_level_execute_command(command).get("stdout", "")

    def _job(self, job: str, mode: str, task_vars: dict[str, Any]) -> dict[str, Any]:
        handler = self._shared_loader_obj.action_loader.get(
            "ansible.legacy.async_status",
            task=self._task.copy(),
            connection=self._connection,
            play_context=self._play_context,
            loader=self._loader,
            templar=self._templar,
            shared_loader_obj=self._shared_loader_obj,
        )
        handler._task.args = {"jid": job, "mode": mode}
        answer: dict[str, Any] = handler.run(task_vars=task_vars)
        return answer
