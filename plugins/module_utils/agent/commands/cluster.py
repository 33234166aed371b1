# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the operator's commands: show the cluster, query the head, and hold the agent."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from ...core.engine import api_answers, router_mode
from ...core.errors import HerdError, InvalidInputError, NotFoundError
from ...core.operations import cluster_log
from ...core.release import units
from ...core.supervision.cluster_status import NODE_COLUMNS, as_rows, is_well, summary
from ...core.supervision.observations import PeerObservation
from ...core.text import terminal_text, text_table
from ..common import command, compute_node, engine_api
from ..common.output import write, write_error_line, write_line, write_result
from ..slurm.manager_state import DEFAULT_PATH as TIERS_PATH
from ..supervisor import heartbeat_client, local_state
from ..supervisor.router_monitor import states
from ..supervisor.settings import (
    DEFAULT_PATH,
    OperatorFlags,
    Settings,
    read_settings,
)
from . import tier_table

_LOGS_OF_ALL = "ansible-playbook playbooks/logs.yml -e logs_since=-15min -e logs_units=head,worker"
EXIT_WELL, EXIT_ILL, EXIT_NO_ANSWER = 0, 1, 3


@dataclass(frozen=True)
class _Shown:
    """What status and watch show, as data and as text."""

    data: dict[str, Any]
    text: str
    is_well: bool


def _settings(arguments: argparse.Namespace) -> Settings:
    return read_settings(arguments.config)


def _fetch(settings: Settings) -> dict[str, PeerObservation]:
    return heartbeat_client.fetch_all(settings.peers, settings.port)


def _as_data(observations: Mapping[str, PeerObservation]) -> dict[str, Any]:
    return {
        "well": is_well(observations),
        "nodes": {
            name: {
                "seen": seen.kind,
                "detail": seen.detail,
                "heartbeat": asdict(seen.heartbeat) if seen.heartbeat else None,
            }
            for name, seen in observations.items()
        },
    }


def _heartbeats(settings: Settings) -> _Shown:
    observations = _fetch(settings)
    return _Shown(_as_data(observations), _text(observations), is_well(observations))


def _tiers(file: Path, unit: str) -> _Shown:
    table = tier_table.read(file, unit)
    return _Shown(table.data, table.text, table.is_ready)


def _source(arguments: argparse.Namespace) -> Callable[[], _Shown]:
    """Return what shows this site: the heartbeats of its nodes, or on Slurm's controller its tiers."""
    compute_node.check("the state of the cluster", "llama-service-status", arguments.config, arguments.tiers_config)
    if not Path(arguments.config).exists() and Path(arguments.tiers_config).exists():
        return partial(_tiers, *tier_table.status_file(arguments.tiers_config, arguments.config))
    return partial(_heartbeats, _settings(arguments))


def _text(observations: Mapping[str, PeerObservation]) -> str:
    return f"{text_table(as_rows(observations), NODE_COLUMNS)}\n\n{summary(observations)}"


def status_command(arguments: argparse.Namespace) -> int:
    """Show the status of every node, or of the tiers on Slurm's controller."""
    shown = _source(arguments)()
    write_result(arguments.json, shown.data, shown.text, indent=2)
    return EXIT_WELL if shown.is_well else EXIT_ILL


def watch_command(arguments: argparse.Namespace) -> int:
    """Show the status periodically, or once if the output is no terminal."""
    source = _source(arguments)
    while True:
        shown = source()
        if arguments.json or not sys.stdout.isatty():
            write_result(arguments.json, shown.data, shown.text)
        else:
            # Move to the upper left corner, overwrite line by line, and clear the rest.
            lines = [time.strftime("%H:%M:%S"), "", *shown.text.splitlines()]
            write("\x1b[H" + "".join(f"{line}\x1b[K\n" for line in lines) + "\x1b[J")
        if arguments.once or not sys.stdout.isatty():
            return EXIT_WELL if shown.is_well else EXIT_ILL
        try:
            time.sleep(arguments.interval)
        except KeyboardInterrupt:
            return EXIT_WELL


