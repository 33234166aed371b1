# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bytes of an interrupted download that may be kept."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.download import progress_record
from ansible_collections.herd.inference.plugins.module_utils.core.download.extents import Extents
from ansible_collections.herd.inference.plugins.module_utils.core.download.parts import Part
from ansible_collections.herd.inference.plugins.module_utils.core.download.sources import Segment

HUB = "https://hub.example.org/m/"


def segment(number: int, size: int | None = 100, **facts: Any) -> Segment:
    url = facts.pop("url", f"{HUB}m.gguf.part{number}of2")
    return Segment(Part(f"{HUB}m.gguf.part{number}of2"), size, facts.get("sha256"), facts.get("tag", "t"), url)


TWO = [segment(1), segment(2)]
LANDED = Extents([(0, 60), (90, 130), (180, 200)])


def kept(wanted: list[Segment], was: list[Segment], size: int = 200, **record: Any) -> list[list[int]]:
    identities = [part.identity() for part in was]
    journal = {**progress_record.new_journal(identities, LANDED), **record}
    return [[*pair] for pair in progress_record.kept(wanted, journal, b"", "boot", size)]


@pytest.mark.parametrize(
    ("wanted", "was", "size", "result"),
    [
        (TWO, TWO, 200, [[0, 60], [90, 130], [180, 200]]),
        (TWO, TWO, 120, [[0, 60], [90, 120]]),
        # Another file at the same address, or a file at another address without an identification.
        ([segment(1, tag="new"), segment(2)], TWO, 200, [[100, 130], [180, 200]]),
        ([segment(1, url="https://mirror.example.org/a"), segment(2)], TWO, 200, [[100, 130], [180, 200]]),
        # A checksum identifies a mirror's file; a changed file at the same address does not match.
        (
            [segment(1, sha256="s", url="https://mirror.example.org/a", tag="x"), segment(2)],
            [segment(1, sha256="s"), segment(2)],
            200,
            [[0, 60], [90, 130], [180, 200]],
        ),
        (
            [segment(1, sha256="s", tag="x"), segment(2)],
            [segment(1, sha256="s"), segment(2)],
            200,
            [[100, 130], [180, 200]],
        ),
        ([segment(1, sha256="s"), segment(2)], TWO, 200, [[100, 130], [180, 200]]),
        # Without identification of the content.
        ([segment(1, tag=None), segment(2)], [segment(1, tag=None), segment(2)], 200, [[100, 130], [180, 200]]),
        # A part of another size moves all later parts.
        ([segment(1, 90), segment(2)], TWO, 200, []),
        ([segment(1, None), segment(2)], TWO, 200, []),
        (TWO, [segment(1, None), segment(2)], 200, []),
        (TWO, TWO[:1], 200, [[0, 60], [90, 100]]),
    ],
)
def test_only_bytes_of_the_wanted_files_are_kept(
    wanted: list[Segment], was: list[Segment], size: int, result: list[list[int]]
) -> None:
    assert kept(wanted, was, size) == result


@pytest.mark.parametrize(
    ("record", "result"),
    [({"schema": 99}, []), ({"safe": None}, [])],
)
def test_journal_of_another_schema_or_without_bytes_keeps_nothing(
    record: dict[str, Any], result: list[list[int]]
) -> None:
    assert kept(TWO, TWO, **record) == result


PARTS = [part.identity() for part in TWO]
LINE = progress_record.progress_line(PARTS, Extents([(60, 90)]), "boot")


@pytest.mark.parametrize(
    ("line", "boot", "counts"),
    [
        (LINE, "boot", True),
        # A shorter line over a longer one leaves its end behind.
        (LINE + b"rest of a longer one\n", "boot", True),
        # After a loss of power, the bytes on the disk are unknown.
        (LINE, "another boot", False),
        (progress_record.progress_line(PARTS, Extents([(60, 90)]), ""), "", False),
        (progress_record.progress_line(PARTS[:1], Extents([(60, 90)]), "boot"), "boot", False),
        (LINE[:-9], "boot", False),
        (LINE.replace(b"90", b"95"), "boot", False),
        (b"", "boot", False),
        (b"\xff\x00 nonsense", "boot", False),
    ],
)
def test_progress_record_is_valid_as_long_as_the_machine_runs(line: bytes, boot: str, counts: bool) -> None:
    record = progress_record.new_journal(PARTS, Extents([(0, 60)]))
    assert list(progress_record.kept(TWO, record, line, boot, 200)) == [(0, 90 if counts else 60)]


def signed(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest()[:16].encode() + b" " + body + b"\n"


@pytest.mark.parametrize(
    ("line", "size"),
    [
        (LINE, 30),
        (progress_record.progress_line(PARTS, Extents([(0, 10), (60, 90)]), "another boot"), 40),
        (LINE.replace(b"90", b"95"), None),
        (b"", None),
        (signed(b"[]"), None),
        (signed(b"{}"), None),
        (signed(b'{"written": [[1]]}'), None),
        (signed(b'{"written": [["a", "b"]]}'), None),
        (signed(b"[" * 100_000), None),
    ],
)
def test_bytes_of_a_progress_record(line: bytes, size: int | None) -> None:
    assert progress_record.written_bytes(line) == size
