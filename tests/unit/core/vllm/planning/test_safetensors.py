# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The reader of safetensors headers accepts what the library writes, and refuses anything else within bounds."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.errors import MismatchError
from ansible_collections.herd.inference.plugins.module_utils.core.vllm.planning import safetensors
from tests.unit import safetensors_bytes as made

GOOD = made.entries({"a.weight": ("BF16", [3, 4]), "b.bias": ("F32", [5]), "c": ("F4", [2, 3]), "empty": ("U8", [0])})


def tensor(**changes: Any) -> dict[str, Any]:
    return {"t": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **changes}}


def test_header_lists_type_shape_and_bytes_of_each_tensor() -> None:
    header = safetensors.read_header(made.file({"__metadata__": {"format": "pt"}, **GOOD}))
    assert header.size == 24 + 20 + 3
    assert {name: (each.dtype, each.shape, each.size) for name, each in header.tensors.items()} == {
        "a.weight": ("BF16", (3, 4), 24),
        "b.bias": ("F32", (5,), 20),
        "c": ("F4", (2, 3), 3),
        "empty": ("U8", (0,), 0),
    }
    assert header.tensors["c"].elements == 6


def test_scalar_has_no_dimension() -> None:
    header = safetensors.read_header(made.file({"s": {"dtype": "I64", "shape": [], "data_offsets": [0, 8]}}))
    assert header.tensors["s"].elements == 1


def test_small_header_takes_one_read_and_large_header_two() -> None:
    small = made.file(GOOD)
    safetensors.read_header(small)
    assert len(small.reads) == 1
    large = made.file(made.entries({f"model.layers.{layer}.weight": ("BF16", [4, 4]) for layer in range(5000)}))
    assert len(large.data) > safetensors.FIRST_READ
    assert len(safetensors.read_header(large).tensors) == 5000
    assert len(large.reads) == 2


def test_header_may_be_padded_with_spaces() -> None:
    text = json.dumps(GOOD).encode() + b" " * 7
    assert safetensors.read_header(made.file(text, 47)).size == 47


@pytest.mark.parametrize(
    ("data", "size", "says"),
    [
        (b"", 0, "8 bytes or more"),
        (b"\x00" * 7, 7, "8 bytes or more"),
        (b"\x00" * 64, 64, "begins with {"),
        (b"<!DOCTYPE html><html>", 21, "begins with {"),
        (b"version https://git-lfs.github.com/spec/v1", 42, "begins with {"),
        ((1 << 62).to_bytes(8, "little") + b"{", 100, "at most 16 MiB"),
        ((100 << 20).to_bytes(8, "little") + b"{", 200 << 20, "at most 16 MiB"),
        ((500).to_bytes(8, "little") + b"{}", 10, "within its 10 bytes"),
        ((1).to_bytes(8, "little") + b"{", 9, "within its 9 bytes"),
        ((20).to_bytes(8, "little") + b"{}", 100, "become shorter"),
    ],
)
def test_file_without_a_header_is_refused(data: bytes, size: int, says: str) -> None:
    with pytest.raises(MismatchError, match=says):
        safetensors.read_header(made.Bytes(data, size))