def logs_command(arguments: argparse.Namespace) -> int:
    """Replace this process by journalctl for the units of this node."""
    if arguments.all:
        raise NotFoundError(
            "a way to the journals of the other nodes",
            "none, because nodes have no access to each other",
            f"run on the controller: {_LOGS_OF_ALL}",
        )
    # Without a gateway, nginx is another owner's.
    wanted = [name for name in cluster_log.UNITS if name != "nginx"] if arguments.of == "all" else [arguments.of]
    chosen = [cluster_log.UNITS[name] for name in wanted]
    argv = ["journalctl", "--no-pager", "--output=short-iso", f"--lines={arguments.lines}"]
    argv += [f"--unit={unit.replace('@.', '@*.')}" for unit in chosen] + (["--follow"] if arguments.follow else [])
    argv += [f"--{name}={value}" for name in ("since", "until") if (value := getattr(arguments, name))]
    if arguments.json:
        argv.append("--output=json")
    os.execvp(argv[0], argv)


def _api_of(unit: str) -> engine_api.Api | None:
    return engine_api.of(local_state.process(local_state.unit(unit).pid).arguments)


def _head_api() -> engine_api.Api:
    found = _api_of(units.HEAD)
    if found is None:
        raise NotFoundError(
            "a head that runs on this node",
            "none",
            "run this on the head's node; herdctl status shows which one that is, and its state",
        )
    return found


def _asked_api(model: str) -> engine_api.Api:
    """Return the API of this node's head, or of its router with a model (default: one in memory)."""
    api = _api_of(units.ROUTER)
    if api is None or local_state.unit(units.HEAD).pid:
        return _head_api()
    offered = states(api)
    return replace(api, model=model or router_mode.model_to_probe(offered, [state.id for state in offered]))


def probe_command(arguments: argparse.Namespace) -> int:
    """Request one token from the head, or from a model of the router."""
    api = _asked_api(arguments.model)
    found: dict[str, Any] = {"api": api.endpoint, "health": engine_api.health(api)}
    try:
        found.update(answered=True, seconds=round(engine_api.complete(api, arguments.timeout), 3))
    except HerdError as error:
        found.update(answered=False, error=str(error))
    outcome = f" and made a token in {found['seconds']} seconds" if found["answered"] else f": {found['error']}"
    write_result(arguments.json, found, f"{found['api']} is {found['health']}{outcome}")
    return EXIT_WELL if found["answered"] else EXIT_NO_ANSWER


def query_command(arguments: argparse.Namespace) -> int:
    """Send a prompt to the head, or to a model of the router, and print the answer as it comes."""
    api = _asked_api(arguments.model)
    began, first, pieces = time.monotonic(), 0.0, 0
    text, answer = "", api_answers.Answer()
    try:
        for piece in engine_api.chat(api, arguments.prompt, arguments.max_tokens, arguments.timeout, answer):
            first = first or time.monotonic() - began
            pieces += 1
            text += piece
            if not arguments.json:
                write(terminal_text(piece))
    except HerdError as error:
        write_error_line(f"herdctl query: {error}")
        return EXIT_NO_ANSWER
    took = time.monotonic() - began
    rate = round((pieces - 1) / (took - first), 2) if pieces > 1 and took > first else 0.0
    facts = {"first_piece_s": round(first, 3), "seconds": round(took, 3), "pieces": pieces, "pieces_per_second": rate}
    summary_text = f"\n\n{pieces} pieces, the first after {first:.2f} s, {rate:g} per second"
    write_result(arguments.json, {"text": text, **facts}, summary_text)
    return EXIT_WELL if answer.has_token else EXIT_NO_ANSWER


def drain_command(arguments: argparse.Namespace) -> int:
    """Mark the head as draining and wait until no request runs."""
    flags = OperatorFlags(_settings(arguments).run_dir)
    if arguments.end:
        flags.clear("drain")
        return EXIT_WELL
    api = _head_api()
    # The flag outlasts the wait, so that the head can be stopped afterwards.
    flags.set("drain", "herdctl drain", arguments.timeout + 60)
    deadline = time.monotonic() + arguments.timeout
    while True:
        slots = engine_api.slots(api)
        is_idle = engine_api.is_idle(api, slots)
        if is_idle or time.monotonic() >= deadline:
            break
        time.sleep(0.5)
    if is_idle and arguments.stop:
        command.run(["systemctl", "stop", units.HEAD], 120.0)
    facts = {"idle": is_idle, "busy": slots.busy, "stopped": bool(is_idle and arguments.stop)}
    busy = f"{slots.busy} requests still run after {arguments.timeout:g} seconds"
    write_result(arguments.json, facts, "no request runs" if is_idle else busy)
    return EXIT_WELL if is_idle else EXIT_ILL


