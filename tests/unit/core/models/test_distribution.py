# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which host fetches a model, and which hosts copy it from which."""

from __future__ import annotations

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.errors import InvalidInputError
from ansible_collections.herd.inference.plugins.module_utils.core.models.distribution import (
    CopyPlan,
    plan_copies,
    plan_distribution,
)

A, B = "a" * 64, "b" * 64
NODES = [f"node{number}" for number in range(1, 8)]


def shown(plan: CopyPlan) -> list[list[tuple[str, str]]]:
    return [[(copy.source, copy.target) for copy in copies] for copies in plan.rounds]


@pytest.mark.parametrize(
    ("hosts", "held", "fanout", "fetching", "rounds"),
    [
        # Bare hosts: one fetches, the others get it from there, then from one another.
        (3, {}, 2, ("node1",), [[("node1", "node2"), ("node1", "node3")]]),
        (3, {}, 1, ("node1",), [[("node1", "node2")], [("node1", "node3")]]),
        (
            7,
            {},
            2,
            ("node1",),
            [
                [("node1", "node2"), ("node1", "node3")],
                [("node1", "node4"), ("node2", "node5"), ("node3", "node6"), ("node1", "node7")],
            ],
        ),
        (
            5,
            {},
            1,
            ("node1",),
            [[("node1", "node2")], [("node1", "node3"), ("node2", "node4")], [("node1", "node5")]],
        ),
        (1, {}, 2, ("node1",), []),
        # Any host with the file sends it, and no host fetches it from the publisher.
        (3, {"node3": {"m.gguf": A}}, 2, ("node3",), [[("node3", "node1"), ("node3", "node2")]]),
        (3, {node: {"m.gguf": A} for node in NODES}, 2, ("node1", "node2", "node3"), []),
        # Another file by that name is not the model.
        (2, {"node2": {"m.gguf": B}}, 2, ("node1",), [[("node1", "node2")]]),
    ],
)
def test_rounds_form_a_tree(
    hosts: int,
    held: dict[str, dict[str, str]],
    fanout: int,
    fetching: tuple[str, ...],
    rounds: list[list[tuple[str, str]]],
) -> None:
    plan = plan_copies(NODES[:hosts], [{"m.gguf": A}], held, fanout)
    assert plan.fetching == (fetching,)
    assert shown(plan) == rounds


@pytest.mark.parametrize("hosts", range(1, 8))
@pytest.mark.parametrize("fanout", [1, 2, 3])
def test_each_host_gets_a_model_once_from_a_host_that_has_it(hosts: int, fanout: int) -> None:
    plan = plan_copies(NODES[:hosts], [{"m.gguf": A}], {}, fanout)
    having = set(plan.fetching[0])
    for copies in plan.rounds:
        assert {copy.source for copy in copies} <= having
        assert all(sum(other.source == copy.source for other in copies) <= fanout for copy in copies)
        assert not having & {copy.target for copy in copies}
        having |= {copy.target for copy in copies}
    assert having == set(NODES[:hosts])


def test_first_holder_is_right_without_a_known_checksum() -> None:
    plan = plan_copies(NODES[:3], [{"m.gguf": None}], {"node2": {"m.gguf": A}, "node3": {"m.gguf": B}})
    assert (plan.fetching, shown(plan)) == ((("node2",),), [[("node2", "node1"), ("node2", "node3")]])


def test_host_with_half_of_the_shards_has_no_copy() -> None:
    held = {"node1": {"m-1.gguf": A}, "node2": {"m-1.gguf": A, "m-2.gguf": B}}
    plan = plan_copies(NODES[:2], [{"m-1.gguf": A, "m-2.gguf": B}], held)
    assert (plan.fetching, shown(plan)) == ((("node2",),), [[("node2", "node1")]])


def test_models_share_the_rounds() -> None:
    plan = plan_copies(NODES[:2], [{"m.gguf": A}, {"n.gguf": B}], {"node2": {"n.gguf": B}})
    assert plan.fetching == (("node1",), ("node2",))
    assert shown(plan) == [[("node1", "node2"), ("node2", "node1")]]


ADDRESSES = {node: f"10.100.0.{number}" for number, node in enumerate(NODES, 31)}
PIECES = [{"url": "http://hub/m.gguf.part1of2"}, {"url": "http://hub/m.gguf.part2of2"}]
PARTS = {"name": "m", "file": "m.gguf", "size": 5, "sha256": A, "source": {"parts": PIECES}}
SHARDS = {
    "file": "s-00001-of-00002.gguf",
    "source": {
        "shards": [
            {"url": "http://hub/s-00001-of-00002.gguf", "sha256": A},
            {"url": "http://hub/x?download=1", "file": "s-00002-of-00002.gguf"},
        ]
    },
}


def test_one_bare_host_fetches_and_the_others_copy() -> None:
    found = plan_distribution([PARTS], NODES[:3], {}, ADDRESSES, 50061)
    assert found["own"] == {
        "node1": [{"file": "m.gguf", "size": 5, "sha256": A, "parts": PIECES}],
        "node2": [],
        "node3": [],
    }
    copy = {"file": "m.gguf", "url": "http://10.100.0.31:50061/m.gguf", "sha256": A, "from": "node1"}
    assert found["rounds"] == [
        {
            "targets": {"node2": [copy], "node3": [copy]},
            "sources": {"node1": {"files": ["m.gguf"], "clients": ["10.100.0.32", "10.100.0.33"]}},
        }
    ]


def test_missing_checksum_comes_from_the_host_with_the_model() -> None:
    model = {"file": "m.gguf", "source": {"url": "http://hub/m.gguf"}}
    (round_,) = plan_distribution([model], NODES[:2], {"node1": {"m.gguf": B}}, ADDRESSES, 50061)["rounds"]
    assert [copy["sha256"] for copy in round_["targets"]["node2"]] == [B]


def test_shards_are_copied_as_shards() -> None:
    held = {"node2": {"s-00001-of-00002.gguf": A, "s-00002-of-00002.gguf": B}}
    found = plan_distribution([SHARDS], NODES[:2], held, ADDRESSES, 50061)
    (round_,) = found["rounds"]
    # What is there is told with its checksums, so that no server is asked for them.
    (own,) = found["own"]["node2"]
    assert [shard["sha256"] for shard in own["shards"]] == [A, B]
    assert [shard["url"] for shard in own["shards"]] == ["http://hub/s-00001-of-00002.gguf", "http://hub/x?download=1"]
    (copy,) = round_["targets"]["node1"]
    assert copy["shards"] == [
        {"url": f"http://10.100.0.32:50061/s-0000{number}-of-00002.gguf", "sha256": digest}
        for number, digest in ((1, A), (2, B))
    ]
    assert round_["sources"]["node2"]["files"] == ["s-00001-of-00002.gguf", "s-00002-of-00002.gguf"]


def test_fanout_of_zero_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="expected a fan-out of at least 1, found 0"):
        plan_copies(NODES, [{"m.gguf": A}], {}, 0)
