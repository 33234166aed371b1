# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan the jobs of the inventory's tiers: specification, limits, and what cannot work."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..engine import arguments as engine_arguments
from ..engine import gpu_environment
from ..engine.flags import attention_kernels, planned_attention
from ..errors import InvalidInputError
from ..models import ids as model_ids
from ..placement import from_inventory as inventory_placement
from ..placement import router_fit, speculation
from ..placement.compute_buffer import is_older
from ..placement.from_inventory import InventoryGroup
from . import job_spec, memory_limit, queue, revision
from .memory_limit import MemoryNeed

#: Least grace, in seconds: the gateway must notice, and the job must stop and requeue itself.
LEAST_GRACE_S = 15
#: Further options of a tier that stand in its job script.
_IN_SCRIPT = ("job_name", "partition", "qos", "nodes", "gres", "cpus", "time_limit", "renew_before")
_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")
#: Names that sbatch's directives and squeue's columns keep unchanged.
_JOB_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SCRIPT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Cluster:
    """Facts that all tiers share.

    :param hosts: variables of each host of slurm_nodes, by its name in the inventory and in Slurm.
    :param models: herd_models.
    :param paths: the directories C(prefix), C(models), C(shared), C(cache), and the files C(key_file) and C(guard).
    :param account: account of jobs whose tier names none.
    :param near_gpu: whether jobs ask Slurm for processors of their GPU's socket only.
    """

    hosts: Mapping[str, Mapping[str, Any]]
    models: Mapping[str, Mapping[str, Any]]
    release: str
    user: str
    worker_port: int
    paths: Mapping[str, str]
    ports: int = 8
    account: str = ""
    near_gpu: bool = True


def chosen_hosts(tier: Mapping[str, Any], cluster: Cluster) -> list[str]:
    """List the hosts on which the tier's job may run, in Slurm's order."""
    hosts = sorted(tier.get("hosts") or cluster.hosts)
    unknown = [host for host in hosts if host not in cluster.hosts]
    if unknown:
        raise InvalidInputError(
            f"hosts of the tier {tier['name']} among {', '.join(sorted(cluster.hosts))}",
            unknown[0],
            "correct herd_tiers, or put the host into the group slurm_nodes",
        )
    if len(hosts) < tier["nodes"]:
        raise InvalidInputError(
            f"at least {tier['nodes']} hosts for the tier {tier['name']}", f"{len(hosts)}", "correct nodes or hosts"
        )
    return hosts


def problems(tiers: Sequence[Mapping[str, Any]]) -> list[str]:
    """List what is wrong with the tiers' options, before they are planned."""
    found = []
    for key in ("name", "job_name", "script", "gateway_port"):
        values = [tier[key] for tier in tiers]
        twice = sorted({str(value) for value in values if values.count(value) > 1})
        if twice:
            found.append(f"herd_tiers: expected a {key} of its own for each tier, found {twice[0]} twice: change one.")
    for tier in tiers:
        found += [f"tier {tier['name']}: {text}" for text in _tier_problems(tier)]
    return found


def _tier_problems(tier: Mapping[str, Any]) -> list[str]:
    found = []
    if not _NAME.fullmatch(tier["name"]):
        found.append(
            f"expected a name of small letters, digits and hyphens, found {tier['name']!r}: it names files of the "
            f"registry."
        )
    if not _JOB_NAME.fullmatch(tier["job_name"]):
        found.append(
            f"expected a job_name of at most 64 letters, digits, dots, underscores and hyphens, found "
            f"{tier['job_name'][:80]!r}: people and programs find the job by it, and Slurm's columns cut longer ones."
        )
    if not _SCRIPT.fullmatch(tier["script"]) or tier["script"].endswith(".json"):
        found.append(f"expected a file name for the script, found {tier['script']!r}: write one such as run-14b.slurm.")
    if tier["kind"] == job_spec.DISTRIBUTED and len(tier["models"]) != 1:
        found.append(f"expected one model, found {len(tier['models'])}: a distributed engine serves one.")
    if tier["kind"] == job_spec.ROUTER and tier["nodes"] != 1:
        found.append(f"expected one node, found {tier['nodes']}: a router runs on one.")
    found += _preset_problems(tier)
    if tier["grace"] < LEAST_GRACE_S:
        found.append(
            f"expected a grace of at least {LEAST_GRACE_S} seconds, found {tier['grace']}: answers could not end in it."
        )
    try:
        limit = queue.seconds(tier["time_limit"])
    except InvalidInputError as error:
        return [*found, str(error)]
    if tier["renew_before"] < tier["grace"] + 120 or tier["renew_before"] > limit / 2:
        found.append(
            f"expected renew_before between {tier['grace'] + 120} seconds (the grace, and Slurm's own lateness) and "
            f"half of the time limit ({limit // 2}), found {tier['renew_before']}: change one of the two."
        )
    return found


