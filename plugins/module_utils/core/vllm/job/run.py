# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One run of a vLLM job: its nodes, addresses and ports, which are known only when Slurm has started it.

Each node reports itself through a step of the job, which Slurm has authenticated. The batch script collects the
reports, chooses the ports and writes the run with a new secret for the ranks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ... import values
from ...errors import InsufficientError, InvalidInputError, MismatchError
from ...text import plain
from . import ports
from .spec import JobSpec

SCHEMA = 1
#: Bytes of the largest run or report that is read.
LARGEST = 256 * 1024
SECRET_BYTES = 32
#: Begins the line of a report, among whatever else a login script prints.
MARK = "herd-node "
_ADDRESS = re.compile(r"(?:\d{1,3}\.){3}\d{1,3}")
_SECRET = re.compile(rf"[0-9a-f]{{{SECRET_BYTES * 2}}}")
_REMEDY = "cancel the job and launch the model again"
_SET_INTERFACE = "set nccl.socket_ifname to an interface that all nodes of the job have, such as ib0"


@dataclass(frozen=True)
class NodeReport:
    """What a node says of itself before the start.

    :param address: its address on the fabric, and interface the interface of that address.
    :param client: the address where clients reach it.
    :param adapters: InfiniBand adapters with an active port, as NCCL_IB_HCA names them.
    :param taken: ports in use, among those that the job may take.
    :param problem: why the job cannot run here; empty if it can.
    :param notes: sentences for the log.
    """

    rank: int
    host: str
    address: str = ""
    interface: str = ""
    client: str = ""
    adapters: tuple[str, ...] = ()
    taken: tuple[int, ...] = ()
    problem: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class RankPlace:
    """Where a rank runs."""

    host: str
    address: str
    interface: str
    client: str
    adapters: tuple[str, ...] = ()


@dataclass(frozen=True)
class Run:
    """One run of a job.

    :param restarts: how often Slurm has requeued the job.
    :param secret: the ranks' secret for their heartbeats, in hexadecimal digits.
    """

    job_id: str
    restarts: int
    ranks: tuple[RankPlace, ...]
    master_port: int
    heartbeat_port: int
    port: int
    secret: str


def write_report(report: NodeReport) -> str:
    """Write a node's report as one line."""
    return MARK + json.dumps(asdict(report), separators=(",", ":"))


def _texts(data: Any, name: str, most: int) -> tuple[str, ...]:
    found = data.get(name)
    if not isinstance(found, list) or len(found) > most:
        raise values.invalid(f"a list as {name}", found, _REMEDY)
    return tuple(values.text({name: one}, name, 1000, _REMEDY) for one in found)


def _address(data: Any, name: str) -> str:
    found = values.text(data, name, 15, _REMEDY)
    if found and not _ADDRESS.fullmatch(found):
        raise values.invalid(f"an IPv4 address as {name}", found, _REMEDY)
    return found


def _report(data: Any) -> NodeReport:
    if not isinstance(data, dict) or not isinstance(data.get("taken"), list) or len(data["taken"]) > 65536:
        raise values.invalid("a node's report", data, _REMEDY)
    return NodeReport(
        rank=values.whole(data, "rank", 0, 511, _REMEDY),
        host=values.text(data, "host", 255, _REMEDY),
        address=_address(data, "address"),
        interface=values.text(data, "interface", 64, _REMEDY),
        client=_address(data, "client"),
        adapters=_texts(data, "adapters", 64),
        taken=tuple(values.whole({"taken": one}, "taken", 0, 65535, _REMEDY) for one in data["taken"]),
        problem=values.text(data, "problem", 4000, _REMEDY),
        notes=_texts(data, "notes", 64),
    )


