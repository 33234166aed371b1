# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: status_table
short_description: Build status tables from the results of the info modules
version_added: 0.1.0
description:
  - Combines the results of M(herd.inference.head_info) with those of the other info modules.
author: herd.inference contributors (@herd-inference)
options:
  _input:
    description: Results of head_info by host name.
    type: dict
    required: true
  workers:
    description: Results of rpc_worker_info by host name.
    type: dict
    required: true
  endpoints:
    description: Host name of each RPC endpoint.
    type: dict
    required: true
  gpus:
    description: Results of M(herd.inference.gpu_memory) by host name.
    type: dict
    default: {}
  routes:
    description: Results of M(herd.inference.ib_route) by host name.
    type: dict
    default: {}
  routers:
    description: Results of M(herd.inference.router_info) by host name.
    type: dict
    default: {}
  releases:
    description: Results of M(herd.inference.release_info) by host name, of hosts without a service.
    type: dict
    default: {}
  accepted:
    description: Ids of advisories that the inventory has acknowledged.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Show the status
  ansible.builtin.debug:
    msg: "{{ (heads | herd.inference.status_table(workers, endpoints)).text }}"
"""

RETURN = r"""
_value:
  description:
    - C(nodes), C(devices), C(gpus), C(routes) and C(advisories) as data, C(problems) as sentences, and C(text) as a
      table of each.
  type: dict
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.operations import status_table
from ansible_collections.herd.inference.plugins.module_utils.core.text import text_table

COLUMNS = {
    "devices": status_table.DEVICE_COLUMNS,
    "gpus": status_table.GPU_COLUMNS,
    "routes": status_table.ROUTE_COLUMNS,
    "advisories": status_table.ADVISORY_COLUMNS,
}


def render(
    heads: Mapping[str, Mapping[str, Any]],
    workers: Mapping[str, Mapping[str, Any]],
    endpoints: Mapping[str, str],
    gpus: Mapping[str, Mapping[str, Any]] | None = None,
    routes: Mapping[str, Mapping[str, Any]] | None = None,
    accepted: Sequence[str] = (),
    routers: Mapping[str, Mapping[str, Any]] | None = None,
    releases: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """Join, and add the tables as text."""
    joined = status_table.status(heads, workers, endpoints)
    joined["nodes"] += [status_table.router_row(host, info) for host, info in (routers or {}).items()]
    joined["nodes"] += [status_table.release_row(host, info) for host, info in (releases or {}).items()]
    joined["gpus"] = status_table.gpu_rows(gpus or {})
    joined["routes"] = status_table.route_rows(routes or {})
    joined["advisories"] = status_table.advisory_rows([workers, heads, routers or {}], accepted)
    joined["problems"] = status_table.problems(workers)
    tables = [text_table(joined["nodes"], status_table.COLUMNS)]
    tables += [text_table(joined[name], columns) for name, columns in COLUMNS.items() if joined[name]]
    tables += ["\n".join(joined["problems"])] if joined["problems"] else []
    return {**joined, "text": "\n\n".join(tables)}


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"status_table": render}
