# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: service_tiers
short_description: Complete the tiers whose engines are services
version_added: 0.1.0
author: herd.inference contributors (@herd-inference)
description:
  - Completes each tier that names a host by the facts of that host. The engine of such a tier is the head
    (C(kind=distributed)) or the router (C(kind=router)) there.
  - A tier without a host runs as Slurm jobs, and is returned as it is.
positional: _input
options:
  _input:
    description: The tiers, as in C(herd_tiers). A tier with a C(host) also has C(name), C(kind) and C(gateway_port).
    type: list
    elements: dict
    required: true
  groups:
    description: The inventory's groups.
    type: dict
    required: true
  hosts:
    description: The variables of all hosts, usually C(hostvars).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Show the models of each tier
  ansible.builtin.debug:
    msg: "{{ herd_tiers | herd.inference.service_tiers(groups=groups, hosts=hostvars) | items2dict('name', 'models') }}"
"""

RETURN = r"""
_value:
  description:
    - The tiers. A service also has C(models), C(model_ids), C(address), C(slots) and C(workers).
  type: list
  elements: dict
  sample:
    - name: reasoning
      kind: distributed
      host: vllm-node1
      gateway_port: 8081
      models: [or1-behemoth-q8_0]
      model_ids: [OR1-Behemoth]
      address: 10.0.0.31
      slots: 0
      workers: [vllm-node2, vllm-node3]
"""

from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.gateway import service_tiers


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"service_tiers": service_tiers.complete}
