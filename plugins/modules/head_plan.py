#!/usr/bin/python
# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: head_plan
short_description: Plan the head's command line, placement and worker readiness check
version_added: 0.1.0
description:
  - Orders the workers and the head's own GPUs as the engine does, translates layers by host name to the engine's split,
    and composes the arguments for the installed release.
  - Checks every argument against the flags that this build accepts and against the rules of the flag guard
    (C(docs/reference/flag-guard.md)). An error fails the module, a warning is shown.
  - Reports the workers to which a running head has lost its connection. Changes nothing.
author: herd.inference contributors (@herd-inference)
extends_documentation_fragment:
  - herd.inference.attributes.info_module
  - herd.inference.engine_options
  - herd.inference.engine_options.server
attributes:
  check_mode:
    details: Without an installed release, RV(pending) is true.
options:
  name:
    description: Name of the head's host, as in the split.
    type: str
    required: true
  workers:
    description: Names of the workers' hosts in the engine's order.
    type: list
    elements: str
    required: true
  addresses:
    description: Fabric address of each worker by host name.
    type: dict
    required: true
  gpus:
    description: GPUs of each worker by host name, as in C(herd_gpus). A worker without GPUs offers its CPU.
    type: dict
    default: {}
  worker_port:
    description: Port of the workers.
    type: int
    required: true
  local_gpus:
    description: The head's own GPUs that hold layers, as in C(herd_gpus).
    type: list
    elements: dict
    default: []
  model_path:
    description: File of the model, or its first shard.
    type: path
    required: true
  model_id:
    description: Id of the model in the API.
    type: str
    required: true
  layers:
    description: Layers of the model.
    type: int
    required: true
  tensor_split:
    description: Layers by host name. Empty spreads the layers evenly.
    type: dict
    default: {}
  profiles:
    description: Settings by profile name.
    type: dict
    default: {}
  profile:
    description: Name of the profile; empty for none.
    type: str
    default: ''
  settings:
    description: Settings merged over the profile.
    type: dict
    default: {}
  worker_timeout:
    description: Seconds to wait for the workers before a start fails.
    type: int
    default: 300
  model_metadata:
    description: >-
      The model's C(metadata) in C(herd_models). The flag guard checks its attention, its windows and its blocks that
      predict further tokens. Empty if unknown.
    type: dict
    default: {}
  link_layer:
    description: Link layer of the fabric, such as V(InfiniBand) or V(Ethernet), for the flag guard. Empty if unknown.
    type: str
    default: ''
  model_types:
    description: Types of the model's tensors in lower case, such as V(bf16). Empty if unknown.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Plan the head
  herd.inference.head_plan:
    prefix: /opt/llama.cpp
    name: vllm-node1
    workers: [vllm-node2, vllm-node3]
    addresses: {vllm-node2: 10.100.0.32, vllm-node3: 10.100.0.33}
    worker_port: 50052
    local_gpus: [{name: Tesla V100S-PCIE-32GB, memory_mib: 32768}]
    model_path: /opt/models/OR1-Behemoth.Q8_0.gguf
    model_id: or1-behemoth-q8_0
    layers: 80
    tensor_split: {vllm-node1: 26, vllm-node2: 27, vllm-node3: 27}
    listen_address: 10.0.0.31
    listen_port: 8000
    api_key_file: /etc/herd/head/api-keys
"""

RETURN = r"""
pending:
  description: Whether no release is installed yet, which only check mode accepts.
  returned: always
  type: bool
release:
  description: Id of the release.
  returned: always
  type: str
  sample: 0c1e57098-cuda70-1a2b3c4d
argv:
  description: Command line with the program's path in the release.
  returned: always
  type: list
  elements: str
  sample: [/opt/llama.cpp/releases/0c1e57098-cuda70-1a2b3c4d/bin/llama-server, --rpc, "10.100.0.32:50052"]
devices:
  description: Devices in the engine's order with their layers.
  returned: always
  type: list
  elements: dict
  sample: [{name: RPC0, host: vllm-node2, endpoint: "10.100.0.32:50052", layers: 27}]
readiness_check:
  description: Configuration of the worker readiness check, as the text of its file.
  returned: always
  type: str
  sample: "{}"
environment:
  description: Variables that limit the head to its GPUs of C(herd_gpus).
  returned: always
  type: dict
  sample: {CUDA_DEVICE_ORDER: PCI_BUS_ID, CUDA_VISIBLE_DEVICES: "0"}
