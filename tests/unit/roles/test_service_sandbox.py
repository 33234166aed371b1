# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""systemd rates the sandbox of every unit, with and without GPUs, as the roles' templates write it.

The lab has no GPU, so only these tests let systemd read the units of a GPU host.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml

from ansible_collections.herd.inference.plugins.filter import systemd_quote
from ansible_collections.herd.inference.plugins.module_utils.core.engine import gpu_environment
from tests.scenarios.tables import rows

ROOT = Path(__file__).parents[3]
HIGHEST = 2.5
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
LISTED = {row["unit"]: row for row in rows("exposure.md")}


def exposure(unit: str, text: str, folder: Path) -> float:
    path = folder / unit
    path.write_text(text, encoding="utf-8")
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    if found is None and "offline" in done.stderr:
        pytest.skip("this systemd-analyze has no --offline (it came with 250)")
    assert found, done.stdout + done.stderr
    return float(found[1])


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("has_gpu", [False, True])
def test_directive_of_shared_sandbox_is_in_every_unit(
    monkeypatch: pytest.MonkeyPatch, unit: str, has_gpu: bool
) -> None:
    monkeypatch.setitem(ADDED, "before", "'PrivateIPC': 'yes',\n  ")
    assert "PrivateIPC=yes" in UNITS[unit](has_gpu).splitlines()


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("has_gpu", [False, True])
def test_unit_sets_each_directive_of_its_sandbox_once(unit: str, has_gpu: bool) -> None:
    names = [line.split("=", 1)[0] for line in UNITS[unit](has_gpu).splitlines()]
    assert "ProtectSystem" in names
    shared = (ROOT / "roles/unit_templates/templates/sandbox.j2").read_text(encoding="utf-8")
    once = set(re.findall(r"'([A-Z]\w+)': '", shared))
    assert [name for name in once if names.count(name) > 1] == []


def test_arguments_reach_the_engine_unchanged() -> None:
    unit = render(
        "head_server",
        "llama-head.service.j2",
        head_server_user="llama",
        _head_server_has_gpu=False,
        head_server_workers=[],
        __head_server_placement={},
        __head_server_plan={"argv": ["/bin/true", "--alias", "my 100% $model"], "environment": {"NOTE": "5 $"}},
    )
    assert 'ExecStart=/bin/true --alias "my 100%% $$model"' in unit.splitlines()
    assert 'Environment="NOTE=5 $"' in unit.splitlines()


def test_service_starts_after_its_firewall_rules() -> None:
    for text, service in ((worker_firewall(False), "llama-rpc.service"), (head_firewall(False), "llama-head.service")):
        lines = text.splitlines()
        assert f"Before=network-online.target {service}" in lines
        # systemd prepares this unit's /dev in a folder that systemd-tmpfiles-setup empties.
        assert "After=systemd-tmpfiles-setup.service" in lines


def test_every_unit_template_is_rated() -> None:
    templates = {path.name.removesuffix(".j2") for path in (ROOT / "roles").glob("*/templates/*.service.j2")}
    assert templates - {"herd-nft.service"} <= set(UNITS)
    assert set(UNITS) == set(LISTED)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze on this machine")
@pytest.mark.parametrize("unit", UNITS)
def test_exposure_of_unit_is_within_documented_limit(tmp_path: Path, unit: str) -> None:
    row = LISTED[unit]
    version = subprocess.run(["systemd-analyze", "--version"], capture_output=True, text=True, check=True).stdout
    for has_gpu, limit in ((False, row["without GPU"]), (True, row["with GPUs"])):
        if limit != "-":
            assert float(limit) <= HIGHEST
            # Each version of systemd rates different directives.
            bound = float(limit) if version.startswith("systemd 252") else HIGHEST
            assert exposure(unit, UNITS[unit](has_gpu), tmp_path) <= bound, (unit, has_gpu)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze on this machine")
@pytest.mark.parametrize("unit", ["llama-rpc.service", "llama-head.service", "herd-agent.service"])
def test_gpu_devices_raise_exposure(tmp_path: Path, unit: str) -> None:
    # CUDA excludes PrivateDevices, PrivateUsers, MemoryDenyWriteExecute and a restricted /proc.
    assert exposure(unit, UNITS[unit](False), tmp_path) < exposure(unit, UNITS[unit](True), tmp_path)


@pytest.mark.parametrize("render_unit", [worker, head, router])
def test_gpu_unit_starts_after_device_nodes(render_unit: Any) -> None:
    lines = render_unit(True).splitlines()
    assert "Wants=herd-gpu.service" in lines
    assert "After=herd-gpu.service" in lines
    assert "Environment=CUDA_VISIBLE_DEVICES=0" in lines
    # The pattern covers nvidia, nvidia-frontend (up to driver 550), nvidiactl and nvidia-uvm of /proc/devices.
    assert "DeviceAllow=char-nvidia* rw" in lines
    assert not [line for line in lines if "nvidia-modprobe" in line]
    assert "herd-gpu.service" not in render_unit(False)
    assert "nvidia" not in render_unit(False)


def test_head_without_a_planned_limit_has_none() -> None:
    plan = {"argv": ["/bin/true"], "environment": {}}
    more = {"head_server_user": "llama", "_head_server_has_gpu": False, "head_server_workers": []}
    found = {}
    for limit in ("", "95G", "infinity"):
        placement = {"memory_max": limit}
        unit = render(
            "head_server", "llama-head.service.j2", __head_server_plan=plan, __head_server_placement=placement, **more
        )
        found[limit] = [line for line in unit.splitlines() if line.startswith("MemoryMax=")]
    assert found == {"": [], "95G": ["MemoryMax=95G"], "infinity": ["MemoryMax=infinity"]}
