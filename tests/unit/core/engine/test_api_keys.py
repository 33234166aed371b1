# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file of API keys: what it holds at first, through rotations, and what each step asks of the engine."""

from __future__ import annotations

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.engine import api_keys
from ansible_collections.herd.inference.plugins.module_utils.core.errors import HerdError


def content(existing: str, keys: list[str], step: str = "none") -> str:
    return api_keys.content(existing, keys, step, lambda: "new")


@pytest.mark.parametrize(
    ("existing", "keys", "wanted"),
    [
        ("", [], "herd-1-new\nherd-2-new\n"),
        ("\n", [], "herd-1-new\nherd-2-new\n"),
        # Of an only key the engine would write the end into its log.
        ("k\n", [], "k\nherd-1-new\n"),
        ("k\nunused-u\n", [], "k\nunused-u\n"),
        ("k\nunused-u\n", ["k"], "k\nunused-u\n"),
        # A key that was taken back must not stay as company.
        ("k\nunused-u\n", ["a"], "a\nunused-u\n"),
        ("k\nl\n", ["a"], "a\nunused-new\n"),
        ("k\nunused-u\n", ["a", "b"], "a\nb\n"),
        ("k\nl\n", [], "k\nl\n"),
    ],
)
def test_key_file_holds_key_and_spare(existing: str, keys: list[str], wanted: str) -> None:
    assert content(existing, keys) == wanted
    assert content(wanted, keys) == wanted


@pytest.mark.parametrize(
    "key", ["", " ", "a b", "#a", "a\nb", "unused-a", "schl\u00fcssel-1", "a\u200b", "a\x7f", "\ud800a", "a\x00"]
)
def test_unreadable_keys_are_rejected(key: str) -> None:
    with pytest.raises(HerdError) as caught:
        content("", [key])
    assert key.strip() == "" or key not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "key"),
    [("a\nb\n", "a"), ("# of the head\n\n  a \nb\n", "a"), ("a", "a"), ("a\r\nb\r\n", "a"), ("", ""), ("#a\n\n", "")],
)
def test_first_key_is_in_use(text: str, key: str) -> None:
    """Skip comments and empty lines, as the engine does (common/arg.cpp)."""
    assert api_keys.in_use(text, "f", "r") == key


@pytest.mark.parametrize("text", ["schl\u00fcssel\n", "a b\n", "\u00ef\u00bb\u00bfa\n", "a\x7f\n", "\x00\n"])
def test_unusable_key_in_use_is_named_by_its_file(text: str) -> None:
    with pytest.raises(HerdError, match="printable ASCII without blanks in /k, found other characters: do r") as caught:
        api_keys.in_use(text, "/k", "do r")
    assert text.strip() not in str(caught.value)


@pytest.mark.parametrize("first", ["herd-1-a\nherd-2-b\n", "a\nunused-b\n", "herd-9-a\nherd-10-b\n"])
def test_rotation_steps_keep_expected_keys(first: str) -> None:
    known = first
    for _each in range(3):
        old, spare = known.split()
        begun = content(known, [], "begin")
        # The engine knows both of them already, so nothing restarts; what is not finished is not begun again.
        assert begun.split() == [spare, old]
        assert api_keys.fingerprint(begun) == api_keys.fingerprint(known)
        assert api_keys.is_rotating(begun.split())
        assert content(begun, [], "begin") == content(begun, []) == begun
        finished = content(begun, [], "finish")
        assert finished.split()[0] == spare
        assert old not in finished
        assert api_keys.fingerprint(finished) != api_keys.fingerprint(begun)
        assert not api_keys.is_rotating(finished.split())
        assert content(finished, [], "finish") == content(finished, []) == finished
        known = finished


def test_rotation_creates_missing_spare() -> None:
    begun = content("k\n", [], "begin")
    assert begun == "herd-1-new\nk\n"
    # The engine does not know it, and restarts.
    assert api_keys.fingerprint(begun) != api_keys.fingerprint("k\n")


@pytest.mark.parametrize("step", api_keys.STEPS)
def test_given_keys_are_unchanged(step: str) -> None:
    assert content("a\nb\n", ["b"], step) == "b\nunused-new\n"
    assert content("a\nb\n", ["c", "a"], step) == "c\na\n"
