#!/usr/bin/python
# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look at an RPC worker from its own host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: rpc_worker_info
short_description: What an RPC worker on this host is doing
version_added: 0.1.0
description:
  - Reads the unit, the process and the kernel's TCP table. It never connects to the worker, which serves one
    client at a time.
author: herd.inference contributors (@herd-inference)
options:
  unit:
    description: The worker's unit.
    type: str
    default: llama-rpc.service
  port:
    description: Port of the worker.
    type: int
    required: true
  address:
    description: Address that it must listen on; only looked at together with O(wait).
    type: str
    default: ''
  cache_dir:
    description: Directory of its tensor cache.
    type: path
    default: /var/cache/herd/rpc
  wait:
    description: Seconds to wait for it to listen on O(address), and to fail if it does not. V(0) only looks.
    type: int
    default: 0
attributes:
  check_mode:
    description: Never changes anything.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
"""

EXAMPLES = r"""
- name: Look at the worker
  herd.inference.rpc_worker_info:
    port: 50052
  register: worker
"""

RETURN = r"""
active_state:
  description: The unit's state as systemd names it.
  returned: always
  type: str
  sample: active
sub_state:
  description: The finer state.
  returned: always
  type: str
  sample: running
enabled:
  description: Whether it starts at boot.
  returned: always
  type: bool
  sample: true
pid:
  description: Main process, V(0) when there is none.
  returned: always
  type: int
  sample: 4711
since:
  description: When the unit became active, as systemd prints it.
  returned: always
  type: str
  sample: Sat 2026-11-21 02:26:35 UTC
needs_reload:
  description: Whether the unit's file is newer than what systemd has read.
  returned: always
  type: bool
  sample: false
age_s:
  description: Age of the main process in seconds.
  returned: always
  type: float
  sample: 86.4
restarts:
  description: Restarts by systemd since it was started by hand or at boot.
  returned: always
  type: int
  sample: 0
release:
  description: Id of the release that the process runs from.
  returned: always
  type: str
  sample: 0c1e57098-cpu-1a2b3c4d
listening:
  description: Addresses that something listens on at that port.
  returned: always
  type: list
  elements: str
  sample: [10.100.0.32]
connections:
  description: Clients with an established connection.
  returned: always
  type: list
  elements: str
  sample: ["10.100.0.31:40112"]
cache_bytes:
  description: Size of the tensor cache in bytes.
  returned: always
  type: int
  sample: 52428800
"""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.herd.inference.plugins.module_utils.core import proc_net
from ansible_collections.herd.inference.plugins.module_utils.core.errors import HerdError, RemoteFailureError
from ansible_collections.herd.inference.plugins.module_utils.ports import host, release, systemd

_POLL_S = 0.3


def look(unit: str, port: int, cache_dir: Path) -> dict[str, Any]:
    """Gather everything once."""
    state = systemd.show(unit)
    sockets = proc_net.parse(host.tcp_tables())
    clients = proc_net.established_from(sockets, port)
    found = asdict(state)
    found.update(
        age_s=round(host.age_of(state.pid), 1) if state.pid else 0.0,
        release=release.release_of(host.arguments_of(state.pid)) if state.pid else "",
        listening=sorted({listener.local_address for listener in proc_net.listening_on(sockets, port)}),
        connections=sorted(f"{client.remote_address}:{client.remote_port}" for client in clients),
        cache_bytes=host.tree_size(cache_dir),
    )
    return found


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "unit": {"type": "str", "default": "llama-rpc.service"},
            "port": {"type": "int", "required": True},
            "address": {"type": "str", "default": ""},
            "cache_dir": {"type": "path", "default": "/var/cache/herd/rpc"},
            "wait": {"type": "int", "default": 0},
        },
        supports_check_mode=True,
    )
    given = module.params
    deadline = time.monotonic() + given["wait"]
    try:
        while True:
            found = look(given["unit"], given["port"], Path(given["cache_dir"]))
            is_up = found["active_state"] == "active" and given["address"] in found["listening"]
            if is_up or time.monotonic() >= deadline:
                break
            time.sleep(_POLL_S)
        if given["wait"] and not is_up:
            raise RemoteFailureError(
                f"{given['unit']} to listen on {given['address']}:{given['port']} within {given['wait']} seconds",
                f"{found['active_state']}, listening on {', '.join(found['listening']) or 'nothing'}; "
                f"it said: {systemd.last_words(given['unit'])}",
                f"look at journalctl -u {given['unit']}",
            )
    except HerdError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **found)


if __name__ == "__main__":
    main()
