# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""playbooks/remove.yml removes tiers, jobs and gateway, and nothing else. This file runs last in its scenario."""

from __future__ import annotations

import pytest

from tests.scenarios.leftovers import LEFT
from tests.scenarios.playbooks import Operator
from tests.scenarios.slurm import CONTROLLER, NODES, SHARED, Slurm

PLAY = "playbooks/remove.yml"
CONFIRMED = ("-e", "remove_confirmed=true")
# Sites of another owner: an independent one, and one that needs the gateway's upstream.
OTHER_SITE = "server { listen 127.0.0.1:8099; location / { return 200 'theirs'; } }"
DEPENDENT_SITE = "server { listen 127.0.0.1:8098; location / { proxy_pass http://herd_gateway; } }"


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Operator:
    return Operator(tmp_path_factory.mktemp("playbooks"), "inventory/lab_slurm")


def other_site(slurm: Slurm) -> str:
    return slurm.sure(CONTROLLER, "curl -s http://127.0.0.1:8099/")


def job_scripts(slurm: Slurm) -> str:
    return slurm.sure(CONTROLLER, f"find {SHARED} -name '*.slurm*' -type f | sort")


@pytest.fixture(scope="module", autouse=True)
def _other_owner(slurm: Slurm) -> None:
    """Add another owner's site to the controller, and scripts to the shared directory."""
    slurm.sure(CONTROLLER, f'echo "{OTHER_SITE}" > /etc/nginx/conf.d/site.conf && systemctl reload nginx')
    slurm.sure(CONTROLLER, f"mkdir -p {SHARED}/scripts/vasp && echo '#!/bin/sh' > {SHARED}/scripts/vasp/run.slurm")
    slurm.sure(CONTROLLER, f"echo '#!/bin/sh' > {SHARED}/scripts/llama-cpp/own.slurm")


def test_playbook_requires_confirmation(slurm: Slurm, operator: Operator) -> None:
    slurm.keep_both()
    before = job_scripts(slurm)
    run = operator.play(PLAY)
    assert run.rc != 0
    assert "expected -e remove_confirmed=true" in run.output
    assert job_scripts(slurm) == before
    assert slurm.jobs()


def test_check_mode_lists_the_removals(slurm: Slurm, operator: Operator) -> None:
    before = job_scripts(slurm)
    run = operator.play(PLAY, "--check", "--diff")
    assert run.rc == 0, run.output
    for line in (
        "unit herd-tiers.service",
        "jobs llama-14b",
        "unit herd-gateway.socket",
        "user herd-gateway",
        "run-14b.slurm",
    ):
        assert line in run.output, line
    assert (job_scripts(slurm), slurm.chat_at("fast").status) == (before, 200)


def test_nginx_is_unchanged_if_another_site_needs_the_gateway(slurm: Slurm, operator: Operator) -> None:
    """Another site proxies to the gateway. The playbook fails before a change of nginx, and names the upstream."""
    slurm.sure(CONTROLLER, f'echo "{DEPENDENT_SITE}" > /etc/nginx/conf.d/proxied.conf && systemctl reload nginx')
    run = operator.play(PLAY, *CONFIRMED, "--limit", CONTROLLER)
    assert run.rc != 0
    assert 'host not found in upstream "herd_gateway"' in run.output
    slurm.sure(CONTROLLER, "nginx -q -t && test -f /etc/nginx/conf.d/herd.conf")
    # The jobs have ended already, and the manager no longer submits them.
    assert not slurm.jobs()
    slurm.sure(CONTROLLER, "rm /etc/nginx/conf.d/proxied.conf")


def test_killed_playbook_completes_in_a_second_run(slurm: Slurm, operator: Operator) -> None:
    nginx = slurm.sure(CONTROLLER, "systemctl show -p MainPID --value nginx")
    # The first run is killed in the middle.
    operator.play_and_kill(PLAY, *CONFIRMED, after="TASK [Remove the tiers' jobs")
    run = operator.play(PLAY, *CONFIRMED)
    assert run.rc == 0, run.output
    for host in (CONTROLLER, *NODES):
        assert slurm.on(host, LEFT).out == "", host
    # nginx keeps its process, a valid configuration and the other site.
    assert slurm.sure(CONTROLLER, "systemctl show -p MainPID --value nginx") == nginx
    slurm.sure(CONTROLLER, "nginx -q -t")
    assert other_site(slurm) == "theirs"


def test_files_and_settings_of_other_owners_stay(slurm: Slurm) -> None:
    shared = slurm.sure(CONTROLLER, f"cd {SHARED} && find scripts ai -type f 2>/dev/null | sort").split()
    assert shared == ["scripts/llama-cpp/own.slurm", "scripts/vasp/run.slurm"]
    # Slurm still runs, and its accounting is unchanged.
    assert "ai_opportunistic" in slurm.sure(CONTROLLER, "sacctmgr -nP show qos format=Name")
    assert slurm.sure(CONTROLLER, "sinfo -h -o %P").split()
    assert slurm.sure(NODES[0], "stat -c %U /scratch/ai/models/*.gguf").split() == ["root"]


def test_second_run_changes_nothing(operator: Operator) -> None:
    run = operator.play(PLAY, *CONFIRMED)
    assert run.calm, run.output
