"""Which tier and model a type of task goes to."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.errors import InvalidInputError
from ansible_collections.herd.inference.plugins.module_utils.core.gateway import task_routing

MODELS: dict[str, dict[str, Any]] = {
    "or1-q4": {"name": "OR1-Behemoth", "file": "OR1-Behemoth.Q4_K_M.gguf"},
    "strand": {"name": "Strand-Rust-Coder-14B", "file": "strand-rust-coder-14b-q8_0.gguf"},
    "deepseek": {"name": "DeepSeek-V3", "file": "DeepSeek-V3-Q4_K_M-00001-of-00009.gguf"},
}
FAST = {"name": "fast", "kind": "router", "models": ["strand"]}
REASONING = {"name": "reasoning", "kind": "distributed", "models": ["or1-q4"]}
TIERS = [FAST, REASONING]
TASKS: dict[str, Any] = {
    "default": {"models": ["or1-q4"], "reason": "knows most"},
    "types": {
        "fix": {"models": ["strand"], "reason": "compiles most often"},
        "analyze": {"models": ["or1-q4"], "reason": "has the longer context"},
        "borrowing": {"models": ["deepseek", "or1-q4", "strand"], "reason": "is best at ownership"},
    },
}


def table(tasks: Any = None, tiers: Any = None, models: Any = None) -> task_routing.TaskTable:
    # As on its way to the gateway.
    published = task_routing.publish(TASKS if tasks is None else tasks, tiers or TIERS, models or MODELS)
    return task_routing.read(json.loads(json.dumps(published)))


@pytest.mark.parametrize(
    ("task", "tier", "model", "why"),
    [
        ("fix", "fast", "strand-rust-coder-14b-q8_0", "compiles most often."),
        (" FIX ", "fast", "strand-rust-coder-14b-q8_0", "compiles most often."),
        ("analyze", "reasoning", "OR1-Behemoth", "has the longer context."),
        (
            "borrowing",
            "reasoning",
            "OR1-Behemoth",
            "is best at ownership. deepseek would come first, but no tier serves it.",
        ),
        (
            "poetry",
            "reasoning",
            "OR1-Behemoth",
            "There is no type 'poetry'; this is the default. knows most.",
        ),
    ],
)
def test_a_type_has_a_tier_a_model_and_a_reason(task: str, tier: str, model: str, why: str) -> None:
    assert table().choose(task) == (tier, model, why)


def test_only_types_in_the_table_are_known() -> None:
    assert table().names == ["fix", "analyze", "borrowing"]
    assert table().has("Fix")
    assert not table().has("poetry")


def test_without_a_default_an_unknown_type_is_refused() -> None:
    without = table({"types": TASKS["types"]})
    assert without.choose("poetry") is None
    assert without.choose("fix") is not None
    assert task_routing.EMPTY.choose("fix") is None


@pytest.mark.parametrize("text", ["x\r\nSet-Cookie: a=1", "y" * 33, "please rewrite this", "caf\u00e9", "-", ""])
def test_a_text_that_cannot_be_a_type_has_no_default(text: str) -> None:
    assert table().choose(text) is None
    assert table().choose(" Poetry ") == table().choose("poetry")


def test_the_first_tier_that_serves_a_model_has_it_unless_a_tier_is_named() -> None:
    both = [{**FAST, "models": ["strand"]}, {**REASONING, "models": ["strand"]}]
    tasks = {"types": {"fix": {"models": ["strand"]}, "complex": {"models": ["strand"], "tier": "reasoning"}}}
    found = table(tasks, both)
    assert found.choose("fix") == ("fast", "strand-rust-coder-14b-q8_0", "")
    assert found.choose("complex") == ("reasoning", "Strand-Rust-Coder-14B", "")


def test_a_disabled_tier_comes_last() -> None:
    tasks = {"types": {"any": {"models": ["or1-q4", "strand"]}, "only": {"models": ["or1-q4"]}}}
    found = table(tasks, [FAST, {**REASONING, "enabled": False}])
    assert found.choose("any") == (
        "fast",
        "strand-rust-coder-14b-q8_0",
        "or1-q4 would come first, but no enabled tier serves it.",
    )
    assert found.choose("only") == ("reasoning", "OR1-Behemoth", "")


@pytest.mark.parametrize(
    ("tasks", "found"),
    [
        ({"types": {"Fix it": {"models": ["strand"]}}}, "'Fix it'"),
        ({"types": {1: {"models": ["strand"]}}}, "found 1"),
        ({"types": {"fix": {"models": []}}}, "{'models': []}"),
        ({"types": {"fix": "strand"}}, "'strand'"),
        ({"types": {"fix": {"models": "strand"}}}, "'strand'"),
        ({"types": {"fix": {"models": ["strand"], "port": 1}}}, "'port': 1"),
        ({"types": {"fix": {"models": ["gone"]}}}, "found gone"),
        ({"types": {"fix": {"models": ["strand"], "tier": "slow"}}}, "found slow"),
        ({"types": {"fix": {"models": ["strand"], "tier": "reasoning"}}}, "add one of or1-q4"),
        ({"types": {"fix": {"models": ["deepseek"]}}}, "add one of strand, or1-q4"),
        ({"types": {}, "default": {"models": ["deepseek"]}}, "herd_tasks: default"),
        ({"tasks": {}}, "found tasks"),
    ],
)
def test_an_invalid_table_is_refused(tasks: Any, found: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        table(tasks)
    assert found in str(caught.value)


def test_a_tier_with_an_unknown_model_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="tier fast"):
        table(TASKS, [{**FAST, "models": ["gone"]}])


@pytest.mark.parametrize(
    "data", [{}, {"schema": 2, "types": {}}, {"schema": 1, "types": []}, {"schema": 1, "types": {"fix": {}}}, None]
)
def test_an_invalid_published_table_is_refused(data: Any) -> None:
    with pytest.raises(InvalidInputError, match="role gateway"):
        task_routing.read(data)
