# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: scrape_targets
short_description: List what Prometheus scrapes
version_added: 0.1.0
author: herd.inference contributors (@herd-inference)
description:
  - Derives from the inventory the agents, the engines that are services, and the gateway that Prometheus scrapes.
  - The engines of Slurm jobs come and go. The gateway lists them, so that only its URL is returned.
positional: _input, hosts
options:
  _input:
    description: The inventory's groups, C(groups).
    type: dict
    required: true
  hosts:
    description: The variables of all hosts by host name, C(hostvars).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Show the agents that Prometheus scrapes
  ansible.builtin.debug:
    msg: "{{ (groups | herd.inference.scrape_targets(hostvars)).agents }}"
"""

RETURN = r"""
_value:
  description:
    - C(agents) is a list of targets, as in a file that Prometheus discovers.
    - C(services) has an entry for each job of Prometheus with a key or a certificate of its own.
  type: dict
  sample:
    agents:
      - targets: ["10.100.0.31:50061"]
        labels: {job: herd_agent, host: vllm-node1}
    services:
      - name: herd_head_vllm-node1
        host: vllm-node1
        key_file: /etc/herd/head/api-keys
        certificate_file: ""
        targets:
          - targets: ["10.0.0.31:8000"]
            labels: {job: herd_head, host: vllm-node1}
"""

from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.operations import scrape_targets


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"scrape_targets": scrape_targets.scrape_targets}
