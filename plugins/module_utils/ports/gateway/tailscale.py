# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""tailscaled, through its own command."""

from __future__ import annotations

from collections.abc import Sequence

from .. import commands

# Where the tailnet does not allow HTTPS yet, the command shows an address and waits for somebody to open it.
TIMEOUT_S = 30.0


class Tailscale:
    """One machine's tailscaled."""

    def __init__(self, program: str) -> None:
        self.program = program

    def run(self, words: Sequence[str]) -> str:
        """Run the command, and give what it printed."""
        remedy = "check that tailscaled runs (tailscale status) and that the tailnet allows HTTPS certificates"
        return commands.run_checked([self.program, *words], remedy, timeout=TIMEOUT_S)

    def status(self) -> str:
        """What this machine is, as JSON."""
        return self.run(["status", "--json", "--peers=false"])

    def served(self) -> str:
        """What it serves, as JSON."""
        return self.run(["serve", "status", "--json"])
