# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors that an operator can fix.

An error names three things in one sentence: the expected value, the value that was found, and the next step. Where
there are no two values to compare, it names the problem and the next step. A module's C(run_module) turns it into
C(fail_json).
"""

from __future__ import annotations

from typing import TypeVar

_Error = TypeVar("_Error", bound="HerdError")
_SEE_SERVER = "see that the server is up and reachable from this host"


class HerdError(Exception):
    """An error that an operator can fix.

    :param expected: what the program needs, as a noun phrase ("a release of the catalogue").
    :param found: the value that it found instead.
    :param remedy: the next step, as an imperative sentence without a full stop.
    """

    def __init__(self, expected: str, found: str, remedy: str) -> None:
        self.expected = expected
        self.found = found
        self.remedy = remedy
        super().__init__(expected, found, remedy)

    @classmethod
    def plain(cls: type[_Error], problem: str, remedy: str) -> _Error:
        """Return an error without two values to compare: a sentence about the problem, and the next step."""
        return cls("", problem, remedy)

    def __str__(self) -> str:
        problem = f"expected {self.expected}, found {self.found}" if self.expected else self.found
        return f"{problem}: {self.remedy}."


class InvalidInputError(HerdError):
    """A value of the inventory or of a task's arguments is invalid."""


class NotFoundError(HerdError):
    """A required file, host, service or release does not exist."""


class OtherHostError(NotFoundError):
    """Another host has what was asked for. A command's exit status tells scripts so."""


class MismatchError(HerdError):
    """Two values that must be equal differ: a checksum, a size, a release or a protocol."""


class InsufficientError(HerdError):
    """A resource is too small for the request: a disk, memory or a limit."""


class RemoteFailureError(HerdError):
    """A server, a worker or a command failed, or did not answer."""


class AccessDeniedError(RemoteFailureError):
    """A server refuses access: a token is missing, or its account lacks a right."""


class TransientFailureError(RemoteFailureError):
    """A failure that may not occur again if the request is repeated.

    :ivar pause: seconds to wait, as requested by the server; None without a request.
    :ivar overloaded: whether the server reports that it is overloaded.
    """

    def __init__(
        self, expected: str, found: str, remedy: str, pause: float | None = None, overloaded: bool = False
    ) -> None:
        self.pause = pause
        self.overloaded = overloaded
        super().__init__(expected, found, remedy)

    @classmethod
    def of_content(
        cls, label: str, found: str, pause: float | None = None, overloaded: bool = False
    ) -> TransientFailureError:
        """Build the error of a server that did not send the content of an address."""
        return cls(f"the content of {label}", found, _SEE_SERVER, pause, overloaded)

    def after_retries(self, failures: int) -> RemoteFailureError:
        """Build the error of a caller that tries no more, after consecutive failures."""
        if self.pause is not None:
            return RemoteFailureError(
                self.expected,
                f"{self.found} and asks to come back in {self.pause:.0f} s",
                "run again then: it continues where it stopped; or name a mirror",
            )
        return RemoteFailureError(
            self.expected,
            f"{self.found}, {failures} times in a row",
            f"{_SEE_SERVER}, then run again: it continues where it stopped",
        )


def reason_of(error: Exception) -> str:
    """Return what an error says, or its name if it says nothing."""
    return str(error) or type(error).__name__
