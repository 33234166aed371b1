# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan a tier that vLLM serves: the operator's way to run a job, behind the gateway.

The model is one of C(herd_vllm), which has the structure of C(config.yaml). The tier says where and how it runs. The
script and the specification are those of a user's job; only data differ.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import InvalidInputError
from ..slurm import tier_plan
from ..slurm.tier_plan import Cluster
from ..text import bytes_of
from . import config
from .config_document import tree
from .job import builder, port_request, script
from .job import spec as job_spec

#: Kind of these tiers in C(herd_tiers).
KIND = "vllm"
#: Seconds of the grace that stay for Slurm after the running requests have ended.
_AFTER_DRAIN_S = 10
#: Seconds in which the gateway learns that a tier drains.
_SETTLE_S = 3
_MIB = 1 << 20
_FILE = "herd_vllm"


@dataclass(frozen=True)
class VllmInstallation:
    """What the role has installed for the tiers' jobs.

    :param work_dir: folder of specifications, logs and states on the shared storage, which the jobs' user owns.
    :param venv: the environment of vLLM, as a path without links.
    :param device: what vLLM computes on.
    """

    work_dir: str
    venv: str
    release: str = ""
    herdctl: str = "/opt/herd/bin/herdctl"
    device: str = job_spec.CUDA


def _node(value: Any) -> tree.Node:
    if isinstance(value, Mapping):
        entries = (tree.Entry(tree.Scalar(str(key), 0), _node(each)) for key, each in value.items())
        return tree.Mapping(tuple(entries), 0, _FILE)
    if isinstance(value, (list, tuple)):
        return tree.Sequence(tuple(_node(each) for each in value), 0)
    if value is None or isinstance(value, bool):
        return tree.Scalar({None: "", True: "true", False: "false"}[value], 0)
    return tree.Scalar(str(value), 0, quoted=isinstance(value, str) and not value)


def settings(document: Mapping[str, Any]) -> config.Config:
    """Read C(herd_vllm) of the inventory.

    :raises InvalidInputError: with all its errors.
    """
    root = _node(document)
    if not isinstance(root, tree.Mapping) or not root.entries:
        raise InvalidInputError(
            "the configuration of vLLM as herd_vllm", "none", "write it with the keys of docs/reference/vllm.md"
        )
    return config.parse(root)


def _hosts(cluster: Cluster, names: Sequence[str]) -> dict[str, job_spec.HostFacts]:
    return {
        name: job_spec.HostFacts(
            str(cluster.hosts[name]["ansible_host"]),
            str(cluster.hosts[name].get("herd_fabric_address") or ""),
            str(cluster.hosts[name].get("herd_fabric_interface") or ""),
        )
        for name in names
    }


def _site(tier: Mapping[str, Any], cluster: Cluster, hosts: Sequence[str], installed: VllmInstallation) -> builder.Site:
    everywhere = len(hosts) == tier["nodes"]
    return builder.Site(
        user=cluster.user,
        work_dir=installed.work_dir,
        herdctl=installed.herdctl,
        venv_dir=installed.venv,
        way=job_spec.OPERATOR,
        key_file=cluster.paths["key_file"],
        vllm_release=installed.release,
        nodes=_hosts(cluster, hosts),
        device=installed.device,
        qos=tier["qos"],
        gres=tier["gres"],
        nodelist=tuple(hosts) if everywhere else (),
        exclude=() if everywhere else tuple(sorted(set(cluster.hosts) - set(hosts))),
        environment={str(name): str(value) for name, value in tier["environment"].items()},
        timing=job_spec.JobTiming(
            drain=tier["grace"] - _AFTER_DRAIN_S, settle=_SETTLE_S, renew_before=tier["renew_before"]
        ),
        ports=cluster.ports,
        is_renewed=True,
        tier=tier["name"],
        registry=f"{cluster.paths['shared']}/ai/endpoints",
        guard=cluster.paths["guard"],
    )


def _for_tier(document: config.Config, key: str, tier: Mapping[str, Any], account: str, work_dir: str) -> config.Config:
    """Put the tier's values in the place of the model's own. The jobs' user may have no home for caches."""
    entry = dataclasses.replace(
        document.model(key), partition=tier["partition"], time=tier["time_limit"], port=tier["port"]
    )
    return dataclasses.replace(
        document,
        slurm=dataclasses.replace(document.slurm, account=account),
        cache=dataclasses.replace(document.cache, xdg_cache_home=document.cache.xdg_cache_home or f"{work_dir}/cache"),
        models={**document.models, key: entry},
    )


def problems(tier: Mapping[str, Any]) -> list[str]:
    """List what is wrong with the options of a tier, beside what is wrong for tiers of all kinds."""
    found = []
    if len(tier["models"]) != 1:
        found.append(f"expected one model, found {len(tier['models'])}: vLLM serves one.")
    if tier["job_name"] != tier["name"]:
        found.append(f"expected the job_name {tier['name']}, found {tier['job_name']}: its job has the tier's name.")
    return [f"tier {tier['name']}: {text}" for text in found]


def plan_tier(
    tier: Mapping[str, Any], cluster: Cluster, document: Mapping[str, Any], installed: VllmInstallation
) -> dict[str, Any]:
    """Plan a tier.

    :returns: the same as for the other kinds, and the texts and paths of the script and the specification.
    :raises InvalidInputError: if the configuration, or a value for Slurm, is wrong.
    """
    if found := problems(tier):
        return {"problems": found, "warnings": []}
    given = settings(document)
    if (base := given.distributed.master_port_base) < port_request.LOWEST:
        text = (
            f"expected distributed.master_port_base from {port_request.LOWEST}, found {base}: the port guard closes no "
            "lower port."
        )
        return {"problems": [f"tier {tier['name']}: {text}"], "warnings": []}
    key = tier["models"][0]
    entry = given.model(key)
    hosts = tier_plan.chosen_hosts({**tier, "nodes": entry.nodes}, cluster)
    placed = {**tier, "nodes": entry.nodes}
    account = tier["account"] or cluster.account or given.slurm.account
    described = _for_tier(given, key, placed, account, installed.work_dir)
    job = builder.build(described, key, _site(placed, cluster, hosts, installed))
    path = f"{cluster.paths['shared']}/scripts/llama-cpp/{tier['script']}"
    job = dataclasses.replace(job, script=path)
    return {
        "name": tier["name"],
        "kind": KIND,
        "data": {"models": [{"id": job.names[0]}], "kind": KIND},
        "limits": {"memory": job.memory, "nodelist": list(job.nodelist), "exclude": list(job.exclude)},
        "fingerprint": job.fingerprint,
        "memory_mib": (bytes_of(job.memory) or 0) // _MIB,
        "table": "",
        "nodes": entry.nodes,
        "script_text": script.render(job),
        "spec_text": job_spec.write(job),
        "spec_path": job.spec_path,
        "problems": [],
        "warnings": [f"tier {tier['name']}: {notice.sentence(_FILE)}" for notice in given.notices],
    }
