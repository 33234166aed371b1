# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan the installation of a release on a node."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..download.identity import SHA256
from ..errors import InvalidInputError
from .toolchain import check_driver

BUILD_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._]*-[a-z0-9_]+-[0-9a-f]{8}")
FILE_NAME = re.compile(r"(?:[A-Za-z0-9_+][A-Za-z0-9._+-]*/)*[A-Za-z0-9_+][A-Za-z0-9._+-]*")
# For folders, partly filled blocks, and logs that are written during the installation.
RESERVE_MIB = 64


@dataclass(frozen=True)
class InstallPlan:
    """The remaining steps, in their order."""

    fetch: bool
    link: bool
    prune: tuple[str, ...]

    @property
    def changes(self) -> bool:
        return self.fetch or self.link or bool(self.prune)


def release_ids(names: Iterable[str]) -> list[str]:
    """Return the names in C(releases/) that are ids of releases. The other entries belong to the operator."""
    return [name for name in names if BUILD_ID.fullmatch(name)]


def check_manifest(manifest: Mapping[str, Any]) -> None:
    """Check the id and the names in a manifest, which become paths on the node."""
    if not BUILD_ID.fullmatch(str(manifest.get("id", ""))):
        raise _malformed(f"id {manifest.get('id')!r}")
    tarball = manifest.get("tarball") or {}
    has_name = tarball.get("name") == f"{manifest['id']}.tar.gz"
    if not has_name or not SHA256.fullmatch(str(tarball.get("sha256", ""))):
        raise _malformed(f"tarball {dict(tarball)!r}")
    for name in manifest.get("files") or {}:
        if not FILE_NAME.fullmatch(name):
            raise _malformed(f"the file name {name!r}")
    if not manifest.get("files"):
        raise _malformed("no files")


def _malformed(found: str) -> InvalidInputError:
    return InvalidInputError(
        expected="a manifest of the module llama_build",
        found=found,
        remedy="run the role llama_build, which replaces a damaged manifest",
    )


def space_mib(manifest: Mapping[str, Any]) -> int:
    """Return the MiB that an installation needs for the tarball and its content at the same time."""
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
    """Return the remaining steps.

    :param whole: whether the wanted release is installed and each file matches the manifest.
    :param installed: names of all folders of releases on the node, oldest first. Names that are no ids are ignored.
    :param keep: number of releases to keep besides the wanted one.
    :param previous: id of the release before the current one, which is always kept.
    """
    # The former release is the target of a rollback, and is kept regardless of its age.
    first_back = previous if current == wanted else current
    protected = {wanted, first_back, *in_use}
    others = [release for release in release_ids(installed) if release not in (wanted, first_back)]
    others += [first_back] if first_back is not None and first_back in installed and first_back != wanted else []
    surplus = others[: max(0, len(others) - keep)]
    return InstallPlan(
        fetch=not whole,
        link=current != wanted,
        prune=tuple(release for release in surplus if release not in protected),
    )


def driver_note(manifest: Mapping[str, Any], driver: str | None) -> str | None:
    """Check that this node's driver supports the release, and return a restriction if there is one.

    A node without a driver has no GPU, and needs none.
    """
    cuda = manifest.get("cuda")
    if not cuda or not driver:
        return None
    return check_driver(str(cuda["version"]), driver)


def parse_driver(proc_version: str) -> str | None:
    """Read the driver's version from the text of C(/proc/driver/nvidia/version)."""
    found = re.search(r"^NVRM version: .*?\s(\d+\.\d+(?:\.\d+)?)\s", proc_version, re.MULTILINE)
    return found.group(1) if found else None
