#!/usr/bin/python
# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: vllm_environment
short_description: Install the vLLM that suits the GPUs, from locked wheels
version_added: 0.1.0
description:
  - Chooses the newest release of O(locks) that all GPUs and their driver can run. Refuses an unsuitable one by name.
  - Checks Python, the machine and its C library before anything is installed.
  - Installs the environment below O(root), on storage that all nodes share. It needs no root.
  - The link C(current) in O(root) changes in one step at the end. The former environment stays, and so do those that
    jobs use.
  - Runs as an asynchronous job on the host and shows its progress. An installation that lost its controller continues.
author: herd.inference contributors (@herd-inference)
extends_documentation_fragment: [herd.inference.attributes]
requirements:
  - Python with the modules C(venv) and C(ensurepip), under the same path on all nodes
options:
  root:
    description: Folder of the environments. It must contain nothing else.
    type: path
    required: true
  locks:
    description: Requirements with versions and hashes, by release of vLLM.
    type: dict
    required: true
  python:
    description: The interpreter.
    type: path
    required: true
  capabilities:
    description: Compute capabilities of the jobs' GPUs, such as V(9.0).
    type: list
    elements: str
    required: true
  driver:
    description: Version of the nodes' NVIDIA driver. If empty, each job checks it on its nodes.
    type: str
    default: ""
  version:
    description: Release of vLLM. If empty, the newest suitable one.
    type: str
    default: ""
  index:
    description: URL of the package index. If empty, it is that of pip's configuration, or PyPI.
    type: str
    default: ""
  wheels:
    description: A folder on the host with the wheels. No index is used then.
    type: str
    default: ""
  prefix:
    description:
      - Arguments before the commands that install, such as C(srun) with its options. The work then runs on a node with
        the jobs' architecture. Check mode runs without them.
    type: list
    elements: str
    default: []
  jobs:
    description:
      - Folder with the job specifications of jobs. An environment that one of them names is not removed.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Install the vLLM for four H100 a node
  herd.inference.vllm_environment:
    root: /data/horse/ws/s1234567-llm/vllm/venv
    python: /usr/bin/python3.12
    capabilities: ["9.0"]
    driver: 580.95.05
    locks:
      0.32.0: "{{ lookup('ansible.builtin.file', 'vllm-0.32.0.txt') }}"
"""

RETURN = r"""
version:
  description: Release of vLLM.
  returned: success
  type: str
  sample: 0.32.0
cuda:
  description: Release of CUDA in the environment.
  returned: success
  type: str
  sample: "13.0"
path:
  description: The environment.
  returned: success
  type: str
  sample: /data/horse/ws/s1234567-llm/vllm/venv/0123456789ab
remark:
  description: What an operator has to know of this release; usually empty.
  returned: success
  type: str
progress_file:
  description: File with the progress of a running installation.
  returned: success
  type: str
  sample: /data/horse/ws/s1234567-llm/vllm/venv/0123456789ab/progress.json
installed:
  description: Whether the environment had to be installed.
  returned: success
  type: bool
removed:
  description: Environments that were removed.
  returned: success
  type: list
  elements: str
"""

import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.errors import NotFoundError
from ansible_collections.herd.inference.plugins.module_utils.core.vllm import environment
from ansible_collections.herd.inference.plugins.module_utils.herd_module import HerdModule, run_module
from ansible_collections.herd.inference.plugins.module_utils.ports import files
from ansible_collections.herd.inference.plugins.module_utils.ports.host import python_venv
from ansible_collections.herd.inference.plugins.module_utils.ports.progress import ProgressFile

CURRENT = "current"


def used_by_jobs(root: Path, jobs: str) -> set[str]:
    """Return the names of the environments that job specifications name, which have no links in their paths."""
    roots = "|".join(re.escape(str(path)) for path in (root, root.resolve()))
    named = re.compile(rf'"(?:{roots})/([0-9a-f]{{12}})["/]')
    found: set[str] = set()
    for path in Path(jobs).rglob("*.json") if jobs else ():
        # A job that ends may remove a file meanwhile.
        with suppress(OSError):
            found.update(named.findall(path.read_text(encoding="utf-8", errors="replace")) if path.is_file() else ())
    return found


def result(module: HerdModule) -> dict[str, Any]:
    """Install the environment if it is missing, switch to it, and return the module's result."""
    given, check_mode = module.params, module.check_mode
    root = Path(given["root"])
    release = environment.choose(given["capabilities"], given["driver"], given["version"])
    # In check mode, nothing is submitted to Slurm.
    interpreter = python_venv.find(given["python"], release.pythons[0], () if check_mode else given["prefix"])
    environment.check_python(release, interpreter.version)
    if not check_mode or not given["prefix"]:
        environment.check_machine(release, interpreter.machine, interpreter.glibc)
    if release.version not in given["locks"]:
        raise NotFoundError(f"a lock of vLLM {release.version}", "none", f"add vllm-{release.version}.txt to the role")
    python_venv.check_wheels(given["wheels"])
    lock = given["locks"][release.version]
    folder = root / python_venv.name(lock, interpreter.version)
    progress_file, link = folder / "progress.json", root / CURRENT
    is_missing = not python_venv.is_complete(folder)
    if is_missing and not check_mode:
        progress = ProgressFile(progress_file, "packages")
        wanted = python_venv.Installation(
            lock,
            given["index"],
            given["wheels"],
            is_complete=True,
            on_package=lambda done, total, what: progress.update(what, done, total),
        )
        python_venv.install_missing(folder, interpreter, wanted)
        progress.finish()
    is_switched = not link.is_symlink() or link.readlink() != Path(folder.name)
    if is_switched and not check_mode:
        files.point(link, Path(folder.name))
    removed = python_venv.remove_surplus(root, folder.name, tuple(used_by_jobs(root, given["jobs"])), check_mode)
    return {
        "changed": is_missing or is_switched or bool(removed),
        "version": release.version,
        "cuda": release.cuda,
        "path": str(folder),
        "remark": release.remark,
        "progress_file": str(progress_file),
        "installed": is_missing,
        "removed": removed,
    }


def main() -> None:
    run_module(
        result,
        root={"type": "path", "required": True},
        locks={"type": "dict", "required": True},
        python={"type": "path", "required": True},
        capabilities={"type": "list", "elements": "str", "required": True},
        driver={"type": "str", "default": ""},
        version={"type": "str", "default": ""},
        index={"type": "str", "default": ""},
        wheels={"type": "str", "default": ""},
        prefix={"type": "list", "elements": "str", "default": []},
        jobs={"type": "str", "default": ""},
    )


if __name__ == "__main__":
    main()