def read_reports(text: str, nodes: int) -> tuple[NodeReport, ...]:
    """Read the reports of all nodes, and return them by rank.

    :raises InvalidInputError: if a node is missing, or says why the job cannot run on it.
    """
    found: dict[int, NodeReport] = {}
    for line in text.splitlines():
        if line.startswith(MARK):
            try:
                report = _report(json.loads(line[len(MARK) :]))
            except (ValueError, RecursionError) as error:
                raise values.invalid("a node's report in JSON", str(error), _REMEDY) from error
            found[report.rank] = report
    if sorted(found) != list(range(nodes)):
        raise InvalidInputError(
            f"a report of each of {nodes} nodes",
            f"{len(found)}: {plain(', '.join(one.host for one in found.values())) or 'none'}",
            "see the lines above: srun or the program failed on the other nodes",
        )
    return tuple(found[rank] for rank in range(nodes))


def check_reports(reports: Sequence[NodeReport]) -> None:
    """Check that the job can run on its nodes.

    :raises InvalidInputError: if a node has a problem or no address.
    :raises MismatchError: if two nodes have the same address.
    """
    for report in reports:
        if report.problem:
            where = f"rank {report.rank} on {report.host}"
            raise InvalidInputError.plain(f"{where} cannot take part", report.problem.rstrip("."))
        if not report.address:
            raise InvalidInputError("an address on the fabric", f"none on {report.host}", _SET_INTERFACE)
    owners: dict[str, str] = {}
    for report in reports:
        if report.address in owners:
            raise MismatchError(
                "an own address of each node on the fabric",
                f"{report.address} on {owners[report.address]} and {report.host}",
                _SET_INTERFACE,
            )
        owners[report.address] = report.host


def plan(spec: JobSpec, job_id: str, restarts: int, reports: Sequence[NodeReport], secret: str) -> Run:
    """Choose the ports of a run: the rendezvous and the heartbeats are free on all nodes."""
    taken = {port for report in reports for port in report.taken}
    if len(reports) > 1:
        chosen = ports.choose(spec.master_port_base, int(job_id), taken)
    else:
        chosen = next(ports.candidates(spec.master_port_base, int(job_id)))
    port = ports.choose_api(spec.port, spec.ports, {*reports[0].taken, chosen.master, chosen.heartbeat})
    places = tuple(RankPlace(one.host, one.address, one.interface, one.client, one.adapters) for one in reports)
    return Run(job_id, restarts, places, chosen.master, chosen.heartbeat, port, secret)


def write(run: Run) -> str:
    """Write a run as JSON. It holds the secret."""
    return json.dumps({"schema": SCHEMA, **asdict(run)}, indent=1) + "\n"


def read(text: str) -> Run:
    """Read a run strictly.

    :raises InvalidInputError: if it is none.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise values.invalid("a run as JSON", str(error), _REMEDY) from error
    if not isinstance(data, dict) or data.get("schema") != SCHEMA or not isinstance(data.get("ranks"), list):
        raise values.invalid(f"a run of schema {SCHEMA}", "another document", _REMEDY)
    places = []
    for one in data["ranks"]:
        if not isinstance(one, dict):
            raise values.invalid("an object for each rank", one, _REMEDY)
        report = _report({"rank": 0, "taken": [], "problem": "", "notes": [], **one})
        places.append(RankPlace(report.host, report.address, report.interface, report.client, report.adapters))
    secret = values.text(data, "secret", SECRET_BYTES * 2, _REMEDY)
    if not _SECRET.fullmatch(secret):
        raise InvalidInputError("a secret of 64 hexadecimal digits", "another text", _REMEDY)
    if not places:
        raise InsufficientError("at least one rank", "none", _REMEDY)
    master, heartbeat, port = (
        values.whole(data, name, 1024, 65535, _REMEDY) for name in ("master_port", "heartbeat_port", "port")
    )
    return Run(
        values.text(data, "job_id", 20, _REMEDY),
        values.whole(data, "restarts", 0, 1 << 31, _REMEDY),
        tuple(places),
        master,
        heartbeat,
        port,
        secret,
    )