@pytest.mark.parametrize(
    ("header", "says"),
    [
        (tensor(dtype="F5"), "known type of t"),
        (tensor(dtype=["F32"]), "known type of t"),
        (tensor(dtype=None), "known type of t"),
        (tensor(shape=[-2]), "whole numbers from 0 as the shape"),
        (tensor(shape=[2.0]), "whole numbers from 0 as the shape"),
        (tensor(shape=[True, 2]), "whole numbers from 0 as the shape"),
        (tensor(shape=["2"]), "whole numbers from 0 as the shape"),
        (tensor(shape=2), "short list as the shape"),
        (tensor(shape={}), "short list as the shape"),
        (tensor(shape=[1] * 9), "at most 8 dimensions"),
        (tensor(shape=[1] * 100), "short list as the shape"),
        (tensor(shape=[1 << 40, 1 << 40]), r"below 2\^63 bits"),
        (tensor(shape=[1 << 62, 1 << 62, 0]), r"below 2\^63 bits"),
        (tensor(shape=[3]), "12 bytes of t"),
        (tensor(dtype="F4", shape=[3], data_offsets=[0, 1]), "1.5 bytes of t"),
        (tensor(data_offsets=[8, 0]), "two rising offsets"),
        (tensor(data_offsets=[0]), "two rising offsets"),
        (tensor(data_offsets=[0, 8, 8]), "two rising offsets"),
        (tensor(data_offsets=[-8, 0]), "whole numbers from 0 as the offsets"),
        (tensor(data_offsets=[0, 1 << 63]), "whole numbers from 0 as the offsets"),
        ({"t": []}, "dtype, shape and data_offsets of t"),
        ({"t": None}, "dtype, shape and data_offsets of t"),
        ({"t": {"dtype": "F32", "shape": [2]}}, "dtype, shape and data_offsets of t"),
        (tensor(extra=1), "dtype, shape and data_offsets of t"),
        ({"": tensor()["t"]}, "tensor names of 1 to 512"),
        ({"x" * 513: tensor()["t"]}, "tensor names of 1 to 512"),
        ({"a\nb": tensor()["t"]}, "printable"),
        ({"__metadata__": {"format": 1}}, "texts as __metadata__"),
        ({"__metadata__": []}, "texts as __metadata__"),
    ],
)
def test_hostile_tensor_is_refused(header: dict[str, Any], says: str) -> None:
    with pytest.raises(MismatchError, match=says):
        safetensors.parse(json.dumps(header).encode(), 8, "f")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"{", "JSON"),
        (b"[]", "a JSON object"),
        (b"{}}", "JSON"),
        (b'{"a":NaN}', "finite numbers"),
        (b'{"a":-Infinity}', "finite numbers"),
        (b'{"t":1,"t":2}', "'t' twice"),
        (b'{"t":{"dtype":"F32","dtype":"F16"}}', "'dtype' twice"),
        (b'{"a":' + b"9" * 100_000 + b"}", "at most 20 digits"),
        (b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}", "nested too deeply"),
        (b'{"a":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001, "nested too deeply"),
        (b'{"\xff":1}', "UTF-8"),
        (b'{"t":{"dtype":"F32","shape":[1e400],"data_offsets":[0,8]}}', "whole numbers"),
    ],
)
def test_hostile_json_is_refused(text: bytes, says: str) -> None:
    with pytest.raises(MismatchError, match=says):
        safetensors.parse(text, 8, "f")


@pytest.mark.parametrize(
    ("offsets", "size"), [([(0, 8), (4, 12)], 12), ([(0, 8), (12, 20)], 20), ([(4, 12), (12, 20)], 20)]
)
def test_tensors_that_overlap_or_leave_a_gap_are_refused(offsets: list[tuple[int, int]], size: int) -> None:
    header = {
        f"t{number}": {"dtype": "F32", "shape": [2], "data_offsets": list(pair)} for number, pair in enumerate(offsets)
    }
    with pytest.raises(MismatchError, match="from byte"):
        safetensors.parse(json.dumps(header).encode(), size, "f")


def test_file_that_is_cut_off_or_too_long_is_refused() -> None:
    for size in (46, 48):
        with pytest.raises(MismatchError, match="47 bytes of tensors"):
            safetensors.read_header(made.file(GOOD, size))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b'{"a":"' + b"x" * ((16 << 20) - 10) + b'"}', "dtype, shape and data_offsets"),
        (b'{"a":[' + b"{}," * 4_000_000 + b"{}]}", "at most 2097152 values"),
        (b'{"a":[' + b"0," * 6_000_000 + b"0]}", "at most 2097152 values"),
    ],
)
def test_largest_hostile_header_is_refused_in_bounded_time(text: bytes, says: str) -> None:
    began = time.process_time()
    with pytest.raises(MismatchError, match=says):
        safetensors.read_header(made.file(text, 0))
    assert time.process_time() - began < 10


def test_errors_are_short() -> None:
    with pytest.raises(MismatchError) as raised:
        safetensors.parse(json.dumps({"t": "x" * 100_000}).encode(), 8, "f")
    assert len(str(raised.value)) < 400
