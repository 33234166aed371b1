# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the model entries of the inventory, and lock them to exact bytes.

An entry names its files in one of two ways: C(source) with addresses, or C(repository) with C(files) on a hub. The lock
holds the facts that the hub publishes: commit, sizes, checksums and the model's metadata. It lies in its own file
beside the entries, and is valid as long as the entry names the same files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from ..download import part_names
from ..download.identity import RemoteFile
from ..download.parts import SHARD, plan_targets
from ..errors import HerdError, InvalidInputError, MismatchError

HUB = "https://huggingface.co"
COMMIT = re.compile(r"[0-9a-f]{40}")
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
JOINS = ("none", "parts", "shards")
_FILE_KEYS = {"file", "size", "sha256"}
_SOURCE_KEYS = {"url", "parts", "shards"}


def file_names(entry: Mapping[str, Any]) -> list[str]:
    """List the paths of an entry's files in its repository."""
    return [str(file["file"]) for file in entry.get("files") or ()]


def revision_of(entry: Mapping[str, Any]) -> str:
    """Return the commit of an entry, or else its branch."""
    return str(entry.get("revision") or entry.get("branch") or "main")


def file_url(hub: str, repository: str, revision: str, name: str) -> str:
    """Build the URL of a file on a hub."""
    return f"{hub.rstrip('/')}/{quote(repository)}/resolve/{quote(revision, safe='')}/{quote(name)}"


def join_of(entry: Mapping[str, Any]) -> str:
    """Return how the files make up a model: by the entry, or else by their names."""
    names = [name.rsplit("/", 1)[-1] for name in file_names(entry)]
    if entry.get("join"):
        return str(entry["join"])
    if all(part_names.is_part(name) for name in names):
        return "parts"
    if all(SHARD.fullmatch(name) for name in names):
        return "shards"
    if len(names) == 1:
        return "none"
    raise InvalidInputError(
        "join: parts or join: shards for files whose names do not tell which they are",
        ", ".join(names),
        "set join: parts for pieces of one file, or join: shards for separate files",
    )


def _pieces(entry: Mapping[str, Any], hubs: Sequence[str]) -> list[dict[str, Any]]:
    """List an entry's files with their addresses. The last hub is the publisher's; the others are its mirrors."""
    revision = revision_of(entry)
    pieces: list[dict[str, Any]] = []
    for file in entry["files"]:
        urls = [file_url(hub, str(entry["repository"]), revision, str(file["file"])) for hub in hubs]
        piece: dict[str, Any] = {"url": urls[-1]}
        if urls[:-1]:
            piece["mirrors"] = urls[:-1]
        pieces.append({**piece, **{key: file[key] for key in ("size", "sha256") if file.get(key) is not None}})
    return pieces


def options_of(entry: Mapping[str, Any], hubs: Sequence[str] = (HUB,)) -> dict[str, Any]:
    """Convert a model entry to options of gguf_fetch, with the name of its file.

    :param hubs: base URLs, asked in this order; the last one is the publisher's, and the only one that gets the token.
    """
    _check_form(entry)
    whole = {key: entry[key] for key in ("size", "sha256") if entry.get(key) is not None}
    if entry.get("source"):
        return {"file": entry["file"], **entry["source"], **whole, **_joined(entry)}
    _need(hubs, "at least one hub in herd_model_hub", "none", "name the hub, or leave the variable out")
    join, pieces = join_of(entry), _pieces(entry, hubs)
    if join == "shards":
        return {"file": entry["file"], "shards": pieces}
    if join == "parts":
        return {"file": entry["file"], "parts": pieces, **whole, **_joined(entry)}
    (piece,) = pieces
    known: dict[str, Any] = {key: piece.pop(key) for key in ("size", "sha256") if key in piece}
    # Only a part can have its own mirrors, so the model becomes a single part.
    address: dict[str, Any] = {"parts": [piece]} if "mirrors" in piece else piece
    return {"file": entry["file"], **address, **whole, **known}


