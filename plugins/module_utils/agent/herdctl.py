# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The node's own program: services, and the commands of an operator.

It is installed as bin/herdctl beside lib/herd/agent and lib/herd/core, which are the files that the Ansible modules
use. It needs the standard library of Python 3.9 or later. Only the module of the requested command is imported, so a
command starts quickly and a broken module affects its own commands only.
"""

from __future__ import annotations

import argparse
import importlib
import io
import sys
from collections.abc import Sequence
from types import ModuleType

from ..core.errors import HerdError, NotFoundError, OtherHostError
from .common.output import write_error_line

EXIT_CONFIG, EXIT_ELSEWHERE = 2, 4

#: Each command: the module whose C(add_command) describes it, and the line that C(herdctl --help) shows.
COMMANDS = {
    "status": ("commands.cluster", "show what every node reports"),
    "watch": ("commands.cluster", "show the status live; once if the output is no terminal"),
    "logs": ("commands.cluster", "show the journal of this node's units"),
    "probe": ("commands.cluster", "ask the head or a router for one token (on its host)"),
    "query": ("commands.cluster", "ask the head or a router a question (on its host)"),
    "drain": ("commands.cluster", "mark the head as draining and wait until no request runs (on the head)"),
    "hold": ("commands.cluster", "keep the agent from restarting anything on this node for a while"),
    "resume": ("commands.cluster", "end a hold and a drain"),
    "models": ("commands.router_models", "show the models of the routers on this node"),
    "stop-router": ("commands.router_models", "finish the running answers of this node's router and stop it"),
    "select-model": ("commands.select_model", "show which model and tier a type of task uses, and why"),
    "key": ("commands.gateway_keys", "make, list and revoke users' keys of the gateway"),
    "usage": ("commands.usage", "show the requests and tokens of the gateway's users (on the gateway's host)"),
    "tiers": ("commands.tiers", "show the tiers, and stop or start those that run as Slurm jobs (on the controller)"),
    "samples": ("commands.record_samples", "record the use of this node's GPUs and fabric for a while"),
    "rpc-cache": ("services.prune_rpc_cache", "show, prune or check the cache of this node's worker"),
    "idle": ("services.connection_queue", "wait, while connections queue, until no request runs (on the head)"),
    "agent": ("supervisor.daemon", "supervise this node and its group (herd-agent.service)"),
    "wait-for-workers": ("services.wait_for_workers", "wait until every RPC worker is ready (llama-head.service)"),
    "stop-engine": ("services.stop_engine", "stop the engine without waiting for its clients (llama-head.service)"),
    "queue-connections": ("services.connection_queue", "queue new connections while the head restarts"),
    "share-files": ("services.file_share", "serve named files to named clients for a while"),
    "gateway": ("gateway.app", "check keys and limits, and proxy requests to the engines (herd-gateway@.service)"),
    "vllm": ("commands.vllm", "run a model with vLLM as a Slurm job of yours (on a login node, without root)"),
    "job": ("commands.job", "run a tier inside a Slurm job (the job script calls it)"),
    "vllm-job": ("commands.vllm_job", "run a model with vLLM inside a Slurm job (the job script calls it)"),
}

#: Programs of the cluster's documents, and the commands that they run.
PROGRAMS = {
    "llama-cluster-monitor": "watch",
    "llama-model-selector": "select-model",
    "llama-service-status": "status",
}


def load(command: str) -> ModuleType:
    """Import the module of a command.

    :raises NotFoundError: if the module cannot be imported, whatever the reason.
    """
    name = f"{__package__}.{COMMANDS[command][0]}"
    try:
        return importlib.import_module(name)
    except Exception as error:
        raise NotFoundError(
            f"the program's module {name}",
            f"{type(error).__name__}: {' '.join(str(error).split())}",
            "run the role node_agent on this host, which installs the program",
        ) from error


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the command line, with the full description of the requested command only."""
    parser = argparse.ArgumentParser(prog="herdctl", description="Operate one node of an inference cluster.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    if argv and argv[0] in COMMANDS:
        load(argv[0]).add_command(commands)
    else:
        for name, (_module, text) in COMMANDS.items():
            commands.add_parser(name, help=text)
        if not argv:
            parser.error("name a command; herdctl --help lists them")
    arguments = parser.parse_args(argv)
    if "run" not in arguments:
        parser.error("the command must be the first argument")
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command, or the command that the program's name stands for."""
    for stream in (sys.stdout, sys.stderr):
        # Output may contain text from elsewhere that the locale's encoding lacks.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    given = list(sys.argv[1:] if argv is None else argv)
    if program := PROGRAMS.get(sys.argv[0].rpartition("/")[2]):
        given.insert(0, program)
    try:
        arguments = parse(given)
        return int(arguments.run(arguments))
    except HerdError as error:
        write_error_line(f"herdctl {given[0]}: {error}")
        return EXIT_ELSEWHERE if isinstance(error, OtherHostError) else EXIT_CONFIG