def _preset_problems(tier: Mapping[str, Any]) -> list[str]:
    if tier["presets"] and tier["kind"] != job_spec.ROUTER:
        return ["expected presets of a router only, found some: write what the engine is to have into settings."]
    found = []
    for key, preset in tier["presets"].items():
        if key not in tier["models"]:
            listed = ", ".join(tier["models"])
            found.append(f"expected presets of its models ({listed}), found one of {key}: correct one of the two.")
        unknown = sorted(set(preset or {}) - {"aliases", "settings", "load_at_start"})
        if unknown:
            found.append(
                f"expected aliases, settings and load_at_start in the preset of {key}, found {unknown[0]}: correct it."
            )
    return found


def _facts(host: Mapping[str, Any], port: int) -> dict[str, Any]:
    return {
        "gpus": list(host.get("herd_gpus") or []),
        "memory_gib": host.get("herd_memory_gib") or 0,
        "address": host.get("herd_fabric_address", ""),
        "port": port,
    }


def _memory(
    plan: Mapping[str, Any], entry: Mapping[str, Any], settings: Mapping[str, Any], cluster: Cluster
) -> MemoryNeed:
    metadata = inventory_placement.metadata_in(entry)
    if not plan["known"] or metadata is None:
        return MemoryNeed()
    request = inventory_placement.request_of(settings, cluster.models)
    draft = request.speculation.draft
    files = metadata.file_size + (draft.file_size if draft else 0)
    context = speculation.context_bytes(metadata, request.speculation, request.cache)
    # All nodes get the same limit.
    needs = memory_limit.of_distributed(plan, files, metadata.largest, context).values()
    return MemoryNeed(max(need.least for need in needs), max(need.sum for need in needs))


