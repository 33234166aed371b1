# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""playbooks/remove.yml takes tiers, jobs and gateway off the cluster, and nothing else: the last of this scenario."""

from __future__ import annotations

import pytest

from tests.lab.playbooks import Operator
from tests.lab.slurm import CONTROLLER, NODES, SHARED, Slurm

PLAY = "playbooks/remove.yml"
CONFIRMED = ("-e", "remove_confirmed=true")
# What is left on a host of what the roles put there; nothing is printed where nothing is.
LEFT = r"""
grep -ls herd.inference /etc/systemd/system/* /etc/systemd/system/*.d/* /etc/tmpfiles.d/* /etc/logrotate.d/* \
  /etc/nginx/*/* /etc/systemd/journald.conf.d/* 2>/dev/null
ls -d /etc/herd /opt/herd /opt/llama.cpp /run/herd /run/herd-gateway /run/herd-guard /var/lib/herd /var/lib/herd-tiers \
  /var/cache/herd /var/log/herd /etc/nginx/herd 2>/dev/null
find /usr/local/bin -xtype l
nft list tables | grep herd_
getent passwd llama herd-gateway
getent group llama herd-gateway
pgrep -af '[h]erdctl|[l]lama-server|[r]pc-server'
ss -Hltn '( sport = :8080 or sport = :8081 )'
tailscale serve status --json | grep Proxy
systemctl list-units --all --plain --no-legend 'herd-*' 'llama-*'
"""
# A site of somebody else, beside ours.
OTHERS = "server { listen 127.0.0.1:8099; location / { return 200 'theirs'; } }"
NEEDY = "server { listen 127.0.0.1:8098; location / { proxy_pass http://herd_fast; } }"


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Operator:
    return Operator(tmp_path_factory.mktemp("playbooks"), "inventory/lab_slurm")


def theirs(slurm: Slurm) -> str:
    return slurm.sure(CONTROLLER, "curl -s http://127.0.0.1:8099/")


def tree(slurm: Slurm) -> str:
    return slurm.sure(CONTROLLER, f"find {SHARED} -name '*.slurm*' -type f | sort")


@pytest.fixture(scope="module", autouse=True)
def _others(slurm: Slurm) -> None:
    """What somebody else has on the controller and in the shared directory."""
    slurm.sure(CONTROLLER, f'echo "{OTHERS}" > /etc/nginx/conf.d/site.conf && systemctl reload nginx')
    slurm.sure(CONTROLLER, f"mkdir -p {SHARED}/scripts/vasp && echo '#!/bin/sh' > {SHARED}/scripts/vasp/run.slurm")
    slurm.sure(CONTROLLER, f"echo '#!/bin/sh' > {SHARED}/scripts/llama-cpp/own.slurm")


def test_it_asks_first(slurm: Slurm, operator: Operator) -> None:
    slurm.keep_both()
    before = tree(slurm)
    run = operator.play(PLAY)
    assert run.rc != 0
    assert "expected -e remove_confirmed=true" in run.output
    assert tree(slurm) == before
    assert slurm.jobs()


def test_a_check_names_what_would_go(slurm: Slurm, operator: Operator) -> None:
    before = tree(slurm)
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
    assert (tree(slurm), slurm.chat_at("fast").status) == (before, 200)


def test_nginx_that_could_not_do_without_it_is_left_as_it_is(slurm: Slurm, operator: Operator) -> None:
    """Another site takes requests to an engine of ours: nothing of nginx changes, and what to do is said."""
    slurm.sure(CONTROLLER, f'echo "{NEEDY}" > /etc/nginx/conf.d/needy.conf && systemctl reload nginx')
    run = operator.play(PLAY, *CONFIRMED, "--limit", CONTROLLER)
    assert run.rc != 0
    assert "herd_fast" in run.output
    slurm.sure(CONTROLLER, "nginx -q -t && test -f /etc/nginx/conf.d/herd.conf")
    # The jobs have ended before, and nobody submits them anew.
    assert not slurm.jobs()
    slurm.sure(CONTROLLER, "rm /etc/nginx/conf.d/needy.conf")


def test_nothing_of_ours_is_left(slurm: Slurm, operator: Operator) -> None:
    nginx = slurm.sure(CONTROLLER, "systemctl show -p MainPID --value nginx")
    # Killed in the middle, it goes on when it runs again.
    operator.play_and_kill(PLAY, *CONFIRMED, after="TASK [Remove the tiers' jobs")
    run = operator.play(PLAY, *CONFIRMED)
    assert run.rc == 0, run.output
    for host in (CONTROLLER, *NODES):
        assert slurm.on(host, LEFT).out == "", host
    # nginx goes on with what is somebody else's: the same process, and a configuration that it takes.
    assert slurm.sure(CONTROLLER, "systemctl show -p MainPID --value nginx") == nginx
    slurm.sure(CONTROLLER, "nginx -q -t")
    assert theirs(slurm) == "theirs"


def test_what_is_somebody_elses_stays(slurm: Slurm) -> None:
    shared = slurm.sure(CONTROLLER, f"cd {SHARED} && find scripts ai -type f 2>/dev/null | sort").split()
    assert shared == ["scripts/llama-cpp/own.slurm", "scripts/vasp/run.slurm"]
    # Slurm goes on, with its accounting as it was.
    assert "ai_opportunistic" in slurm.sure(CONTROLLER, "sacctmgr -nP show qos format=Name")
    assert slurm.sure(CONTROLLER, "sinfo -h -o %P").split()
    assert slurm.sure(NODES[0], "stat -c %U /scratch/ai/models/*.gguf").split() == ["root"]


def test_nothing_is_left_to_do(operator: Operator) -> None:
    run = operator.play(PLAY, *CONFIRMED)
    assert run.calm, run.output
