# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What on a node is ours, so that removing it takes that and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from .errors import InvalidInputError

#: Every file that this collection writes outside its own folders says so in one of its first lines.
MARK = "herd.inference"
_FIRST_LINES = 3
_TABLE = re.compile(r"table (\w+) (herd_\w+)")
_SHARD = re.compile(r"(?P<stem>.+)-00001-of-(?P<count>\d{5})\.gguf")
#: What the roles make below the prefix of the releases.
PREFIX_ENTRIES = ("releases", "current", "previous", "dist", "build", "etc")
#: Comment of the account that the role node makes.
ACCOUNT = "herd.inference services"


def is_ours(text: str) -> bool:
    """Say whether a file was written by this collection."""
    return any(MARK in line for line in text.splitlines()[:_FIRST_LINES])


def our_tables(listing: str) -> list[tuple[str, str]]:
    """Name our tables, family and name, in what C(nft list tables) prints."""
    return list(_TABLE.findall(listing))


def check_prefix(path: str) -> str:
    """Stop at a folder that cannot be meant."""
    parts = [part for part in path.split("/") if part]
    if not path.startswith("/") or len(parts) < 2 or ".." in parts:
        raise InvalidInputError(
            "an absolute path of two parts or more, such as /opt/llama.cpp", path or "nothing", "correct the inventory"
        )
    return path


def model_files(there: Iterable[str], files: Sequence[str]) -> list[str]:
    """Name what belongs to these models among the names in a folder: shards, and what a fetch keeps beside them."""
    patterns = []
    for file in files:
        shard = _SHARD.fullmatch(file)
        name = rf"{re.escape(shard['stem'])}-\d{{5}}-of-{shard['count']}\.gguf" if shard else re.escape(file)
        patterns.append(re.compile(rf"{name}|\.{name}\.[\w.-]+"))
    return sorted(name for name in there if any(pattern.fullmatch(name) for pattern in patterns))
