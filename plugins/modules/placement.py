#!/usr/bin/python
# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan where a model's layers go, from the file on this host and what the host has."""

from __future__ import annotations

DOCUMENTATION = r"""
module: placement
short_description: Plan where a model's layers go, and whether they fit
version_added: 0.2.0
description:
  - The same plan as the filter P(herd.inference.placement#filter), with what only the head's host knows. The model's
    shape is read from the header of a file, and the memory of the host and the limit of its control group (a job's
    memory, under SLURM) are looked up.
  - Changes nothing.
author: herd.inference contributors (@herd-inference)
options:
  path:
    description: File of the model, the first one of shards. Only its header is read.
    type: path
  model:
    description: The model's entry in C(herd_models), with its C(shape). One of O(path) and O(model) is needed.
    type: dict
  workers:
    description: Hosts of the workers in the engine's order.
    type: list
    elements: str
    default: []
  head:
    description: Host of the head, usually C(inventory_hostname).
    type: str
    required: true
  hosts:
    description:
      - Facts by host name. C(gpus) as in C(herd_gpus), C(free_mib) of each GPU in MiB (C(gpus[].free_mib) of
        M(herd.inference.gpu_memory)), C(memory_gib).
    type: dict
    default: {}
  release:
    description: The engine's release, whose rules of allocation are used.
    type: str
    required: true
  settings:
    description: Settings of the head, as in C(head_server_settings).
    type: dict
    default: {}
  split:
    description: Layers by host name. Empty lets the plan choose.
    type: dict
    default: {}
  use_head_gpus:
    description: Whether the head's own GPUs hold layers.
    type: bool
    default: true
  reserve_mib:
    description: MiB that stay free on each GPU.
    type: int
    default: 0
  memory_max:
    description: Memory limit of the head's service, such as V(200G). By default the limit that this process is under.
    type: str
attributes:
  check_mode:
    description: Never changes anything.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
"""

EXAMPLES = r"""
- name: See whether the model fits into what is free now
  herd.inference.placement:
    path: /opt/models/OR1-Behemoth.Q4_K_M.gguf
    workers: [vllm-node2, vllm-node3]
    head: vllm-node1
    hosts:
      vllm-node1: {gpus: [{name: Tesla V100S-PCIE-32GB, memory_mib: 32768}], free_mib: [32256]}
      vllm-node2: {gpus: [{name: Tesla V100S-PCIE-32GB, memory_mib: 32768}], free_mib: [32256]}
      vllm-node3: {gpus: [{name: Tesla V100S-PCIE-32GB, memory_mib: 32768}], free_mib: [21500]}
    release: 0c1e57098
    settings: {context: 131072, cache_type_k: q4_0, cache_type_v: q4_0}
"""

RETURN = r"""
plan:
  description:
    - The plan, as from the filter P(herd.inference.placement#filter). Sizes in bytes.
    - C(fits), C(problems), C(cures), C(warnings), C(devices), C(split), C(tensor_split), C(head), C(largest_context),
      C(rate_empty) and C(rate_full) in tokens per second as upper bounds, and C(table) as text.
  returned: always
  type: dict
  sample: {known: true, fits: true, split: {vllm-node1: 26, vllm-node2: 27, vllm-node3: 27}}
shape:
  description: The model's shape, as an entry of C(herd_models) holds it.
  returned: always
  type: dict
  sample: {architecture: qwen2, width: 8192, layers: 80*0}
memory_bytes:
  description: Memory of this host in bytes, from /proc/meminfo.
  returned: always
  type: int
  sample: 403726925824
limit_bytes:
  description: Limit of the control group in bytes, 0 for none.
  returned: always
  type: int
  sample: 214748364800
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.herd.inference.plugins.module_utils.core.engine import arguments as engine_arguments
from ansible_collections.herd.inference.plugins.module_utils.core.errors import HerdError
from ansible_collections.herd.inference.plugins.module_utils.core.models import shape_reader
from ansible_collections.herd.inference.plugins.module_utils.core.placement import from_inventory as inventory_placement
from ansible_collections.herd.inference.plugins.module_utils.ports.host import memory
from ansible_collections.herd.inference.plugins.module_utils.ports.models.gguf_source import open_file


def shape_at(path: Path) -> dict[str, Any]:
    """Read the shape out of the header, of all shards where there are several."""
    return shape_reader.shape_of_files(str(path.parent), path.name, lambda file: open_file(Path(file))).to_data()


def look(given: dict[str, Any]) -> dict[str, Any]:
    """Plan with what this host has."""
    entry = dict(given["model"] or {})
    if given["path"]:
        entry["shape"] = shape_at(Path(given["path"]))
    total, limit = memory.total_bytes(), memory.limit_bytes()
    own = {"memory_gib": total / (1 << 30), **given["hosts"].get(given["head"], {})}
    site = inventory_placement.Site(
        given["workers"],
        given["head"],
        {**given["hosts"], given["head"]: own},
        given["use_head_gpus"],
        given["reserve_mib"],
        str(limit or "") if given["memory_max"] is None else given["memory_max"],
    )
    settings = engine_arguments.merged(given["settings"])
    plan = inventory_placement.plan_for(entry, site, settings, given["release"], given["split"], {})
    return {"plan": plan, "shape": entry.get("shape") or {}, "memory_bytes": total, "limit_bytes": limit}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path"},
            "model": {"type": "dict"},
            "workers": {"type": "list", "elements": "str", "default": []},
            "head": {"type": "str", "required": True},
            "hosts": {"type": "dict", "default": {}},
            "release": {"type": "str", "required": True},
            "settings": {"type": "dict", "default": {}},
            "split": {"type": "dict", "default": {}},
            "use_head_gpus": {"type": "bool", "default": True},
            "reserve_mib": {"type": "int", "default": 0},
            "memory_max": {"type": "str"},
        },
        required_one_of=[["path", "model"]],
        supports_check_mode=True,
    )
    try:
        module.exit_json(changed=False, **look(module.params))
    except HerdError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
