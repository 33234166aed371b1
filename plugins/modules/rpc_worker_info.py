#!/usr/bin/python
# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: rpc_worker_info
short_description: Report the state of an RPC worker on this host
version_added: 0.1.0
description:
  - Reads the unit, the process, its release and the kernel's TCP table. Never connects to the worker, because it serves
    one client at a time.
  - Reports problems in RV(problems). Fails because of them only if O(wait) is set.
author: herd.inference contributors (@herd-inference)
extends_documentation_fragment: [herd.inference.attributes.info_module]
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
    description: The only address on which the worker may listen. Empty skips the check.
    type: str
    default: ''
  cache_dir:
    description: Directory of its tensor cache.
    type: path
    default: /var/cache/herd/rpc
  prefix:
    description: Directory of the link C(current), used if no process runs.
    type: path
    default: /opt/llama.cpp
  wait:
    description: Seconds to wait until it listens on O(address). The module fails after that. V(0) does not wait.
    type: int
    default: 0
"""

EXAMPLES = r"""
- name: Wait until the worker listens
  herd.inference.rpc_worker_info:
    port: 50052
    address: 10.100.0.32
    wait: 30
"""

RETURN = r"""
active_state:
  description: State of the unit (ActiveState).
  returned: always
  type: str
  sample: active
sub_state:
  description: Sub-state of the unit (SubState).
  returned: always
  type: str
  sample: running
enabled:
  description: Whether the unit starts at boot.
  returned: always
  type: bool
pid:
  description: Id of the main process; V(0) if there is none.
  returned: always
  type: int
since:
  description: When the unit became active, as systemd prints it.
  returned: always
  type: str
  sample: Sat 2026-11-21 02:26:35 UTC
needs_reload:
  description: Whether systemd has not read the current unit file yet.
  returned: always
  type: bool
age_s:
  description: Age of the main process in seconds.
  returned: always
  type: float
restarts:
  description: Automatic restarts since the last manual start or boot.
  returned: always
  type: int
release:
  description: Id of the release that the process runs from.
  returned: always
  type: str
  sample: 0c1e57098-cpu-1a2b3c4d
rpc_protocol:
  description: RPC protocol of that release; empty if its manifest cannot be read.
  returned: always
  type: str
  sample: 7.0.0
advisories:
  description: Known vulnerabilities of that release.
  returned: always
  type: list
  elements: dict
current:
  description: Id of the release of the link C(current); empty if there is none.
  returned: always
  type: str
  sample: 0c1e57098-cpu-1a2b3c4d
memory_bytes:
  description: Memory of the process in RAM, in bytes.
  returned: always
  type: int
problems:
  description: Problems of the worker, one sentence each.
  returned: always
  type: list
  elements: str
listening:
  description: Addresses on which a process listens at that port.
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
leaving:
  description: Connections that the client has closed and the worker has not (CLOSE_WAIT).
  returned: always
  type: int
holder:
  description: Name and id of the process that listens at that port; empty if there is none.
  returned: always
  type: str
  sample: ggml-rpc-server (4711)
cache_bytes:
  description: Size of the tensor cache in bytes.
  returned: always
  type: int
"""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.engine import worker_state
from ansible_collections.herd.inference.plugins.module_utils.core.errors import RemoteFailureError
from ansible_collections.herd.inference.plugins.module_utils.core.host import proc_net
from ansible_collections.herd.inference.plugins.module_utils.core.release import units
from ansible_collections.herd.inference.plugins.module_utils.herd_module import HerdModule, run_module
from ansible_collections.herd.inference.plugins.module_utils.ports import systemd
from ansible_collections.herd.inference.plugins.module_utils.ports.host import processes
from ansible_collections.herd.inference.plugins.module_utils.ports.release import manifest as release_manifest

_POLL_S = 0.3


def holder_of(listeners: list[proc_net.TcpSocket], unit: str) -> tuple[str, bool]:
    """Name the listening process, and return whether it belongs to the unit."""
    if not listeners:
        return "", True
    pid, name = processes.owner_of(listeners[0].inode)
    # Listeners of the kernel and of other containers have no process here.
    is_own = not pid or f"/{unit}" in processes.control_group_of(pid)
    return (f"{name} ({pid})" if pid else ""), is_own


def read_state(given: dict[str, Any]) -> tuple[dict[str, Any], worker_state.WorkerStatus]:
    """Read the state of the worker once."""
    unit, port = given["unit"], given["port"]
    state = systemd.show(unit)
    arguments = processes.arguments_of(state.pid) if state.pid else []
    manifest = release_manifest.manifest_of(arguments)
    sockets = proc_net.parse(processes.tcp_tables())
    listeners = proc_net.listening_on(sockets, port)
    clients = proc_net.established_from(sockets, port)
    holder, is_own = holder_of(listeners, unit)
    # The process may run below another prefix than the one given.
    prefix = Path(arguments[0]).parents[3] if manifest else Path(given["prefix"])
    found = asdict(state)
    found.update(
        age_s=round(processes.age_of(state.pid), 1) if state.pid else 0.0,
        release=release_manifest.release_of(arguments),
        rpc_protocol=manifest.get("rpc_protocol", ""),
        advisories=manifest.get("advisories", []),
        current=(prefix / "current").resolve().name if (prefix / "current").is_symlink() else "",
        memory_bytes=processes.resident_bytes(state.pid) if state.pid else 0,
        listening=sorted({listener.local_address for listener in listeners}),
        holder=holder,
        connections=sorted(f"{client.remote_address}:{client.remote_port}" for client in clients),
        leaving=sum(s.state == "CLOSE_WAIT" and s.local_port == port for s in sockets),
        cache_bytes=processes.tree_size(Path(given["cache_dir"])),
    )
    worker = worker_state.WorkerStatus(
        unit,
        state.active_state,
        state.sub_state,
        is_own=is_own,
        clients=found["connections"],
        **{name: found[name] for name in ("restarts", "age_s", "needs_reload", "listening", "holder", "leaving")},
        **{name: found[name] for name in ("release", "current")},
    )
    return {**found, "problems": worker_state.problems(worker, given["address"], port)}, worker


def result(module: HerdModule) -> dict[str, Any]:
    """Read the state until the worker listens. Stop early if waiting is useless."""
    given = module.params
    deadline = time.monotonic() + given["wait"]
    while True:
        found, worker = read_state(given)
        is_there = given["address"] in worker.listening if given["address"] else bool(worker.listening)
        if not given["wait"] or (worker.active == "active" and is_there and worker.is_own):
            return found
        if worker_state.cannot_heal(worker) or time.monotonic() >= deadline:
            said, there = systemd.last_words(given["unit"]), ", ".join(worker.listening) or "nothing"
            raise RemoteFailureError(
                f"{given['unit']} to listen on {given['address']}:{given['port']} within {given['wait']} seconds",
                f"{worker.active} ({worker.sub}), listening on {there}; it said: {said}",
                " ".join(found["problems"]).rstrip(".") or f"look at journalctl -u {given['unit']}",
            )
        time.sleep(_POLL_S)


def main() -> None:
    run_module(
        result,
        unit={"type": "str", "default": units.WORKER},
        port={"type": "int", "required": True},
        address={"type": "str", "default": ""},
        cache_dir={"type": "path", "default": "/var/cache/herd/rpc"},
        prefix={"type": "path", "default": "/opt/llama.cpp"},
        wait={"type": "int", "default": 0},
    )


if __name__ == "__main__":
    main()
