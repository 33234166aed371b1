# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The release that a job runs, and the orders that tell each step which engine to start."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ...core.errors import NotFoundError
from ...core.slurm import job_spec


class Release:
    """The release in use, the same for all engines of the job."""

    def __init__(self, prefix: str) -> None:
        link = Path(prefix) / "current"
        try:
            self.folder = link.resolve(strict=True)
            self.manifest: dict[str, Any] = json.loads((self.folder / "manifest.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise NotFoundError(f"a release at {link}", str(error), "run playbooks/slurm.yml --tags release") from error

    @property
    def id(self) -> str:
        """Name of the release."""
        return str(self.manifest["id"])

    def program(self, role: str) -> str:
        """Path of the head's or the worker's program."""
        return str(self.folder / "bin" / self.manifest["programs"][role])


def _order(
    job: job_spec.JobSpec, node: job_spec.Node, engine: tuple[str, str, int], argv: list[str], log: Path
) -> dict[str, Any]:
    role, address, port = engine
    return {
        "role": role,
        "argv": argv,
        "address": address,
        "port": port,
        "ports": job.ports,
        "cpus": job.cpus,
        "interface": node.interface,
        "log": str(log),
        "environment": {
            "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
            # The engine's crash handler would start a debugger.
            "GGML_NO_BACKTRACE": "1",
            **(job.environment or {}),
        },
    }


def head_order(job: job_spec.JobSpec, node: job_spec.Node, argv: list[str], folder: Path) -> dict[str, Any]:
    """Make the order of the head's step."""
    return _order(job, node, ("head", node.address, job.port), argv, folder / "head.log")


def worker_order(
    job: job_spec.JobSpec, node: job_spec.Node, head: job_spec.Node, program: str, folder: Path
) -> dict[str, Any]:
    """Make the order of a worker's step."""
    cache = job.cache or {}
    argv = job_spec.worker_argv(program, node.fabric, job.cpus, bool(cache))
    order = _order(job, node, ("worker", node.fabric, job.worker_port), argv, folder / f"rpc-{node.name}.log")
    order.update(guard=job.guard, allow=head.fabric, cache=cache.get("prune", []))
    if cache:
        order["environment"]["LLAMA_CACHE"] = cache["folder"]
    return order
