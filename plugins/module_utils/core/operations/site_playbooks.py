# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide which playbooks work on a site, and what an operator does instead of the others.

A site is what its groups make it: a head, routers, tiers as Slurm jobs, or vLLM as the job of a user. One inventory can
be several of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..errors import InvalidInputError

HEAD, ROUTERS, TIERS, VLLM = "head", "routers", "tiers", "vllm"
#: Each kind of site: the groups that make a site one, and its name in a message.
KINDS = {
    HEAD: (("head_server",), "a head with its workers"),
    ROUTERS: (("fast_router",), "routers"),
    TIERS: (("slurm_controller",), "tiers of a Slurm cluster"),
    VLLM: (("vllm_slurm",), "vLLM as the Slurm job of a user"),
}

_VLLM_INSTALL = "run playbooks/vllm.yml"
_RELEASE_OF_TIERS = "write the release into herd_release and run playbooks/slurm.yml, which renews idle jobs"
_VLLM_RELEASE = "write the release into vllm_slurm_version and run playbooks/vllm.yml"
_NO_NODES = "nothing: Slurm's administrators run the nodes"

#: Each playbook by the kinds of sites that it does not serve: what an operator does there instead. A kind that is not
#: listed is served.
INSTEAD: dict[str, dict[str, str]] = {
    # The head, a router, a tier or vLLM: each site has an endpoint.
    "benchmark": {},
    "ask": {VLLM: "run herdctl vllm ask"},
    "check_fabric": {VLLM: _NO_NODES},
    "check_models": {VLLM: "run herdctl vllm plan, which checks the files of the model"},
    "collect": {VLLM: "run herdctl vllm logs and herdctl vllm status --json"},
    "drain": {VLLM: "run herdctl vllm stop, which lets running requests end"},
    "install_release": {VLLM: _VLLM_INSTALL},
    "lock_models": {VLLM: "nothing: the models and their revisions are in config.yaml"},
    "logs": {VLLM: "run herdctl vllm logs"},
    "monitoring": {VLLM: "nothing: herdctl vllm status shows the metrics of the job"},
    "plan": {VLLM: "run herdctl vllm plan --all"},
    "preflight": {
        TIERS: "run playbooks/slurm.yml --tags preflight",
        VLLM: "run playbooks/vllm.yml --tags preflight",
    },
    "remove": {VLLM: "run herdctl vllm stop, and delete the folder herd_work_dir"},
    "restart": {
        TIERS: "run playbooks/drain.yml, then playbooks/start.yml",
        VLLM: "run herdctl vllm stop, then herdctl vllm launch",
    },
    "rollback": {TIERS: _RELEASE_OF_TIERS, VLLM: _VLLM_RELEASE},
    "rotate_key": {
        ROUTERS: "write the keys into fast_router_api_keys and run site.yml --tags router",
        TIERS: "give each user a key of the gateway: herdctl key new NAME, then herdctl key revoke NAME",
        VLLM: "run herdctl vllm launch: each job has a key of its own",
    },
    "site": {TIERS: "run playbooks/slurm.yml", VLLM: _VLLM_INSTALL},
    "slurm": {HEAD: "run site.yml", ROUTERS: "run site.yml", VLLM: _VLLM_INSTALL},
    "start": {VLLM: "run herdctl vllm launch"},
    "status": {VLLM: "run herdctl vllm status"},
    "stop": {
        TIERS: "run playbooks/drain.yml, which ends the tiers' jobs after their running requests",
        VLLM: "run herdctl vllm stop --now",
    },
    "tidy": {VLLM: "nothing: Slurm's administrators run the nodes, and herd_work_dir is yours"},
    "upgrade": {TIERS: _RELEASE_OF_TIERS, VLLM: _VLLM_RELEASE},
    "vllm": {HEAD: "run site.yml", ROUTERS: "run site.yml", TIERS: "run playbooks/slurm.yml"},
}

#: The group that a playbook works on, where a site that it serves may have none, and what its hosts do.
GROUPS = {"check_models": ("model_store", "keep model files"), "monitoring": ("monitoring", "run Prometheus")}


def kinds(groups: Mapping[str, Sequence[str]]) -> list[str]:
    """List what a site is, by its groups that have hosts."""
    return [kind for kind, (names, _text) in KINDS.items() if any(groups.get(name) for name in names)]


def problem(playbook: str, groups: Mapping[str, Sequence[str]]) -> str:
    """Say why a playbook does not serve a site, and what does; empty if it serves the site.

    :raises InvalidInputError: for a playbook without an entry.
    """
    if playbook not in INSTEAD:
        raise InvalidInputError("a playbook of the collection", playbook, "add it to core/operations/site_playbooks.py")
    found = kinds(groups)
    if any(kind not in INSTEAD[playbook] for kind in found):
        group, purpose = GROUPS.get(playbook, ("", ""))
        if not group or groups.get(group):
            return ""
        return (
            f"{playbook}.yml: expected hosts in the group {group}, found none: add the hosts that {purpose}, "
            "or name another inventory with -i."
        )
    served = [kind for kind in KINDS if kind not in INSTEAD[playbook]]
    expected = " or ".join(f"{KINDS[kind][1]} (group {' or '.join(KINDS[kind][0])})" for kind in served)
    if not found:
        return f"{playbook}.yml: expected {expected}, found no hosts in these groups: name another inventory with -i."
    here = " and ".join(KINDS[kind][1] for kind in found)
    return f"{playbook}.yml: expected {expected}, found {here}: {'; '.join(INSTEAD[playbook][kind] for kind in found)}."
