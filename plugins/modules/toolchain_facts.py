#!/usr/bin/python
# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: toolchain_facts
short_description: Read the versions of compiler, CMake and CUDA, and write them to a file for the build
version_added: 0.1.0
description:
  - Reads the versions of compiler, cmake, ninja, ccache and CUDA, checks that they are compatible and support the GPUs
    of the inventory, and writes them to a JSON file.
author: herd.inference contributors (@herd-inference)
extends_documentation_fragment: [herd.inference.attributes]
attributes:
  check_mode:
    details: Reports a change if the packages are not installed yet.
options:
  path:
    description: File to write. The module creates its folder.
    type: path
    required: true
  cc:
    description: Name or path of the C compiler.
    type: str
    required: true
  cxx:
    description: Name or path of the C++ compiler.
    type: str
    required: true
  search_path:
    description: Folders of the programs, and C(PATH) of the build.
    type: list
    elements: path
    required: true
  cuda_root:
    description: Folder of the CUDA toolkit. Empty for a cluster without GPUs.
    type: str
    default: ""
  compute_capabilities:
    description: Compute capability of each GPU that runs the build, for example V(7.0).
    type: list
    elements: str
    default: []
  cuda_version:
    description:
      - Version of CUDA that the role installs, for the fact C(herd_cuda_version) in check mode on a host without CUDA.
        Empty if the operator installs O(cuda_root), which must then exist in check mode too.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Write the facts about gcc-toolset-12 and CUDA 12.2
  herd.inference.toolchain_facts:
    path: /opt/llama.cpp/etc/toolchain.json
    cc: /opt/rh/gcc-toolset-12/root/usr/bin/gcc
    cxx: /opt/rh/gcc-toolset-12/root/usr/bin/g++
    search_path: [/opt/rh/gcc-toolset-12/root/usr/bin, /usr/bin, /bin]
    cuda_root: /usr/local/cuda-12.2
    compute_capabilities: ["7.0"]
"""

RETURN = r"""
toolchain:
  description: Contents of the file. Empty in check mode on a host without compilers.
  returned: success
  type: dict
  sample:
    schema: 1
    cc: /usr/bin/gcc
    cxx: /usr/bin/g++
    cc_version: 12.2.0
    cc_identity: gcc (Debian 12.2.0-14+deb12u1) 12.2.0
    env: {"PATH": "/usr/bin:/bin"}
    cmake: /usr/bin/cmake
    ninja: /usr/bin/ninja
    ccache: /usr/bin/ccache
    cuda:
ansible_facts:
  description: Facts for the roles that follow.
  returned: success
  type: dict
  contains:
    herd_cuda_version:
      description: Version of CUDA that builds the release, or empty.
      type: str
      sample: 12.2.140
"""

import json
import os
from pathlib import Path
from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.errors import NotFoundError
from ansible_collections.herd.inference.plugins.module_utils.core.release import toolchain
from ansible_collections.herd.inference.plugins.module_utils.core.release import toolchain_probe as toolchain_facts
from ansible_collections.herd.inference.plugins.module_utils.herd_module import HerdModule, run_module
from ansible_collections.herd.inference.plugins.module_utils.ports import files
from ansible_collections.herd.inference.plugins.module_utils.ports.release import toolchain_probe

VERSION = "herd_cuda_version"


def require(name: str, search_path: list[str]) -> str:
    """Return the path of a program that must be installed."""
    found = toolchain_probe.find(name, search_path)
    if found is None:
        raise toolchain_facts.missing_program(name, search_path)
    return found


def cuda(root: Path, search_path: list[str]) -> dict[str, Any]:
    """Describe a CUDA toolkit."""
    nvcc = require(str(root / "bin" / "nvcc"), search_path)
    return {
        "root": str(root),
        "nvcc": nvcc,
        "version": toolchain_facts.nvcc_version(toolchain_probe.version_output(nvcc, search_path)),
        "driver_library": toolchain_probe.driver_library(root),
        "library_path": toolchain_probe.library_path(root),
    }


def probe(params: dict[str, Any]) -> dict[str, Any]:
    """Read the version of each program, and check that they are compatible."""
    search_path = [str(folder) for folder in params["search_path"]]
    cc, cmake = require(params["cc"], search_path), require("cmake", search_path)
    said = toolchain_probe.version_output(cc, search_path)
    root = params["cuda_root"]
    facts = {
        "schema": 1,
        "cc": cc,
        "cxx": require(params["cxx"], search_path),
        "cc_version": toolchain_facts.version(said),
        "cc_identity": toolchain_facts.first_line(said),
        "env": {"PATH": os.pathsep.join(search_path)},
        "cmake": cmake,
        "ninja": require("ninja", search_path),
        "ccache": toolchain_probe.find("ccache", search_path),
        "cuda": cuda(Path(root), search_path) if root else None,
    }
    toolchain_facts.check_cmake(cmake, toolchain_facts.version(toolchain_probe.version_output(cmake, search_path)))
    toolchain_facts.check(facts, params["compute_capabilities"])
    return facts


def result(module: HerdModule) -> dict[str, Any]:
    """Write the file if it differs, and return the module's result."""
    path = Path(module.params["path"])
    before = files.read_json(path)
    root, planned = module.params["cuda_root"], module.params["cuda_version"]
    search_path = [str(folder) for folder in module.params["search_path"]]
    # A toolkit of the operator is checked first, even before the compilers are installed.
    found = cuda(Path(root), search_path) if root and not planned else None
    try:
        facts = probe(module.params)
    except NotFoundError:
        # In check mode, the packages of the programs may not be installed yet.
        if not module.check_mode:
            raise
        if found:
            toolchain.check_architectures(
                found["version"], toolchain.architectures(module.params["compute_capabilities"])
            )
        return {
            "changed": True,
            "toolchain": {},
            "diff": {"before": "", "after": "read after the installation\n"},
            "ansible_facts": {VERSION: found["version"] if found else planned},
        }
    changed = facts != before
    if changed and not module.check_mode:
        files.write_json(path, facts)
    return {
        "changed": changed,
        "toolchain": facts,
        "diff": {
            "before": json.dumps(before, indent=2, sort_keys=True) + "\n" if before else "",
            "after": json.dumps(facts, indent=2, sort_keys=True) + "\n",
        },
        "ansible_facts": {VERSION: (facts["cuda"] or {}).get("version", "")},
    }


def main() -> None:
    run_module(
        result,
        path={"type": "path", "required": True},
        cc={"type": "str", "required": True},
        cxx={"type": "str", "required": True},
        search_path={"type": "list", "elements": "path", "required": True},
        cuda_root={"type": "str", "default": ""},
        compute_capabilities={"type": "list", "elements": "str", "default": []},
        cuda_version={"type": "str", "default": ""},
    )


if __name__ == "__main__":
    main()