lost:
  description: Endpoints of workers to which the running head has lost its connection.
  returned: always
  type: list
  elements: str
  sample: ["10.100.0.32:50052"]
findings:
  description: Warnings and accepted findings of the flag guard.
  returned: always
  type: list
  elements: dict
  sample:
    - rule: repeated-flag
      severity: warning
      found: --threads 2 times, with 40 and 20
      otherwise: the last one counts, and the log calls it deprecated
      instead: write it once
      source: run, b7836 and 0c1e57098
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.engine import arguments as engine_arguments
from ansible_collections.herd.inference.plugins.module_utils.core.engine import (
    device_order,
    gpu_environment,
    worker_readiness,
)
from ansible_collections.herd.inference.plugins.module_utils.core.engine.command_line import CommandLine
from ansible_collections.herd.inference.plugins.module_utils.core.engine.flags import attention_kernels
from ansible_collections.herd.inference.plugins.module_utils.core.engine.flags import guard as flag_guard
from ansible_collections.herd.inference.plugins.module_utils.core.engine.flags import subject as flag_subject
from ansible_collections.herd.inference.plugins.module_utils.core.engine.rpc_protocol import parse_version
from ansible_collections.herd.inference.plugins.module_utils.core.engine.speculation import vocabulary
from ansible_collections.herd.inference.plugins.module_utils.core.host import proc_net
from ansible_collections.herd.inference.plugins.module_utils.core.models import gguf
from ansible_collections.herd.inference.plugins.module_utils.core.models import metadata as model_metadata
from ansible_collections.herd.inference.plugins.module_utils.core.release import units
from ansible_collections.herd.inference.plugins.module_utils.herd_module import (
    ENGINE_OPTIONS,
    SERVER_OPTIONS,
    HerdModule,
    run_module,
)
from ansible_collections.herd.inference.plugins.module_utils.ports import systemd
from ansible_collections.herd.inference.plugins.module_utils.ports.host import processes
from ansible_collections.herd.inference.plugins.module_utils.ports.models import gguf_source
from ansible_collections.herd.inference.plugins.module_utils.ports.release import manifest as release_manifest

# A younger head may not have opened its connections yet.
_YOUNG_S = 20.0


def place(given: dict[str, Any]) -> list[device_order.PlacedDevice]:
    """Assign the layers to devices in the engine's order."""
    port = given["worker_port"]
    workers = [
        device_order.LayerHost(n, max(1, len(given["gpus"].get(n) or [])), f"{given['addresses'][n]}:{port}")
        for n in given["workers"]
    ]
    local = device_order.LayerHost(given["name"], len(given["local_gpus"])) if given["local_gpus"] else None
    return device_order.placed(workers, local, given["layers"], given["tensor_split"])


def readiness_check_for(given: dict[str, Any], protocol: str) -> str:
    """Write the configuration of the worker readiness check."""
    workers = []
    for name in given["workers"]:
        offered = given["gpus"].get(name) or []
        memory = worker_readiness.least_memory(min((float(gpu["memory_mib"]) for gpu in offered), default=0))
        address, count = given["addresses"][name], max(1, len(offered))
        workers.append(worker_readiness.ExpectedWorker(name, address, given["worker_port"], count, memory))
    return worker_readiness.write_check(
        worker_readiness.ReadinessCheck(parse_version(protocol), given["worker_timeout"], tuple(workers))
    )


def lost_workers(given: dict[str, Any], state: systemd.UnitState) -> list[str]:
    """List the workers to which the running head has lost its connection; its next request would abort it."""
    if not state.pid or processes.age_of(state.pid) < _YOUNG_S:
        return []
    sockets = proc_net.parse(processes.tcp_tables())
    pairs = [(str(given["addresses"][name]), given["worker_port"]) for name in given["workers"]]
    return [f"{a}:{p}" for a, p in pairs if not proc_net.established_to(sockets, a, p)]


def capabilities(given: dict[str, Any]) -> tuple[str, ...]:
    """List the compute capabilities of all GPUs of the group."""
    offered = [*given["local_gpus"], *(gpu for name in given["workers"] for gpu in given["gpus"].get(name) or [])]
    return gpu_environment.capabilities(offered)


def vocabulary_difference(model_path: str, settings: dict[str, Any]) -> str:
    """Compare the vocabularies of the model and its draft by their files; empty if one is not here yet."""
    draft_path = (settings["speculation"] or {}).get("file", "")
    paths = [Path(model_path), Path(draft_path)]
    if not draft_path or not all(path.is_file() for path in paths):
        return ""
    headers = []
    for path in paths:
        with gguf_source.open_file(path) as source:
            headers.append(gguf.read_header(source, (vocabulary.TOKENS,)))
    return vocabulary.difference(*headers)