def hold_command(arguments: argparse.Namespace) -> int:
    """Suspend the agents' actions on this node."""
    if not 0 < arguments.seconds <= 86400:
        raise InvalidInputError("a hold of 1 to 86400 seconds", f"{arguments.seconds:g}", "give another --seconds")
    OperatorFlags(_settings(arguments).run_dir).set("hold", arguments.reason, arguments.seconds)
    write_line(f"held for {arguments.seconds:g} seconds: {arguments.reason}; herdctl resume ends it")
    return EXIT_WELL


def resume_command(arguments: argparse.Namespace) -> int:
    """End a hold and a drain."""
    flags = OperatorFlags(_settings(arguments).run_dir)
    for name in ("hold", "drain"):
        flags.clear(name)
    return EXIT_WELL


def _add(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, run: Any, text: str, end: str
) -> argparse.ArgumentParser:
    found = commands.add_parser(name, description=f"{text} Exit status: {end}.")
    found.add_argument("--config", default=DEFAULT_PATH, help="the agent's configuration (default: %(default)s)")
    found.add_argument("--json", action="store_true", help="print JSON")
    found.set_defaults(run=run)
    return found


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the operator's commands."""
    well = "0 all is well, 1 a problem, 2 configuration error, 4 ask on the controller of Slurm"
    answer = "0 answered, 2 configuration error or no engine on this node, 3 no answer"
    status = _add(
        commands, "status", status_command, "Show the heartbeat of every node; on Slurm's controller its tiers.", well
    )
    watch = _add(
        commands, "watch", watch_command, "Show the heartbeats live, or once if the output is no terminal.", well
    )
    watch.add_argument("--interval", type=float, default=2.0, metavar="SECONDS")
    watch.add_argument("--once", action="store_true")
    for shown in (status, watch):
        shown.add_argument(
            "--tiers-config",
            default=TIERS_PATH,
            help="the tier manager's, on Slurm's controller (default: %(default)s)",
        )
    logs = _add(commands, "logs", logs_command, "Show the journal of this node's units.", "journalctl's")
    logs.add_argument("of", nargs="?", choices=["all", *cluster_log.UNITS], default="all")
    logs.add_argument("-n", "--lines", type=int, default=50)
    logs.add_argument("--since", default="", metavar="TIME", help="start of a window, such as -15min")
    logs.add_argument("--until", default="", metavar="TIME", help="its end")
    logs.add_argument("--all", action="store_true", help="say which command shows the journals of all nodes")
    logs.add_argument("-f", "--follow", action="store_true")
    probe = _add(commands, "probe", probe_command, "Request one token from the head or router on this node.", answer)
    probe.add_argument("--model", default="", help="the router's model to use (default: one in memory)")
    probe.add_argument("--timeout", type=float, default=60.0, metavar="SECONDS")
    query = _add(commands, "query", query_command, "Send a prompt to the head or router on this node.", answer)
    query.add_argument("prompt")
    query.add_argument("--model", default="", help="the router's model to use (default: one in memory)")
    query.add_argument("--max-tokens", type=int, default=64)
    query.add_argument("--timeout", type=float, default=120.0, metavar="SECONDS")
    drain = _add(
        commands,
        "drain",
        drain_command,
        "Mark the head on this node as draining and wait until no request runs.",
        "0 idle, 1 requests still run, 2 configuration error or no head on this node",
    )
    drain.add_argument("--timeout", type=float, default=120.0, metavar="SECONDS")
    drain.add_argument("--stop", action="store_true", help="stop the head when it is idle")
    drain.add_argument("--end", action="store_true", help="end the drain")
    hold = _add(
        commands,
        "hold",
        hold_command,
        "Suspend all actions of the agents on this node.",
        "0 held, 2 wrong arguments",
    )
    hold.add_argument("--seconds", type=float, default=600.0)
    hold.add_argument("--reason", default="by hand")
    _add(commands, "resume", resume_command, "End a hold and a drain.", "0 resumed, 2 configuration error")
