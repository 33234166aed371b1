# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The router's command line and presets, in the dialects of both releases."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.engine import arguments as engine_arguments
from ansible_collections.herd.inference.plugins.module_utils.core.engine import router_mode
from ansible_collections.herd.inference.plugins.module_utils.core.engine.flags.subject import EngineBuild
from ansible_collections.herd.inference.plugins.module_utils.core.errors import InvalidInputError
from tests.unit.core.engine.flags.flag_lines import NEW, OLD

ROOT = Path(__file__).parents[4]
line = router_mode.arguments("/etc/herd/router/presets.ini", 2, ("10.0.0.42", 8080), "/etc/herd/router/api-keys", 600)


def offer(name: str = "strand-14b", settings: dict[str, Any] | None = None, **facts: Any) -> router_mode.Offer:
    merged = engine_arguments.merged({"context": 8192, "slots": 2, "batch": 512, **(settings or {})})
    return router_mode.Offer(name, f"/scratch/ai/models/{name}.gguf", merged, **facts)


def test_router_arguments_contain_no_model_settings() -> None:
    assert line == [
        *("--models-preset", "/etc/herd/router/presets.ini", "--models-max", "2"),
        *("--host", "10.0.0.42", "--port", "8080", "--api-key-file", "/etc/herd/router/api-keys"),
        *("--timeout", "600"),
    ]


@pytest.mark.parametrize("models_max", [0, -1])
def test_unlimited_models_in_memory_are_rejected(models_max: int) -> None:
    with pytest.raises(InvalidInputError, match="no plan holds"):
        router_mode.arguments("p", models_max, ("a", 1), "k", 1)


def test_preset_of_newer_release() -> None:
    given = offer(
        aliases=("fast", "task:fix"), sleep_s=300, devices=("CUDA0",), settings={"load_mode": "lock", "threads": 8}
    )
    assert router_mode.presets([given], NEW).splitlines() == [
        "# Written by herd.inference. Changes made here are lost.",
        "[strand-14b]",
        "model = /scratch/ai/models/strand-14b.gguf",
        "alias = fast,task:fix",
        "device = CUDA0",
        "split-mode = layer",
        "n-gpu-layers = 999",
        "ctx-size = 16384",
        "parallel = 2",
        "threads = 8",
        "batch-size = 512",
        "ubatch-size = 512",
        "cache-type-k = f16",
        "cache-type-v = f16",
        "flash-attn = auto",
        "load-mode = mmap+mlock",
        "cache-ram = 0",
        "metrics = true",
        "fit = off",
        "log-verbosity = 4",
        "sleep-idle-seconds = 300",
        "stop-timeout = 10",
    ]


def test_preset_of_older_release() -> None:
    lines = router_mode.presets([offer(settings={"load_mode": "lock_read"})], OLD).splitlines()
    assert {"mlock = true", "no-mmap = true"} <= set(lines)
    assert not any(line.startswith(("load-mode", "log-verbosity", "version")) for line in lines)


def test_preset_has_shares_and_load_at_start() -> None:
    text = router_mode.presets([offer(devices=("CUDA0", "CUDA1"), split=(24, 25), at_start=True)], NEW)
    assert "device = CUDA0,CUDA1\ntensor-split = 24,25\n" in text
    assert "load-on-startup = true\n" in text


def test_extra_arguments_come_last() -> None:
    text = router_mode.presets([offer(settings={"extra_arguments": ["--no-warmup", "--temp", "0"]})], NEW)
    assert "no-warmup = true\ntemp = 0\nstop-timeout" in text


def test_companions_and_parts_are_not_offered() -> None:
    files = {
        "a.gguf", "b.gguf.part1of2", "c.gguf.tmp", "mmproj-a.gguf", "a-mmproj.gguf", "mtp-a.gguf", "notes.txt",
        ".a.gguf", ".old/a.gguf", "big/.b.gguf",
        "big/big-00002-of-00002.gguf", "big/big-00001-of-00002.gguf",
    }  # fmt: skip
    assert router_mode.models_among(files) == ["a.gguf", "big/big-00001-of-00002.gguf"]


