# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Headers of GGUF files: any content gives a header or one clear error, in bounded time and memory."""

from __future__ import annotations

import random
import struct
import tracemalloc
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.errors import InvalidInputError, MismatchError
from ansible_collections.herd.inference.plugins.module_utils.core.models import gguf, gguf_cursor
from ansible_collections.herd.inference.plugins.module_utils.core.models.gguf_summary import describe, shard_names
from tests.models import gguf_writer
from tests.unit.gguf_bytes import ARRAY, Bytes, File, Maker, is_read, mutants


def read(data: bytes, size: int | None = None) -> gguf.Header:
    return gguf.read_header(Bytes(data, size))


def facts(*files: bytes) -> dict[str, Any]:
    headers = [read(data) for data in files]
    return describe(headers, gguf.join_shards(headers))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("version", [2, 3])
def test_versions_and_byte_orders(order: str, version: int) -> None:
    found = facts(File(order=order, version=version).bytes())
    assert (found["version"], found["byte_order"]) == (version, "little" if order == "<" else "big")
    expected = {
        "architecture": "llama",
        "name": "Two Layers",
        "layers": 2,
        "context": 4096,
        "heads": 4,
        # The same in both layers; and where they differ, for each.
        "kv_heads": 2,
        "feed_forward": [64, 96],
        "tokenizer": "llama",
        "vocabulary": 4,
        "parameters": 4 * 512,
        "types": {"f16": {"tensors": 4, "parameters": 2048, "bytes": 4096}},
        "bits_per_weight": 16.0,
        "layer_bytes": [1024, 1024],
        "other_bytes": 2048,
        "whole": True,
        "missing_bytes": 0,
    }
    assert {key: found[key] for key in expected} == expected


def test_truncated_file_is_reported() -> None:
    found = facts(File().bytes()[:-100])
    assert (found["whole"], found["missing_bytes"]) == (False, 100)


def test_file_without_final_padding_is_whole() -> None:
    """The engine needs the bytes of the last tensor, not its padding."""
    make = Maker()
    head = File(tensors=[make.tensor("t", (5,), 24, 0)]).head()
    data = head + bytes(-len(head) % 32) + bytes(5)
    assert facts(data)["whole"]
    assert not facts(data[:-1])["whole"]


def test_lab_model_has_the_generated_header() -> None:
    specs = [gguf_writer.TensorSpec("a", (256, 4), "q4_K"), gguf_writer.TensorSpec("b", (64, 3), "q8_0")]
    head = gguf_writer.header([gguf_writer.field("general.architecture", "llama")], specs)
    header = read(head, len(head) + 4096)
    assert [(t.name, t.type, t.shape, t.size) for t in header.tensors] == [
        (spec.name, spec.type, spec.dims, spec.size) for spec in specs
    ]


MAKE = Maker()
HUGE = 1 << 63


def tensors(*dims: int, name: str = "t", kind: int = 0, offset: int = 0) -> File:
    return File(tensors=[MAKE.tensor(name, dims, kind, offset)])


def pair(second_offset: int, second: str = "u") -> File:
    return File(tensors=[MAKE.tensor("t", (16,), 0, 0), MAKE.tensor(second, (16,), 0, second_offset)])


def more(raw: bytes) -> File:
    return File(more=[raw])


