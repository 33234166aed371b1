# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One picture from what every host says, as in the lab."""

from __future__ import annotations

from typing import Any

from ansible_collections.herd.inference.plugins.filter.status_table import render

MEMORY = {"kv_mib": 8.0, "compute_mib": 16.04}
HEAD: dict[str, Any] = {
    "active_state": "active",
    "sub_state": "running",
    "release": "0c1e57098-cpu-1a2b3c4d",
    "since": "Sat 2026-11-21 02:58:47 UTC",
    "restarts": 0,
    "workers": [
        {"endpoint": "10.100.0.32:50052", "established": True},
        {"endpoint": "10.100.0.33:50052", "established": False},
    ],
    "devices": [
        {"device": "RPC0", "endpoint": "10.100.0.32:50052", "layers": 4, **MEMORY, "model_mib": 6.01},
        {"device": "RPC1", "endpoint": "10.100.0.33:50052", "layers": 4, **MEMORY, "model_mib": 21.63},
        {"device": "CUDA0", "endpoint": "", "layers": 2, "model_mib": 1.0, "kv_mib": 1.0, "compute_mib": 1.0},
    ],
}
WORKER: dict[str, Any] = {
    "active_state": "active",
    "sub_state": "running",
    "release": "0c1e57098-cpu-1a2b3c4d",
    "since": "Sat 2026-11-21 02:58:46 UTC",
    "restarts": 3,
    "listening": ["10.100.0.32"],
    "connections": ["10.100.0.31:37392"],
}
ENDPOINTS = {"10.100.0.32:50052": "vllm-node2", "10.100.0.33:50052": "vllm-node3"}


def picture() -> dict[str, Any]:
    workers = {"vllm-node2": WORKER, "vllm-node3": {**WORKER, "connections": [], "listening": [], "restarts": 0}}
    return render({"vllm-node1": HEAD}, workers, ENDPOINTS)


def test_memory_and_layers_are_summed_by_host() -> None:
    rows = {row["host"]: row for row in picture()["nodes"]}
    assert (rows["vllm-node1"]["layers"], rows["vllm-node1"]["mib"]) == (2, 3.0)
    assert (rows["vllm-node2"]["layers"], rows["vllm-node2"]["mib"]) == (4, 30.05)
    assert (rows["vllm-node3"]["layers"], rows["vllm-node3"]["mib"]) == (4, 45.67)


def test_problems_are_in_the_note() -> None:
    rows = {row["host"]: row for row in picture()["nodes"]}
    assert rows["vllm-node1"]["note"] == "no connection to 10.100.0.33:50052"
    assert rows["vllm-node2"]["note"] == "3 restarts"
    assert rows["vllm-node3"]["note"] == "listens nowhere, no head connected"


def test_the_text_has_a_line_for_each_node_and_each_device() -> None:
    lines = picture()["text"].splitlines()
    assert lines[0].split()[:4] == ["HOST", "ROLE", "UNIT", "RELEASE"]
    assert [line.split()[0] for line in lines[1:4]] == ["vllm-node1", "vllm-node2", "vllm-node3"]
    assert [line.split()[0] for line in lines[6:9]] == ["RPC0", "RPC1", "CUDA0"]


def test_a_host_without_a_result_has_a_row() -> None:
    joined = render({"vllm-node1": {}}, {"vllm-node2": {}}, {})
    assert [row["unit"] for row in joined["nodes"]] == ["unknown (unknown)", "unknown (unknown)"]
    assert joined["devices"] == []


def test_gpus_have_a_table() -> None:
    gpu = {
        "index": 0, "name": "Tesla V100S-PCIE-32GB", "used_mib": 31689, "free_mib": 821, "total_mib": 32510,
        "level": "critical", "utilisation_percent": 97, "temperature_c": None, "ecc_uncorrected": 2,
    }  # fmt: skip
    infos: dict[str, dict[str, Any]] = {
        "vllm-node1": {"skipped": True, "skip_reason": "Conditional result was False"},
        "vllm-node2": {"gpus": [gpu], "reason": ""},
        "vllm-node3": {"gpus": [], "reason": "expected a loaded NVIDIA driver"},
        "vllm-node4": {"unreachable": True, "msg": "Failed to connect"},
        "vllm-node5": {"msg": "expected one version"},
    }
    joined = render({}, {}, {}, infos)
    assert [(row["host"], row.get("level"), row["note"]) for row in joined["gpus"]] == [
        ("vllm-node2", "critical", "2 uncorrected memory errors"),
        ("vllm-node3", None, "expected a loaded NVIDIA driver"),
        ("vllm-node5", None, "expected one version"),
    ]
    line = joined["text"].splitlines()[-3].split()
    assert line == ["vllm-node2", "0", "Tesla", "V100S-PCIE-32GB", "31689", "821", "32510", "critical", "97", "-", "2",
                    "uncorrected", "memory", "errors"]  # fmt: skip


def test_an_unreachable_host_has_a_reason() -> None:
    said = "Task failed: Failed to connect to the host via ssh: Connection timed out during banner exchange\n"
    dead = {"unreachable": True, "msg": said}
    joined = render({"vllm-node1": dead}, {"vllm-node2": {**dead, "msg": ""}}, {}, routes={"vllm-node1": dead})
    assert [(row["unit"], row["note"]) for row in joined["nodes"]] == [
        ("unreachable", "Connection timed out during banner exchange"),
        ("unreachable", "no answer"),
    ]
    assert joined["routes"] == []


def route(state: str) -> dict[str, str]:
    return {"state": state}


