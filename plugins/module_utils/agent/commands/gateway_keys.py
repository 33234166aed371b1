# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""C(herdctl key): make, list and revoke the gateway's user keys."""

from __future__ import annotations

import argparse
import json
import secrets
from collections.abc import Collection
from pathlib import Path
from typing import Any

from ...core.errors import HerdError, InvalidInputError, NotFoundError
from ...core.gateway import user_keys
from ..common.atomic_files import write_whole
from ..common.output import write_error_line, write_line

KEYS, REVOKED = "/etc/herd/gateway/keys.json", "/etc/herd/gateway/revoked.json"


def read(path: str, name: str) -> list[Any]:
    """Read one of the two files; empty for a missing file."""
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
        if name == "revoked":
            return sorted(user_keys.parse_revoked(found))
        return list(found[name])
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError) as error:
        remedy = "run the role gateway" if name == "keys" else "remove it, and revoke the keys again"
        raise InvalidInputError(f"a file with {name} at {path}", str(error), remedy) from error


def write_revoked(path: str, ids: Collection[str]) -> None:
    """Write the ids of revoked keys in one step.

    The gateway may read the file: it names users, but holds no secret.
    """
    write_whole(Path(path), json.dumps({"revoked": sorted(ids)}) + "\n")


def new(arguments: argparse.Namespace) -> int:
    """Make a key. It is printed once and not stored."""
    key = user_keys.new_key(lambda: secrets.token_urlsafe(32))
    entry: dict[str, Any] = {"id": arguments.id, "sha256": user_keys.sha256(key)}
    for name in ("user", "project", "limits"):
        if getattr(arguments, name):
            entry[name] = getattr(arguments, name)
    if arguments.tier:
        entry["tiers"] = arguments.tier
    user_keys.parse([entry], {entry.get("limits", "default")}, arguments.tier)
    write_error_line("The key, for the user only; it is not stored:")
    write_line(key)
    write_error_line("Its entry for gateway_keys in the inventory:")
    # JSON is YAML.
    write_error_line(f"  - {json.dumps(entry)}")
    return 0


def list_keys(arguments: argparse.Namespace) -> int:
    """List all keys with their limits, tiers and state."""
    revoked = set(map(str, read(arguments.revoked, "revoked")))
    for entry in read(arguments.keys, "keys"):
        identity = str(entry["id"])
        state = "revoked here" if identity in revoked else str(entry["state"])
        tiers = ",".join(entry["tiers"]) or "all tiers"
        write_line(f"{identity}\t{entry['user']}\t{entry['limits']}\t{tiers}\t{state}")
    return 0


def revoke(arguments: argparse.Namespace) -> int:
    """Revoke a key on this host, at once."""
    if arguments.id not in {str(entry["id"]) for entry in read(arguments.keys, "keys")}:
        raise NotFoundError(f"a key {arguments.id}", "none of that id", "see herdctl key list")
    write_revoked(arguments.revoked, {*map(str, read(arguments.revoked, "revoked")), arguments.id})
    write_line(f"{arguments.id} is revoked on this host. Set state: revoked in the inventory to make it permanent.")
    return 0


def restore(arguments: argparse.Namespace) -> int:
    """Undo revoke."""
    write_revoked(arguments.revoked, set(map(str, read(arguments.revoked, "revoked"))) - {arguments.id})
    write_line(f"{arguments.id} has its state from the inventory again.")
    return 0


def key_command(arguments: argparse.Namespace) -> int:
    """Run the subcommand."""
    try:
        return int(arguments.act(arguments))
    except (OSError, KeyError, TypeError) as error:
        raise HerdError("to read and write the keys", str(error), "run it as root on the gateway's host") from error


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe C(herdctl key)."""
    key = commands.add_parser(
        "key",
        description="Only hashes of keys are stored. A revoked key is rejected within a tenth of a second.",
    )
    key.add_argument("--keys", default=KEYS, help="key file (default: %(default)s)")
    key.add_argument(
        "--revoked", default=REVOKED, help="file of keys that are revoked on this host (default: %(default)s)"
    )
    key.set_defaults(run=key_command)
    acts = key.add_subparsers(dest="act_name", required=True)
    made = acts.add_parser("new", help="make a key and its entry for the inventory")
    made.add_argument("id", help="names the key in the log, for example ann-2026")
    made.add_argument("--user", default="", help="the key's user (default: the id)")
    made.add_argument("--project", default="", help="the project that its usage counts for (default: none)")
    made.add_argument("--limits", default="", help="class of limits")
    made.add_argument(
        "--tier", action="append", default=[], help="a tier that it allows; repeat it for more (default: all)"
    )
    made.set_defaults(act=new)
    acts.add_parser("list", help="list keys with their limits, tiers and state").set_defaults(act=list_keys)
    for name, act, text in (
        ("revoke", revoke, "revoke a key on this host, at once"),
        ("restore", restore, "undo revoke"),
    ):
        parser = acts.add_parser(name, help=text)
        parser.add_argument("id")
        parser.set_defaults(act=act)