def _joined(entry: Mapping[str, Any]) -> dict[str, str]:
    """Return the option that makes parts of files with the names of shards, if the entry says so."""
    return {"join": "parts"} if entry.get("join") == "parts" else {}


def _need(condition: object, expected: str, found: str, remedy: str) -> None:
    if not condition:
        raise InvalidInputError(expected, found, remedy)


def _check_form(entry: Mapping[str, Any]) -> None:
    """Refuse an entry that does not name its files clearly."""
    _need(isinstance(entry, Mapping), "a mapping", type(entry).__name__, "see docs/reference/models.md")
    _need(entry.get("file"), "a value for file", "none", "complete its entry in herd_models")
    name = str(entry["file"])
    _need("/" not in name, "file to be a name without a folder", name, "write the folder under files")
    source, files = entry.get("source"), entry.get("files")
    given = " and ".join(key for key in ("source", "repository", "files") if entry.get(key))
    _need(
        bool(source) != bool(files) and bool(files) == bool(entry.get("repository")),
        "either a source with addresses, or a repository and files",
        given or "none of them",
        "keep the one that applies",
    )
    if source:
        _need(
            isinstance(source, Mapping) and set(source) <= _SOURCE_KEYS,
            "url, parts or shards as source",
            ", ".join(source) if isinstance(source, Mapping) else type(source).__name__,
            "correct its entry",
        )
        return
    _need(
        REPOSITORY.fullmatch(str(entry["repository"])),
        "a repository as owner/name",
        repr(entry["repository"]),
        "copy it from the hub's page",
    )
    revision = entry.get("revision")
    _need(
        revision is None or COMMIT.fullmatch(str(revision)),
        "a commit (40 hexadecimal digits) as revision",
        f"{revision!r}, a name that may move",
        "write it as branch and run playbooks/lock_models.yml, which finds the commit",
    )
    _check_files(entry, files)


def _check_files(entry: Mapping[str, Any], files: Any) -> None:
    """Refuse files that cannot be one model, except for the cases that plan_targets() refuses."""
    is_list = isinstance(files, Sequence) and not isinstance(files, str)
    _need(
        is_list and all(isinstance(file, Mapping) and file.get("file") for file in files),
        "files as a list, each with its name as file",
        repr(files),
        "see docs/reference/models.md",
    )
    for file in files:
        unknown = ", ".join(sorted(set(file) - _FILE_KEYS))
        _need(not unknown, f"file, size and sha256 of {file['file']}", unknown, "correct the key")
    join = join_of(entry)
    _need(join in JOINS, f"join to be one of {', '.join(JOINS)}", repr(join), "correct its entry")
    _need(
        join != "none" or len(files) == 1,
        "one file, as there is nothing to join",
        f"{len(files)} files",
        "write join: parts or join: shards",
    )
    _need(
        join != "shards" or entry.get("sha256") is None,
        "a sha256 at each shard",
        "one of the whole model, which is not one file",
        "move it to the entries of files",
    )
    sizes = [file.get("size") for file in files]
    if entry.get("size") is not None and all(sizes):
        total = sum(map(int, sizes))
        _need(
            total == int(entry["size"]),
            f"the sizes of the files to add up to size {entry['size']}",
            f"{total} bytes",
            "compare both with what the publisher shows",
        )
    if len(files) == 1 and entry.get("sha256") and files[0].get("sha256"):
        _need(
            entry["sha256"] == files[0]["sha256"], "one sha256 of the file", "two different ones", "keep the right one"
        )


def check(entry: Mapping[str, Any]) -> None:
    """Refuse an entry that cannot be fetched."""
    options = options_of(entry)
    _need(entry.get("name"), "a value for name", "none", "complete its entry in herd_models")
    plan_targets(f"/{options.pop('file')}", **options)