HOSTILE: list[tuple[str, bytes | File, str]] = [
    ("nothing", b"", "at least 24 bytes"),
    ("a few letters", b"GGUF", "at least 24 bytes"),
    ("a web page", b"<!DOCTYPE html><html><body>sign in</body></html>", "a web page"),
    ("gzip", b"\x1f\x8b" + bytes(60), "gzip data"),
    ("a zip archive, as PyTorch writes", b"PK\x03\x04" + bytes(60), "a zip archive"),
    ("safetensors", struct.pack("<Q", 40) + b'{"__metadata__":{}}' + bytes(60), "a safetensors file"),
    ("a pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a pointer of Git LFS"),
    ("room that was reserved", bytes(4096), "zeros, as in space that a download reserved"),
    ("a later byte part", random.Random(1).randbytes(4096), "a later byte part"),
    ("version 1", File(version=1), "version 1, which the engine no longer reads"),
    ("version 4", File(version=4), "version 4"),
    ("tensors without end", File(tensor_count=HUGE), "a number of tensors that"),
    ("more tensors than the file can hold", File(tensor_count=1000), "a number of tensors that"),
    ("keys without end", File(field_count=HUGE), "a number of keys that"),
    ("a key without end", more(MAKE.text("k", HUGE)), "of at most 65536 bytes, found a length of 9223372036854775808"),
    ("a key that is longer than the file", more(MAKE.text("k", 60000)), "bytes before the end of the file"),
    ("a key without a name", more(MAKE.number("", 1)), "a key without a name"),
    ("a key twice", more(MAKE.number("llama.block_count", 1)), "'llama.block_count' again"),
    ("a type that is none", more(MAKE.field("k", 77, b"")), "a known type of k, found type 77"),
    ("a text without end", more(MAKE.field("k", 8, MAKE.pack("Q", HUGE))), "bytes before the end of the file"),
    ("numbers without end", more(MAKE.field("k", ARRAY, MAKE.pack("IQ", 4, HUGE))), "bytes before the end of the file"),
    ("texts without end", more(MAKE.field("k", ARRAY, MAKE.pack("IQ", 8, HUGE))), "with at most 1048576 texts"),
    (
        "more texts than fit",
        more(MAKE.field("k", ARRAY, MAKE.pack("IQ", 8, 1 << 19))),
        "bytes before the end of the file",
    ),
    ("one text of an array without end", more(MAKE.field("k", ARRAY, MAKE.pack("IQQ", 8, 1, HUGE))), "before the end"),
    ("an array in an array", more(MAKE.field("k", ARRAY, MAKE.pack("IQ", ARRAY, 1))), "no array within an array"),
    (
        "an array of nothing known",
        more(MAKE.field("k", ARRAY, MAKE.pack("IQ", 99, 1))),
        "the entries of k, found type 99",
    ),
    ("an alignment of 3", more(MAKE.number("general.alignment", 3)), "a power of two as general.alignment, found 3"),
    ("an alignment of 0", more(MAKE.number("general.alignment", 0)), "a power of two as general.alignment, found 0"),
    ("an alignment in words", more(MAKE.word("general.alignment", "32")), "as a number of type uint32, found type 8"),
    ("more bytes than a size can say", tensors(1 << 62), "tensors of less than 2^64 bytes"),
    ("a name of 64 letters", tensors(16, name="n" * 64), "of at most 63 bytes, found a length of 64"),
    ("a tensor twice", pair(64, second="t"), "'t' again"),
    ("five dimensions", tensors(1, 1, 1, 1, 1), "at most 4 dimensions of t, found 5"),
    ("a negative dimension", tensors(HUGE), "possible dimensions of t"),
    ("dimensions whose product is too large", tensors(1 << 31, 1 << 31, 4), "possible dimensions of t"),
    ("a type that was removed", tensors(32, kind=4), "found type 4"),
    ("a type of the future", tensors(32, kind=200), "found type 200; a newer model, perhaps"),
    ("a row that is no whole block", tensors(31, kind=2), "whole blocks of 32 weights (q4_0), found rows of 31"),
    ("an offset behind everything", tensors(16, offset=HUGE), "t at offset 0 of the data, found 9223372036854775808"),
    ("tensors that overlap", pair(32), "u at offset 64 of the data, found 32: it overlaps"),
    ("a tensor that is misaligned", pair(65), "found 65: it is misaligned"),
    ("a gap", pair(96), "found 96: it has a gap"),
]


@pytest.mark.parametrize(("data", "said"), [case[1:] for case in HOSTILE], ids=[case[0] for case in HOSTILE])
def test_broken_file_gives_one_clear_error(data: bytes | File, said: str) -> None:
    with pytest.raises(MismatchError) as caught:
        read(data if isinstance(data, bytes) else data.bytes())
    assert said in str(caught.value).replace(" in m.gguf", "")
    assert str(caught.value).count("expected") == 1


@pytest.mark.parametrize("order", ["<", ">"])
def test_file_truncated_anywhere_gives_one_error(order: str) -> None:
    whole = File(order=order).bytes()
    head = len(File(order=order).head())
    for length in range(head):
        with pytest.raises(MismatchError):
            read(whole[:length])
    assert not read(whole[:head]).is_whole


def test_wrong_counts_in_a_large_file_cost_no_time_and_memory() -> None:
    """The size of the file does not limit these counts; only the bounds do."""
    exabyte = 1 << 60
    lies = [
        more(MAKE.field("k", ARRAY, MAKE.pack("IQ", 8, 1 << 40))),
        more(MAKE.text("k", 1 << 40)),
        File(tensor_count=1 << 40),
        File(field_count=1 << 40),
        # A million empty texts, one after the other, in what are zeros to the end.
        File(more=[MAKE.field("k", ARRAY, MAKE.pack("IQ", 8, gguf.MAX_TEXTS))], tensors=[], tensor_count=9),
    ]
    for lie in lies:
        source = Bytes(lie.head(), exabyte)
        tracemalloc.start()
        with pytest.raises(MismatchError):
            gguf.read_header(source)
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
        tracemalloc.stop()
        assert source.read_bytes < 80 << 20


