# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of a vLLM job on the shared directory. Only the job's user may read them."""

from __future__ import annotations

import json
import os
import secrets
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...core.engine import api_keys
from ...core.errors import HerdError, InvalidInputError, NotFoundError
from ...core.values import finite
from ...core.vllm import job_status
from ...core.vllm.job import requeue, script
from ...core.vllm.job import run as job_run
from ...core.vllm.job import spec as job_spec
from ..common.atomic_files import write_whole
from ..common.regular_files import read_regular

#: Bytes of the largest order, report or memory of failures.
_LARGEST = 64 * 1024
_LONGEST_KEY = 4096
#: Seconds for which a shared file system may show a former state. NFS keeps attributes for up to a minute.
_LATE_S = 70.0


def _own_folder(path: Path) -> Path:
    """Make a folder that only its owner may use: who may write there could replace a script or an order."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    facts = path.stat()
    if facts.st_uid != os.geteuid():
        raise InvalidInputError(f"{path} to be your own folder", f"user id {facts.st_uid}", "choose another work_dir")
    if facts.st_mode & 0o077:
        path.chmod(0o700)
    return path


def ensure_key(path: Path) -> None:
    """Make an API key, unless there is one.

    :raises InvalidInputError: if others may read the key.
    """
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        _check_mode(path, path.stat().st_mode)
        return
    with os.fdopen(handle, "w", encoding="ascii") as stream:
        stream.write(f"{secrets.token_urlsafe(32)}\n")


def read_key(path: Path, is_own: bool = False, remedy: str = "launch the model again") -> str:
    """Read an API key: the first one of its file.

    :param is_own: whether only the file's owner may be able to read it. An operator's key may have a group.
    :param remedy: the next step if there is no key.
    :raises InvalidInputError: if others may read the user's own key, or if HTTP cannot carry it.
    :raises NotFoundError: if there is none.
    """
    try:
        if is_own:
            _check_mode(path, path.stat().st_mode)
        text = read_regular(path, _LONGEST_KEY).decode("latin-1")
    except OSError as error:
        raise NotFoundError(f"the API key in {path}", error.strerror or str(error), remedy) from error
    remedy = f"remove the file, then {remedy}"
    key = api_keys.in_use(text, str(path), remedy)
    if not key:
        raise NotFoundError(f"a key of printable ASCII in {path}", "none", remedy)
    return key


def _check_mode(path: Path, mode: int) -> None:
    if mode & 0o077:
        raise InvalidInputError(
            f"the API key in {path} to be readable for its owner only",
            f"mode {mode & 0o777:o}",
            f"run chmod 600 {path}, and make a new key if others may have read it",
        )


def install(spec: job_spec.JobSpec) -> Path:
    """Write a job's folders, key, specification and script, and return the script for sbatch."""
    work = Path(spec.work_dir)
    for name in ("jobs", "logs", "status"):
        _own_folder(work / name)
    if spec.way == job_spec.USER:
        ensure_key(Path(spec.key_file))
    write_whole(Path(spec.spec_path), job_spec.write(spec), 0o600)
    write_whole(Path(spec.script), script.render(spec), 0o700)
    return Path(spec.script)


def read_spec(path: str) -> job_spec.JobSpec:
    """Read a job's specification."""
    try:
        return job_spec.read(read_regular(Path(path), job_spec.LARGEST).decode())
    except (OSError, UnicodeDecodeError) as error:
        raise NotFoundError(f"the job's specification at {path}", str(error), "launch the model again") from error


