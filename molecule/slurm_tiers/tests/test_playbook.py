# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes of playbooks/slurm.yml to Slurm's accounting and to the job scripts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.playbooks import Operator, changed_tiers
from tests.scenarios.slurm import CONTROLLER, SCRIPTS, Slurm

PLAY = "playbooks/slurm.yml"
# Without the nodes, checks on the controller are faster.
ALONE = ("--limit", CONTROLLER)


@pytest.fixture(scope="session")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Operator:
    return Operator(tmp_path_factory.mktemp("playbooks"), "inventory/lab_slurm")


def qos(slurm: Slurm) -> str:
    return slurm.sure(CONTROLLER, "sacctmgr -nP show qos format=Name,Priority,PreemptMode,Preempt,GraceTime,MaxWall")


def scripts(slurm: Slurm) -> str:
    return slurm.sure(CONTROLLER, f"cd {SCRIPTS} && sha256sum *")


def test_accounting_is_only_verified_by_default(slurm: Slurm, operator: Operator) -> None:
    slurm.sure(CONTROLLER, "sacctmgr -i modify qos ai_opportunistic set GraceTime=60 MaxWall=2-00:00:00")
    before = qos(slurm)
    verified = operator.play(PLAY, "--tags", "preflight", *ALONE, "-e", "slurm_tiers_accounting_set_up=false")
    assert verified.rc != 0
    assert "sacctmgr -i modify qos ai_opportunistic set GraceTime=30" in verified.output
    assert "slurm_tiers_accounting_set_up: true" in verified.output
    assert qos(slurm) == before


def test_check_mode_shows_the_missing_accounting(slurm: Slurm, operator: Operator) -> None:
    before = qos(slurm)
    run = operator.play(PLAY, "--tags", "slurm_tiers", *ALONE, "--check", "--diff")
    assert run.rc == 0, run.output
    assert "QoS ai_opportunistic: GraceTime 60" in run.output
    assert "QoS ai_opportunistic: GraceTime 30" in run.output
    assert qos(slurm) == before


def test_only_the_difference_is_set_up(slurm: Slurm, operator: Operator) -> None:
    slurm.sure(CONTROLLER, "sacctmgr -i add qos site_own set Priority=7")
    slurm.sure(CONTROLLER, "sacctmgr -i modify user llama where account=ai set qos+=site_own")
    run = operator.play(PLAY, "--tags", "slurm_tiers", *ALONE)
    assert run.rc == 0, run.output
    lines = qos(slurm).splitlines()
    # Other settings of the site are kept.
    assert "ai_opportunistic|100|requeue||00:00:30|2-00:00:00" in lines
    assert "site_own" in slurm.sure(CONTROLLER, "sacctmgr -nP show assoc user=llama format=QOS")
    slurm.sure(CONTROLLER, "sacctmgr -i modify qos ai_opportunistic set MaxWall=-1")
    slurm.sure(CONTROLLER, "sacctmgr -i modify user llama where account=ai set qos-=site_own")
    slurm.sure(CONTROLLER, "sacctmgr -i delete qos site_own")


def test_second_run_changes_nothing(operator: Operator) -> None:
    run = operator.play(PLAY, "--tags", "preflight,slurm_tiers")
    assert run.calm, run.output


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"partition": "gpu_none"}, "invalid partition specified: gpu_none"),
        ({"gres": "gpu:a100:1"}, "Requested node configuration is not available"),
    ],
)
def test_script_that_slurm_refuses_is_not_installed(
    slurm: Slurm, operator: Operator, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    before = slurm.sure(CONTROLLER, f"sha256sum {SCRIPTS}/run-14b.slurm")
    run = operator.play(PLAY, "--tags", "slurm_tiers", *ALONE, "-e", changed_tiers(tmp_path, **changes))
    assert run.rc != 0
    assert words in run.output
    assert slurm.sure(CONTROLLER, f"sha256sum {SCRIPTS}/run-14b.slurm") == before


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"settings": {"context": 1048576, "slots": 4}}, "expected"),
        ({"memory": "100M"}, "Slurm would kill it"),
        ({"models": ["lab-lama"]}, "models of the tier fast among lab-llama"),
        ({"hosts": ["vasp-04"]}, "hosts of the tier fast among"),
        ({"qos": "vasp_priority"}, "expected the QoS vasp_priority to have the 30 seconds of grace of its tiers"),
    ],
)
def test_impossible_tiers_stop_the_playbook_before_any_change(
    slurm: Slurm, operator: Operator, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    before = scripts(slurm)
    run = operator.play(PLAY, "--tags", "slurm_tiers", *ALONE, "-e", changed_tiers(tmp_path, **changes))
    assert run.rc != 0
    assert words in run.output
    assert scripts(slurm) == before


def test_no_key_is_printed(slurm: Slurm, operator: Operator) -> None:
    key = slurm.key()
    assert operator.outputs
    assert not [name for name, output in operator.outputs.items() if key in output]
