# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the header and the tensor table of a GGUF file: the facts about a model, without its weights.

Versions 2 and 3, little and big endian, in one file or in shards. The content of a file is untrusted: each length is
compared with the rest of the file and with a bound before anything is kept. A file that the engine refuses
(ggml/src/gguf.cpp of release 0c1e57098) is refused here with a reason. Time and memory are bounded for any content: at
most C(MAX_READ) bytes are read, and arrays of texts are skipped.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Union

from .gguf_cursor import Cursor, broken_file
from .gguf_types import TYPES, padded
from .source import Source

MAGIC = b"GGUF"
VERSIONS = (2, 3)
ALIGNMENT_KEY = "general.alignment"
DEFAULT_ALIGNMENT = 32
#: Bounds, far above known models: vocabularies and merges have some 500 000 texts, models some 2 000 tensors.
MAX_FIELDS = 1 << 16
MAX_TENSORS = 1 << 15
MAX_TEXTS = 1 << 20
MAX_SHARDS = 1 << 10
MAX_KEY = 1 << 16
MAX_NAME = 64
MAX_DIMENSIONS = 4
#: Longer texts and arrays are not kept; C(ArraySummary) has their length.
KEPT_TEXT = 1 << 16
KEPT_ARRAY = 1 << 12
#: Keys that number the shards of a model.
_SPLIT_KEYS = ("split.no", "split.count", "split.tensors.count")
INT64_MAX = (1 << 63) - 1
SIZE_MAX = (1 << 64) - 1

#: Scalars by number: name and format of struct.
_SCALARS = {
    0: ("uint8", "B"),
    1: ("int8", "b"),
    2: ("uint16", "H"),
    3: ("int16", "h"),
    4: ("uint32", "I"),
    5: ("int32", "i"),
    6: ("float32", "f"),
    7: ("bool", "b"),
    10: ("uint64", "Q"),
    11: ("int64", "q"),
    12: ("float64", "d"),
}
_STRING, _ARRAY = 8, 9
#: The smallest field (key of one letter, a byte) and tensor (no name, no dimension).
_LEAST_FIELD, _LEAST_TENSOR = 8 + 1 + 4 + 1, 8 + 4 + 4 + 8

#: Content that is often found in place of a model, by its first bytes.
_FOREIGN = (
    (b"<", "a web page"),
    (b"\x1f\x8b", "gzip data"),
    (b"PK", "a zip archive"),
    (b"{", "JSON"),
    (b"version https://git-lfs", "a pointer of Git LFS"),
    (b"ggml", "a model in the format before GGUF"),
    (b"ggjt", "a model in the format before GGUF"),
    (b"\x00\x00\x00\x00", "zeros, as in space that a download reserved"),
)

Scalar = Union[str, int, float, bool]


@dataclass(frozen=True)
class ArraySummary:
    """An array or a text that is too long to keep, such as the vocabulary."""

    type: str
    length: int


Value = Union[Scalar, tuple[Scalar, ...], ArraySummary]


