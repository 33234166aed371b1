# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The threads that poll other nodes' heartbeats, with a double of the request."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from ansible_collections.herd.inference.plugins.module_utils.agent.supervisor import heartbeat_client
from ansible_collections.herd.inference.plugins.module_utils.core.supervision.observations import PeerObservation

ONE, TWO = {"one": "10.0.0.1"}, {"two": "10.0.0.2"}


class Network:
    """Records which threads ask which node."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []

    def fetch(self, name: str, _address: str, _port: int) -> PeerObservation:
        self.asked.append((name, threading.get_ident()))
        return PeerObservation("silent", detail="timed out")

    def pollers(self) -> dict[str, int]:
        """Wait until each thread has asked several times, and count the threads that ask for each node from now on."""
        time.sleep(0.1)
        del self.asked[:]
        deadline = time.monotonic() + 30
        while len(self.asked) < 12 and time.monotonic() < deadline:
            time.sleep(0.01)
        found = set(self.asked)
        return {name: sum(1 for other, _thread in found if other == name) for name, _thread in found}


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    found = Network()
    monkeypatch.setattr(heartbeat_client, "fetch", found.fetch)
    monkeypatch.setattr(heartbeat_client, "EVERY_S", 0.02)
    return found


@pytest.fixture
def followers() -> Iterator[heartbeat_client.Followers]:
    found = heartbeat_client.Followers(50055)
    yield found
    for reader in ("head", "tiers"):
        found.follow(reader, {})


def test_node_that_two_readers_follow_is_polled_once(network: Network, followers: heartbeat_client.Followers) -> None:
    followers.follow("head", ONE)
    followers.follow("tiers", {**ONE, **TWO})
    assert network.pollers() == {"one": 1, "two": 1}
    # The other reader still needs it.
    followers.follow("head", {})
    assert network.pollers() == {"one": 1, "two": 1}
    followers.follow("tiers", TWO)
    assert network.pollers() == {"two": 1}


def test_node_that_is_followed_again_has_one_thread(network: Network, followers: heartbeat_client.Followers) -> None:
    """A head that restarts names no workers for a moment, which is shorter than a poller's pause."""
    for _restart in range(5):
        followers.follow("head", ONE)
        followers.follow("head", {})
    followers.follow("head", ONE)
    assert network.pollers() == {"one": 1}


def test_nodes_of_a_reader_have_been_asked(network: Network, followers: heartbeat_client.Followers) -> None:
    followers.follow("head", ONE)
    deadline = time.monotonic() + 30
    while not followers.have_asked(ONE) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert followers.have_asked(ONE)
    assert not followers.have_asked(TWO)
