# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read a model's metadata from the headers of its files."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from ..errors import MismatchError
from . import gguf, gguf_summary, metadata
from .source import Source


def metadata_of_files(
    folder: str, name: str, opened: Callable[[str], AbstractContextManager[Source]]
) -> metadata.ModelMetadata:
    """Read the headers of a file, or of all shards if it is the first one.

    :param opened: opens the file at a path.
    :raises MismatchError: if a file is truncated.
    """
    headers: list[gguf.Header] = []
    for file in gguf_summary.shard_names(name):
        path = f"{folder.rstrip('/')}/{file}"
        with opened(path) as source:
            header = gguf.read_header(source)
        if not header.is_whole:
            raise MismatchError(
                f"a complete model at {path}",
                f"{header.data_end - header.file_size} bytes missing at its end",
                "fetch it again, or wait until it is copied",
            )
        headers = gguf.with_shard(headers, header, path)
    return metadata.metadata_of(gguf.join_shards(headers, f"{folder.rstrip('/')}/{name}"))
