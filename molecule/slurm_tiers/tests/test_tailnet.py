# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""playbooks/slurm.yml configures tailscale serve. A double of tailscale checks the arguments."""

from __future__ import annotations

import json

import pytest

from tests.scenarios.playbooks import Operator
from tests.scenarios.slurm import CONTROLLER, Slurm

PLAY = ("playbooks/slurm.yml", "--tags", "gateway")
NAME = "slurm-ctl.tailc46cd0.ts.net"
OURS = {"/": "http://127.0.0.1:8080", "/reasoning/": "http://127.0.0.1:8081"}


@pytest.fixture(scope="session")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Operator:
    return Operator(tmp_path_factory.mktemp("playbooks"), "inventory/lab_slurm")


def served(slurm: Slurm) -> dict[str, str]:
    data = json.loads(slurm.sure(CONTROLLER, "tailscale serve status --json"))
    handlers = data.get("Web", {}).get(f"{NAME}:443", {}).get("Handlers", {})
    return {path: handler["Proxy"] for path, handler in handlers.items()}


def test_tailscale_serves_both_tiers(slurm: Slurm) -> None:
    assert served(slurm) == OURS
    # Each target answers.
    for target in OURS.values():
        assert slurm.sure(CONTROLLER, f"curl -s -o /dev/null -w '%{{http_code}}' {target}/status") == "200"


def test_grants_for_the_policy_are_written(slurm: Slurm) -> None:
    grants = json.loads(slurm.sure(CONTROLLER, "cat /etc/herd/gateway/tailnet-grants.json"))
    assert grants["hosts"] == {"slurm-ctl": "100.101.102.103"}
    assert grants["grants"] == [{"src": ["group:ai-users"], "dst": ["slurm-ctl"], "ip": ["tcp:443"]}]


def test_playbook_sets_only_paths_that_differ(slurm: Slurm, operator: Operator) -> None:
    slurm.sure(CONTROLLER, "tailscale serve --bg --yes --https=443 --set-path=/theirs/ http://127.0.0.1:9000")
    slurm.sure(CONTROLLER, "tailscale serve --yes --https=443 --set-path=/reasoning/ off")
    try:
        shown = operator.play(*PLAY, "--check", "--diff")
        assert shown.rc == 0, shown.output
        assert "/reasoning/" in shown.output
        assert "/reasoning/" not in served(slurm)
        before = calls(slurm)
        assert operator.play(*PLAY).rc == 0
        assert served(slurm) == {**OURS, "/theirs/": "http://127.0.0.1:9000"}
        assert calls(slurm) == before + 1
        again = operator.play(*PLAY)
        assert again.calm, again.output
    finally:
        slurm.sure(CONTROLLER, "tailscale serve --yes --https=443 --set-path=/theirs/ off")


def calls(slurm: Slurm) -> int:
    """Return how often the double's configuration was changed."""
    state = json.loads(slurm.sure(CONTROLLER, "cat /var/lib/tailscale/double.json"))
    return int(state["changes"])
