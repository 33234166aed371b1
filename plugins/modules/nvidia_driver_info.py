#!/usr/bin/python
# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module nvidia_driver_info."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nvidia_driver_info
short_description: Say which NVIDIA driver a host runs, and stop if it is too old for a version of CUDA
version_added: 0.1.0
description:
  - Reads the version from the kernel's C(/proc/driver/nvidia/version), so no tool of the driver has to be there.
  - A driver older than the toolkit's own but within minor-version compatibility is allowed, with a note.
author:
  - herd.inference contributors (@herd-inference)
extends_documentation_fragment: [herd.inference.attributes.info_module]
options:
  cuda_version:
    description:
      - Version of the CUDA toolkit with which the release is built, for example V(12.2). Empty to check nothing.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: See whether this node can run what CUDA 12.2 compiles
  herd.inference.nvidia_driver_info:
    cuda_version: "12.2"
"""

RETURN = r"""
version:
  description: The driver's version; empty if none is loaded.
  returned: success
  type: str
  sample: 535.183.01
note:
  description: What is to be known about this driver and that version of CUDA; empty as a rule.
  returned: success
  type: str
  sample: ""
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.herd.inference.plugins.module_utils.core.errors import HerdError, NotFoundError
from ansible_collections.herd.inference.plugins.module_utils.core.release import install as release_install
from ansible_collections.herd.inference.plugins.module_utils.core.release import toolchain

DRIVER = Path("/proc/driver/nvidia/version")


def result(cuda_version: str) -> dict[str, str]:
    """The driver, held against a version of CUDA if there is one."""
    version = release_install.parse_driver(DRIVER.read_text(encoding="utf-8")) if DRIVER.exists() else None
    if not cuda_version:
        return {"version": version or "", "note": ""}
    if version is None:
        raise NotFoundError(
            expected=f"a loaded NVIDIA driver for CUDA {cuda_version} on a host that has a GPU by its inventory",
            found=f"no driver in {DRIVER}",
            remedy="install NVIDIA's driver and load it (modprobe nvidia), or correct herd_gpus of this host",
        )
    return {"version": version, "note": toolchain.check_driver(cuda_version, version) or ""}


def main() -> None:
    """Read the arguments, look, answer."""
    module = AnsibleModule(argument_spec={"cuda_version": {"type": "str", "default": ""}}, supports_check_mode=True)
    try:
        module.exit_json(changed=False, **result(module.params["cuda_version"]))
    except HerdError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
