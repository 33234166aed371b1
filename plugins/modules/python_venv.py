#!/usr/bin/python
# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module python_venv."""

from __future__ import annotations

DOCUMENTATION = r"""
module: python_venv
short_description: Install a virtual environment of Python from locked wheels
version_added: 0.1.0
description:
  - Installs packages from wheels whose hashes O(lock) names, and compiles nothing.
  - Each lock and version of Python has a folder of its own below O(root). A service that runs keeps its packages, and
    an interrupted installation is repeated by the next run.
  - Removes older environments. The former one stays, and so do those whose interpreter runs.
author: herd.inference contributors (@herd-inference)
extends_documentation_fragment: [herd.inference.attributes]
requirements:
  - Python with the modules C(venv) and C(ensurepip) (C(python3-venv) on Debian)
options:
  root:
    description: Folder of the environments. It must contain nothing else.
    type: path
    required: true
  python:
    description: The interpreter.
    type: path
    required: true
  oldest:
    description: Oldest supported version of Python.
    type: str
    default: "3.11"
  lock:
    description: Requirements with versions and hashes, as C(pip install --require-hashes) takes them.
    type: str
    required: true
  index:
    description: URL of the package index. If empty, it is that of pip's configuration, or PyPI.
    type: str
    default: ""
  wheels:
    description: A folder on the host with the wheels. No index is used then.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Install the gateway's packages
  herd.inference.python_venv:
    root: /opt/herd/gateway-venv
    python: /usr/bin/python3
    lock: "{{ lookup('ansible.builtin.file', 'requirements.txt') }}"
"""

RETURN = r"""
path:
  description: The environment. In check mode, if there is no suitable Python yet, its name is not known.
  returned: always
  type: str
  sample: /opt/herd/gateway-venv/0123456789ab
installed:
  description: Whether the environment had to be installed.
  returned: always
  type: bool
removed:
  description: Environments that were removed.
  returned: always
  type: list
  elements: str
"""

from pathlib import Path
from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.errors import NotFoundError
from ansible_collections.herd.inference.plugins.module_utils.herd_module import HerdModule, run_module
from ansible_collections.herd.inference.plugins.module_utils.ports.host import python_venv


def result(module: HerdModule) -> dict[str, Any]:
    """Install the environment if it is missing, remove older ones, and return the module's result."""
    given, check_mode = module.params, module.check_mode
    root = Path(given["root"])
    try:
        interpreter = python_venv.find(given["python"], [int(part) for part in given["oldest"].split(".")])
    except NotFoundError:
        if not check_mode:
            raise
        # A run without check mode installs its package first.
        return {"changed": True, "path": str(root / "new"), "installed": True, "removed": []}
    folder = root / python_venv.name(given["lock"], interpreter.version)
    is_missing = not python_venv.is_complete(folder)
    if is_missing:
        python_venv.check_wheels(given["wheels"])
        if not check_mode:
            wanted = python_venv.Installation(given["lock"], given["index"], given["wheels"])
            python_venv.install_missing(folder, interpreter, wanted)
    removed = python_venv.remove_surplus(root, folder.name, check_mode=check_mode)
    return {
        "changed": is_missing or bool(removed),
        "path": str(folder),
        "installed": is_missing,
        "removed": removed,
    }


def main() -> None:
    run_module(
        result,
        root={"type": "path", "required": True},
        python={"type": "path", "required": True},
        oldest={"type": "str", "default": "3.11"},
        lock={"type": "str", "required": True},
        index={"type": "str", "default": ""},
        wheels={"type": "str", "default": ""},
    )


if __name__ == "__main__":
    main()
