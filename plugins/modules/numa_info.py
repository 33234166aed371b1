#!/usr/bin/python
# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: numa_info
short_description: Find the NUMA node of a service's GPUs and of the fabric's adapter
version_added: 0.1.0
description:
  - Reads from the kernel at which NUMA node the GPUs and the fabric's adapter are, and returns the directives that bind
    a unit to it. If they differ, the node of the GPUs counts.
  - Warns if a host with several NUMA nodes does not allow a binding, and says why.
  - If the node has fewer processors than the service has threads, only its memory is preferred.
author: herd.inference contributors (@herd-inference)
extends_documentation_fragment: [herd.inference.attributes.info_module]
options:
  interface:
    description: The fabric's interface. Empty for none.
    type: str
    default: ""
  gpus:
    description: GPUs of the service, as in C(herd_gpus). Without one, it computes on the processors.
    type: list
    elements: dict
    default: []
  threads:
    description: Threads that compute on processors. V(0) uses all processors of the host.
    type: int
    default: 0
"""

EXAMPLES = r"""
- name: Find the NUMA node of the worker
  herd.inference.numa_info:
    interface: ib0
    gpus: "{{ herd_gpus }}"
    threads: 1
  register: numa
"""

RETURN = r"""
node:
  description: NUMA node of the binding, or null.
  returned: success
  type: int
  sample: 1
directives:
  description: Directives of a unit, empty without a binding.
  returned: success
  type: dict
  sample: {NUMAPolicy: preferred, NUMAMask: "1", CPUAffinity: 20-39}
reason:
  description: Why the service is bound like this, or is not.
  returned: success
  type: str
  sample: NUMA node 1, near the GPU and the fabric's adapter
"""

import os
from contextlib import suppress
from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.errors import HerdError
from ansible_collections.herd.inference.plugins.module_utils.core.host import numa
from ansible_collections.herd.inference.plugins.module_utils.core.host import nvidia_smi as nvidia_smi_report
from ansible_collections.herd.inference.plugins.module_utils.core.host.hardware import locality
from ansible_collections.herd.inference.plugins.module_utils.herd_module import HerdModule, run_module
from ansible_collections.herd.inference.plugins.module_utils.ports.host import fabric, nvidia_smi

SYSFS = fabric.Sysfs()
_SMI_TIMEOUT_S = 60


def slots_by_uuid(ids: list[str]) -> dict[str, str]:
    """Return the PCI bus ids of GPUs by UUID, if an id is one. Without nvidia-smi, their nodes are unknown."""
    if not any(wanted.startswith("GPU-") for wanted in ids):
        return {}
    with suppress(HerdError):
        report = nvidia_smi_report.read(*nvidia_smi.run(nvidia_smi_report.QUERY, _SMI_TIMEOUT_S))
        return {gpu.uuid: gpu.pci_bus_id for gpu in report.gpus}
    return {}


def binding(given: dict[str, Any]) -> numa.Binding:
    """Choose the NUMA node of the service."""
    ids = [str(gpu["id"]) for gpu in given["gpus"] if gpu.get("id") is not None]
    nodes = locality.chosen_nodes(locality.gpu_nodes(SYSFS), ids, slots_by_uuid(ids)) if given["gpus"] else set()
    fabric_node = locality.fabric_node(SYSFS, given["interface"])
    threads = given["threads"] or os.cpu_count() or 1
    return locality.service_binding(locality.processors(SYSFS), nodes, fabric_node, threads)


def result(module: HerdModule) -> dict[str, Any]:
    """Choose the NUMA node, and return the module's result."""
    found = binding(module.params)
    if found.is_short:
        module.warn(f"The service is not bound to the processors of a NUMA node: {found.reason}.")
    return {"node": found.node, "directives": locality.directives(found), "reason": found.reason}


def main() -> None:
    run_module(
        result,
        interface={"type": "str", "default": ""},
        gpus={"type": "list", "elements": "dict", "default": []},
        threads={"type": "int", "default": 0},
    )


if __name__ == "__main__":
    main()
