# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Flags that one release calls otherwise than another, and how to write them for this one.

No list of versions: which side of a pair a release takes is in the flags that it accepts.
"""

from __future__ import annotations

from collections.abc import Collection

# (words of the older releases, words of the newer ones, setting of head_server_settings that writes either)
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
# What a newer value is in the older words; the mode without any is the default there.
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
    """Say how this release writes what a flag of another one means; empty if nobody knows the flag."""
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
    """Say what replaced a flag that a release still lists and no longer takes; empty for all others."""
    for older, newer, setting in _PAIRS:
        # The releases that brought --load-mode took --mlock and --no-mmap out of the list.
        if flag == older and newer.startswith("--spec-") and newer.split()[0] in accepted:
            return _advice(newer, setting)
    return ""
