#!/usr/bin/python
# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Gather what somebody needs who looks into a node's trouble from afar."""

from __future__ import annotations

DOCUMENTATION = r"""
module: support_bundle
short_description: Gather journals, units, versions, routes and GPU state of a node, without secrets
version_added: 0.2.0
description:
  - Writes an archive that only root may read, with the journals and texts of our units, what runs, addresses, routes,
    firewall, sockets, disks, memory, GPUs, releases and heartbeats.
  - Files that not everybody may read are never part of it. Their words are taken out of all the rest, and so is what
    looks like a key, a token, a password or a private key.
  - Changes nothing on the node but the archive.
author: herd.inference contributors (@herd-inference)
extends_documentation_fragment: [herd.inference.attributes]
attributes:
  diff_mode:
    support: none
options:
  path:
    description: The archive, which is written anew.
    type: path
    required: true
  name:
    description: Name of the node, the folder in the archive.
    type: str
    required: true
  prefix:
    description: Folder of the releases.
    type: path
    required: true
  models_dir:
    description: Folder of the models, of which only names and sizes are taken.
    type: path
    required: true
  since:
    description: How far back journals are read, in the words of C(journalctl --since).
    type: str
    default: -1d
  lines:
    description: How many lines of each journal at most, the last ones.
    type: int
    default: 20000
  secrets_dir:
    description: Folder whose guarded files hold the secrets that are taken out.
    type: path
    default: /etc/herd
"""

EXAMPLES = r"""
- name: Gather what is known of the last two hours
  herd.inference.support_bundle:
    path: /root/herd-support.tar.gz
    name: vllm-node1
    prefix: /opt/llama.cpp
    models_dir: /opt/models
    since: -2h
"""

RETURN = r"""
entries:
  description: What is in the archive.
  returned: always
  type: list
  elements: str
  sample: [journal/llama-head.service.txt, network/routes.txt, units/llama-head.service.txt]
lacking:
  description: What is not, because the node has no such program or file.
  returned: always
  type: list
  elements: str
  sample: [gpu/nvidia-smi.txt, network/firewalld.txt]
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.herd.inference.plugins.module_utils.core.operations import redaction, support_bundle
from ansible_collections.herd.inference.plugins.module_utils.core.operations import uninstall as uninstall_rules
from ansible_collections.herd.inference.plugins.module_utils.ports import systemd
from ansible_collections.herd.inference.plugins.module_utils.ports.operations import bundle


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "name": {"type": "str", "required": True},
            "prefix": {"type": "path", "required": True},
            "models_dir": {"type": "path", "required": True},
            "since": {"type": "str", "default": "-1d"},
            "lines": {"type": "int", "default": 20000},
            "secrets_dir": {"type": "path", "default": "/etc/herd", "no_log": False},
        },
        supports_check_mode=True,
    )
    given = module.params
    units = bundle.units(uninstall_rules.is_ours, systemd.UNIT_DIRECTORY)
    wanted = support_bundle.pieces(units, given["since"], given["lines"], given["prefix"], given["models_dir"])
    try:
        guarded = bundle.guarded_files(Path(given["secrets_dir"]))
        secrets = [word for path in guarded for word in redaction.secrets_in(path.read_text(errors="replace"))]
        texts = {piece.name: bundle.run(piece.argv) if piece.argv else bundle.read(piece.path) for piece in wanted}
        kept = {name: redaction.redact(text, secrets) for name, text in texts.items() if text is not None}
        if not module.check_mode:
            bundle.write(Path(given["path"]), given["name"], kept)
    except OSError as error:
        module.fail_json(msg=f"expected to write {given['path']}, found {error}: free space or name another path.")
    module.exit_json(changed=False, entries=sorted(kept), lacking=sorted(set(texts) - set(kept)))


if __name__ == "__main__":
    main()
