# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""nftables and firewalld of this host, through their own programs."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from ansible_collections.herd.inference.plugins.module_utils.core.errors import InvalidInputError, RemoteFailureError
from ansible_collections.herd.inference.plugins.module_utils.ports.commands import ask

_PLACES = "/usr/sbin:/sbin:/usr/bin:/bin"


def nft_program() -> str:
    """Find nft, which is often not in the search path of a plain user."""
    return shutil.which("nft", path=_PLACES) or ""


def has_chain(table: str, chain: str) -> bool:
    """Ask the kernel whether that chain is loaded."""
    program = nft_program()
    return bool(program) and ask([program, "list", "chain", "inet", table, chain]).rc == 0


def check(text: str) -> None:
    """Let nft read a ruleset without loading it."""
    with tempfile.NamedTemporaryFile("w", suffix=".nft", encoding="utf-8") as scratch:
        scratch.write(text)
        scratch.flush()
        answer = ask([nft_program(), "-c", "-f", scratch.name])
    if answer.rc != 0:
        raise InvalidInputError(
            "a ruleset that nft accepts", answer.err.strip(), "correct the addresses that it is made from"
        )


def load(path: Path) -> None:
    """Load a ruleset."""
    answer = ask([nft_program(), "-f", str(path)])
    if answer.rc != 0:
        raise RemoteFailureError(
            f"nft to load {path}", answer.err.strip(), "see that the kernel has nf_tables (modprobe nf_tables)"
        )


def firewalld_runs() -> bool:
    """Say whether firewalld is in charge of this host."""
    program = shutil.which("firewall-cmd", path=_PLACES)
    return program is not None and ask([program, "--state"]).rc == 0


def _firewall_cmd(*words: str) -> int:
    return ask(["firewall-cmd", "--quiet", *words]).rc


def firewalld_zone(interface: str) -> str:
    """Name the zone that an interface belongs to."""
    found = ask(["firewall-cmd", f"--get-zone-of-interface={interface}"]).out.strip()
    return found or ask(["firewall-cmd", "--get-default-zone"]).out.strip()


def firewalld_lacks(zone: str, rule: str) -> bool:
    """Say whether a rich rule is missing, now or after the next start of firewalld."""
    query = (f"--zone={zone}", f"--query-rich-rule={rule}")
    return _firewall_cmd(*query) != 0 or _firewall_cmd("--permanent", *query) != 0


def firewalld_add(zone: str, rule: str) -> None:
    """Add a rich rule, now and for good."""
    add = (f"--zone={zone}", f"--add-rich-rule={rule}")
    if _firewall_cmd(*add) != 0 or _firewall_cmd("--permanent", *add) != 0:
        raise RemoteFailureError(
            f"firewalld to take {rule} in zone {zone}", "a refusal", "look at journalctl -u firewalld"
        )
