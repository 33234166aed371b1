# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The header and the tensor table of a GGUF file: what a model is, without its weights.

Versions 2 and 3, little and big endian, in one file or in shards. A file is foreign until it was read here, so
every length is held against what is left of the file and against a bound before anything is kept, and what the
engine refuses (ggml/src/gguf.cpp of release 0c1e57098) is refused here with a reason. Time and memory are bounded
whatever the file says: at most C(MAX_READ) bytes are read, arrays of texts are walked and not kept.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, Union

from ..errors import MismatchError
from .gguf_types import TYPES

MAGIC = b"GGUF"
VERSIONS = (2, 3)
ALIGNMENT_KEY = "general.alignment"
DEFAULT_ALIGNMENT = 32
#: Bounds, far above what is known: vocabularies and merges have some 500 000 texts, models some 2 000 tensors.
MAX_READ = 64 << 20
MAX_FIELDS = 1 << 16
MAX_TENSORS = 1 << 17
MAX_TEXTS = 1 << 20
MAX_KEY = 1 << 16
MAX_NAME = 64
MAX_DIMENSIONS = 4
#: Longer texts and arrays are not kept; C(ArraySummary) says how long they are.
KEPT_TEXT = 1 << 20
KEPT_ARRAY = 1 << 12
#: Entries of all short arrays together: as objects they take many times the room that they have in the file.
MAX_KEPT = 1 << 18
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
_WINDOW = 1 << 16

#: What is often found in place of a model, by its first bytes.
_FOREIGN = (
    (b"<", "a web page"),
    (b"\x1f\x8b", "gzip data"),
    (b"PK", "a zip archive"),
    (b"{", "JSON"),
    (b"version https://git-lfs", "a pointer of Git LFS"),
    (b"ggml", "a model in the format before GGUF"),
    (b"ggjt", "a model in the format before GGUF"),
    (b"\x00\x00\x00\x00", "zeros, as where a download reserved room"),
)

Scalar = Union[str, int, float, bool]


class Source(Protocol):
    """Where a header is read from: a file, or a server that gives ranges.

    :ivar size: bytes of the whole file.
    :ivar name: what errors call it.
    """

    @property
    def size(self) -> int: ...

    @property
    def name(self) -> str: ...

    def read(self, offset: int, length: int) -> bytes:
        """Bytes from there, fewer only at the end."""


