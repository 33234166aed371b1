# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find problems of an RPC worker from the state of its host."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

#: A restarted worker that is younger than these seconds is crashing.
YOUNG_S = 30.0


@dataclass(frozen=True)
class WorkerStatus:
    """The state of a worker on its host.

    :param holder: the process that listens on the port, as C(name (pid)); empty if there is none.
    :param is_own: whether that process belongs to the unit.
    :param clients: addresses with an established connection.
    :param leaving: connections that the client has closed and the worker has not (CLOSE_WAIT).
    :param release: release of the running process.
    :param current: release of the link C(current).
    """

    unit: str
    active: str
    sub: str
    restarts: int = 0
    age_s: float = 0.0
    needs_reload: bool = False
    listening: Sequence[str] = ()
    holder: str = ""
    is_own: bool = True
    clients: Sequence[str] = ()
    leaving: int = 0
    release: str = ""
    current: str = ""


def problems(worker: WorkerStatus, address: str = "", port: int = 0) -> list[str]:
    """List the reasons why a head cannot or should not use this worker.

    :param address: address to listen on; not checked if empty.
    """
    found = [*_port(worker, address, port)] if worker.listening else []
    if worker.active != "active":
        return [_stopped(worker), *(found if not worker.is_own else [])]
    return [*_unit(worker, port), *found, *_clients(worker), *_release(worker)]


def cannot_heal(worker: WorkerStatus) -> bool:
    """Return whether waiting is useless: the unit is down, or another process holds its port."""
    return not worker.is_own or worker.active in ("failed", "inactive")


def _stopped(worker: WorkerStatus) -> str:
    if worker.sub == "auto-restart" or worker.active == "activating":
        return (
            f"expected {worker.unit} to run, found it between two starts ({worker.restarts} restarts): its program "
            f"ends with status 0 whatever was wrong; read journalctl -u {worker.unit} -n 50."
        )
    remedy = (
        f"read journalctl -u {worker.unit} -n 50, mend what it names, and start it"
        if worker.active == "failed"
        else f"start it (systemctl start {worker.unit})"
    )
    return f"expected {worker.unit} to run, found it {worker.active}: {remedy}."


def _unit(worker: WorkerStatus, port: int) -> Iterator[str]:
    if not worker.listening:
        yield (
            f"expected {worker.unit} to listen on port {port}, found nothing there: it may still load its devices; "
            f"read journalctl -u {worker.unit} -n 50."
        )
    if worker.restarts and worker.age_s < YOUNG_S:
        yield (
            f"expected {worker.unit} to stay up, found {worker.restarts} restarts, the last {worker.age_s:.0f} s ago: "
            f"read journalctl -u {worker.unit} -n 50."
        )
    if worker.needs_reload:
        yield (
            f"expected systemd to know the file of {worker.unit}, found a newer one: run systemctl daemon-reload, or "
            f"site.yml."
        )


def _port(worker: WorkerStatus, address: str, port: int) -> Iterator[str]:
    if not worker.is_own:
        yield (
            f"expected port {port} to be {worker.unit}'s, found {worker.holder or 'another process'}: end that "
            f"process; the worker takes the port when it starts again."
        )
    elif address and set(worker.listening) != {address}:
        yield (
            f"expected {worker.unit} to listen on {address} only, found {', '.join(worker.listening)}: the port has no "
            f"authentication; run site.yml, which writes its unit anew."
        )


def _clients(worker: WorkerStatus) -> Iterator[str]:
    hosts = sorted({client.rpartition(":")[0] for client in worker.clients})
    if len(hosts) > 1:
        yield (
            f"expected one head at {worker.unit}, which serves one client at a time, found {', '.join(hosts)}: stop "
            f"the one that is too many; it waits without a word."
        )
    if worker.leaving:
        yield (
            f"expected the connections of {worker.unit} to be open or gone, found {worker.leaving} that the head has "
            f"closed and the worker has not: it is busy or hangs; restart it if that lasts."
        )


def _release(worker: WorkerStatus) -> Iterator[str]:
    if worker.release and worker.current and worker.release != worker.current:
        yield (
            f"expected {worker.unit} to run from the current release {worker.current}, found {worker.release}: head "
            f"and workers must be of one release; run playbooks/upgrade.yml or rollback.yml to the end."
        )