def known_layers(data: dict[str, Any]) -> dict[str, Any]:
    """Return what the flag guard asks about a model's layers, if its metadata is known."""
    if not data:
        return {}
    found = model_metadata.from_data(data)
    unread = any(not layer.loaded for layer in found.layers) and not found.predictors
    return {
        "next_tokens": None if unread else len(found.predictors),
        "has_window": any(layer.window for layer in found.layers),
    }


def command_line(
    given: dict[str, Any],
    devices: list[device_order.PlacedDevice],
    found: tuple[Path, dict[str, Any]],
    accepted: list[str],
) -> tuple[list[str], list[flag_subject.Finding]]:
    """Build the head's command line, and inspect it with the flag guard."""
    directory, manifest = found
    program = manifest["programs"]["head"]
    engine = flag_subject.engine_of(manifest, program)
    profile = engine_arguments.profile_named(given["profiles"], given["profile"])
    settings = engine_arguments.merged(profile, given["settings"])
    argv = engine_arguments.head_arguments(
        settings,
        devices,
        engine.accepted,
        given["model_path"],
        given["model_id"],
        (given["listen_address"], given["listen_port"]),
        given["api_key_file"],
        (given["tls"].get("certificate") or "", given["tls"].get("key") or ""),
        # The unit is the only head of its host, and api_health reports other listeners.
        reuse_port=True,
    )
    subject = flag_subject.Subject(
        flag_subject.HEAD,
        CommandLine(argv),
        engine,
        capabilities(given),
        settings["context"],
        tuple(given["model_types"]),
        {str(name): str(value) for name, value in given["environment"].items()},
        attention=attention_kernels.shapes_of(given["model_metadata"]),
        link_layer=given["link_layer"],
        vocabulary_difference=vocabulary_difference(given["model_path"], settings),
        **known_layers(given["model_metadata"]),
    )
    return [str(directory / "bin" / program), *argv], flag_guard.inspect(subject, accepted)


def result(module: HerdModule) -> dict[str, Any]:
    """Plan the head, and return the module's result."""
    given = module.params
    prefix = Path(given["prefix"])
    for name, offered in given["gpus"].items():
        gpu_environment.environment(offered, name)
    environment = gpu_environment.environment(given["local_gpus"], given["name"])
    devices = place(given)
    proc_net.require_port_free(
        processes.tcp_tables(), given["listen_port"], units.HEAD, processes.owner_of, processes.control_group_of
    )
    found = release_manifest.needed_manifest(prefix, module.check_mode)
    # In check mode, the release to be built may have what the installed one lacks.
    accepted = given["accepted_rules"] + (["tls-not-built"] if module.check_mode else [])
    argv, findings = (
        command_line(given, devices, found, accepted) if found else ([str(prefix / "current/bin/llama-server")], [])
    )
    for warning in flag_guard.require_clean(findings, Path(argv[0]).name):
        module.warn(warning)
    return {
        "pending": found is None,
        "release": found[1]["id"] if found else "",
        "argv": argv,
        "devices": [asdict(device) for device in devices],
        "readiness_check": readiness_check_for(given, found[1]["rpc_protocol"] if found else "0.0.0"),
        "environment": environment,
        "lost": lost_workers(given, systemd.show(units.HEAD)),
        "findings": [asdict(finding) for finding in findings],
    }


def main() -> None:
    run_module(
        result,
        name={"type": "str", "required": True},
        workers={"type": "list", "elements": "str", "required": True},
        addresses={"type": "dict", "required": True},
        gpus={"type": "dict", "default": {}},
        worker_port={"type": "int", "required": True},
        local_gpus={"type": "list", "elements": "dict", "default": []},
        model_path={"type": "path", "required": True},
        model_id={"type": "str", "required": True},
        layers={"type": "int", "required": True},
        tensor_split={"type": "dict", "default": {}},
        profiles={"type": "dict", "default": {}},
        profile={"type": "str", "default": ""},
        settings={"type": "dict", "default": {}},
        worker_timeout={"type": "int", "default": 300},
        model_metadata={"type": "dict", "default": {}},
        model_types={"type": "list", "elements": "str", "default": []},
        link_layer={"type": "str", "default": ""},
        **ENGINE_OPTIONS,
        **SERVER_OPTIONS,
    )


if __name__ == "__main__":
    main()
