# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Generate the lab's model: small, valid for the engine, and the same bytes on every machine.

The architecture is llama, the tokenizer is llama.cpp's own test vocabulary (copied field by field out
of its source), the weights are pseudo-random. The output layer has weights only for tokens that are
whole words or a full stop, so a response is printable nonsense. It ends at max_tokens only, because the
end-of-text token has no weights.

The generator uses only the standard library and standardised operations. SHAKE-256 makes the weights'
bits, and a table of 256 half-precision numbers turns them into weights. So no version of Python or of a
numeric library changes a bit, and the inventory can hold the checksums.

Use: python -m tests.models.lab_model [OUTDIR] [--vocab FILE]
OUTDIR is by default the directory of the lab's hub. FILE is ggml-vocab-llama-spm.gguf, or a tarball
of the engine's source that contains it; without it, the pinned source is fetched into the cache.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import struct
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from ..lab import sources
from ..lab.naming import Places
from . import gguf_writer
from .gguf_writer import ALIGNMENT, ARRAY, STRING, TensorSpec, data_size, field, header, padding

VOCAB_FILE = "ggml-vocab-llama-spm.gguf"
VOCAB_SHA256 = "16c3724582d59aa8bf84711894e833f916ee46a31d80e21312759c48bf8d0e69"
# Bytes of each scalar type of a GGUF header, by the type's number.
SCALAR_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
NORMAL_TOKEN = 1
# The words of the model's responses. Each begins with the vocabulary's sign for a space.
WORDS = """
a an and are as at be blue book bridge bright by can city clock cloud cold data day deep each every field file first
five four from garden good gray green group hand hello high hill house in is island it key lake land large last layer
left letter light line list long low machine map many memory middle model moon more morning mountain music name near
network new next night node not number of old on one open or order other paper part path place plain point quick
quiet rain red ring river road room round sea second server set ship short simple sky slow small snow some song south
space spring star start stone story street summer sun table tall ten text that the then there three time to tower
train tree two under up valley wall warm water wave west white will wind window winter with wood word work year yellow
"""
SPOKEN = frozenset({".", *("\u2581" + word for word in WORDS.split())})

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] + ': ' + message['content'] + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}"
)


@dataclass(frozen=True)
class Shape:
    """The inputs of the generated file besides the vocabulary."""

    name: str
    layers: int
    width: int
    feed_forward: int
    heads: int
    kv_heads: int
    context: int
    seed: str
    parts: int = 2


# The feed-forward matrices are 10.5 MiB each, above the 10 MiB from which the RPC worker caches.
LAB = Shape("lab-llama", 8, 512, 10752, 8, 4, 8192, "herd.inference lab model 2")
# For tests that only need a well-formed file; the vocabulary is most of it.
TINY = Shape("tiny-llama", 2, 32, 64, 2, 1, 512, "herd.inference tiny model 1")


@dataclass(frozen=True)
class Vocabulary:
    """The tokenizer's header fields as in the file, with the tokens and types that the generator needs."""

    fields: list[bytes]
    tokens: list[str]
    types: list[int]


class _Reader:
    """Reads the header of a GGUF file, little endian."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def number(self, code: str) -> int:
        (value,) = struct.unpack_from("<" + code, self.data, self.at)
        self.at += struct.calcsize(code)
        return int(value)

    def text(self) -> str:
        length = self.number("Q")
        self.at += length
        return self.data[self.at - length : self.at].decode()

    def skip(self, kind: int) -> None:
        if kind == STRING:
            length = self.number("Q")
            self.at += length
        elif kind == ARRAY:
            inner, count = self.number("I"), self.number("Q")
            for _each in range(count):
                self.skip(inner)
        else:
            self.at += SCALAR_SIZES[kind]


def read_vocabulary(data: bytes) -> Vocabulary:
    """Read the tokenizer of a vocabulary-only GGUF file."""
    if data[:4] != b"GGUF":
        raise ValueError(f"expected a GGUF file with a vocabulary, found a file that begins with {data[:4]!r}")
    reader = _Reader(data)
    reader.at = 16
    fields: list[bytes] = []
    tokens: list[str] = []
    types: list[int] = []
    for _each in range(reader.number("Q")):
        start = reader.at
        key, kind = reader.text(), reader.number("I")
        value = reader.at
        reader.skip(kind)
        if not key.startswith("tokenizer.") or key == "tokenizer.chat_template":
            continue
        end = reader.at
        fields.append(data[start:end])
        reader.at = value
        if key in ("tokenizer.ggml.tokens", "tokenizer.ggml.token_type"):
            reader.at += 4
            count = reader.number("Q")
            if key.endswith("tokens"):
                tokens = [reader.text() for _each in range(count)]
            else:
                types = [reader.number("i") for _each in range(count)]
        reader.at = end
    return Vocabulary(fields, tokens, types)


def load_vocabulary(path: Path) -> bytes:
    """Read the vocabulary file, or find it in a tarball of the engine's source."""
    if path.suffix == ".gguf":
        data = path.read_bytes()
    else:
        with tarfile.open(path) as tarball:
            for member in tarball:
                if member.name.endswith("/models/" + VOCAB_FILE):
                    stream = tarball.extractfile(member)
                    data = stream.read() if stream else b""
                    break
            else:
                raise ValueError(f"expected models/{VOCAB_FILE} in {path}, found no such member")
    found = hashlib.sha256(data).hexdigest()
    if found != VOCAB_SHA256:
        raise ValueError(f"expected the vocabulary with sha256 {VOCAB_SHA256}, found {found} in {path}")
    return data


