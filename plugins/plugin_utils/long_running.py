# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Base of action plugins for modules that work for minutes and can say how far they are.

How to use it, for a module C(foo):

1. The module returns C(changed) in check mode without doing the work, and with it C(progress_file), the
   path on the node of the file that it will write while it works. It writes that file with
   ports.progress.ProgressFile, atomically, as often as it likes::

       {"percent": 45.0, "done": 120, "total": 266, "unit": "steps", "what": "compiling",
        "seconds_left": 118, "finished": false}

   C(percent) may be null while the total is unknown. C(finished) is set just before the module ends, so
   that the controller does not sleep when there is nothing left to wait for.
2. C(plugins/action/foo.py) is four lines::

       from ansible_collections.herd.inference.plugins.plugin_utils.long_running import LongRunningAction

       class ActionModule(LongRunningAction):
           MODULE = "herd.inference.foo"

What happens: the module runs once in check mode, quickly, in the foreground. If nothing is to be done, if
it fails, or if the playbook itself is in check mode, that result is the result. Otherwise the module runs
as a background job of the node (so a lost connection or a killed controller does not end it), and every
ten seconds or five percent one line is shown. The result of the job is returned unchanged.
"""

from __future__ import annotations

import json
import shlex
import time
from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

display = Display()

POLL_FIRST = 0.5
POLL_SLOWEST = 3.0
STATUS_EVERY = 15.0
SHOW_EVERY_SECONDS = 10.0
SHOW_EVERY_PERCENT = 5.0
LOST_CONNECTION_PATIENCE = 120.0
JOB_KEYS = ("ansible_job_id", "started", "finished", "results_file", "stdout_lines", "stderr_lines")


def duration(seconds: float) -> str:
    """A length of time as a person says it."""
    if seconds < 90:
        return f"{max(0, round(seconds))} s"
    if seconds < 5400:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"


def amount(done: float, total: float | None, unit: str) -> str:
    """How much is done, in the unit of the work."""
    if unit == "bytes":
        gib = 1024.0**3
        known = f" of {total / gib:.2f}" if total else ""
        return f"{done / gib:.2f}{known} GiB"
    return f"{done:.0f}/{total:.0f}" if total else f"{done:.0f} {unit}"


def progress_line(action: str, host: str, progress: dict[str, Any]) -> str:
    """One line of output, for example C(llama_build: vllm-node1: compiling 45 % (120/266), 2 min left)."""
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
    return line if left is None else f"{line}, {duration(float(left))} left"


def ended_from_outside(action: str, host: str) -> dict[str, Any]:
    """The result of a job that was killed before it could write one."""
    return {
        "failed": True,
        "changed": False,
        "msg": f"expected the job {action} on {host} to write its result, found that its process is gone: see in "
        "that host's journal what ended it (a reboot, the out-of-memory killer, a person), then run the playbook "
        "again; it goes on where that job was.",
    }


class Narrator:
    """Decides which of the many states of a job are worth a line."""

    def __init__(self) -> None:
        self._shown_at = float("-inf")
        self._percent = 0.0
        self._what: str | None = None

    def worth_showing(self, progress: dict[str, Any], now: float) -> bool:
        """Whether ten seconds, five percent or a change of phase passed since the last line."""
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
    """Runs MODULE: planned first, then in the background with visible progress."""

    MODULE = ""
    #: The longest a job may take; the node ends it then.
    TIME_LIMIT_SECONDS = 24 * 3600
    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The plan if that is all there is to do, otherwise the job's own result."""
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
            # Otherwise the executor would wait for a job that this method already waits for.
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
        narrator = Narrator()
        pause = POLL_FIRST
        asked_at = answered_at = time.monotonic()
        while True:
            time.sleep(pause)
            pause = min(pause * 1.5, POLL_SLOWEST)
            now = time.monotonic()
            try:
                progress = self._read_progress(progress_file)
                if progress and not progress.get("finished") and narrator.worth_showing(progress, now):
                    display.display(progress_line(name, host, progress))
                if progress.get("finished") or not progress_file or now - asked_at >= STATUS_EVERY:
                    asked_at = now
                    status = self._job(job, "status", task_vars)
                    if status.get("finished") or status.get("failed"):
                        return status
                    if not self._alive(job):
                        status = self._job(job, "status", task_vars)
                        return status if status.get("finished") else ended_from_outside(name, host)
                answered_at = now
            except AnsibleConnectionFailure:
                # The job belongs to the node and goes on; only the view of it is lost for a while.
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
        """Whether the job's wrapper still runs; its file would say "started" for ever if it was killed."""
        # The wrapper was started with the part before the dot; behind it stands its process id.
        started_as = job.partition(".")[0]
        # In brackets, so that neither the shell nor grep finds itself.
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
