# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask servers and mirrors for the parts of a file, and compare their answers with the inventory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Optional, Protocol

from ..errors import HerdError, InvalidInputError, MismatchError, RemoteFailureError
from .identity import LONGEST_POINTER, POINTER, OtherSizeError, RemoteFile, public_url
from .parts import Part, Target, server_of, url_identity

#: Receives the current step, its progress and its total; None if the total is unknown.
ReportProgress = Callable[[str, float, Optional[float]], None]
#: Receives a sentence for the operator.
Warn = Callable[[str], None]


class SourceClient(Protocol):
    """Client of the servers that have the parts."""

    def describe(self, url: str, patient: bool) -> RemoteFile: ...
    def opening(self, url: str, most: int) -> bytes: ...


@dataclass(frozen=True)
class Segment:
    """A part with all facts about it, from the inventory and from servers.

    :ivar url: the address that the part comes from.
    :ivar tag: identifies the content at that address.
    :ivar others: further addresses of the part.
    :ivar sized_by: the address that states the size; empty if the inventory does.
    """

    part: Part
    size: int | None
    sha256: str | None
    tag: str | None
    url: str = ""
    others: tuple[str, ...] = ()
    sized_by: str = ""

    def identity(self) -> dict[str, Any]:
        """Identify these bytes for the journal."""
        address = url_identity(self.url or self.part.url)
        return {"url": address, "size": self.size, "sha256": self.sha256, "tag": self.tag}


def given(target: Target) -> list[Segment]:
    """List the segments as the inventory describes them, without a request."""
    segments = []
    for part in target.parts:
        size, sha256 = part.size, part.sha256
        if len(target.parts) == 1:
            size, sha256 = size or target.size, sha256 or target.sha256
        segments.append(Segment(part, size, sha256, None))
    return segments


def total_size(segments: Sequence[Segment]) -> int | None:
    """Add up the sizes in bytes; None if one is unknown."""
    sizes = [segment.size for segment in segments]
    return None if None in sizes or not sizes else sum(size for size in sizes if size is not None)


def resolve(target: Target, client: SourceClient, checksums: bool, report: ReportProgress, warn: Warn) -> list[Segment]:
    """Ask for every part, and refuse a wrong file before its first byte.

    :param checksums: whether every byte must be covered by a sha256.
    :param warn: receives a sentence about each mirror that is left out because it has another file.
    """
    covered = not checksums or target.sha256 is not None
    silent: set[str] = set()
    segments = []
    for segment in given(target):
        answers = _ask(segment, client, covered, silent, report)
        segments.append(_resolved(segment, answers, warn))
    agree("size", target.path, target.size, total_size(segments))
    bare = [segment.part.label for segment in segments if segment.sha256 is None]
    if target.sha256 is None and bare and checksums:
        raise InvalidInputError(
            f"a sha256 of {', '.join(bare)}",
            "none in the inventory and none published by the server",
            "add sha256 to the model's facts, or set verify to size to accept the file by its size alone",
        )
    if target.sha256 is None and bare and total_size(segments) is None and target.size is None:
        raise InvalidInputError(
            f"the size of {', '.join(bare)}",
            "none in the inventory and none from the server",
            "add size to the model's facts: without size and sha256, a truncated file cannot be detected",
        )
    return segments


@dataclass
class _Answers:
    """The answers of a part's addresses, in the order of requests."""

    found: list[tuple[str, RemoteFile]] = field(default_factory=list)
    errors: list[tuple[str, HerdError]] = field(default_factory=list)


def _ask(wanted: Segment, client: SourceClient, covered: bool, silent: set[str], report: ReportProgress) -> _Answers:
    """Ask the addresses of a part until one has it; ask further ones for facts that are still unknown.

    :param silent: servers that did not answer before; they are not asked to confirm a mirror.
    """
    answers = _Answers()
    addresses = wanted.part.addresses
    for number, url in enumerate(addresses):
        is_publisher = number == len(addresses) - 1
        if answers.found and not _is_needed(wanted, answers, covered, is_publisher and server_of(url) not in silent):
            continue
        label = public_url(url)
        report(f"asking for {label}", 0, None)
        try:
            answers.found.append((url, _described(wanted, client, url, is_publisher and not answers.found)))
        except HerdError as error:
            answers.errors.append((label, error))
            if isinstance(error, RemoteFailureError):
                silent.add(server_of(url))
    return answers


