# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: tier_plan
short_description: Plan the Slurm jobs of the inference tiers
version_added: 0.1.0
description:
  - From the tiers of the inventory to what their jobs need, without asking a host. For each tier the data of its
    runtime, the job script's limits, the placement of its models, and what cannot work.
author: herd.inference contributors (@herd-inference)
positional: _input
options:
  _input:
    description: The tiers, as in C(herd_tiers).
    type: list
    elements: dict
    required: true
  hosts:
    description: The variables of all hosts, C(hostvars).
    type: dict
    required: true
  nodes:
    description: Names of the hosts that jobs may run on, as in Slurm.
    type: list
    elements: str
    required: true
  models:
    description: C(herd_models).
    type: dict
    required: true
  release:
    description: The engine's release.
    type: str
    required: true
  user:
    description: User that the jobs run as.
    type: str
    required: true
  worker_port:
    description: First port of the workers.
    type: int
    required: true
  paths:
    description: Directories C(prefix), C(models), C(shared), C(cache), and the files C(key_file) and C(guard).
    type: dict
    required: true
  account:
    description: Account of the jobs of tiers that name none; the user's default when empty.
    type: str
    default: ''
  vllm:
    description: C(herd_vllm), the configuration of the models of tiers of the kind V(vllm).
    type: dict
    default: {}
  vllm_installation:
    description: >-
      What these tiers' jobs run: C(work_dir), C(venv), and optionally C(release), C(herdctl) and C(device) (V(cuda) or
      V(cpu)).
    type: dict
    default: {}
  near_gpu:
    description: Whether jobs ask Slurm for processors of their GPU's socket only (C(--gres-flags=enforce-binding)).
    type: bool
    default: true
"""

EXAMPLES = r"""
- name: Plan the tiers
  ansible.builtin.set_fact:
    plan: >-
      {{ herd_tiers | herd.inference.tier_plan(hosts=hostvars, nodes=groups['slurm_nodes'], models=herd_models,
         release=herd_release, user='llama', worker_port=50052, paths={'prefix': '/opt/llama.cpp',
         'models': '/scratch/ai/models', 'shared': '/cluster/shared', 'key_file': '/etc/herd/tiers/api-keys',
         'guard': '/run/herd-guard/guard.sock', 'cache': '/var/cache/herd/rpc'}) }}
"""

RETURN = r"""
_value:
  description:
    - C(tiers), the plan of each tier by its name (C(data), C(limits), C(memory_mib), C(table), C(warnings), and
      C(fingerprint), a hash of its job's configuration). A tier of vLLM also has the texts of its script and its
      specification.
    - C(problems), sentences that stop, and C(warnings), sentences that do not.
    - C(graces), by QoS the longest grace that a tier of it counts on.
    - C(bindings), by tier the processors, nodes and hosts of jobs that ask for processors near their GPU.
    - C(report), the placement of all tiers as data, and C(text), the same for people.
  type: dict
  sample: {tiers: {}, problems: [], warnings: [], graces: {ai_opportunistic: 30}, report: {fits: true}, text: ''}
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.errors import HerdError
from ansible_collections.herd.inference.plugins.module_utils.core.slurm import tier_plan as rules
from ansible_collections.herd.inference.plugins.module_utils.core.vllm import tier as vllm_tier

#: Only these are read: a host's other variables may hold templates that cannot be resolved here.
READ = ("ansible_host", "herd_fabric_address", "herd_fabric_interface", "herd_gpus", "herd_memory_gib")
#: The role's argument specification says the same.
DEFAULTS: dict[str, Any] = {
    "enabled": True,
    "settings": {},
    "split": {},
    "models_max": 2,
    "sleep_idle_seconds": 0,
    "scan": True,
    "exclude": [],
    "presets": {},
    "nodes": 1,
    "hosts": [],
    "gres": "gpu:1",
    "cpus": 8,
    "memory": "",
    "partition": "gpu_ai",
    "qos": "ai_opportunistic",
    "account": "",
    "time_limit": "1-00:00:00",
    "renew_before": 1800,
    "grace": 30,
    "environment": {},
}


def tier_plan(
    tiers: Sequence[Mapping[str, Any]],
    hosts: Mapping[str, Mapping[str, Any]],
    nodes: Sequence[str],
    models: Mapping[str, Mapping[str, Any]],
    release: str,
    user: str,
    worker_port: int,
    paths: Mapping[str, str],
    account: str = "",
    vllm: Mapping[str, Any] | None = None,
    vllm_installation: Mapping[str, Any] | None = None,
    near_gpu: bool = True,
) -> dict[str, Any]:
    facts = {name: {key: hosts[name][key] for key in READ if key in hosts[name]} for name in nodes}
    cluster = rules.Cluster(
        facts, models, str(release), user, int(worker_port), paths, account=account, near_gpu=bool(near_gpu)
    )
    whole = [{**DEFAULTS, **tier} for tier in tiers]
    found = rules.problems(whole)
    plans, warnings = {}, []
    if not found:
        for tier in whole:
            try:
                if tier["kind"] == vllm_tier.KIND:
                    installed = vllm_tier.VllmInstallation(**(vllm_installation or {}))
                    plan = vllm_tier.plan_tier(tier, cluster, vllm or {}, installed)
                    tier["nodes"] = plan.get("nodes", tier["nodes"])
                else:
                    plan = rules.plan_tier(tier, cluster)
            except HerdError as error:
                found.append(f"tier {tier['name']}: {error}")
                continue
            found += plan["problems"]
            warnings += plan["warnings"]
            plans[tier["name"]] = {**plan, "tier": {**tier, "fingerprint": plan.get("fingerprint", "")}}
        if not found:
            warnings += rules.gpu_conflicts(whole, cluster)
            for name, one in plans.items():
                one["tier"]["gpu_conflict"] = rules.gpu_conflict(name, whole, cluster)
    graces = {tier["qos"]: max(one["grace"] for one in whole if one["qos"] == tier["qos"]) for tier in whole}
    bindings = {
        name: {"cpus": one["tier"]["cpus"], "nodes": one["tier"]["nodes"], "hosts": sorted(one["data"]["nodes"])}
        for name, one in plans.items()
        if one.get("limits", {}).get("gres_flags")
    }
    report = rules.plan_data(plans, found, warnings)
    text = rules.plan_text(report)
    return {
        "tiers": plans,
        "problems": found,
        "warnings": warnings,
        "graces": graces,
        "bindings": bindings,
        "report": report,
        "text": text,
    }


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"tier_plan": tier_plan}
