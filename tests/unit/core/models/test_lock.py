# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Model entries: their options, their problems and their lock."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.herd.inference.plugins.filter.model_problems import model_problems
from ansible_collections.herd.inference.plugins.module_utils.core.download.identity import RemoteFile
from ansible_collections.herd.inference.plugins.module_utils.core.errors import HerdError, MismatchError
from ansible_collections.herd.inference.plugins.module_utils.core.models import lock as model_lock

A, B = "a" * 64, "b" * 64
COMMIT, OTHER = "0" * 40, "1" * 40
HUB = "https://huggingface.co/o/m-GGUF/resolve"

ONE: dict[str, Any] = {"name": "m", "file": "m.gguf", "repository": "o/m-GGUF", "files": [{"file": "m.gguf"}]}
PARTS: dict[str, Any] = {
    "name": "p",
    "file": "p.gguf",
    "repository": "o/m-GGUF",
    "files": [{"file": "p.gguf.part1of2", "size": 3}, {"file": "p.gguf.part2of2", "size": 4}],
}
SHARDS: dict[str, Any] = {
    "name": "s",
    "file": "s-00001-of-00002.gguf",
    "repository": "o/m-GGUF",
    "files": [{"file": f"Q8 0/s-0000{n}-of-00002.gguf", "sha256": A} for n in (1, 2)],
}


@pytest.mark.parametrize(
    ("entry", "options"),
    [
        (ONE, {"url": f"{HUB}/main/m.gguf"}),
        ({**ONE, "branch": "pr/2"}, {"url": f"{HUB}/pr%2F2/m.gguf"}),
        (
            {**ONE, "revision": COMMIT, "files": [{"file": "Other-Q8_0.gguf", "size": 7, "sha256": A}]},
            {"url": f"{HUB}/{COMMIT}/Other-Q8_0.gguf", "size": 7, "sha256": A},
        ),
        (
            {**PARTS, "size": 7, "sha256": A},
            {
                "parts": [
                    {"url": f"{HUB}/main/p.gguf.part1of2", "size": 3},
                    {"url": f"{HUB}/main/p.gguf.part2of2", "size": 4},
                ],
                "size": 7,
                "sha256": A,
            },
        ),
        (
            {**SHARDS, "size": 9},
            {"shards": [{"url": f"{HUB}/main/Q8%200/s-0000{n}-of-00002.gguf", "sha256": A} for n in (1, 2)]},
        ),
        (
            {"name": "x", "file": "x.gguf", "source": {"url": "file:///x.gguf"}, "size": 1},
            {"url": "file:///x.gguf", "size": 1},
        ),
    ],
)
def test_entry_becomes_options_of_gguf_fetch(entry: dict[str, Any], options: dict[str, Any]) -> None:
    assert model_lock.options_of(entry) == {"file": entry["file"], **options}
    assert model_lock.problems("m", entry) == []


def test_hubs_become_mirrors_before_the_publisher() -> None:
    hubs = ["http://10.0.0.9/hub/", "https://huggingface.co"]
    near = "http://10.0.0.9/hub/o/m-GGUF/resolve/main"
    assert model_lock.options_of({**ONE, "size": 7}, hubs) == {
        "file": "m.gguf",
        "parts": [{"url": f"{HUB}/main/m.gguf", "mirrors": [f"{near}/m.gguf"]}],
        "size": 7,
    }
    assert [part["mirrors"] for part in model_lock.options_of(PARTS, hubs)["parts"]] == [
        [f"{near}/p.gguf.part{n}of2"] for n in (1, 2)
    ]
    with pytest.raises(HerdError, match="at least one hub"):
        model_lock.options_of(ONE, [])


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("m.gguf", "expected a mapping, found str"),
        ({**ONE, "name": ""}, "expected a value for name"),
        ({**ONE, "file": ""}, "expected a value for file"),
        ({**ONE, "file": "Q4/m.gguf"}, "found Q4/m.gguf: write the folder under files"),
        ({**ONE, "source": {"url": "http://x/m.gguf"}}, "found source and repository and files"),
        ({"name": "m", "file": "m.gguf"}, "found none of them"),
        ({**ONE, "repository": ""}, "found files: keep the one that applies"),
        ({**ONE, "files": []}, "found repository: keep"),
        ({**ONE, "repository": "https://hub/o/m"}, "expected a repository as owner/name"),
        ({**ONE, "revision": "main"}, "found 'main', a name that may move: write it as branch"),
        ({**ONE, "revision": COMMIT[1:]}, "expected a commit (40 hexadecimal digits)"),
        ({**ONE, "files": "m.gguf"}, "expected files as a list"),
        ({**ONE, "files": [{"size": 3}]}, "expected files as a list, each with its name"),
        ({**ONE, "files": [{"file": "m.gguf", "sha265": A}]}, "found sha265: correct the key"),
        ({**ONE, "files": [{"file": "m.gguf", "sha256": A[1:]}]}, "expected a sha256 of 64 hexadecimal digits"),
        ({**ONE, "files": [{"file": "m.gguf", "size": 0}]}, "expected the size of"),
        ({**ONE, "files": [{"file": "m.gguf", "size": "much"}]}, "expected an entry as in docs/reference/models.md"),
        ({**ONE, "sha256": A, "files": [{"file": "m.gguf", "sha256": B}]}, "expected one sha256 of the file"),
        ({**ONE, "size": 3, "files": [{"file": "m.gguf", "size": 4}]}, "add up to size 3, found 4 bytes"),
        ({**ONE, "join": "cat"}, "expected join to be one of none, parts, shards, found 'cat'"),
        ({**PARTS, "join": "none"}, "expected one file, as there is nothing to join, found 2 files"),
        ({**PARTS, "size": 8}, "add up to size 8, found 7 bytes"),
        ({**PARTS, "files": PARTS["files"][:1]}, "found p.gguf.part2of2 missing"),
        ({**PARTS, "files": PARTS["files"][::-1]}, "found the order p.gguf.part2of2, p.gguf.part1of2"),
        ({**PARTS, "files": [{"file": "a"}, {"file": "b"}]}, "expected join: parts or join: shards"),
        ({**SHARDS, "join": "parts"}, "one of 2 shards, which are never joined"),
        ({**SHARDS, "files": SHARDS["files"][:1]}, "s-00002-of-00002.gguf missing"),
        ({**SHARDS, "file": "s.gguf"}, "expected dest to end in the first shard's name"),
        ({**SHARDS, "sha256": A}, "expected a sha256 at each shard"),
        ({"name": "m", "file": "m.gguf", "source": {"uri": "x"}}, "expected url, parts or shards as source, found uri"),
    ],
)
def test_invalid_entry_gives_one_problem(entry: Any, says: str) -> None:
    (problem,) = model_lock.problems("k", entry)
    assert problem.startswith("model k: expected ")
    assert says in problem


