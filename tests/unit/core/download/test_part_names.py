# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Byte parts in any counting scheme: the counter decides order and gaps."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.download.parts import plan_targets
from ansible_collections.herd.inference.plugins.module_utils.core.errors import InvalidInputError
from ansible_collections.herd.inference.plugins.module_utils.core.models import lock

HUB = "https://hub.example.org/m/resolve/main/"
SCHEMES = {
    "letters": ["X.gguf.partaa", "X.gguf.partab", "X.gguf.partac"],
    "capital letters": ["X.gguf.PartA", "X.gguf.PartB", "X.gguf.PartC"],
    "one letter": ["X.gguf-split-a", "X.gguf-split-b", "X.gguf-split-c"],
    "letters only": ["X.gguf.aa", "X.gguf.ab", "X.gguf.ac"],
    "letters without a dot": ["X.ggufaa", "X.ggufab", "X.ggufac"],
    "split without a prefix": ["xaa", "xab", "xac"],
    "of": ["X.gguf.part1of3", "X.gguf.part2of3", "X.gguf.part3of3"],
    "of, with hyphens": ["X.gguf-1-of-3", "X.gguf-2-of-3", "X.gguf-3-of-3"],
    "of, from zero": ["X.gguf.part-0-of-3", "X.gguf.part-1-of-3", "X.gguf.part-2-of-3"],
    "like shards": [f"X.gguf.part-0000{n}-of-00003.gguf" for n in (1, 2, 3)],
    "three digits": ["X.gguf.001", "X.gguf.002", "X.gguf.003"],
    "digits from zero": ["X.gguf.00", "X.gguf.01", "X.gguf.02"],
    "digits without padding": [f"X.gguf.part{n}" for n in range(1, 12)],
    "hexadecimal digits": [f"X.gguf.{n:02x}" for n in range(12)],
    "before the ending": ["X-part1.gguf", "X-part2.gguf", "X-part3.gguf"],
    "chunks": ["X.chunk_01.bin", "X.chunk_02.bin", "X.chunk_03.bin"],
    "underscores": ["X.gguf_a", "X.gguf_b", "X.gguf_c"],
}


def plan(names: list[str], **options: Any) -> list[str]:
    (target,) = plan_targets("/m/X.gguf", parts=[{"url": HUB + name} for name in names], **options)
    return [part.url.rsplit("/", 1)[-1] for part in target.parts]


def refused(names: list[str], **options: Any) -> str:
    with pytest.raises(InvalidInputError) as caught:
        plan(names, **options)
    return str(caught.value)


@pytest.mark.parametrize("names", SCHEMES.values(), ids=SCHEMES)
def test_complete_set_in_order_is_planned(names: list[str]) -> None:
    assert plan(names) == names


@pytest.mark.parametrize("names", SCHEMES.values(), ids=SCHEMES)
def test_wrong_order_is_refused(names: list[str]) -> None:
    assert "the order " in refused([names[0], names[2], names[1], *names[3:]])


@pytest.mark.parametrize("names", SCHEMES.values(), ids=SCHEMES)
def test_gap_is_refused_with_the_missing_part(names: list[str]) -> None:
    if "-0-of-" not in names[0]:
        assert f"{names[1]} missing" in refused([names[0], *names[2:]])
    if names[0].rpartition(".")[2] not in ("00",):
        assert "missing" in refused(names[1:])


@pytest.mark.parametrize("name", ["X.gguf.partaa", "X.gguf.001", "X.gguf.part1", "X.gguf.part1of2", "X.gguf-split-a"])
def test_part_alone_is_refused(name: str) -> None:
    assert "missing" in refused([name])


@pytest.mark.parametrize("name", ["X.gguf", "X.Q8_0.gguf", "X-7b.gguf", "X.gguf.zip", "X-v0.3.gguf", "m.bin"])
def test_whole_file_is_no_part(name: str) -> None:
    assert plan([name]) == [name]


@pytest.mark.parametrize(
    "names", [["first.gguf", "second.gguf"], ["X.gguf.one", "X.gguf.two"], ["X.gguf", "Y.gguf"], ["begin", "end"]]
)
def test_unknown_order_needs_a_checksum_of_the_whole(names: list[str]) -> None:
    assert "the sha256 of the whole file, as the names of its parts give no order" in refused(names)
    assert plan(names, sha256="ab" * 32) == names


SHARDS = ["X-00001-of-00002.gguf", "X-00002-of-00002.gguf"]


def test_join_parts_has_priority_over_the_names_of_shards() -> None:
    assert "never joined" in refused(SHARDS)
    assert plan(SHARDS, join="parts") == SHARDS
    assert "X-00002-of-00002.gguf missing" in refused(SHARDS[:1], join="parts")
    entry = {"name": "x", "file": "X.gguf", "repository": "a/b", "files": [{"file": name} for name in SHARDS]}
    assert lock.join_of(entry) == "shards"
    lock.check({**entry, "join": "parts"})
    assert lock.options_of({**entry, "join": "parts"})["join"] == "parts"


def test_parts_with_a_counter_of_shards_are_parts_by_their_name() -> None:
    names = SCHEMES["like shards"]
    entry = {"name": "x", "file": "X.gguf", "repository": "a/b", "files": [{"file": name} for name in names]}
    assert lock.join_of(entry) == "parts"
    lock.check(entry)
