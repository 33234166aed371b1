# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The node's own program: one command for each thing that a node does for itself.

Installed as bin/herdctl beside lib/herd/agent, its commands, and lib/herd/core, which are the very files that
the Ansible modules use. It needs nothing but Python's standard library, from 3.9 on.
"""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path

from ..core.engine.worker_readiness import EXIT_CONFIG
from ..core.errors import HerdError
from .commands import cluster, gateway_keys, router_models, select_model
from .gateway import nginx_upstreams
from .gateway import server as gateway_server
from .services import connection_queue, file_share, prune_rpc_cache, stop_engine, wait_for_workers
from .slurm import manager as tier_manager
from .slurm import runtime as job_runtime
from .supervisor import daemon


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    top = argparse.ArgumentParser(prog="herdctl", description="Looks after one node of an inference cluster.")
    commands = top.add_subparsers(dest="command", required=True)
    every = (
        wait_for_workers,
        stop_engine,
        file_share,
        daemon,
        cluster,
        connection_queue,
        prune_rpc_cache,
        job_runtime,
        gateway_server,
        nginx_upstreams,
        gateway_keys,
        select_model,
        tier_manager,
        router_models,
    )
    for command in every:
        command.add_command(commands)
    return top


def main(argv: list[str] | None = None) -> int:
    """Run one command, or the one that the program's name stands for."""
    for stream in (sys.stdout, sys.stderr):
        # Much of what is written comes from elsewhere, and a locale may know less than Unicode.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    given = sys.argv[1:] if argv is None else argv
    arguments = parser().parse_args([*cluster.NAMES.get(Path(sys.argv[0]).name, []), *given])
    try:
        return int(arguments.run(arguments))
    except HerdError as error:
        print(f"herdctl {arguments.command}: {error}", file=sys.stderr)
        return EXIT_CONFIG
