# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Service notifications to systemd (sd_notify(3)): readiness and the watchdog's sign of life."""

from __future__ import annotations

import os
import socket
from contextlib import suppress


def notify(state: str, is_repeated: bool = True) -> None:
    """Send a state such as C(READY=1) to systemd, if systemd started this process and listens.

    :param is_repeated: whether the caller sends it again; such a message is dropped while systemd is busy.
    """
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        # Also without a free file descriptor the process goes on.
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.setblocking(not is_repeated)
            channel.connect("\0" + address[1:] if address.startswith("@") else address)
            channel.sendall(state.encode())
