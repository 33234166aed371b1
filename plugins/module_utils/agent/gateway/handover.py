# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Serve requests in a child process that outlives a restart of the service until its last response has ended."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress


def sender(log_socket: socket.socket) -> Callable[[bytes], None]:
    """Return a function that sends to the socket from which the next gateway process reads log lines."""
    address = log_socket.getsockname()

    def send(data: bytes) -> None:
        # A message that is lost only leaves gaps in one log entry.
        with suppress(OSError):
            log_socket.sendto(data, address)

    return send


def run_child(serve: Callable[[int], None], sockets: Sequence[socket.socket]) -> int:
    """Serve in a child process, and wait for it. systemd stops only this process when it restarts the service.

    :param serve: runs in the child. It gets a descriptor that becomes readable when the parent has ended, however it
        did: from then on the next process serves, or soon will.
    :param sockets: closed in the parent.
    :returns: the exit status of the service.
    """
    lifeline, held = os.pipe()
    child = os.fork()
    if not child:
        os.close(held)
        serve(lifeline)
        return 0

    def stop(*_signal: object) -> None:
        # This closes our end of the pipe, as a kill would: that tells the child.
        os._exit(0)

    def kill(*_signal: object) -> None:
        # The child missed systemd's watchdog. It would never notice that we have ended.
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        os._exit(1)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    signal.signal(signal.SIGABRT, kill)
    os.close(lifeline)
    for each in sockets:
        each.close()
    _pid, status = os.waitpid(child, 0)
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 1
