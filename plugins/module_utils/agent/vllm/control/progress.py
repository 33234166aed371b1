# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Show a command's progress on standard error: one line that changes on a terminal, else a line for each change.

Standard output is left to the result, so that a script can read it.
"""

from __future__ import annotations

import shutil
import sys
import time

from ....core.vllm.model_report import ModelReport

#: Without a terminal, an unchanged state is repeated so often, in seconds.
REPEAT_S = 300.0
_SPINNER = "|/-\\"


class ProgressDisplay:
    """The progress of one launch."""

    def __init__(self) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._began = time.monotonic()
        self._said: tuple[object, ...] = ()
        self._said_at = 0.0
        self._count = 0
        self._is_open = False

    def note(self, text: str) -> None:
        """Write a line that stays."""
        self._clear()
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()

    def show(self, report: ModelReport) -> None:
        """Show the state."""
        if self._is_terminal:
            cause = (report.state, report.reason)
            if report.cure and cause != self._said:
                # The changing line is cut at the width of the terminal; a cure is not.
                self.note(report.sentence(time.time()))
                self._said = cause
            self._draw(report.sentence(time.time(), with_cure=False))
            return
        text = report.sentence(time.time())
        percent = None if report.percent is None else report.percent // 10
        key = (report.state, report.job_id, percent if report.state != "pending" else report.reason)
        if key != self._said or time.monotonic() - self._said_at >= REPEAT_S:
            self._said, self._said_at = key, time.monotonic()
            self.note(f"{time.strftime('%H:%M:%S')} {text}")

    def close(self) -> None:
        """Leave the terminal in order."""
        self._clear()

    def _draw(self, text: str) -> None:
        self._count += 1
        took = int(time.monotonic() - self._began)
        line = f"{_SPINNER[self._count % len(_SPINNER)]} {took // 60}:{took % 60:02d} {text}"
        width = shutil.get_terminal_size().columns - 1
        sys.stderr.write(f"\r\x1b[K{line[:width]}")
        sys.stderr.flush()
        self._is_open = True

    def _clear(self) -> None:
        if self._is_open:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._is_open = False
