# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Users' keys of the gateway: which entries are taken, and whose key opens what."""

from __future__ import annotations

import time
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.errors import InvalidInputError
from ansible_collections.herd.inference.plugins.module_utils.core.gateway import user_keys

HASH = user_keys.sha256("herd-a")
OTHER = user_keys.sha256("herd-b")


def parse(*entries: dict[str, Any]) -> tuple[user_keys.UserKey, ...]:
    return user_keys.parse(entries, {"default", "batch"}, {"fast", "reasoning"})


def test_written_keys_are_read_again() -> None:
    keys = parse(
        {"id": "ann", "sha256": HASH},
        {
            "id": "bob-2",
            "user": "bob",
            "project": "weather",
            "sha256": OTHER,
            "limits": "batch",
            "tiers": ["fast"],
            "expires": 5,
            "state": "revoked",
        },
    )
    assert parse(*user_keys.as_data(keys)["keys"]) == keys
    assert (keys[0].user, keys[1].user) == ("ann", "bob")
    assert (keys[0].project, keys[1].project) == ("", "weather")


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"id": "", "sha256": HASH}, "an id of letters"),
        ({"id": "a b", "sha256": HASH}, "an id of letters"),
        ({"id": "ann", "sha256": "herd-plain-key"}, "64 lower-case hexadecimal"),
        ({"id": "ann", "sha256": HASH.upper()}, "64 lower-case hexadecimal"),
        ({"id": "ann"}, "64 lower-case hexadecimal"),
        ({"id": "ann", "sha256": HASH, "limits": "none"}, "limits of batch, default"),
        ({"id": "ann", "sha256": HASH, "tiers": ["slow"]}, "tiers of fast, reasoning"),
        ({"id": "ann", "sha256": HASH, "state": "Revoked"}, "a state of active or revoked"),
        ({"id": "ann", "sha256": HASH, "project": "a\nb"}, "a project of at most 64 printable"),
        ({"id": "ann", "sha256": HASH, "user": "x" * 65}, "a user of at most 64 printable"),
        ({"id": "ann", "sha256": HASH, "expires": "tomorrow"}, "a UNIX time in seconds"),
        ({"id": "ann", "sha256": HASH, "expires": ""}, "a UNIX time in seconds"),
        ({"id": "ann", "sha256": HASH, "expires": float("nan")}, "a UNIX time in seconds"),
        ({"id": "ann", "sha256": HASH, "expires": float("inf")}, "a UNIX time in seconds"),
    ],
)
def test_invalid_entries_are_refused(entry: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInputError, match=words) as refused:
        parse(entry)
    assert "herd-plain-key" not in str(refused.value)


@pytest.mark.parametrize("second", [{"id": "ann", "sha256": OTHER}, {"id": "bob", "sha256": HASH}])
def test_duplicate_ids_and_hashes_are_refused(second: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match="once"):
        parse({"id": "ann", "sha256": HASH}, second)


def test_many_keys_are_checked_in_a_short_time() -> None:
    began = time.process_time()
    assert len(parse(*({"id": f"k{number}", "sha256": f"{number:064x}"} for number in range(10_000)))) == 10_000
    assert time.process_time() - began < 1


@pytest.mark.parametrize(
    ("shown", "owner"),
    [("herd-a", "ann"), ("herd-b", "bob"), ("herd-c", None), ("", None), (HASH, None), ("herd-a" + " " * 600, None)],
)
def test_a_key_is_found_by_its_text(shown: str, owner: str | None) -> None:
    found = user_keys.owner(parse({"id": "ann", "sha256": HASH}, {"id": "bob", "sha256": OTHER}), shown)
    assert (found.id if found else None) == owner


@pytest.mark.parametrize(
    ("more", "revoked", "why"),
    [
        ({}, (), ""),
        ({"state": "revoked"}, (), "revoked"),
        ({}, ("ann",), "revoked"),
        ({}, ("bob",), ""),
        ({"expires": 99}, (), "expired"),
        ({"expires": 0}, (), "expired"),
        ({"expires": None}, (), ""),
        ({"expires": 101}, (), ""),
    ],
)
def test_a_rejected_key_has_a_reason(more: dict[str, Any], revoked: tuple[str, ...], why: str) -> None:
    (key,) = parse({"id": "ann", "sha256": HASH, **more})
    assert user_keys.refusal(key, revoked, 100) == why
    assert user_keys.refusal(None, revoked, 100) == "unknown"


@pytest.mark.parametrize(
    "data", [None, [], {}, {"revoked": None}, {"revoked": "ann"}, {"revoked": [1]}, {"revoked": {}}]
)
def test_an_invalid_file_of_revoked_keys_is_refused(data: Any) -> None:
    with pytest.raises(InvalidInputError, match="a list of ids under revoked"):
        user_keys.parse_revoked(data)
    assert user_keys.parse_revoked({"revoked": ["ann"]}) == {"ann"}


def test_a_new_key_is_accepted_and_hashes_are_shortened() -> None:
    assert user_keys.new_key(lambda: "random") == "herd-random"
    assert user_keys.shortened(f'"sha256": "{HASH}"') == f'"sha256": "{HASH[:12]}…"'


@pytest.mark.parametrize("name", ["Batch", "a-b", "a b", "", "1a"])
def test_class_names_that_nginx_cannot_use_are_refused(name: str) -> None:
    with pytest.raises(InvalidInputError):
        user_keys.check_class(name)
