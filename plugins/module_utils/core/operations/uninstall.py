# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What on a node is ours, so that removing it takes that and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..errors import InvalidInputError
from ..release.install import BUILD_ID

#: Every file that this collection writes outside its own folders says so in one of its first lines.
MARK = "herd.inference"
_FIRST_LINES = 3
_TABLE = re.compile(r"table (\w+) (herd_\w+)")
_SHARD = re.compile(r"(?P<stem>.+)-00001-of-(?P<count>\d{5})\.gguf")
#: Folders below the prefix, the inner ones first, with the names of what the roles make in them. The names of the
#: folders are everybody's: such a folder goes only when nothing else is in it.
PREFIX_ENTRIES = {
    "releases": re.compile(rf"{BUILD_ID.pattern}|\.incoming-.+"),
    "dist": re.compile(rf"\.?{BUILD_ID.pattern}\.(tar\.gz|json)(\.\d+\.tmp)?"),
    "build/sources": re.compile(r"[0-9a-f]{64}\.(archive|part)"),
    "build": re.compile(rf"{BUILD_ID.pattern}(\.lock)?"),
    "etc": re.compile(r"toolchain\.json|\.toolchain\.json\.\d+\.tmp"),
    "": re.compile(r"switch\.json|\.switch\.json\.\d+\.tmp"),
}
#: Links below the prefix, into its releases.
PREFIX_LINKS = re.compile(r"current|previous|\.(current|previous)\.\d+\.tmp")
#: Comments of the accounts that the roles node and gateway make.
ACCOUNT = "herd.inference services"
GATEWAY_ACCOUNT = "herd.inference gateway"
#: Folders below the shared directory of a Slurm cluster, with the names of what jobs write in them: their signs of life
#: and logs, which they themselves remove by these names when they are old.
SHARED_ENTRIES = {
    "ai/endpoints": re.compile(r"\.?[a-z][a-z0-9-]{0,31}-\d{1,12}\.json(\.\d+)?"),
    "ai/logs": re.compile(r"\d{1,12}|slurm-\d{1,12}\.out"),
}
#: Where the scripts of jobs are below it, and all folders that the role slurm_tiers makes there, the inner ones first.
SHARED_SCRIPTS = "scripts/llama-cpp"
SHARED_FOLDERS = (SHARED_SCRIPTS, "scripts", *SHARED_ENTRIES, "ai")
#: Files in nginx's folder C(herd), which the role gateway and its service make.
NGINX_FILES = ("locations.conf", "taken.conf", "cors.conf", "upstreams.conf", "clients.conf", "engine-key.conf")


def is_ours(text: str) -> bool:
    """Say whether a file was written by this collection."""
    return any(MARK in line for line in text.splitlines()[:_FIRST_LINES])


def our_tables(listing: str) -> list[tuple[str, str]]:
    """Name our tables, family and name, in what C(nft list tables) prints."""
    return list(_TABLE.findall(listing))


def is_pointer(name: str, content: Any) -> bool:
    """Say whether a file in C(dist/) names the newest build of the release after which it is called."""
    build = str(content.get("id", "")) if isinstance(content, dict) else ""
    return bool(BUILD_ID.fullmatch(build)) and build.startswith(f"{name.removesuffix('.json')}-")


def is_release(name: str, manifest: Any) -> bool:
    """Say whether a folder of this name holds a release, from what its manifest says; a damaged one says nothing."""
    is_named = bool(BUILD_ID.fullmatch(name))
    return is_named and (not isinstance(manifest, dict) or manifest.get("id", name) == name)


def check_prefix(path: str) -> str:
    """Stop at a folder that cannot be meant."""
    parts = [part for part in path.split("/") if part]
    if not path.startswith("/") or len(parts) < 2 or ".." in parts:
        raise InvalidInputError(
            "an absolute path of two parts or more, such as /opt/llama.cpp", path or "nothing", "correct the inventory"
        )
    return path


def our_scripts(texts: Mapping[str, str]) -> list[str]:
    """Name the scripts of jobs that are ours among these files, each with its data, which cannot say whose it is.

    :param texts: how each file begins, by its name.
    """
    scripts = [name for name, text in texts.items() if not name.endswith(".json") and is_ours(text)]
    return sorted([*scripts, *(f"{name}.json" for name in scripts if f"{name}.json" in texts)])


def model_files(there: Iterable[str], files: Sequence[str]) -> list[str]:
    """Name what belongs to these models among the names in a folder: shards, and what a fetch keeps beside them."""
    patterns = []
    for file in files:
        shard = _SHARD.fullmatch(file)
        name = rf"{re.escape(shard['stem'])}-\d{{5}}-of-{shard['count']}\.gguf" if shard else re.escape(file)
        patterns.append(re.compile(rf"{name}|\.{name}\.[\w.-]+"))
    return sorted(name for name in there if any(pattern.fullmatch(name) for pattern in patterns))
