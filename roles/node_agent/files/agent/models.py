# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The routers that run on this node, as a service or as a job, and the models that they offer."""

from __future__ import annotations

import argparse
import http.client
import json
import time
from dataclasses import asdict
from typing import Any

from herd.agent import engine, node
from herd.core import router
from herd.core.errors import NotFoundError, RemoteFailureError
from herd.core.status_table import text_table

EXIT_WELL, EXIT_ILL = 0, 1
ASK_S, POLL_S = 10.0, 0.5
COLUMNS = ("model", "state", "aliases", "note")


def routers(port: int = 0) -> list[engine.Api]:
    """Where each router on this node answers, by its port; with a port the one that has it."""
    found = {}
    for entry in node.PROC.iterdir():
        if entry.name.isdigit():
            arguments = node.process(int(entry.name)).arguments
            api = engine.of(arguments) if "--models-preset" in arguments else None
            if api is not None and port in (0, api.port):
                found[api.port] = api
    return [found[port] for port in sorted(found)]


def _asked(api: engine.Api, method: str, path: str, body: Any = None) -> Any:
    try:
        status, answer = engine.ask(api, method, path, ASK_S, body)
    except OSError as error:
        # Of the key file too, which only root and the router's user read.
        found = str(error) or type(error).__name__
    except http.client.HTTPException as error:
        found = type(error).__name__
    else:
        if status == 200:
            return json.loads(answer)
        found = f"status {status}: {answer[:200].decode(errors='replace')}"
    raise RemoteFailureError(
        f"an answer of the router at {api.address}:{api.port}",
        found,
        "run this as root; look at its journal or its job",
    )


def states(api: engine.Api) -> list[router.State]:
    """What it offers; loads nothing and wakes nobody."""
    return router.states(_asked(api, "GET", "/models"))


def _load(api: engine.Api, name: str, timeout_s: float) -> float:
    """Have a model loaded; seconds that it took."""
    began = time.monotonic()
    found = {state.id: state for state in states(api)}
    aliases = {alias: state.id for state in found.values() for alias in state.aliases}
    name = aliases.get(name, name)
    if name not in found:
        raise NotFoundError(f"a model among {', '.join(sorted(found))}", name, "name one of them")
    if not found[name].is_in_memory:
        _asked(api, "POST", "/models/load", {"model": name})
    while True:
        state = next(state for state in states(api) if state.id == name)
        if state.state in ("loaded", "sleeping"):
            return time.monotonic() - began
        if state.exit_code is not None or time.monotonic() - began > timeout_s:
            raise RemoteFailureError(
                f"{name} to be loaded within {timeout_s:g} seconds",
                state.state + ("" if state.exit_code is None else f", its process ended with status {state.exit_code}"),
                "look at the router's journal or the log of its job",
            )
        time.sleep(POLL_S)


def _note(state: router.State) -> str:
    return "" if state.exit_code is None else f"its process ended with status {state.exit_code}: it could not be loaded"


def models_command(arguments: argparse.Namespace) -> int:
    """Show the models of every router on this node, or have one loaded."""
    apis = routers(arguments.port)
    if not apis:
        raise NotFoundError(
            "a router of models that runs on this node", "none", "look at systemctl status llama-router, or at its job"
        )
    if arguments.load:
        seconds = _load(apis[0], arguments.load, arguments.timeout)
        print(f"{arguments.load} is in memory after {seconds:.1f} seconds")
        return EXIT_WELL
    found: dict[str, list[router.State]] = {}
    for api in apis:
        found[f"{api.address}:{api.port}"] = states(api)
    if arguments.json:
        print(json.dumps({where: [asdict(state) for state in offered] for where, offered in found.items()}))
    else:
        for where, offered in found.items():
            rows = [
                {"model": s.id, "state": s.state, "aliases": ", ".join(s.aliases), "note": _note(s)} for s in offered
            ]
            print(f"router at {where}\n\n{text_table(rows, COLUMNS)}\n")
    failed = any(state.exit_code is not None for offered in found.values() for state in offered)
    return EXIT_ILL if failed else EXIT_WELL


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    found = commands.add_parser(
        "models",
        help="show the models of the routers on this node",
        description="Show the models of the routers on this node and their states; nothing is loaded or woken for it. "
        "Exit status: 0 well, 1 a model could not be loaded, 2 no router.",
    )
    found.add_argument("--json", action="store_true", help="for programs")
    found.add_argument("--port", type=int, default=0, help="of one router, where there are several")
    found.add_argument("--load", metavar="MODEL", help="have this model loaded; another may make room for it")
    found.add_argument("--timeout", type=float, default=600.0, metavar="SECONDS")
    found.set_defaults(run=models_command)
