# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check entries of the catalogue of releases, and derive the location of the source.

The entries are data of the role llama_build, merged with the operator's own entries.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from ..download.identity import SHA256
from ..download.parts import file_name
from ..errors import InvalidInputError, NotFoundError

COMMIT = re.compile(r"[0-9a-f]{7,40}")
FULL_COMMIT = re.compile(r"[0-9a-f]{40}")
PROTOCOL = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+")
KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._]*")
PACKINGS = ("tree", "git_bundle")
REQUIRED = ("commit", "rpc_protocol", "programs", "targets", "dialect")


def select(catalogue: Mapping[str, Mapping[str, Any]], key: str) -> dict[str, Any]:
    """Return the checked entry of a release, with its key as C(release)."""
    if key not in catalogue:
        raise NotFoundError(
            expected=f"herd_release to name one of the releases {', '.join(sorted(catalogue))}",
            found=repr(key),
            remedy="choose one of them, or add this one to llama_build_extra_releases",
        )
    entry = {"release": key, "advisories": [], "defects": [], "cmake": {}, "archives": [], **catalogue[key]}
    _check(key, entry)
    return entry


def _check(key: str, entry: Mapping[str, Any]) -> None:
    missing = [name for name in REQUIRED if not entry.get(name)]
    if missing:
        raise _malformed(key, f"no {' and no '.join(missing)}")
    if not KEY.fullmatch(key):
        raise _malformed(key, "a name with other characters than letters, digits, dot and underscore")
    if not COMMIT.fullmatch(str(entry["commit"])):
        raise _malformed(key, f"commit {entry['commit']!r}, which is not 7 to 40 hexadecimal digits")
    if not PROTOCOL.fullmatch(str(entry["rpc_protocol"])):
        raise _malformed(key, f"rpc_protocol {entry['rpc_protocol']!r}, which is not like 7.0.0")
    for role in ("head", "worker"):
        if role not in entry["programs"]:
            raise _malformed(key, f"no program called {role}")
    for archive in entry["archives"]:
        _check_archive(key, archive)


def _check_archive(key: str, archive: Mapping[str, Any]) -> None:
    if not SHA256.fullmatch(str(archive.get("sha256", ""))):
        raise _malformed(key, f"an archive whose sha256 is {archive.get('sha256')!r}")
    if archive.get("packing") not in PACKINGS:
        raise _malformed(key, f"an archive whose packing is {archive.get('packing')!r}, not {' or '.join(PACKINGS)}")
    if not archive.get("file") or not archive.get("inner_path"):
        raise _malformed(key, "an archive without file or inner_path")


def _malformed(key: str, found: str) -> InvalidInputError:
    return InvalidInputError(
        expected=f"a complete catalogue entry for release {key}",
        found=found,
        remedy="compare it with the entries of the role llama_build, and correct llama_build_extra_releases",
    )


def release_facts(
    entries: Mapping[str, Mapping[str, Any]], release: str, acknowledged: Iterable[str] = ()
) -> dict[str, Any]:
    """Return the checked entry of a release. C(acknowledged) must list each of its advisories."""
    entry, known = select(entries, release), set(acknowledged)
    open_ones = [advisory for advisory in entry["advisories"] if advisory["id"] not in known]
    if open_ones:
        listed = "; ".join(f"{advisory['id']} ({advisory['means']})" for advisory in open_ones)
        raise InvalidInputError(
            expected=f"every advisory of release {release} to be named in herd_acknowledged_advisories",
            found=f"{len(open_ones)} that is not: {listed}" if len(open_ones) == 1 else f"these missing: {listed}",
            remedy="choose a release without them, or add these ids to the inventory if the risk is accepted",
        )
    return entry


def source(entry: Mapping[str, Any], kind: str, location: str = "", sha256: str = "") -> dict[str, Any]:
    """Return the location of a release's source.

    :param kind: C(git) or C(archive).
    :param location: repository for git, empty for that of the catalogue; URL or path of an archive.
    :param sha256: checksum of an archive, to select it by its content; empty to select it by its name.
    """
    if kind == "git":
        return _git(entry, location)
    if kind == "archive":
        return _archive(entry, location, sha256)
    raise InvalidInputError("llama_build_source to be git or archive", repr(kind), "write one of the two")


def _git(entry: Mapping[str, Any], location: str) -> dict[str, Any]:
    repository = location or entry.get("repository")
    if not repository or not FULL_COMMIT.fullmatch(str(entry["commit"])):
        raise InvalidInputError(
            expected=f"a repository and a full commit for release {entry['release']}, to fetch it with git",
            found=f"repository {repository!r}, commit {entry['commit']!r}",
            remedy="use llama_build_source: archive with one of " + _archive_names(entry),
        )
    return {"kind": "git", "repository": str(repository), "commit": str(entry["commit"])}


def _archive(entry: Mapping[str, Any], location: str, sha256: str) -> dict[str, Any]:
    if not location:
        raise InvalidInputError.plain(
            "llama_build_archive is empty",
            f"set it to the URL, or the path on the build host, of one of these: {_archive_names(entry)}",
        )
    name = file_name(location)
    chosen = [a for a in entry["archives"] if (a["sha256"] == sha256 if sha256 else a["file"] == name)]
    if not chosen:
        raise NotFoundError(
            expected=f"an archive that the catalogue knows for release {entry['release']}: {_archive_names(entry)}",
            found=sha256 or name,
            remedy="use one of them, or describe this one (file, sha256, inner_path, packing) under archives of "
            "that release in llama_build_extra_releases",
        )
    archive = chosen[0]
    is_url = urlsplit(location).scheme in ("http", "https")
    return {
        "kind": "archive",
        "url": location if is_url else "",
        "path": "" if is_url else location,
        "sha256": archive["sha256"],
        "inner_path": archive["inner_path"],
        "packing": archive["packing"],
        "commit": str(entry["commit"]),
    }


def _archive_names(entry: Mapping[str, Any]) -> str:
    return ", ".join(f"{a['file']} ({a.get('package', 'sha256 ' + a['sha256'])})" for a in entry["archives"]) or "none"
