# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules of the services decide, before they touch anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.engine import gpu_environment
from ansible_collections.herd.inference.plugins.module_utils.core.engine.command_line import value_of
from ansible_collections.herd.inference.plugins.module_utils.core.engine.server_log import parse
from ansible_collections.herd.inference.plugins.module_utils.core.errors import HerdError, MismatchError
from ansible_collections.herd.inference.plugins.module_utils.ports.release.manifest import release_of
from ansible_collections.herd.inference.plugins.module_utils.ports.systemd import UnitState
from ansible_collections.herd.inference.plugins.modules import (
    agent_install,
    head_info,
    head_plan,
    service_unit,
)

RUNNING = UnitState("active", "running", enabled=True, pid=7)


@pytest.mark.parametrize(
    ("state", "runs_with", "reason", "action"),
    [
        (UnitState(), "", "", "start"),
        (UnitState(active_state="failed"), "", "", "start"),
        (RUNNING, "new", "", "none"),
        # A run was killed between writing the unit and restarting the service.
        (RUNNING, "old", "", "restart"),
        (RUNNING, "", "", "restart"),
        (RUNNING, "new", "it has lost 10.100.0.32:50052", "restart"),
        (UnitState(active_state="activating", sub_state="auto-restart"), "", "", "restart"),
    ],
)
def test_next_action_depends_on_state_and_unit(state: UnitState, runs_with: str, reason: str, action: str) -> None:
    assert service_unit.next_action(state, runs_with, "new", reason)[0] == action


def test_service_with_edited_unit_is_restarted() -> None:
    assert service_unit.next_action(RUNNING, "new", "new", "", is_edited=True) == (
        "restart",
        "its unit was changed by hand",
    )
    # What does not run has nothing of it.
    assert service_unit.next_action(UnitState(), "", "new", "", is_edited=True)[0] == "start"


def test_digest_covers_unit_files_and_triggers() -> None:
    names = {
        service_unit.digest("a", {}, []),
        service_unit.digest("b", {}, []),
        service_unit.digest("a", {"/f": "1"}, []),
        service_unit.digest("a", {"/f": "2"}, []),
        service_unit.digest("a", {}, ["key"]),
    }
    assert len(names) == 5


def given(**changes: Any) -> dict[str, Any]:
    return {
        "name": "vllm-node1",
        "workers": ["vllm-node2", "vllm-node3"],
        "addresses": {"vllm-node2": "10.100.0.32", "vllm-node3": "10.100.0.33"},
        "gpus": {"vllm-node2": [{"memory_mib": 32768}], "vllm-node3": []},
        "worker_port": 50052,
        "local_gpus": [{"memory_mib": 32768}],
        "layers": 80,
        "tensor_split": {"vllm-node1": 26, "vllm-node2": 27, "vllm-node3": 27},
        "worker_timeout": 300,
        **changes,
    }


def test_gpu_of_head_is_last_device() -> None:
    assert [(d.name, d.host, d.layers) for d in head_plan.place(given())] == [
        ("RPC0", "vllm-node2", 27),
        ("RPC1", "vllm-node3", 27),
        ("CUDA0", "vllm-node1", 26),
    ]


def test_head_without_gpu_is_no_device() -> None:
    devices = head_plan.place(given(local_gpus=[], tensor_split={}))
    assert [(d.name, d.layers) for d in devices] == [("RPC0", 40), ("RPC1", 40)]


def test_readiness_check_expects_gpus_of_inventory() -> None:
    check = json.loads(head_plan.readiness_check_for(given(), "7.0.0"))
    assert [(w["address"], w["devices"], w["memory_mib"]) for w in check["workers"]] == [
        ("10.100.0.32", 1, 29491),
        ("10.100.0.33", 1, 0),
    ]
    assert check["protocol"] == "7.0.0"


def test_readiness_check_and_plan_use_listed_gpus_only() -> None:
    some: list[dict[str, Any]] = [{"memory_mib": 32768, "id": 0}, {"memory_mib": 16384, "id": "GPU-5d0b1b6f"}]
    plan = given(gpus={"vllm-node2": some, "vllm-node3": []}, local_gpus=[], tensor_split={})
    assert [(d.name, d.host) for d in head_plan.place(plan)] == [
        ("RPC0", "vllm-node2"),
        ("RPC1", "vllm-node2"),
        ("RPC2", "vllm-node3"),
    ]
    check = json.loads(head_plan.readiness_check_for(plan, "7.0.0"))
    assert [(w["devices"], w["memory_mib"]) for w in check["workers"]] == [(2, 14745), (1, 0)]
    assert gpu_environment.environment(some) == {
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES": "0,GPU-5d0b1b6f",
    }


@pytest.mark.parametrize("ids", [[0, None], [0, 0], ["0,1"], ["all"], [-1], ["GPU-1 2"]])
def test_ambiguous_gpu_ids_are_rejected(ids: list[Any]) -> None:
    with pytest.raises(HerdError, match="an id of its own for every entry of herd_gpus of vllm-node2"):
        gpu_environment.environment([{"id": found} if found is not None else {} for found in ids], "vllm-node2")


def test_gpus_without_ids_set_no_variables() -> None:
    assert gpu_environment.environment([{"memory_mib": 32768}]) == {}


def test_device_without_layers_is_an_error() -> None:
    log = parse("build: 1 (41d3836)\nusing device RPC0 (a:1) (unknown id) - 1 MiB free\n")
    with pytest.raises(MismatchError, match="found none on RPC0"):
        head_info.require(["RPC0"], log, [{"endpoint": "a:1", "established": True}])


@pytest.mark.parametrize("name", ["0c1e57098-two-workers", "b7836-two-workers"])
def test_log_without_start_only_warns(name: str) -> None:
    text = (Path(__file__).parents[3] / f"fixtures/head_log/{name}.log").read_text(encoding="utf-8")
    assert head_info.require(["RPC0", "RPC1"], parse(text), []) == ""
    lines = text.splitlines(keepends=True)
    connected = [{"endpoint": "a:1", "established": True}, {"endpoint": "b:1", "established": True}]
    # journald gives up its oldest file, wherever that ends.
    for first in range(5, len(lines), 10):
        rest = parse("".join(lines[first:]))
        assert not rest.begun
        assert "no longer has the start" in head_info.require(["RPC0", "RPC1"], rest, connected)


@pytest.mark.parametrize("workers", [[], [{"endpoint": "a:1", "established": False}]])
def test_lost_worker_is_an_error_without_log_start(workers: list[dict[str, Any]]) -> None:
    with pytest.raises(MismatchError, match="connected to every worker"):
        head_info.require(["RPC0"], parse("all slots are idle\n"), workers)


def test_command_line_of_process_is_read() -> None:
    arguments = ["/opt/llama.cpp/releases/0c1e57098-cpu-1a2b3c4d/bin/llama-server", "--host", "10.0.0.31", "--rpc"]
    assert value_of(arguments, "--host") == "10.0.0.31"
    assert value_of(arguments, "--rpc") == ""
    assert release_of(arguments) == "0c1e57098-cpu-1a2b3c4d"
    assert release_of(["/usr/bin/python3"]) == ""
    assert release_of([]) == ""


def test_the_program_gets_the_interpreter_of_this_run() -> None:
    assert (
        agent_install.with_interpreter("#!/usr/bin/env python3\nx\n", "/usr/bin/python3.12")
        == "#!/usr/bin/python3.12\nx\n"
    )
    assert agent_install.with_interpreter("x\n", "/p") == "#!/p\nx\n"
