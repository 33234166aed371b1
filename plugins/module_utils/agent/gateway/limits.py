# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits of keys, of engines and of memory, as context managers.

Each gives back what it took when its block ends, however it ends.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from ...core.gateway.api_errors import ApiError
from ...core.gateway.fair_queue import FairQueue
from ...core.gateway.rate_limit import RateLimits, TokenBucket
from ...core.gateway.usage.budget import MonthBudget
from ...core.gateway.user_keys import UserKey
from ...core.timefmt import span

#: Keys beyond which idle ones are forgotten.
MOST_KEYS = 4096
#: Requests of one key that wait for others of it to end.
MOST_WAITING = 256
#: Bytes of the largest body that has a part of the memory budget to itself.
SMALL_BODY = 1 << 20


def _reset(seconds: float) -> str:
    """Write the time until a bucket is full, as OpenAI's API does: C(1s), C(250ms)."""
    return f"{seconds:.0f}s" if seconds >= 1 else f"{seconds * 1000:.0f}ms"


def _headers(kind: str, bucket: TokenBucket, now: float) -> dict[str, str]:
    return {
        f"x-ratelimit-limit-{kind}": f"{bucket.size:.0f}",
        f"x-ratelimit-remaining-{kind}": str(max(0, int(bucket.level(now)))),
        f"x-ratelimit-reset-{kind}": _reset(bucket.wait_for(bucket.size, now)),
    }


@dataclass
class _KeyUse:
    """What a key uses at present.

    :ivar month_tokens: returns the tokens that its ended requests have used in the month of a UNIX time.
    :ivar reserved: estimated tokens of its running requests.
    :ivar waiting: its requests that wait for one of these to end.
    """

    limits: RateLimits
    requests: TokenBucket | None
    tokens: TokenBucket | None
    month_tokens: Callable[[float], int]
    in_flight: int = 0
    reserved: float = 0.0
    waiting: deque[asyncio.Future[None]] = field(default_factory=deque)

    def month(self) -> MonthBudget | None:
        """Return the month's budget; None without one."""
        wall = time.time()
        used = self.month_tokens(wall) + int(self.reserved)
        return MonthBudget(self.limits.tokens_per_month, used, wall) if self.limits.tokens_per_month else None

    def leave(self) -> None:
        """End a running request, and let the next one run that waits."""
        self.in_flight -= 1
        while self.waiting and self.in_flight < self.limits.concurrency:
            turn = self.waiting.popleft()
            if not turn.done():
                self.in_flight += 1
                turn.set_result(None)

    def headers(self, now: float) -> dict[str, str]:
        found = _headers("requests", self.requests, now) if self.requests else {}
        month = self.month()
        if self.tokens:
            found |= _headers("tokens", self.tokens, now)
        if month:
            # Clients know one budget of tokens: that with fewer tokens left.
            if not self.tokens or month.remaining < self.tokens.level(now):
                found |= month.headers("tokens")
            found |= month.headers("tokens-month")
        most = self.limits.concurrency
        if most:
            found |= {
                "x-ratelimit-limit-concurrency": str(most),
                "x-ratelimit-remaining-concurrency": str(max(0, most - self.in_flight)),
            }
        return found

    def is_idle(self, now: float) -> bool:
        buckets = (bucket for bucket in (self.requests, self.tokens) if bucket)
        return not self.in_flight and all(bucket.is_full(now) for bucket in buckets)


def _details(limit: str, allowed: float, remaining: float, seconds: int) -> dict[str, Any]:
    """Return what is left of a limit, for the body of an error."""
    return {"herd": {"limit": limit, "allowed": allowed, "remaining": max(0, int(remaining)), "resets_s": seconds}}


def _key_use(limits: RateLimits, month_tokens: Callable[[float], int]) -> _KeyUse:
    requests = tokens = None
    if limits.requests_per_minute > 0:
        requests = TokenBucket(limits.requests_per_minute, max(1, limits.burst))
    if limits.tokens_per_minute > 0:
        tokens = TokenBucket(limits.tokens_per_minute, limits.tokens_per_minute)
    return _KeyUse(limits, requests, tokens, month_tokens)


