#!/usr/bin/python
# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: gguf_fetch
short_description: Fetch a GGUF model, whole, in byte parts or in shards
version_added: 0.1.0
author: herd.inference contributors (@herd-inference)
extends_documentation_fragment: [ansible.builtin.files, herd.inference.attributes, herd.inference.download_options]
attributes:
  check_mode:
    details:
      - Checks the files, reads those that were never verified, and asks the servers.
      - Without the Python library requests, it plans with the options alone.
description:
  - Downloads one model to a host and verifies it. One task is one model, with any number of files.
  - Several connections fetch ranges at once. Byte parts (C(.gguf.part1of2), C(.gguf-split-a)) are written to their
    positions in one file, so that the disk needs space for the model only once. Shards (C(-00001-of-00003.gguf)) stay
    separate files, which the engine opens together.
  - The SHA-256 of the file and of each part is computed during the download. The disk is not read again afterwards.
  - The bytes go to a hidden file beside the destination, C(.NAME.incoming), with a journal of the bytes that are safe
    on disk. The next run continues after a kill. A loss of power costs at most 48 MiB. Once size and SHA-256 are
    right, the file gets its owner, mode and name in one step. Until then the former file stays.
  - Before a file gets its name, its header is read. A header that the engine could not read is an error, and so is one
    that describes a longer file. Joined parts must be exactly as long as their header says.
  - A file that is replaced on its server during the download is detected by its ETag, time or size. Bytes of the old
    and the new file are never combined.
  - A verified file is recorded in C(.NAME.verified), with its size and time. While these are the same, the file is
    not read again and no server is asked, so that a run without a change takes no time.
  - The checksum is the one in O(sha256), O(parts) or O(shards), or else the one that the publisher sends
    (C(X-Linked-Etag), C(X-Linked-Size), as the Hugging Face Hub does for large files). If both are known, they must
    agree.
  - Of two runs for the same destination, the second waits for the first.
