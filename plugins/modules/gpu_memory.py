#!/usr/bin/python
# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gpu_memory
short_description: Read the state of each GPU from nvidia-smi, and wait for free memory
version_added: 0.1.0
description:
  - Reads C(nvidia-smi -q -x), the compute capability from C(nvidia-smi --query-gpu), and the NUMA node from the
    kernel. A value that the driver, the card or the user's permissions do not provide is null.
  - A lost GPU is an error if O(ids) names it, or names none. Otherwise, a warning names it.
  - Compares the memory in use with thresholds. The defaults are those of the beefcake2 cluster.
  - Waits until each GPU has O(wait_for_free_mib) free, and shows the progress.
author: herd.inference contributors (@herd-inference)
extends_documentation_fragment: [herd.inference.attributes.info_module]
attributes:
  check_mode:
    details: Does not wait in check mode.
options:
  ids:
    description: >-
      Index, UUID or PCI bus id of each GPU to read, as in C(herd_gpus). Empty reads all GPUs of the host.
    type: list
    elements: str
    default: []
  required:
    description: Whether to fail without a driver or a GPU. With O(wait_for_free_mib), the module always fails then.
    type: bool
    default: false
  wait_for_free_mib:
    description: Free MiB to wait for on each GPU. V(0) does not wait.
    type: int
    default: 0
  wait_timeout:
    description: Seconds to wait for O(wait_for_free_mib).
    type: int
    default: 300
  interval:
    description: Seconds between two readings while the module waits.
    type: int
    default: 2
  timeout:
    description: Seconds to wait for nvidia-smi, which never ends on some broken GPUs.
    type: int
    default: 60
  target_from_gib:
    description: Lower end of the target for the memory in use, in GiB.
    type: float
    default: 26
  target_to_gib:
    description: Upper end of the target for the memory in use, in GiB.
    type: float
    default: 28
  critical_gib:
    description: Largest acceptable memory in use, in GiB. More is critical.
    type: float
    default: 30
"""

EXAMPLES = r"""
- name: Read the memory of all GPUs
  herd.inference.gpu_memory:
  register: gpu_memory

- name: Wait until a former job has released its memory
  herd.inference.gpu_memory:
    ids: "{{ herd_gpus | map(attribute='id', default='') | select | list }}"
    wait_for_free_mib: 30000
    wait_timeout: 120
"""

RETURN = r"""
available:
  description: Whether the driver reports at least one GPU.
  returned: success
  type: bool
reason:
  description: Why RV(available) is false, or empty.
  returned: success
  type: str
driver:
  description: The driver's version.
  returned: success
  type: str
  sample: 535.183.01
must_wait:
  description: Whether less than O(wait_for_free_mib) is free. Only check mode returns true.
  returned: success
  type: bool
level:
  description: Level of the fullest GPU - V(below), V(good), V(acceptable), V(critical) or V(unknown).
  returned: success
  type: str
  sample: good
free_bytes:
  description: Free bytes of each GPU, ordered by index.
  returned: success
  type: list
  elements: int
  sample: [34085011456]
lost:
  description: GPUs of the host that the driver lists and cannot use.
  returned: success
  type: list
  elements: dict
  contains:
    name: {description: Index and PCI bus id if known, returned: always, type: str, sample: "GPU 3 (0000:5f:00.0)"}
    reason: {description: The words of nvidia-smi, returned: always, type: str, sample: Unknown Error}
