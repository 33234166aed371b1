# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An instance of the gateway that fails at its start, and the connections that wait at the shared socket."""

from __future__ import annotations

import argparse
import importlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.herd.inference.plugins.module_utils.agent.gateway import app


class FailedError(Exception):
    """The instance cannot start."""


def fail(_name: str) -> None:
    raise FailedError


@pytest.fixture
def listening(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Return the shared socket, which the failing instance inherits."""
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(tmp_path / "socket"))
        made.listen(8)
        monkeypatch.setattr(app, "_inherited_sockets", lambda: [made.dup()])
        monkeypatch.setattr(importlib, "import_module", fail)
        yield made


def fail_to_start() -> None:
    with pytest.raises(FailedError):
        app.gateway_command(argparse.Namespace(config="", socket=""))


def connected(listening: socket.socket) -> socket.socket:
    made = socket.socket(socket.AF_UNIX)
    made.settimeout(5)
    made.connect(listening.getsockname())
    return made


def test_instance_that_fails_leaves_connections_to_one_that_serves(listening: socket.socket) -> None:
    def serve() -> None:
        time.sleep(0.3)
        with listening.accept()[0] as connection:
            connection.sendall(b"served")

    with connected(listening) as client:
        threading.Thread(target=serve, daemon=True).start()
        fail_to_start()
        assert client.recv(100) == b"served"


def test_instance_that_fails_alone_closes_connections_that_wait(
    listening: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "WAITING_S", 0.2)
    with connected(listening) as client:
        fail_to_start()
        assert client.recv(100) == b""
