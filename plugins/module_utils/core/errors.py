# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one family of errors of this collection.

Every message has the same three parts, so that an operator reads one sentence and acts: what was
expected, what was found, and what to do. Only a module's C(main) turns an error into C(fail_json).
"""

from __future__ import annotations


class HerdError(Exception):
    """Something an operator can mend.

    :param expected: what the program needed, as a noun phrase ("a release of the catalogue").
    :param found: what it met instead, with the value.
    :param remedy: the next step, as an imperative sentence without a full stop.
    """

    def __init__(self, expected: str, found: str, remedy: str) -> None:
        self.expected = expected
        self.found = found
        self.remedy = remedy
        super().__init__(expected, found, remedy)

    def __str__(self) -> str:
        return f"expected {self.expected}, found {self.found}: {self.remedy}."


class InvalidInputError(HerdError):
    """A value of the inventory or of a task's arguments cannot work."""


class NotFoundError(HerdError):
    """A file, host, service or release that must exist does not."""


class MismatchError(HerdError):
    """Two things that must be equal (a checksum, a size, a release, a protocol) differ."""


class InsufficientError(HerdError):
    """A resource (disk, memory, a limit) is too small for what was asked."""


class RemoteFailureError(HerdError):
    """A server, a worker or a command answered with a failure, or not at all."""


class TransientFailureError(RemoteFailureError):
    """A failure that may pass if the same is tried again.

    :ivar pause: seconds that the server asks to wait; None if it does not say.
    :ivar crowded: whether the server says that it has too much to do.
    """

    def __init__(
        self, expected: str, found: str, remedy: str, pause: float | None = None, crowded: bool = False
    ) -> None:
        self.pause = pause
        self.crowded = crowded
        super().__init__(expected, found, remedy)
