#!/usr/bin/python
# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: head_info
short_description: Report the state of the head on this host, and what each device holds
version_added: 0.1.0
description:
  - Reads the unit, the process, the kernel's TCP table and the journal of the current run. Layers and memory come from
    the lines that the engine logs while it loads the model.
  - journald drops old lines, so those of the start may be gone after months. Then RV(log_complete) is false, devices
    and layers are unknown, and RV(workers) remain known.
author: herd.inference contributors (@herd-inference)
extends_documentation_fragment: [herd.inference.attributes.info_module]
options:
  require_devices:
    description:
      - Names of devices that must each hold layers. The module fails if one does not.
      - If the log lacks the start of the run, every worker must be connected instead, and the module warns.
    type: list
    elements: str
    default: []
  planned_layers:
    description:
      - Planned layers by device. The module fails if the head's log reports others, or that not all are offloaded.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Prove that both workers hold layers
  herd.inference.head_info:
    require_devices: [RPC0, RPC1]
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
  sample:
    - id: CVE-2026-34159
      means: code execution for anyone who reaches the RPC worker's port
      fixed: "2026-03, b8492"
endpoint:
  description: Address and port of the API.
  returned: always
  type: str
  sample: 10.0.0.31:8000
workers:
  description: Workers of the running process, in the engine's order.
  returned: always
  type: list
  elements: dict
  contains:
    endpoint:
      description: Address and port of the worker.
      type: str
      sample: 10.100.0.32:50052
    established:
      description: Whether the process holds a connection to it.
      type: bool
devices:
  description: Layers and memory (MiB) of each device.
  returned: always
  type: list
  elements: dict
  contains:
    device:
      description: Name of the device in the engine.
      type: str
      sample: RPC0
    endpoint:
      description: Endpoint of its worker; empty for a GPU of the head.
      type: str
      sample: 10.100.0.32:50052
    description:
      description: Description of the device in the engine's log.
      type: str
      sample: 10.100.0.32:50052
    layers:
      description: Layers on it; V(null) if unknown.
      type: int
    model_mib:
      description: Weights.
      type: float
    kv_mib:
      description: Key-value cache.
      type: float
    compute_mib:
      description: Compute buffer.
      type: float
log_complete:
  description: Whether the journal still has the start of this run, with the placement.
  returned: always
  type: bool
layers:
  description: Layers of the model that have a cache.
  returned: always
  type: int
offloaded:
  description: Layers and output that the engine offloaded to devices; 0 if the log does not say so.
  returned: always
  type: int
slots:
  description: Layers and output of the model, as the engine counts them; 0 if the log does not say so.
  returned: always
  type: int
"""

from dataclasses import asdict
from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.engine import server_log
from ansible_collections.herd.inference.plugins.module_utils.core.engine.command_line import value_of
from ansible_collections.herd.inference.plugins.module_utils.core.errors import MismatchError
from ansible_collections.herd.inference.plugins.module_utils.core.host import proc_net
from ansible_collections.herd.inference.plugins.module_utils.core.release import units
from ansible_collections.herd.inference.plugins.module_utils.herd_module import HerdModule, run_module
from ansible_collections.herd.inference.plugins.module_utils.ports import systemd
from ansible_collections.herd.inference.plugins.module_utils.ports.host import processes
from ansible_collections.herd.inference.plugins.module_utils.ports.release import manifest as release_manifest


def workers_of(arguments: list[str]) -> list[dict[str, Any]]:
    """List the workers of the running process, and whether it is connected to them."""
    sockets = proc_net.parse(processes.tcp_tables())
    found: list[dict[str, Any]] = []
    for endpoint in filter(None, value_of(arguments, "--rpc").split(",")):
        address, _colon, port = endpoint.rpartition(":")
        established = proc_net.established_to(sockets, address, int(port))
        found.append({"endpoint": endpoint, "established": bool(established)})
    return found


def require(devices: list[str], log: server_log.ServerLog, workers: list[dict[str, Any]]) -> str:
    """Reject a head on which a device holds no weights or cache. Return a warning if the log cannot tell."""
    if devices and not log.begun:
        lost = [str(worker["endpoint"]) for worker in workers if not worker["established"]]
        if lost or not workers:
            raise MismatchError(
                "the head to be connected to every worker",
                f"no connection to {', '.join(lost) or 'any'}",
                "restart llama-head; its journal then names what a worker lacks",
            )
        return (
            "The journal no longer has the start of llama-head, where the engine says which device holds what. "
            "It is connected to every worker; restart it to see the layers again, or let journald keep more "
            "(SystemMaxUse= in journald.conf)."
        )
    holding = {share.device for share in log.devices if share.model_mib > 0 and share.kv_mib > 0}
    empty = [device for device in devices if device not in holding]
    if empty:
        raise MismatchError(
            f"every device of {', '.join(devices)} to hold layers, by the head's own log",
            f"none on {', '.join(empty)}",
            "look at journalctl -u llama-head for where the layers went, and at head_server_tensor_split",
        )
    return ""


def result(module: HerdModule) -> dict[str, Any]:
    """Read the state of the head, and return the module's result."""
    state = systemd.show(units.HEAD)
    arguments = processes.arguments_of(state.pid) if state.pid else []
    log = server_log.parse(systemd.journal_of(state.invocation, server_log.READY_WORDS) if state.pid else "")
    workers = workers_of(arguments)
    unseen = require(module.params["require_devices"], log, workers)
    if log.begun:
        server_log.require_planned(log, module.params["planned_layers"])
    if unseen:
        module.warn(unseen)
    manifest = release_manifest.manifest_of(arguments)
    address, port = value_of(arguments, "--host"), value_of(arguments, "--port")
    return {
        **asdict(state),
        "age_s": round(processes.age_of(state.pid), 1) if state.pid else 0.0,
        "release": release_manifest.release_of(arguments),
        "rpc_protocol": manifest.get("rpc_protocol", ""),
        "advisories": manifest.get("advisories", []),
        "endpoint": f"{address}:{port}" if port else "",
        "workers": workers,
        "devices": [asdict(share) for share in log.devices],
        "log_complete": log.begun,
        "layers": log.layers,
        "offloaded": log.offloaded,
        "slots": log.slots,
    }


def main() -> None:
    run_module(
        result,
        require_devices={"type": "list", "elements": "str", "default": []},
        planned_layers={"type": "dict", "default": {}},
    )


if __name__ == "__main__":
    main()
