# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The users' keys of the gateway, for the operator: make one, list them, and take one out at once."""

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
    """Read one of the two files; nothing where there is none."""
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
        if name == "revoked":
            return sorted(user_keys.parse_revoked(found))
        return list(found[name])
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError) as error:
        remedy = "run the role gateway" if name == "keys" else "take it away, and revoke again"
        raise InvalidInputError(f"a file with {name} at {path}", str(error), remedy) from error


def write_revoked(path: str, ids: Collection[str]) -> None:
    """Write the ids that open nothing, in one step; the gateway may read them."""
    # It names users, and holds no secret.
    write_whole(Path(path), json.dumps({"revoked": sorted(ids)}) + "\n")


def new(arguments: argparse.Namespace) -> int:
    """Make a key. It is shown once, and kept nowhere."""
    key = user_keys.new_key(lambda: secrets.token_urlsafe(32))
    entry: dict[str, Any] = {"id": arguments.id, "sha256": user_keys.sha256(key)}
    for name in ("user", "limits"):
        if getattr(arguments, name):
            entry[name] = getattr(arguments, name)
    if arguments.tier:
        entry["tiers"] = arguments.tier
    user_keys.parse([entry], {entry.get("limits", "default")}, arguments.tier)
    write_error_line("The key, for the user alone; it is shown once and kept nowhere:")
    write_line(key)
    write_error_line("Its entry for gateway_keys in the inventory:")
    # JSON is YAML.
    write_error_line(f"  - {json.dumps(entry)}")
    return 0


def list_keys(arguments: argparse.Namespace) -> int:
    """List ids and what they open."""
    revoked = set(map(str, read(arguments.revoked, "revoked")))
    for entry in read(arguments.keys, "keys"):
        identity = str(entry["id"])
        state = "revoked here" if identity in revoked else str(entry["state"])
        tiers = ",".join(entry["tiers"]) or "all tiers"
        write_line(f"{identity}\t{entry['user']}\t{entry['limits']}\t{tiers}\t{state}")
    return 0


def revoke(arguments: argparse.Namespace) -> int:
    """Take a key out, at once and on this host."""
    if arguments.id not in {str(entry["id"]) for entry in read(arguments.keys, "keys")}:
        raise NotFoundError(f"a key {arguments.id}", "none of that id", "see herdctl key list")
    write_revoked(arguments.revoked, {*map(str, read(arguments.revoked, "revoked")), arguments.id})
    write_line(f"{arguments.id} opens nothing any more. Give it state: revoked in the inventory, so that it lasts.")
    return 0


def restore(arguments: argparse.Namespace) -> int:
    """Take back what revoke did."""
    write_revoked(arguments.revoked, set(map(str, read(arguments.revoked, "revoked"))) - {arguments.id})
    write_line(f"{arguments.id} is what the inventory says.")
    return 0


def key_command(arguments: argparse.Namespace) -> int:
    """Run one of them."""
    try:
        return int(arguments.act(arguments))
    except (OSError, KeyError, TypeError) as error:
        raise HerdError("to read and write the keys", str(error), "run it as root, on the gateway's host") from error


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe C(herdctl key)."""
    key = commands.add_parser(
        "key",
        description="Keys are kept as hashes only. What is revoked here opens nothing within a tenth of a second.",
    )
    key.add_argument("--keys", default=KEYS, help="file of the keys (default: %(default)s)")
    key.add_argument("--revoked", default=REVOKED, help="file of what is revoked on this host (default: %(default)s)")
    key.set_defaults(run=key_command)
    acts = key.add_subparsers(dest="act_name", required=True)
    made = acts.add_parser("new", help="make a key, and the entry of the inventory for it")
    made.add_argument("id", help="what stands in the log, such as ann-2026")
    made.add_argument("--user", default="", help="whose it is, if the id does not say so")
    made.add_argument("--limits", default="", help="class of limits")
    made.add_argument("--tier", action="append", default=[], help="a tier that it opens; may be given more than once")
    made.set_defaults(act=new)
    acts.add_parser("list", help="list ids and what they open").set_defaults(act=list_keys)
    for name, act, text in (("revoke", revoke, "take a key out at once"), ("restore", restore, "take that back")):
        parser = acts.add_parser(name, help=text)
        parser.add_argument("id")
        parser.set_defaults(act=act)
