# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection's GGUF reader agrees with the engine's on valid and damaged files.

The engine's reader, gguf_init_from_file of libggml-base, runs in a process of its own, because some files may crash it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.errors import HerdError
from ansible_collections.herd.inference.plugins.module_utils.core.models import gguf
from ansible_collections.herd.inference.plugins.module_utils.ports.models.gguf_source import open_file
from tests.engine.flag_runs import NEW, cache
from tests.unit.gguf_bytes import ARRAY, File, Maker, mutants

ENGINE = """
import ctypes, json, os, sys
library = ctypes.CDLL(sys.argv[1])
class Parameters(ctypes.Structure):
    _fields_ = [("no_alloc", ctypes.c_bool), ("context", ctypes.c_void_p)]
library.gguf_init_from_file.argtypes = [ctypes.c_char_p, Parameters]
library.gguf_init_from_file.restype = ctypes.c_void_p
library.gguf_free.argtypes = [ctypes.c_void_p]
library.gguf_get_n_tensors.argtypes = [ctypes.c_void_p]
library.gguf_get_n_tensors.restype = ctypes.c_int64
library.gguf_get_data_offset.argtypes = [ctypes.c_void_p]
library.gguf_get_data_offset.restype = ctypes.c_size_t
for path in sorted(os.listdir(sys.argv[2])):
    found = library.gguf_init_from_file(os.fsencode(os.path.join(sys.argv[2], path)), Parameters(True, None))
    facts = [library.gguf_get_n_tensors(found), library.gguf_get_data_offset(found)] if found else None
    print(json.dumps([path, facts]), flush=True)
    if found:
        library.gguf_free(found)
"""

MAKE = Maker()
# Valid and invalid edge cases, where two readers are likely to differ.
EDGES = {
    "plain": File(),
    "version-2": File(version=2),
    "no-tensors": File(tensors=[]),
    "no-fields": File(fields=[]),
    "alignment-64": File(more=[MAKE.number("general.alignment", 64)], tensors=[], alignment=64),
    "alignment-signed": File(more=[MAKE.field("general.alignment", 5, MAKE.pack("i", 32))]),
    "alignment-text": File(more=[MAKE.word("general.alignment", "32")]),
    "empty-dimension": File(tensors=[MAKE.tensor("t", (0,), 0, 0)]),
    "no-dimension": File(tensors=[MAKE.tensor("t", (), 0, 0)]),
    "name-63": File(tensors=[MAKE.tensor("n" * 63, (16,), 0, 0)]),
    "name-64": File(tensors=[MAKE.tensor("n" * 64, (16,), 0, 0)]),
    "name-empty": File(tensors=[MAKE.tensor("", (16,), 0, 0)]),
    "bool-2": File(more=[MAKE.field("b", 7, b"\x02")]),
    "empty-array": File(more=[MAKE.field("a", ARRAY, MAKE.pack("IQ", 8, 0))]),
    "removed-type": File(tensors=[MAKE.tensor("t", (32,), 4, 0)]),
    "last-type": File(tensors=[MAKE.tensor("t", (64,), 42, 0)]),
    "next-type": File(tensors=[MAKE.tensor("t", (64,), 43, 0)]),
    "huge": File(tensors=[MAKE.tensor("t", (1 << 62,), 0, 0)]),
    "two-huge": File(tensors=[MAKE.tensor("t", (1 << 31, 1 << 31), 24, 0), MAKE.tensor("u", (16,), 0, 1 << 62)]),
    "big-endian": File(order=">"),
}


def ours(path: Path) -> list[int] | None:
    """Return the number of tensors and the offset of their bytes, as the engine does; None for a rejected file."""
    try:
        with open_file(path) as source:
            header = gguf.read_header(source)
    except HerdError:
        return None
    if header.tensors and header.data_start > header.file_size:
        return None
    return [len(header.tensors), header.data_start]


def test_reader_agrees_with_engine(tmp_path: Path) -> None:
    for number, data in enumerate(mutants(20261121, 3000, orders="<")):
        (tmp_path / f"{number:05d}").write_bytes(data)
    for name, file in EDGES.items():
        (tmp_path / name).write_bytes(file.bytes())
    library = Path(os.environ.get("HERD_ENGINES") or cache() / "engines") / NEW / "bin" / "libggml-base.so"
    done = subprocess.run(
        [sys.executable, "-c", ENGINE, str(library), str(tmp_path)],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"the engine's reader ended with {done.returncode} after {done.stdout[-200:]}"
    theirs = dict(json.loads(line) for line in done.stdout.splitlines())
    assert len(theirs) == 3000 + len(EDGES)
    assert sum(facts is not None for facts in theirs.values()) > 100
    differ = {name: (facts, ours(tmp_path / name)) for name, facts in theirs.items() if facts != ours(tmp_path / name)}
    # The only known difference: the engine reads files of its own byte order only.
    assert differ == {"big-endian": (None, [4, 736])}


def test_build_exists() -> None:
    if not (Path(os.environ.get("HERD_ENGINES") or cache() / "engines") / NEW / "bin" / "libggml-base.so").exists():
        pytest.fail(f"no build of {NEW}: tests/engine/builds.py makes it")