def _half_tables(exponent: int) -> tuple[bytes, bytes]:
    """Return low and high byte of the half-precision number (byte - 127.5) * 2**exponent for each byte."""
    halves = [struct.pack("<e", (byte - 127.5) * 2.0**exponent) for byte in range(256)]
    return bytes(half[0] for half in halves), bytes(half[1] for half in halves)


def _weights(name: str, count: int, exponent: int, seed: str) -> bytearray:
    low, high = _half_tables(exponent)
    noise = hashlib.shake_256(f"{seed}/{name}".encode()).digest(count)
    data = bytearray(2 * count)
    data[0::2] = noise.translate(low)
    data[1::2] = noise.translate(high)
    return data


def _exponent(inputs: int) -> int:
    """Return the power of two that brings the weights' spread (74 steps) nearest to 1/sqrt(inputs)."""
    return min(range(-20, 0), key=lambda e: abs(74 * 2.0**e - inputs**-0.5))


def _output_weights(shape: Shape, vocabulary: Vocabulary) -> bytearray:
    data = _weights("output.weight", len(vocabulary.tokens) * shape.width, _exponent(shape.width) + 1, shape.seed)
    row = 2 * shape.width
    silent = bytes(row)
    for index, (token, kind) in enumerate(zip(vocabulary.tokens, vocabulary.types, strict=True)):
        if kind != NORMAL_TOKEN or token not in SPOKEN:
            data[index * row : (index + 1) * row] = silent
    return data


def _tensors(shape: Shape, vocabulary: Vocabulary) -> list[TensorSpec]:
    """Yield every tensor in file order."""
    width, kv = shape.width, shape.width // shape.heads * shape.kv_heads
    tensors = [
        TensorSpec("token_embd.weight", (width, len(vocabulary.tokens)), "f16"),
        TensorSpec("output_norm.weight", (width,)),
        TensorSpec("output.weight", (width, len(vocabulary.tokens)), "f16"),
    ]
    for layer in range(shape.layers):
        for name, dims, kind in (
            ("attn_norm", (width,), "f32"),
            ("attn_q", (width, width), "f16"),
            ("attn_k", (width, kv), "f16"),
            ("attn_v", (width, kv), "f16"),
            ("attn_output", (width, width), "f16"),
            ("ffn_norm", (width,), "f32"),
            ("ffn_gate", (width, shape.feed_forward), "f16"),
            ("ffn_up", (width, shape.feed_forward), "f16"),
            ("ffn_down", (shape.feed_forward, width), "f16"),
        ):
            tensors.append(TensorSpec(f"blk.{layer}.{name}.weight", dims, kind))
    return tensors


