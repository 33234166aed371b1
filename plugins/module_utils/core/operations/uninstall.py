# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Identify the files of this collection on a node, so that an uninstallation removes only those."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..download.parts import SHARD
from ..errors import InvalidInputError
from ..release.install import BUILD_ID

#: One of the first lines of each file that the collection writes outside its own folders contains this mark.
MARK = "herd.inference"
_FIRST_LINES = 3
_TABLE = re.compile(r"table (\w+) (herd_\w+)")
#: Names of the roles' files by folder below the prefix, inner folders first. Other programs may use folders of these
#: names too, so a folder is removed only if it is empty.
PREFIX_ENTRIES = {
    "releases": re.compile(rf"{BUILD_ID.pattern}|\.incoming-.+"),
    "dist": re.compile(rf"\.?{BUILD_ID.pattern}\.(tar\.gz|json)(\.\d+\.tmp)?"),
    "build/sources": re.compile(r"[0-9a-f]{64}\.(archive|part)"),
    "build": re.compile(rf"{BUILD_ID.pattern}(\.lock)?"),
    "etc": re.compile(r"toolchain\.json|\.toolchain\.json\.\d+\.tmp"),
    "": re.compile(r"switch\.json|\.switch\.json\.\d+\.tmp"),
}
#: Names of links below the prefix that point to a release.
PREFIX_LINKS = re.compile(r"current|previous|\.(current|previous)\.\d+\.tmp")
#: Folders of the collection alone.
FOLDERS = (
    "/etc/herd",
    "/opt/herd",
    "/run/herd",
    "/run/herd-gateway",
    "/run/herd-guard",
    "/var/lib/herd",
    "/var/lib/herd-gateway",
    "/var/lib/herd-tiers",
    "/var/cache/herd",
    "/var/log/herd",
)
#: The log of the gateway's site, and the beginning of the names of its rotated ones.
NGINX_LOGS = "/var/log/nginx/herd.log"
#: Links to herdctl in the search path.
LINKS = tuple(
    f"/usr/local/bin/{name}"
    for name in ("herdctl", "llama-cluster-monitor", "llama-model-selector", "llama-service-status")
)
#: Comments of the accounts that the roles node and gateway create.
ACCOUNT = "herd.inference services"
GATEWAY_ACCOUNT = "herd.inference gateway"
#: Names of the jobs' registry entries and logs by folder below the shared directory of a Slurm cluster. Jobs remove
#: their old files by these names too.
SHARED_ENTRIES = {
    "ai/endpoints": re.compile(r"\.?[a-z][a-z0-9-]{0,31}-\d{1,12}\.json(\.\d+)?"),
    "ai/logs": re.compile(r"\d{1,12}|slurm-\d{1,12}\.out"),
}
#: The folder of the jobs' scripts below it, and all folders that the role slurm_tiers creates there, inner ones first.
SHARED_SCRIPTS = "scripts/llama-cpp"
SHARED_FOLDERS = (SHARED_SCRIPTS, "scripts", *SHARED_ENTRIES, "ai")


def is_ours(text: str) -> bool:
    return any(MARK in line for line in text.splitlines()[:_FIRST_LINES])


def our_tables(listing: str) -> list[tuple[str, str]]:
    """Return family and name of the collection's tables in the output of C(nft list tables)."""
    return list(_TABLE.findall(listing))


def is_pointer(name: str, content: Any) -> bool:
    """Return whether a file in C(dist/) names the newest build of the release in its file name."""
    build = str(content.get("id", "")) if isinstance(content, dict) else ""
    return bool(BUILD_ID.fullmatch(build)) and build.startswith(f"{name.removesuffix('.json')}-")


def is_release(name: str, manifest: Any) -> bool:
    """Return whether a folder holds a release, by its name and manifest. A damaged manifest is ignored."""
    is_named = bool(BUILD_ID.fullmatch(name))
    return is_named and (not isinstance(manifest, dict) or manifest.get("id", name) == name)


def check_prefix(path: str) -> str:
    """Check that a folder cannot be a top-level folder of the system."""
    parts = [part for part in path.split("/") if part]
    if not path.startswith("/") or len(parts) < 2 or ".." in parts:
        raise InvalidInputError(
            "an absolute path of two parts or more, such as /opt/llama.cpp", repr(path), "correct the inventory"
        )
    return path


def our_scripts(texts: Mapping[str, str]) -> list[str]:
    """Return the names of the collection's job scripts, and of their data files, which have no mark.

    :param texts: beginning of each file by its name.
    """
    scripts = [name for name, text in texts.items() if not name.endswith(".json") and is_ours(text)]
    return sorted([*scripts, *(f"{name}.json" for name in scripts if f"{name}.json" in texts)])


def model_files(there: Iterable[str], files: Sequence[str]) -> list[str]:
    """Return the files of these models in a folder: shards, verification records and partial downloads."""
    patterns = []
    for file in files:
        shard = SHARD.fullmatch(file)
        name = rf"{re.escape(shard['stem'])}-\d{{5}}-of-{shard['count']}\.gguf" if shard else re.escape(file)
        patterns.append(re.compile(rf"{name}|\.{name}\.[\w.-]+"))
    return sorted(name for name in there if any(pattern.fullmatch(name) for pattern in patterns))