options:
  dest:
    description:
      - Path of the model on the host. With O(shards), the path of the first shard; the others are put beside it.
      - The directory must exist.
    type: path
    required: true
  url:
    description: Address of a model that is one file. C(http), C(https), C(file) or a path on the host.
    type: str
  parts:
    description:
      - The byte parts of one file, in order. The set must be complete. Counters in the names decide. Without counters,
        O(sha256) of the whole file is required.
    type: list
    elements: dict
    suboptions: &piece
      url:
        description: Its address. C(http), C(https), C(file) or a path on the host.
        type: str
        required: true
      mirrors:
        description: Other addresses of the same bytes, as in O(mirrors), asked before them.
        type: list
        elements: str
      size:
        description: Its size in bytes.
        type: int
      sha256:
        description: Its SHA-256, 64 hexadecimal digits.
        type: str
  shards:
    description: The shards of one model, in order. The set must be complete.
    type: list
    elements: dict
    suboptions:
      <<: *piece
      file:
        description: Its name on the host, if the URL ends in another one.
        type: str
  mirrors:
    description:
      - Other addresses of the same bytes, asked in this order before the URLs above.
      - An address that ends in a slash is a base URL or a directory of the host, for example on storage that all nodes
        mount. The file's name is added to it. Other addresses are complete, and only allowed for a model of one file.
      - If a mirror fails or has other bytes, the download continues from the next one. Bytes of two addresses are
        combined only if a SHA-256 proves that they are the same.
      - Where the task has no size, the publisher confirms the size that a mirror states. A mirror with another size or
        SHA-256 is left out with a warning.
      - O(token) is not sent to mirrors.
    type: list
    elements: str
    default: []
  size:
    description: Size of the whole file in bytes. Not with O(shards).
    type: int
  sha256:
    description: SHA-256 of the whole file, 64 hexadecimal digits. Not with O(shards).
    type: str
  join:
    description:
      - V(parts) tells that O(parts) are pieces of one file, although their names are those of shards. Without it, such
        names are refused, because shards are never joined.
    type: str
    choices: [parts]
  verify:
    description:
      - V(sha256) refuses a model without a checksum in this task or from its publisher.
      - V(size) accepts such a model by its size alone. A known checksum is still verified.
    type: str
    choices: [sha256, size]
    default: sha256
  rehash:
    description: Read a verified file again and compare its SHA-256, instead of trusting its size and time.
    type: bool
    default: false
  retries:
    description:
      - Consecutive failures, with almost no bytes in between, after which a server gets another request. The module
        pauses 1, 2, 4, … 60 seconds between them, or as long as the server asks for (C(Retry-After)), up to 10 minutes.
      - If there is another mirror, the module retries once before it asks that mirror.
    type: int
    default: 5
  connections:
    description: Number of requests at the same time. A server without ranges gets one.
    type: int
    default: 8
  bandwidth:
    description: Most bytes per second over all connections, for example C(50M); V(0) for no limit.
    type: bytes
    default: 0
  proxy:
    description:
      - URL of a proxy for all requests, for example C(http://proxy.example.org:3128). By default, the environment
        decides (C(HTTPS_PROXY), C(NO_PROXY)).
    type: str
  lock_timeout:
    description: Seconds to wait for another run with the same destination.
    type: int
    default: 7200
  progress_file:
    description: File for the progress of the module, as JSON. By default C(.NAME.progress) beside O(dest).
    type: path
  estimate:
    description:
      - Only in check mode. Read no files, but check the free space, and ask the servers for a missing file. A file
        that is not known to be right counts as a change. The action plugin uses it to decide whether there is work.
    type: bool
    default: false
notes:
  - The module needs less than 96 MiB of memory for a model of any size.
  - An existing file, for example one copied by hand, is read once and kept if it is right.
  - Proxies and certificates come from the environment, as usual for requests (C(HTTPS_PROXY), C(REQUESTS_CA_BUNDLE)).
seealso:
  - module: herd.inference.model_check
  - module: herd.inference.model_files_info
  - module: herd.inference.model_partials_prune
"""

EXAMPLES = r"""
- name: Fetch a model in two byte parts
  herd.inference.gguf_fetch:
    dest: /opt/models/OR1-Behemoth.Q8_0.gguf
    parts:
      - url: https://huggingface.co/mradermacher/OR1-Behemoth-GGUF/resolve/main/OR1-Behemoth.Q8_0.gguf.part1of2
      - url: https://huggingface.co/mradermacher/OR1-Behemoth-GGUF/resolve/main/OR1-Behemoth.Q8_0.gguf.part2of2
    owner: llama
    group: llama
    mode: "0644"

- name: Prefer shared storage and a server in the other rack to the publisher
  herd.inference.gguf_fetch:
    dest: /opt/models/OR1-Behemoth.Q4_K_M.gguf
    url: https://huggingface.co/mradermacher/OR1-Behemoth-GGUF/resolve/main/OR1-Behemoth.Q4_K_M.gguf
    mirrors:
      - /mnt/shared/
      - http://10.0.0.9/models/
    bandwidth: 200M

- name: Fetch a model in shards
  herd.inference.gguf_fetch:
    dest: /opt/models/qwen2.5-72b-instruct-q4_k_m-00001-of-00002.gguf
    shards:
      - url: https://models.example.org/qwen2.5-72b-instruct-q4_k_m-00001-of-00002.gguf
      - url: https://models.example.org/qwen2.5-72b-instruct-q4_k_m-00002-of-00002.gguf
    token: "{{ model_store_token }}"
"""

RETURN = r"""
files:
  description: The files of the model on the host, as they are or would be.
  returned: success, unless O(estimate) is set and there may be work
  type: list
  elements: dict
  sample:
    - path: /opt/models/OR1-Behemoth.Q4_K_M.gguf
      size: 47369119648
      sha256: 0f0e4ee0c5d8dd4d0a6e9ff0ec8a0a32fcdb4a53aab4c8d6f3d9a4d3ed1a6f5b
      verified: sha256
to_fetch:
  description: Bytes that were fetched, or in check mode would be; null if their number is unknown.
  returned: success, unless O(estimate) is set and there may be work
  type: int
progress_file:
  description: File for the progress of the module.
  returned: always
  type: str
  sample: /opt/models/.OR1-Behemoth.Q4_K_M.gguf.progress
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.download import download
from ansible_collections.herd.inference.plugins.module_utils.core.download.parts import Target, plan_targets
from ansible_collections.herd.inference.plugins.module_utils.core.download.retry import (
    Backoff,
    BandwidthLimit,
    Pace,
)
from ansible_collections.herd.inference.plugins.module_utils.core.download.sources import ReportProgress
from ansible_collections.herd.inference.plugins.module_utils.core.errors import HerdError, MismatchError, NotFoundError
from ansible_collections.herd.inference.plugins.module_utils.core.models import gguf, header_check
from ansible_collections.herd.inference.plugins.module_utils.herd_module import DOWNLOAD_OPTIONS, HerdModule
from ansible_collections.herd.inference.plugins.module_utils.ports.download.disk import Disk
from ansible_collections.herd.inference.plugins.module_utils.ports.download.http_client import (
    REQUESTS_ERROR,
    HttpClient,
)
from ansible_collections.herd.inference.plugins.module_utils.ports.download.locks import locked
from ansible_collections.herd.inference.plugins.module_utils.ports.download.workers import DownloadWorkers
from ansible_collections.herd.inference.plugins.module_utils.ports.files import group_id, user_id
from ansible_collections.herd.inference.plugins.module_utils.ports.models.gguf_source import open_file
from ansible_collections.herd.inference.plugins.module_utils.ports.progress import ProgressFile

PIECE = {
    "url": {"type": "str", "required": True},
    "mirrors": {"type": "list", "elements": "str"},
    "size": {"type": "int"},
    "sha256": {"type": "str"},
}
ARGUMENTS = {
    "dest": {"type": "path", "required": True},
    "url": {"type": "str"},
    "parts": {"type": "list", "elements": "dict", "options": PIECE},
    "shards": {"type": "list", "elements": "dict", "options": {**PIECE, "file": {"type": "str"}}},
    "mirrors": {"type": "list", "elements": "str", "default": []},
    "size": {"type": "int"},
    "sha256": {"type": "str"},
    "join": {"type": "str", "choices": ["parts"]},
    "verify": {"type": "str", "choices": ["sha256", "size"], "default": "sha256"},
    "rehash": {"type": "bool", "default": False},
    **DOWNLOAD_OPTIONS,
    "retries": {"type": "int", "default": 5},
    "connections": {"type": "int", "default": 8},
    "bandwidth": {"type": "bytes", "default": 0},
    # Its URL may hold a password.
    "proxy": {"type": "str", "no_log": True},
    "lock_timeout": {"type": "int", "default": 7200},
    "progress_file": {"type": "path"},
    "estimate": {"type": "bool", "default": False},
}


def set_attributes(module: HerdModule, path: str, diff: dict[str, Any] | None = None) -> bool:
    """Set owner, group, mode and the like of a file; in check mode, only compare them."""
    wanted = module.load_file_common_arguments(module.params, path=path)
    if module.check_mode:
        # On a bare host, the same play creates the user before the file gets it.
        absent = user_id(wanted.get("owner")) is None or group_id(wanted.get("group")) is None
        return absent or (Path(path).exists() and module.set_fs_attributes_if_different(wanted, False, diff))
    return module.set_fs_attributes_if_different(wanted, False, diff)


def policy(module: HerdModule) -> download.DownloadPolicy:
    """Build the policy. Owner and mode are set before the file gets its name, all other attributes after."""
    uid, gid = user_id(module.params["owner"]), group_id(module.params["group"])
    if not module.check_mode and None in (uid, gid):
        raise NotFoundError(
            f"user {module.params['owner']} and group {module.params['group']} on this host",
            "at least one of them missing",
            "run role node first, which makes them",
        )
    mode = str(module.params["mode"] or "0644")
    return download.DownloadPolicy(
        checksums=module.params["verify"] == "sha256",
        rehash=module.params["rehash"],
        uid=-1 if uid is None else uid,
        gid=-1 if gid is None else gid,
        mode=int(mode, 8) if mode.isdigit() else None,
        pace=Pace(connections=max(1, module.params["connections"])),
        backoff=Backoff(retries=module.params["retries"]),
    )


def connect(module: HerdModule, targets: tuple[Target, ...], report: ReportProgress) -> download.DownloadPorts:
    """Set up disk, client and threads with the task's options."""
    options, backoff = module.params, Backoff(retries=module.params["retries"])
    connections = max(1, options["connections"])
    trusted = [part.url for target in targets for part in target.parts]
    asked = [url for target in targets for part in target.parts for url in part.addresses]
    client = HttpClient(
        backoff.pause,
        options["token"],
        trusted,
        options["timeout"],
        options["proxy"],
        connections,
        lambda text: report(text, 0, None),
    )
    limit = BandwidthLimit(options["bandwidth"])
    workers = DownloadWorkers(client, connections, limit, report)
    lacking = REQUESTS_ERROR is not None and any(not url.startswith("file:") for url in asked)
    return download.DownloadPorts(
        Disk(), None if lacking else client, None if lacking else workers, report, inspect=inspect, warn=module.warn
    )


def inspect(path: str, name: str, is_joined: bool) -> None:
    """Refuse a file whose header cannot be read, or describes a file of another length.

    :param name: the name that the file will get.
    :param is_joined: whether it is joined from parts.
    """
    remedy = "list all parts of this file, and only those, in the order of their numbers" if is_joined else ""
    with open_file(Path(path)) as source:
        source.name = name
        try:
            header = gguf.read_header(source)
        except MismatchError as error:
            raise MismatchError(error.expected, error.found, remedy or error.remedy) from error
    difference = header_check.length_difference(header, is_joined)
    if difference:
        raise MismatchError(
            f"{'the joined parts to be ' if is_joined else ''}{name} of {header.data_end} bytes, as its header says",
            f"{abs(difference)} bytes {'fewer' if difference < 0 else 'more'}",
            remedy
            or "the publisher's file is truncated: compare its size with the publisher's, or choose another file",
        )


def run(module: HerdModule, targets: tuple[Target, ...], progress: ProgressFile) -> dict[str, Any]:
    """Plan the download, and run it unless in check mode."""
    ports = connect(module, targets, progress.update)
    downloads = [download.Download(target, policy(module), ports) for target in targets]
    is_recorded = all(each.is_recorded() for each in downloads)
    if module.check_mode and module.params["estimate"] and download.may_change(downloads):
        return {"changed": True}
    if is_recorded or module.check_mode:
        outcomes = download.preview(downloads)
    elif ports.client is None:
        module.fail_without_requests(REQUESTS_ERROR)
    else:
        with locked(targets[0].beside("lock"), module.params["lock_timeout"], progress.update):
            outcomes = download.run(downloads)
    diffs = [outcome.diff() for outcome in outcomes]
    moved = [set_attributes(module, outcome.after.path, diff) for outcome, diff in zip(outcomes, diffs)]
    left = [outcome.to_fetch for outcome in outcomes]
    return {
        "changed": any(outcome.changed for outcome in outcomes) or any(moved),
        "diff": diffs,
        "files": [asdict(outcome.now) for outcome in outcomes],
        "to_fetch": None if None in left else sum(size for size in left if size is not None),
    }


def result(module: HerdModule) -> dict[str, Any]:
    """Fetch the model, and return the module's result."""
    dest = Path(module.params["dest"])
    place = module.params["progress_file"] or str(dest.with_name(f".{dest.name}.progress"))
    progress = ProgressFile(None if module.check_mode or not dest.parent.is_dir() else Path(place), "bytes")
    sources = ("url", "parts", "shards", "size", "sha256", "mirrors", "join")
    try:
        targets = plan_targets(str(dest), **{name: module.params[name] for name in sources})
        return {**run(module, targets, progress), "progress_file": place}
    except HerdError as error:
        module.fail_json(msg=str(error), progress_file=place)
    finally:
        progress.finish()


def main() -> None:
    HerdModule(
        ARGUMENTS,
        add_file_common_args=True,
        mutually_exclusive=[["url", "parts", "shards"]],
        required_one_of=[["url", "parts", "shards"]],
    ).run(result)


if __name__ == "__main__":
    main()
