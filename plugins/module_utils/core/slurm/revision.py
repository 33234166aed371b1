# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find jobs that were submitted before their tier was changed in the inventory.

Slurm keeps the submitted script and its limits each time a job is requeued, and a tier's job lives on by being
requeued. So each script carries a fingerprint of its configuration, which also stands in the job's comment. By the
fingerprint the tier manager sees that a job is outdated. It replaces a pending job, and asks a running one to requeue
itself in an idle window.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

#: Key of the fingerprint in a job's comment.
KEY = "fingerprint="
#: Characters of the fingerprint. With the longest tier name it fits into squeue's column of the comment.
LENGTH = 8
#: Seconds between two requests to a running job.
AGAIN_S = 600.0
#: The signal that asks a job to requeue itself. It ends a runtime that does not handle it. Every runtime of a job with
#: a fingerprint does.
SIGNAL = "USR2"


def fingerprint(data: Mapping[str, Any], limits: Mapping[str, Any]) -> str:
    """Hash the configuration that a job runs with."""
    text = json.dumps([data, limits], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:LENGTH]


def fingerprint_in(text: str) -> str:
    """Read the fingerprint in a job's comment; empty if there is none."""
    return next((word[len(KEY) :] for word in text.split() if word.startswith(KEY)), "")


def is_outdated(current: str, text: str, is_managed: bool, submitted: str = "") -> bool:
    """Say whether a job's configuration differs from the inventory.

    :param current: the tier's fingerprint now; empty if unknown.
    :param text: the job's comment.
    :param is_managed: whether a tier manager submitted the job. Without a fingerprint such a job is outdated.
    :param submitted: the fingerprint with which this manager submitted the job. It has priority over the comment, which
        a site may rewrite.
    """
    had = submitted or fingerprint_in(text)
    return bool(current) and (had != current if had else is_managed)


def in_words(job: str, is_running: bool, is_asked: bool) -> str:
    """Say how an outdated job is replaced, without a full stop."""
    text = f"job {job} is outdated: herd_tiers has changed since it was submitted"
    if not is_running:
        return f"{text}, and a new job follows"
    when = "in an idle window" if is_asked else "when it is requeued"
    return f"{text}; it is replaced {when} (at once: scontrol requeue {job})"
