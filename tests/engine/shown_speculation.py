# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Show how the engine reacts to mistakes in speculative decoding.

Each function shows one rule of the flag guard. b7836 knows none of these flags, or has a draft without types.
"""

from __future__ import annotations

import re
from pathlib import Path

from tests.engine.flag_runs import Build, Run, get
from tests.engine.generated.attention import llama
from tests.engine.generated.model import Dense
from tests.engine.shown_rules import ONE, shows


def speculates(run: Run) -> bool:
    """Return whether every slot of a healthy head speculates."""
    assert run.healthy(), run.log
    return all(slot["speculative"] for slot in get(run.port, "/slots")[1])


def small(build: Build, name: str, vocabulary: int) -> Path:
    """Write a small draft with a vocabulary of this size."""
    return llama(name, Dense(2, 64, 4, 2, 16, 128, vocabulary)).write(build.place / f"{name}.gguf")


@shows("draft-without-type")
def draft_without_type(build: Build) -> None:
    words = [*ONE, "-md", str(build.model)]
    if build.is_new:
        assert not speculates(build.head(*words))
        assert build.guard(["--port", "1", *words]) == ["draft-without-type"]
        assert speculates(build.head(*words, "--spec-type", "draft-simple"))
    else:
        assert build.guard(["--port", "1", *words]) == []


@shows("type-without-draft")
def type_without_draft(build: Build) -> None:
    words = [*ONE, "--spec-type", "draft-simple"]
    if build.is_new:
        run = build.head(*words)
        assert not speculates(run)
        assert run.says("draft-simple requires a draft context")
    assert "type-without-draft" in build.guard(["--port", "1", *words])


@shows("draft-vocabulary-differs")
def vocabulary_differs(build: Build) -> None:
    words = [*ONE, "--spec-type", "draft-simple", "-md", str(small(build, "other", 31000))]
    if build.is_new:
        run = build.head(*words)
        assert not speculates(run)
        assert run.says("vocabs are not compatible")
    found = build.guard(["--port", "1", *words], vocabulary_difference="tokens")
    assert "draft-vocabulary-differs" in found


@shows("synthetic-acceptance")
def synthetic_acceptance(build: Build) -> None:
    words = [*ONE, "--spec-type", "draft-simple", "-md", str(build.model), "--spec-synth-len", "4"]
    if build.is_new:
        run = build.head(*words)
        assert speculates(run)
        assert build.head(*ONE, "--spec-synth-len", "2").ended() == 1
    assert "synthetic-acceptance" in build.guard(["--port", "1", *words])


@shows("next-tokens-missing")
def next_tokens_missing(build: Build) -> None:
    words = [*ONE, "--spec-type", "draft-mtp"]
    if build.is_new:
        run = build.head(*words)
        assert run.ended() == 1
        assert "model doesn't contain MTP layers" in run.log
    assert "next-tokens-missing" in build.guard(["--port", "1", *words], next_tokens=0)


@shows("draft-over-rpc")
def draft_over_rpc(build: Build) -> None:
    workers = ["--rpc", ",".join(build.workers(2)), "--device", "RPC0,RPC1", "--cache-ram", "0"]
    words = [*ONE, *workers, "--spec-type", "draft-simple", "-md", str(build.model)]
    if build.is_new:
        run = build.head(*words, "--log-verbosity", "4")
        assert speculates(run)
        # The model's context has a buffer on each worker, and the draft's on one at least.
        assert "devices=[default]" in run.log
        assert len(re.findall(r"RPC\d\[[^]]*\] compute buffer size", run.log)) > 2, run.log
        assert build.guard(["--port", "1", *words]) == ["draft-over-rpc"]
        assert build.guard(["--port", "1", *words, "--spec-draft-device", "none"]) == []


@shows("draft-cache-unquantised")
def draft_cache_unquantised(build: Build) -> None:
    quantised = ["--flash-attn", "on", "--cache-type-k", "q8_0", "--cache-type-v", "q8_0"]
    words = [*ONE, *quantised, "--spec-type", "draft-simple", "-md", str(build.model)]
    if build.is_new:
        run = build.head(*words, "--log-verbosity", "4")
        assert speculates(run)
        assert "K (q8_0)" in run.log and "K (f16)" in run.log
        assert build.guard(["--port", "1", *words]) == ["draft-cache-unquantised"]
