# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""plan.yml and preflight.yml show plans from the inventory alone, although no host can be reached."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.models.metadata import metadata_of
from tests.engine.generated.model import header_of
from tests.engine.models import models

ROOT = Path(__file__).parents[2]
LLAMA = metadata_of(header_of(next(model for model in models() if model.name == "llama")))
ENTRY = {"name": "small", "file": "small.gguf", "layers": len(LLAMA.layers), "metadata": LLAMA.to_data()}
GPU = {"name": "Tesla V100S-PCIE-32GB", "memory_mib": 4096}
#: Nothing listens at this port.
COMMON = {
    "ansible_host": "127.0.0.1",
    "ansible_port": 1,
    "herd_gpus": [GPU],
    "herd_memory_gib": 16,
    "herd_models": {"small": ENTRY},
    "herd_model": "small",
    "herd_models_dir": "/none",
    "herd_release": "0c1e57098",
    "herd_prefix": "/none",
    "herd_user": "llama",
    "herd_rpc_port": 50052,
    "herd_fabric_interface": "lo",
    "herd_fabric_address": "127.0.0.1",
    "head_server_settings": {"context": 4096},
    "fast_router_settings": {"context": 4096},
    "fast_router_models": {"small": {}},
}
GROUPS = {"head_server": ["h"], "rpc_worker": ["w"], "node": ["h", "w"], "fast_router": ["w"]}


def ran(folder: Path, playbook: str, groups: dict[str, list[str]], *more: str) -> subprocess.CompletedProcess[str]:
    children: dict[str, Any] = {name: {"hosts": {host: {} for host in hosts}} for name, hosts in groups.items()}
    inventory = folder / "inventory.json"
    inventory.write_text(json.dumps({"all": {"vars": COMMON, "children": children}}), encoding="utf-8")
    return subprocess.run(
        [
            str(Path(sys.executable).with_name("ansible-playbook")),
            f"playbooks/{playbook}.yml",
            f"--inventory={inventory}",
            *more,
        ],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
        capture_output=True,
        text=True,
        check=False,
    )


def test_preflight_shows_the_plan_although_no_host_can_be_reached(tmp_path: Path) -> None:
    done = ran(tmp_path, "preflight", GROUPS)
    assert done.returncode != 0
    shown, unreachable = done.stdout.find("fits: needs"), done.stdout.find("UNREACHABLE")
    assert 0 <= shown < unreachable, done.stdout + done.stderr
    assert "largest context that fits this split" in done.stdout


@pytest.mark.parametrize("has_head", [True, False])
def test_plan_shows_the_router(tmp_path: Path, has_head: bool) -> None:
    groups = GROUPS if has_head else {"fast_router": ["w"]}
    written = tmp_path / "plan.json"
    done = ran(tmp_path, "plan", groups, f"--extra-vars=plan_file={written}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "router on w, 1 of 1 models in memory" in done.stdout
    assert ("the router on w books" in done.stdout) is has_head
    router: dict[str, Any] = json.loads(
        (tmp_path / "plan.json.w.json" if has_head else written).read_text(encoding="utf-8")
    )
    assert router["fits"] and [model["id"] for model in router["models"]] == ["small"]
    if has_head:
        head = json.loads(written.read_text(encoding="utf-8"))
        # Each counts the other's share of the same card. Both keep the same reserve.
        (device,) = [device for device in head["devices"] if device["host"] == "w"]
        card = device["free"] + router["together"][0] - device["reserve"]
        assert router["free"][0] + device["total"] == pytest.approx(card, abs=2)
