# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Render every unit as the roles' templates write it, with and without GPUs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2
import yaml

from ansible_collections.herd.inference.plugins.filter import systemd_quote
from ansible_collections.herd.inference.plugins.module_utils.core.engine import gpu_environment

ROOT = Path(__file__).parents[3]
V100 = {"name": "Tesla V100S-PCIE-32GB", "compute_capability": "7.0", "memory_mib": 32768, "id": 0}
# A directive that a test inserts into the shared sandbox, and the directive that follows it.
ADDED = {"before": ""}
ADDED_BEFORE = "'ProtectSystem': 'strict',"
SITE = {"herd_user": "llama", "herd_prefix": "/opt/llama.cpp", "herd_rpc_port": 50052}


def literals(role: str, part: str) -> dict[str, Any]:
    """Read the variables of a role that have no template in their value."""
    path = ROOT / "roles" / role / part / "main.yml"
    found = (yaml.safe_load(path.read_text(encoding="utf-8")) or {}) if path.exists() else {}
    return {name: value for name, value in found.items() if "{{" not in str(value)}


def render(role: str, template: str, **values: Any) -> str:
    """Render a template as Ansible does, with the role's variables and the values that a play would compute."""
    environment = jinja2.Environment(trim_blocks=True, keep_trailing_newline=True, undefined=jinja2.StrictUndefined)
    environment.filters["combine"] = lambda first, second: {**first, **second}
    environment.filters["herd.inference.systemd_quote"] = systemd_quote.systemd_quote
    folder = ROOT / "roles" / role
    variables = {**SITE, **literals(role, "defaults"), **literals(role, "vars"), "role_path": str(folder), **values}

    def lookup(plugin: str, path: str, template_vars: dict[str, Any]) -> str:
        assert plugin == "ansible.builtin.template"
        text = Path(path).read_text(encoding="utf-8")
        if path.endswith("/sandbox.j2"):
            text = text.replace(ADDED_BEFORE, f"{ADDED['before']}{ADDED_BEFORE}")
        return environment.from_string(text).render({**variables, **template_vars})

    environment.globals["lookup"] = lookup
    text = (folder / "templates" / template).read_text(encoding="utf-8")
    return environment.from_string(text).render(variables)


def firewall(role: str, ruleset: str, service: str) -> str:
    given = {"unit_role": role, "unit_ruleset": ruleset, "unit_before": service}
    return render("unit_templates", "herd-nft.service.j2", **given)


def worker(has_gpu: bool) -> str:
    return render(
        "rpc_worker",
        "llama-rpc.service.j2",
        rpc_worker_user="llama",
        rpc_worker_allowed=["10.100.0.31"],
        _rpc_worker_has_gpu=has_gpu,
        __rpc_worker_plan={
            "argv": ["/bin/true"],
            "environment": gpu_environment.environment([V100] if has_gpu else []),
        },
    )


def head(has_gpu: bool) -> str:
    return render(
        "head_server",
        "llama-head.service.j2",
        head_server_user="llama",
        _head_server_has_gpu=has_gpu,
        head_server_workers=["vllm-node2"],
        __head_server_placement={"memory_max": "95G"},
        __head_server_plan={
            "argv": ["/bin/true"],
            "environment": gpu_environment.environment([V100] if has_gpu else []),
        },
    )


def router(has_gpu: bool) -> str:
    return render(
        "fast_router",
        "llama-router.service.j2",
        fast_router_user="llama",
        _fast_router_has_gpu=has_gpu,
        __fast_router_plan={
            "argv": ["/bin/true"],
            "environment": gpu_environment.environment([V100] if has_gpu else []),
        },
    )


def agent(has_gpu: bool) -> str:
    return render(
        "node_agent",
        "herd-agent.service.j2",
        herd_gpus=[V100] if has_gpu else [],
        _node_agent_allowed=["10.100.0.31", "10.100.0.32"],
    )


def share(has_gpu: bool) -> str:
    return render(
        "node_agent",
        "herd-share.service.j2",
        node_agent_share_address="10.100.0.31",
        node_agent_share_port=50060,
        node_agent_share_folder="/opt/llama.cpp/dist",
        node_agent_share_files=["a.tar.gz"],
        node_agent_share_clients=["10.100.0.32"],
    )


def queue(has_gpu: bool) -> str:
    return render(
        "head_server",
        "herd-queue.service.j2",
        head_server_address="10.0.0.31",
        head_server_port=8000,
        _head_server_url_host="10.0.0.31",
    )


def tiers(has_gpu: bool) -> str:
    return render(
        "slurm_tiers",
        "herd-tiers.service.j2",
        slurm_tiers_user="llama",
        slurm_tiers_shared_directory="/cluster/shared",
    )


def gateway(has_gpu: bool) -> str:
    return render(
        "gateway",
        "herd-gateway@.service.j2",
        gateway_engine_key_group="llama",
        _gateway_engine_addresses=["10.0.0.41", "10.0.0.42"],
        _gateway_venv="/opt/herd/gateway-venv/0123456789ab",
    )


def gateway_socket(has_gpu: bool) -> str:
    return render("gateway", "herd-gateway.socket.j2", _gateway_nginx_group="www-data")


def worker_firewall(has_gpu: bool) -> str:
    return firewall("rpc_worker", "/etc/herd/rpc-firewall.nft", "llama-rpc.service")


def head_firewall(has_gpu: bool) -> str:
    return firewall("head_server", "/etc/herd/rpc-client.nft", "llama-head.service")


def job_guard(has_gpu: bool) -> str:
    return render("slurm_tiers", "herd-job-guard.service.j2", slurm_tiers_user="llama")


def device_nodes(has_gpu: bool) -> str:
    return render("unit_templates", "herd-gpu.service.j2")


UNITS: dict[str, Callable[[bool], str]] = {
    "llama-rpc.service": worker,
    "llama-head.service": head,
    "llama-router.service": router,
    "herd-agent.service": agent,
    "herd-share.service": share,
    "herd-queue.service": queue,
    "herd-tiers.service": tiers,
    "herd-gateway@.service": gateway,
    "herd-rpc-firewall.service": worker_firewall,
    "herd-rpc-client.service": head_firewall,
    "herd-job-guard.service": job_guard,
    "herd-gpu.service": device_nodes,
}
