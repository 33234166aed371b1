# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Both tiers behind the gateway, with requests from a host outside the cluster."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.scenarios.slurm import GATEWAY, TESTER, TIERS, Slurm, until


def test_both_tiers_serve_through_the_gateway_at_the_same_time(serving: Slurm) -> None:
    for tier in TIERS:
        serving.wait_ready(tier)
        until(f"the gateway to know of {tier}", lambda at=tier: serving.chat_at(at, tokens=1).status == 200, 30)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(serving.chat_at, [*TIERS, *TIERS]))
    assert [answer.status for answer in answers] == [200] * 4
    assert all(answer.json()["usage"]["completion_tokens"] == 4 for answer in answers)


@pytest.mark.parametrize("tier", TIERS)
def test_stream_is_complete(serving: Slurm, tier: str) -> None:
    answer = serving.chat_at(tier, tokens=8, stream=True)
    assert answer.status == 200
    assert answer.text.rstrip().endswith("data: [DONE]")


@pytest.mark.parametrize("tier", TIERS)
def test_gateway_rejects_the_engines_key(serving: Slurm, tier: str) -> None:
    assert serving.chat_at(tier, key="").status == 401
    # The engines' key is not a user key.
    assert serving.chat_at(tier, key=serving.key()).status == 401


def test_models_of_both_tiers_are_listed_together(serving: Slurm) -> None:
    answer = serving.ask(f"{GATEWAY['fast']}/v1/models", TESTER, host="mirror")
    assert answer.status == 200
    assert "lab-llama" in {model["id"] for model in answer.json()["data"]}
