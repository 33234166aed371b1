# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Take over bytes of requests that are under way, once no bytes are left to request.

A long request is split, so that all connections end together. A request that is much slower than others of its address
loses all bytes that it has not received.
"""

from __future__ import annotations

from collections.abc import Sequence

from .retry import Pace
from .transfer_state import PartRequest


def take_over(candidates: Sequence[PartRequest], pace: Pace, now: float) -> PartRequest | None:
    """Make a request for bytes of one of these requests, which then ends before them; None if it is not worth it."""
    late = [request for request in candidates if _is_late(request, pace, now)]
    if late:
        request = max(late, key=lambda request: request.delay(now))
        # The bytes that are being written stay with the slow request, so that no byte is written twice.
        return _split(request, request.position + request.pending, request.takeovers + 1)
    long = [request for request in candidates if request.left >= 4 * pace.smallest]
    if not long:
        return None
    request = max(long, key=lambda request: request.left)
    return _split(request, request.position + request.left // 2, request.takeovers)


def _is_late(request: PartRequest, pace: Pace, now: float) -> bool:
    """Return whether a request delays the end of the transfer."""
    # Each further takeover of the same bytes waits twice as long, so that a slow server is not asked all the time.
    patience = pace.lag * 2**request.takeovers
    return now - request.began >= patience and request.delay(now) > patience and request.left > request.pending


def _split(request: PartRequest, at: int, takeovers: int) -> PartRequest:
    """Move the bytes from this position on to a new request."""
    other = PartRequest(request.part, request.address, at, request.end, True, takeovers)
    request.end = at
    return other
