# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A header of any kind is read or refused within 200 MiB of memory and a bounded time, in a process of its own."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.models import gguf, gguf_cursor, header_keys
from tests.unit.gguf_bytes import File, Maker

ROOT = Path(__file__).parents[4]
MAKE = Maker()
MIB = 1 << 20
#: Peak memory of the process, with Python itself. The time is wide: it holds on a busy machine, and no loop for ever.
MOST_MEMORY, MOST_SECONDS = 200 * MIB, 10.0
#: Reads a model as a router's job does, and then as gguf_info does.
READER = """
import json, resource, sys
from pathlib import Path
from ansible_collections.herd.inference.plugins.module_utils.core.errors import HerdError
from ansible_collections.herd.inference.plugins.module_utils.core.models import gguf, gguf_summary, metadata_reader
from ansible_collections.herd.inference.plugins.module_utils.ports.models.gguf_source import open_file
path = Path(sys.argv[1])
said = []
try:
    metadata_reader.metadata_of_files(str(path.parent), path.name, lambda name: open_file(Path(name))).to_data()
except HerdError as error:
    said.append(str(error))
try:
    headers = []
    for name in gguf_summary.shard_names(path.name):
        with open_file(path.with_name(name)) as source:
            headers = gguf.with_shard(headers, gguf.read_header(source), name)
    json.dumps(gguf_summary.describe(headers, gguf.join_shards(headers)))
except HerdError as error:
    said.append(str(error))
used = resource.getrusage(resource.RUSAGE_SELF)
# The peak of getrusage is that of the parent, if that is larger.
peak = next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(json.dumps({"memory": int(peak) << 10, "seconds": used.ru_utime + used.ru_stime, "said": said}))
"""


def model(*more: bytes, tensors: list[bytes] | None = None, layers: int = 2) -> bytes:
    fields = [
        MAKE.word("general.architecture", "llama"),
        MAKE.number("llama.block_count", layers),
        MAKE.number("llama.embedding_length", 32),
        *more,
    ]
    return File(fields=fields, tensors=tensors).head()


def array(key: str, kind: int, count: int, raw: bytes) -> bytes:
    return MAKE.field(key, 9, MAKE.pack("IQ", kind, count) + raw)


def texts(key: str, count: int, length: int) -> bytes:
    return array(key, 8, count, (struct.pack("<Q", length) + b"t" * length) * count)


def by_layer(count: int) -> list[bytes]:
    """Arrays with a value for each layer."""
    names = [key for key, limits in header_keys.KEYS.items() if limits.by_layer]
    return [array(f"llama.{name}", 4, count, struct.pack("<I", 1) * count) for name in names]


def table(count: int) -> list[bytes]:
    names = (f"blk.{n % header_keys.MAX_LAYERS}.{'n' * 40}{n}" for n in range(count))
    return [MAKE.tensor(name, (1,), 0, 32 * n) for n, name in enumerate(names)]


HOSTILE: dict[str, Callable[[], bytes]] = {
    "counts": lambda: File(tensor_count=1 << 62, field_count=1 << 62).head(),
    "long keys": lambda: model(*(MAKE.text("k" * 65000 + str(n)) + MAKE.pack("IB", 0, 1) for n in range(500))),
    "long texts": lambda: model(
        *(MAKE.field(f"k{n}", 8, MAKE.pack("Q", 1 << 16) + b"\xff" * (1 << 16)) for n in range(500))
    ),
    "one text of the rest": lambda: model(MAKE.field("k", 8, MAKE.pack("Q", 32 * MIB) + bytes(32 * MIB))),
    "one array of the rest": lambda: model(array("k", 12, 4 * MIB, bytes(32 * MIB))),
    "vocabulary": lambda: model(
        texts("tokenizer.ggml.tokens", 260_000, 9),
        array("tokenizer.ggml.scores", 6, 260_000, bytes(4 * 260_000)),
        array("tokenizer.ggml.token_type", 5, 260_000, bytes(4 * 260_000)),
        texts("tokenizer.ggml.merges", 500_000, 12),
    ),
    "empty texts": lambda: model(texts("a", 1 << 20, 0), texts("b", 1 << 19, 0)),
    "most layers": lambda: model(*by_layer(512), tensors=table(gguf.MAX_TENSORS), layers=512),
    "most of all": lambda: model(
        *(MAKE.text("k" * 100 + str(n)) + MAKE.pack("IQ", 10, 1 << 63) for n in range(60000)),
        *(array(f"k{n}", 10, 4096, b"\xff" * (8 << 12)) for n in range(62)),
        texts("a", 1 << 20, 8),
        tensors=table(gguf.MAX_TENSORS),
        layers=512,
    ),
}


def read(path: Path) -> list[str]:
    """Read a file in a process of its own, and compare what it took; return the errors."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "collections")}
    done = subprocess.run(
        [sys.executable, "-c", READER, str(path)], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert found["memory"] < MOST_MEMORY, f"{found['memory'] >> 20} MiB"
    assert found["seconds"] < MOST_SECONDS
    said: list[str] = found["said"]
    return said


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_header_takes_bounded_memory_and_time(name: str, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    head = HOSTILE[name]()
    with path.open("wb") as stream:
        stream.write(head)
        # The weights are a hole.
        stream.truncate(len(head) + 64 * gguf.MAX_TENSORS)
    assert len(head) < gguf_cursor.MAX_READ + (8 << 20)
    read(path)


def test_shards_with_large_headers_take_bounded_memory(tmp_path: Path) -> None:
    """Each of 40 shards has the longest keys; only those of the first are kept."""
    keys = [MAKE.text("k" * 65000 + str(n)) + MAKE.pack("IB", 0, 1) for n in range(120)]
    for number in range(40):
        split = [MAKE.number("split.no", number), MAKE.number("split.count", 40)]
        head = model(*keys, *split, tensors=[MAKE.tensor(f"blk.{number}.t", (32,), 0, 0)], layers=40)
        (tmp_path / f"m-{number + 1:05d}-of-00040.gguf").write_bytes(head + bytes(4096))
    assert "the tensor blk.0.t and 39 more" in read(tmp_path / "m-00001-of-00040.gguf")[0]