gpus:
  description: The GPUs. The suffix of a name is its unit. An unknown value is null.
  returned: success
  type: list
  elements: dict
  contains:
    index: {description: Index of the GPU, returned: always, type: int, sample: 0}
    uuid: {description: UUID, returned: always, type: str, sample: GPU-76098dc1-d3bc-9a1b-7ea6-f7b48837829e}
    name: {description: Product name, returned: always, type: str, sample: Tesla V100S-PCIE-32GB}
    pci_bus_id: {description: Address on the PCI bus, returned: always, type: str, sample: "00000000:00:0D.0"}
    numa_node: {description: NUMA node, returned: always, type: int, sample: 0}
    compute_capability: {description: Compute capability or empty, returned: always, type: str, sample: "7.0"}
    architecture: {description: Architecture or empty, returned: always, type: str, sample: Volta}
    total_mib: {description: Memory of the card, returned: always, type: int, sample: 32510}
    reserved_mib: {description: Memory that the driver reserves, returned: always, type: int, sample: 258}
    used_mib: {description: Memory in use, returned: always, type: int, sample: 31689}
    free_mib: {description: Free memory, returned: always, type: int, sample: 821}
    total_bytes: {description: Memory of the card, returned: always, type: int, sample: 34089205760}
    used_bytes: {description: Memory in use, returned: always, type: int, sample: 33228324864}
    free_bytes: {description: Free memory, returned: always, type: int, sample: 860880896}
    level: {description: Level of the memory in use, returned: always, type: str, sample: critical}
    utilisation_percent: {description: Share of time with running kernels, returned: always, type: int, sample: 97}
    temperature_c: {description: Temperature in degrees Celsius, returned: always, type: int, sample: 66}
    power_w: {description: Power in watts, returned: always, type: float, sample: 232.8}
    sm_clock_mhz: {description: Clock of the multiprocessors, returned: always, type: int, sample: 1380}
    memory_clock_mhz: {description: Clock of the memory, returned: always, type: int, sample: 1107}
    power_limit_w: {description: Power limit in watts, returned: always, type: float, sample: 250.0}
    ecc_corrected:
      description: Corrected ECC errors since the driver was loaded.
      returned: always
      type: int
      sample: 0
    throttle_reasons:
      description: What holds the clocks down, in the driver's words; empty for nothing.
      returned: always
      type: list
      elements: str
      sample: [sw_power_cap]
    ecc: {description: Whether ECC is enabled, returned: always, type: bool, sample: true}
    ecc_uncorrected: {description: Uncorrected errors since the driver's start, returned: always, type: int, sample: 0}
    mig: {description: Whether MIG is enabled, returned: always, type: bool, sample: false}
    mig_devices: {description: MIG devices, returned: always, type: list, elements: dict, sample: []}
    processes:
      description: Processes on the GPU, without their arguments.
      returned: always
      type: list
      elements: dict
      sample: [{pid: 37305, name: python, type: C, used_mib: 31683}]
"""

import os
import time
from pathlib import Path
from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.errors import (
    InsufficientError,
    NotFoundError,
)
from ansible_collections.herd.inference.plugins.module_utils.core.host import numa
from ansible_collections.herd.inference.plugins.module_utils.core.host import nvidia_smi as nvidia_smi_report
from ansible_collections.herd.inference.plugins.module_utils.herd_module import run_module
from ansible_collections.herd.inference.plugins.module_utils.ports.host import nvidia_smi
from ansible_collections.herd.inference.plugins.module_utils.ports.progress import ProgressFile

PROGRESS = Path("/run/herd-gpu-memory.json")
_LEVELS = ("below", "good", "acceptable", "critical")


def read_report(timeout: float) -> nvidia_smi_report.GpuReport:
    """Return the present report of nvidia-smi."""
    return nvidia_smi_report.read(*nvidia_smi.run(nvidia_smi_report.QUERY, timeout))


def wait(
    params: dict[str, Any], report: nvidia_smi_report.GpuReport, progress: ProgressFile
) -> nvidia_smi_report.GpuReport:
    """Return the first report in which each GPU has enough free memory.

    :raises InsufficientError: after C(wait_timeout) seconds.
    """
    wanted, end = params["wait_for_free_mib"], time.monotonic() + params["wait_timeout"]
    while True:
        gpus = nvidia_smi_report.select(report, params["ids"])
        free = nvidia_smi_report.least_free(gpus)
        if free is not None and free >= wanted:
            return report
        progress.update("waiting for GPU memory", free or 0, wanted)
        if time.monotonic() >= end:
            users = [f"{p.name} ({p.pid}, {p.used_mib} MiB)" for gpu in gpus for p in gpu.processes]
            raise InsufficientError(
                f"{wanted} MiB free on each GPU within {params['wait_timeout']} s",
                f"{'an unknown amount' if free is None else f'{free} MiB'}, used by {', '.join(users) or 'no process'}",
                "stop the processes that use it, or change wait_timeout or wait_for_free_mib",
            )
        time.sleep(params["interval"])
        report = read_report(params["timeout"])


def describe(
    params: dict[str, Any], report: nvidia_smi_report.GpuReport, limits: nvidia_smi_report.GpuMemoryLimits
) -> dict[str, Any]:
    """Return the state of the chosen GPUs."""
    _status, output = nvidia_smi.run(nvidia_smi_report.CAPABILITY_QUERY, params["timeout"])
    report = nvidia_smi_report.with_capabilities(report, output)
    gpus = nvidia_smi_report.select(report, params["ids"])
    devices = [nvidia_smi_report.sysfs_name(gpu.pci_bus_id) for gpu in gpus]
    nodes = [numa.device_node(nvidia_smi.numa_node(device)) for device in devices]
    found = [nvidia_smi_report.describe(gpu, limits, node) for gpu, node in zip(gpus, nodes)]
    levels = [gpu["level"] for gpu in found if gpu["level"] in _LEVELS]
    return {
        "available": bool(found),
        "reason": "",
        "driver": report.driver,
        "level": max(levels, key=_LEVELS.index) if levels else "unknown",
        "free_bytes": [gpu["free_bytes"] for gpu in found],
        "gpus": found,
        "lost": [{"name": each.name, "reason": each.reason} for each in report.lost],
        "warnings": nvidia_smi_report.warnings(report),
    }


def result(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Wait for free memory if necessary, and return the module's result."""
    limits = nvidia_smi_report.GpuMemoryLimits(
        params["target_from_gib"], params["target_to_gib"], params["critical_gib"]
    )
    wanted = params["wait_for_free_mib"]
    nothing = {"available": False, "driver": "", "level": "unknown", "free_bytes": [], "gpus": [], "lost": []}
    try:
        report = read_report(params["timeout"])
        if not report.gpus:
            raise NotFoundError.plain("nvidia-smi -q -x lists no GPU", "look for NVRM in dmesg")
    except NotFoundError as error:
        if params["required"] or wanted:
            raise
        return {**nothing, "reason": str(error), "must_wait": False, "progress_file": ""}
    free = nvidia_smi_report.least_free(nvidia_smi_report.select(report, params["ids"]))
    must_wait = bool(wanted) and (free is None or free < wanted)
    path = PROGRESS if os.access(PROGRESS.parent, os.W_OK) else None
    if must_wait and not check_mode:
        progress = ProgressFile(path, "MiB")
        try:
            report = wait(params, report, progress)
        finally:
            progress.finish()
        must_wait = False
    return {**describe(params, report, limits), "must_wait": must_wait, "progress_file": str(path or "")}


def main() -> None:
    run_module(
        lambda module: result(module.params, module.check_mode),
        ids={"type": "list", "elements": "str", "default": []},
        required={"type": "bool", "default": False},
        wait_for_free_mib={"type": "int", "default": 0},
        wait_timeout={"type": "int", "default": 300},
        interval={"type": "int", "default": 2},
        timeout={"type": "int", "default": 60},
        target_from_gib={"type": "float", "default": 26},
        target_to_gib={"type": "float", "default": 28},
        critical_gib={"type": "float", "default": 30},
    )


if __name__ == "__main__":
    main()
