# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every type of task of both inventories, asked of a gateway that has been told what the role tells it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.gateway.conftest import Client, chat
from tests.gateway.harness import ROLE, ROOT, Gateway, gateway, wait_for

TYPES = (
    "analyze",
    "idiomatic",
    "refactor",
    "docs",
    "fix",
    "complete",
    "typestate",
    "borrowing",
    "ownership",
    "complex",
)
OR1, STRAND = "OR1-Behemoth", "strand-rust-coder-14b-q8_0"
#: Where the documents want each type to go, but for a model that no tier of the cluster can serve.
WANTED = {
    "beefcake2_slurm": {
        **dict.fromkeys(TYPES, ("reasoning", OR1)),
        **dict.fromkeys(("fix", "complete", "typestate"), ("fast", STRAND)),
    },
    "lab_slurm": {
        **dict.fromkeys(TYPES, ("reasoning", "lab-llama")),
        **dict.fromkeys(("fix", "complete", "typestate"), ("fast", "lab-llama")),
    },
}


@dataclass
class Site:
    """An inventory, and a gateway that has been told of it."""

    inventory: str
    made: Gateway
    client: Client

    def choose(self, *words: str) -> subprocess.CompletedProcess[str]:
        """What the command for people says, on this gateway."""
        files = ["--config", f"{self.made.root}/gateway.json", "--tier-status", f"{self.made.root}/tiers.json"]
        command = [*self.made.program()[:-2], "select-model", *words, *files]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def settings_of(inventory: str) -> Any:
    """What the role writes for the gateway of an inventory, by Ansible itself."""
    own = [part for name in ("defaults", "vars") for part in ("-e", f"@{ROLE / name / 'main.yml'}")]
    command = [str(Path(sys.executable).parent / "ansible"), "slurm-ctl", "-i", f"inventory/{inventory}", *own]
    command += ["-m", "ansible.builtin.debug", "-a", "var=_gateway_settings"]
    told = {**os.environ, "HERD_LAB": os.environ.get("HERD_LAB", "tests")}
    done = subprocess.run(command, cwd=ROOT, env=told, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return yaml.safe_load(done.stdout.partition("=>")[2])["_gateway_settings"]


@pytest.fixture(scope="module", params=sorted(WANTED))
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    """A gateway of that inventory, with an engine for each tier that has the tier's models."""
    told = settings_of(request.param)
    root = Path(tempfile.mkdtemp(prefix="herd-tasks-", dir="/tmp"))
    try:
        with gateway(root, tasks=told["tasks"], own_tiers=told["tiers"]) as made:
            for tier in told["tiers"]:
                models = tier["models"]
                engine = made.router(*models) if tier["kind"] == "router" else made.engine(models[0])
                made.ready(tier["name"], engine.port, models)
            client = Client(made)
            # The first of them has the router load its model.
            wait_for(lambda: client.ask(chat(1, model="task:fix")).status == 200, "the router's model", 60)
            yield Site(request.param, made, client)
    finally:
        shutil.rmtree(root, ignore_errors=True)


@pytest.mark.parametrize("task", TYPES)
def test_each_type_reaches_its_tier_and_model(site: Site, task: str) -> None:
    wanted = WANTED[site.inventory][task]
    for stream in (False, True):
        for ask, path, headers in (
            ({"model": f"task:{task}"}, "/v1", {}),
            ({}, f"/task/{task}/v1", {}),
            ({"model": "whatever"}, "/v1", {"X-Herd-Task": task.upper()}),
        ):
            answer = site.client.ask(chat(2, **ask, stream=stream), path=f"{path}/chat/completions", headers=headers)
            assert answer.status == 200, answer.body
            assert (answer.headers["x-herd-tier"], answer.headers["x-herd-model"]) == wanted
            # And the engine itself says so: a router would otherwise not have known the model.
            assert f'"model":"{wanted[1]}"'.encode() in answer.body
    done = site.choose(task, "--json")
    said = json.loads(done.stdout)
    assert (said["tier"], said["model"]) == wanted
    assert said["why"]


def test_the_table_has_exactly_the_types_of_the_inventory(site: Site) -> None:
    status = site.client.ask(path="/status.json", key=None).data
    assert sorted(status["tasks"]) == sorted(TYPES)
    assert sorted(json.loads(site.choose("--json").stdout)) == sorted(TYPES)
    # Another type gets the default, which both inventories have.
    answer = site.client.ask(chat(2, model="task:poetry"))
    assert (answer.status, answer.headers["x-herd-tier"]) == (200, "reasoning")


def test_the_models_of_the_inventory_are_one_list(site: Site) -> None:
    listed = {entry["id"]: entry["herd"]["tier"] for entry in site.client.ask(path="/v1/models").data["data"]}
    if site.inventory == "beefcake2_slurm":
        assert listed == {STRAND: "fast", OR1: "reasoning"}
    else:
        # The lab has one model at both; who asks for it at a tier's port gets it there.
        assert listed == {"lab-llama": "fast"}
        for tier in ("fast", "reasoning"):
            assert site.client.ask(chat(2, model="lab-llama"), tier=tier).headers["x-herd-tier"] == tier
