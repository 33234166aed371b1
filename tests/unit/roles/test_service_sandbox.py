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
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.tables import rows
from tests.unit.roles.rendered_units import (
    ADDED,
    ROOT,
    SITE,
    UNITS,
    head,
    head_firewall,
    render,
    router,
    worker,
    worker_firewall,
)

HIGHEST = 2.5
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


@pytest.mark.parametrize(("unit", "role"), [("rpc_worker", worker), ("head_server", head), ("fast_router", router)])
def test_unit_is_bound_to_the_derived_numa_node(monkeypatch: pytest.MonkeyPatch, unit: str, role: Any) -> None:
    found = {"NUMAPolicy": "preferred", "NUMAMask": "1", "CPUAffinity": "20-39"}
    monkeypatch.setitem(SITE, f"_{unit}_numa", found)
    lines = role(True).splitlines()
    assert [line for line in lines if line.startswith(("NUMA", "CPUAffinity"))] == [
        "NUMAPolicy=preferred", "NUMAMask=1", "CPUAffinity=20-39",
    ]  # fmt: skip
    monkeypatch.setitem(SITE, f"_{unit}_numa", {})
    assert not [line for line in role(True).splitlines() if line.startswith(("NUMA", "CPUAffinity"))]