@dataclass
class Admission:
    """A request that its key's limits admit."""

    _use: _KeyUse
    _charged: float = 0.0
    _reserved: float = 0.0

    def charge_tokens(self, estimate: int) -> None:
        """Charge the estimated tokens of a request.

        :raises ApiError: if the key's bucket or its month's budget does not hold them.
        """
        month = self._use.month()
        if month:
            month.check(estimate)
        self._charge_minute(estimate)
        if month:
            self._reserved = estimate
            self._use.reserved += estimate

    def _charge_minute(self, estimate: int) -> None:
        bucket, now = self._use.tokens, time.monotonic()
        if bucket is None:
            return
        wait = bucket.wait_for(estimate, now)
        if wait > 0:
            seconds = int(wait) + 1
            message = (
                f"Too many tokens for this key (limit {self._use.limits.tokens_per_minute:g} per minute)."
                f" Try again in {span(seconds)}."
            )
            more = _details("tokens_per_minute", self._use.limits.tokens_per_minute, bucket.level(now), seconds)
            raise ApiError(429, message, "rate_limit_exceeded", more=more, retry_after=seconds)
        self._charged = min(estimate, bucket.size)
        bucket.charge(self._charged, now)

    def settle_tokens(self, used: int) -> None:
        """Replace the estimate by the tokens that were used. The month counts these when the request has ended."""
        self.release()
        if self._use.tokens:
            self._use.tokens.charge(used - self._charged, time.monotonic())
            self._charged = used

    def release(self) -> None:
        """Give the month's reserved tokens back."""
        self._use.reserved -= self._reserved
        self._reserved = 0.0

    def headers(self) -> dict[str, str]:
        """Return the C(x-ratelimit-) headers of a response."""
        return self._use.headers(time.monotonic())


class KeyLimiter:
    """The limits of all keys.

    :param month_tokens: returns the tokens that a key has used in the month of a UNIX time.
    """

    def __init__(self, month_tokens: Callable[[str, float], int] = lambda _key, _wall: 0) -> None:
        self._month_tokens = month_tokens
        self._uses: dict[str, _KeyUse] = {}

    def _use_of(self, key: UserKey, limits: RateLimits) -> _KeyUse:
        found = self._uses.get(key.id)
        if found is None or found.limits != limits:
            if len(self._uses) >= MOST_KEYS:
                now = time.monotonic()
                self._uses = {name: use for name, use in self._uses.items() if not use.is_idle(now)}
            found = self._uses[key.id] = _key_use(limits, lambda wall: self._month_tokens(key.id, wall))
        return found

    @asynccontextmanager
    async def admit(self, key: UserKey, limits: RateLimits) -> AsyncIterator[Admission]:
        """Admit a request, and count it as in flight while the block runs.

        With a C(queue_timeout), a request waits while as many of its key run as may, in the order of their arrival.

        :raises ApiError: if a limit of its key is reached.
        """
        use, now = self._use_of(key, limits), time.monotonic()
        if use.requests and (wait := use.requests.wait_for(1, now)) > 0:
            seconds = int(wait) + 1
            message = (
                f"Too many requests for this key (limit {limits.requests_per_minute:g} per minute)."
                f" Try again in {span(seconds)}."
            )
            more = _details("requests_per_minute", limits.requests_per_minute, 0, seconds)
            raise ApiError(429, message, "rate_limit_exceeded", use.headers(now), more=more, retry_after=seconds)
        must_wait = bool(limits.concurrency) and use.in_flight >= limits.concurrency
        if must_wait and (not limits.queue_timeout or len(use.waiting) >= MOST_WAITING):
            raise _too_many_concurrent(use)
        if use.requests:
            use.requests.charge(1, now)
        if must_wait:
            await _wait(use)
        else:
            use.in_flight += 1
        admission = Admission(use)
        try:
            yield admission
        finally:
            admission.release()
            use.leave()


def _too_many_concurrent(use: _KeyUse, waited: str = "") -> ApiError:
    most = use.limits.concurrency
    message = f"Too many concurrent requests for this key (limit {most}{waited})."
    more = _details("concurrency", most, most - use.in_flight, 1)
    headers = use.headers(time.monotonic())
    return ApiError(429, message, "concurrency_exceeded", headers, more=more, retry_after=1)


async def _wait(use: _KeyUse) -> None:
    """Wait until a request of the key has ended, and count this one as in flight.

    :raises ApiError: if none ends in time.
    """
    turn = asyncio.get_running_loop().create_future()
    use.waiting.append(turn)
    try:
        async with asyncio.timeout(use.limits.queue_timeout):
            await turn
    except BaseException as error:
        with suppress(ValueError):
            use.waiting.remove(turn)
        if turn.done() and not turn.cancelled():
            # Its turn came in the same moment.
            use.leave()
        if isinstance(error, TimeoutError):
            raise _too_many_concurrent(use, f"; none ended within {span(use.limits.queue_timeout)}") from error
        raise


