# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fetch other nodes' heartbeats over HTTP."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from http import HTTPStatus

from ...core.errors import HerdError, reason_of
from ...core.supervision import heartbeat
from ...core.supervision.observations import PeerObservation
from ...core.text import plain

TIMEOUT_S = 1.0
EVERY_S = 0.5
# An older observation counts as silence: its thread hangs in a request.
OLDEST_S = 4.0


def fetch(name: str, address: str, port: int, timeout_s: float = TIMEOUT_S) -> PeerObservation:
    """Ask a node for its heartbeat."""
    connection = http.client.HTTPConnection(address, port, timeout=timeout_s)
    try:
        connection.request("GET", heartbeat.PATH)
        answer = connection.getresponse()
        raw = answer.read(heartbeat.LARGEST + 1)
        if answer.status != HTTPStatus.OK:
            return PeerObservation("bad", detail=f"HTTP status {answer.status}")
        return PeerObservation("heartbeat", heartbeat.read(raw, name))
    except HerdError as error:
        return PeerObservation("bad", detail=plain(error.found))
    except ConnectionRefusedError:
        return PeerObservation("refused", detail="connection refused")
    except (http.client.HTTPException, ConnectionResetError, ConnectionAbortedError, BrokenPipeError) as error:
        return PeerObservation("bad", detail=plain(reason_of(error)))
    except OSError as error:
        return PeerObservation("silent", detail=plain(reason_of(error)))
    except Exception as error:
        # No answer may end the thread that polls: nothing would notice.
        return PeerObservation("bad", detail=plain(f"{type(error).__name__}: {error}"))
    finally:
        with suppress(OSError):
            connection.close()


def fetch_all(peers: Mapping[str, str], port: int, timeout_s: float = TIMEOUT_S) -> dict[str, PeerObservation]:
    """Ask all nodes at the same time."""
    found: dict[str, PeerObservation] = {}

    def one(name: str, address: str) -> None:
        found[name] = fetch(name, address, port, timeout_s)

    threads = [threading.Thread(target=one, args=peer, daemon=True) for peer in peers.items()]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 3 * timeout_s
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return {name: found.get(name, PeerObservation("silent", detail="no answer in time")) for name in peers}


class Followers:
    """Poll other nodes' heartbeats, each in a thread, and keep the last result of each.

    Several readers of one agent share the threads: a node that two of them follow is polled once.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self._seen: dict[str, tuple[float, PeerObservation]] = {}
        self._heard: dict[str, float] = {}
        self._wanted: dict[str, Mapping[str, str]] = {}
        self._pollers: dict[tuple[str, str], threading.Thread] = {}

    def follow(self, reader: str, peers: Mapping[str, str]) -> None:
        """Poll exactly these nodes for a reader from now on; call it in one thread only.

        :param peers: addresses by name.
        """
        self._wanted[reader] = dict(peers)
        wanted = {peer for nodes in self._wanted.values() for peer in nodes.items()}
        # The threads of other nodes end. A node that is followed again has a new thread at once.
        self._pollers = {peer: thread for peer, thread in self._pollers.items() if peer in wanted}
        for peer in wanted - set(self._pollers):
            self._pollers[peer] = threading.Thread(target=self._poll, args=peer, daemon=True)
            self._pollers[peer].start()

    def _poll(self, name: str, address: str) -> None:
        while self._pollers.get((name, address)) is threading.current_thread():
            observation = fetch(name, address, self.port)
            at = time.monotonic()
            self._seen[name] = (at, replace(observation, at=at))
            if observation.heartbeat is not None:
                self._heard[name] = at
            time.sleep(EVERY_S)

    def names(self) -> list[str]:
        """Return the nodes that are polled."""
        return sorted(name for name, _address in self._pollers.copy())

    def age_s(self, name: str, now: float) -> float | None:
        """Return the age of the last valid heartbeat of a node; None before the first one."""
        return max(0.0, now - self._heard[name]) if name in self._heard else None

    def last(self, name: str, now: float) -> PeerObservation | None:
        """Return the last result of a node; None if it has not been asked yet."""
        return self.observations([name], now)[name] if name in self._seen else None

    def have_asked(self, names: Collection[str]) -> bool:
        """Return whether each of these nodes has been asked once."""
        return all(name in self._seen for name in names)

    def observations(self, names: Collection[str], now: float) -> dict[str, PeerObservation]:
        """Return the last result of each of these nodes."""
        found = {}
        for name in names:
            at, observation = self._seen.get(
                name, (now - 2 * OLDEST_S, PeerObservation("silent", detail="not asked yet"))
            )
            found[name] = observation if now - at <= OLDEST_S else PeerObservation("silent", detail="no answer in time")
        return found
