# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows of the status table, from what the info modules say, and the table as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

COLUMNS = ("host", "role", "unit", "release", "since", "connections", "layers", "mib", "note")
DEVICE_COLUMNS = ("device", "host", "layers", "model_mib", "kv_mib", "compute_mib", "total_mib")
ROUTE_COLUMNS = ("host", "interface", "mtu", "port", "rate_gbps", "routes", "note")
ADVISORY_COLUMNS = ("advisory", "release", "hosts", "accepted", "fixed", "means")
GPU_COLUMNS = ("host", "gpu", "name", "used_mib", "free_mib", "total_mib", "level", "busy", "celsius", "note")


def worker_row(host: str, info: Mapping[str, Any]) -> dict[str, Any]:
    """Describe a worker."""
    clients = info.get("connections", [])
    return {
        "host": host,
        "role": "rpc_worker",
        "unit": _unit(info),
        "release": info.get("release", ""),
        "since": info.get("since", ""),
        "connections": len(clients),
        "layers": None,
        "mib": None,
        "note": _worker_note(info),
    }


def _unit(info: Mapping[str, Any]) -> str:
    if info.get("unreachable"):
        return "unreachable"
    return f"{info.get('active_state', 'unknown')} ({info.get('sub_state', 'unknown')})"


def _worker_note(info: Mapping[str, Any]) -> str:
    if info.get("unreachable"):
        return _reason(info)
    if info.get("active_state") != "active":
        return ""
    notes = []
    if not info.get("listening"):
        notes.append("listens nowhere")
    if not info.get("connections"):
        notes.append("no head connected")
    if info.get("restarts"):
        notes.append(f"{info['restarts']} restarts")
    return ", ".join(notes)


def _reason(info: Mapping[str, Any]) -> str:
    """Why a host cannot be reached, in one line."""
    said = str(info.get("msg", ""))
    for preface in ("Task failed:", "Failed to connect to the host via ssh:"):
        said = said.replace(preface, "")
    return " ".join(said.split())[:100] or "no answer"


def head_row(host: str, info: Mapping[str, Any]) -> dict[str, Any]:
    """Describe the head."""
    workers = info.get("workers", [])
    connected = [worker for worker in workers if worker.get("established")]
    missing = [str(worker["endpoint"]) for worker in workers if not worker.get("established")]
    is_up = info.get("active_state") == "active"
    notes = [f"no connection to {', '.join(missing)}"] if missing and is_up else []
    if is_up and not info.get("log_complete", True):
        notes.append("layers unknown, the journal lost its start")
    if info.get("restarts"):
        notes.append(f"{info['restarts']} restarts")
    if info.get("unreachable"):
        notes = [_reason(info)]
    return {
        "host": host,
        "role": "head_server",
        "unit": _unit(info),
        "release": info.get("release", ""),
        "since": info.get("since", ""),
        "connections": len(connected),
        "layers": None,
        "mib": None,
        "note": ", ".join(notes),
    }


def router_row(host: str, info: Mapping[str, Any]) -> dict[str, Any]:
    """Describe a router, with the models that hold memory and those that did not come up."""
    models = info.get("models", [])
    notes = [f"{len(info.get('in_memory', []))} of {len(models)} models in memory"] if models else []
    notes += [f"{model['id']} {model['state']}" for model in models if model["id"] in info.get("in_memory", [])]
    notes += [f"{model['id']} failed with {model['exit_code']}" for model in models if model.get("exit_code")]
    if info.get("active_state") == "active" and info.get("problem"):
        notes.append(str(info["problem"]))
    if info.get("restarts"):
        notes.append(f"{info['restarts']} restarts")
    if info.get("unreachable"):
        notes = [_reason(info)]
    # A host that could not be asked says why.
    elif "active_state" not in info:
        notes = [str(info.get("msg", "it says nothing"))]
    return {
        "host": host,
        "role": "fast_router",
        "unit": _unit(info),
        "release": info.get("release", ""),
        "since": info.get("since", ""),
        "connections": None,
        "layers": None,
        "mib": None,
        "note": ", ".join(notes),
    }


def _device_total(device: Mapping[str, Any]) -> float:
    return float(device["model_mib"]) + float(device["kv_mib"]) + float(device["compute_mib"])


def status(
    heads: Mapping[str, Mapping[str, Any]],
    workers: Mapping[str, Mapping[str, Any]],
    endpoints: Mapping[str, str],
) -> dict[str, Any]:
    """Join what every host says into one picture.

    :param heads: by host name, the result of head_info.
    :param workers: by host name, the result of rpc_worker_info.
    :param endpoints: host name of each RPC endpoint, C({"10.100.0.32:50052": "vllm-node2"}).
    """
    rows = {name: head_row(name, info) for name, info in heads.items()}
    worker_rows = {name: worker_row(name, info) for name, info in workers.items()}
    devices: list[dict[str, Any]] = []
    for head, info in heads.items():
        for device in info.get("devices", []):
            host = endpoints.get(str(device.get("endpoint", "")), head)
            devices.append({**device, "host": host, "total_mib": round(_device_total(device), 2)})
    for device in devices:
        row = worker_rows.get(device["host"]) if device["endpoint"] else rows.get(device["host"])
        if row is None:
            continue
        row["mib"] = round((row["mib"] or 0.0) + device["total_mib"], 2)
        if device["layers"] is not None:
            row["layers"] = (row["layers"] or 0) + device["layers"]
    return {"nodes": [*rows.values(), *worker_rows.values()], "devices": devices}


def route_rows(infos: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Describe the way from every host to the others.

    :param infos: by host name, the result of ib_route; of a host that was not asked, nothing.
    """
    rows: list[dict[str, Any]] = []
    for host, info in infos.items():
        here = info.get("interface")
        if not here:
            # Of a host that cannot be reached, the table of nodes says so.
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
    """Describe the known vulnerabilities of the releases that run, with the hosts that run them.

    :param services: by host name, the results of rpc_worker_info, of head_info and of router_info.
    :param accepted: ids that the inventory has acknowledged.
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
    """List what the hosts themselves found wrong, each with its host."""
    return [f"{host}: {sentence}" for host, info in infos.items() for sentence in info.get("problems") or []]


def gpu_rows(infos: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Describe every GPU of every host, and hosts that could not say.

    :param infos: by host name, the result of gpu_memory; of a host that was not asked, a skipped one.
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
        # Of a host that cannot be reached, the table of nodes says so.
        silent = "gpus" in info or info.get("skipped") or info.get("unreachable")
        problem = info.get("reason") or ("" if silent else info.get("msg"))
        if problem:
            rows.append({"host": host, "note": problem})
    return rows
