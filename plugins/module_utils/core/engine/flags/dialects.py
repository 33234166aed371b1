# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Translate flags whose names differ between releases.

The flags that a build accepts tell which name it uses, so there is no list of versions.
"""

from __future__ import annotations

from collections.abc import Collection

# (words of older releases, words of newer ones, setting of head_server_settings)
_PAIRS: tuple[tuple[str, str, str], ...] = (
    ("--mlock", "--load-mode mmap+mlock", "load_mode: lock"),
    ("--no-mmap", "--load-mode none", "load_mode: read"),
    ("--mmap", "--load-mode mmap", "load_mode: mmap"),
    ("--direct-io", "--load-mode dio", ""),
    ("-dio", "--load-mode dio", ""),
    ("--draft-max", "--spec-draft-n-max", ""),
    ("--draft-n", "--spec-draft-n-max", ""),
    ("--draft", "--spec-draft-n-max", ""),
    ("--draft-min", "--spec-draft-n-min", ""),
    ("--draft-n-min", "--spec-draft-n-min", ""),
    ("--spec-ngram-size-n", "--spec-ngram-mod-n-match", ""),
    ("--spec-ngram-size-m", "--spec-ngram-simple-size-m", ""),
    ("--spec-ngram-min-hits", "--spec-ngram-simple-min-hits", ""),
)
# Older words for each newer value. A mode without words is the default there.
_OLDER_LOAD_MODES = {
    "mmap": ("nothing, it is the default", "load_mode: mmap"),
    "none": ("--no-mmap", "load_mode: read"),
    "mmap+mlock": ("--mlock", "load_mode: lock"),
    "mlock": ("--mlock --no-mmap", "load_mode: lock_read"),
    "dio": ("--direct-io", ""),
}


def _advice(words: str, setting: str) -> str:
    return f"write {words}" + (f", or the setting {setting}, which every release understands" if setting else "")


def translation(flag: str, value: str | None, accepted: Collection[str]) -> str:
    """Return the words of this release for a flag of another one; empty if the flag is unknown."""
    if flag in ("--load-mode", "-lm"):
        words, setting = _OLDER_LOAD_MODES.get(value or "", ("", ""))
        return _advice(words, setting) if words and "--mlock" in accepted else ""
    for older, newer, setting in _PAIRS:
        if flag == older and newer.split()[0] in accepted:
            return _advice(newer, setting)
        if flag == newer.split()[0] and older in accepted:
            return _advice(older, setting)
    return ""


def removed(flag: str, accepted: Collection[str]) -> str:
    """Return the replacement of a flag that a release lists but rejects; empty for all others."""
    for older, newer, setting in _PAIRS:
        # Releases with --load-mode do not list --mlock and --no-mmap.
        if flag == older and newer.startswith("--spec-") and newer.split()[0] in accepted:
            return _advice(newer, setting)
    return ""
