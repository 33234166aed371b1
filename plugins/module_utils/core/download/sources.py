# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask servers and mirrors for the parts of a file, and compare their answers with the inventory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Optional, Protocol

from ..errors import HerdError, InvalidInputError, MismatchError
from .identity import LONGEST_POINTER, POINTER, RemoteFile, public_url
from .parts import Part, Target, url_identity

#: Receives the current step, its progress and its total; None if the total is unknown.
ReportProgress = Callable[[str, float, Optional[float]], None]


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
    """

    part: Part
    size: int | None
    sha256: str | None
    tag: str | None
    url: str = ""
    others: tuple[str, ...] = ()

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


def resolve(target: Target, client: SourceClient, checksums: bool, report: ReportProgress) -> list[Segment]:
    """Ask for every part, and refuse a wrong file before its first byte.

    :param checksums: whether every byte must be covered by a sha256.
    """
    covered = not checksums or target.sha256 is not None
    segments = [_resolve_part(segment, client, covered, report) for segment in given(target)]
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


def _resolve_part(wanted: Segment, client: SourceClient, covered: bool, report: ReportProgress) -> Segment:
    """Find the first address that has the part; ask further ones only for a checksum that is still needed."""
    addresses = wanted.part.addresses
    size, sha256 = wanted.size, wanted.sha256
    found: list[tuple[str, RemoteFile]] = []
    errors: list[tuple[str, HerdError]] = []
    for number, url in enumerate(addresses):
        if found and (sha256 is not None or covered):
            break
        label = public_url(url)
        report(f"asking for {label}", 0, None)
        try:
            remote = client.describe(url, number == len(addresses) - 1 and not found)
            if remote.size == 0:
                raise MismatchError(f"a model's file from {label}", "an empty file", "look for the file on its server")
            if remote.size is not None and remote.size <= LONGEST_POINTER:
                refuse_pointer(label, client.opening(url, LONGEST_POINTER))
            agree("size", label, size, remote.size)
            agree("sha256", label, sha256, remote.sha256)
        except HerdError as error:
            errors.append((label, error))
            continue
        found.append((url, remote))
        size, sha256 = remote.size if size is None else size, sha256 or remote.sha256
    if not found:
        raise combined(errors)
    url, remote = found[0]
    asked = [label for label, _error in errors] + [public_url(there) for there, _remote in found]
    rest = [there for there, _remote in found[1:]] + [there for there in addresses if public_url(there) not in asked]
    return replace(wanted, size=size, sha256=sha256, tag=remote.tag, url=url, others=tuple(rest))


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
        raise MismatchError(
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
