# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reject wrong content during a transfer, and build the errors that say so."""

from __future__ import annotations

from ..errors import MismatchError
from .identity import RemoteFile
from .parts import Target
from .sources import agree, refuse_pointer
from .transfer_state import Address, PartRequest, PartState

MAGIC = b"GGUF"


def check_identity(part: PartState, address: Address, remote: RemoteFile) -> None:
    """Reject the content of another file."""
    unknown = remote.tag is None and part.segment.sha256 is not None
    if address.has_tag and remote.tag != address.tag and not unknown:
        raise MismatchError(
            f"the same {address.label} as before (ETag {address.tag}, {part.size} bytes)",
            f"ETag {remote.tag}, {remote.size} bytes",
            "the file was replaced while it was fetched: run again to fetch the new one",
        )
    agree("size", address.label, part.size, remote.size)
    agree("sha256", address.label, part.segment.sha256, remote.sha256)


def check_magic(request: PartRequest, data: bytes) -> None:
    """Reject received bytes if they are at the start of the file and not of a GGUF file, or of a pointer to one."""
    if request.position == 0:
        refuse_pointer(request.address.label, data)
    at = request.base + request.position
    wanted = MAGIC[at : at + len(data)]
    if data[: len(wanted)] == wanted:
        return
    opening = data[:40].lstrip()
    page = " (a web page, such as one that asks for a login)" if opening[:1] == b"<" else ""
    raise MismatchError(
        f"a GGUF file, which begins with the letters GGUF, from {request.address.label}",
        f"{opening!r}{page}",
        "open the address by hand; a gated model needs a token",
    )


def wrong_size(target: Target, size: int) -> MismatchError:
    """Build the error of a file of another size."""
    return MismatchError(
        f"{target.size} bytes in {target.name}",
        str(size),
        "the file was removed; compare the size with the publisher's and run again",
    )


def wrong_part(part: PartState, found: str) -> MismatchError:
    """Build the error of a part with another checksum."""
    return MismatchError(
        f"sha256 {part.segment.sha256} of {part.addresses[0].label}",
        found,
        "its bytes were removed and are fetched again next time; if it happens twice, compare the checksum"
        " with the publisher's",
    )


def wrong_file(target: Target, found: str) -> MismatchError:
    """Build the error of a file with another checksum."""
    return MismatchError(
        f"sha256 {target.sha256} of the whole {target.name}",
        found,
        "compare the checksum with the publisher's; all parts were removed and are fetched again next time",
    )
