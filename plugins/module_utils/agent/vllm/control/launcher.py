# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Launch a model: check, plan, submit, and follow it until it answers. A second launch changes nothing.

A changed configuration replaces the running job: the new one becomes ready first, and the former one then finishes its
requests. Where the new one waits for the GPUs of the former one, the former one goes first.
"""

from __future__ import annotations

import fcntl
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from ....core import timefmt
from ....core.errors import HerdError, InvalidInputError, RemoteFailureError
from ....core.slurm import submission
from ....core.slurm.queue import Job
from ....core.vllm import diagnosis, exit_codes, job_status, model_report
from ....core.vllm.config import Config
from ....core.vllm.job import builder
from ....core.vllm.job import script as job_script
from ....core.vllm.job import spec as job_spec
from ....core.vllm.model_report import ModelReport
from ....core.vllm.planning import entry as plan_entry
from ...common.atomic_files import write_whole
from .. import job_files
from . import model_facts, query, user_site
from .model_facts import huggingface_home
from .observer import Observer
from .progress import ProgressDisplay
from .slurm_commands import UserSlurm

#: Seconds between two looks: at the status file, and at Slurm's queue, which all users share.
LOOK_S, QUEUE_S = 1.0, 10.0
#: After this long without an answer of Slurm, following ends.
SLURM_SILENT_S = 300.0
#: A new job that waits for this long for nodes gets those of the former one.
GIVE_WAY_S = 30.0
#: A job that the queue does not show so often, one look after the other, is gone.
MOST_ABSENCES = 3
#: Another launch of the model submits within this time.
LOCK_S = 120.0
#: Following ends if a job has had a reason for so long with which it never starts.
NEVER_S = 60.0
#: With it, vLLM may load something else than safetensors files, or nothing.
_LOAD_FORMAT = "--load-format"
_WAITS_FOR_NODES = ("Resources", "Priority", "QOS", "Assoc", "ReqNodeNotAvail")


@dataclass(frozen=True)
class LaunchOptions:
    """What a user asks of a launch.

    :ivar timeout_s: seconds to follow; 0 follows without end.
    """

    follow: bool = True
    replace: bool = True
    test_only: bool = False
    check_plan: bool = True
    timeout_s: float = 0.0


@dataclass
class LaunchResult:
    """The result of a launch: its exit status, and the document for scripts."""

    status: int
    model: str
    changed: bool = False
    report: ModelReport | None = None
    expected_start: str = ""
    former_job: str = ""
    problems: list[str] = field(default_factory=list)

    def as_data(self) -> dict[str, Any]:
        """Return the document: the state of the model, and what the launch did."""
        report = (self.report or ModelReport(self.model)).as_data()
        return {
            **report,
            "phase": report["state"],
            "reason": report["reason"] or "; ".join(self.problems),
            "exit_status": self.status,
            "changed": self.changed,
            "expected_start_text": self.expected_start,
            "former_job": self.former_job,
            "problems": self.problems,
        }


class Launcher:
    """Launches one model."""

    def __init__(
        self, config: Config, model: str, slurm: UserSlurm, display: ProgressDisplay, options: LaunchOptions
    ) -> None:
        self.config, self.model, self.slurm, self.display, self.options = config, model, slurm, display, options
        self.facts = user_site.read_facts(user_site.work_dir_of(config))
        self.spec = builder.build(config, model, user_site.build(config, self.facts))
        self.observer = Observer(Path(self.spec.work_dir), slurm)
        #: What C(sbatch --test-only) says, until Slurm's scheduler has an estimate of its own (C(squeue --start)).
        self.estimate: float | None = None

    # What runs already

    def _running(self, but: str = "") -> Job | None:
        return model_report.newest(self.slurm.jobs(), self.spec.job_name, but)

    # Checks before a submission

    def _missing_model(self) -> str:
        """Say what is missing of the weights on the shared file system. The nodes do not download."""
        entry, problem = self.config.model(self.model), ""
        folder = model_facts.folder_of(self.config, self.model)
        if folder is not None:
            problem = "" if _LOAD_FORMAT in self.spec.arguments else model_facts.missing_file(folder)
            if not problem:
                return ""
        if entry.path:
            place = self.config.place(f"models.{self.model}.path")
            state = f"the model is not complete: {problem}" if folder else f"there is no model in {entry.path}"
            return f"{place}: {state}"
        home = huggingface_home(self.config)
        state = (
            f"the download of {entry.huggingface_id} is not complete ({problem})"
            if folder
            else (f"{entry.huggingface_id} is not in {home / 'hub'}")
        )
        program = Path(self.spec.vllm).parent / "hf"
        return (
            f"{state}, and the nodes do not download: on this host, run "
            f"HF_HOME={home} {program} download {entry.huggingface_id}"
        )

    def _plan_problem(self) -> str:
        """Say why the model does not fit; empty if it fits, or if the GPUs or the model are unknown."""
        if self.facts.gpu is None or not self.options.check_plan or self.spec.device != job_spec.CUDA:
            return ""
        try:
            checkpoint = model_facts.known(self.config, self.model)
            plan = plan_entry.plan_entry(self.config, self.model, self.facts.gpu, checkpoint)
        except InvalidInputError:
            return ""
        except HerdError as error:
            return f"{error} (launch --no-plan submits it nevertheless)"
        if plan.fits:
            return ""
        return " ".join([*plan.lines(), "(launch --no-plan submits it nevertheless)"])

    # The launch

    def run(self) -> LaunchResult:
        """Launch the model, unless it runs, and follow it."""
        result = LaunchResult(exit_codes.OK, self.model)
        job = self._running()
        if job is not None and self.observer.fingerprint_of(job) in ("", self.spec.fingerprint):
            self.display.note(f"{self.model} has job {job.id} already; no job is submitted")
            # A replacement that was interrupted is completed.
            former = self._running(but=job.id)
            result.former_job = former.id if former else ""
            result = self._follow(result, job.id)
            if result.report is None or result.report.state != job_status.ENDED:
                return result
            # It was being stopped.
            self.display.note(f"job {job.id} has ended: {result.report.reason or 'it was stopped'}")
            result, job = LaunchResult(exit_codes.OK, self.model), self._running()
        if job is not None and not self.options.replace:
            result.report = self.observer.report(self.model, [job])
            result.problems.append(f"job {job.id} runs with another configuration; launch without --no-replace")
            result.status = exit_codes.NOT_READY
            return result
        if problem := self._missing_model():
            result.problems.append(problem)
            result.status = exit_codes.CONFIG
        if problem := self._plan_problem():
            result.problems.append(problem)
            result.status = exit_codes.DOES_NOT_FIT
        if result.problems and not self.options.test_only:
            return result
        if self.options.test_only:
            with tempfile.TemporaryDirectory(prefix="herd-vllm.") as folder:
                copy = Path(folder, Path(self.spec.script).name)
                copy.write_text(job_script.render(self.spec), encoding="utf-8")
                self._test(result, str(copy))
            result.changed = True
            return result
        with self._lock():
            other = self._running(but=job.id if job else "")
            # An older job of this configuration is being stopped.
            is_newer = other is not None and other.number > (job.number if job else 0)
            if other is not None and is_newer and self.observer.fingerprint_of(other) == self.spec.fingerprint:
                self.display.note(f"another launch has submitted job {other.id}")
                return self._follow(result, other.id)
            script = str(job_files.install(self.spec))
            self._test(result, script)
            if result.status != exit_codes.OK:
                return result
            job_id = self._submit(script)
            result.changed = True
        result.former_job = job.id if job else ""
        self.display.note(f"submitted as job {job_id}; its log is {self.spec.log_path(job_id)}")
        return self._follow(result, job_id)

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """Let one launch of a model submit at a time, where the file system has locks."""
        folder = Path(self.spec.work_dir) / "jobs"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        until = time.monotonic() + LOCK_S
        with (folder / f".launch-{self.model}").open("w", encoding="ascii") as stream:
            while time.monotonic() < until:
                try:
                    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    pause(LOOK_S)
                except OSError:
                    # This file system has no locks.
                    break
            yield

    def _test(self, result: LaunchResult, script: str) -> None:
        """Ask Slurm when it would start the job, or why it refuses it."""
        answer = self.slurm.test(script)
        if isinstance(answer, submission.StartEstimate):
            start = answer.start
            text = timefmt.clock(float(start), time.time()) if start.isdigit() else start.replace("T", " ")
            result.expected_start = text
            self.estimate = _seconds(start)
            nodes = f" on {answer.nodes}" if answer.nodes else ""
            self.display.note(f"Slurm would start it by {text}{nodes}")
        elif isinstance(answer, submission.Refusal):
            # A job of the same user on the GPUs, or a node that is down, may only delay it.
            if answer.is_temporary and not self.options.test_only:
                self.display.note(f"Slurm says: {answer.said}")
                return
            result.status = exit_codes.REFUSED
            found = diagnosis.of_refusal(answer)
            result.problems.append(str(found))
            result.report = ModelReport(self.model, reason=found.reason, cure=found.cure, page=found.page)

    def _submit(self, script: str) -> str:
        job_id = self.slurm.submit(script)
        record = json.dumps({"job": job_id, "fingerprint": self.spec.fingerprint}) + "\n"
        with suppress(OSError):
            write_whole(self.observer.record_of(self.model), record, 0o600)
        return job_id

    # Following

    def _follow(self, result: LaunchResult, job_id: str) -> LaunchResult:
        """Follow a job until it is ready or has ended, or the user has enough."""
        if self.options.test_only or not self.options.follow:
            jobs = self.slurm.jobs()
            result.report = self.observer.report(self.model, jobs, job_id)
            return result
        follower = Follower(self, job_id, result.former_job)
        try:
            result.report, result.status = follower.run()
        except KeyboardInterrupt:
            result.status = exit_codes.INTERRUPTED
            result.report = follower.report
        finally:
            self.display.close()
        return result


def _seconds(start: str) -> float | None:
    """Read a time of Slurm: seconds since 1970, or the local time of this host."""
    if start.isdigit():
        return float(start)
    with suppress(ValueError, OverflowError):
        return datetime.strptime(start, "%Y-%m-%dT%H:%M:%S").timestamp()
    return None


def pause(seconds: float) -> None:
    """Wait until the next look. Ctrl-C comes here, most of the time."""
    time.sleep(seconds)


class Follower:
    """Follows a job, and lets the former one go when it is time."""

    def __init__(self, launcher: Launcher, job_id: str, former: str) -> None:
        self._launcher, self._job_id, self._former = launcher, job_id, former
        self._jobs: Sequence[Job] = ()
        self._asked = -QUEUE_S
        self._answered = time.monotonic()
        self._waiting_since: float | None = None
        self._stuck_since: float | None = None
        self._is_gone = False
        # A busy Slurm shows a new job late. A job that was in the queue is gone at its first absence.
        self._absences = 0
        self.report = ModelReport(launcher.model, state=model_report.PENDING, job_id=job_id)

    def run(self) -> tuple[ModelReport, int]:
        """Return the last report and the exit status."""
        options, display = self._launcher.options, self._launcher.display
        deadline = time.monotonic() + options.timeout_s if options.timeout_s else None
        while True:
            self._look()
            display.show(self.report)
            if self.report.is_ready:
                self._finish_former("the new one is ready")
                return self.report, exit_codes.OK
            if self.report.is_over and self._is_gone:
                return self.report, exit_codes.FAILED
            self._give_way()
            if self._is_stuck():
                return self.report, exit_codes.NOT_READY
            if deadline is not None and time.monotonic() >= deadline:
                return self.report, exit_codes.TIMED_OUT
            pause(LOOK_S)

    def _look(self) -> None:
        now = time.monotonic()
        is_running = self.report.state not in (model_report.PENDING, model_report.NONE)
        if now - self._asked >= QUEUE_S or (not is_running and now - self._asked >= QUEUE_S / 2):
            self._asked = now
            try:
                self._jobs = self._launcher.slurm.jobs()
                self._answered = now
            except RemoteFailureError:
                if now - self._answered > SLURM_SILENT_S:
                    raise
        observer = self._launcher.observer
        status = observer.status_of(self._job_id)
        job = next((job for job in self._jobs if job.id == self._job_id and job.is_live), None)
        if job is not None:
            self.report = model_report.of_job(self._launcher.model, job, status, time.time())
            if self.report.state == job_status.FAILED:
                # It may be requeued by its own rule. Until it has left the queue, that is open.
                self.report = observer.report(self._launcher.model, self._jobs, self._job_id)
            if self.report.state == model_report.PENDING and self.report.expected_start is None:
                self.report = replace(self.report, expected_start=self._launcher.estimate)
            self._is_gone, self._absences = False, MOST_ABSENCES
            return
        self._absences += self._asked == now
        if self._absences >= MOST_ABSENCES and self._asked == now:
            self._is_gone = True
            self.report = observer.report(self._launcher.model, self._jobs, self._job_id)

    def _is_stuck(self) -> bool:
        """Return whether the job waits for a change by the user or an administrator."""
        now = time.monotonic()
        is_stuck = self.report.state == model_report.PENDING and not self.report.starts_by_itself
        self._stuck_since = (self._stuck_since or now) if is_stuck else None
        return self._stuck_since is not None and now - self._stuck_since >= NEVER_S

    def _give_way(self) -> None:
        """End the former job if the new one waits for its nodes."""
        job = next((job for job in self._jobs if job.id == self._job_id), None)
        if not self._former or job is None or not (job.is_pending and job.reason.startswith(_WAITS_FOR_NODES)):
            self._waiting_since = None
            return
        self._waiting_since = self._waiting_since or time.monotonic()
        if time.monotonic() - self._waiting_since >= GIVE_WAY_S:
            self._finish_former("the new one needs its GPUs")

    def _finish_former(self, why: str) -> None:
        if self._former:
            former, self._former = self._former, ""
            self._launcher.display.note(f"job {former} finishes its requests and ends, since {why}")
            end(self._launcher.slurm, former, self._jobs)


def end(slurm: UserSlurm, job_id: str, jobs: Sequence[Job]) -> str:
    """End a job: cancel it while it is pending, else let it finish its requests. Return what was done."""
    job = next((job for job in jobs if job.id == job_id), None)
    if job is not None and job.is_pending:
        slurm.cancel(job_id)
        return "cancelled"
    slurm.finish(job_id)
    return "finishing"


def stop(
    slurm: UserSlurm, job_id: str, timeout_s: float, is_now: bool, show: Callable[[str], None]
) -> tuple[str, bool]:
    """Stop a job, and wait until it has left the queue.

    :returns: what was done, and whether the job is gone.
    """
    jobs = slurm.jobs()
    if is_now:
        slurm.cancel(job_id)
        done = "cancelled"
    else:
        done = end(slurm, job_id, jobs)
        if done == "finishing":
            show(f"job {job_id} finishes its running requests (herdctl vllm stop --now does not wait)")
    deadline = time.monotonic() + timeout_s
    while True:
        if not any(job.id == job_id and job.is_live for job in slurm.jobs()):
            return done, True
        if time.monotonic() >= deadline:
            return done, False
        time.sleep(min(QUEUE_S / 5, max(0.1, timeout_s / 10)))


def ready_lines(report: ModelReport, command: str) -> list[str]:
    """Return what a user copies and pastes to ask the model."""
    lines = [
        f"{report.model} is ready: job {report.job_id} on {report.host}",
        f"  {command} query --model {report.model} --prompt 'Explain quantum computing'",
        f"  export OPENAI_BASE_URL={report.base_url} OPENAI_API_KEY=$(cat {report.key_file})",
        f"  model name: {report.served_name}",
    ]
    if report.address and not query.reaches(report.address, report.port):
        lines.append(
            f"  {report.address}:{report.port} cannot be reached from here; run clients on the cluster's nodes "
            f"(srun --jobid={report.job_id} --overlap), or use ssh -L {report.port}:{report.address}:{report.port}"
        )
    return lines
