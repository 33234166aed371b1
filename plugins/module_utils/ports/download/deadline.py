# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bound the time of a call that may never return."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

_Result = TypeVar("_Result")


class _Call(Generic[_Result]):
    """A call in a thread of its own.

    :ivar is_late: whether nobody waits for the result any more.
    """

    def __init__(self, work: Callable[[], _Result], dispose: Callable[[_Result], Any]) -> None:
        self._work = work
        self._dispose = dispose
        self._lock = threading.Lock()
        self.is_late = False
        self.results: list[_Result] = []
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            result = self._work()
        except Exception as error:
            self.error = error
            return
        with self._lock:
            if not self.is_late:
                self.results.append(result)
                return
        self._dispose(result)

    def give_up(self) -> bool:
        """Return whether there is no result; a later one is disposed of."""
        with self._lock:
            self.is_late = not self.results and self.error is None
            return self.is_late


def call(seconds: float, work: Callable[[], _Result], dispose: Callable[[_Result], Any]) -> _Result:
    """Return the result of a call, or raise its error.

    The socket's timeout bounds the wait for each byte. A server that sends a header a byte at a time exceeds no such
    timeout.

    :param dispose: receives a result that comes too late.
    :raises TimeoutError: if the call takes longer.
    """
    pending = _Call(work, dispose)
    thread = threading.Thread(target=pending.run, daemon=True)
    thread.start()
    thread.join(seconds)
    if pending.give_up():
        raise TimeoutError(f"no result in {seconds:.0f} s")
    if pending.error is not None:
        raise pending.error
    return pending.results[0]