@dataclass(frozen=True)
class ArraySummary:
    """An array or a text that is too long to keep, as the vocabulary is."""

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
    :ivar file: index of its shard.
    """

    name: str
    type: str
    shape: tuple[int, ...]
    offset: int
    size: int
    file: int = 0

    @property
    def elements(self) -> int:
        """Number of weights."""
        count = 1
        for dimension in self.shape:
            count *= dimension
        return count


@dataclass(frozen=True)
class Header:
    """What a file says of itself.

    :ivar byte_order: C(little) or C(big).
    :ivar data_start: offset of the first tensor's first byte.
    :ivar file_size: bytes of the file; of all shards together once they are joined.
    """

    version: int
    byte_order: str
    alignment: int
    metadata: Mapping[str, Value]
    tensors: tuple[Tensor, ...]
    data_start: int
    file_size: int

    @property
    def data_end(self) -> int:
        """Offset behind the last tensor of one file; the file is whole if it reaches that far."""
        return max((tensor.offset + tensor.size for tensor in self.tensors), default=self.data_start)

    @property
    def is_whole(self) -> bool:
        """Whether all tensors of one file lie within it, as the engine requires."""
        return self.data_end <= self.file_size


def _broken(name: str, expected: str, found: str) -> MismatchError:
    return MismatchError(
        f"{expected} in {name}",
        found,
        "it is no GGUF model that the engine opens; compare its checksum, fetch it again",
    )


class _Cursor:
    """Reads forward through a source in windows, and keeps count of what it costs."""

    def __init__(self, source: Source, order: str = "<") -> None:
        self.source, self.order = source, order
        self.position = 0
        self._window, self._window_start = b"", 0
        self._next = _WINDOW
        self._budget = MAX_READ
        self._kept = 0

    @property
    def left(self) -> int:
        """Bytes behind this position."""
        return self.source.size - self.position

    def need(self, length: int, what: str) -> None:
        """Refuse a length that the file does not have."""
        if length > self.left:
            raise _broken(
                self.source.name,
                f"{length} bytes of {what} at offset {self.position}",
                f"only {max(0, self.left)} bytes before the end of the file",
            )

    def take(self, length: int, what: str) -> bytes:
        """The next bytes."""
        self.need(length, what)
        start = self.position - self._window_start
        if start < 0 or start + length > len(self._window):
            self._fetch(length)
            start = 0
        self.position += length
        return self._window[start : start + length]

    def skip(self, length: int, what: str) -> None:
        """Go on without reading."""
        self.need(length, what)
        self.position += length

    def skip_texts(self, count: int, what: str) -> None:
        """Go on behind so many texts, each with its length in front: the one place where speed matters."""
        unpack = struct.Struct(f"{self.order}Q").unpack_from
        for _each in range(count):
            start = self.position - self._window_start
            if start < 0 or start + 8 > len(self._window):
                self.take(8, what)
                self.position -= 8
                start = 0
            length = unpack(self._window, start)[0]
            if length > self.source.size - self.position - 8:
                self.need(8 + length, what)
            self.position += 8 + length

    def number(self, code: str, what: str) -> Any:
        """One number."""
        return struct.unpack(self.order + code, self.take(struct.calcsize(code), what))[0]

    def _fetch(self, length: int) -> None:
        wanted = min(max(length, self._next), self.left)
        self._budget -= wanted
        if self._budget < 0:
            raise _broken(
                self.source.name, f"a header of at most {MAX_READ >> 20} MiB", f"more at offset {self.position}"
            )
        # Small first, for most headers are; larger for a vocabulary, so that a server is asked a few times only.
        self._next = min(self._next * 2, 4 << 20)
        data = self.source.read(self.position, wanted)
        if len(data) != wanted:
            raise _broken(
                self.source.name,
                f"{wanted} bytes at offset {self.position}",
                f"{len(data)}, as if it had become shorter",
            )
        self._window, self._window_start = data, self.position

    def keep(self, count: int, what: str) -> None:
        """Count the entries of an array that is kept."""
        self._kept += count
        if self._kept > MAX_KEPT:
            raise _broken(self.source.name, f"short arrays of at most {MAX_KEPT} entries together", f"more in {what}")

    def text(self, most: int, what: str) -> str:
        """A text of bounded length; the engine does not care about its encoding either."""
        length = self.number("Q", f"the length of {what}")
        if length > most:
            raise _broken(self.source.name, f"{what} of at most {most} bytes", f"a length of {length}")
        return self.take(length, what).decode("utf-8", errors="replace")


def _look_at_magic(source: Source) -> str:
    """The byte order, or why this is no GGUF file."""
    if source.size < 24:
        raise _broken(source.name, "a GGUF header of at least 24 bytes", f"a file of {source.size} bytes")
    start = source.read(0, 24)
    if start[:4] != MAGIC:
        told = next((word for mark, word in _FOREIGN if start.startswith(mark)), "")
        if not told and start[8:9] == b"{":
            told = "a safetensors file"
        what = told or "something else, perhaps a later byte part of a model that has to be joined"
        raise _broken(source.name, "the letters GGUF at its beginning", f"{start[:4]!r}: {what}")
    little, big = struct.unpack("<I", start[4:8])[0], struct.unpack(">I", start[4:8])[0]
    if little in VERSIONS:
        return "<"
    if big in VERSIONS:
        return ">"
    version = min(little, big)
    raise _broken(
        source.name,
        "GGUF version 2 or 3",
        f"version {version}" + (", which the engine has given up; convert the model again" if version == 1 else ""),
    )


def _value(cursor: _Cursor, kind: int, what: str) -> Value:
    if kind in _SCALARS:
        value = cursor.number(_SCALARS[kind][1], what)
        return bool(value) if kind == 7 else value
    if kind == _STRING:
        length = cursor.number("Q", f"the length of {what}")
        if length > KEPT_TEXT:
            cursor.skip(length, what)
            return ArraySummary("string", length)
        return cursor.take(length, what).decode("utf-8", errors="replace")
    if kind == _ARRAY:
        return _array(cursor, what)
    raise _broken(cursor.source.name, f"a known type of {what}", f"type {kind}")


def _array(cursor: _Cursor, what: str) -> Value:
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
            raise _broken(cursor.source.name, f"{what} with at most {MAX_TEXTS} texts", f"a number of {length}")
        # Each has a length of eight bytes, so a number that cannot be is seen before the first one.
        cursor.need(length * 8, what)
        cursor.skip_texts(length, what)
        return ArraySummary("string", length)
    if kind == _ARRAY:
        raise _broken(cursor.source.name, f"no array within an array in {what}", "one, which the engine refuses too")
    raise _broken(cursor.source.name, f"a known type of the entries of {what}", f"type {kind}")


def _metadata(cursor: _Cursor, count: int) -> dict[str, Value]:
    metadata: dict[str, Value] = {}
    for number in range(count):
        key = cursor.text(MAX_KEY, f"key {number + 1} of {count}")
        if not key or key in metadata:
            raise _broken(
                cursor.source.name, "keys with names of their own", f"{key!r} again" if key else "a key without a name"
            )
        kind = cursor.number("I", f"the type of {key}")
        if key == ALIGNMENT_KEY and kind != 4:
            raise _broken(cursor.source.name, f"{ALIGNMENT_KEY} as a number of type uint32", f"type {kind}")
        metadata[key] = _value(cursor, kind, key)
    return metadata


def _alignment(cursor: _Cursor, metadata: Mapping[str, Value]) -> int:
    alignment = metadata.get(ALIGNMENT_KEY, DEFAULT_ALIGNMENT)
    if not isinstance(alignment, int) or alignment <= 0 or alignment & (alignment - 1):
        raise _broken(cursor.source.name, f"a power of two as {ALIGNMENT_KEY}", str(alignment))
    return alignment


def _tensor(cursor: _Cursor, number: int) -> Tensor:
    name = cursor.text(MAX_NAME - 1, f"the name of tensor {number}")
    count = cursor.number("I", f"the dimensions of {name}")
    if count > MAX_DIMENSIONS:
        raise _broken(cursor.source.name, f"at most {MAX_DIMENSIONS} dimensions of {name}", str(count))
    shape = struct.unpack(f"{cursor.order}{count}Q", cursor.take(8 * count, f"the dimensions of {name}")) or (1,)
    elements = 1
    for dimension in shape:
        elements *= dimension
    if not all(dimension <= INT64_MAX for dimension in shape) or elements > INT64_MAX:
        raise _broken(cursor.source.name, f"dimensions of {name} that can be", " x ".join(map(str, shape)))
    kind = cursor.number("I", f"the type of {name}")
    if kind not in TYPES:
        raise _broken(
            cursor.source.name, f"a type of {name} that release 0c1e57098 knows", f"type {kind}; a newer model, perhaps"
        )
    if shape[0] % TYPES[kind].block:
        raise _broken(
            cursor.source.name,
            f"rows of {name} in whole blocks of {TYPES[kind].block} weights ({TYPES[kind].name})",
            f"rows of {shape[0]}",
        )
    offset = cursor.number("Q", f"the offset of {name}")
    return Tensor(name, TYPES[kind].name, shape, offset, TYPES[kind].size(elements))


def _padded(size: int, alignment: int) -> int:
    return -(-size // alignment) * alignment


def _place(source: Source, tensors: Sequence[Tensor], start: int, alignment: int) -> tuple[Tensor, ...]:
    """Absolute offsets. The engine wants tensors behind one another in the order of the table, each padded."""
    placed: list[Tensor] = []
    expected = 0
    for tensor in tensors:
        if tensor.offset != expected:
            how = (
                "is misaligned"
                if tensor.offset % alignment
                else "overlaps"
                if tensor.offset < expected
                else "has a gap"
            )
            raise _broken(source.name, f"{tensor.name} at offset {expected} of the data", f"{tensor.offset}: it {how}")
        placed.append(replace(tensor, offset=start + expected))
        expected += _padded(tensor.size, alignment)
        if expected > SIZE_MAX:
            raise _broken(source.name, "tensors of less than 2^64 bytes", f"{expected} up to {tensor.name}")
    return tuple(placed)


def read_header(source: Source) -> Header:
    """Read one file's header and tensor table.

    :raises MismatchError: if it is no GGUF file that the engine would open. A file that was cut off behind its table
        is read all the same; C(is_whole) tells.
    """
    order = _look_at_magic(source)
    cursor = _Cursor(source, order)
    cursor.skip(4, "the magic")
    version = cursor.number("I", "the version")
    tensor_count, field_count = cursor.number("Q", "the number of tensors"), cursor.number("Q", "the number of keys")
    for count, most, least, what in (
        (field_count, MAX_FIELDS, _LEAST_FIELD, "keys"),
        (tensor_count, MAX_TENSORS, _LEAST_TENSOR, "tensors"),
    ):
        if count > most or count * least > source.size:
            raise _broken(source.name, f"a number of {what} that {source.size} bytes can hold", str(count))
    metadata = _metadata(cursor, field_count)
    alignment = _alignment(cursor, metadata)
    tensors: list[Tensor] = []
    names: set[str] = set()
    for number in range(tensor_count):
        tensor = _tensor(cursor, number + 1)
        if tensor.name in names:
            raise _broken(source.name, "tensors with names of their own", f"{tensor.name!r} again")
        names.add(tensor.name)
        tensors.append(tensor)
    start = _padded(cursor.position, alignment) if tensors else cursor.position
    return Header(
        version=version,
        byte_order="little" if order == "<" else "big",
        alignment=alignment,
        metadata=metadata,
        tensors=_place(source, tensors, start, alignment),
        data_start=start,
        file_size=source.size,
    )


def number_of(header: Header, key: str) -> int | None:
    """A key's value if it is a whole number."""
    value = header.metadata.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def shard_count(header: Header) -> int:
    """How many files the model has."""
    return number_of(header, "split.count") or 1


def join_shards(headers: Sequence[Header], name: str = "the model") -> Header:
    """One header of a model that is in shards, in order: the first one's keys, everybody's tensors.

    :raises MismatchError: if the set is not whole, not in order, or not of one model.
    """
    first = headers[0]
    count = shard_count(first)
    if count != len(headers):
        raise _broken(name, f"{count} shards", f"{len(headers)}")
    tensors: list[Tensor] = []
    for index, header in enumerate(headers):
        if count > 1 and (shard_count(header), number_of(header, "split.no")) != (count, index):
            found = f"number {number_of(header, 'split.no')} of {shard_count(header)}"
            raise _broken(name, f"shard number {index} of {count} at that place (split.no, from 0)", found)
        tensors += [replace(tensor, file=index) for tensor in header.tensors]
    total = number_of(first, "split.tensors.count")
    if total is not None and total != len(tensors):
        raise _broken(name, f"{total} tensors in all shards (split.tensors.count)", str(len(tensors)))
    if len({tensor.name for tensor in tensors}) != len(tensors):
        raise _broken(name, "each tensor in one shard", "one of them in two")
    return replace(first, tensors=tuple(tensors), file_size=sum(header.file_size for header in headers))
