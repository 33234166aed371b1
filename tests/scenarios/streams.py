# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Responses of an engine or the gateway: whole ones, and streams that are followed while they run."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.scenarios.tier_load import events


@dataclass(frozen=True)
class Answer:
    """The response of an engine or the gateway; status 0 is a connection that failed or ended."""

    status: int
    text: str
    is_whole: bool
    rc: int = 0

    def json(self) -> Any:
        return json.loads(self.text)


def answer(output: str, rc: int) -> Answer:
    """Read the output of curl: the body, then the status on a line of its own."""
    text, _newline, status = output.rpartition("\n")
    return Answer(int(status) if status.isdigit() else 0, text, rc == 0, rc)


class RunningStream:
    """A streamed response that a command prints."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._output: list[bytes] = []
        self._has_token, self._reader = threading.Event(), threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._output.append(line)
            if not self._has_token.is_set() and any(map(_is_token, events([line]))):
                self._has_token.set()

    def wait_for_token(self, seconds: float) -> None:
        """Wait for the first token."""
        while not self._has_token.wait(0.1):
            seconds -= 0.1
            assert self._reader.is_alive(), f"a stream without a token: {self.answer()}"
            assert seconds > 0, "no token of a stream within the time"

    def answer(self) -> Answer:
        """Wait for the end of the response, and return it."""
        self._reader.join()
        return answer(b"".join(self._output).decode(errors="replace"), self._process.wait())


def _is_token(data: str) -> bool:
    return data != "[DONE]" and any(choice["delta"].get("content") for choice in json.loads(data).get("choices") or ())


@contextmanager
def running_stream(argv: Sequence[str]) -> Iterator[RunningStream]:
    """Run a command that prints a stream, and end it with the block."""
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            yield RunningStream(process)
        finally:
            process.kill()
