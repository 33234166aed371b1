# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the data that a job was submitted with, also after its tier was changed."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from ...core.errors import HerdError, MismatchError
from ...core.slurm import job_spec
from ..common.atomic_files import write_whole


def _read(path: Path) -> tuple[str, job_spec.JobSpec | None]:
    with suppress(OSError, HerdError):
        text = path.read_text(encoding="utf-8")
        return text, job_spec.read_job(text)
    return "", None


def read(path: Path, fingerprint: str, kept: Path) -> job_spec.JobSpec:
    """Read the tier's data, or the copy of a former run if the tier has changed since.

    :param fingerprint: fingerprint of the data that the job was submitted with.
    :param kept: copy of the data for the next run of the job.
    :raises MismatchError: if neither has the fingerprint.
    """
    text, job = _read(path)
    if job and job.fingerprint == fingerprint:
        # The job runs without a copy as well.
        with suppress(OSError):
            write_whole(kept, text)
        return job
    _text, former = _read(kept)
    if former and former.fingerprint == fingerprint:
        return former
    raise MismatchError(
        f"the tier's data {fingerprint} with which this job was submitted, at {path}",
        job.fingerprint if job else "none",
        "end this job (scancel), run playbooks/slurm.yml --tags tiers and submit the tier's script again",
    )
