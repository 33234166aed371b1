# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""SELinux's policy of this host: labels of files, modules of rules, and types of ports; by its own programs."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from .. import commands

# The kernel has it where SELinux is on, permissive or enforcing.
STATE = Path("/sys/fs/selinux/enforce")
RESTORECON = "/usr/sbin/restorecon"
SEMODULE = "/usr/sbin/semodule"
SEMANAGE = "/usr/sbin/semanage"
# The whole policy is compiled anew for each change.
TIMEOUT_S = 300.0


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
    remedy = "look for denials with ausearch -m avc -ts recent, or label the files by hand"
    commands.run_checked([RESTORECON, "-R", str(path)], remedy, timeout=TIMEOUT_S)


def has_tools() -> bool:
    """Whether the programs are there that show and change the policy."""
    return all(os.access(program, os.X_OK) for program in (SEMODULE, SEMANAGE))


def _run(*argv: str) -> str:
    remedy = "run it by hand as root; the packages policycoreutils and policycoreutils-python-utils hold these programs"
    return commands.run_checked(argv, remedy, timeout=TIMEOUT_S)


def modules() -> str:
    """All modules, each with its priority and language."""
    return _run(SEMODULE, "-lfull")


def module_text(name: str, priority: str) -> str:
    """The rules of a module that is there."""
    with tempfile.TemporaryDirectory(prefix="herd-selinux.") as folder:
        # It writes where it is started.
        _run("env", f"--chdir={folder}", SEMODULE, "-X", priority, "--cil", "-E", name)
        return (Path(folder) / f"{name}.cil").read_text(encoding="utf-8")


def install_module(name: str, text: str) -> None:
    """Put a module into the policy, in the place of a former one; a policy that cannot be compiled stays as it is."""
    with tempfile.TemporaryDirectory(prefix="herd-selinux.") as folder:
        path = Path(folder) / f"{name}.cil"
        path.write_text(text, encoding="utf-8")
        _run(SEMODULE, "-i", str(path))


def remove_module(name: str) -> None:
    """Take a module out."""
    _run(SEMODULE, "-r", name)


def ports(is_local: bool) -> str:
    """Types of ports: those that this host has given, or all."""
    return _run(SEMANAGE, "port", "-l", "-n", *(["-C"] if is_local else []))


def change_port(words: Sequence[str]) -> None:
    """Give a port a type, or take it back."""
    _run(SEMANAGE, "port", *words)