def problems(key: str, entry: Any) -> list[str]:
    """List the problems of one entry, as sentences."""
    try:
        check(entry)
    except HerdError as error:
        return [f"model {key}: {error}"]
    except (KeyError, TypeError, ValueError) as error:
        return [f"model {key}: expected an entry as in docs/reference/models.md, found {error!r}: correct its entry."]
    return []


def is_of(lock: Mapping[str, Any], entry: Mapping[str, Any]) -> bool:
    """Return whether a lock is of the files that an entry names."""
    return (
        lock.get("repository") == entry.get("repository")
        and file_names(lock) == file_names(entry)
        and entry.get("revision") in (None, lock.get("revision"))
    )


def merge(entries: Mapping[str, Any], locks: Mapping[str, Any]) -> dict[str, Any]:
    """Add the locks to the entries; ignore a lock of other files."""
    merged: dict[str, Any] = {}
    for key, entry in entries.items():
        found = locks.get(key)
        known = isinstance(found, Mapping) and isinstance(entry, Mapping) and is_of(found, entry)
        merged[key] = {**entry, **found} if known and found else entry
    return merged


def is_locked(entry: Mapping[str, Any]) -> bool:
    """Return whether commit, sizes and checksums of an entry are known."""
    files = entry.get("files") or ()
    return bool(entry.get("revision")) and all(file.get("size") and file.get("sha256") for file in files)


def lock(entry: Mapping[str, Any], remotes: Sequence[RemoteFile]) -> dict[str, Any]:
    """Build the lock of an entry from the facts that the hub publishes.

    :param remotes: the entry's files as the hub describes them.
    """
    files: list[dict[str, Any]] = []
    for file, remote in zip(entry["files"], remotes):
        if remote.size is None or remote.sha256 is None or not COMMIT.fullmatch(remote.commit or ""):
            raise InvalidInputError(
                f"the hub to publish commit, size and SHA-256 of {file['file']}",
                f"commit {remote.commit}, size {remote.size}, SHA-256 {remote.sha256}",
                "compare the name with the hub's list of files, or write the figures into the entry by hand",
            )
        found = {"file": str(file["file"]), "size": remote.size, "sha256": remote.sha256}
        _agree(str(file["file"]), file, found)
        files.append(found)
    commits = sorted({str(remote.commit) for remote in remotes})
    if len(commits) != 1:
        raise MismatchError(
            "all files in one commit", " and ".join(commits), "the repository changed meanwhile: run again"
        )
    size = sum(int(file["size"]) for file in files)
    whole = {"size": size, **({"sha256": files[0]["sha256"]} if len(files) == 1 else {})}
    _agree(str(entry["file"]), entry, whole)
    if entry.get("revision") not in (None, commits[0]):
        raise MismatchError(f"commit {entry['revision']}", commits[0], "the hub serves another commit: check its page")
    return {"repository": str(entry["repository"]), "revision": commits[0], "files": files, "size": size}


def _agree(name: str, written: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Refuse facts of the hub that differ from those in the entry."""
    for key in ("size", "sha256"):
        if written.get(key) is not None and key in found and written[key] != found[key]:
            raise MismatchError(
                f"the {key} of {name} in the entry, {written[key]}",
                f"{found[key]} on the hub",
                "the file was replaced: correct the entry, or set revision to the commit that has the old one",
            )


def with_metadata(
    entry: Mapping[str, Any], found: Mapping[str, Any], metadata: Mapping[str, Any], layers: int
) -> dict[str, Any]:
    """Add the metadata of the model's header to a lock.

    :param layers: number of layers in the metadata.
    """
    if entry.get("layers") and int(entry["layers"]) != layers:
        raise MismatchError(
            f"layers: {layers} in the entry, as the header of {entry['file']} says",
            f"layers: {entry['layers']}",
            "correct the entry",
        )
    return {**found, "metadata": dict(metadata)}
