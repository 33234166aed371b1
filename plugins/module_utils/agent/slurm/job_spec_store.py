# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The data with which a job runs: those of the script that was submitted, also after the tier was changed."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from ...core.errors import HerdError, MismatchError, NotFoundError
from ...core.slurm import job_spec
from ..common.atomic_files import write_whole


def read(path: Path, plan: str, kept: Path) -> job_spec.Job:
    """Read the tier's data.

    :param plan: the mark of the data that the submitted script goes with; empty in a script of an older version.
    :param kept: where they are kept for when the job is requeued.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        if not plan:
            raise NotFoundError(
                f"the tier's data at {path}", error.strerror or str(error), "run playbooks/slurm.yml --tags tiers"
            ) from error
        text = ""
    if not plan:
        return job_spec.read_job(text)
    found = "none"
    with suppress(HerdError):
        job = job_spec.read_job(text)
        if job.plan == plan:
            # Without them it runs as well.
            with suppress(OSError):
                write_whole(kept, text)
            return job
        found = job.plan or "one without a mark"
    # The tier was changed: what this job was given is for what it had then.
    with suppress(OSError, HerdError):
        job = job_spec.read_job(kept.read_text(encoding="utf-8"))
        if job.plan == plan:
            return job
    raise MismatchError(
        f"the tier's data {plan} with which this job was submitted, at {path}",
        found,
        "the tier has changed since: end this job (scancel) and submit its script again",
    )
