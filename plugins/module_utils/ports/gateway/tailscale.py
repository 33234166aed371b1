# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the tailscale command."""

from __future__ import annotations

from collections.abc import Sequence

from .. import commands

# Until the tailnet allows HTTPS, the command prints a URL and waits for somebody to open it.
TIMEOUT_S = 30.0


class Tailscale:
    """The tailscaled of this machine."""

    def __init__(self, program: str) -> None:
        self.program = program

    def run(self, words: Sequence[str]) -> str:
        """Run a tailscale command, and return its output.

        :raises RemoteFailureError: if it fails.
        """
        remedy = "check that tailscaled runs (tailscale status) and that the tailnet allows HTTPS certificates"
        return commands.run_checked([self.program, *words], remedy, timeout=TIMEOUT_S)

    def status(self) -> str:
        """Return the machine's status as JSON."""
        return self.run(["status", "--json", "--peers=false"])

    def served(self) -> str:
        """Return what it serves, as JSON."""
        return self.run(["serve", "status", "--json"])