def generate(shape: Shape, vocabulary: Vocabulary) -> Iterator[bytes]:
    """Yield the file's bytes in pieces."""
    head_width = shape.width // shape.heads
    fields = [
        field("general.architecture", "llama"),
        field("general.name", f"herd.inference {shape.name}"),
        field("general.file_type", 1),
        field("general.alignment", ALIGNMENT),
        field("llama.block_count", shape.layers),
        field("llama.context_length", shape.context),
        field("llama.embedding_length", shape.width),
        field("llama.feed_forward_length", shape.feed_forward),
        field("llama.attention.head_count", shape.heads),
        field("llama.attention.head_count_kv", shape.kv_heads),
        field("llama.attention.layer_norm_rms_epsilon", 1e-5),
        field("llama.rope.dimension_count", head_width),
        field("llama.rope.freq_base", 10000.0),
        field("llama.vocab_size", len(vocabulary.tokens)),
        *vocabulary.fields,
        field("tokenizer.chat_template", CHAT_TEMPLATE),
    ]
    tensors = _tensors(shape, vocabulary)
    yield header(fields, tensors)
    for spec in tensors:
        if spec.type == "f32":
            data: bytes | bytearray = struct.pack("<f", 1.0) * spec.dims[0]
        elif spec.name == "output.weight":
            data = _output_weights(shape, vocabulary)
        else:
            data = _weights(spec.name, spec.size // 2, _exponent(spec.dims[0]), shape.seed)
        yield bytes(data) + padding(len(data))


def file_size(shape: Shape, vocabulary: Vocabulary) -> int:
    """Return the bytes of the whole file without generating it."""
    return len(next(generate(shape, vocabulary))) + data_size(_tensors(shape, vocabulary))


def _cuts(total: int, parts: int) -> list[int]:
    """Return the sizes of the parts: unequal, and cut at odd bytes, so that no part is aligned by chance."""
    ends = [total * (2 * part + 3) // (2 * parts + 2) | 1 for part in range(parts - 1)]
    return [end - start for start, end in zip([0, *ends], [*ends, total])]


def write(shape: Shape, vocabulary: Vocabulary, out: Path) -> dict[str, object]:
    """Write the parts and `<name>.json`, which describes them, into a directory."""
    out.mkdir(parents=True, exist_ok=True)
    whole = hashlib.sha256()
    parts: list[dict[str, object]] = []
    pieces = generate(shape, vocabulary)
    waiting = b""
    sizes = _cuts(file_size(shape, vocabulary), shape.parts)
    for number, size in enumerate(sizes, 1):
        path = out / f"{shape.name}.gguf.part{number}of{shape.parts}"
        digest = hashlib.sha256()
        with path.open("wb") as stream:
            waiting = _fill(stream, digest, size, waiting, pieces, whole)
        parts.append({"file": path.name, "size": size, "sha256": digest.hexdigest()})
    facts: dict[str, object] = {
        "name": shape.name,
        "file": f"{shape.name}.gguf",
        "layers": shape.layers,
        "size": sum(sizes),
        "sha256": whole.hexdigest(),
        "parts": parts,
    }
    (out / f"{shape.name}.json").write_text(json.dumps(facts, indent=2) + "\n")
    return facts


def _fill(
    stream: BinaryIO,
    digest: hashlib._Hash,
    size: int,
    waiting: bytes,
    pieces: Iterator[bytes],
    whole: hashlib._Hash,
) -> bytes:
    """Write exactly `size` bytes from the pieces; return the rest of the last piece for the next part."""
    while size:
        data = waiting or next(pieces)
        now, waiting = data[:size], data[size:]
        stream.write(now)
        digest.update(now)
        whole.update(now)
        size -= len(now)
    return waiting


def cache_dir() -> Path:
    """Return the directory that keeps generated models between runs."""
    return Places.of(os.environ).cache / "model"


def key(shape: Shape) -> str:
    """Hash the inputs of the bytes: these programs, the shape and the vocabulary."""
    programs = Path(__file__).read_bytes() + Path(gguf_writer.__file__).read_bytes()
    inputs = json.dumps([asdict(shape), VOCAB_SHA256, hashlib.sha256(programs).hexdigest()])
    return hashlib.sha256(inputs.encode()).hexdigest()[:16]


def cached(shape: Shape, vocab: Path | None = None) -> Path:
    """Return the directory with the shape's parts and JSON; generate them on the first call."""
    place = cache_dir() / key(shape)
    if not place.exists():
        vocab = vocab or sources.ensure(sources.SOURCES[0], Places.of(os.environ).cache / "sources")
        unfinished = place.with_name(f"{place.name}.{os.getpid()}")
        write(shape, read_vocabulary(load_vocabulary(vocab)), unfinished)
        try:
            unfinished.rename(place)
        except OSError:
            # Another process has written the same bytes first.
            shutil.rmtree(unfinished)
    return place


def link_or_copy(source: Path, out: Path) -> None:
    """Link the files of a directory into another, or copy them on another file system."""
    out.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.iterdir()):
        target = out / path.name
        if target.exists() and target.samefile(path):
            continue
        target.unlink(missing_ok=True)
        try:
            os.link(path, target)
        except OSError:
            shutil.copyfile(path, target)


def lab_model(vocab: Path | None = None) -> Path:
    """Return the directory from which the lab's hub serves the model; generate missing files.

    `inventory/lab` names the same repository and revision.
    """
    place = Places.of(os.environ).cache / "mirror" / "herd" / LAB.name / "resolve" / "v2"
    link_or_copy(cached(LAB, vocab), place)
    return place


def lab_model_file() -> Path:
    """Return the lab's model as one file, joined from its parts on the first call."""
    folder = cached(LAB)
    facts = json.loads((folder / f"{LAB.name}.json").read_text(encoding="utf-8"))
    path = folder.with_name(f"{LAB.name}-{facts['sha256'][:16]}.gguf")
    if not path.exists():
        scratch = path.with_suffix(f".{os.getpid()}")
        with scratch.open("wb") as joined:
            for part in facts["parts"]:
                with (folder / part["file"]).open("rb") as stream:
                    shutil.copyfileobj(stream, joined)
        scratch.replace(path)
    return path


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Generate the lab's model in byte parts.")
    parser.add_argument("out", type=Path, nargs="?", help="directory for the parts and the JSON that describes them")
    parser.add_argument("--vocab", type=Path, help=f"{VOCAB_FILE}, or a tarball that contains it")
    arguments = parser.parse_args(argv)
    place = lab_model(arguments.vocab)
    if arguments.out:
        link_or_copy(place, arguments.out)
    print((place / f"{LAB.name}.json").read_text(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
