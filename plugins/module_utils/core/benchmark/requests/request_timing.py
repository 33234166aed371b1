# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Derive the figures of one request from the times at which its events arrived.

The definitions are those of llama-benchy and guidellm; C(definitions.py) names each one's counterpart there.
Tokens come from the engine's own count (C(usage)), never from the number of events: one event may hold several tokens,
or a part of one.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RequestTiming:
    """Times and counts of one streamed request. Times are seconds of one monotonic clock.

    :ivar start: the request was about to be sent.
    :ivar first_response: the first event arrived, whatever it held; None if none did.
    :ivar first_token: the first event with generated text arrived: an answer, a reasoning or a tool call.
    :ivar first_content: the first event with text of the answer itself arrived.
    :ivar last_token: the last event with generated text arrived.
    :ivar end: the response ended.
    :ivar prompt_tokens: tokens of the prompt, with those that the engine had in its cache.
    :ivar cached_tokens: tokens of the prompt that the engine did not compute.
    :ivar output_tokens: generated tokens, visible or not.
    :ivar error: why the request failed; empty for a request that succeeded.
    """

    start: float
    end: float
    first_response: float | None = None
    first_token: float | None = None
    first_content: float | None = None
    last_token: float | None = None
    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    error: str = ""

    @property
    def succeeded(self) -> bool:
        return not self.error

    def _since_start(self, moment: float | None) -> float | None:
        return None if moment is None else (moment - self.start) * 1000

    @property
    def ttfr_ms(self) -> float | None:
        """Time to first response, in milliseconds."""
        return self._since_start(self.first_response)

    @property
    def ttft_ms(self) -> float | None:
        """Time to first token, in milliseconds. A token of reasoning counts."""
        return self._since_start(self.first_token)

    @property
    def ttfot_ms(self) -> float | None:
        """Time to the first token of the answer itself, in milliseconds: what a reader waits for."""
        return self._since_start(self.first_content)

    @property
    def request_latency_ms(self) -> float:
        """Time from the request to the end of its response, in milliseconds."""
        return (self.end - self.start) * 1000

    @property
    def itl_ms(self) -> float | None:
        """Mean time between two generated tokens, in milliseconds, without the wait for the first."""
        if self.first_token is None or self.last_token is None or self.output_tokens < 2:
            return None
        return (self.last_token - self.first_token) * 1000 / (self.output_tokens - 1)

    @property
    def tpot_ms(self) -> float | None:
        """Mean time for each generated token, in milliseconds, with the wait for the first."""
        if self.last_token is None or not self.output_tokens:
            return None
        return (self.last_token - self.start) * 1000 / self.output_tokens

    @property
    def output_tokens_per_second(self) -> float | None:
        """Rate of generation after the first token, in tokens per second."""
        gap = self.itl_ms
        return 1000 / gap if gap else None

    def prompt_tokens_per_second(self, latency_ms: float) -> float | None:
        """Rate at which the engine computed the prompt, in tokens per second.

        :param latency_ms: what a request takes that has no prompt to compute: the network, the queue and one token.
            It is subtracted from the time to the first response.
        """
        computed = self.prompt_tokens - self.cached_tokens
        waited = self.ttfr_ms
        if waited is None or waited <= latency_ms or computed <= 0:
            return None
        return computed * 1000 / (waited - latency_ms)
