# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clients that ask one question after the other, until they are told to end; run on a host that is no node.

The API's host and the file with the key are the arguments. Each client reads the key anew before each request, so
that it may change. One client opens a new connection each time, one reads a stream, and one keeps its connection; where
the other side has closed that without a word, it asks again on a new one, as curl and browsers do. On standard output:
what became of every request.
"""

from __future__ import annotations

import http.client
import json
import select
import sys
import threading
import time
from pathlib import Path

HOST, KEY = sys.argv[1], Path(sys.argv[2])
END = Path(sys.argv[2] + ".end")
found = []


def ask(connection: http.client.HTTPConnection, tokens: int, stream: bool) -> str:
    """One request, whole; what is wrong with its answer."""
    body = {"model": "lab-llama", "max_tokens": tokens, "stream": stream, "ignore_eos": True}
    body["messages"] = [{"role": "user", "content": "Say hello."}]
    headers = {"Authorization": f"Bearer {KEY.read_text().strip()}", "Content-Type": "application/json"}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
    answer = connection.getresponse()
    text = answer.read()
    if answer.status != http.client.OK:
        return f"status {answer.status}"
    if stream:
        return "" if b"data: [DONE]" in text else "the stream was cut"
    return "" if json.loads(text)["usage"]["completion_tokens"] == tokens else "too few tokens"


def is_closed(connection: http.client.HTTPConnection) -> bool:
    """Whether the other side has closed a kept connection, as every library looks before it uses one again."""
    return connection.sock is None or bool(select.select([connection.sock], [], [], 0)[0])


def client(tokens: int, stream: bool, keep: bool) -> None:
    """Ask until the end."""
    connection = None
    while not END.exists():
        is_kept = keep and connection is not None and not is_closed(connection)
        began, error, again = time.time(), "", False
        try:
            connection = connection if is_kept else http.client.HTTPConnection(HOST, 8000, timeout=180)
            try:
                error = ask(connection, tokens, stream)
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                if not is_kept:
                    raise
                again = True
                connection = http.client.HTTPConnection(HOST, 8000, timeout=180)
                error = ask(connection, tokens, stream)
        except (OSError, http.client.HTTPException) as problem:
            error = f"{type(problem).__name__}: {problem}"
            connection = None
        found.append({"began": began, "seconds": time.time() - began, "error": error, "again": again})
        time.sleep(0.3 if keep else 0.05)


KINDS = ((4, False, False), (24, True, False), (4, False, True))
clients = [threading.Thread(target=client, args=kind) for kind in KINDS]
for one in clients:
    one.start()
for one in clients:
    one.join()
print(json.dumps(found))
