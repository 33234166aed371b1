# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the rows of the status table from the results of the info modules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

COLUMNS = ("host", "role", "unit", "release", "since", "connections", "layers", "mib", "note")
DEVICE_COLUMNS = ("device", "host", "layers", "model_mib", "kv_mib", "compute_mib", "total_mib")
ROUTE_COLUMNS = ("host", "interface", "mtu", "port", "rate_gbps", "routes", "note")
ADVISORY_COLUMNS = ("advisory", "release", "hosts", "accepted", "fixed", "means")
GPU_COLUMNS = ("host", "gpu", "name", "used_mib", "free_mib", "total_mib", "level", "busy", "celsius", "note")


def _row(
    host: str, role: str, info: Mapping[str, Any], connections: int | None, notes: Sequence[str]
) -> dict[str, Any]:
    """Build the row of a service; the reason replaces the notes of an unreachable host."""
    unreachable = info.get("unreachable")
    unit = f"{info.get('active_state', 'unknown')} ({info.get('sub_state', 'unknown')})"
    return {
        "host": host,
        "role": role,
        "unit": "unreachable" if unreachable else unit,
        "release": info.get("release", ""),
        "since": info.get("since", ""),
        "connections": connections,
        "layers": None,
        "mib": None,
        "note": _reason(info) if unreachable else ", ".join(notes),
    }


def _reason(info: Mapping[str, Any]) -> str:
    """Return why a host is unreachable, in one line."""
    said = str(info.get("msg", ""))
    for preface in ("Task failed:", "Failed to connect to the host via ssh:"):
        said = said.replace(preface, "")
    return " ".join(said.split())[:100] or "no answer"


def _restarts(info: Mapping[str, Any]) -> list[str]:
    return [f"{info['restarts']} restarts"] if info.get("restarts") else []


def worker_row(host: str, info: Mapping[str, Any]) -> dict[str, Any]:
    clients = info.get("connections", [])
    notes = []
    if info.get("active_state") == "active":
        notes += [] if info.get("listening") else ["listens nowhere"]
        notes += [] if clients else ["no head connected"]
        notes += _restarts(info)
    return _row(host, "rpc_worker", info, len(clients), notes)


def head_row(host: str, info: Mapping[str, Any]) -> dict[str, Any]:
    workers = info.get("workers", [])
    missing = [str(worker["endpoint"]) for worker in workers if not worker.get("established")]
    is_up = info.get("active_state") == "active"
    notes = [f"no connection to {', '.join(missing)}"] if missing and is_up else []
    if is_up and not info.get("log_complete", True):
        notes.append("layers unknown, the journal lost its start")
    return _row(host, "head_server", info, len(workers) - len(missing), [*notes, *_restarts(info)])