def test_gated_model_needs_a_token() -> None:
    gated = {**ONE, "token_required": True}
    assert model_problems([ONE, gated], has_token=True) == []
    (problem,) = model_problems([ONE, gated])
    assert "set model_store_token in a vault" in problem


def hub_file(size: int | None = 3, sha256: str | None = A, commit: str | None = COMMIT) -> RemoteFile:
    return RemoteFile(size, sha256, None, commit)


def test_lock_holds_the_facts_of_the_hub() -> None:
    found = model_lock.lock(PARTS, [hub_file(), hub_file(4, B)])
    assert found == {
        "repository": "o/m-GGUF",
        "revision": COMMIT,
        "files": [
            {"file": "p.gguf.part1of2", "size": 3, "sha256": A},
            {"file": "p.gguf.part2of2", "size": 4, "sha256": B},
        ],
        "size": 7,
    }
    merged = model_lock.merge({"p": PARTS}, {"p": found})["p"]
    assert model_lock.is_locked(merged)
    assert model_lock.problems("p", merged) == []
    assert not model_lock.is_locked(PARTS)
    completed = model_lock.with_metadata({**PARTS, "layers": 8}, found, {"kinds": []}, 8)
    assert completed == {**found, "metadata": {"kinds": []}}
    with pytest.raises(MismatchError, match=r"layers: 80 in the entry"):
        model_lock.with_metadata({**PARTS, "layers": 8}, found, {}, 80)


@pytest.mark.parametrize(
    ("entry", "said", "says"),
    [
        (ONE, hub_file(size=None), "publish commit, size and SHA-256 of m.gguf"),
        (ONE, hub_file(sha256=None), "SHA-256 None"),
        (ONE, hub_file(commit=None), "commit None"),
        (ONE, hub_file(commit="main"), "commit main"),
        ({**ONE, "size": 4}, hub_file(), "the size of m.gguf in the entry, 4, found 3 on the hub"),
        ({**ONE, "sha256": B}, hub_file(), "the sha256 of m.gguf"),
        ({**ONE, "files": [{"file": "m.gguf", "sha256": B}]}, hub_file(), "the file was replaced"),
        ({**ONE, "revision": OTHER}, hub_file(), f"expected commit {OTHER}, found {COMMIT}"),
    ],
)
def test_facts_that_differ_from_the_entry_are_refused(entry: dict[str, Any], said: RemoteFile, says: str) -> None:
    with pytest.raises(HerdError, match=says):
        model_lock.lock(entry, [said])


def test_files_of_two_commits_are_refused() -> None:
    with pytest.raises(MismatchError, match="all files in one commit"):
        model_lock.lock(PARTS, [hub_file(), replace(hub_file(4), commit=OTHER)])


@pytest.mark.parametrize(
    ("change", "holds"),
    [
        ({}, True),
        ({"layers": 80}, True),
        ({"revision": COMMIT}, True),
        ({"revision": OTHER}, False),
        ({"repository": "o/other"}, False),
        ({"files": [{"file": "n.gguf"}]}, False),
    ],
)
def test_lock_of_other_files_is_ignored(change: dict[str, Any], holds: bool) -> None:
    lock = model_lock.lock(ONE, [hub_file()])
    entry = {**ONE, **change}
    merged = model_lock.merge({"m": entry}, {"m": lock, "gone": lock})
    assert merged == {"m": {**entry, **lock} if holds else entry}


def test_every_entry_of_the_cluster_can_be_fetched() -> None:
    inventory = Path(__file__).parents[4] / "inventory/beefcake2/group_vars/all"
    entries = yaml.safe_load((inventory / "models.yml").read_text(encoding="utf-8"))["herd_model_entries"]
    assert {entry["name"] for entry in entries.values()} == {
        "OR1-Behemoth",
        "Strand-Rust-Coder-14B",
        "DeepSeek-V3",
        "Qwen2.5-72B-Instruct",
        "Llama-3.1-70B-Instruct",
    }
    assert [problem for key, entry in entries.items() for problem in model_lock.problems(key, entry)] == []
    assert all(entry["layers"] and (entry.get("size") or entry["size_estimate"]) for entry in entries.values())
    assert yaml.safe_load((inventory / "site.yml").read_text(encoding="utf-8"))["herd_model"] in entries