def test_routes_have_a_table() -> None:
    ib0 = {"name": "ib0", "mtu": 2044, "speed_gbps": None}
    port = {"device": "mlx5_0", "state": "ACTIVE", "rate_gbps": 100.0}
    infos: dict[str, dict[str, Any]] = {
        "vllm-node1": {"interface": ib0, "port": port, "routes": [route("fabric"), route("fabric")], "problems": []},
        "vllm-node2": {
            "interface": {**ib0, "speed_gbps": 10.0},
            "port": None,
            "routes": [route("fallback"), route("fabric")],
            "problems": ["expected a."],
            "advice": ["expected b."],
        },
        "vllm-node3": {"failed": True, "msg": "expected the program ip"},
        "vllm-node4": {"skipped": True, "msg": "no"},
    }
    rows = render({}, {}, {}, routes=infos)["routes"]
    assert [(row["host"], row.get("port"), row.get("rate_gbps"), row.get("routes"), row["note"]) for row in rows] == [
        ("vllm-node1", "mlx5_0 ACTIVE", 100.0, "2 fabric", ""),
        ("vllm-node2", "", 10.0, "1 fallback, 1 fabric", "expected a. expected b."),
        ("vllm-node3", None, None, None, "expected the program ip"),
    ]


def test_advisories_of_running_releases_list_their_hosts() -> None:
    cve = {"id": "CVE-2026-34159", "means": "code execution", "fixed": "2026-03"}
    other = {"id": "CVE-2026-21869", "means": "a write out of bounds"}
    old = {"release": "b7836-cpu-11aa22bb", "advisories": [cve, other]}
    workers = {"vllm-node2": {**old, "advisories": [cve]}, "vllm-node3": WORKER}
    joined = render({"vllm-node1": old}, workers, {}, accepted=["CVE-2026-34159"])
    assert [(row["advisory"], row["hosts"], row["accepted"], row["fixed"]) for row in joined["advisories"]] == [
        ("CVE-2026-34159", "vllm-node2, vllm-node1", "yes", "2026-03"),
        ("CVE-2026-21869", "vllm-node1", "no", ""),
    ]
    assert "ADVISORY" in joined["text"]
    assert render({"vllm-node1": HEAD}, {"vllm-node2": WORKER}, {})["advisories"] == []


def test_problems_of_a_worker_have_its_host() -> None:
    joined = render({}, {"vllm-node2": {**WORKER, "problems": ["expected x."]}}, {})
    assert joined["problems"] == ["vllm-node2: expected x."]
    assert joined["text"].splitlines()[-1] == "vllm-node2: expected x."


ROUTER: dict[str, Any] = {
    "active_state": "active",
    "sub_state": "running",
    "release": "0c1e57098-cpu-1a2b3c4d",
    "since": "Sat 2026-11-21 02:58:47 UTC",
    "restarts": 0,
    "models": [
        {"id": "a", "aliases": [], "state": "loaded", "exit_code": None},
        {"id": "b", "aliases": [], "state": "unloaded", "exit_code": None},
        {"id": "broken", "aliases": [], "state": "unloaded", "exit_code": 1},
    ],
    "in_memory": ["a"],
    "problem": "",
    "advisories": [{"id": "CVE-1"}],
}


def routers(**infos: Any) -> dict[str, Any]:
    return {row["host"]: row for row in render({}, {}, {}, routers=infos)["nodes"]}


def test_a_router_shows_its_models_in_memory() -> None:
    row = routers(node=ROUTER)["node"]
    assert (row["role"], row["unit"]) == ("fast_router", "active (running)")
    assert row["note"] == "1 of 3 models in memory, a loaded, broken failed with 1"


def test_an_unreachable_router_has_a_reason() -> None:
    silent = {**ROUTER, "models": [], "in_memory": [], "problem": "expected an answer, found a time-out", "restarts": 2}
    stopped = {**silent, "active_state": "inactive", "sub_state": "dead", "problem": "it does not run", "restarts": 0}
    found = routers(
        silent=silent,
        stopped=stopped,
        off={"unreachable": True, "msg": "Failed to connect to the host via ssh: timed out"},
        broken={"failed": True, "msg": "The requests library is missing."},
    )
    assert found["silent"]["note"] == "expected an answer, found a time-out, 2 restarts"
    assert (found["stopped"]["unit"], found["stopped"]["note"]) == ("inactive (dead)", "")
    assert (found["off"]["unit"], found["off"]["note"]) == ("unreachable", "timed out")
    assert found["broken"]["note"] == "The requests library is missing."


def test_releases_of_routers_have_advisories() -> None:
    (row,) = render({}, {}, {}, routers={"node": ROUTER}, accepted=["CVE-1"])["advisories"]
    assert (row["advisory"], row["hosts"], row["accepted"]) == ("CVE-1", "node", "yes")


def test_host_without_a_service_is_shown_with_its_release() -> None:
    releases: dict[str, dict[str, Any]] = {
        "spare": {"current": "0c1e57098-cpu-1a2b3c4d", "releases": [], "problems": ["current points nowhere"]},
        "broken": {"msg": "no Python"},
        "off": {"unreachable": True, "msg": "Failed to connect to the host via ssh: no route"},
    }
    found = render({}, {}, {}, releases=releases)
    rows = {row["host"]: (row["unit"], row["release"], row["note"]) for row in found["nodes"]}
    assert rows == {
        "spare": ("none", "0c1e57098-cpu-1a2b3c4d", "current points nowhere"),
        "broken": ("", "", "no Python"),
        "off": ("unreachable", "", "no route"),
    }
    assert "0c1e57098-cpu-1a2b3c4d" in found["text"]