def test_long_values_are_skipped() -> None:
    data = File(
        more=[
            MAKE.numbers("many", range(gguf.KEPT_ARRAY + 1)),
            MAKE.word("long", "x" * (gguf.KEPT_TEXT + 1)),
            MAKE.texts("words", ["word"] * 300_000),
            MAKE.number("after", 7),
        ]
    ).bytes()
    metadata = read(data).metadata
    assert metadata["many"] == gguf.ArraySummary("int32", gguf.KEPT_ARRAY + 1)
    assert metadata["long"] == gguf.ArraySummary("string", gguf.KEPT_TEXT + 1)
    assert metadata["words"] == gguf.ArraySummary("string", 300_000)
    assert metadata["after"] == 7


def test_entries_of_short_arrays_are_bounded() -> None:
    """An array of 4096 small numbers takes 4 KiB in the file and 32 KiB as objects, and a file may have thousands."""
    short = list(range(gguf.KEPT_ARRAY))
    most = gguf_cursor.MAX_KEPT // gguf.KEPT_ARRAY - 1
    fields = [MAKE.numbers(f"short.{number}", short) for number in range(most)]
    assert len(read(File(more=fields).bytes()).metadata) >= most
    with pytest.raises(MismatchError, match=f"at most {gguf_cursor.MAX_KEPT} entries together"):
        read(File(more=[*fields, MAKE.numbers("one.more", short), MAKE.numbers("too.many", short)]).bytes())


@pytest.mark.parametrize("seed", range(8))
def test_random_changes_give_a_header_or_one_error(seed: int) -> None:
    tracemalloc.start()
    read_well = sum(is_read(data) for data in mutants(seed, 250))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Some changes hurt nobody (a letter of a name), most do; if all or none were refused, it would be no test.
    assert 10 < read_well < 200
    assert peak < 16 << 20


def shard(number: int, count: int, total: int, name: str) -> bytes:
    fields = [
        MAKE.word("general.architecture", "llama"),
        MAKE.number("split.no", number),
        MAKE.number("split.count", count),
        MAKE.number("split.tensors.count", total),
    ]
    head = File(fields=fields, tensors=[MAKE.tensor(name, (16,), 0, 0)]).head()
    return head + bytes(-len(head) % 32) + bytes(64)


def test_shards_are_joined_to_one_header() -> None:
    files = [shard(0, 2, 2, "blk.0.a"), shard(1, 2, 2, "blk.1.a")]
    found = facts(*files)
    assert (found["tensors"], found["shards"], found["layer_bytes"]) == (2, 2, [64, 64])
    assert found["size"] == sum(map(len, files))
    joined = gguf.join_shards([read(data) for data in files])
    assert [tensor.name for tensor in joined.tensors] == ["blk.0.a", "blk.1.a"]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ([shard(0, 2, 2, "a")], "expected 2 shards in m, found 1"),
        ([shard(0, 2, 2, "a"), shard(0, 2, 2, "b")], "shard number 1 of 2 at that place"),
        ([shard(1, 2, 2, "a"), shard(0, 2, 2, "b")], "shard number 0 of 2 at that place"),
        ([shard(0, 2, 2, "a"), shard(1, 3, 2, "b")], "found number 1 of 3"),
        ([shard(0, 2, 3, "a"), shard(1, 2, 3, "b")], "expected 3 tensors in all shards"),
        ([shard(0, 2, 2, "a"), shard(1, 2, 2, "a")], "each tensor in one shard"),
    ],
)
def test_shards_of_different_models_are_refused(files: list[bytes], said: str) -> None:
    with pytest.raises(MismatchError, match=said.replace("(", r"\(")):
        gguf.join_shards([read(data) for data in files], "m")


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("m.gguf", ["m.gguf"]),
        ("m-00001-of-00001.gguf", ["m-00001-of-00001.gguf"]),
        ("m-00001-of-00002.gguf", ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"]),
    ],
)
def test_names_of_shards_follow_from_the_first(name: str, names: list[str]) -> None:
    assert shard_names(name) == names


def test_later_shard_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"name m-00001-of-00002\.gguf"):
        shard_names("m-00002-of-00002.gguf")


def test_huge_layer_number_makes_no_long_list() -> None:
    found = facts(tensors(16, name="blk.999999.attn").bytes())
    assert (found["layer_bytes"], found["other_bytes"]) == ([], 64)
