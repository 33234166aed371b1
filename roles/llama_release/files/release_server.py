# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Gives one release to the nodes of the herd, for as long as an installation takes.

Only tarballs of one folder are served, nothing is listed, nothing is written. What a node receives it
verifies against a checksum that came to it over ssh, so this server need not be trusted.
"""

from __future__ import annotations

import argparse
import functools
import http.server
import os
import re
import socket
import sys
import threading
from pathlib import Path

TARBALL = re.compile(r"/([A-Za-z0-9][A-Za-z0-9._-]*\.tar\.gz)")


class Handler(http.server.SimpleHTTPRequestHandler):
    """GET and HEAD of tarballs."""

    def translate_path(self, path: str) -> str:
        """The file behind a path; a name that cannot exist for everything else."""
        found = TARBALL.fullmatch(path)
        return str(Path(self.directory) / (found.group(1) if found else "nothing-of-the-kind"))

    def list_directory(self, path: str | os.PathLike[str]) -> None:
        """Folders are nobody's business."""
        self.send_error(404, f"not served: {path}")


def ready() -> None:
    """Tell systemd that connections are accepted."""
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.connect("\0" + address[1:] if address.startswith("@") else address)
            channel.sendall(b"READY=1")


def main() -> int:
    """Serve until systemd ends it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", required=True, help="IPv4 address to listen on")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--folder", required=True, help="where the tarballs are")
    parser.add_argument("--seconds", type=int, required=True, help="end by then, whatever became of the playbook")
    arguments = parser.parse_args()

    handler = functools.partial(Handler, directory=arguments.folder)
    with http.server.ThreadingHTTPServer((arguments.address, arguments.port), handler) as server:
        # Its own end, since systemd would take a limit of its own for a failure.
        end = threading.Timer(arguments.seconds, server.shutdown)
        end.daemon = True
        end.start()
        ready()
        server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
