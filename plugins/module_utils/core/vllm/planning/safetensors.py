# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the header of a safetensors file: the name, type and shape of each tensor, without its weights.

Format: U(https://huggingface.co/docs/safetensors), eight bytes with the length of a JSON object, the object, the
tensors. The content is untrusted. A file that the safetensors library refuses (tensors that overlap or leave a gap, a
size that is not that of shape and type) is refused here with a reason. Time and memory are bounded for any content.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...models.source import Source
from .strict_json import broken, parse_object

#: Most bytes of a header, above the largest known: 2.6 MB for the 18 000 tensors of GLM-4.6V in one file. The library
#: itself accepts 100 MB, of which the objects would fill a login node's memory.
MAX_HEADER = 16 << 20
MAX_TENSORS = 1 << 17
MAX_NAME = 512
MAX_DIMENSIONS = 8
#: Bytes of the first read: it holds most headers whole.
FIRST_READ = 256 << 10
_LENGTH = 8
_LARGEST = (1 << 63) - 1

#: Bits of an element, as the safetensors library names the types.
BITS: Mapping[str, int] = {
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "BOOL": 8,
    "U8": 8,
    "I8": 8,
    "F8_E5M2": 8,
    "F8_E4M3": 8,
    "F8_E8M0": 8,
    "I16": 16,
    "U16": 16,
    "F16": 16,
    "BF16": 16,
    "I32": 32,
    "U32": 32,
    "F32": 32,
    "C64": 64,
    "F64": 64,
    "I64": 64,
    "U64": 64,
}


@dataclass(frozen=True)
class Tensor:
    """A tensor of a file.

    :ivar dtype: safetensors' name of its type, such as C(BF16).
    :ivar start: position of its first byte behind the header; C(end) follows its last one.
    """

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    @property
    def size(self) -> int:
        """Bytes of its data."""
        return self.end - self.start

    @property
    def elements(self) -> int:
        """Number of its elements."""
        return self.size * 8 // BITS[self.dtype]


@dataclass(frozen=True)
class Header:
    """The header of a file. C(size) is the number of bytes of all its tensors."""

    tensors: Mapping[str, Tensor]
    size: int


def read_header(source: Source) -> Header:
    """Read and check the header of a file in one or two reads."""
    first = source.read(0, min(FIRST_READ, source.size))
    if len(first) < _LENGTH:
        raise broken(source.name, f"a header of {_LENGTH} bytes or more", f"{len(first)} bytes")
    length = int.from_bytes(first[:_LENGTH], "little")
    if first[_LENGTH : _LENGTH + 1] not in (b"{", b""):
        raise broken(source.name, "a safetensors header that begins with {", repr(first[: _LENGTH + 8]))
    if length > MAX_HEADER:
        raise broken(source.name, f"a header of at most {MAX_HEADER >> 20} MiB", f"a length of {length} bytes")
    if length < 2 or _LENGTH + length > source.size:
        raise broken(source.name, f"a header within its {source.size} bytes", f"a length of {length} bytes")
    text = first[_LENGTH : _LENGTH + length]
    if len(text) < length:
        text += source.read(_LENGTH + len(text), length - len(text))
    if len(text) != length:
        raise broken(source.name, f"{length} bytes of header", f"{len(text)}: the file has become shorter")
    return parse(text, source.size - _LENGTH - length, source.name)


def parse(text: bytes, data_size: int, name: str) -> Header:
    """Parse a header.

    :param data_size: bytes behind the header, which the tensors fill without a gap.
    """
    entries = dict(parse_object(text, name))
    metadata = entries.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise broken(name, "texts as __metadata__", repr(metadata)[:80])
    if len(entries) > MAX_TENSORS:
        raise broken(name, f"at most {MAX_TENSORS} tensors", str(len(entries)))
    tensors = {key: _tensor(key, value, name) for key, value in entries.items()}
    end = 0
    for key, tensor in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].end)):
        if tensor.start != end:
            raise broken(name, f"the data of {key} from byte {end} on", f"an offset of {tensor.start}")
        end = tensor.end
    if end != data_size:
        raise broken(name, f"{end} bytes of tensors", f"{data_size}: the file is cut off or holds other data too")
    return Header(tensors, end)


def _tensor(key: str, entry: Any, name: str) -> Tensor:
    """Check one tensor: its type, its shape, and that both make its size."""
    if not 0 < len(key) <= MAX_NAME or not key.isprintable():
        raise broken(name, f"tensor names of 1 to {MAX_NAME} printable characters", repr(key[:80]))
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise broken(name, f"dtype, shape and data_offsets of {key}", repr(entry)[:80])
    dtype = entry["dtype"]
    if not isinstance(dtype, str) or dtype not in BITS:
        raise broken(name, f"a known type of {key}", repr(dtype)[:80])
    shape = _whole_numbers(entry["shape"], f"the shape of {key}", name)
    offsets = _whole_numbers(entry["data_offsets"], f"the offsets of {key}", name)
    if len(shape) > MAX_DIMENSIONS:
        raise broken(name, f"at most {MAX_DIMENSIONS} dimensions of {key}", str(len(shape)))
    if len(offsets) != 2 or offsets[0] > offsets[1]:
        raise broken(name, f"two rising offsets of {key}", repr(offsets)[:80])
    bits = BITS[dtype]
    for dimension in shape:
        bits *= dimension
        if bits > _LARGEST:
            raise broken(name, f"a shape of {key} below 2^63 bits", repr(shape))
    if bits != 8 * (offsets[1] - offsets[0]):
        raise broken(name, f"{bits / 8:g} bytes of {key} ({dtype} {list(shape)})", str(offsets[1] - offsets[0]))
    return Tensor(dtype, shape, offsets[0], offsets[1])


def _whole_numbers(value: Any, what: str, name: str) -> tuple[int, ...]:
    if not isinstance(value, list) or len(value) > 64:
        raise broken(name, f"a short list as {what}", repr(value)[:80])
    for number in value:
        if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= _LARGEST:
            raise broken(name, f"whole numbers from 0 as {what}", repr(value)[:80])
    return tuple(value)
