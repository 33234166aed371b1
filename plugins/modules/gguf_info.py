#!/usr/bin/python
# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gguf_info
short_description: Read the facts about a GGUF model from its header
version_added: 0.1.0
description:
  - Reads the header and the tensor table of a model, on the host or on a server. Of a remote file, only the header is
    fetched, in ranges. A header with a large vocabulary has some MiB.
  - Supports versions 2 and 3, little and big endian. Of a model in shards, name the first one; the others are found
    beside it.
  - Files are untrusted. A file that the engine would refuse gives one error, in bounded time and memory. A file that is
    truncated after its table gives RV(whole=false).
author: herd.inference contributors (@herd-inference)
extends_documentation_fragment: [herd.inference.attributes.info_module, herd.inference.download_options]
options:
  path:
    description: Path of the model on the host, or of its first shard.
    type: path
  url:
    description: URL of the model or of its first shard; C(http), C(https) or C(file).
    type: str
"""

EXAMPLES = r"""
- name: Read the header of the head's model
  herd.inference.gguf_info:
    path: /opt/models/OR1-Behemoth.Q4_K_M.gguf
  register: model
"""

RETURN = r"""
architecture:
  description: Name of the architecture (C(general.architecture)).
  returned: success
  type: str
  sample: qwen2
name:
  description: The model's name; null if it has none.
  returned: success
  type: str
  sample: OR1 Behemoth
version:
  description: Version of the format.
  returned: success
  type: int
byte_order:
  description: C(little) or C(big).
  returned: success
  type: str
  sample: little
layers:
  description: Number of layers (blocks).
  returned: success
  type: int
context:
  description: Context in tokens that the model was trained with.
  returned: success
  type: int
embedding:
  description: Width of the embedding.
  returned: success
  type: int
feed_forward:
  description: Width of the feed-forward layers; a list if layers differ.
  returned: success
  type: raw
heads:
  description: Attention heads; a list if layers differ.
  returned: success
  type: raw
kv_heads:
  description: Heads of keys and values; a list if layers differ.
  returned: success
  type: raw
experts:
  description: Experts of a mixture; null for a dense model.
  returned: success
  type: int
experts_used:
  description: Experts that a token uses; null for a dense model.
  returned: success
  type: int
tokenizer:
  description: Kind of tokenizer.
  returned: success
  type: str
  sample: gpt2
vocabulary:
  description: Number of tokens.
  returned: success
  type: int
parameters:
  description: Number of weights.
  returned: success
  type: int
types:
  description: Number of tensors, parameters and bytes by tensor type, largest first.
  returned: success
  type: dict
  sample:
    q4_K: {tensors: 481, parameters: 61002121216, bytes: 34313693184}
bits_per_weight:
  description: Average bits of a weight.
  returned: success
  type: float
layer_bytes:
  description: Bytes of each layer's tensors, without padding.
  returned: success
  type: list
  elements: int
  sample: [553500672, 553500672]
other_bytes:
  description: Bytes of all other tensors, which are embeddings and the output layer.
  returned: success
  type: int
size:
  description: Bytes of the file, or of all shards.
  returned: success
  type: int
shards:
  description: Number of files.
  returned: success
  type: int
tensors:
  description: Number of tensors.
  returned: success
  type: int
whole:
  description: Whether all tensors lie within the files, as the engine requires.
  returned: success
  type: bool
missing_bytes:
  description: Number of bytes that are missing at the end.
  returned: success
  type: int
spare_bytes:
  description: Number of bytes behind the last tensor and its padding.
  returned: success
  type: int
purpose:
  description: What the file is if it is no model for answers, such as a projector or an embedding model; else empty.
  returned: success
  type: str
  sample: an embedding or reranking model
problems:
  description:
    - What cannot be in a model's header or file. This includes a missing architecture, a number out of its range,
      numbers that contradict the tensors, tensors that no release knows, names that are not UTF-8, and bytes behind the
      last tensor.
  returned: success
  type: list
  elements: str
read_bytes:
  description: Number of bytes that were read.
  returned: success
  type: int
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ansible_collections.herd.inference.plugins.module_utils.core.download.identity import public_url
from ansible_collections.herd.inference.plugins.module_utils.core.download.parts import file_name
from ansible_collections.herd.inference.plugins.module_utils.core.models import gguf, gguf_summary
from ansible_collections.herd.inference.plugins.module_utils.herd_module import DOWNLOAD_OPTIONS, HerdModule
from ansible_collections.herd.inference.plugins.module_utils.ports.download.http_client import (
    REQUESTS_ERROR,
    HttpClient,
)
from ansible_collections.herd.inference.plugins.module_utils.ports.models.gguf_source import (
    FileSource,
    RemoteSource,
    open_file,
)


def files(path: Path) -> Iterator[contextlib.AbstractContextManager[FileSource]]:
    """Open the files of a model, which lie beside one another."""
    for name in gguf_summary.shard_names(path.name):
        yield open_file(path.with_name(name))


def remote_files(client: HttpClient, url: str) -> Iterator[contextlib.AbstractContextManager[RemoteSource]]:
    """Open the files of a model, which lie beside one another on a server."""
    first = file_name(url)
    for name in gguf_summary.shard_names(first):
        beside = url if name == first else url.replace(quote(first), quote(name), 1)
        yield contextlib.nullcontext(RemoteSource(client, beside, public_url(beside)))


def result(module: HerdModule) -> dict[str, Any]:
    """Read the headers of all files of the model, and return the module's result."""
    if REQUESTS_ERROR and str(module.params["url"] or "").startswith("http"):
        module.fail_without_requests(REQUESTS_ERROR)
    url, read = module.params["url"], 0
    headers: list[gguf.Header] = []
    client = HttpClient(token=module.params["token"], trusted=[url] if url else [], timeout=module.params["timeout"])
    for opened in remote_files(client, url) if url else files(Path(module.params["path"])):
        with opened as source:
            headers = gguf.with_shard(headers, gguf.read_header(source), source.name)
            read += source.read_bytes
    joined = gguf.join_shards(headers, public_url(url) if url else module.params["path"])
    return {**gguf_summary.describe(headers, joined), "read_bytes": read}


def main() -> None:
    options = {"path": {"type": "path"}, "url": {"type": "str"}, **DOWNLOAD_OPTIONS}
    HerdModule(options, required_one_of=[["path", "url"]], mutually_exclusive=[["path", "url"]]).run(result)


if __name__ == "__main__":
    main()