class MemoryBudget:
    """The memory of all request bodies, from their first byte to their last.

    One key has at most half of it, and an eighth is left for small bodies.

    :ivar held: bytes that are held at present.
    """

    def __init__(self, most: int, retry_after: int) -> None:
        self._most, self._retry_after = most, retry_after
        self.held = 0
        self._held_by: Counter[str] = Counter()

    @contextmanager
    def reservation(self, key: str) -> Iterator[MemoryReservation]:
        """Return an empty reservation for a key, which is released when the block ends."""
        found = MemoryReservation(self, key)
        try:
            yield found
        finally:
            found.resize(0)

    def take(self, key: str, more: int, is_small: bool) -> None:
        """Take bytes from the budget; a negative number is given back.

        :raises ApiError: if it does not have them.
        """
        most = self._most if is_small else self._most - self._most // 8
        if more > 0 and (self.held + more > most or self._held_by[key] + more > self._most // 2):
            message = "The gateway holds too many large requests at present. Try again soon."
            raise ApiError(503, message, "gateway_busy", retry_after=self._retry_after)
        self.held += more
        self._held_by[key] += more
        if not self._held_by[key]:
            del self._held_by[key]


class MemoryReservation:
    """The part of the budget that one request holds."""

    def __init__(self, budget: MemoryBudget, key: str) -> None:
        self._budget, self._key = budget, key
        self.size = 0

    def resize(self, size: int) -> None:
        """Change its size.

        :raises ApiError: if the budget does not have the bytes.
        """
        self._budget.take(self._key, size - self.size, size <= SMALL_BODY)
        self.size = size


@dataclass
class _Waiting:
    """A request that waits for its turn.

    :ivar slots: slots that it takes then.
    """

    slots: int
    turn: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


@dataclass
class _EngineSlots:
    """The slots of one engine, and the requests that wait for one.

    :ivar free: free slots; negative while a request with several completions takes more than were free.
    """

    free: int
    total: int
    waiting: FairQueue[_Waiting] = field(default_factory=FairQueue)


class EngineLeftError(Exception):
    """The engine takes no more requests. The waiting request has not been sent."""


class EngineQueue:
    """Give each engine as many requests as it has slots. The others wait in one queue for each key."""

    def __init__(self, timeout: float, retry_after: int) -> None:
        self._timeout, self._retry_after = timeout, retry_after
        self._engines: dict[tuple[str, str], _EngineSlots] = {}

    @asynccontextmanager
    async def slot(
        self, engine: tuple[str, str], slots: int, key: str, cost: int, completions: int = 1
    ) -> AsyncIterator[None]:
        """Wait for a slot, and hold it while the block runs.

        A request with several completions starts with one slot, and takes as many as the engine has for them. So it
        neither starves nor keeps slots free while it waits.

        :param engine: its endpoint, and the model if the engine is a router, which has slots for each model.
        :param slots: slots of the engine; 0 if it has no limit.
        :param cost: estimated tokens of the request.
        :raises ApiError: if no slot becomes free in time.
        :raises EngineLeftError: if the engine takes no more requests meanwhile.
        """
        if not slots:
            yield
            return
        found = self._engines.setdefault(engine, _EngineSlots(slots, slots))
        found.free, found.total = found.free + slots - found.total, slots
        request = _Waiting(min(completions, slots))
        await self._enter(found, key, cost, request)
        try:
            yield
        finally:
            found.free += request.slots
            self._wake(found)
            if found.free == found.total and not found.waiting:
                self._engines.pop(engine, None)

    async def _enter(self, engine: _EngineSlots, key: str, cost: int, request: _Waiting) -> None:
        engine.waiting.push(key, cost, request)
        self._wake(engine)
        turn = request.turn
        try:
            async with asyncio.timeout(self._timeout):
                await turn
        except BaseException as error:
            engine.waiting.remove(key, request)
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                # The slot came in the same moment.
                engine.free += request.slots
            self._wake(engine)
            if isinstance(error, TimeoutError):
                message = f"All slots of the engine were busy for {span(self._timeout)}. Try again soon."
                raise ApiError(503, message, "engine_busy", retry_after=self._retry_after) from error
            raise

    def leave_all_but(self, endpoints: Collection[str]) -> None:
        """End the waiting for all engines but these."""
        for (endpoint, _model), engine in self._engines.items():
            while engine.waiting and endpoint not in endpoints:
                turn = engine.waiting.pop().turn
                if not turn.done():
                    turn.set_exception(EngineLeftError())

    @staticmethod
    def _wake(engine: _EngineSlots) -> None:
        while engine.free > 0 and engine.waiting:
            request = engine.waiting.pop()
            if not request.turn.done():
                engine.free -= request.slots
                request.turn.set_result(None)
