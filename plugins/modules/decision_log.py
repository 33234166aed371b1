#!/usr/bin/python
# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: decision_log
short_description: Write the decision records and the cluster's measurements to a page on a node
version_added: 0.1.0
description:
  - Writes one page with the decision records and with measurements of the head on this host. These are the memory of
    each device, read from the engine's log, and the speed of one completion, requested with C(herdctl query).
  - Measures the head once for each of its command lines. While the command line stays the same, the page keeps its
    figures and a second run changes nothing. The figures are stored as JSON beside the page, under the same name.
  - Keeps the former figures while no head runs. Without any figures, the page says so.
author: herd.inference contributors (@herd-inference)
extends_documentation_fragment: [herd.inference.attributes]
attributes:
  check_mode:
    details: Sends no prompt to the head, so new figures are not predicted.
options:
  path:
    description: File of the page. The module creates its folder.
    type: path
    required: true
  records:
    description: Texts of the records in Markdown by file name. Each file name begins with four digits.
    type: dict
    required: true
  results:
    description: Contents of JSON files with measurements by name. The page shows all of their figures.
    type: dict
    default: {}
  prompt:
    description: Prompt of the measured completion.
    type: str
    default: Say hello from distributed inference.
  max_tokens:
    description: Largest number of tokens in the completion.
    type: int
    default: 24
  timeout:
    description: Seconds to wait for the completion.
    type: int
    default: 300
"""

EXAMPLES = r"""
- name: Write the decision records and the measurements
  herd.inference.decision_log:
    path: /opt/docs/architecture-decisions.md
    records:
      0001-quantisation-on-volta.md: "{{ lookup('ansible.builtin.file', '0001-quantisation-on-volta.md') }}"
"""

RETURN = r"""
measured:
  description: Whether this run measured the head, or would measure it.
  returned: success
  type: bool
figures:
  description: Figures of the page, or empty. Memory is in MiB, times are in seconds.
  returned: success
  type: dict
  sample:
    key: 5d2c8f0a7e1b4c93
    when: 2026-11-21 10:02 UTC
    release: 0c1e57098-cpu-1a2b3c4d
    model: lab-llama
    context: "2048"
    devices: []
    first_piece_s: 0.12
    pieces: 64
    pieces_per_second: 41.5
"""

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.engine import server_log
from ansible_collections.herd.inference.plugins.module_utils.core.errors import RemoteFailureError
from ansible_collections.herd.inference.plugins.module_utils.core.operations import decision_log
from ansible_collections.herd.inference.plugins.module_utils.core.release import units
from ansible_collections.herd.inference.plugins.module_utils.herd_module import HerdModule, file_diff, run_module
from ansible_collections.herd.inference.plugins.module_utils.ports import commands, files, systemd
from ansible_collections.herd.inference.plugins.module_utils.ports.host import processes
from ansible_collections.herd.inference.plugins.module_utils.ports.release import manifest as release_manifest

HERDCTL = "/opt/herd/bin/herdctl"


def measure(state: systemd.UnitState, arguments: list[str], options: dict[str, Any]) -> decision_log.HeadMeasurements:
    """Request one completion from the head, and read its log."""
    argv = [HERDCTL, "query", "--json", "--max-tokens", str(options["max_tokens"])]
    argv += ["--timeout", str(options["timeout"]), options["prompt"]]
    answer = commands.run(argv, timeout=options["timeout"] + 30)
    if answer.rc != 0:
        raise RemoteFailureError.plain(f"The head did not answer ({answer.complaint})", "run herdctl status")
    log = server_log.parse(systemd.journal_of(state.invocation, server_log.READY_WORDS))
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    return decision_log.measured(
        arguments, release_manifest.release_of(arguments), log.devices, json.loads(answer.out), when
    )


def result(module: HerdModule) -> dict[str, Any]:
    """Measure the head if its command line has changed, write the page, and return the module's result."""
    options = module.params
    path = Path(options["path"])
    beside = path.with_suffix(".json")
    state = systemd.show(units.HEAD)
    arguments = processes.arguments_of(state.pid) if state.pid else []
    figures = decision_log.stored(files.read_json(beside) or {}, decision_log.command_line_key(arguments))
    is_new = figures is None and bool(arguments)
    if is_new and not module.check_mode:
        figures = measure(state, arguments, options)
    before = files.read_text(path)
    after = decision_log.page(options["records"], figures, options["results"])
    changed = is_new or before != after
    if changed and not module.check_mode:
        if figures is not None:
            files.write_json(beside, asdict(figures))
        files.atomic_write(path, after)
    return {
        "changed": changed,
        "measured": is_new,
        "figures": asdict(figures) if figures else {},
        "diff": file_diff(path, before, after),
    }


def main() -> None:
    run_module(
        result,
        path={"type": "path", "required": True},
        records={"type": "dict", "required": True},
        results={"type": "dict", "default": {}},
        prompt={"type": "str", "default": "Say hello from distributed inference."},
        max_tokens={"type": "int", "default": 24, "no_log": False},
        timeout={"type": "int", "default": 300},
    )


if __name__ == "__main__":
    main()
