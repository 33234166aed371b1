# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands for the routers of this node, which run as a service or a job: show or load models, and stop."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import asdict

from ...core.engine import router_mode
from ...core.errors import NotFoundError, RemoteFailureError
from ...core.release import units
from ...core.text import text_table
from ..common import command, engine_api
from ..common.output import write_line, write_result
from ..supervisor import local_state
from ..supervisor.router_monitor import asked, clients_of, models_of, states

EXIT_WELL, EXIT_ILL = 0, 1
POLL_S = 0.5
NFT, TABLE = "/usr/sbin/nft", "inet herd_router"
# Longer than a stop takes. If this command is killed, the port opens again after it.
CLOSED_S = 60
COLUMNS = ("model", "state", "aliases", "note")


def routers(port: int = 0) -> list[engine_api.Api]:
    """Return the APIs of this node's routers in the order of their ports, or of the router at one port."""
    found = {}
    for entry in local_state.PROC.iterdir():
        if entry.name.isdigit():
            arguments = local_state.process(int(entry.name)).arguments
            api = engine_api.of(arguments) if "--models-preset" in arguments else None
            if api is not None and port in (0, api.port):
                found[api.port] = api
    return [found[port] for port in sorted(found)]


def _load(api: engine_api.Api, name: str, timeout_s: float) -> float:
    """Load a model and return the seconds that it took."""
    began = time.monotonic()
    found = {state.id: state for state in states(api)}
    aliases = {alias: state.id for state in found.values() for alias in state.aliases}
    name = aliases.get(name, name)
    if name not in found:
        raise NotFoundError(f"a model among {', '.join(sorted(found))}", name, "name one of them")
    if not found[name].is_in_memory:
        asked(api, "POST", "/models/load", {"model": name})
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


def _close(port: int, seconds: float) -> bool:
    """Refuse new connections to a port of this host for a while; existing ones continue."""
    commands = (
        f"add table {TABLE}; add set {TABLE} closed {{ type inet_service; flags timeout; }}; "
        f"add chain {TABLE} input {{ type filter hook input priority -5; policy accept; }}; flush chain {TABLE} input; "
        f"add rule {TABLE} input tcp dport @closed tcp flags & (syn | ack) == syn reject with tcp reset; "
        f"add element {TABLE} closed {{ {port} timeout {round(seconds)}s }}"
    )
    return command.run([NFT, commands])[0] == 0


def _open() -> None:
    command.run([NFT, f"add table {TABLE}; delete table {TABLE}"])


def _answers(pid: int) -> int:
    """Return the number of requests that the models of a router work on."""
    table = local_state.sockets()
    return sum(len(clients_of(process, table)) for _pid, process in models_of(pid).values())


def stop_router_command(arguments: argparse.Namespace) -> int:
    """Refuse new connections, let running answers complete, and stop the router."""
    began, pid = time.monotonic(), local_state.unit(units.ROUTER).pid
    api = engine_api.of(local_state.process(pid).arguments)
    left = 0
    if api is not None:
        is_closed = _close(api.port, arguments.timeout + CLOSED_S)
        quiet = 0
        # The agent asks models too, briefly, and a request may be between two of its parts.
        while quiet < 3 and time.monotonic() - began < arguments.timeout:
            left = _answers(pid)
            quiet = 0 if left else quiet + 1
            time.sleep(POLL_S / 2)
        if not is_closed:
            write_line("new connections could not be refused: nft is not there, or refused it")
    status, said = command.run(["systemctl", "stop", units.ROUTER], 120.0)
    _open()
    if status:
        raise RemoteFailureError(f"{units.ROUTER} to stop", said.strip() or f"status {status}", "look at its journal")
    seconds = round(time.monotonic() - began, 1)
    facts = {"stopped": api is not None, "cut": left, "seconds": seconds}
    text = f"the router is stopped, after {seconds:.1f} seconds; {left} answers were cut"
    write_result(arguments.json, facts, text)
    return EXIT_WELL


def _note(state: router_mode.RouterModelState) -> str:
    return "" if state.exit_code is None else f"its process ended with status {state.exit_code}: it could not be loaded"


def _table(where: str, offered: Sequence[router_mode.RouterModelState]) -> str:
    rows = [{"model": s.id, "state": s.state, "aliases": ", ".join(s.aliases), "note": _note(s)} for s in offered]
    return f"router at {where}\n\n{text_table(rows, COLUMNS)}\n"


def models_command(arguments: argparse.Namespace) -> int:
    """Show the models of every router on this node, or load one."""
    apis = routers(arguments.port)
    if not apis:
        raise NotFoundError(
            "a router of models that runs on this node", "none", "look at systemctl status llama-router, or at its job"
        )
    if arguments.load:
        seconds = _load(apis[0], arguments.load, arguments.timeout)
        write_line(f"{arguments.load} is in memory after {seconds:.1f} seconds")
        return EXIT_WELL
    found = {api.endpoint: states(api) for api in apis}
    facts = {where: [asdict(state) for state in offered] for where, offered in found.items()}
    write_result(arguments.json, facts, "\n".join(_table(where, offered) for where, offered in found.items()))
    failed = any(state.exit_code is not None for offered in found.values() for state in offered)
    return EXIT_ILL if failed else EXIT_WELL


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe C(herdctl models) and C(herdctl stop-router)."""
    found = commands.add_parser(
        "models",
        description="Show the models of the routers on this node and their states; nothing is loaded or woken for it. "
        "Exit status: 0 well, 1 a model could not be loaded, 2 no router.",
    )
    found.add_argument("--json", action="store_true", help="for programs")
    found.add_argument("--port", type=int, default=0, help="of one router, where there are several")
    found.add_argument("--load", metavar="MODEL", help="have this model loaded; another may make room for it")
    found.add_argument("--timeout", type=float, default=600.0, metavar="SECONDS")
    found.set_defaults(run=models_command)
    stop = commands.add_parser(
        "stop-router",
        description="Refuses new connections, waits until no model works on an answer, and stops llama-router. What "
        "still runs then is cut. Exit status: 0 it is stopped, also if it did not run.",
    )
    stop.add_argument("--timeout", type=float, default=30.0, metavar="SECONDS", help="that answers are given")
    stop.add_argument("--json", action="store_true", help="for programs")
    stop.set_defaults(run=stop_router_command)
