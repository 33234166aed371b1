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
class Sight:
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


def problems(sight: Sight, address: str = "", port: int = 0) -> list[str]:
    """List the reasons why a head cannot or should not use this worker.

    :param address: address to listen on; not checked if empty.
    """
    found = [*_port(sight, address, port)] if sight.listening else []
    if sight.active != "active":
        return [_stopped(sight), *(found if not sight.is_own else [])]
    return [*_unit(sight, port), *found, *_clients(sight), *_release(sight)]


def cannot_heal(sight: Sight) -> bool:
    """Return whether waiting is useless: the unit is down, or another process holds its port."""
    return not sight.is_own or sight.active in ("failed", "inactive")


def _stopped(sight: Sight) -> str:
    if sight.sub == "auto-restart" or sight.active == "activating":
        return (
            f"expected {sight.unit} to run, found it between two starts ({sight.restarts} restarts): its program ends "
            f"with status 0 whatever was wrong; read journalctl -u {sight.unit} -n 50."
        )
    remedy = (
        f"read journalctl -u {sight.unit} -n 50, mend what it names, and start it"
        if sight.active == "failed"
        else f"start it (systemctl start {sight.unit})"
    )
    return f"expected {sight.unit} to run, found it {sight.active}: {remedy}."


def _unit(sight: Sight, port: int) -> Iterator[str]:
    if not sight.listening:
        yield (
            f"expected {sight.unit} to listen on port {port}, found nothing there: it may still load its devices; "
            f"read journalctl -u {sight.unit} -n 50."
        )
    if sight.restarts and sight.age_s < YOUNG_S:
        yield (
            f"expected {sight.unit} to stay up, found {sight.restarts} restarts, the last {sight.age_s:.0f} s ago: "
            f"read journalctl -u {sight.unit} -n 50."
        )
    if sight.needs_reload:
        yield (
            f"expected systemd to know the file of {sight.unit}, found a newer one: run systemctl daemon-reload, or "
            f"site.yml."
        )


def _port(sight: Sight, address: str, port: int) -> Iterator[str]:
    if not sight.is_own:
        yield (
            f"expected port {port} to be {sight.unit}'s, found {sight.holder or 'another process'}: end that process; "
            f"the worker takes the port when it starts again."
        )
    elif address and set(sight.listening) != {address}:
        yield (
            f"expected {sight.unit} to listen on {address} only, found {', '.join(sight.listening)}: the port has no "
            f"authentication; run site.yml, which writes its unit anew."
        )


def _clients(sight: Sight) -> Iterator[str]:
    hosts = sorted({client.rpartition(":")[0] for client in sight.clients})
    if len(hosts) > 1:
        yield (
            f"expected one head at {sight.unit}, which serves one client at a time, found {', '.join(hosts)}: stop the "
            f"one that is too many; it waits without a word."
        )
    if sight.leaving:
        yield (
            f"expected the connections of {sight.unit} to be open or gone, found {sight.leaving} that the head has "
            f"closed and the worker has not: it is busy or hangs; restart it if that lasts."
        )


def _release(sight: Sight) -> Iterator[str]:
    if sight.release and sight.current and sight.release != sight.current:
        yield (
            f"expected {sight.unit} to run from the current release {sight.current}, found {sight.release}: head and "
            f"workers must be of one release; run playbooks/upgrade.yml or rollback.yml to the end."
        )
