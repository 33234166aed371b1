# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the releases of a host mean together, as tables."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.release import status as release_status
from ansible_collections.herd.inference.plugins.module_utils.core.release.status import RunningProgram

NEW, OLD = "0c1e57098-cpu-5f1c20ab", "b7836-cpu-11aa22bb"
RPC = {"id": "CVE-2026-34159", "means": "code execution"}
MANIFESTS: dict[str, dict[str, Any] | None] = {
    NEW: {"id": NEW, "rpc_protocol": "7.0.0", "advisories": []},
    OLD: {"id": OLD, "rpc_protocol": "3.6.0", "advisories": [RPC]},
}
WORKER = RunningProgram(NEW, 4711, "ggml-rpc-server", "llama-rpc.service")
HEAD = RunningProgram(NEW, 4712, "llama-server", "llama-head.service")


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("0::/system.slice/llama-rpc.service\n", "llama-rpc.service"),
        ("1:name=systemd:/lab/x/system.slice/llama-head.service\n0::/\n", "llama-head.service"),
        ("0::/system.slice/system-herd.slice/herd-agent.service/sub\n", "herd-agent.service"),
        ("0::/user.slice/user-0.slice/session-1.scope\n", ""),
        ("", ""),
    ],
)
def test_the_unit_of_a_process_is_read_from_its_control_group(text: str, unit: str) -> None:
    assert release_status.unit_of(text) == unit


@pytest.mark.parametrize(("used", "ids"), [([NEW], []), ([OLD], ["CVE-2026-34159"]), ([], [])])
def test_only_used_releases_have_advisories(used: list[str], ids: list[str]) -> None:
    known = [manifest for manifest in MANIFESTS.values() if manifest]
    found = release_status.advisories(known, used)
    assert [advisory["id"] for advisory in found] == ids
    assert all(advisory["releases"] == used for advisory in found)


def test_an_advisory_of_two_releases_is_listed_once() -> None:
    other = {"id": "b7760-cpu-22bb33cc", "advisories": [RPC]}
    found = release_status.advisories([{"id": OLD, "advisories": [RPC]}, other], [OLD, "b7760-cpu-22bb33cc"])
    assert [(advisory["id"], advisory["releases"]) for advisory in found] == [
        ("CVE-2026-34159", [OLD, "b7760-cpu-22bb33cc"])
    ]


@pytest.mark.parametrize(
    ("current", "manifests", "running", "leftovers", "parts"),
    [
        (NEW, MANIFESTS, [WORKER, HEAD], 0, []),
        ("", {}, [], 0, []),
        (NEW, {}, [], 0, ["The link current points to release"]),
        (NEW, {NEW: None}, [], 0, ["The manifest of release"]),
        (
            NEW,
            MANIFESTS,
            [RunningProgram(OLD, 1, "llama-server", "llama-head.service")],
            0,
            ["llama-head.service to run from"],
        ),
        # What somebody started by hand is not the herd's.
        (NEW, MANIFESTS, [WORKER, RunningProgram(OLD, 1, "llama-cli")], 0, []),
        (
            NEW,
            MANIFESTS,
            [WORKER, RunningProgram(OLD, 1, "llama-server", "llama-head.service")],
            0,
            ["llama-head.service to run from", f"expected one RPC protocol, found 3.6.0 ({OLD}), 7.0.0 ({NEW})"],
        ),
        (NEW, MANIFESTS, [WORKER], 2, ["found 2: run site.yml"]),
    ],
)
def test_each_problem_is_one_sentence(
    current: str,
    manifests: dict[str, dict[str, Any] | None],
    running: list[RunningProgram],
    leftovers: int,
    parts: list[str],
) -> None:
    found = release_status.problems(current, manifests, running, leftovers)
    assert len(found) == len(parts), found
    for sentence, part in zip(found, parts, strict=True):
        assert part in sentence
        assert ": " in sentence
        assert sentence.endswith(".")
