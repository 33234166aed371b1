#!/usr/bin/python
# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: rpc_worker_plan
short_description: Plan the command line of an RPC worker, and check that it can run here
version_added: 0.1.0
description:
  - Inspects the worker's arguments with the flag guard and the manifest of the installed release. Checks that this host
    has the fabric address and that the port is free. Changes nothing.
author: herd.inference contributors (@herd-inference)
extends_documentation_fragment:
  - herd.inference.attributes.info_module
  - herd.inference.engine_options
  - herd.inference.engine_options.gpus
attributes:
  check_mode:
    details: Without an installed release, RV(pending) is true.
options:
  address:
    description: Fabric address to listen on, an IPv4 literal.
    type: str
    required: true
  port:
    description: Port to listen on.
    type: int
    required: true
  threads:
    description: Threads of a CPU device. V(0) uses all processors of the host.
    type: int
    default: 0
  cache:
    description: Whether tensors over 10 MiB are cached on disk.
    type: bool
    default: true
  link_layer:
    description: Link layer of the fabric, such as V(InfiniBand) or V(Ethernet), for the flag guard. Empty if unknown.
    type: str
    default: ''
"""

EXAMPLES = r"""
- name: Plan the worker
  herd.inference.rpc_worker_plan:
    prefix: /opt/llama.cpp
    address: 10.100.0.32
    port: 50052
    environment: {LLAMA_CACHE: /var/cache/herd/rpc}
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
  sample: 0c1e57098-cpu-1a2b3c4d
argv:
  description: Command line with the program's path in the release.
  returned: always
  type: list
  elements: str
  sample: [/opt/llama.cpp/releases/0c1e57098-cpu-1a2b3c4d/bin/ggml-rpc-server, -H, 10.100.0.32, -p, "50052"]
environment:
  description: Variables that limit the process to the GPUs of C(herd_gpus).
  returned: always
  type: dict
  sample: {CUDA_DEVICE_ORDER: PCI_BUS_ID, CUDA_VISIBLE_DEVICES: "0,2"}
findings:
  description: Warnings and accepted findings of the flag guard, as in M(herd.inference.head_plan).
  returned: always
  type: list
  elements: dict
nft:
  description: Whether the host has the program nft.
  returned: always
  type: bool
"""

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.engine import arguments as engine_arguments
from ansible_collections.herd.inference.plugins.module_utils.core.engine import gpu_environment
from ansible_collections.herd.inference.plugins.module_utils.core.engine.command_line import CommandLine
from ansible_collections.herd.inference.plugins.module_utils.core.engine.flags import guard as flag_guard
from ansible_collections.herd.inference.plugins.module_utils.core.engine.flags import subject as flag_subject
from ansible_collections.herd.inference.plugins.module_utils.core.errors import (
    InvalidInputError,
    MismatchError,
)
from ansible_collections.herd.inference.plugins.module_utils.core.host import proc_net
from ansible_collections.herd.inference.plugins.module_utils.core.release import units
from ansible_collections.herd.inference.plugins.module_utils.herd_module import ENGINE_OPTIONS, HerdModule, run_module
from ansible_collections.herd.inference.plugins.module_utils.ports.host import firewall, processes
from ansible_collections.herd.inference.plugins.module_utils.ports.release import manifest as release_manifest


def command_line(
    found: tuple[Path, dict[str, Any]], given: dict[str, Any]
) -> tuple[list[str], list[flag_subject.Finding]]:
    """Build the worker's command line, and inspect it with the flag guard."""
    directory, manifest = found
    if given["gpus"] and not manifest.get("cuda"):
        raise MismatchError(
            "a release with CUDA, since herd_gpus names a GPU on this host",
            f"{manifest['id']} without it",
            "run the roles llama_build and llama_release again, or empty herd_gpus of this host",
        )
    program = manifest["programs"]["worker"]
    threads = given["threads"] or os.cpu_count() or 1
    argv = engine_arguments.worker_arguments(given["address"], given["port"], threads, given["cache"])
    subject = flag_subject.Subject(
        flag_subject.WORKER,
        CommandLine(argv, worker=True),
        flag_subject.engine_of(manifest, program),
        gpu_environment.capabilities(given["gpus"]),
        environment={str(name): str(value) for name, value in given["environment"].items()},
        link_layer=given["link_layer"],
    )
    return [str(directory / "bin" / program), *argv], flag_guard.inspect(subject, given["accepted_rules"])


def result(module: HerdModule) -> dict[str, Any]:
    """Plan the worker, and return the module's result."""
    given = module.params
    prefix = Path(given["prefix"])
    if not processes.can_bind(given["address"]):
        raise InvalidInputError(
            f"the fabric address {given['address']} on an interface of this host",
            "no interface that has it",
            "bring the fabric's interface up (ip addr), or correct herd_fabric_address of this host",
        )
    proc_net.require_port_free(
        processes.tcp_tables(), given["port"], units.WORKER, processes.owner_of, processes.control_group_of
    )
    found = release_manifest.needed_manifest(prefix, module.check_mode)
    argv, findings = command_line(found, given) if found else ([str(prefix / "current/bin/rpc-server")], [])
    for warning in flag_guard.require_clean(findings, Path(argv[0]).name):
        module.warn(warning)
    return {
        "pending": found is None,
        "release": found[1]["id"] if found else "",
        "argv": argv,
        "environment": gpu_environment.environment(given["gpus"]),
        "findings": [asdict(finding) for finding in findings],
        "nft": bool(firewall.nft_program()),
    }


def main() -> None:
    run_module(
        result,
        address={"type": "str", "required": True},
        port={"type": "int", "required": True},
        threads={"type": "int", "default": 0},
        cache={"type": "bool", "default": True},
        link_layer={"type": "str", "default": ""},
        gpus={"type": "list", "elements": "dict", "default": []},
        **ENGINE_OPTIONS,
    )


if __name__ == "__main__":
    main()