def _distributed(
    tier: Mapping[str, Any], cluster: Cluster, names: Sequence[str], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Plan the one model of a distributed tier: its memory, its layers, and what does not fit."""
    entry = cluster.models[tier["models"][0]]
    facts = {name: _facts(cluster.hosts[name], cluster.worker_port) for name in names}
    head, *workers = names
    if not workers and not facts[head]["gpus"]:
        # Without a GPU the head's CPU holds the layers. The plan sees that as a worker on the same host.
        workers = [head]
    group = InventoryGroup(workers, head, facts, True, job_spec.RESERVE_MIB)
    # Other models matter as the draft only: a tier's plan compares none.
    models = cluster.models if settings["speculation"] else {}
    plan = inventory_placement.plan_for(entry, group, settings, cluster.release, tier["split"], models)
    return {
        "memory": _memory(plan, entry, settings, cluster),
        "problems": plan.get("problems", []),
        "table": plan["table"],
        "split": plan.get("split") or dict(tier["split"]),
        "models": {},
    }


def _preset(tier: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return a tier's preset for one of its models."""
    return tier["presets"].get(key) or {}


def _router_memory(
    tier: Mapping[str, Any], models: Sequence[Mapping[str, Any]], machine: router_fit.RouterHost
) -> MemoryNeed:
    need = memory_limit.of_router(models, tier["models_max"])
    if not tier["scan"]:
        return need
    # Other models on the node are unknown here, but all loaded ones fit on its GPUs.
    gpus = sum(int(float(gpu["memory_mib"])) for gpu in machine.gpus)
    return MemoryNeed(need.least, max(need.sum, memory_limit.of_gpus(gpus, tier["models_max"])) if gpus else need.sum)


def _router(
    tier: Mapping[str, Any], cluster: Cluster, names: Sequence[str], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Plan a router: whether its largest models fit together."""
    host = cluster.hosts[names[0]]
    gpus, memory_gib = list(host.get("herd_gpus") or []), float(host.get("herd_memory_gib") or 0)
    entries = [
        router_fit.RouterModel(
            model_ids.api_id(tier["kind"], cluster.models[key]),
            inventory_placement.metadata_in(cluster.models[key]),
            engine_arguments.merged(settings, _preset(tier, key).get("settings") or {}),
        )
        for key in tier["models"]
    ]
    machine = router_fit.RouterHost(names[0], gpus, memory_gib, reserve_mib=job_spec.RESERVE_MIB)
    plan = router_fit.plan(entries, machine, tier["models_max"], cluster.release)
    return {
        "memory": _router_memory(tier, plan["models"], machine),
        "problems": plan["problems"],
        "table": plan["table"],
        "split": {},
        "models": {model["id"]: model for model in plan["models"]},
    }


def _attention(entry: Mapping[str, Any]) -> list[list[int]]:
    """List the shapes of a model's attention as plain data; none without metadata."""
    metadata = inventory_placement.metadata_in(entry)
    shapes = attention_kernels.shapes_of(metadata.to_data()) if metadata else ()
    return [[shape.key, shape.value, shape.ratio] for shape in shapes]


def _attention_findings(
    tier: Mapping[str, Any], models: Sequence[Mapping[str, Any]], cluster: Cluster, hosts: Sequence[str]
) -> tuple[list[str], list[str]]:
    """List what CUDA lacks for the attention of a tier's models on its hosts, as errors and as warnings.

    :param models: models of the job's specification.
    """
    gpus = [gpu for host in hosts for gpu in cluster.hosts[host].get("herd_gpus") or ()]
    errors: list[str] = []
    warned: list[str] = []
    for model in models if gpus else ():
        found = planned_attention.problems_and_warnings(
            [attention_kernels.AttentionShape(*shape) for shape in model["attention"]],
            engine_arguments.merged(tier["settings"], model["settings"]),
            gpu_environment.capabilities(gpus),
            not is_older(cluster.release),
            tier["nodes"] > 1,
        )
        errors += [f"model {model['id']}: {text}" for text in found[0]]
        warned += [f"model {model['id']}: {text}" for text in found[1]]
    return errors, warned


def plan_tier(tier: Mapping[str, Any], cluster: Cluster) -> dict[str, Any]:
    """Plan a tier.

    :returns: the job's specification, the script's limits, a table for people, and what does not fit.
    """
    hosts = chosen_hosts(tier, cluster)
    settings = engine_arguments.merged(tier["settings"])
    missing = [key for key in tier["models"] if key not in cluster.models]
    if missing:
        raise InvalidInputError(
            f"models of the tier {tier['name']} among {', '.join(sorted(cluster.models))}",
            missing[0],
            "correct herd_tiers, or describe the model in herd_models",
        )
    is_router = tier["kind"] == job_spec.ROUTER
    plan = (_router if is_router else _distributed)(tier, cluster, hosts[: tier["nodes"]], settings)
    data = _data(tier, cluster, plan, hosts)
    errors, warned = _attention_findings(tier, data["models"], cluster, hosts)
    need: MemoryNeed = plan["memory"]
    node_mib = memory_limit.most_mib(min(float(cluster.hosts[host].get("herd_memory_gib") or 0) for host in hosts))
    memory_mib = min(need.limit_mib, node_mib or need.limit_mib)
    everywhere = len(hosts) == tier["nodes"]
    found = [f"tier {tier['name']}: {text}" for text in (*plan["problems"], *errors)]
    given_mib = memory_limit.given_mib(tier["memory"])
    if given_mib and given_mib < need.least_mib:
        found.append(
            f"tier {tier['name']}: expected a memory limit of at least {need.least_mib} MiB, found {tier['memory']}: "
            f"Slurm would kill it; the plan says {memory_mib // 1024}G."
        )
    warnings = [*warned, *memory_limit.warnings(given_mib, need.limit_mib, node_mib)]
    limits = {
        "memory": str(tier["memory"] or f"{memory_mib // 1024}G"),
        "nodelist": hosts if everywhere else [],
        "exclude": [] if everywhere else sorted(set(cluster.hosts) - set(hosts)),
        "account": tier["account"] or cluster.account,
        # Slurm knows the processors of a GPU from Cores= in gres.conf. Without it, the request makes no difference.
        "gres_flags": "enforce-binding" if cluster.near_gpu and tier["gres"].startswith(("gpu", "shard")) else "",
    }
    fingerprint = revision.fingerprint(data, {**limits, **{name: tier[name] for name in _IN_SCRIPT}})
    return {
        "name": tier["name"],
        "data": {**data, "fingerprint": fingerprint},
        "limits": limits,
        "fingerprint": fingerprint,
        "memory_mib": memory_mib,
        "table": plan["table"],
        "problems": found,
        "warnings": [f"tier {tier['name']}: {text}" for text in warnings],
    }


def _node(host: Mapping[str, Any]) -> dict[str, Any]:
    gpus = list(host.get("herd_gpus") or [])
    return {
        "address": str(host["ansible_host"]),
        "fabric": str(host["herd_fabric_address"]),
        "interface": str(host.get("herd_fabric_interface") or ""),
        "gpus": len(gpus),
        "memory_mib": int(min((float(gpu["memory_mib"]) for gpu in gpus), default=0)),
        "memory_gib": float(host.get("herd_memory_gib") or 0),
        "capabilities": list(gpu_environment.capabilities(gpus)),
    }


def _model(tier: Mapping[str, Any], key: str, cluster: Cluster, plan: Mapping[str, Any]) -> dict[str, Any]:
    entry, preset = cluster.models[key], _preset(tier, key)
    name = model_ids.api_id(tier["kind"], entry)
    placed = plan["models"].get(name, {})
    return {
        "id": name,
        "path": f"{cluster.paths['models']}/{entry['file']}",
        "layers": int(entry["layers"]),
        "size": int(entry.get("size") or entry.get("size_estimate") or 0),
        "attention": _attention(entry),
        "devices": placed.get("devices", []),
        "split": placed.get("split", []),
        "aliases": [str(alias) for alias in preset.get("aliases") or ()],
        "settings": dict(preset.get("settings") or {}),
        "at_start": bool(preset.get("load_at_start")),
    }


def _data(tier: Mapping[str, Any], cluster: Cluster, plan: Mapping[str, Any], hosts: Sequence[str]) -> dict[str, Any]:
    paths, is_router = cluster.paths, tier["kind"] == job_spec.ROUTER
    return {
        "schema": job_spec.SCHEMA,
        "tier": tier["name"],
        "kind": tier["kind"],
        "user": cluster.user,
        "prefix": paths["prefix"],
        "registry": f"{paths['shared']}/ai/endpoints",
        "logs": f"{paths['shared']}/ai/logs",
        "key_file": paths["key_file"],
        "port": tier["port"],
        "worker_port": cluster.worker_port,
        "ports": cluster.ports,
        "models": [_model(tier, key, cluster, plan) for key in tier["models"]],
        "models_max": tier["models_max"],
        "sleep_idle_seconds": tier["sleep_idle_seconds"],
        "settings": dict(tier["settings"]),
        "split": plan["split"],
        "nodes": {name: _node(cluster.hosts[name]) for name in hosts},
        "folder": paths["models"],
        "scan": is_router and tier["scan"],
        "exclude": [str(name) for name in tier["exclude"]],
        "rules": cluster.release,
        "cpus": tier["cpus"],
        "guard": paths["guard"],
        "cache": {} if is_router else {"folder": paths["cache"], "prune": ["--folder", f"{paths['cache']}/rpc"]},
        "environment": {str(name): str(value) for name, value in tier["environment"].items()},
        "timing": {"grace": tier["grace"], "renew_before": tier["renew_before"]},
    }


def _wanted_gpus(tiers: Sequence[Mapping[str, Any]], cluster: Cluster) -> dict[str, list[str]]:
    """List by host the tiers that need a whole GPU there, where the host has too few."""
    wanted: dict[str, list[str]] = {}
    for tier in tiers:
        hosts = chosen_hosts(tier, cluster)
        if tier["enabled"] and tier["gres"].startswith("gpu") and len(hosts) == tier["nodes"]:
            for host in hosts:
                wanted.setdefault(host, []).append(tier["name"])
    found = {}
    for host, names in sorted(wanted.items()):
        has = len(cluster.hosts[host].get("herd_gpus") or [])
        if has and len(names) > has:
            found[host] = names
    return found


def gpu_conflicts(tiers: Sequence[Mapping[str, Any]], cluster: Cluster) -> list[str]:
    """Warn of tiers that cannot run at the same time: they need the same GPU."""
    return [
        f"the tiers {' and '.join(names)} NEVER SERVE AT THE SAME TIME: each needs a GPU of {host}, which has "
        f"{len(cluster.hosts[host]['herd_gpus'])}. The job that starts first keeps it, and the other waits until that "
        f"job has ended. Give one of them other hosts, or let them share the GPU (gres: shard:1) if both fit into it."
        for host, names in _wanted_gpus(tiers, cluster).items()
    ]


def gpu_conflict(name: str, tiers: Sequence[Mapping[str, Any]], cluster: Cluster) -> str:
    """Say with which other tier a tier shares a GPU; empty for none."""
    for host, names in _wanted_gpus(tiers, cluster).items():
        others = [other for other in names if other != name]
        if name in names:
            return (
                f"{name} and {' and '.join(others)} need the same GPU of {host} and never serve at the same time "
                f"(herd_tiers: other hosts, or gres: shard:1)"
            )
    return ""


def plan_data(
    plans: Mapping[str, Mapping[str, Any]], problems_found: Sequence[str], warnings: Sequence[str]
) -> dict[str, Any]:
    """Return the plan of all tiers as data for scripts."""
    return {
        "fits": not problems_found,
        "problems": list(problems_found),
        "warnings": list(warnings),
        "tiers": {
            name: {
                "kind": plan["tier"]["kind"],
                "nodes": plan["tier"]["nodes"],
                "hosts": sorted(plan.get("data", {}).get("nodes", {}) or plan["tier"]["hosts"]),
                "split": plan.get("data", {}).get("split", {}),
                "memory": plan.get("limits", {}).get("memory", ""),
                "models": [model["id"] for model in plan.get("data", {}).get("models", [])],
                "table": plan.get("table", ""),
            }
            for name, plan in plans.items()
        },
    }


def plan_text(data: Mapping[str, Any]) -> str:
    """Write the plan of all tiers as text.

    :param data: of C(plan_data).
    """
    parts = []
    for name, tier in data["tiers"].items():
        many = "1 node" if tier["nodes"] == 1 else f"{tier['nodes']} nodes"
        # vLLM plans its own memory.
        table = tier["table"] or "herdctl vllm plan shows the memory of a model of vLLM"
        where = f" of {', '.join(tier['hosts'])}" if tier["hosts"] else ""
        memory = f", {tier['memory']} of memory" if tier["memory"] else ""
        parts.append(f"tier {name} ({tier['kind']}): {many}{where}{memory}\n{table}")
    return "\n\n".join([*parts, *data["problems"], *data["warnings"]])
