#!/usr/bin/python
# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: nvidia_driver_info
short_description: Read the version of the NVIDIA driver, and check that it supports a version of CUDA
version_added: 0.1.0
description:
  - Reads the version from C(/proc/driver/nvidia/version), which needs no program of the driver.
  - Fails if the driver is too old for O(cuda_version). Minor-version compatibility allows some older drivers, for which
    the module returns RV(note).
author: herd.inference contributors (@herd-inference)
extends_documentation_fragment: [herd.inference.attributes.info_module]
options:
  cuda_version:
    description: Version of the CUDA toolkit that built the release, for example V(12.2). Empty skips the check.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Check that the driver can run programs that CUDA 12.2 compiled
  herd.inference.nvidia_driver_info:
    cuda_version: "12.2"
"""

RETURN = r"""
version:
  description: Version of the loaded driver, or empty.
  returned: success
  type: str
  sample: 535.183.01
note:
  description: Restriction of this driver with that version of CUDA; usually empty.
  returned: success
  type: str
"""

from pathlib import Path

from ansible_collections.herd.inference.plugins.module_utils.core.errors import NotFoundError
from ansible_collections.herd.inference.plugins.module_utils.core.release import install as release_install
from ansible_collections.herd.inference.plugins.module_utils.core.release import toolchain
from ansible_collections.herd.inference.plugins.module_utils.herd_module import run_module

DRIVER = Path("/proc/driver/nvidia/version")


def result(cuda_version: str) -> dict[str, str]:
    """Read the driver's version and check it against a version of CUDA, unless that is empty."""
    version = release_install.parse_driver(DRIVER.read_text(encoding="utf-8")) if DRIVER.exists() else None
    if not cuda_version:
        return {"version": version or "", "note": ""}
    if version is None:
        raise NotFoundError.plain(
            f"No NVIDIA driver for CUDA {cuda_version} is loaded ({DRIVER} does not exist), but herd_gpus lists a GPU",
            "install NVIDIA's driver and load it (modprobe nvidia), or correct herd_gpus of this host",
        )
    return {"version": version, "note": toolchain.check_driver(cuda_version, version) or ""}


def main() -> None:
    run_module(lambda module: result(module.params["cuda_version"]), cuda_version={"type": "str", "default": ""})


if __name__ == "__main__":
    main()
