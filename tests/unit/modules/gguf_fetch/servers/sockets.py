# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers below HTTP: one that answers each connection as a test says, and a relay that spoils bytes."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

#: Answers one connection.
Serve = Callable[[socket.socket], None]


@contextmanager
def listening(serve: Serve) -> Iterator[int]:
    """Answer connections to a port of loopback, each in a thread of its own; yield the port."""
    over = threading.Event()

    def answer(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            connection.settimeout(60)
            serve(connection)

    def accept(listener: socket.socket) -> None:
        while not over.is_set():
            with contextlib.suppress(TimeoutError, socket.timeout):
                connection, _peer = listener.accept()
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)
        thread = threading.Thread(target=accept, args=(listener,), daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            over.set()
            thread.join()


def reset(connection: socket.socket) -> None:
    """Break a connection with a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def copy(source: socket.socket, sink: socket.socket, spoil: Callable[[bytes], bytes] = bytes) -> None:
    """Copy bytes until the source ends or the spoiled bytes are none."""
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            data = spoil(data)
            if not data:
                break
            sink.sendall(data)
    for end in (source, sink):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def relay(connection: socket.socket, port: int, spoil: Callable[[bytes], bytes] = bytes) -> None:
    """Connect a client with a server of loopback.

    :param spoil: changes the server's bytes.
    """
    with socket.create_connection(("127.0.0.1", port)) as server:
        thread = threading.Thread(target=copy, args=(connection, server), daemon=True)
        thread.start()
        copy(server, connection, spoil)
        thread.join()