@dataclass(frozen=True)
class Tensor:
    """One entry of the tensor table.

    :ivar type: ggml's name of the type, such as C(q4_K).
    :ivar shape: dimensions, innermost first, as in the file.
    :ivar offset: of its first byte in its file.
    :ivar size: in bytes, without padding.
    """

    name: str
    type: str
    shape: tuple[int, ...]
    offset: int
    size: int

    @property
    def elements(self) -> int:
        """Number of weights."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Header:
    """The header of a file.

    :ivar byte_order: C(little) or C(big).
    :ivar data_start: offset of the first tensor's first byte.
    :ivar file_size: bytes of the file; of all shards once they are joined.
    :ivar types: by key, the name of its type in the file.
    :ivar problems: what the engine accepts, but no program writes, as sentences.
    """

    version: int
    byte_order: str
    alignment: int
    metadata: Mapping[str, Value]
    tensors: tuple[Tensor, ...]
    data_start: int
    file_size: int
    types: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    @property
    def data_end(self) -> int:
        """Offset after the last tensor of one file; the file is whole if it has that many bytes."""
        return max((tensor.offset + tensor.size for tensor in self.tensors), default=self.data_start)

    @property
    def is_whole(self) -> bool:
        """Whether all tensors of one file lie within it, as the engine requires."""
        return self.data_end <= self.file_size


def _byte_order(source: Source) -> str:
    """Read the byte order; refuse a file that is no GGUF file."""
    if source.size < 24:
        raise broken_file(source.name, "a GGUF header of at least 24 bytes", f"a file of {source.size} bytes")
    start = source.read(0, 24)
    if start[:4] != MAGIC:
        known = next((name for prefix, name in _FOREIGN if start.startswith(prefix)), "")
        if not known and start[8:9] == b"{":
            known = "a safetensors file"
        what = known or "something else, perhaps a later byte part of a model that has to be joined"
        raise broken_file(source.name, "the letters GGUF at its beginning", f"{start[:4]!r}: {what}")
    little, big = struct.unpack("<I", start[4:8])[0], struct.unpack(">I", start[4:8])[0]
    if little in VERSIONS:
        return "<"
    if big in VERSIONS:
        return ">"
    version = min(little, big)
    raise broken_file(
        source.name,
        "GGUF version 2 or 3",
        f"version {version}" + (", which the engine no longer reads; convert the model again" if version == 1 else ""),
    )


def _value(cursor: Cursor, kind: int, what: str, is_kept: bool = False) -> Value:
    if kind in _SCALARS:
        value = cursor.number(_SCALARS[kind][1], what)
        return bool(value) if kind == 7 else value
    if kind == _STRING:
        length = cursor.number("Q", f"the length of {what}")
        if length > KEPT_TEXT:
            cursor.skip(length, what)
            return ArraySummary("string", length)
        return cursor.decoded(length, what)
    if kind == _ARRAY:
        return _array(cursor, what, is_kept)
    raise cursor.broken(f"a known type of {what}", f"type {kind}")


def _array(cursor: Cursor, what: str, is_kept: bool) -> Value:
    kind, length = cursor.number("I", f"the type of {what}"), cursor.number("Q", f"the length of {what}")
    if kind in _SCALARS:
        name, code = _SCALARS[kind]
        width = struct.calcsize(code)
        if length > KEPT_ARRAY:
            cursor.skip(length * width, what)
            return ArraySummary(name, length)
        cursor.keep(length, what)
        values = struct.unpack(f"{cursor.order}{length}{code}", cursor.take(length * width, what))
        return tuple(bool(value) for value in values) if kind == 7 else values
    if kind == _STRING:
        if length > MAX_TEXTS:
            raise cursor.broken(f"{what} with at most {MAX_TEXTS} texts", f"a number of {length}")
        cursor.count_texts(length, what)
        # Each text has a length of eight bytes, so an impossible number is detected before the first one.
        cursor.need(length * 8, what)
        if is_kept:
            return cursor.texts(length, what)
        cursor.skip_texts(length, what)
        return ArraySummary("string", length)
    if kind == _ARRAY:
        raise cursor.broken(f"no array within an array in {what}", "one, which the engine refuses too")
    raise cursor.broken(f"a known type of the entries of {what}", f"type {kind}")


def _type_name(kind: int) -> str:
    """Name a type as the format does."""
    if kind in _SCALARS:
        return _SCALARS[kind][0]
    return "string" if kind == _STRING else "array"


def _metadata(cursor: Cursor, count: int, texts: Collection[str]) -> tuple[dict[str, Value], dict[str, str]]:
    """Read the keys: their values, and the names of their types."""
    metadata: dict[str, Value] = {}
    types: dict[str, str] = {}
    for number in range(count):
        key = cursor.text(MAX_KEY, f"key {number + 1} of {count}")
        if not key or key in metadata:
            raise cursor.broken("keys with different names", f"{key!r} again" if key else "a key without a name")
        kind = cursor.number("I", f"the type of {key}")
        if key == ALIGNMENT_KEY and kind != 4:
            raise cursor.broken(f"{ALIGNMENT_KEY} as a number of type uint32", f"type {kind}")
        metadata[key] = _value(cursor, kind, key, key in texts)
        types[key] = _type_name(kind)
    return metadata, types


def _alignment(cursor: Cursor, metadata: Mapping[str, Value]) -> int:
    alignment = metadata.get(ALIGNMENT_KEY, DEFAULT_ALIGNMENT)
    if not isinstance(alignment, int) or alignment <= 0 or alignment & (alignment - 1):
        raise cursor.broken(f"a power of two as {ALIGNMENT_KEY}", str(alignment))
    return alignment


def _tensor(cursor: Cursor, number: int) -> Tensor:
    name = cursor.text(MAX_NAME - 1, f"the name of tensor {number}")
    count = cursor.number("I", f"the dimensions of {name}")
    if count > MAX_DIMENSIONS:
        raise cursor.broken(f"at most {MAX_DIMENSIONS} dimensions of {name}", str(count))
    shape = struct.unpack(f"{cursor.order}{count}Q", cursor.take(8 * count, f"the dimensions of {name}")) or (1,)
    elements = math.prod(shape)
    # The engine divides by each dimension.
    if not all(0 < dimension <= INT64_MAX for dimension in shape) or elements > INT64_MAX:
        raise cursor.broken(f"possible dimensions of {name}", " x ".join(map(str, shape)))
    kind = cursor.number("I", f"the type of {name}")
    if kind not in TYPES:
        raise cursor.broken(f"a type of {name} that release 0c1e57098 knows", f"type {kind}; a newer model, perhaps")
    if shape[0] % TYPES[kind].block:
        raise cursor.broken(
            f"rows of {name} in whole blocks of {TYPES[kind].block} weights ({TYPES[kind].name})",
            f"rows of {shape[0]}",
        )
    offset = cursor.number("Q", f"the offset of {name}")
    return Tensor(name, TYPES[kind].name, shape, offset, TYPES[kind].size(elements))


def _place(source: Source, tensors: Sequence[Tensor], start: int, alignment: int) -> tuple[Tensor, ...]:
    """Compute absolute offsets. The engine needs tensors in the order of the table, each padded, without gaps."""
    placed: list[Tensor] = []
    expected = 0
    for tensor in tensors:
        if tensor.offset != expected:
            how = "overlaps" if tensor.offset < expected else "has a gap"
            how = "is misaligned" if tensor.offset % alignment else how
            wanted = f"{tensor.name} at offset {expected} of the data"
            raise broken_file(source.name, wanted, f"{tensor.offset}: it {how}")
        placed.append(replace(tensor, offset=start + expected))
        expected += padded(tensor.size, alignment)
        if expected > SIZE_MAX:
            raise broken_file(source.name, "tensors of less than 2^64 bytes", f"{expected} up to {tensor.name}")
    return tuple(placed)


def read_header(source: Source, texts: Collection[str] = ()) -> Header:
    """Read one file's header and tensor table.

    :param texts: keys whose arrays of texts are kept.
    :raises MismatchError: if the engine would not open the file. A file that is truncated after its table is read;
        its C(is_whole) is false.
    """
    order = _byte_order(source)
    cursor = Cursor(source, order)
    cursor.skip(4, "the magic")
    version = cursor.number("I", "the version")
    tensor_count, field_count = cursor.number("Q", "the number of tensors"), cursor.number("Q", "the number of keys")
    for count, most, least, what in (
        (field_count, MAX_FIELDS, _LEAST_FIELD, "keys"),
        (tensor_count, MAX_TENSORS, _LEAST_TENSOR, "tensors"),
    ):
        if count > most or count * least > source.size:
            raise broken_file(source.name, f"a number of {what} that {source.size} bytes can hold", str(count))
    metadata, types = _metadata(cursor, field_count, texts)
    alignment = _alignment(cursor, metadata)
    tensors: list[Tensor] = []
    names: set[str] = set()
    for number in range(tensor_count):
        tensor = _tensor(cursor, number + 1)
        if tensor.name in names:
            raise broken_file(source.name, "tensors with different names", f"{tensor.name!r} again")
        names.add(tensor.name)
        tensors.append(tensor)
    start = padded(cursor.position, alignment) if tensors else cursor.position
    return Header(
        version=version,
        byte_order="little" if order == "<" else "big",
        alignment=alignment,
        metadata=metadata,
        tensors=_place(source, tensors, start, alignment),
        data_start=start,
        file_size=source.size,
        types=types,
        problems=tuple(cursor.problems),
    )


def number_of(header: Header, key: str) -> int | None:
    """Return the value of a key if it is a whole number."""
    value = header.metadata.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def shard_count(header: Header) -> int:
    """Return the number of files of the model."""
    return number_of(header, "split.count") or 1


def with_shard(headers: list[Header], header: Header, name: str) -> list[Header]:
    """Add the header of the next shard to those before it, within the bound of a model's tensors.

    Of later shards, only the keys that number them are kept, so that many shards take little memory.
    """
    total = sum(len(other.tensors) for other in headers) + len(header.tensors)
    if total > MAX_TENSORS:
        raise broken_file(name, f"at most {MAX_TENSORS} tensors in all shards", str(total))
    if headers:
        numbers = {key: value for key, value in header.metadata.items() if key in _SPLIT_KEYS}
        header = replace(header, metadata=numbers, types={})
    return [*headers, header]


def join_shards(headers: Sequence[Header], name: str = "the model") -> Header:
    """Join the headers of a model in shards: the keys of the first shard, the tensors of all.

    :param headers: of the shards in order.
    :raises MismatchError: if the set is incomplete, not in order, or not of one model.
    """
    first = headers[0]
    count = shard_count(first)
    if count != len(headers):
        raise broken_file(name, f"{count} shards", f"{len(headers)}")
    tensors: list[Tensor] = []
    for index, header in enumerate(headers):
        if count > 1 and (shard_count(header), number_of(header, "split.no")) != (count, index):
            found = f"number {number_of(header, 'split.no')} of {shard_count(header)}"
            raise broken_file(name, f"shard number {index} of {count} at that place (split.no, from 0)", found)
        tensors += header.tensors
    total = number_of(first, "split.tensors.count")
    if total is not None and total != len(tensors):
        raise broken_file(name, f"{total} tensors in all shards (split.tensors.count)", str(len(tensors)))
    if len({tensor.name for tensor in tensors}) != len(tensors):
        raise broken_file(name, "each tensor in one shard", "a tensor in two shards")
    return replace(
        first,
        tensors=tuple(tensors),
        file_size=sum(header.file_size for header in headers),
        problems=tuple(dict.fromkeys(problem for header in headers for problem in header.problems)),
    )
