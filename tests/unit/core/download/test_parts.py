# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sources that make up a complete model, and the errors of those that do not."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.download.identity import public_url
from ansible_collections.herd.inference.plugins.module_utils.core.download.parts import plan_targets
from ansible_collections.herd.inference.plugins.module_utils.core.errors import InvalidInputError

HUB = "https://hub.example.org/m/resolve/main/"
DEST = "/opt/models/Big.Q8_0.gguf"


def pieces(*names: str, **facts: Any) -> list[dict[str, Any]]:
    return [{"url": HUB + name, "size": None, "sha256": None, **facts} for name in names]


@pytest.mark.parametrize(
    "names",
    [
        ["Big.gguf.part1of1"],
        ["Big.gguf.part1of3", "Big.gguf.part2of3", "Big.gguf.part3of3"],
        [f"Big.gguf.part{number}of11" for number in range(1, 12)],
        ["Big.gguf-split-a", "Big.gguf-split-b"],
        ["Big.gguf-split-aa", "Big.gguf-split-ab", "Big.gguf-split-ac"],
        ["xaa.bin", "xab.bin"],
        ["Big%20One.gguf.part1of2", "Big%20One.gguf.part2of2"],
    ],
)
def test_parts_become_one_file_in_order(names: list[str]) -> None:
    (target,) = plan_targets(DEST, parts=pieces(*names))
    assert target.path == DEST
    assert [part.url for part in target.parts] == [HUB + name for name in names]


def test_one_url_is_one_part() -> None:
    (target,) = plan_targets(DEST, url=HUB + "Big.gguf?download=true", size=9, sha256="AB" * 32)
    assert (target.size, target.sha256, len(target.parts)) == (9, "ab" * 32, 1)
    assert target.beside("journal") == "/opt/models/.Big.Q8_0.gguf.journal"


def test_shards_are_planned_beside_the_first() -> None:
    names = [f"Big-0000{number}-of-00003.gguf" for number in (1, 2, 3)]
    targets = plan_targets(f"/m/{names[0]}", shards=pieces(*names, size=5))
    assert [target.path for target in targets] == [f"/m/{name}" for name in names]
    assert all(target.size == 5 and len(target.parts) == 1 for target in targets)


def test_shards_may_have_other_names_on_the_server() -> None:
    entries = [{"url": HUB + f"blob{n}", "file": f"Big-0000{n}-of-00002.gguf"} for n in (1, 2)]
    targets = plan_targets("/m/Big-00001-of-00002.gguf", shards=entries)
    assert [target.name for target in targets] == ["Big-00001-of-00002.gguf", "Big-00002-of-00002.gguf"]


SHARDS = ["Big-00001-of-00002.gguf", "Big-00002-of-00002.gguf"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"parts": pieces("B.gguf.part1of3", "B.gguf.part3of3")}, "B.gguf.part2of3 missing"),
        ({"parts": pieces("B.gguf.part2of2", "B.gguf.part1of2")}, "the order B.gguf.part2of2, B.gguf.part1of2"),
        ({"parts": pieces("B.gguf.part1of2", "C.gguf.part2of2")}, "B.gguf.part2of2 missing"),
        ({"parts": pieces("B.gguf.part1of2", "B.gguf.part2of2", "B.gguf.part1of2")}, "more than once"),
        ({"parts": pieces("B.gguf.part1of2", "B.gguf.part2of2", "B.gguf")}, "B.gguf among them"),
        ({"parts": pieces("B.gguf-split-a")}, "B.gguf-split-b missing"),
        ({"parts": pieces("B.gguf-split-b", "B.gguf-split-c")}, "B.gguf-split-a missing"),
        ({"parts": pieces("B.gguf-split-a", "B.gguf-split-c")}, "B.gguf-split-b missing"),
        ({"parts": pieces(*SHARDS)}, "never joined"),
        ({"url": HUB + SHARDS[0]}, "never joined"),
        ({"url": HUB + "B.gguf.part1of2"}, "B.gguf.part2of2 missing"),
        ({"shards": pieces(SHARDS[0])}, "Big-00002-of-00002.gguf missing"),
        ({"shards": pieces(*SHARDS)}, "dest to end in the first shard's name"),
        ({"shards": pieces("B.gguf")}, "shards named <name>-00001-of-0000N.gguf"),
        ({"shards": pieces(*SHARDS), "size": 7}, "size and sha256 at each shard"),
        ({}, "exactly one of url, parts and shards, found none"),
        ({"url": HUB + "B.gguf", "parts": pieces("B.gguf.part1of1")}, "url and parts"),
        ({"url": "ftp://hub.example.org/B.gguf"}, "an http, https or file URL, or a path"),
        ({"url": "https://hub.example.org/"}, "ends in a file name"),
        ({"url": "https:///B.gguf"}, "an http, https or file URL, or a path"),
        ({"url": "https://[::1/B.gguf"}, "an http, https or file URL, or a path"),
        ({"url": "https://hub.example.org:99999/B.gguf"}, "an http, https or file URL, or a path"),
        ({"url": HUB + "B.gguf", "mirrors": ["http://[::1/"]}, "an http, https or file URL, or a path"),
        ({"url": "https://me:secret@hub.example.org/B.gguf"}, "without a user and a password"),
        ({"url": HUB + "B.gguf", "sha256": "12"}, "a sha256 of 64 hexadecimal digits"),
        ({"url": HUB + "B.gguf", "size": 0}, "in bytes, found 0"),
        ({"parts": pieces("B.gguf.part1of2", "B.gguf.part2of2", size=4), "size": 9}, "found 8 bytes"),
        ({"dest": "models/B.gguf", "url": HUB + "B.gguf"}, "absolute path"),
    ],
)
def test_invalid_source_is_refused_with_a_reason(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        plan_targets(**{"dest": DEST, **arguments})
    assert words in str(caught.value)
    assert "secret" not in str(caught.value)


def test_shown_url_has_no_secrets_but_identity_differs() -> None:
    assert public_url("https://u:p@h:8/a?sig=1#x") == "https://h:8/a"
    signed = plan_targets(DEST, url=HUB + "B.gguf?sig=one")[0].parts[0]
    other = plan_targets(DEST, url=HUB + "B.gguf?sig=two")[0].parts[0]
    assert signed.label == other.label
    assert signed.identity != other.identity
    assert "one" not in signed.identity
