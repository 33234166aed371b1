# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan which files of caches and earlier jobs may go. Nothing outside the directories of vLLM's jobs is ever planned.

A directory is used only if it is an absolute path, deep enough, and neither the home directory nor above it. An empty
path is refused: the shell's C(rm -rf $XDG_CACHE_HOME/huggingface) with an empty variable is the fault to avoid. Below
it, only names that vLLM, Triton, Hugging Face or these jobs make are planned.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from ..errors import InvalidInputError

MODELS, COMPILED, JOBS = "models", "compiled", "jobs"
KINDS = (MODELS, COMPILED, JOBS)
DAY_S = 86400.0
_REMEDY = "set it to a directory of yours, such as a work space, in config.yaml"
#: A cache is at least so deep: C(/scratch/user) or C(/home/user/.cache).
_LEAST_PARTS = 2
#: Directories of the system, which hold no user's cache.
_SYSTEM = frozenset({"bin", "boot", "dev", "etc", "lib", "lib64", "proc", "root", "run", "sbin", "sys", "usr"})
_MODEL = re.compile(r"models--[A-Za-z0-9._-]+")
_JOB = re.compile(r"\d+")
_LOG = re.compile(r"[A-Za-z0-9._]+_(\d+)\.out")
_STATUS = re.compile(r"(\d+)\.json")
#: Directories that Triton makes: a hash in base 32 or 16.
_TRITON = re.compile(r"[A-Z2-7]{40,64}|[0-9a-f]{32,64}")
_SPEC = re.compile(r"[A-Za-z0-9._-]+-([0-9a-f]{8,64})\.json")


@dataclass(frozen=True)
class Entry:
    """A file or directory directly below a directory that may be cleaned.

    :ivar root: that directory.
    :ivar kind: what C(root) holds: models, compiled or jobs.
    :ivar used: seconds since 1970 when anything in it was last read or changed.
    """

    root: str
    name: str
    kind: str
    size: int
    used: float
    is_link: bool = False


@dataclass(frozen=True)
class Removal:
    """An entry that may go, and why."""

    entry: Entry
    reason: str

    @property
    def path(self) -> str:
        """Return its path."""
        return f"{self.entry.root}/{self.entry.name}"


def check_root(what: str, path: str, home: str) -> str:
    """Return a directory that may be cleaned, without a trailing slash.

    :param what: the key of the configuration that names it.
    :param path: the path with all links resolved.
    :raises InvalidInputError: if files of others, of the system, or all of the user's could be below it.
    """
    if not path.startswith("/"):
        raise InvalidInputError(f"an absolute path as {what}", repr(path), _REMEDY)
    parts = [part for part in path.split("/") if part]
    of_home = [part for part in home.split("/") if part]
    if ".." in parts:
        raise InvalidInputError(f"a path without .. as {what}", path, _REMEDY)
    if parts == of_home[: len(parts)]:
        raise InvalidInputError(f"a directory below the home directory or elsewhere as {what}", path, _REMEDY)
    if len(parts) < _LEAST_PARTS or (parts[0] in _SYSTEM and parts[0] not in of_home[:1]):
        raise InvalidInputError(f"a directory of yours as {what}", path, _REMEDY)
    return "/" + "/".join(parts)


def model_folder(huggingface_id: str) -> str:
    """Return the name of a model's directory in the cache of Hugging Face."""
    return "models--" + huggingface_id.replace("/", "--")


def is_of_triton(name: str, children: Collection[str]) -> bool:
    """Return whether a directory below Triton's cache is Triton's, or a node's with nothing else in it.

    The user may have named a directory that holds other things too.
    """
    is_hash = _TRITON.fullmatch(name) is not None
    return is_hash or (bool(children) and all(_TRITON.fullmatch(child) for child in children))


def _job_of(entry: Entry) -> str | None:
    """Return the job's number of an entry of a job; None if these jobs did not make it."""
    if _JOB.fullmatch(entry.name):
        return entry.name
    found = _LOG.fullmatch(entry.name) or _STATUS.fullmatch(entry.name)
    return found[1] if found else None


def _reason(
    entry: Entry, kept_models: Collection[str], live_jobs: Collection[str], specs: Collection[str], named: bool
) -> str:
    """Say why an entry may go; empty if it must stay."""
    if entry.kind == MODELS:
        if not _MODEL.fullmatch(entry.name) or entry.name in kept_models:
            return ""
        return "you named it" if named else "no model of the configuration uses it"
    if entry.kind == COMPILED:
        return "compiled graphs; vLLM makes them again"
    if spec := _SPEC.fullmatch(entry.name):
        # A job whose fingerprint is unknown may use any of them.
        return "" if spec[1] in specs or "" in specs else "the specification of an earlier job"
    job = _job_of(entry)
    return f"job {job} has ended" if job and job not in live_jobs else ""


def plan(
    entries: Iterable[Entry],
    now: float,
    older_than_s: float,
    kept_models: Collection[str] = (),
    live_jobs: Collection[str] = (),
    live_specs: Collection[str] = (),
    named_models: Collection[str] = (),
) -> list[Removal]:
    """Choose what may go.

    :param older_than_s: entries that were used within these seconds stay, unless the user names them.
    :param kept_models: directories of models that stay: those of the configuration and of jobs in the queue.
    :param live_jobs: numbers of jobs in the queue. Compiled graphs stay while there is one.
    :param live_specs: fingerprints of specifications that jobs in the queue use; empty for an unknown one.
    :param named_models: directories of models that the user names. Only they go then.
    """
    found = []
    for entry in entries:
        is_named = entry.name in named_models
        if named_models and not is_named:
            continue
        if entry.is_link or (entry.kind == COMPILED and live_jobs):
            continue
        if not is_named and now - entry.used < older_than_s:
            continue
        if reason := _reason(entry, kept_models, live_jobs, live_specs, is_named):
            found.append(Removal(entry, reason))
    return sorted(found, key=lambda removal: removal.path)
