# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read and change labels, policy modules and port types of SELinux with its own programs."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from .. import commands

# Exists if SELinux is permissive or enforcing.
STATE = Path("/sys/fs/selinux/enforce")
RESTORECON = "/usr/sbin/restorecon"
SEMODULE = "/usr/sbin/semodule"
SEMANAGE = "/usr/sbin/semanage"
# Each change compiles the whole policy.
TIMEOUT_S = 300.0


def enabled() -> bool:
    return STATE.exists()


def relabel(path: Path) -> None:
    """Set the labels that the policy defines for the paths of a tree. Does nothing if SELinux is disabled.

    New files below C(/opt) get a label that systemd must not execute. The policy defines C(bin_t) for C(/opt/.../bin).
    """
    if not enabled():
        return
    remedy = "look for denials with ausearch -m avc -ts recent, or label the files by hand"
    commands.run_checked([RESTORECON, "-R", str(path)], remedy, timeout=TIMEOUT_S)


def has_tools() -> bool:
    return all(os.access(program, os.X_OK) for program in (SEMODULE, SEMANAGE))


def _run(*argv: str) -> str:
    remedy = "run it by hand as root; the packages policycoreutils and policycoreutils-python-utils hold these programs"
    return commands.run_checked(argv, remedy, timeout=TIMEOUT_S)


def modules() -> str:
    """List all policy modules with priority and language."""
    return _run(SEMODULE, "-lfull")


def module_text(name: str, priority: str) -> str:
    """Return the rules of an installed policy module."""
    with tempfile.TemporaryDirectory(prefix="herd-selinux.") as folder:
        # semodule writes to its working directory.
        _run("env", f"--chdir={folder}", SEMODULE, "-X", priority, "--cil", "-E", name)
        return (Path(folder) / f"{name}.cil").read_text(encoding="utf-8")


def install_module(name: str, text: str) -> None:
    """Install or replace a policy module. A policy that does not compile stays unchanged."""
    with tempfile.TemporaryDirectory(prefix="herd-selinux.") as folder:
        path = Path(folder) / f"{name}.cil"
        path.write_text(text, encoding="utf-8")
        _run(SEMODULE, "-i", str(path))


def remove_module(name: str) -> None:
    _run(SEMODULE, "-r", name)


def ports(is_local: bool) -> str:
    """List the local types of ports, or all types."""
    return _run(SEMANAGE, "port", "-l", "-n", *(["-C"] if is_local else []))


def change_port(words: Sequence[str]) -> None:
    _run(SEMANAGE, "port", *words)
