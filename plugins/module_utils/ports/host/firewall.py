# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""nftables and firewalld of this host, through their commands."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.errors import InvalidInputError, NotFoundError
from ...core.host import unit_syntax
from .. import commands, files, systemd

#: A file of cgroup v2. It is elsewhere, or missing, where controllers of v1 are mounted too.
CGROUP2 = Path("/sys/fs/cgroup/cgroup.controllers")
_PLACES = "/usr/sbin:/sbin:/usr/bin:/bin"


def limits_units() -> bool:
    """Return whether systemd can limit the addresses of a unit (C(IPAddressDeny)), which needs cgroup v2 alone."""
    return CGROUP2.exists()


def nft_program() -> str:
    """Return the path of nft, which is often not in the search path; empty if it is not installed."""
    return shutil.which("nft", path=_PLACES) or ""


@dataclass(frozen=True)
class NftTable:
    """A table of this collection: its name, the chain that identifies its rules, its unit, and its two files."""

    name: str
    marker: str
    unit: str
    ruleset_path: str
    ruleset: str
    unit_text: str


def install_table(table: NftTable, check_mode: bool) -> dict[str, Any]:
    """Write the files that differ, load the rules into the kernel, enable the unit, and return the module's result."""
    unit_text = unit_syntax.supported(table.unit_text, systemd.version())
    texts = {table.ruleset_path: table.ruleset, str(systemd.UNIT_DIRECTORY / table.unit): unit_text}
    before = {path: files.read_text(Path(path)) for path in texts}
    stale = [path for path in texts if before[path] != texts[path]]
    state, is_loaded = systemd.show(table.unit), has_chain(table.name, table.marker)
    if not check_mode:
        if not nft_program():
            raise NotFoundError.plain("The program nft is not installed on this host", "install the package nftables")
        if table.ruleset_path in stale:
            check(table.ruleset)
        for path in stale:
            files.atomic_write(Path(path), texts[path])
        if any(path != table.ruleset_path for path in stale):
            systemd.reload()
        # Restarting the unit would also stop the worker, which is part of it. So nft loads the rules directly.
        if stale or not is_loaded:
            load(Path(table.ruleset_path))
        if not state.enabled:
            systemd.enable(table.unit)
        if state.active_state != "active":
            systemd.start(table.unit)
    diff = [{"before_header": p, "after_header": p, "before": before[p], "after": texts[p]} for p in stale]
    was = {"rules loaded": is_loaded, "loaded at boot": state.active_state == "active" and state.enabled}
    if not all(was.values()):
        shown = "".join(f"{name}: {'yes' if value else 'no'}\n" for name, value in was.items())
        diff.append({"before": shown, "after": shown.replace(": no", ": yes")})
    return {"changed": bool(diff), "loaded": is_loaded, "diff": diff}


def has_chain(table: str, chain: str) -> bool:
    program = nft_program()
    return bool(program) and commands.run([program, "list", "chain", "inet", table, chain]).rc == 0


def check(text: str) -> None:
    """Let nft check a ruleset without loading it.

    :raises InvalidInputError: if nft rejects it.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".nft", encoding="utf-8") as scratch:
        scratch.write(text)
        scratch.flush()
        answer = commands.run([nft_program(), "-c", "-f", scratch.name])
    if answer.rc != 0:
        raise InvalidInputError(
            "a ruleset that nft accepts", answer.err.strip(), "correct the addresses in the inventory"
        )


def load(path: Path) -> None:
    commands.run_checked([nft_program(), "-f", str(path)], "check that the kernel has nf_tables (modprobe nf_tables)")


def _firewall_cmd(*words: str) -> str:
    return commands.run_checked(["firewall-cmd", *words], "read journalctl -u firewalld").strip()


def firewalld_runs() -> bool:
    return shutil.which("firewall-cmd", path=_PLACES) is not None and commands.run(["firewall-cmd", "--state"]).rc == 0


def firewalld_zone(interface: str) -> str:
    """Return the zone of an interface, or the default zone if the interface has none."""
    # Without a zone, firewall-cmd exits with status 2.
    answer = commands.run(["firewall-cmd", f"--get-zone-of-interface={interface}"]) if interface else None
    return answer.out.strip() if answer and answer.rc == 0 else _firewall_cmd("--get-default-zone")


def firewalld_zones() -> list[str]:
    return _firewall_cmd("--get-zones").split()


def firewalld_rules(zone: str) -> dict[bool, list[str]]:
    """Return the rich rules of a zone: those of the runtime (False) and the permanent ones (True)."""
    listing = (f"--zone={zone}", "--list-rich-rules")
    return {False: _firewall_cmd(*listing).splitlines(), True: _firewall_cmd("--permanent", *listing).splitlines()}


def firewalld_change(
    zone: str, permanent: bool, remove: Sequence[str] = (), add: Sequence[str] = (), seconds: int = 0
) -> None:
    """Remove and add rich rules, either runtime or permanent.

    :param seconds: time after which firewalld removes the added rules; 0 keeps them.
    """
    words = ["--quiet", *(["--permanent"] if permanent else []), f"--zone={zone}"]
    if remove:
        _firewall_cmd(*words, *(f"--remove-rich-rule={rule}" for rule in remove))
    if add:
        limit = [f"--timeout={seconds}"] if seconds else []
        _firewall_cmd(*words, *limit, *(f"--add-rich-rule={rule}" for rule in add))