def router_row(host: str, info: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row of a router, with its models in memory and its failed models."""
    models = info.get("models", [])
    notes = [f"{len(info.get('in_memory', []))} of {len(models)} models in memory"] if models else []
    notes += [f"{model['id']} {model['state']}" for model in models if model["id"] in info.get("in_memory", [])]
    notes += [f"{model['id']} failed with {model['exit_code']}" for model in models if model.get("exit_code")]
    if info.get("active_state") == "active" and info.get("problem"):
        notes.append(str(info["problem"]))
    notes += _restarts(info)
    if "active_state" not in info:
        # The message of a failed module tells why there is no result.
        notes = [str(info.get("msg", "no result"))]
    return _row(host, "fast_router", info, None, notes)


def release_row(host: str, info: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row of a host that has a release and runs no service.

    :param info: result of release_info; without C(releases) it tells why there is none.
    """
    row = _row(host, "", info, None, info.get("problems", []))
    if info.get("unreachable"):
        return row
    if "releases" not in info:
        return {**row, "unit": "", "note": str(info.get("msg", "no result"))}
    return {**row, "unit": "none", "release": info.get("current", "")}


def status(
    heads: Mapping[str, Mapping[str, Any]],
    workers: Mapping[str, Mapping[str, Any]],
    endpoints: Mapping[str, str],
) -> dict[str, Any]:
    """Return the rows of all nodes and devices.

    :param heads: results of head_info by host name; C(workers) likewise of rpc_worker_info.
    :param endpoints: host names by RPC endpoint, such as C({"10.100.0.32:50052": "vllm-node2"}).
    """
    rows = {name: head_row(name, info) for name, info in heads.items()}
    worker_rows = {name: worker_row(name, info) for name, info in workers.items()}
    devices: list[dict[str, Any]] = []
    for head, info in heads.items():
        for device in info.get("devices", []):
            host = endpoints.get(str(device.get("endpoint", "")), head)
            total = sum(float(device[kind]) for kind in ("model_mib", "kv_mib", "compute_mib"))
            devices.append({**device, "host": host, "total_mib": round(total, 2)})
    for device in devices:
        row = worker_rows.get(device["host"]) if device["endpoint"] else rows.get(device["host"])
        if row is None:
            continue
        row["mib"] = round((row["mib"] or 0.0) + device["total_mib"], 2)
        if device["layers"] is not None:
            row["layers"] = (row["layers"] or 0) + device["layers"]
    return {"nodes": [*rows.values(), *worker_rows.values()], "devices": devices}


def route_rows(infos: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a row with the fabric routes of each host.

    :param infos: results of ib_route by host name; empty for a host without a result.
    """
    rows: list[dict[str, Any]] = []
    for host, info in infos.items():
        here = info.get("interface")
        if not here:
            # The table of nodes already lists unreachable hosts.
            if info.get("msg") and not info.get("unreachable") and not info.get("skipped"):
                rows.append({"host": host, "note": info["msg"]})
            continue
        port = info.get("port") or {}
        states = [str(route["state"]) for route in info.get("routes", [])]
        rows.append(
            {
                "host": host,
                "interface": here["name"],
                "mtu": here.get("mtu"),
                "port": " ".join(filter(None, (port.get("device"), port.get("state")))),
                "rate_gbps": port.get("rate_gbps") or here.get("speed_gbps"),
                "routes": ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states)),
                "note": " ".join([*info.get("problems", []), *info.get("advice", [])]),
            }
        )
    return rows


def advisory_rows(services: Sequence[Mapping[str, Mapping[str, Any]]], accepted: Sequence[str]) -> list[dict[str, Any]]:
    """Return a row for each known vulnerability of a running release, with its hosts.

    :param services: results of rpc_worker_info, head_info and router_info by host name.
    :param accepted: ids of advisories that the inventory acknowledges.
    """
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for host, info in (pair for infos in services for pair in infos.items()):
        for advisory in info.get("advisories") or []:
            key = (str(advisory["id"]), str(info.get("release", "")))
            row = rows.setdefault(
                key,
                {
                    "advisory": key[0],
                    "release": key[1],
                    "hosts": host,
                    "accepted": "yes" if key[0] in accepted else "no",
                    "fixed": advisory.get("fixed", ""),
                    "means": advisory.get("means", ""),
                },
            )
            if host not in row["hosts"].split(", "):
                row["hosts"] += f", {host}"
    return list(rows.values())


def problems(infos: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the problems that the hosts report, each with the name of its host."""
    return [f"{host}: {sentence}" for host, info in infos.items() for sentence in info.get("problems") or []]


def gpu_rows(infos: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for each GPU, and for each host without a result.

    :param infos: results of gpu_memory by host name, which may be skipped.
    """
    rows: list[dict[str, Any]] = []
    for host, info in infos.items():
        for gpu in info.get("gpus") or []:
            errors = gpu.get("ecc_uncorrected")
            rows.append(
                {
                    "host": host,
                    "gpu": gpu["index"],
                    **{name: gpu[name] for name in ("name", "used_mib", "free_mib", "total_mib", "level")},
                    "busy": gpu.get("utilisation_percent"),
                    "celsius": gpu.get("temperature_c"),
                    "note": f"{errors} uncorrected memory errors" if errors else "",
                }
            )
        # The table of nodes already lists unreachable hosts.
        silent = "gpus" in info or info.get("skipped") or info.get("unreachable")
        problem = info.get("reason") or ("" if silent else info.get("msg"))
        if problem:
            rows.append({"host": host, "note": problem})
    return rows
