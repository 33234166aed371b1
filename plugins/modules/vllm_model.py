#!/usr/bin/python
# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: vllm_model
short_description: Run the active model of a vLLM configuration as a Slurm job
version_added: 0.1.0
description:
  - Runs C(herdctl vllm launch), which submits a job of the active model, and waits until the model answers.
  - A job of this model with the same configuration stays, and the task reports no change.
  - A job with another configuration is replaced. The new one is ready before the former one ends, if Slurm has GPUs for
    both.
  - Shows why the job waits, and the progress of loading.
author: herd.inference contributors (@herd-inference)
extends_documentation_fragment: [herd.inference.attributes]
options:
  herdctl:
    description: The program in the work space.
    type: path
    required: true
  config:
    description: The configuration.
    type: path
    required: true
  wait:
    description: Seconds to wait until the model is ready; V(0) only submits the job.
    type: int
    default: 7200
"""

EXAMPLES = r"""
- name: Run the active model
  herd.inference.vllm_model:
    herdctl: /data/horse/ws/s1234567-llm/vllm/bin/herdctl
    config: /data/horse/ws/s1234567-llm/vllm/config.yaml
"""

RETURN = r"""
answer:
  description: What C(herdctl vllm launch --json) says of the job, such as C(job_id), C(phase), C(host) and C(port).
  returned: success
  type: dict
  sample: {"job_id": "4711", "model": "llama-4-scout", "phase": "ready", "host": "c1", "port": 8006}
progress_file:
  description: File with the progress of the job's start.
  returned: success
  type: str
"""

import json
import tempfile
from pathlib import Path
from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.errors import NotFoundError, RemoteFailureError
from ansible_collections.herd.inference.plugins.module_utils.herd_module import HerdModule, run_module
from ansible_collections.herd.inference.plugins.module_utils.ports import commands
from ansible_collections.herd.inference.plugins.module_utils.ports.progress import ProgressFile

PROGRESS_NAME = ".launch-progress.json"
#: Keeps the JSON apart from the lines about progress, which are the error output.
SEPARATE = ("sh", "-c", 'exec "$@" >"$0"')


def launch(arguments: list[str], progress: ProgressFile) -> dict[str, Any]:
    """Run the command, pass on its progress, and return its answer.

    :raises RemoteFailureError: if it fails, with its last line.
    """
    last = "no output"

    def follow(line: str) -> None:
        nonlocal last
        if text := line.strip():
            last = text
            progress.update(text)

    with tempfile.TemporaryDirectory(prefix="herd-launch.") as folder:
        output = Path(folder, "answer.json")
        status = commands.stream([*SEPARATE, str(output), *arguments], follow)
        try:
            answer = json.loads(output.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            answer = None
    progress.finish()
    if status or not isinstance(answer, dict):
        reason = (answer.get("reason") or answer.get("error")) if isinstance(answer, dict) else ""
        raise RemoteFailureError.plain(
            f"The model is not ready (exit status {status}): {reason or last}",
            f"see {arguments[0]} vllm status, and the runbooks in docs/operations/vllm",
        )
    return answer


def result(module: HerdModule) -> dict[str, Any]:
    """Launch the model, and return the module's result."""
    given = module.params
    herdctl, config = Path(given["herdctl"]), Path(given["config"])
    progress_file = config.with_name(PROGRESS_NAME)
    found = {"progress_file": str(progress_file)}
    arguments = [str(herdctl), "vllm", "launch", "--config", str(config), "--json"]
    if module.check_mode:
        if not herdctl.exists() or not config.exists():
            # A run without check mode installs it first.
            return {**found, "changed": True, "answer": {}}
        arguments.append("--test-only")
    else:
        arguments += ["--timeout", str(given["wait"])] if given["wait"] else ["--no-follow"]
    if not herdctl.exists():
        raise NotFoundError(f"the program {herdctl}", "none", "run the whole role vllm_slurm, which installs it")
    answer = launch(arguments, ProgressFile(None if module.check_mode else progress_file, "seconds"))
    if problems := answer.get("problems"):
        raise RemoteFailureError.plain(" ".join(problems), f"correct {config}, and run the playbook again")
    return {**found, "changed": bool(answer.get("changed")), "answer": answer}


def main() -> None:
    run_module(
        result,
        herdctl={"type": "path", "required": True},
        config={"type": "path", "required": True},
        wait={"type": "int", "default": 7200},
    )


if __name__ == "__main__":
    main()
