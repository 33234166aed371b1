# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hold the head back until every RPC worker is ready: the worker readiness check."""

from __future__ import annotations

import argparse
import socket
import struct
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

from ...core.engine import rpc_protocol
from ...core.engine.worker_readiness import (
    EXIT_READY,
    SCHEMA,
    ExpectedWorker,
    ReadinessCheck,
    WorkerObservation,
    WorkerVerdict,
    describe,
    exit_code,
    judge,
    parse_check,
)
from ...core.errors import HerdError, RemoteFailureError
from ..common.config import read_config
from ..common.output import write_error_line, write_line
from ..supervisor import heartbeat_client
from ..supervisor.settings import DEFAULT_PATH, Settings, read_settings

# A free worker on a local network answers within a millisecond; a busy one never does.
ATTEMPT_TIMEOUT_S = 5.0
PAUSE_S = 1.0
NO_ANSWER = "no answer to a connection"
# Pause between two resets of the connections to a worker that stays silent.
RESET_AGAIN_S = 5.0
# One HELLO of each kind, to name the version of a worker that speaks another one.
KNOWN_MAJORS = (3, 7)


class ClosedError(Exception):
    """The worker closed the connection in place of an answer."""


def _receive(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        try:
            part = connection.recv(size - len(data))
        except ConnectionError as error:
            raise ClosedError from error
        if not part:
            raise ClosedError
        data += part
    return data


def _ask(connection: socket.socket, request: bytes, size: int, what: str) -> bytes:
    try:
        connection.sendall(request)
    except ConnectionError as error:
        raise ClosedError from error
    rpc_protocol.decode_length(_receive(connection, rpc_protocol.LENGTH_SIZE), size, what)
    return _receive(connection, size)


def _talk(worker: ExpectedWorker, major: int, timeout_s: float, with_devices: bool) -> WorkerObservation:
    with socket.create_connection((worker.address, worker.port), timeout=timeout_s) as connection:
        version = rpc_protocol.decode_hello(_ask(connection, *rpc_protocol.hello(major), "HELLO"))
        if not with_devices:
            return WorkerObservation("answered", version)
        count = rpc_protocol.decode_device_count(
            _ask(connection, rpc_protocol.request(rpc_protocol.DEVICE_COUNT), 4, "DEVICE_COUNT")
        )
        devices = tuple(
            rpc_protocol.decode_device_memory(
                _ask(connection, rpc_protocol.device_memory_request(index), 16, "GET_DEVICE_MEMORY")
            )
            for index in range(count)
        )
        return WorkerObservation("answered", version, devices)


def _other_version(worker: ExpectedWorker, major: int, timeout_s: float) -> WorkerObservation:
    for other in KNOWN_MAJORS:
        if other == major:
            continue
        try:
            return _talk(worker, other, timeout_s, with_devices=False)
        except (ClosedError, OSError, RemoteFailureError):
            continue
    return WorkerObservation("foreign", detail="it closed the connection at the RPC greeting")


def observe(worker: ExpectedWorker, major: int, timeout_s: float = ATTEMPT_TIMEOUT_S) -> WorkerObservation:
    """Greet a worker once and let go of it; never leaves a connection behind."""
    try:
        return _talk(worker, major, timeout_s, with_devices=True)
    except ClosedError:
        return _other_version(worker, major, timeout_s)
    except RemoteFailureError as error:
        return WorkerObservation("foreign", detail=f"{error.found} bytes where {error.expected} belong")
    except ConnectionRefusedError:
        return WorkerObservation("refused")
    except socket.timeout:
        return _unreachable_or_silent(worker, timeout_s)
    except OSError as error:
        return WorkerObservation("unreachable", detail=error.strerror or str(error))


def _unreachable_or_silent(worker: ExpectedWorker, timeout_s: float) -> WorkerObservation:
    try:
        with socket.create_connection((worker.address, worker.port), timeout=timeout_s):
            return WorkerObservation("silent")
    except OSError as error:
        return WorkerObservation("unreachable", detail=error.strerror or NO_ANSWER)


def lost_ports(worker: ExpectedWorker, settings: Settings) -> list[int]:
    """Ask a worker's agent for the ports of this host's connections to the worker.

    :raises RemoteFailureError: if the agent does not answer, or knows no worker.
    """
    seen = heartbeat_client.fetch(worker.name, worker.address, settings.port)
    if seen.heartbeat is None or seen.heartbeat.worker is None:
        raise RemoteFailureError(
            f"the agent of {worker.name} to name the worker's connections",
            seen.detail or "a heartbeat without a worker",
            f"restart the worker on {worker.name} (systemctl restart llama-rpc)",
        )
    endpoints = [client.rsplit(":", 1) for client in seen.heartbeat.worker.clients]
    return [int(port) for address, port in endpoints if address == settings.address]


def reset_connections(worker: ExpectedWorker, ports: Iterable[int]) -> None:
    """Make a worker close connections that this host does not know any more.

    A head whose host lost power closes nothing. The engine sets no keepalive: its worker waits for that client for
    ever, and serves one client at a time. An opening segment from the address and port of the old connection makes the
    worker's kernel ask back (RFC 9293, 3.5.1). This kernel answers with a reset, and the worker is free. The port of a
    living connection cannot be bound, so no living connection is touched.
    """
    for port in ports:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as opening:
            # No connection stays if the worker accepts it as a new client.
            opening.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            opening.setblocking(False)
            with suppress(OSError):
                opening.bind(("", port))
                opening.connect((worker.address, worker.port))


def _may_hold_dead(seen: WorkerObservation) -> bool:
    """Return whether a worker may still hold a dead client: it is silent, or its connection queue is full."""
    return seen.state == "silent" or (seen.state == "unreachable" and seen.detail == NO_ANSWER)


def _reset_lost(worker: ExpectedWorker, agent_config: str, log: Callable[[str], None]) -> None:
    try:
        ports = lost_ports(worker, read_settings(agent_config))
    except HerdError as error:
        log(f"cannot reset lost connections to {worker.name}: {error}")
        return
    if ports:
        log(f"resetting connections to {worker.name} that this host has lost (ports {', '.join(map(str, ports))})")
        reset_connections(worker, ports)


def wait_for(
    check: ReadinessCheck,
    log: Callable[[str], None],
    clock: Callable[[], float] = time.monotonic,
    agent_config: str = DEFAULT_PATH,
) -> list[WorkerVerdict]:
    """Wait until all workers are ready or time is up; log a line whenever a worker's state changes."""
    deadline = clock() + check.timeout_s
    said: dict[str, str] = {}
    reset_at: dict[str, float] = {}
    while True:
        verdicts: list[WorkerVerdict] = []
        for worker in check.workers:
            left = max(0.1, min(ATTEMPT_TIMEOUT_S, deadline - clock()))
            seen = observe(worker, check.protocol.major, left)
            verdict = judge(worker, seen, check.protocol)
            state = "ready" if verdict is None else str(verdict.error)
            if said.get(worker.name) != state:
                log(describe(worker, seen) if verdict is None else f"waiting: {verdict.error}")
            said[worker.name] = state
            if verdict is not None:
                verdicts.append(verdict)
            if _may_hold_dead(seen) and clock() >= reset_at.get(worker.name, 0.0):
                _reset_lost(worker, agent_config, log)
                reset_at[worker.name] = clock() + RESET_AGAIN_S
        if not verdicts or clock() >= deadline:
            return verdicts
        time.sleep(min(PAUSE_S, max(0.0, deadline - clock())))


def wait_command(arguments: argparse.Namespace) -> int:
    """Hold the head back until every worker is ready."""
    check = read_config(arguments.config, SCHEMA, parse_check, "the worker readiness check", "head_server")
    verdicts = wait_for(check, write_line)
    for verdict in verdicts:
        write_error_line(f"herdctl wait-for-workers: after {check.timeout_s:g} seconds: {verdict.error}")
    return exit_code(verdicts) if verdicts else EXIT_READY


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe C(herdctl wait-for-workers)."""
    wait = commands.add_parser(
        "wait-for-workers",
        description="Waits until every RPC worker answers with the right protocol, devices and memory. "
        "Exit status: 0 ready, 2 configuration, 3 a worker does not answer, 4 another protocol, 5 other devices.",
    )
    wait.add_argument(
        "--config", default="/etc/herd/wait-for-workers.json", help="what to wait for (default: %(default)s)"
    )
    wait.set_defaults(run=wait_command)
