# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compute the speed-up of speculation from the acceptance of its tokens and the times of both models."""

from __future__ import annotations

from collections.abc import Callable


def mean_length(acceptance: float, tokens: int) -> float:
    """Compute the mean tokens of a step: 1 + p + … + p^n.

    :param acceptance: probability that a token is accepted if those before it are.
    :param tokens: proposed tokens of a step.
    """
    return float(sum(acceptance**position for position in range(tokens + 1)))


def speedup(
    acceptance: float, tokens: int, draft_cost: float, verify_cost: Callable[[int], float] = lambda _batch: 1.0
) -> float:
    """Compute L / (c(n+1)/c(1) + n·d/c(1)); below 1, speculation costs time.

    :param draft_cost: time of a proposed token, as a part of the model's time for a token.
    :param verify_cost: time of the model for a batch of tokens, as a multiple of that for one. A GPU that waits for its
        memory takes 1 for small batches; llama-batched-bench measures it.
    """
    return mean_length(acceptance, tokens) / (verify_cost(tokens + 1) + tokens * draft_cost)


def mean_acceptance(accepted: int, proposals: int) -> float:
    """Compute the mean length of a step from the engine's counters of accepted tokens and of proposals."""
    return 1 + accepted / proposals if proposals else 1.0