def _is_needed(wanted: Segment, answers: _Answers, covered: bool, is_publisher: bool) -> bool:
    """Return whether another address is asked although one has the part.

    The publisher confirms a size that only mirrors state. Where the inventory has the checksum, the size of a file on
    the host's own disks needs no confirmation.
    """
    if wanted.sha256 is None and not covered:
        return is_publisher or all(remote.sha256 is None for _url, remote in answers.found)
    is_local = all(url.startswith("file:") for url, _remote in answers.found)
    return is_publisher and wanted.size is None and not (is_local and wanted.sha256 is not None)


def _described(wanted: Segment, client: SourceClient, url: str, patient: bool) -> RemoteFile:
    """Ask one address, and compare its answer with the inventory."""
    label = public_url(url)
    remote = client.describe(url, patient)
    if remote.size == 0:
        raise MismatchError(f"a model's file from {label}", "an empty file", "look for the file on its server")
    if remote.size is not None and remote.size <= LONGEST_POINTER:
        refuse_pointer(label, client.opening(url, LONGEST_POINTER))
    agree("size", label, wanted.size, remote.size)
    agree("sha256", label, wanted.sha256, remote.sha256)
    return remote


def _resolved(wanted: Segment, answers: _Answers, warn: Warn) -> Segment:
    """Add the facts from the servers to a segment. The publisher's facts decide, then the first mirror's."""
    if not answers.found:
        raise combined(answers.errors)
    addresses = wanted.part.addresses
    size, sha256, sized_by = wanted.size, wanted.sha256, ""
    kept: list[tuple[str, RemoteFile]] = []
    for url, remote in sorted(answers.found, key=lambda answer: answer[0] != addresses[-1]):
        try:
            agree("size", public_url(url), size, remote.size)
            agree("sha256", public_url(url), sha256, remote.sha256)
        except MismatchError as error:
            answers.errors.append((public_url(url), error))
            continue
        if size is None and remote.size is not None:
            size, sized_by = remote.size, url
        sha256 = sha256 or remote.sha256
        kept.append((url, remote))
    for label, cause in answers.errors:
        if isinstance(cause, MismatchError):
            warn(left_out(label, cause))
    kept.sort(key=lambda answer: addresses.index(answer[0]))
    # A server that does not answer now may answer later.
    failed = [label for label, cause in answers.errors if not isinstance(cause, RemoteFailureError)]
    asked = [url for url, _remote in answers.found]
    others = [url for url, _remote in kept[1:]]
    others += [url for url in addresses if url not in asked and public_url(url) not in failed]
    url, remote = kept[0]
    return replace(wanted, size=size, sha256=sha256, tag=remote.tag, url=url, others=tuple(others), sized_by=sized_by)


def left_out(label: str, error: HerdError) -> str:
    """Return the warning about an address that has another file."""
    return f"{label} is left out: expected {error.expected}, found {error.found}."


def refuse_pointer(label: str, opening: bytes) -> None:
    """Refuse a file that begins as a Git LFS pointer does."""
    if opening.startswith(POINTER):
        raise MismatchError(
            f"a model's file from {label}",
            "a Git LFS pointer, a short text that stands for the file in its repository",
            "use the address of the file itself: on the hub /resolve/ instead of /raw/; in a clone, run git lfs pull",
        )


def agree(what: str, where: str, wanted: object, published: object) -> None:
    """Refuse two known values that differ."""
    if wanted is not None and published is not None and wanted != published:
        raise (OtherSizeError if what == "size" else MismatchError)(
            f"{what} {wanted} of {where}",
            f"{published} on the server",
            "correct the inventory if the publisher replaced the file, or choose the intended revision",
        )


def combined(errors: Sequence[tuple[str, HerdError]]) -> HerdError:
    """Combine the errors of several addresses: the last one's, the publisher's, with the causes of the others."""
    _label, last = errors[-1]
    if len(errors) == 1:
        return last
    before = "; ".join(f"{label}: {error.found}" for label, error in errors[:-1])
    return type(last)(last.expected, f"{last.found} (and before that, {before})", last.remedy)
