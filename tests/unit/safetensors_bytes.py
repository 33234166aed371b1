# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Headers of safetensors files, and folders of checkpoints, in memory."""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.errors import NotFoundError
from ansible_collections.herd.inference.plugins.module_utils.core.vllm.planning import safetensors

MODELS = Path(__file__).parents[1] / "fixtures" / "vllm" / "models"
_RANGE = re.compile(r"\{([0-9]+)-([0-9]+)(?:\+([0-9]+))?\}")


@dataclass
class Bytes:
    """A file in memory. Only its header is there; C(size) counts the tensors too."""

    data: bytes
    size: int
    name: str = "model.safetensors"
    reads: list[tuple[int, int]] = field(default_factory=list)

    def read(self, offset: int, length: int) -> bytes:
        self.reads.append((offset, length))
        return self.data[offset : offset + length]


def entries(tensors: Mapping[str, tuple[str, list[int]]]) -> dict[str, Any]:
    """Lay tensors of a type and a shape out one after the other."""
    found: dict[str, Any] = {}
    start = 0
    for name, (dtype, shape) in tensors.items():
        end = start + math.prod(shape) * safetensors.BITS[dtype] // 8
        found[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
        start = end
    return found


def file(header: Any, size: int | None = None) -> Bytes:
    """Write a header, given as JSON text or as an object, and claim its tensors behind it."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    if size is None:
        size = max((entry["data_offsets"][1] for entry in header.values() if "data_offsets" in entry), default=0)
    data = len(text).to_bytes(8, "little") + text
    return Bytes(data, len(data) + size)


@dataclass
class Folder:
    """A folder of a checkpoint."""

    files: dict[str, bytes | Bytes]
    name: str = "folder"

    def read(self, file: str, most: int) -> bytes:
        data = self._get(file)
        assert isinstance(data, bytes)
        assert len(data) <= most
        return data

    @contextlib.contextmanager
    def open(self, file: str) -> Iterator[Bytes]:
        data = self._get(file)
        yield data if isinstance(data, Bytes) else Bytes(data, len(data), file)

    def _get(self, file: str) -> bytes | Bytes:
        if file not in self.files:
            raise NotFoundError(f"the file {file}", "none", "create it")
        return self.files[file]


def expand(name: str) -> Iterator[str]:
    """Expand the ranges of a name: layers.{0-2}.weight has three names, {1-5+2} every second one."""
    found = _RANGE.search(name)
    if found is None:
        yield name
        return
    for number in range(int(found[1]), int(found[2]) + 1, int(found[3] or 1)):
        yield from expand(f"{name[: found.start()]}{number}{name[found.end() :]}")


def published(key: str) -> dict[str, Any]:
    """Read the recorded facts of a published model."""
    facts: dict[str, Any] = json.loads((MODELS / f"{key}.json").read_text(encoding="utf-8"))
    return facts


def checkpoint(key: str, files: int = 4) -> Folder:
    """Make the folder of a published model: its config.json, an index, and files with the headers of all tensors."""
    facts = published(key)
    tensors = {name: (entry["dtype"], entry["shape"]) for entry in facts["tensors"] for name in expand(entry["name"])}
    names = list(tensors)
    parts = {f"model-{part + 1:05}-of-{files:05}.safetensors": names[part::files] for part in range(files)}
    folder: dict[str, bytes | Bytes] = {
        file_name: file(entries({name: tensors[name] for name in part})) for file_name, part in parts.items()
    }
    index = {"metadata": {}, "weight_map": {name: file_name for file_name, part in parts.items() for name in part}}
    folder["config.json"] = json.dumps(facts["config"]).encode()
    folder["model.safetensors.index.json"] = json.dumps(index).encode()
    return Folder(folder, facts["huggingface_id"])
