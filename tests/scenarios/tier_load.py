# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Put load on a gateway and record the result of every request. Needs only Python on a host of the lab.

The arguments are a file whose appearance ends the load, and the number of clients for each address. Standard input has
JSON: the key, and for each address, such as C(10.0.0.5:8080), its questions with the engine's own responses. Each
request gets a line of JSON: its begin, its end and its result. C(whole) is a complete response with the engine's text.
C(told) is a beginning of that text, cut by an error event. C(refused) is an error response with a reason before the
first byte. Any other result describes a fault.
"""

from __future__ import annotations

import http.client
import json
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

# A request's time limit.
TIMEOUT_S = 60.0
# The load ends by itself after this time.
LONGEST_S = 600.0
# The shortest interval of a client's requests: four clients stay below the gateway's limit per key and minute.
EVERY_S = 2.5


def events(answer: Iterable[bytes]) -> Iterator[str]:
    """Yield the data of a stream's events."""
    for line in answer:
        text = line.decode("utf-8").strip()
        if text.startswith("data: "):
            yield text[6:]


def follow(answer: Iterable[bytes]) -> tuple[str, str]:
    """Return how a stream ended, and its text."""
    names: set[str] = set()
    last, was_told, text = "", False, ""
    for data in events(answer):
        last = data
        if data != "[DONE]":
            found = json.loads(data)
            was_told = was_told or "error" in found
            if "id" in found:
                names.add(found["id"])
            for choice in found.get("choices") or ():
                text += choice["delta"].get("content") or ""
    if len(names) > 1:
        return f"events of {len(names)} answers in one stream", text
    if was_told:
        return "told", text
    return ("whole" if last == "[DONE]" else f"a stream that ended after {last[:80]!r}"), text


def compared(what: str, text: str, expected: str) -> str:
    """Return how a stream ended; a text that differs from the engine's own answer is an error."""
    if what == "whole" and text != expected:
        return f"wrong bytes: {text!r} instead of {expected!r}"
    if what == "told" and not expected.startswith(text):
        return f"wrong bytes before a cut: {text!r} is no beginning of {expected!r}"
    return what


def ask(address: str, key: str, question: Mapping[str, Any], stream: bool) -> str:
    """Send one request, and return its result."""
    connection = http.client.HTTPConnection(address, timeout=TIMEOUT_S)
    try:
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        connection.request("POST", "/v1/chat/completions", json.dumps({**question["body"], "stream": stream}), headers)
        answer = connection.getresponse()
        if answer.status in (429, 503):
            error = json.loads(answer.read())["error"]
            is_honest = error["message"] and int(answer.headers["Retry-After"]) > 0
            return "refused" if is_honest else f"{answer.status} without a reason"
        if answer.status != 200:
            return f"{answer.status}: {answer.read()[:200]!r}"
        if stream:
            return compared(*follow(answer), question["text"])
        found = json.loads(answer.read())
        return compared("whole", found["choices"][0]["message"]["content"], question["text"])
    except (OSError, ValueError, KeyError, TypeError, http.client.HTTPException) as error:
        return f"{type(error).__name__}: {error}"
    finally:
        connection.close()


def main(stop: Path, clients: int, given: Mapping[str, Any]) -> None:
    """Run all clients until the stop file exists."""
    until, printing = time.monotonic() + LONGEST_S, threading.Lock()

    def client(number: int, address: str) -> None:
        turn, questions = number, given["questions"][address]
        while time.monotonic() < until and not stop.exists():
            began, turn = time.time(), turn + 1
            what = ask(address, given["key"], questions[turn // 2 % len(questions)], stream=turn % 2 == 0)
            with printing:
                print(json.dumps({"address": address, "began": began, "ended": time.time(), "what": what}), flush=True)
            time.sleep(max(0.0, EVERY_S - (time.time() - began)))

    threads = [
        threading.Thread(target=client, args=(number, address))
        for address in given["questions"]
        for number in range(clients)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), json.load(sys.stdin))
