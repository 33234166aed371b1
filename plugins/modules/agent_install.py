#!/usr/bin/python
# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: agent_install
short_description: Install the node's own program as one version
version_added: 0.1.0
description:
  - Writes all files of the program into a new directory, named by their contents, and switches to it with
    one rename of a link. A program that runs meanwhile keeps the files that it started with.
  - The first line of each program becomes O(interpreter).
author: herd.inference contributors (@herd-inference)
extends_documentation_fragment: [herd.inference.attributes]
options:
  root:
    description: Directory that holds the versions and the links C(current), C(lib) and C(bin).
    type: path
    default: /opt/herd
  files:
    description: Contents of every file, by its path below the version's directory.
    type: dict
    required: true
  programs:
    description: Those paths in O(files) that are programs.
    type: list
    elements: str
    default: []
  interpreter:
    description: Python of the programs. If empty, the one that Ansible uses on this host.
    type: str
    default: ""
  links:
    description: Links to put elsewhere on this host, by their absolute path; each names a path in O(files).
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Install the agent
  herd.inference.agent_install:
    files:
      bin/herdctl: "{{ lookup('ansible.builtin.file', 'herdctl.py', rstrip=false) }}"
      lib/herd/__init__.py: ""
    programs: [bin/herdctl]
"""

RETURN = r"""
version:
  description: Name of the version that is in use afterwards.
  returned: always
  type: str
  sample: 3f1d0a9c55d2e6b1
"""

import sys
from pathlib import Path
from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.herd_module import HerdModule, file_diff, run_module
from ansible_collections.herd.inference.plugins.module_utils.ports import agent_install


def with_interpreter(content: str, interpreter: str) -> str:
    """Set the program's interpreter."""
    first, _newline, rest = content.partition("\n")
    return f"#!{interpreter}\n" + (rest if first.startswith("#!") else content)


def result(module: HerdModule) -> dict[str, Any]:
    """Install the files if they differ, and return the module's result."""
    root, programs = Path(module.params["root"]), tuple(module.params["programs"])
    interpreter = module.params["interpreter"] or sys.executable
    files: dict[str, str] = {
        name: with_interpreter(content, interpreter) if name in programs else content
        for name, content in module.params["files"].items()
    }
    before = agent_install.read_current(root)
    links = {Path(path): root / name for path, name in module.params["links"].items()}
    missing = agent_install.missing_links(links)
    is_changed = bool(before != files or agent_install.missing_links(agent_install.fixed_links(root)) or missing)
    names = sorted(name for name in {*before, *files} if before.get(name) != files.get(name))
    if is_changed and not module.check_mode:
        agent_install.install(root, files, programs)
        agent_install.make_links(missing)
    diff = (
        [file_diff(name, before.get(name, ""), files.get(name, "")) for name in names]
        if before or not names
        else [{"before": "", "after": "\n".join(names) + "\n"}]
    )
    diff += [{"before_header": str(path), "before": "", "after": f"-> {target}\n"} for path, target in missing.items()]
    return {"changed": is_changed, "version": agent_install.digest(files), "diff": diff}


def main() -> None:
    run_module(
        result,
        root={"type": "path", "default": "/opt/herd"},
        files={"type": "dict", "required": True},
        programs={"type": "list", "elements": "str", "default": []},
        interpreter={"type": "str", "default": ""},
        links={"type": "dict", "default": {}},
    )


if __name__ == "__main__":
    main()
