# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Labels of files, on hosts where SELinux decides what systemd may execute."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.herd.inference.plugins.module_utils.core.errors import RemoteFailureError

from . import commands

# The kernel has it where SELinux is on, permissive or enforcing.
STATE = Path("/sys/fs/selinux/enforce")
RESTORECON = "/usr/sbin/restorecon"


def enabled() -> bool:
    """Whether labels matter on this host."""
    return STATE.exists()


def relabel(path: Path) -> None:
    """Give a tree the labels that the policy has for its path.

    New files get their folder's label, and below C(/opt) that is not one that systemd may execute; the policy's own
    rule for C(/opt/.../bin) is (C(bin_t)). Where SELinux is off, nothing is done.
    """
    if not enabled():
        return
    answer = commands.ask([RESTORECON, "-R", str(path)], timeout=300)
    if answer.rc != 0:
        raise RemoteFailureError(
            expected=f"{RESTORECON} to label {path}, so that systemd may execute what is in it",
            found=answer.err.strip() or f"exit status {answer.rc}",
            remedy="look for denials with ausearch -m avc -ts recent, or label it by hand",
        )
