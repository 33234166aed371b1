# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Recognise folders of the operating system."""

from __future__ import annotations

import posixpath

#: Folders of the operating system, the first group with all folders below them.
_SYSTEM_TREES = ("/bin", "/boot", "/dev", "/etc", "/lib", "/lib64", "/proc", "/run", "/sbin", "/sys")
_SYSTEM_FOLDERS = (
    *("/", "/home", "/media", "/mnt", "/opt", "/root", "/srv", "/tmp", "/usr", "/usr/local", "/var", "/opt/herd"),
    *(f"/usr/{name}" for name in ("bin", "include", "lib", "lib64", "libexec", "sbin", "share", "src")),
    *(f"/usr/local/{name}" for name in ("bin", "etc", "include", "lib", "lib64", "libexec", "sbin", "share", "src")),
    *(f"/var/{name}" for name in ("cache", "db", "lib", "lock", "log", "mail", "opt", "run", "spool", "tmp")),
)


def is_system(path: str) -> bool:
    """Return whether a folder belongs to the operating system, and so cannot belong to the releases alone."""
    normal = "/" + posixpath.normpath(path).lstrip("/")
    return normal in _SYSTEM_FOLDERS or any(f"{normal}/".startswith(f"{tree}/") for tree in _SYSTEM_TREES)
