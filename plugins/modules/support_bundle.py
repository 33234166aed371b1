#!/usr/bin/python
# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: support_bundle
short_description: Collect diagnostics of a node in an archive, without secrets
version_added: 0.1.0
description:
  - Writes an archive that only root can read. It contains the journals and texts of the collection's units, processes,
    addresses, routes, firewall rules, sockets, disks, memory, GPUs, releases and heartbeats, and of a Slurm cluster the
    queue, the nodes, the tiers and the logs of their jobs.
  - Excludes files that not all users can read. Replaces their words in all other texts, and everything that looks like
    a key, a token, a password or a private key.
  - Changes only the archive.
author: herd.inference contributors (@herd-inference)
extends_documentation_fragment: [herd.inference.attributes]
attributes:
  diff_mode:
    support: none
options:
  path:
    description: File of the archive. An existing file is replaced.
    type: path
    required: true
  name:
    description: Name of the node, which is the folder in the archive.
    type: str
    required: true
  prefix:
    description: Folder of the releases.
    type: path
    required: true
  models_dir:
    description: Folder of the models. The archive lists their names and sizes.
    type: path
    required: true
  since:
    description: Start of the journals, in the syntax of C(journalctl --since).
    type: str
    default: -1d
  job_logs:
    description: Folder with the logs of Slurm jobs. The archive gets the end of the newest ones. If empty, none.
    type: path
    default: ''
  lines:
    description: Largest number of lines of each journal. The last lines are kept.
    type: int
    default: 20000
"""

EXAMPLES = r"""
- name: Collect diagnostics of the last two hours
  herd.inference.support_bundle:
    path: /root/herd-support.tar.gz
    name: vllm-node1
    prefix: /opt/llama.cpp
    models_dir: /opt/models
    since: -2h
"""

RETURN = r"""
entries:
  description: Files of the archive.
  returned: always
  type: list
  elements: str
  sample: [journal/llama-head.service.txt, network/routes.txt, units/llama-head.service.txt]
lacking:
  description: Files that are missing from the archive, because the node has no such program or file.
  returned: always
  type: list
  elements: str
  sample: [gpu/nvidia-smi.txt, network/firewalld.txt]
"""

from pathlib import Path
from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.operations import redaction, support_bundle
from ansible_collections.herd.inference.plugins.module_utils.core.operations import uninstall as uninstall_rules
from ansible_collections.herd.inference.plugins.module_utils.herd_module import HerdModule, run_module
from ansible_collections.herd.inference.plugins.module_utils.ports.operations import bundle


def job_logs(folder: str) -> dict[str, str | None]:
    """Read the end of the newest logs of jobs, by their names in the archive."""
    if not folder:
        return {}
    found = bundle.newest_logs(Path(folder), uninstall_rules.SHARED_ENTRIES["ai/logs"].fullmatch)
    return {f"jobs/{path.relative_to(folder)}": bundle.read_end(path) for path in found}


def result(module: HerdModule) -> dict[str, Any]:
    """Write the archive, and return the module's result."""
    given = module.params
    wanted = support_bundle.pieces(
        bundle.service_units(uninstall_rules.is_ours),
        given["since"],
        given["lines"],
        given["prefix"],
        given["models_dir"],
    )
    secrets = bundle.known_secrets(redaction.secrets_in)
    texts = {piece.name: bundle.run(piece.argv) if piece.argv else bundle.read(piece.path) for piece in wanted}
    texts.update(job_logs(given["job_logs"]))
    kept = {name: redaction.redact(text, secrets) for name, text in texts.items() if text is not None}
    if not module.check_mode:
        bundle.write(Path(given["path"]), given["name"], kept)
    return {"entries": sorted(kept), "lacking": sorted(set(texts) - set(kept))}


def main() -> None:
    run_module(
        result,
        path={"type": "path", "required": True},
        name={"type": "str", "required": True},
        prefix={"type": "path", "required": True},
        models_dir={"type": "path", "required": True},
        since={"type": "str", "default": "-1d"},
        job_logs={"type": "path", "default": ""},
        lines={"type": "int", "default": 20000},
    )


if __name__ == "__main__":
    main()
