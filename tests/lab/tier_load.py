# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Load on a gateway, and what became of every request. Runs on a host of a lab with nothing but Python.

Standard input has the key; the arguments are seconds, clients for each address, and addresses as C(10.0.0.5:8080). It
prints a JSON list: for each request when it began and ended, and what became of it. C(whole) came to its end, C(told)
was cut with an error that says so, C(refused) is an honest refusal before the first byte, and anything else is a fault
in words.
"""

from __future__ import annotations

import http.client
import json
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

# No request may hang for longer.
TIMEOUT_S = 90.0
TOKENS = 16


def events(answer: http.client.HTTPResponse) -> Iterator[str]:
    """The data of a stream's events."""
    for line in answer:
        text = line.decode("utf-8").strip()
        if text.startswith("data: "):
            yield text[6:]


def follow(answer: http.client.HTTPResponse) -> str:
    """What became of a stream."""
    names: set[str] = set()
    last, was_told = "", False
    for data in events(answer):
        last = data
        if data != "[DONE]":
            found = json.loads(data)
            was_told = was_told or "error" in found
            if "id" in found:
                names.add(found["id"])
    if len(names) > 1:
        return f"events of {len(names)} answers in one stream"
    if was_told:
        return "told"
    return "whole" if last == "[DONE]" else f"a stream that ended after {last[:80]!r}"


def ask(address: str, key: str, stream: bool) -> str:
    """One request."""
    body = {"model": "lab-llama", "max_tokens": TOKENS, "stream": stream}
    text = json.dumps({**body, "messages": [{"role": "user", "content": "Say hello."}]})
    connection = http.client.HTTPConnection(address, timeout=TIMEOUT_S)
    try:
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        connection.request("POST", "/v1/chat/completions", text, headers)
        answer = connection.getresponse()
        if answer.status in (429, 503):
            error = json.loads(answer.read())["error"]
            is_honest = error["message"] and int(answer.headers["Retry-After"]) > 0
            return "refused" if is_honest else f"{answer.status} without a reason"
        if answer.status != 200:
            return f"{answer.status}: {answer.read()[:200]!r}"
        if stream:
            return follow(answer)
        found = json.loads(answer.read())
        return "whole" if found["choices"][0]["message"] else "an answer without a message"
    except (OSError, ValueError, KeyError, TypeError, http.client.HTTPException) as error:
        return f"{type(error).__name__}: {error}"
    finally:
        connection.close()


def main(seconds: float, clients: int, addresses: list[str], key: str) -> list[dict[str, Any]]:
    """All clients, until the time is over."""
    until, found = time.monotonic() + seconds, []

    def client(number: int, address: str) -> None:
        turn = number
        while time.monotonic() < until:
            began, turn = time.time(), turn + 1
            what = ask(address, key, stream=turn % 2 == 0)
            found.append({"address": address, "began": began, "ended": time.time(), "what": what})
            time.sleep(0.5 if what == "refused" else 0.02)

    threads = [threading.Thread(target=client, args=(n, address)) for address in addresses for n in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


if __name__ == "__main__":
    print(json.dumps(main(float(sys.argv[1]), int(sys.argv[2]), sys.argv[3:], sys.stdin.readline().strip())))