@pytest.mark.parametrize(
    ("offers", "found"),
    [
        ([], "none"),
        ([offer("a"), offer("a")], "a twice"),
        ([offer("a"), offer("b", aliases=("a",))], "a for a and b"),
        ([offer("a", aliases=("x",)), offer("b", aliases=("x",))], "x for a and b"),
        ([offer("default")], "'default'"),
        ([offer("my model")], "'my model'"),
        ([offer("a]b")], "'a]b'"),
        ([offer("a:q8")], "'a:q8'"),
        ([offer("a", aliases=("b,c",))], "'b,c'"),
        ([offer("a", aliases=("c#",))], "'c#'"),
    ],
)
def test_invalid_or_repeated_ids_are_rejected(offers: list[router_mode.Offer], found: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        router_mode.presets(offers, NEW)
    assert caught.value.found == found


def test_derived_arguments_pass_guard() -> None:
    offers = [offer(aliases=("fast",), sleep_s=60, devices=("CUDA0",), at_start=True), offer("b")]
    engine = EngineBuild(NEW, True, ("70",))
    assert router_mode.findings(offers, line, engine, capabilities=("7.0",), given_environment={}) == []


def test_findings_name_model_of_preset() -> None:
    bad = offer("b", settings={"extra_arguments": ["--flash-atn", "on", "--timeout", "9", "--host", "::"]})
    found = router_mode.findings([offer("a"), bad], line, EngineBuild(NEW))
    assert {(finding.rule, finding.found) for finding in found} == {
        ("unknown-flag", "--flash-atn in the preset of b"),
        ("preset-overridden", "--timeout in the preset of b"),
        ("preset-reserved", "--host in the preset of b"),
    }


def test_older_release_needs_accepted_rule() -> None:
    found = router_mode.findings([replace(offer(), aliases=("x",))], line, EngineBuild(OLD))
    assert [(finding.rule, finding.severity) for finding in found] == [
        ("router-of-older-release", "error"),
        ("alias-of-older-release", "error"),
    ]
    accepted = router_mode.findings([offer()], line, EngineBuild(OLD), ["router-of-older-release"])
    assert [(finding.rule, finding.severity) for finding in accepted] == [("router-of-older-release", "warning")]


def test_environment_passes_keys_and_blocks_downloads() -> None:
    variables = router_mode.environment("/etc/herd/router/api-keys")
    assert variables["LLAMA_ARG_API_KEY_FILE"] == "/etc/herd/router/api-keys"
    assert variables["MODEL_ENDPOINT"] == "http://127.0.0.1:9/"
    assert "LLAMA_API_KEY" not in variables


ANSWER = json.loads((ROOT / "tests/fixtures/router/0c1e57098-models.json").read_text(encoding="utf-8"))


def test_states_of_router_are_read() -> None:
    """A sleeping model, a loaded one, and one whose file is cut short, as 0c1e57098 tells of them."""
    assert router_mode.states(ANSWER) == [
        router_mode.RouterModelState("a", ("first-model", "task:borrowing"), "sleeping", None),
        router_mode.RouterModelState("b", (), "loaded", None),
        router_mode.RouterModelState("broken", (), "unloaded", 1),
    ]
    assert [state.id for state in router_mode.states(ANSWER) if state.is_in_memory] == ["a", "b"]


@pytest.mark.parametrize(
    ("offered", "asked"),
    [(["a", "b", "broken"], "b"), (["a", "broken"], "a"), (["broken"], "broken"), (["broken", "new"], "new"), ([], "")],
)
def test_probe_prefers_model_in_memory(offered: list[str], asked: str) -> None:
    assert router_mode.model_to_probe(router_mode.states(ANSWER), offered) == asked
