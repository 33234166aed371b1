# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node has to do to run a release: from what is there and what should be there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import InvalidInputError
from .toolchain import check_driver

BUILD_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._]*-[a-z0-9_]+-[0-9a-f]{8}")
FILE_NAME = re.compile(r"(?:[A-Za-z0-9_+][A-Za-z0-9._+-]*/)*[A-Za-z0-9_+][A-Za-z0-9._+-]*")
# Room for folders, for blocks that are not full, and for logs while it is written.
RESERVE_MIB = 64


@dataclass(frozen=True)
class InstallPlan:
    """The steps that are left, in their order."""

    fetch: bool
    link: bool
    prune: tuple[str, ...]

    @property
    def changes(self) -> bool:
        """Whether there is anything to do."""
        return self.fetch or self.link or bool(self.prune)


def ours(names: Iterable[str]) -> list[str]:
    """Of the names in C(releases/) those of releases, damaged ones too; what else lies there is the operator's."""
    return [name for name in names if BUILD_ID.fullmatch(name)]


def check_manifest(manifest: Mapping[str, Any]) -> None:
    """A manifest whose names are only names: it decides which files are written where."""
    if not BUILD_ID.fullmatch(str(manifest.get("id", ""))):
        raise _malformed(f"id {manifest.get('id')!r}")
    tarball = manifest.get("tarball") or {}
    if not re.fullmatch(r"[0-9a-f]{64}", str(tarball.get("sha256", ""))) or tarball.get("name") != (
        f"{manifest['id']}.tar.gz"
    ):
        raise _malformed(f"tarball {dict(tarball)!r}")
    for name in manifest.get("files") or {}:
        if not FILE_NAME.fullmatch(name):
            raise _malformed(f"the file name {name!r}")
    if not manifest.get("files"):
        raise _malformed("no files")


def _malformed(found: str) -> InvalidInputError:
    return InvalidInputError(
        expected="a manifest as llama_build writes it",
        found=found,
        remedy="run the role llama_build again; it makes the manifest anew if it is damaged",
    )


def space_mib(manifest: Mapping[str, Any]) -> int:
    """MiB that installing takes: the tarball and what comes out of it, side by side for a moment."""
    unpacked = sum(int(facts.get("size", 0)) for facts in manifest["files"].values())
    return ((unpacked + int(manifest["tarball"]["size"])) >> 20) + RESERVE_MIB


def plan(
    wanted: str,
    whole: bool,
    current: str | None,
    installed: Sequence[str],
    in_use: Iterable[str],
    keep: int,
    previous: str | None = None,
) -> InstallPlan:
    """What is left to do.

    :param whole: the wanted release is there and every file is what the manifest says.
    :param installed: ids of all releases on the node, oldest first; other names neither count nor go.
    :param in_use: ids of releases that running programs come from, or that units name.
    :param keep: how many releases besides the wanted one stay, for going back.
    :param previous: the release that was current before this one; it always stays.
    """
    # The first one to go back to is the one that is current until now, however old it is.
    first_back = previous if current == wanted else current
    protected = {wanted, first_back, *in_use}
    others = [release for release in ours(installed) if release not in (wanted, first_back)]
    others += [first_back] if first_back is not None and first_back in installed and first_back != wanted else []
    surplus = others[: max(0, len(others) - keep)]
    return InstallPlan(
        fetch=not whole,
        link=current != wanted,
        prune=tuple(release for release in surplus if release not in protected),
    )


def driver_note(manifest: Mapping[str, Any], driver: str | None) -> str | None:
    """Stop if this node's driver cannot run the release; a note if it just can. A node without one has no GPU."""
    cuda = manifest.get("cuda")
    if not cuda or not driver:
        return None
    return check_driver(str(cuda["version"]), driver)


def parse_driver(proc_version: str) -> str | None:
    """The driver's version from C(/proc/driver/nvidia/version)."""
    found = re.search(r"^NVRM version: .*?\s(\d+\.\d+(?:\.\d+)?)\s", proc_version, re.MULTILINE)
    return found.group(1) if found else None
