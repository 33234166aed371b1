# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Speculation of 0c1e57098 on the loopback interface: memory as planned, slots, counters and answers."""

from __future__ import annotations

import json
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.engine import api_answers, api_readiness
from ansible_collections.herd.inference.plugins.module_utils.core.engine.speculation import (
    settings as speculation_settings,
)
from ansible_collections.herd.inference.plugins.module_utils.core.engine.speculation import speedup
from ansible_collections.herd.inference.plugins.module_utils.core.models.metadata import metadata_of
from ansible_collections.herd.inference.plugins.module_utils.core.placement import speculation
from tests.engine.flag_runs import NEW, Build, Run, get
from tests.engine.generated import planning
from tests.engine.generated.attention import glm4_moe, llama
from tests.engine.generated.model import Q8_0, Dense, Model, header_of
from tests.engine.measure import Case, Device, measure

TARGET = llama("small4", Dense(4, 512, 8, 4, 64, 1536))
DRAFT = llama("d2", Dense(2, 256, 8, 4, 32, 768))
BLOCK = glm4_moe("glm4moe", Dense(8, 512, 8, 2, 64, 1536, kinds=Q8_0), 16)
#: Logarithms of probabilities that are nearer than this are a tie.
TIE = 0.01
TOKENS = 48


@pytest.fixture
def new(build: Build) -> Build:
    if not build.is_new:
        pytest.skip("b7836 has no types of speculation")
    return build


def planned(model: Model, case: Case, given: dict[str, Any]) -> list[Device]:
    """Plan the devices of a case with speculation."""
    checked = speculation_settings.checked(given)
    plain = planning.planner(metadata_of(header_of(model)), case)
    drafted = metadata_of(header_of(DRAFT)) if given.get("file") else None
    cache = replace(plain.request.cache, drafted=speculation_settings.most_tokens(checked))
    request = replace(plain.request, cache=cache, speculation=speculation.of_settings(checked, drafted))
    planner = type(plain)(plain.metadata, request, plain.group, plain.rules)
    return [
        Device(device.weights, device.cache, device.state, device.compute + device.further)
        for device in planner.place_by(case.split)
    ]


@pytest.mark.parametrize(
    ("model", "given"),
    [
        (TARGET, {"types": ["draft-simple"], "device": "none"}),
        (TARGET, {"types": ["draft-simple"], "device": "RPC0"}),
        (TARGET, {"types": ["draft-simple"], "device": "RPC1", "cache_type_k": "q8_0", "cache_type_v": "q8_0"}),
        (TARGET, {"types": ["ngram-simple"]}),
        (TARGET, {"types": ["ngram-mod"]}),
        (BLOCK, {"types": ["draft-mtp"]}),
    ],
    ids=["none", "RPC0", "RPC1-q8_0", "ngram-simple", "ngram-mod", "draft-mtp"],
)
def test_workers_allocate_what_is_planned(new: Build, tmp_path: Path, model: Model, given: dict[str, Any]) -> None:
    given = dict(given)
    if "draft-simple" in given["types"]:
        given["file"] = str(DRAFT.write(tmp_path / "d2.gguf"))
    words = speculation_settings.arguments(
        speculation_settings.checked(given), new.engine.accepted, given.get("device", "none")
    )
    case = Case(model.name, NEW, 2048, more=tuple(words))
    found = measure(case, model.write(tmp_path / "model.gguf"), new.binaries)
    expected = planned(model, case, given)
    for got, plan in zip(found.devices, expected, strict=True):
        # A draft's buffers are part of each purpose, and of the plan's last number.
        total = got.weights + got.cache + got.recurrent + got.compute
        assert total == plan.weights + plan.cache + plan.recurrent + plan.compute


def started(build: Build, *words: str) -> Run:
    workers = ["--rpc", ",".join(build.workers(2)), "--device", "RPC0,RPC1", "--tensor-split", "1,1"]
    common = ["--ctx-size", "1024", "--parallel", "1", "--fit", "off", "--cache-ram", "0", "--metrics"]
    run = build.head(*common, *workers, *words)
    assert run.healthy(60), run.log
    return run


def answer(run: Run) -> list[dict[str, Any]]:
    """Return the tokens of a greedy answer, each with the logarithms of the two likeliest."""
    body = {"prompt": "one two three one two three", "n_predict": TOKENS, "temperature": 0, "n_probs": 2}
    status, found = get(run.port, "/completion", body, limit=120)
    assert status == 200
    listed: list[dict[str, Any]] = found["completion_probabilities"]
    return listed


def counters(run: Run) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{run.port}/metrics", timeout=20) as found:
        return api_answers.counters(found.read().decode())


def first_difference(plain: list[dict[str, Any]], other: list[dict[str, Any]]) -> int | None:
    pairs = enumerate(zip(plain, other, strict=True))
    return next((number for number, (one, two) in pairs if one["id"] != two["id"]), None)


def test_head_speculates_and_answers_the_same(new: Build) -> None:
    plain = started(new)
    expected = answer(plain)
    assert counters(plain)["spec_decode_num_draft_tokens_total"] == 0
    listed = api_answers.slots(get(plain.port, "/slots")[1])
    assert listed is not None
    assert api_answers.slot_counts(listed).speculative is False
    new.stop(plain)
    # The model as its own draft: every token is accepted, unless two are as likely.
    words = ("--spec-type", "draft-simple", "--spec-draft-model", str(new.model), "--spec-draft-device", "none")
    run = started(new, *words)
    found = answer(run)
    listed = api_answers.slots(get(run.port, "/slots")[1])
    assert listed is not None
    api_readiness.check_speculation(True, api_answers.slot_counts(listed).speculative)
    told = counters(run)
    accepted, proposals = told["spec_decode_num_accepted_tokens_total"], told["spec_decode_num_drafts_total"]
    assert 0 < accepted <= told["spec_decode_num_draft_tokens_total"]
    assert 1.5 < speedup.mean_acceptance(int(accepted), int(proposals)) <= 4
    at = first_difference(expected, found)
    if at is not None:
        # A batch rounds differently, so likeliest tokens may change places where they are as likely.
        first, second = expected[at]["top_logprobs"]
        assert first["logprob"] - second["logprob"] < TIE, json.dumps(expected[at])


@pytest.mark.parametrize("kind", ["ngram-simple", "ngram-mod", "ngram-cache"])
def test_ngrams_answer_the_same(new: Build, kind: str) -> None:
    plain = started(new)
    expected = answer(plain)
    new.stop(plain)
    short = ("--spec-ngram-mod-n-match", "4", "--spec-ngram-mod-n-min", "2", "--spec-ngram-mod-n-max", "8")
    run = started(new, "--spec-type", kind, *(short if kind == "ngram-mod" else ()))
    found = answer(run)
    assert all(slot["speculative"] for slot in get(run.port, "/slots")[1])
    at = first_difference(expected, found)
    if at is not None:
        first, second = expected[at]["top_logprobs"]
        assert first["logprob"] - second["logprob"] < TIE, json.dumps(expected[at])