class JobFolder:
    """The folder of a job: its run with the secret, the order to rank 0, and the reports of the ranks."""

    def __init__(self, spec: job_spec.JobSpec, job_id: str) -> None:
        self.spec, self.job_id = spec, job_id
        self.path = Path(spec.job_folder(job_id))
        self.status_path = Path(spec.status_path(job_id))

    def begin(self) -> None:
        """Prepare the folder for a new run: nothing of an earlier one is left."""
        _own_folder(self.path)
        _own_folder(self.status_path.parent)
        for stale in (self.path / "run.json", self.path / "order.json", *self.path.glob("rank-*.json")):
            stale.unlink(missing_ok=True)

    def write_run(self, run: job_run.Run) -> None:
        """Write the run with its secret."""
        write_whole(self.path / "run.json", job_run.write(run), 0o600)

    def read_run(self, restarts: int) -> job_run.Run:
        """Read the run of this start. Another node of a shared file system may see it late, or see the former one."""
        until = time.monotonic() + _LATE_S
        while True:
            try:
                found = job_run.read(read_regular(self.path / "run.json", job_run.LARGEST, follow=False).decode())
                problem = "" if found.restarts == restarts else f"that of start {found.restarts + 1}"
                if len(found.ranks) != self.spec.nodes:
                    problem = f"one of {len(found.ranks)} ranks on {self.spec.nodes} nodes"
            except (OSError, UnicodeDecodeError) as error:
                problem = str(error)
            if not problem:
                return found
            if time.monotonic() >= until:
                raise NotFoundError(
                    f"the run of start {restarts + 1} in {self.path}",
                    problem,
                    "see in the job's log why its preparation failed, and whether this node has the shared file system",
                )
            time.sleep(1.0)

    def _read(self, name: str) -> dict[str, Any]:
        with suppress(OSError, ValueError, RecursionError):
            data = json.loads(read_regular(self.path / name, _LARGEST, follow=False))
            return data if isinstance(data, dict) else {}
        return {}

    def write_order(self, order: str, seconds: float) -> None:
        """Tell rank 0 to end.

        :param seconds: until Slurm ends the job; 0 if unknown.
        """
        write_whole(self.path / "order.json", json.dumps({"order": order, "seconds": seconds}), 0o600)

    def read_order(self) -> tuple[str, float]:
        """Read the order to rank 0, and its seconds; empty without one."""
        data = self._read("order.json")
        order = data.get("order")
        return (order, finite(data.get("seconds")) or 0.0) if order in requeue.ORDERS else ("", 0.0)

    def write_end(self, rank: int, end: dict[str, Any]) -> None:
        """Write how a rank ended."""
        write_whole(self.path / f"rank-{rank}.json", json.dumps({**end, "at": time.time()}), 0o600)

    def read_ends(self) -> list[dict[str, Any]]:
        """Read how the ranks ended, in the order of their numbers."""
        return [data for path in sorted(self.path.glob("rank-*.json")) if (data := self._read(path.name))]

    def failures(self) -> list[requeue.Failure]:
        """Read the failures of earlier runs of the job."""
        listed = self._read("failures.json").get("failures")
        found = []
        for one in listed if isinstance(listed, list) else ():
            if isinstance(one, dict):
                found.append(requeue.Failure(finite(one.get("at")) or 0.0, finite(one.get("served_s")) or 0.0))
        return found

    def add_failure(self, failure: requeue.Failure) -> None:
        """Remember a failure for the next runs."""
        kept = [*self.failures(), failure][-requeue.MOST :]
        data = {"failures": [{"at": one.at, "served_s": one.served_s} for one in kept]}
        write_whole(self.path / "failures.json", json.dumps(data), 0o600)

    def read_status(self) -> job_status.JobStatus | None:
        """Read the status file; None if there is none."""
        with suppress(OSError, UnicodeDecodeError, HerdError):
            return job_status.parse(read_regular(self.status_path, job_status.LARGEST, follow=False).decode())
        return None

    def write_status(self, status: job_status.JobStatus) -> None:
        """Write the status file in one step. Readers accept printable text only, and a reason may quote a log."""
        reason = "".join(letter if letter.isprintable() else " " for letter in status.reason)
        status = replace(status, reason=reason)
        write_whole(self.status_path, json.dumps(status.as_data(), indent=1) + "\n", 0o600)
