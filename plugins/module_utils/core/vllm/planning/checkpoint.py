# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read a checkpoint's facts: the shape from config.json, the bytes from the headers of all its files.

The index (model.safetensors.index.json) names the files. Its total is not used, since publishers often get it wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from ...errors import MismatchError, NotFoundError
from ...models.source import Source
from . import model_config, safetensors, weights
from .model_config import ModelShape
from .strict_json import broken, parse_object
from .weights import WeightBytes

CONFIG, INDEX, SINGLE = "config.json", "model.safetensors.index.json", "model.safetensors"
#: Most bytes of config.json and of the index, whose largest known one has 88 000 entries and 9 MB.
MAX_CONFIG, MAX_INDEX = 4 << 20, 32 << 20
MAX_FILES, MAX_FILE_NAME = 1024, 200
#: Most tensors of all files together. The largest known checkpoint, Kimi-K2 in FP8, has 140 000.
MAX_TENSORS = 1 << 18


class CheckpointFolder(Protocol):
    """A folder with a checkpoint: on the disk, or on a server.

    :ivar name: in errors.
    """

    @property
    def name(self) -> str: ...

    def open(self, file: str) -> AbstractContextManager[Source]:
        """Open a file for reads at offsets.

        :raises NotFoundError: if it does not exist.
        """


@dataclass(frozen=True)
class Checkpoint:
    """What a plan needs to know of a checkpoint.

    :ivar files: its files of weights; C(tensors) is the number of tensors in all of them.
    """

    name: str
    shape: ModelShape
    weights: WeightBytes
    files: tuple[str, ...]
    tensors: int


def read(folder: CheckpointFolder, report: Callable[[int, int], object] = lambda done, total: None) -> Checkpoint:
    """Read a checkpoint without its weights.

    :param report: receives the number of files that are read, and of all files.
    """
    config = _whole(folder, CONFIG, MAX_CONFIG)
    index = _index(folder)
    files = tuple(sorted(set(index.values()))) or (SINGLE,)
    found: dict[str, safetensors.Tensor] = {}
    places: dict[str, str] = {}
    for number, file in enumerate(files):
        report(number, len(files))
        with folder.open(file) as source:
            header = safetensors.read_header(source)
        for name in header.tensors:
            if name in places:
                raise broken(folder.name, f"{name} in one file", f"the tensor in {places[name]} and in {file}")
            places[name] = file
        found.update(header.tensors)
        if len(found) > MAX_TENSORS:
            raise broken(folder.name, f"at most {MAX_TENSORS} tensors", f"more in {file}")
    report(len(files), len(files))
    for name, file in index.items():
        if places.get(name) != file:
            raise broken(folder.name, f"{name} in {file}, as the index says", places.get(name, "the tensor nowhere"))
    shape = model_config.parse(parse_object(config, f"{CONFIG} of {folder.name}"))
    return Checkpoint(folder.name, shape, weights.of_tensors(found, shape), files, len(found))


def _whole(folder: CheckpointFolder, file: str, most: int) -> bytes:
    """Read a whole file.

    :param most: refuse a larger one.
    """
    with folder.open(file) as source:
        size, name = source.size, source.name
        if size > most:
            raise MismatchError(f"at most {most >> 20} MiB of {name}", f"{size} bytes", "check the model")
        data = source.read(0, size)
    if len(data) != size:
        raise broken(name, f"{size} bytes", f"{len(data)}: the file has become shorter")
    return data


def _index(folder: CheckpointFolder) -> Mapping[str, str]:
    """Read the file of each tensor; nothing without an index, where one file has all."""
    try:
        data = _whole(folder, INDEX, MAX_INDEX)
    except NotFoundError:
        return {}
    where = f"{INDEX} of {folder.name}"
    entries: Any = parse_object(data, where).get("weight_map")
    if not isinstance(entries, dict) or not 0 < len(entries) <= MAX_TENSORS:
        raise broken(where, f"a weight_map of 1 to {MAX_TENSORS} tensors", f"a {type(entries).__name__}")
    files = set()
    for file in entries.values():
        if not isinstance(file, str) or not _is_plain(file):
            raise broken(where, "plain names of safetensors files", repr(file)[:80])
        files.add(file)
    if len(files) > MAX_FILES:
        raise MismatchError(f"at most {MAX_FILES} files in {where}", str(len(files)), "use a checkpoint in fewer files")
    return entries


def _is_plain(file: str) -> bool:
    """Return whether a name leads to no other folder."""
    fits = len(file) <= MAX_FILE_NAME and file.isprintable() and file.endswith(".safetensors")
    return fits and "/" not in file and "\\" not in file and not file.startswith(".")
