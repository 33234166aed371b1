# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which hosts copy models from each other: those of a play with the same list of models."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml

ROOT = Path(__file__).parents[3]
VARS: dict[str, str] = yaml.safe_load((ROOT / "roles/model_store/vars/main.yml").read_text(encoding="utf-8"))
BIG, SMALL = {"name": "big", "file": "big.gguf"}, {"name": "small", "file": "small.gguf"}


def peers(lists: dict[str, list[dict[str, str]] | None], own: list[dict[str, str]], play: list[str]) -> Any:
    """Evaluate the rule for a host with a list of its own; None stands for the default of the role."""
    hostvars = {name: {} if models is None else {"model_store_models": models} for name, models in lists.items()}
    text = (
        jinja2.Environment(undefined=jinja2.StrictUndefined)
        .from_string(VARS["_model_store_peers"])
        .render(
            ansible_play_hosts=play,
            hostvars=hostvars,
            model_store_models=own,
            herd_models={"big": BIG, "small": SMALL},
            herd_model="big",
        )
    )
    return ast.literal_eval(text.strip())


@pytest.mark.parametrize(
    ("lists", "own", "found"),
    [
        # All hosts have the default list.
        ({"a": None, "b": None, "c": None}, [BIG], ["a", "b", "c"]),
        # A host that writes the default down has the same list.
        ({"a": None, "b": [BIG], "c": [SMALL]}, [BIG], ["a", "b"]),
        ({"a": None, "b": [BIG], "c": [SMALL]}, [SMALL], ["c"]),
        # A part of the list is another list, and so is another entry of the same file.
        ({"a": [BIG, SMALL], "b": [BIG]}, [BIG, SMALL], ["a"]),
        ({"a": [BIG], "b": [{**BIG, "sha256": "0" * 64}]}, [BIG], ["a"]),
    ],
)
def test_only_hosts_with_the_same_list_copy_from_each_other(
    lists: dict[str, list[dict[str, str]] | None], own: list[dict[str, str]], found: list[str]
) -> None:
    assert peers(lists, own, list(lists)) == found


def test_hosts_outside_of_the_play_are_no_source() -> None:
    assert peers({"a": None, "b": None}, [BIG], ["a"]) == ["a"]


def test_distribution_is_planned_among_these_hosts_alone() -> None:
    assert "_model_store_peers if _model_store_shared" in VARS["_model_store_hosts"]
    assert "model_distribution(_model_store_hosts, _model_store_held" in VARS["_model_store_distribution"]
    assert "_model_store_hosts" in VARS["_model_store_held"]
