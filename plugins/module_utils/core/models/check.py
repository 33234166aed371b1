# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare the folder of the models with the inventory."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..download import verification_record
from ..download.identity import FileIdentity
from ..download.parts import HIDDEN, KEPT, Target, plan_targets
from ..errors import HerdError
from . import gguf, gguf_summary, header_check
from .gguf import Header
from .lock import options_of

_SCRATCH = re.compile(r".+\.\d+\.tmp")


@dataclass(frozen=True)
class FileRange:
    """A range of a file with its expected SHA-256."""

    start: int
    length: int
    sha256: str


@dataclass(frozen=True)
class Verdict:
    """The result of the check of one file.

    :ivar state: C(right), C(unread) (of the right size, but never read), C(missing) or C(wrong).
    :ivar problems: everything in the header that cannot be.
    """

    file: str
    state: str
    why: str = ""
    problems: tuple[str, ...] = ()


def targets_of(folder: str, entry: Mapping[str, Any]) -> tuple[Target, ...]:
    """List the files of a model entry on a host."""
    options = options_of(entry)
    return plan_targets(f"{folder.rstrip('/')}/{options.pop('file')}", **options)


def size_of(target: Target) -> int | None:
    """Return the expected size in bytes; None if the inventory does not have it."""
    if target.size is not None:
        return target.size
    sizes = [part.size for part in target.parts]
    return None if None in sizes else sum(size for size in sizes if size is not None)


def ranges_of(target: Target) -> list[FileRange]:
    """List the ranges with a known checksum: the whole file, or else its byte parts."""
    size = size_of(target)
    whole = target.sha256 or (target.parts[0].sha256 if len(target.parts) == 1 else None)
    if size is not None and whole:
        return [FileRange(0, size, whole)]
    found: list[FileRange] = []
    start = 0
    for part in target.parts:
        if part.size is None or part.sha256 is None:
            return []
        found.append(FileRange(start, part.size, part.sha256))
        start += part.size
    return found


def judge(
    target: Target, found: FileIdentity | None, record: Mapping[str, Any], digests: Sequence[str] | None = None
) -> Verdict:
    """Judge a file.

    :param record: its verification record; empty if there is none.
    :param digests: SHA-256 of each of C(ranges_of), if the file was read.
    """
    name = target.name
    if found is None:
        return Verdict(name, "missing")
    size = size_of(target)
    if size is not None and found.size != size:
        return Verdict(name, "wrong", f"{found.size} bytes instead of {size}")
    if digests is not None:
        for file_range, digest in zip(ranges_of(target), digests):
            if digest != file_range.sha256:
                where = f"bytes {file_range.start} to {file_range.start + file_range.length - 1}"
                return Verdict(name, "wrong", f"SHA-256 {digest} of {where} instead of {file_range.sha256}")
        if digests:
            return Verdict(name, "right", "read now")
        return Verdict(name, "unread", "the inventory has no checksum to compare with: run playbooks/lock_models.yml")
    if verification_record.confirms(record, found, target, checksums=True):
        return Verdict(name, "right", "unchanged since it was verified")
    if record.get("size") == found.size and record.get("sha256") and target.sha256 not in (None, record["sha256"]):
        return Verdict(name, "wrong", f"SHA-256 {record['sha256']} when it was fetched, not {target.sha256}")
    return Verdict(name, "unread", "never verified, or changed since: read it with -e model_store_rehash=true")


def judge_header(target: Target, header: Header, verdict: Verdict) -> Verdict:
    """Compare the length of a file with its header; return the verdict if it is right."""
    is_joined = len(target.parts) > 1
    difference = header_check.length_difference(header, is_joined)
    if not difference:
        return verdict
    why = f"{-difference} bytes missing at its end"
    if difference > 0:
        why = f"{difference} bytes behind its last tensor: its parts do not belong together"
    return replace(verdict, state="wrong", why=why)


def judge_model(headers: Sequence[Header], verdict: Verdict) -> Verdict:
    """Judge the header of a whole model; return the verdict of its first file with the problems.

    :param headers: one for each file, in order.
    """
    try:
        joined = gguf.join_shards(headers, verdict.file)
    except HerdError as error:
        return replace(verdict, state="wrong", why=str(error))
    refusals = header_check.refusals(joined)
    if refusals:
        verdict = replace(verdict, state="wrong", why=refusals[0])
    return replace(verdict, problems=tuple(gguf_summary.problems(headers, joined)))


def sort_others(names: Sequence[str], wanted: Sequence[str], other: Sequence[str]) -> dict[str, list[str]]:
    """Sort the files in the folder that the host does not need.

    :param wanted: names of the files that the host needs.
    :param other: names of the files of other models of the inventory.
    :returns: C(other), C(foreign), and C(leftover): of interrupted downloads, or of removed files.
    """
    sorted_in: dict[str, list[str]] = {"other": [], "foreign": [], "leftover": []}
    for name in sorted(set(names) - set(wanted)):
        hidden = HIDDEN.fullmatch(name)
        if hidden and not hidden["scratch"] and hidden["suffix"] in KEPT and hidden["name"] in {*names, *wanted}:
            continue
        kind = "leftover" if hidden or _SCRATCH.fullmatch(name) else "other" if name in other else "foreign"
        sorted_in[kind].append(name)
    return sorted_in
