#!/usr/bin/python
# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: model_lock
short_description: Lock the models of an inventory to exact bytes
version_added: 0.1.0
description:
  - Asks the hub for the commit, the sizes and the SHA-256 of each model's files (C(X-Repo-Commit), C(X-Linked-Size),
    C(X-Linked-Etag)) without fetching the files, and reads the model's metadata from its header, in ranges.
  - Writes these facts to its own file beside the models, as JSON. The file of the models is not changed.
    P(herd.inference.locked_models#filter) combines both.
  - A locked model is not asked for again unless O(update) is set, so that a second run needs no network.
  - Facts in an entry that was written by hand must agree with the hub.
author: herd.inference contributors (@herd-inference)
extends_documentation_fragment: [herd.inference.attributes, herd.inference.download_options]
options:
  path:
    description:
      - The file to write, usually C(group_vars/all/models_lock.json) of the inventory. It defines
        C(herd_models_lock).
    type: path
    required: true
  models:
    description: The models as written by hand, by key. Models with C(source) are skipped.
    type: dict
    required: true
  only:
    description: Keys of the models to lock; all if empty. The locks of other models stay.
    type: list
    elements: str
    default: []
  hub:
    description: Base URL of the publisher's hub.
    type: str
    default: https://huggingface.co
  update:
    description: Whether to lock models without a C(revision) in their entry to the newest commit of their branch.
    type: bool
    default: false
  metadata:
    description: Whether to read the metadata from the header of each model, which fetches some MiB of each.
    type: bool
    default: true
seealso:
  - plugin: herd.inference.locked_models
    plugin_type: filter
  - module: herd.inference.gguf_info
"""

EXAMPLES = r"""
- name: Lock the models of this inventory
  herd.inference.model_lock:
    path: "{{ inventory_dir }}/group_vars/all/models_lock.json"
    models: "{{ herd_model_entries }}"
  run_once: true
  delegate_to: localhost
"""

RETURN = r"""
models:
  description: The lock by key, as it is in the file.
  returned: success
  type: dict
  sample:
    or1-behemoth-q4_k_m:
      repository: mradermacher/OR1-Behemoth-GGUF
      revision: 8aa68113a5d0f1b1e7d5a5b0f6dfd7ad2a1e6d0c
      files:
        - file: OR1-Behemoth.Q4_K_M.gguf
          size: 47369119648
          sha256: 0f0e4ee0c5d8dd4d0a6e9ff0ec8a0a32fcdb4a53aab4c8d6f3d9a4d3ed1a6f5b
      size: 47369119648
asked:
  description: Keys of the models for which the hub was asked.
  returned: success
  type: list
  elements: str
  sample: [or1-behemoth-q4_k_m]
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.errors import HerdError, InvalidInputError
from ansible_collections.herd.inference.plugins.module_utils.core.models import gguf
from ansible_collections.herd.inference.plugins.module_utils.core.models import lock as model_lock
from ansible_collections.herd.inference.plugins.module_utils.core.models.metadata import metadata_of
from ansible_collections.herd.inference.plugins.module_utils.herd_module import (
    DOWNLOAD_OPTIONS,
    HerdModule,
    file_diff,
    run_module,
)
from ansible_collections.herd.inference.plugins.module_utils.ports.download.http_client import (
    REQUESTS_ERROR,
    HttpClient,
)
from ansible_collections.herd.inference.plugins.module_utils.ports.files import atomic_write
from ansible_collections.herd.inference.plugins.module_utils.ports.models.gguf_source import JoinedSource, RemoteSource

VARIABLE = "herd_models_lock"


def read(path: Path) -> tuple[str, dict[str, Any]]:
    """Read the text of the file and the locks in it."""
    if not path.exists():
        return "", {}
    text = path.read_text(encoding="utf-8")
    try:
        return text, dict(json.loads(text)[VARIABLE])
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInputError(
            f"a lock of models in {path}", f"{error!r}", "only this module writes the file: delete it, and run again"
        ) from error


def urls(hub: str, entry: Mapping[str, Any], revision: str) -> list[str]:
    """Build the URLs of the files on the hub."""
    return [model_lock.file_url(hub, entry["repository"], revision, name) for name in model_lock.file_names(entry)]


def read_metadata(client: HttpClient, hub: str, entry: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """Add the metadata of the header to a lock."""
    places = zip(urls(hub, found, found["revision"]), model_lock.file_names(found))
    sources = [RemoteSource(client, url, name) for url, name in places]
    if model_lock.join_of(entry) == "shards":
        headers: list[gguf.Header] = []
        for source in sources:
            headers = gguf.with_shard(headers, gguf.read_header(source), source.name)
    else:
        headers = [gguf.read_header(JoinedSource(sources, str(entry["file"])))]
    known = metadata_of(gguf.join_shards(headers, str(entry["file"])))
    return model_lock.with_metadata(entry, found, known.to_data(), len(known.layers))


def lock(module: HerdModule, client: HttpClient, before: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Build all locks; also return the keys for which the hub was asked."""
    hub, entries, update = module.params["hub"], module.params["models"], module.params["update"]
    unknown = sorted(set(module.params["only"]) - set(entries))
    if unknown:
        raise InvalidInputError("keys of models", ", ".join(unknown), "correct only")
    after: dict[str, Any] = {}
    asked: list[str] = []
    for key, written in entries.items():
        merged = model_lock.merge({key: written}, before)[key]
        if key in before and merged is not written:
            after[key] = before[key]
        if written.get("source") or (module.params["only"] and key not in module.params["only"]):
            continue
        entry = {**written} if update else merged
        complete = model_lock.is_locked(entry) and (entry.get("metadata") or not module.params["metadata"])
        if complete and key in after:
            continue
        asked.append(key)
        try:
            model_lock.check(entry)
            found = model_lock.lock(
                entry, [client.describe(url) for url in urls(hub, entry, model_lock.revision_of(entry))]
            )
            after[key] = read_metadata(client, hub, entry, found) if module.params["metadata"] else found
        except HerdError as error:
            raise InvalidInputError(f"for model {key} {error.expected}", error.found, error.remedy) from error
    return after, asked


def result(module: HerdModule) -> dict[str, Any]:
    """Write the lock if it differs, and return the module's result."""
    if REQUESTS_ERROR:
        module.fail_without_requests(REQUESTS_ERROR)
    path, hub = Path(module.params["path"]), module.params["hub"]
    client = HttpClient(token=module.params["token"], trusted=[hub], timeout=module.params["timeout"])
    text, before = read(path)
    after, asked = lock(module, client, before)
    wanted = json.dumps({VARIABLE: after}, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    changed = wanted != text and bool(after or text)
    if changed and not module.check_mode:
        atomic_write(path, wanted)
    diff = file_diff(path, text, wanted if changed else text)
    return {"changed": changed, "models": after, "asked": asked, "diff": diff}


def main() -> None:
    run_module(
        result,
        path={"type": "path", "required": True},
        models={"type": "dict", "required": True},
        only={"type": "list", "elements": "str", "default": []},
        hub={"type": "str", "default": model_lock.HUB},
        update={"type": "bool", "default": False},
        metadata={"type": "bool", "default": True},
        **DOWNLOAD_OPTIONS,
    )


if __name__ == "__main__":
    main()
